"""Couplings of units, as a matrix or a network."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from sklearn.utils import check_scalar

from skrbm.plots.drawing import (
    FONT_SIZE,
    Labels,
    add_colour_bar,
    checked_matrix,
    draw_circle,
    draw_points,
    draw_table,
    fitted_machine,
    matplotlib,
)
from skrbm.support.checks import check_choice

_BLUE, _ORANGE = ("#002a5c", "#2f79b5", "#a9cbe4"), ("#f7c08a", "#e07b1a", "#8a3d00")
_FADED = 0.3  # opacity of what may be 0
_DIAGONAL, _DIVIDER = "#e4e4e4", "#404040"
_CELL, _WRITTEN, _LEGIBLE = 0.36, 16, 0.28  # inches of a cell with a number, for so many units; least of these inches
_THINNEST, _WIDEST = 0.8, 5.0  # points, of edges
_MANY = 40  # edges; of more the widest are narrower


class CouplingsDisplay:
    """Couplings of units: a matrix, or a network of those that are not 0.

    Blue is negative and orange positive. Couplings within two standard errors of 0 are faded in the matrix, and left
    out of the network, where negative ones are dashed.

    Parameters
    ----------
    couplings : array-like of shape (n_units, n_units)
        Symmetric; the diagonal is not looked at.
    stderr : array-like of shape (n_units, n_units), optional
        Standard errors of these.
    names : array-like of str of shape (n_units,), optional
        Names of the units; by default x0, x1, … and h0, h1, … for hidden ones.
    n_hidden : int
        How many of the units, the last ones, are hidden.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.
    figure_ : matplotlib Figure
        What `ax_` is in.
    im_ : matplotlib AxesImage or LineCollection
        The matrix, or the edges of the network.
    edges_ : ndarray of shape (n_edges, 2)
        The pairs of units that the network shows, weakest first; None for a matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm import BoltzmannMachine
    >>> from skrbm.plots import CouplingsDisplay
    >>> machine = BoltzmannMachine.from_ising(np.zeros(3), [[0.0, 0.5, 0.0], [0.5, 0.0, -1.0], [0.0, -1.0, 0.0]])
    >>> display = CouplingsDisplay(machine.couplings_, names=["a", "b", "c"])  # and display.plot() draws it
    >>> display.couplings.shape
    (3, 3)
    """

    couplings: Any
    stderr: Any
    names: Any
    n_hidden: int
    figure_: Any
    ax_: Any
    im_: Any
    edges_: np.ndarray | None

    def __init__(self, couplings: Any, *, stderr: Any = None, names: Any = None, n_hidden: int = 0) -> None:
        self.couplings, self.stderr, self.names, self.n_hidden = couplings, stderr, names, n_hidden

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        kind: Literal["matrix", "network"] = "matrix",
        threshold: float = 0.0,
        max_edges: int | None = 200,
        positions: Any = None,
        ax: Any = None,
        cmap: Any = None,
        im_kw: Any = None,
    ) -> Self:
        """Draw the couplings of a fitted machine, with the weights of hidden units if it has any.

        Parameters
        ----------
        estimator : BoltzmannMachine
            Or a `Pipeline`: its last step that is a machine. With `couplings_stderr_` the picture shows which couplings
            may be 0.
        kind : {"matrix", "network"}
            A table of colours, or units as nodes and couplings as edges.
        threshold : float
            The network leaves out couplings that are smaller, without their sign.
        max_edges : int or None
            The network shows so many at most, the largest; None is all.
        positions : array-like of shape (n_units, 2), optional
            Where the nodes are, y upwards. By default on a circle, neighbours being those that are coupled most, and
            hidden units on a smaller one inside.
        ax : matplotlib Axes, optional
            Where to draw; by default in a figure of its own.
        cmap : str or matplotlib Colormap, optional
            Colours; by default from blue by white to orange.
        im_kw : dict, optional
            What else `Axes.imshow` takes, or `LineCollection` for a network, such as `alpha`.

        Returns
        -------
        CouplingsDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError, TypeError
            If a parameter is not as described, or the machine has no couplings.
        """
        matplotlib()  # if it is missing, say so before any work
        machine, _ = fitted_machine(estimator)
        if not hasattr(machine, "couplings_"):
            raise TypeError(
                f"a {type(machine).__name__} has no couplings_. Pass a BoltzmannMachine; FiltersDisplay draws weights."
            )
        R, W = np.asarray(machine.couplings_, float), np.asarray(machine.components_, float)
        T = np.asarray(getattr(machine, "hidden_couplings_", np.zeros((len(W), len(W)))), float)
        names = getattr(machine, "feature_names_in_", None)
        if names is not None:
            names = [*names, *_names(0, len(W))]
        stderr = getattr(machine, "couplings_stderr_", None)
        return cls(np.block([[R, W.T], [W, T]]), stderr=stderr, names=names, n_hidden=len(W)).plot(
            ax, kind=kind, threshold=threshold, max_edges=max_edges, positions=positions, cmap=cmap, im_kw=im_kw
        )

    def plot(
        self,
        ax: Any = None,
        *,
        kind: Literal["matrix", "network"] = "matrix",
        threshold: float = 0.0,
        max_edges: int | None = 200,
        positions: Any = None,
        cmap: Any = None,
        im_kw: Any = None,
    ) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; by default in a figure of its own.
        kind, threshold, max_edges, positions, cmap, im_kw
            As in `from_estimator`.

        Returns
        -------
        CouplingsDisplay
            Itself, with `figure_`, `ax_`, `im_` and `edges_`.
        """
        check_choice("kind", kind, ("matrix", "network"))
        couplings = _square("couplings", self.couplings)
        limit = float(np.abs(couplings).max()) or 1.0
        if not np.allclose(couplings, couplings.T, atol=1e-5 * limit):
            raise ValueError("couplings must be symmetric. Pass (couplings + couplings.T) / 2, if that is meant.")
        n = len(couplings)
        check_scalar(self.n_hidden, "n_hidden", Integral, min_val=0, max_val=n)
        np.fill_diagonal(couplings, 0.0)
        is_clear = np.ones_like(couplings, bool)
        if self.stderr is not None:
            is_clear = np.abs(couplings) >= 2 * np.maximum(_square("stderr", self.stderr, n), 1e-300)
        names = _names(n - self.n_hidden, self.n_hidden) if self.names is None else list(map(str, self.names))
        if len(names) != n:
            raise ValueError(f"names has {len(names)} names, but there are {n} units.")
        cmap = _colours(with_white=kind == "matrix") if cmap is None else cmap
        limit = float(np.abs(couplings).max()) or 1.0
        if kind == "matrix":
            colours = {"cmap": cmap, "vmin": -limit, "vmax": limit} | (im_kw or {})
            self.edges_, self.im_ = None, _draw_matrix(ax, couplings, is_clear, names, self.n_hidden, colours)
        else:
            self.edges_ = _edges(couplings, is_clear, threshold, max_edges)
            lines = {"cmap": cmap, "clim": (-limit, limit)} | (im_kw or {})
            self.im_ = _draw_network(ax, couplings, self.edges_, names, self.n_hidden, positions, lines)
        add_colour_bar(self.im_, "coupling", shrink=1.0 if kind == "matrix" else 0.6)
        self.ax_, self.figure_ = self.im_.axes, self.im_.axes.figure
        return self


