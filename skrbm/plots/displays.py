"""Pictures of a machine, as display classes in scikit-learn's form; they need `pip install "skrbm[plots]"`.

`from_estimator` computes what is to be seen and draws it; `plot` draws it again, into axes of yours if you like. The
colours can be told apart by the colour-blind, and in greyscale.

Examples
--------
>>> import numpy as np
>>> from skrbm import BernoulliRBMTorch
>>> from skrbm.plots.displays import HiddenActivityDisplay
>>> rbm = BernoulliRBMTorch(n_hidden=4, n_iter=2, random_state=0).fit(np.eye(6))
>>> HiddenActivityDisplay(rbm.transform(np.eye(6))).dead.sum()  # and .plot() draws it
np.int64(0)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from numbers import Integral
from typing import Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from skrbm.support.checks import check_choice, from_torch

__all__ = ["FiltersDisplay", "HiddenActivityDisplay", "LearningCurveDisplay", "SamplesDisplay"]

_OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_DIVERGING = ("#001a57", "#2a55a3", "#848484", "#e0b040", "#fff3b0")  # in hue; ever lighter, so that greyscale does
_MISSING, _SEPARATOR = "#9ecae1", "#b0b0b0"

_TILE, _SMALLEST, _LARGEST = 0.7, 2.0, 9.0  # inches: the longer side of a tile, and bounds of that of all of them
_LINE, _CHARACTER = 0.14, 0.075  # inches: what a tick label of 8 points takes
_FONT_SIZE, _LONGEST = 8, 30  # points; characters of a label

_UNITS_OF_MEASURES = {
    "pseudo_log_likelihood": "pseudo-log-likelihood\n(nats a row)",
    "loss": "loss F(v) - F(v_k)\n(nats)",
    "free_energy_gap": "free energy gap\n(nats)",
    "reconstruction_error": "reconstruction error\n(mean square)",
    "free_energy": "free energy\n(nats)",
    "free_energy_held_out": "free energy, held out\n(nats)",
    "weight_norm": "norm of the weights\n(Frobenius)",
    "update_norm": "norm of the update\n(Frobenius)",
    "dead_share": "dead units\n(share)",
    "saturated_share": "saturated units\n(share)",
    "learning_rate": "learning rate",
    "k": "Gibbs steps k",
    "seconds": "time\n(s)",
}


class FiltersDisplay:
    """Weights of hidden units, as pictures or as the lines of a table.

    Parameters
    ----------
    weights : array-like of shape (n_units, n_features)
        A line for each hidden unit that is to be seen.
    image_shape : tuple of int, optional
        (height, width). By default pictures are square, and features with names make a table.
    feature_names : array-like of str of shape (n_features,), optional
        Names of the features, for a table.
    units : array-like of int of shape (n_units,), optional
        Which units they are; by default the first ones.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.
    figure_ : matplotlib Figure
        What `ax_` is in.
    im_ : matplotlib AxesImage
        The picture: all tiles, or the table.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm.plots.displays import FiltersDisplay
    >>> display = FiltersDisplay(np.zeros((5, 6)), image_shape=(2, 3))  # and display.plot() draws it
    >>> display.weights.shape
    (5, 6)
    """

    figure_: Any
    ax_: Any
    im_: Any

    def __init__(self, weights: Any, *, image_shape: Any = None, feature_names: Any = None, units: Any = None) -> None:
        self.weights, self.image_shape, self.feature_names, self.units = weights, image_shape, feature_names, units

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        n_units: int | None = 64,
        sort: str | None = "norm",
        image_shape: Any = None,
        ax: Any = None,
    ) -> Self:
        """Draw the weights of a fitted machine.

        Parameters
        ----------
        estimator : BernoulliRBMTorch or BernoulliRBM
            Anything with `components_`, in fact.
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features), optional
            Rows that tell how much a unit is used.
        n_units : int or None
            So many units at most; None is all.
        sort : {"norm", "use"} or None
            First those of the largest weights (Euclidean norm), or those that are on most in X (mean P(h = 1 | v)).
            None leaves them in their order.
        image_shape : tuple of int, optional
            (height, width). By default pictures are square, and features with names make a table.
        ax : matplotlib Axes, optional
            Where to draw; by default in a figure of its own.

        Returns
        -------
        FiltersDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError, TypeError
            If a parameter is not as described, or the features make no picture.
        """
        _matplotlib()
        check_is_fitted(estimator)
        weights = np.asarray(estimator.components_)
        if n_units is not None:
            check_scalar(n_units, "n_units", Integral, min_val=1)
        if sort is not None:
            check_choice("sort", sort, ("norm", "use"), "None")
        if sort == "use" and X is None:
            raise ValueError("sort='use' needs rows to see which units are used, but X=None. Pass X, or sort='norm'.")
        units = np.arange(len(weights))
        if sort is not None:
            key = np.linalg.norm(weights, axis=1) if sort == "norm" else estimator.transform(X).mean(axis=0)
            units = np.argsort(-key, kind="stable")
        units = units[:n_units]
        names = getattr(estimator, "feature_names_in_", None)
        return cls(weights[units], image_shape=image_shape, feature_names=names, units=units).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; by default in a figure of its own.

        Returns
        -------
        FiltersDisplay
            Itself, with `figure_`, `ax_` and `im_`.
        """
        weights = _checked("weights", self.weights, "n_units, n_features")
        units = np.arange(len(weights)) if self.units is None else self.units
        shape = _shape_of_images(weights.shape[1], self.image_shape, self.feature_names)
        cmap = _matplotlib("colors").LinearSegmentedColormap.from_list("blue_grey_yellow", _DIVERGING)
        limit = float(np.abs(weights).max()) or 1.0
        colours = {"cmap": cmap, "vmin": -limit, "vmax": limit}
        if shape is None:
            self.im_ = _draw_table(ax, weights, (self.feature_names, "feature"), (units, "hidden unit"), **colours)
        else:
            self.im_ = _draw_tiles(ax, weights, shape, blank=np.nan, separator="white", colour_bar=True, **colours)
        _add_colour_bar(self.im_, "weight")
        self.ax_, self.figure_ = self.im_.axes, self.im_.axes.figure
        return self


