"""Weights of hidden units."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.utils import check_scalar

from skrbm.plots.drawing import (
    Labels,
    add_colour_bar,
    checked_matrix,
    draw_table,
    draw_tiles,
    fitted_machine,
    matplotlib,
    shape_of_images,
)
from skrbm.support.checks import check_choice

_DIVERGING = ("#001a57", "#2a55a3", "#848484", "#e0b040", "#fff3b0")  # in hue; ever lighter, so that greyscale does


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
    >>> from skrbm.plots import FiltersDisplay
    >>> display = FiltersDisplay(np.zeros((5, 6)), image_shape=(2, 3))  # and display.plot() draws it
    >>> display.weights.shape
    (5, 6)
    """

    weights: Any
    image_shape: Sequence[int] | None
    feature_names: Any
    units: Any
    figure_: Any
    ax_: Any
    im_: Any

    def __init__(
        self,
        weights: Any,
        *,
        image_shape: Sequence[int] | None = None,
        feature_names: Any = None,
        units: Any = None,
    ) -> None:
        self.weights, self.image_shape, self.feature_names, self.units = weights, image_shape, feature_names, units

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        n_units: int | None = 64,
        sort: str | None = "norm",
        image_shape: Sequence[int] | None = None,
        ax: Any = None,
        cmap: Any = None,
        im_kw: Any = None,
    ) -> Self:
        """Draw the weights of a fitted machine.

        Parameters
        ----------
        estimator : BernoulliRBMTorch or BernoulliRBM
            Anything with `components_`, in fact; or a `Pipeline`: its last step that is a machine, to which X comes
            through the steps before it.
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
        cmap : str or matplotlib Colormap, optional
            Colours; by default from blue by grey to yellow.
        im_kw : dict, optional
            What else `Axes.imshow` takes, such as `vmin` and `vmax`.

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
        matplotlib()  # if it is missing, say so before any work
        estimator, X = fitted_machine(estimator, X)
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
        return cls(weights[units], image_shape=image_shape, feature_names=names, units=units).plot(
            ax=ax, cmap=cmap, im_kw=im_kw
        )

    def plot(self, ax: Any = None, *, cmap: Any = None, im_kw: Any = None) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; by default in a figure of its own.
        cmap : str or matplotlib Colormap, optional
            Colours; by default from blue by grey to yellow.
        im_kw : dict, optional
            What else `Axes.imshow` takes, such as `vmin` and `vmax`.

        Returns
        -------
        FiltersDisplay
            Itself, with `figure_`, `ax_` and `im_`.
        """
        weights = checked_matrix("weights", self.weights, "n_units, n_features")
        units = np.arange(len(weights)) if self.units is None else self.units
        shape = shape_of_images(weights.shape[1], self.image_shape, self.feature_names)
        if cmap is None:
            cmap = matplotlib("matplotlib.colors").LinearSegmentedColormap.from_list("blue_grey_yellow", _DIVERGING)
        limit = float(np.abs(weights).max()) or 1.0
        colours = {"cmap": cmap, "vmin": -limit, "vmax": limit} | (im_kw or {})
        if shape is None:
            x = Labels(self.feature_names, "feature")
            self.im_ = draw_table(ax, weights, x, Labels(units, "hidden unit"), **colours)
        else:
            self.im_ = draw_tiles(ax, weights, shape, blank=np.nan, separator="white", colour_bar=True, **colours)
        add_colour_bar(self.im_, "weight")
        self.ax_, self.figure_ = self.im_.axes, self.im_.axes.figure
        return self