def _colours(with_white: bool) -> Any:
    """From blue to orange, by white or, as white lines aren't seen, with a jump at 0."""
    if with_white:
        colours = [*_BLUE, "#ffffff", *_ORANGE]
        return matplotlib("matplotlib.colors").LinearSegmentedColormap.from_list("blue_white_orange", colours)
    ends: Any = list(zip((0.0, 0.25, 0.5, 0.5, 0.75, 1.0), _BLUE + _ORANGE, strict=True))
    return matplotlib("matplotlib.colors").LinearSegmentedColormap.from_list("blue_orange", ends)


def _names(n_visible: int, n_hidden: int) -> list[str]:
    return [f"x{i}" for i in range(n_visible)] + [f"h{j}" for j in range(n_hidden)]


def _square(name: str, values: Any, n: int | None = None) -> np.ndarray:
    """A copy of a square matrix of finite floats."""
    matrix = checked_matrix(name, values, "n_units, n_units")
    n = len(matrix) if n is None else n
    if matrix.shape != (n, n):
        raise ValueError(f"{name} must have shape ({n}, {n}), but its shape is {matrix.shape}.")
    return matrix


# -- the matrix --------------------------------------------------------------------------------------------------------


def _draw_matrix(
    ax: Any, couplings: np.ndarray, is_clear: np.ndarray, names: list[str], n_hidden: int, colours: dict[str, Any]
) -> Any:
    """The image, with numbers where there are few units."""
    n = len(couplings)
    shown = np.where(np.eye(n, dtype=bool), np.nan, couplings)
    style = {"aspect": "equal", "interpolation": "nearest", "alpha": np.where(is_clear | np.isnan(shown), 1.0, _FADED)}
    cmap = matplotlib().get_cmap(colours["cmap"]).with_extremes(bad=_DIAGONAL)
    cell = _CELL if n <= _WRITTEN else None
    image = draw_table(ax, shown, Labels(names), Labels(names), cell=cell, **style | colours | {"cmap": cmap})
    is_own, ax = ax is None, image.axes
    ax.tick_params(length=0)
    ax.spines[:].set_color(_DIAGONAL)
    if n_hidden:
        ax.axhline(n - n_hidden - 0.5, color=_DIVIDER, linewidth=1)
        ax.axvline(n - n_hidden - 0.5, color=_DIVIDER, linewidth=1)
    box = ax.get_window_extent()
    if n <= _WRITTEN and (is_own or 0.8 * min(box.width, box.height) / ax.figure.dpi >= _LEGIBLE * n):
        for i, j in zip(*np.nonzero(~np.eye(n, dtype=bool)), strict=True):
            _write(ax, j, i, couplings[i, j], is_clear[i, j], image)
    return image