class SamplesDisplay:
    """Rows of a machine or of data, as pictures in ink or as the lines of a table.

    Parameters
    ----------
    samples : array-like of shape (n_samples, n_features)
        Values in [0, 1]; NaN where one is missing, which is shaded blue. The place of a row of nothing but NaN is left
        blank.
    image_shape : tuple of int, optional
        (height, width). By default pictures are square, and features with names make a table.
    feature_names : array-like of str of shape (n_features,), optional
        Names of the features, for a table.
    n_columns : int, optional
        Pictures side by side; by default about as many as on top of each other. A table takes no notice of it.
    row_labels, column_labels : sequence, optional
        What stands beside each line of pictures (of a table), and above each column.
    row_title, column_title : str, optional
        What these labels are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.
    figure_ : matplotlib Figure
        What `ax_` is in.
    im_ : matplotlib AxesImage
        The picture: all tiles, or the table.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm.plots.displays import SamplesDisplay
    >>> display = SamplesDisplay(np.eye(9), n_columns=3, column_labels=["a", "b", "c"])  # and display.plot() draws it
    >>> display.samples.shape
    (9, 9)
    """

    figure_: Any
    ax_: Any
    im_: Any

    def __init__(
        self,
        samples: Any,
        *,
        image_shape: Any = None,
        feature_names: Any = None,
        n_columns: int | None = None,
        row_labels: Any = None,
        column_labels: Any = None,
        row_title: str | None = None,
        column_title: str | None = None,
    ) -> None:
        self.samples, self.image_shape, self.feature_names, self.n_columns = (
            samples,
            image_shape,
            feature_names,
            n_columns,
        )
        self.row_labels, self.column_labels = row_labels, column_labels
        self.row_title, self.column_title = row_title, column_title

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        kind: str = "samples",
        n_samples: int = 32,
        n_steps: int = 1000,
        values: str = "probabilities",
        image_shape: Any = None,
        random_state: Any = None,
        ax: Any = None,
    ) -> Self:
        """Draw what a fitted machine makes up, or what it sees in rows.

        Parameters
        ----------
        estimator : BernoulliRBMTorch
            A fitted machine.
        X : {array-like, sparse matrix, data frame} of shape (n_rows, n_features), optional
            Rows to reconstruct, or for chains to start from; the first `n_samples` of them.
        kind : {"samples", "reconstructions", "steps"}
            Ends of chains from random bits; rows of X above what the machine sees in them; or what chains from rows of
            X (from random bits without X) look like after 0, 1, 2, 5, 10, 20, 50 ... `n_steps` steps, a line each.
        n_samples : int
            How many chains, or rows of X at most.
        n_steps : int
            Gibbs steps of the chains.
        values : {"probabilities", "bits"}
            Whether samples are seen as the zeros and ones that they are, or as `estimator.reconstruct` of these, which
            is smoother. Reconstructions as bits are one step of Gibbs sampling.
        image_shape : tuple of int, optional
            (height, width). By default pictures are square, and features with names make a table.
        random_state : int, RandomState instance or None
            None goes on with the model's own stream.
        ax : matplotlib Axes, optional
            Where to draw; by default in a figure of its own.

        Returns
        -------
        SamplesDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError, TypeError
            If a parameter is not as described, X is missing, or the features make no picture.
        """
        _matplotlib()
        check_is_fitted(estimator)
        if not hasattr(estimator, "reconstruct"):
            raise TypeError(
                f"a {type(estimator).__name__} can't be sampled from. Pass a BernoulliRBMTorch; "
                "BernoulliRBMTorch.from_sklearn(rbm) takes over one of scikit-learn's."
            )
        check_choice("kind", kind, tuple(_KINDS))
        check_choice("values", values, ("probabilities", "bits"))
        for name, value in (("n_samples", n_samples), ("n_steps", n_steps)):
            check_scalar(value, name, Integral, min_val=1)
        if kind == "reconstructions" and X is None:
            raise ValueError("kind='reconstructions' needs rows to reconstruct, but X=None. Pass X.")
        names = getattr(estimator, "feature_names_in_", None)
        shape = _shape_of_images(estimator.n_features_in_, image_shape, names)
        if random_state is not None:
            random_state = check_random_state(random_state)
        machine = _Machine(estimator, values == "bits", shape, random_state)
        found = _KINDS[kind](machine, _head(X, n_samples), n_samples, n_steps)
        return cls(**found, image_shape=image_shape, feature_names=names).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; by default in a figure of its own.

        Returns
        -------
        SamplesDisplay
            Itself, with `figure_`, `ax_` and `im_`.
        """
        samples = _checked("samples", self.samples, "n_samples, n_features", probabilities=True, gaps=True)
        shape = _shape_of_images(samples.shape[1], self.image_shape, self.feature_names)
        samples[np.isnan(samples).all(axis=1)] = _BLANK
        cmap = _matplotlib("").colormaps["gray_r"].with_extremes(bad=_MISSING, over="white")
        colours = {"cmap": cmap, "vmin": 0.0, "vmax": 1.0}
        if shape is None:
            labels = np.arange(len(samples)) if self.row_labels is None else self.row_labels
            y = (labels, self.row_title or "row")
            self.im_ = _draw_table(ax, samples, (self.feature_names, "feature"), y, **colours)
            _add_colour_bar(self.im_, "value")
        else:
            self.im_ = _draw_tiles(
                ax,
                samples,
                shape,
                self.n_columns,
                x=(self.column_labels, self.column_title),
                y=(self.row_labels, self.row_title),
                blank=_BLANK,
                separator=_SEPARATOR,
                gap=1,
                **colours,
            )
        self.ax_, self.figure_ = self.im_.axes, self.im_.axes.figure
        return self


class LearningCurveDisplay:
    """What training was like: measures by epoch, a panel each.

    Parameters
    ----------
    history : dict of array-like of shape (n_epochs,)
        `history_` of a machine: "epoch", and measures by name.
    name : str, optional
        What the legend calls the machine.
    measures : sequence of str
        Which measures. One that is NaN throughout, as the free energy gap without held-out rows, gets no panel.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n_panels,)
        The panels.
    figure_ : matplotlib Figure
        What they are in.
    lines_ : list of matplotlib Line2D
        The curves, one a panel.

    Examples
    --------
    Curves of another machine go into the same panels: `second.plot(ax=first.axes_)`.

    >>> from skrbm.plots.displays import LearningCurveDisplay
    >>> history = {"epoch": [1, 2], "loss": [0.5, 0.1], "free_energy_gap": [float("nan")] * 2}
    >>> LearningCurveDisplay(history, measures=["loss", "free_energy_gap"]).panels
    ['loss']
    """

    figure_: Any
    axes_: Any
    lines_: list[Any]

    def __init__(
        self,
        history: Any,
        *,
        name: str | None = None,
        measures: Sequence[str] = ("pseudo_log_likelihood", "loss", "free_energy_gap", "reconstruction_error"),
    ) -> None:
        self.history, self.name, self.measures = history, name, measures

    @property
    def panels(self) -> list[str]:
        """Those of the measures that have values."""
        measures = [self.measures] if isinstance(self.measures, str) else list(self.measures)
        for measure in ("epoch", *measures):
            if measure not in self.history:
                known = ", ".join(repr(name) for name in self.history if name != "epoch")
                raise ValueError(f"{measure!r} is not in the history. It has: {known}.")
        panels = [measure for measure in measures if not np.isnan(np.asarray(self.history[measure], float)).all()]
        if not panels:
            raise ValueError(f"measures={self.measures!r} have no values in this history. Choose others.")
        return panels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        name: str | None = None,
        measures: Sequence[str] = ("pseudo_log_likelihood", "loss", "free_energy_gap", "reconstruction_error"),
        ax: Any = None,
    ) -> Self:
        """Draw the history of a fitted machine.

        Parameters
        ----------
        estimator : BernoulliRBMTorch
            A fitted machine.
        name : str, optional
            What the legend calls it.
        measures : sequence of str
            Which of `history_`.
        ax : matplotlib Axes or array of them, optional
            A panel each; a single one is divided. By default in a figure of its own.

        Returns
        -------
        LearningCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the machine has no history or not such measures, or there are more or fewer axes than panels.
        """
        _matplotlib()
        check_is_fitted(estimator)
        if not hasattr(estimator, "history_"):
            raise ValueError(
                f"this {type(estimator).__name__} has no history_, which only training it here writes. Call its fit."
            )
        return cls(estimator.history_, name=name, measures=measures).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, optional
            A panel each, such as `axes_` of another display; a single one is divided. By default in a figure of its
            own.

        Returns
        -------
        LearningCurveDisplay
            Itself, with `figure_`, `axes_` and `lines_`.
        """
        panels = self.panels
        self.axes_ = _panels(ax, len(panels), 1, (6.4, 0.5 + 1.6 * len(panels)), sharex=True)
        self.figure_ = self.axes_[0].figure
        self.lines_ = [self._draw(panel, measure) for panel, measure in zip(self.axes_, panels, strict=True)]
        self.axes_[-1].set_xlabel("epoch")
        self.axes_[-1].xaxis.set_major_locator(_whole_numbers())
        self.figure_.align_ylabels(self.axes_)
        if self.name is not None:
            self.axes_[0].legend()
        return self

    def _draw(self, ax: Any, measure: str) -> Any:
        """The curve of a measure, unlike those that are there."""
        label = _UNITS_OF_MEASURES.get(measure, measure)
        if ax.get_ylabel() in {*_UNITS_OF_MEASURES.values()} - {label}:
            shown = ax.get_ylabel().replace("\n", " ")
            raise ValueError(f"{measure!r} can't go into a panel of the {shown}. Draw the same measures in both.")
        values = np.asarray(self.history[measure], float)
        n = len(ax.lines)
        (line,) = ax.plot(
            self.history["epoch"],
            values,
            color=_OKABE_ITO[n % len(_OKABE_ITO)],
            linestyle=_LINE_STYLES[n % len(_LINE_STYLES)],
            marker="o" if np.isfinite(values).sum() == 1 else None,
            label=self.name,
        )
        ax.set_ylabel(label, fontsize=_FONT_SIZE + 1)
        ax.grid(alpha=0.3)
        return line


