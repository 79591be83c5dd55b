"""Rows of a machine or of data, as they are and as the machine sees them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.utils import check_random_state, check_scalar

from skrbm.plots.drawing import (
    Labels,
    add_colour_bar,
    checked_matrix,
    draw_table,
    draw_tiles,
    fitted_machine,
    matplotlib,
    shape_of_images,
    tiles_across,
)
from skrbm.support.checks import check_choice
from skrbm.support.tensors import dense, from_torch, take_rows

_MISSING, _SEPARATOR = "#9ecae1", "#b0b0b0"
_BLANK = 2.0  # stands for no picture where values are in [0, 1]


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
    >>> from skrbm.plots import SamplesDisplay
    >>> display = SamplesDisplay(np.eye(9), n_columns=3, column_labels=["a", "b", "c"])  # and display.plot() draws it
    >>> display.samples.shape
    (9, 9)
    """

    samples: Any
    image_shape: Sequence[int] | None
    feature_names: Any
    n_columns: int | None
    row_labels: Sequence[Any] | None
    column_labels: Sequence[Any] | None
    row_title: str | None
    column_title: str | None
    figure_: Any
    ax_: Any
    im_: Any

    def __init__(
        self,
        samples: Any,
        *,
        image_shape: Sequence[int] | None = None,
        feature_names: Any = None,
        n_columns: int | None = None,
        row_labels: Sequence[Any] | None = None,
        column_labels: Sequence[Any] | None = None,
        row_title: str | None = None,
        column_title: str | None = None,
    ) -> None:
        self.samples, self.image_shape, self.feature_names = samples, image_shape, feature_names
        self.n_columns = n_columns
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
        image_shape: Sequence[int] | None = None,
        random_state: Any = None,
        ax: Any = None,
        cmap: Any = None,
        im_kw: Any = None,
    ) -> Self:
        """Draw what a fitted machine makes up, or what it sees in rows.

        Parameters
        ----------
        estimator : BernoulliRBMTorch
            A fitted machine, or a `Pipeline`: its last step that is one, to which X comes through the steps before it.
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
            None goes on with the model's own stream; the random bits that `kind="steps"` starts from without X are then
            new ones each time.
        ax : matplotlib Axes, optional
            Where to draw; by default in a figure of its own.
        cmap : str or matplotlib Colormap, optional
            Colours; by default white for 0, black for 1.
        im_kw : dict, optional
            What else `Axes.imshow` takes, such as `vmin` and `vmax`.

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
        matplotlib()  # if it is missing, say so before any work
        estimator, X = fitted_machine(estimator, X)
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
        shape = shape_of_images(estimator.n_features_in_, image_shape, names)
        if random_state is not None:
            random_state = check_random_state(random_state)
        machine = _Machine(estimator, values == "bits", shape, random_state)
        head = None if X is None else take_rows(X, slice(n_samples))
        found = _KINDS[kind](machine, head, n_samples, n_steps)
        return cls(**found, image_shape=image_shape, feature_names=names).plot(ax=ax, cmap=cmap, im_kw=im_kw)

    def plot(self, ax: Any = None, *, cmap: Any = None, im_kw: Any = None) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; by default in a figure of its own.
        cmap : str or matplotlib Colormap, optional
            Colours; by default white for 0, black for 1.
        im_kw : dict, optional
            What else `Axes.imshow` takes, such as `vmin` and `vmax`.

        Returns
        -------
        SamplesDisplay
            Itself, with `figure_`, `ax_` and `im_`.
        """
        samples = checked_matrix("samples", self.samples, "n_samples, n_features", probabilities=True, gaps=True)
        shape = shape_of_images(samples.shape[1], self.image_shape, self.feature_names)
        samples[np.isnan(samples).all(axis=1)] = _BLANK
        cmap = matplotlib().get_cmap("gray_r" if cmap is None else cmap).with_extremes(bad=_MISSING, over="white")
        colours = {"cmap": cmap, "vmin": 0.0, "vmax": 1.0} | (im_kw or {})
        if shape is None:
            labels = np.arange(len(samples)) if self.row_labels is None else self.row_labels
            y = Labels(labels, self.row_title or "row")
            self.im_ = draw_table(ax, samples, Labels(self.feature_names, "feature"), y, **colours)
            add_colour_bar(self.im_, "value")
        else:
            self.im_ = draw_tiles(
                ax,
                samples,
                shape,
                self.n_columns,
                x=Labels(self.column_labels, self.column_title),
                y=Labels(self.row_labels, self.row_title),
                blank=_BLANK,
                separator=_SEPARATOR,
                gap=1,
                **colours,
            )
        self.ax_, self.figure_ = self.im_.axes, self.im_.axes.figure
        return self


# -- what is drawn -----------------------------------------------------------------------------------------------------


class _Machine(NamedTuple):
    """A fitted machine, and how it is looked at."""

    estimator: Any
    bits: bool  # or else probabilities
    shape: tuple[int, int] | None
    random_state: Any

    def sample(self, n: int, n_steps: int) -> np.ndarray:
        """Ends of chains from random bits."""
        return np.asarray(self.estimator.sample(n, n_steps, random_state=self.random_state))

    def random_bits(self, n: int) -> np.ndarray:
        """Where chains start that are watched from there."""
        seed = None if self.random_state is None else self.random_state.randint(0, 2**32, 4, np.uint64)
        bits = np.random.default_rng(seed).integers(2, size=(n, self.estimator.n_features_in_))
        return bits.astype(np.asarray(self.estimator.components_).dtype)

    def walk(self, v: Any, n_steps: int) -> np.ndarray:
        """Rows after Gibbs steps."""
        return _quietly(self.estimator.gibbs, v, n_steps, self.random_state)

    def look(self, v: np.ndarray) -> np.ndarray:
        """Rows as they are to be seen."""
        return v if self.bits else _quietly(self.estimator.reconstruct, v)


def _samples(machine: _Machine, X: Any, n_samples: int, n_steps: int) -> dict[str, Any]:
    return {"samples": machine.look(machine.sample(n_samples, n_steps))}


def _reconstructions(machine: _Machine, X: Any, n_samples: int, n_steps: int) -> dict[str, Any]:
    """Lines of rows and of what the machine sees in them, in turn."""
    given = _dense(X)
    seen = machine.walk(X, 1) if machine.bits else machine.estimator.reconstruct(X)
    n_columns = 1 if machine.shape is None else tiles_across(len(given), machine.shape)
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


def _quietly(method: Callable[..., Any], *args: Any) -> np.ndarray:
    """A method of rows that the machine made itself, whose columns have no names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return np.asarray(method(*args))  # which may be a frame


def _dense(X: Any) -> np.ndarray:
    return np.asarray(dense(from_torch(X)), dtype=float)