def _write(ax: Any, x: int, y: int, value: float, is_clear: bool, image: Any) -> None:
    """A number in its cell, light on what is dark."""
    red, green, blue, _ = image.cmap(image.norm(value))
    is_dark = is_clear and 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
    colour = "white" if is_dark else "black" if is_clear else "#909090"
    text = f"{value + 0.0:.1f}".replace("-0.0", "0.0").replace("-", "−")
    ax.text(x, y, text, ha="center", va="center", fontsize=FONT_SIZE - 1, color=colour)


# -- the network -------------------------------------------------------------------------------------------------------


def _edges(couplings: np.ndarray, is_clear: np.ndarray, threshold: float, max_edges: int | None) -> np.ndarray:
    """Pairs (n_edges, 2) that are to be seen, the weakest first."""
    check_scalar(threshold, "threshold", Real, min_val=0.0)
    if max_edges is not None:
        check_scalar(max_edges, "max_edges", Integral, min_val=1)
    size = np.abs(couplings)
    pairs = np.argwhere(np.triu(is_clear & (size > 0) & (size >= threshold), 1))
    order = np.argsort(-size[pairs[:, 0], pairs[:, 1]], kind="stable")[:max_edges]
    return np.asarray(pairs[order[::-1]])


def _draw_network(
    ax: Any,
    couplings: np.ndarray,
    edges: np.ndarray,
    names: list[str],
    n_hidden: int,
    positions: Any,
    lines: dict[str, Any],
) -> Any:
    """The edges, below nodes with names."""
    n_visible = len(names) - n_hidden
    shown = np.zeros_like(couplings)
    shown[edges[:, 0], edges[:, 1]] = np.abs(couplings[edges[:, 0], edges[:, 1]])
    if positions is None:
        order = _around(shown + shown.T, n_visible)
        ax, places = draw_circle(ax, names, order, n_visible)
        paths = [_chord(places[i], places[j], bent=i < n_visible and j < n_visible) for i, j in edges]
    else:
        places = checked_matrix("positions", positions, "n_units, 2")
        if places.shape != (len(names), 2):
            raise ValueError(f"positions must have shape ({len(names)}, 2), but its shape is {places.shape}.")
        ax = draw_points(ax, names, places)
        paths = [places[[i, j]] for i, j in edges]
    values = couplings[edges[:, 0], edges[:, 1]]
    strength = np.abs(values) / (np.abs(values).max() if len(values) else 1.0)
    style = {
        "linewidths": _THINNEST + (_WIDEST * min(1.0, math.sqrt(_MANY / max(1, len(edges)))) - _THINNEST) * strength,
        "linestyles": ["--" if value < 0 else "-" for value in values],
        "zorder": 1,
    }
    collection = matplotlib("matplotlib.collections").LineCollection(paths, array=values, **style | lines)
    ax.add_collection(collection, autolim=False)
    for marker, colour, part in (("o", "#404040", slice(n_visible)), ("s", "white", slice(n_visible, None))):
        ax.scatter(*places[part].T, s=28, marker=marker, color=colour, edgecolor="#404040", zorder=2)
    return collection


def _around(strength: np.ndarray, n_visible: int) -> list[int]:
    """Visible units in the order of a circle: next to those that they are coupled with most, one by one.

    The path that is strongest at its ends is found greedily, from the strongest pair on: chains of units are joined at
    their ends.
    """
    chain_of = {i: [i] for i in range(n_visible)}
    pairs = np.argwhere(np.triu(strength[:n_visible, :n_visible], 1) > 0)
    for i, j in pairs[np.argsort(-strength[pairs[:, 0], pairs[:, 1]], kind="stable")].tolist():
        first, second = chain_of[i], chain_of[j]
        if first is second or i not in (first[0], first[-1]) or j not in (second[0], second[-1]):
            continue
        if first[0] == i:
            first.reverse()
        first.extend(second if second[0] == j else second[::-1])
        chain_of.update(dict.fromkeys(first, first))
    chains = {id(chain): chain for chain in chain_of.values()}
    return [i for chain in chains.values() for i in chain]


def _chord(start: np.ndarray, end: np.ndarray, bent: bool) -> np.ndarray:
    """Points from one node to another; between two on the circle in a bow that keeps away from it."""
    if not bent:
        return np.stack((start, end))
    t = np.linspace(0, 1, 33)[:, None]
    pull = 1 - 0.55 * math.sqrt(float(((end - start) ** 2).sum())) / 2
    middle = pull * (start + end) / 2
    return np.asarray((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end)