class HiddenActivityDisplay:
    """How much the hidden units are used: the mean of each, and the share of them that is active in a row.

    Parameters
    ----------
    activity : array-like of shape (n_rows, n_hidden)
        P(h = 1 | v), as `transform` returns it.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (2,)
        The panels.
    figure_ : matplotlib Figure
        What they are in.

    Examples
    --------
    >>> from skrbm.plots.displays import HiddenActivityDisplay
    >>> display = HiddenActivityDisplay([[0.0, 0.3, 1.0], [0.001, 0.8, 1.0]])  # and display.plot() draws it
    >>> display.dead, display.saturated
    (array([ True, False, False]), array([False, False,  True]))
    """

    figure_: Any
    axes_: Any

    def __init__(self, activity: Any) -> None:
        self.activity = activity

    @property
    def dead(self) -> np.ndarray:
        """Which units are off, P < 0.01, in all rows."""
        return _checked("activity", self.activity, "n_rows, n_hidden", probabilities=True).max(axis=0) < 0.01

    @property
    def saturated(self) -> np.ndarray:
        """Which units are on, P > 0.99, in all rows."""
        return _checked("activity", self.activity, "n_rows, n_hidden", probabilities=True).min(axis=0) > 0.99

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, ax: Any = None) -> Self:
        """Draw how a fitted machine sees rows.

        Parameters
        ----------
        estimator : BernoulliRBMTorch or BernoulliRBM
            A fitted machine.
        X : {array-like, sparse matrix, data frame} of shape (n_rows, n_features)
            Rows.
        ax : matplotlib Axes or array of them, optional
            Two panels; a single one is divided. By default in a figure of its own.

        Returns
        -------
        HiddenActivityDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If X is not as described, or there are not two axes.
        """
        _matplotlib()
        check_is_fitted(estimator)
        return cls(estimator.transform(X)).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, optional
            Two panels; a single one is divided. By default in a figure of its own.

        Returns
        -------
        HiddenActivityDisplay
            Itself, with `figure_` and `axes_`.
        """
        activity = _checked("activity", self.activity, "n_rows, n_hidden", probabilities=True)
        self.axes_ = _panels(ax, 1, 2, (9.0, 4.0))
        self.figure_ = self.axes_[0].figure
        self._draw_units(self.axes_[0], activity.mean(axis=0))
        self._draw_rows(self.axes_[1], activity.mean(axis=1))
        return self

    def _draw_units(self, ax: Any, mean: np.ndarray) -> None:
        order = np.argsort(-mean, kind="stable")
        dead, saturated = self.dead[order], self.saturated[order]
        kinds = {"saturated": (saturated, "^", 1), "in use": (~(dead | saturated), ".", 0), "dead": (dead, "v", 4)}
        for kind, (mask, marker, colour) in kinds.items():
            label = f"{kind}: {mask.sum()} of {len(mask)} ({100 * mask.mean():.1f} %)"
            # markers on the edge are whole; those of no unit would take up room in the layout
            style = {"color": _OKABE_ITO[colour], "clip_on": not mask.any(), "zorder": 3}
            ax.plot(np.flatnonzero(mask) + 1, mean[order][mask], marker, label=label, **style)
        ax.set(xlabel="hidden unit, sorted", ylabel="mean P(h = 1 | v)", xlim=(0.5, len(mean) + 0.5), ylim=(0, 1))
        ax.xaxis.set_major_locator(_whole_numbers())
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.03), borderaxespad=0, frameon=False, fontsize=_FONT_SIZE)

    def _draw_rows(self, ax: Any, share: np.ndarray) -> None:
        low, high = max(0.0, share.min() - 0.01), min(1.0, share.max() + 0.01)
        ax.hist(share, bins=np.linspace(low, high, 31), color=_OKABE_ITO[0])
        ax.set(xlabel="share of active units\n(mean P(h = 1 | v))", ylabel="rows")
        ax.yaxis.set_major_locator(_whole_numbers())


# -- what samples are drawn --------------------------------------------------------------------------------------------


class _Machine:
    """A fitted machine, and how it is looked at."""

    def __init__(self, estimator: Any, bits: bool, shape: tuple[int, int] | None, random_state: Any) -> None:
        self.estimator, self.bits, self.shape, self.random_state = estimator, bits, shape, random_state

    def random_bits(self, n: int) -> np.ndarray:
        """Where chains start."""
        return self.estimator._starts(n, "random", self.estimator._stream(self.random_state))

    def walk(self, v: Any, n_steps: int) -> np.ndarray:
        """Rows after Gibbs steps."""
        return _quietly(self.estimator.gibbs, v, n_steps, self.random_state)

    def look(self, v: np.ndarray) -> np.ndarray:
        """Rows as they are to be seen."""
        return v if self.bits else _quietly(self.estimator.reconstruct, v)


def _samples(machine: _Machine, X: Any, n_samples: int, n_steps: int) -> dict[str, Any]:
    return {"samples": machine.look(machine.walk(machine.random_bits(n_samples), n_steps))}


def _reconstructions(machine: _Machine, X: Any, n_samples: int, n_steps: int) -> dict[str, Any]:
    """Lines of rows and of what the machine sees in them, in turn."""
    given = _dense(X)
    seen = machine.walk(X, 1) if machine.bits else machine.estimator.reconstruct(X)
    n_columns = 1 if machine.shape is None else _n_columns(len(given), machine.shape)
    n_lines = math.ceil(len(given) / n_columns)
    pairs = np.full((2, n_lines * n_columns, given.shape[1]), np.nan)  # what is left over stays blank
    pairs[:, : len(given)] = given, seen
    samples = pairs.reshape(2, n_lines, n_columns, -1).swapaxes(0, 1).reshape(-1, given.shape[1])
    return {"samples": samples, "n_columns": n_columns, "row_labels": ["given", "reconstructed"] * n_lines}


def _steps(machine: _Machine, X: Any, n_samples: int, n_steps: int) -> dict[str, Any]:
    """Chains, line by line, after more and more steps."""
    numbers = [0] + [m * 10**e for e in range(len(str(n_steps))) for m in (1, 2, 5) if m * 10**e < n_steps] + [n_steps]
    start = machine.random_bits(n_samples) if X is None else _dense(X)
    v, seen = start if X is None else X, [start]
    for n in np.diff(numbers):
        v = machine.walk(v, int(n))
        seen.append(machine.look(v))
    samples = np.stack(seen, axis=1).reshape(-1, start.shape[1])  # (n_chains, n_numbers, n_features) -> lines
    if machine.shape is None:
        return {"samples": samples, "row_labels": numbers * len(start), "row_title": "step"}
    return {"samples": samples, "n_columns": len(numbers), "column_labels": numbers, "column_title": "step"}


_KINDS: dict[str, Callable[[_Machine, Any, int, int], dict[str, Any]]] = {
    "samples": _samples,
    "reconstructions": _reconstructions,
    "steps": _steps,
}


def _quietly(method: Callable[..., np.ndarray], *args: Any) -> np.ndarray:
    """A method of rows that the machine made itself, whose columns have no names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return method(*args)


