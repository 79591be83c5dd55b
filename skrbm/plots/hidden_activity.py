"""How much the hidden units are used."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skrbm.plots.drawing import COLOURS, FONT_SIZE, checked_matrix, matplotlib, panel_axes, whole_numbers


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
        matplotlib()  # if it is missing, say so before any work
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
        activity = checked_matrix("activity", self.activity, "n_rows, n_hidden", probabilities=True)
        self.axes_ = panel_axes(ax, 1, 2, (9.0, 4.0))
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
            style = {"color": COLOURS[colour], "clip_on": not mask.any(), "zorder": 3}
            ax.plot(np.flatnonzero(mask) + 1, mean[order][mask], marker, label=label, **style)
        ax.set(xlabel="hidden unit, sorted", ylabel="mean P(h = 1 | v)", xlim=(0.5, len(mean) + 0.5), ylim=(0, 1))
        ax.xaxis.set_major_locator(whole_numbers())
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.03), borderaxespad=0, frameon=False, fontsize=FONT_SIZE)

    def _draw_rows(self, ax: Any, share: np.ndarray) -> None:
        low, high = max(0.0, share.min() - 0.01), min(1.0, share.max() + 0.01)
        ax.hist(share, bins=np.linspace(low, high, 31), color=COLOURS[0])
        ax.set(xlabel="share of active units\n(mean P(h = 1 | v))", ylabel="rows")
        ax.yaxis.set_major_locator(whole_numbers())
