"""Curves of training, and how much the hidden units are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from skrbm.plots.drawing import (
    COLOURS,
    FONT_SIZE,
    checked_matrix,
    fitted_machine,
    matplotlib,
    panel_axes,
    whole_numbers,
    with_style,
)

_LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
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
_COUNTS, _SHARES = ("k", "retreats"), ("dead_share", "saturated_share")


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

    >>> from skrbm.plots import LearningCurveDisplay
    >>> history = {"epoch": [1, 2], "loss": [0.5, 0.1], "free_energy_gap": [float("nan")] * 2}
    >>> LearningCurveDisplay(history, measures=["loss", "free_energy_gap"]).panels
    ['loss']
    """

    history: Mapping[str, Any]
    name: str | None
    measures: Sequence[str]
    figure_: Any
    axes_: Any
    lines_: list[Any]

    def __init__(
        self,
        history: Mapping[str, Any],
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
        line_kw: Any = None,
    ) -> Self:
        """Draw the history of a fitted machine.

        Parameters
        ----------
        estimator : BernoulliRBMTorch
            A fitted machine, or a `Pipeline`: its last step that is one.
        name : str, optional
            What the legend calls it.
        measures : sequence of str
            Which of `history_`.
        ax : matplotlib Axes or array of them, optional
            A panel each; a single one is divided. By default in a figure of its own.
        line_kw : dict, optional
            What `Axes.plot` takes for the curves, such as `color`.

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
        matplotlib()  # if it is missing, say so before any work
        estimator, _ = fitted_machine(estimator)
        if not hasattr(estimator, "history_"):
            raise ValueError(
                f"this {type(estimator).__name__} has no history_, which only training writes. Call its fit."
            )
        return cls(estimator.history_, name=name, measures=measures).plot(ax=ax, line_kw=line_kw)

    def plot(self, ax: Any = None, *, line_kw: Any = None) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, optional
            A panel each, such as `axes_` of another display; a single one is divided. By default in a figure of its
            own.
        line_kw : dict, optional
            What `Axes.plot` takes for the curves, such as `color`.

        Returns
        -------
        LearningCurveDisplay
            Itself, with `figure_`, `axes_` and `lines_`.
        """
        panels = self.panels
        self.axes_ = panel_axes(ax, len(panels), 1, (6.4, 0.5 + 1.6 * len(panels)), sharex=True)
        self.figure_ = self.axes_[0].figure
        drawn = line_kw or {}
        self.lines_ = [self._draw(panel, measure, drawn) for panel, measure in zip(self.axes_, panels, strict=True)]
        self.axes_[-1].set_xlabel("epoch")
        self.axes_[-1].xaxis.set_major_locator(whole_numbers())
        self.figure_.align_ylabels(self.axes_)
        if self.name is not None:
            self.axes_[0].legend()
        return self

    def _draw(self, ax: Any, measure: str, line_kw: dict[str, Any]) -> Any:
        """The curve of a measure, unlike those that are there."""
        label = _UNITS_OF_MEASURES.get(measure, measure)
        if ax.get_ylabel() in {*_UNITS_OF_MEASURES.values()} - {label}:
            shown = ax.get_ylabel().replace("\n", " ")
            raise ValueError(f"{measure!r} can't go into a panel of the {shown}. Draw the same measures in both.")
        values = np.asarray(self.history[measure], float)
        n = len(ax.lines)
        style = {
            "color": COLOURS[n % len(COLOURS)],
            "linestyle": _LINE_STYLES[n % len(_LINE_STYLES)],
            "marker": "o" if np.isfinite(values).sum() == 1 else None,
            "label": self.name,
        }
        (line,) = ax.plot(self.history["epoch"], values, **with_style(style, line_kw))
        ax.set_ylabel(label, fontsize=FONT_SIZE + 1)
        ax.grid(alpha=0.3)
        if measure in _COUNTS:
            ax.yaxis.set_major_locator(whole_numbers())
        elif measure in _SHARES:
            most = max(np.nanmax(curve.get_ydata()) for curve in ax.lines)
            ax.set_ylim(0, min(1.1 * most, 1.0) or 1.0)  # a share of nothing is no line between -0.05 and 0.05
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
    >>> from skrbm.plots import HiddenActivityDisplay
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
        return checked_matrix("activity", self.activity, "n_rows, n_hidden", probabilities=True).max(axis=0) < 0.01

    @property
    def saturated(self) -> np.ndarray:
        """Which units are on, P > 0.99, in all rows."""
        return checked_matrix("activity", self.activity, "n_rows, n_hidden", probabilities=True).min(axis=0) > 0.99

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, ax: Any = None, line_kw: Any = None) -> Self:
        """Draw how a fitted machine sees rows.

        Parameters
        ----------
        estimator : BernoulliRBMTorch or BernoulliRBM
            A fitted machine, or a `Pipeline`: its last step that is one, to which X comes through the steps before it.
        X : {array-like, sparse matrix, data frame} of shape (n_rows, n_features)
            Rows.
        ax : matplotlib Axes or array of them, optional
            Two panels; a single one is divided. By default in a figure of its own.
        line_kw : dict, optional
            What `Axes.plot` takes for the marks of the units, such as `color`.

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
        matplotlib()  # if it is missing, say so before any work
        estimator, X = fitted_machine(estimator, X)
        return cls(estimator.transform(X)).plot(ax=ax, line_kw=line_kw)

    def plot(self, ax: Any = None, *, line_kw: Any = None) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, optional
            Two panels; a single one is divided. By default in a figure of its own.
        line_kw : dict, optional
            What `Axes.plot` takes for the marks of the units, such as `color`.

        Returns
        -------
        HiddenActivityDisplay
            Itself, with `figure_` and `axes_`.
        """
        activity = checked_matrix("activity", self.activity, "n_rows, n_hidden", probabilities=True)
        self.axes_ = panel_axes(ax, 1, 2, (9.0, 4.0))
        self.figure_ = self.axes_[0].figure
        self._draw_units(self.axes_[0], activity.mean(axis=0), line_kw or {})
        self._draw_rows(self.axes_[1], activity.mean(axis=1))
        return self

    def _draw_units(self, ax: Any, mean: np.ndarray, line_kw: dict[str, Any]) -> None:
        order = np.argsort(-mean, kind="stable")
        dead, saturated = self.dead[order], self.saturated[order]
        kinds = {"saturated": (saturated, "^", 1), "in use": (~(dead | saturated), ".", 0), "dead": (dead, "v", 4)}
        for kind, (mask, marker, colour) in kinds.items():
            label = f"{kind}: {mask.sum()} of {len(mask)} ({100 * mask.mean():.1f} %)"
            # markers on the edge are whole; those of no unit would take up room in the layout
            style = {"color": COLOURS[colour], "clip_on": not mask.any(), "zorder": 3, "label": label}
            style |= {"marker": marker, "linestyle": "none"}
            ax.plot(np.flatnonzero(mask) + 1, mean[order][mask], **with_style(style, line_kw))
        ax.set(xlabel="hidden unit, sorted", ylabel="mean P(h = 1 | v)", xlim=(0.5, len(mean) + 0.5), ylim=(0, 1))
        ax.xaxis.set_major_locator(whole_numbers())
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.03), borderaxespad=0, frameon=False, fontsize=FONT_SIZE)

    def _draw_rows(self, ax: Any, share: np.ndarray) -> None:
        low, high = max(0.0, share.min() - 0.01), min(1.0, share.max() + 0.01)
        ax.hist(share, bins=np.linspace(low, high, 31), color=COLOURS[0])
        ax.set(xlabel="share of active units\n(mean P(h = 1 | v))", ylabel="rows")
        ax.yaxis.set_major_locator(whole_numbers())