def _head(X: Any, n: int) -> Any:
    """The first `n` rows of X, in its own type."""
    if X is None:
        return None
    X = X if hasattr(X, "shape") else np.asarray(X)
    return X.iloc[:n] if hasattr(X, "iloc") else X[:n]


def _dense(X: Any) -> np.ndarray:
    return np.asarray(X.toarray() if issparse(X) else from_torch(X), dtype=float)


# -- drawing -----------------------------------------------------------------------------------------------------------

_BLANK = 2.0  # stands for no picture where values are in [0, 1]


def _matplotlib(module: str = "pyplot") -> Any:
    """matplotlib, or that module of it."""
    try:
        import_module("matplotlib")
        return import_module(f"matplotlib.{module}".rstrip("."))
    except ImportError as error:
        raise ImportError('Plots need matplotlib. Install it with: pip install "skrbm[plots]"') from error


def _checked(name: str, values: Any, shape: str, *, probabilities: bool = False, gaps: bool = False) -> np.ndarray:
    """A copy of a matrix of finite floats, with NaN where `gaps` are allowed."""
    matrix = np.array(from_torch(values), dtype=float)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"{name} must have shape ({shape}) and not be empty, but its shape is {matrix.shape}.")
    found = matrix[~np.isnan(matrix)] if gaps else matrix
    if not np.isfinite(found).all():
        raise ValueError(f"{name} has values that are infinite{'' if gaps else ' or NaN'}. Pass finite ones.")
    if probabilities and found.size and (found.min() < -1e-6 or found.max() > 1 + 1e-6):
        raise ValueError(f"{name} has values from {found.min():g} to {found.max():g}. Scale them into [0, 1].")
    return matrix


def _shape_of_images(n_features: int, image_shape: Any, names: Any) -> tuple[int, int] | None:
    """(height, width) of the pictures; None for a table."""
    if names is not None and len(names) != n_features:
        raise ValueError(f"feature_names has {len(names)} names, but there are {n_features} features.")
    if image_shape is not None:
        if np.shape(image_shape) != (2,) or min(image_shape) < 1 or math.prod(image_shape) != n_features:
            raise ValueError(
                f"image_shape={image_shape!r} doesn't make {n_features} features. "
                f"Pass (height, width) with height * width = {n_features}."
            )
        return int(image_shape[0]), int(image_shape[1])
    if names is not None:
        return None
    side = math.isqrt(n_features)
    if side**2 != n_features:
        raise ValueError(
            f"{n_features} features make no square picture. Pass image_shape=(height, width); or feature_names, for a "
            "table (an estimator has them when fitted on a data frame)."
        )
    return side, side


def _n_columns(n: int, shape: tuple[int, int]) -> int:
    """Tiles side by side, for a picture about as wide as high; if possible, so that the last line is full."""
    least = max(1, math.ceil(math.sqrt(n * shape[0] / shape[1])))
    return next((n_columns for n_columns in range(least, 2 * least) if n % n_columns == 0), min(least, n))


def _mosaic(rows: np.ndarray, shape: tuple[int, int], n_columns: int, blank: float, gap: int) -> np.ndarray:
    """All pictures in one, line by line, each with so many blank pixels around it."""
    n_lines, (height, width) = math.ceil(len(rows) / n_columns), np.array(shape) + 2 * gap
    inner = slice(gap, -gap or None)
    tiles = np.full((n_lines * n_columns, height, width), blank)
    tiles[: len(rows), inner, inner] = rows.reshape(-1, *shape)
    # (n_lines, n_columns, height, width) -> (n_lines * height, n_columns * width)
    return tiles.reshape(n_lines, n_columns, height, width).swapaxes(1, 2).reshape(n_lines * height, n_columns * width)


def _draw_tiles(
    ax: Any,
    rows: np.ndarray,
    shape: tuple[int, int],
    n_columns: int | None = None,
    *,
    x: tuple[Any, str | None] = (None, None),
    y: tuple[Any, str | None] = (None, None),
    blank: float,
    separator: str,
    gap: int = 0,
    colour_bar: bool = False,
    **colours: Any,
) -> Any:
    """The image of a mosaic; `x` and `y` are the labels of its columns and lines, and what these labels are."""
    n_columns = _n_columns(len(rows), shape) if n_columns is None else n_columns
    check_scalar(n_columns, "n_columns", Integral, min_val=1)
    mosaic = _mosaic(rows, shape, n_columns, blank, gap)
    size, (height, width) = np.array(mosaic.shape), np.array(shape) + 2 * gap
    inches = size * max(min(_TILE / max(height, width), _LARGEST / size.max()), _SMALLEST / size.max())
    ax, room = _axes(ax, inches, x, y, colour_bar)
    room = size * (room / size).min()  # in inches
    image = ax.imshow(mosaic, aspect="equal", interpolation_stage="rgba", **colours)
    lines, columns = np.arange(0, size[0], height), np.arange(0, size[1], width)
    style = {"color": separator, "linewidth": min(0.8, 3 * room[1] / n_columns)}
    ax.vlines(columns[1:] - 0.5, -0.5, size[0] - 0.5, **style)
    ax.hlines(lines[1:] - 0.5, -0.5, size[1] - 0.5, **style)
    ax.spines[:].set_color(separator)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.tick_params(length=0)
    _label(ax.xaxis, columns + (width - 1) / 2, x, room[1])
    _label(ax.yaxis, lines + (height - 1) / 2, y, room[0])
    return image


def _draw_table(ax: Any, rows: np.ndarray, x: tuple[Any, str], y: tuple[Any, str], **colours: Any) -> Any:
    """The image of a table; `x` and `y` are the labels of its columns and lines, and what these labels are."""
    inches = np.clip(1.1 * _LINE * np.array(rows.shape), 2.5, _LARGEST + 1)
    ax, room = _axes(ax, inches, x, y, colour_bar=True)
    image = ax.imshow(rows, aspect="auto", interpolation_stage="rgba", **colours)
    _label(ax.xaxis, np.arange(rows.shape[1]), x, room[1])
    _label(ax.yaxis, np.arange(rows.shape[0]), y, room[0])
    return image


def _add_colour_bar(image: Any, label: str) -> None:
    """A thin one, as long as the image is high."""
    ax = image.axes
    inches = ax.get_window_extent().height / ax.figure.dpi
    ax.figure.colorbar(image, ax=ax, label=label, pad=0.02, aspect=max(10.0, inches / 0.15))


def _whole_numbers() -> Any:
    """Where the ticks of counts are."""
    return _matplotlib("ticker").MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])


def _axes(
    ax: Any, inches: np.ndarray, x: tuple[Any, str | None], y: tuple[Any, str | None], colour_bar: bool
) -> tuple[Any, np.ndarray]:
    """`ax`, or else one of that height and width in a new figure; and the height and width that it has."""
    if ax is not None:
        box = ax.get_window_extent()
        return ax, 0.8 * np.array([box.height, box.width]) / ax.figure.dpi  # what a colour bar leaves
    height = 0.1 + inches[0] + _margin(x, flat=_fit(x[0], inches[1]))
    width = 0.1 + inches[1] + _margin(y) + (1.0 if colour_bar else 0.0)
    return _matplotlib().subplots(figsize=(width, height), layout="constrained")[1], inches


def _panels(ax: Any, n_lines: int, n_columns: int, figsize: tuple[float, float], **kwargs: Any) -> np.ndarray:
    """So many axes: those given, or what a single one is divided into, or those of a new figure."""
    n = n_lines * n_columns
    if ax is None:
        axes = _matplotlib().subplots(
            n_lines, n_columns, figsize=figsize, layout="constrained", squeeze=False, **kwargs
        )
        return axes[1].ravel()
    given = np.asarray(ax, dtype=object).ravel()
    if len(given) == n:
        return given
    if len(given) > 1 or given[0].get_subplotspec() is None or not given[0].axison:
        raise ValueError(
            f"there are {n} panels, but ax is {len(given)} Axes. Pass {n} of them (such as the axes_ of a display with "
            "the same panels), or one of plt.subplots that nothing is drawn in yet, which is then divided."
        )
    given[0].set_axis_off()
    grid = given[0].get_subplotspec().subgridspec(n_lines, n_columns)
    return grid.subplots(squeeze=False, **kwargs).ravel()


def _label(axis: Any, positions: np.ndarray, labels: tuple[Any, str | None], room: float) -> None:
    """Label the ticks, as many as fit into `room` inches, and the axis."""
    names, title = labels
    axis.set_label_text(title or "")
    if names is None:
        axis.set_ticks([])
        return
    if len(names) != len(positions):
        raise ValueError(f"{len(names)} labels were given for {len(positions)} columns or lines. Pass as many.")
    upright = axis.axis_name == "x" and not _fit(names, room)
    step = math.ceil(len(names) * _LINE / room) if upright or axis.axis_name == "y" else 1
    axis.set_ticks(positions[::step], _shortened(names)[::step], fontsize=_FONT_SIZE, rotation=90 if upright else 0)


def _fit(names: Any, room: float) -> bool:
    """Whether labels fit side by side."""
    return names is None or len(names) * (1 + _longest(names)) * _CHARACTER <= room


def _margin(labels: tuple[Any, str | None], flat: bool = False) -> float:
    """Inches that labels take beside a picture, or above it if they are `flat`."""
    names, title = labels
    ticks = 0 if names is None else _LINE if flat else _CHARACTER * _longest(names)
    return 0.25 * (title is not None) + 0.1 * (names is not None) + ticks


def _longest(names: Any) -> int:
    return max(map(len, _shortened(names)))


def _shortened(names: Any) -> list[str]:
    return [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in map(str, names)]
