"""What the displays share: machines in pipelines, checks of what is drawn, panels, mosaics, tables, and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from skrbm.support.checks import optional
from skrbm.support.tensors import from_torch

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's
FONT_SIZE = 8  # points, of tick labels

_TILE, _SMALLEST, _LARGEST = 0.7, 2.0, 9.0  # inches: the longer side of a tile, and bounds of that of all of them
_LINE, _CHARACTER = 0.14, 0.075  # inches: what a tick label of FONT_SIZE takes, down and across
_FLAT = 12  # names around a circle that aren't turned
_LONGEST = 30  # characters of a label; longer ones are cut


class Labels(NamedTuple):
    """What stands along an axis: a label for each column or line, and what these labels are."""

    names: Any = None
    title: str | None = None


NO_LABELS = Labels()


def matplotlib(module: str = "matplotlib.pyplot") -> Any:
    """A module of matplotlib, which is imported only when something is drawn."""
    return optional(module, "A plot", "plots")


# -- machines ----------------------------------------------------------------------------------------------------------


def fitted_machine(estimator: Any, X: Any = None) -> tuple[Any, Any]:
    """The machine of a fitted pipeline, and X as it sees it; what is no pipeline, as it is, if it is fitted.

    Parameters
    ----------
    estimator : estimator
        A machine, or a `Pipeline` with one in it: its last step that has Gibbs sampling.
    X : array-like of shape (n_samples, n_features), optional
        Rows, as `estimator` takes them.

    Returns
    -------
    machine : estimator
    X : array-like or None

    Raises
    ------
    TypeError
        If no step of the pipeline is a machine.
    NotFittedError
        If it isn't fitted.
    """
    if (path := _path_to_machine(estimator)) is None:
        names = ", ".join(type(step).__name__ for _, step in estimator.steps)
        raise TypeError(f"no step of this Pipeline ({names}) is a machine. Pass one with a BernoulliRBMTorch in it.")
    pipelines = []
    for i in path:
        pipelines.append((estimator, i))
        estimator = estimator.steps[i][1]
    check_is_fitted(estimator)
    for pipeline, i in pipelines if X is not None else ():
        X = pipeline[:i].transform(X) if i else X
    return estimator, X


def _path_to_machine(estimator: Any) -> tuple[int, ...] | None:
    """The numbers of the steps, from pipeline to pipeline, that lead to the last machine; None if there is none."""
    if not isinstance(estimator, Pipeline):
        return ()
    for i, (_, step) in reversed([*enumerate(estimator.steps)]):
        if hasattr(step, "gibbs") or isinstance(step, Pipeline):
            path = _path_to_machine(step)
            if path is not None:
                return i, *path
    return None


# -- checks ------------------------------------------------------------------------------------------------------------


def checked_matrix(
    name: str, values: Any, shape: str, *, probabilities: bool = False, gaps: bool = False
) -> np.ndarray:
    """A copy of a matrix of finite floats, with NaN where `gaps` are allowed."""
    matrix = np.array(from_torch(values), dtype=float)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"{name} must have shape ({shape}) and not be empty, but its shape is {matrix.shape}.")
    found = matrix[~np.isnan(matrix)] if gaps else matrix
    if not np.isfinite(found).all():
        raise ValueError(f"{name} has values that are infinite{'' if gaps else ' or NaN'}. Pass finite ones.")
    if probabilities and found.size and (found.min() < -1e-6 or found.max() > 1 + 1e-6):  # but for rounding
        raise ValueError(f"{name} has values from {found.min():g} to {found.max():g}. Scale them into [0, 1].")
    return matrix


def shape_of_images(n_features: int, image_shape: Sequence[int] | None, names: Any) -> tuple[int, int] | None:
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


# -- pictures ----------------------------------------------------------------------------------------------------------


def tiles_across(n: int, shape: tuple[int, int]) -> int:
    """Tiles side by side, for a picture about as wide as high; if possible, so that the last line is full."""
    least = max(1, math.ceil(math.sqrt(n * shape[0] / shape[1])))
    return next((n_columns for n_columns in range(least, 2 * least) if n % n_columns == 0), min(least, n))


def draw_tiles(
    ax: Any,
    rows: np.ndarray,
    shape: tuple[int, int],
    n_columns: int | None = None,
    *,
    x: Labels = NO_LABELS,
    y: Labels = NO_LABELS,
    blank: float,
    separator: str,
    gap: int = 0,
    colour_bar: bool = False,
    **colours: Any,
) -> Any:
    """The image of a mosaic: rows as pictures of `shape`, each with a `gap` of blank pixels around it."""
    n_columns = tiles_across(len(rows), shape) if n_columns is None else n_columns
    check_scalar(n_columns, "n_columns", Integral, min_val=1)
    mosaic = _mosaic(rows, shape, n_columns, blank, gap)
    size, (height, width) = np.array(mosaic.shape), np.array(shape) + 2 * gap
    inches = size * max(min(_TILE / max(height, width), _LARGEST / size.max()), _SMALLEST / size.max())
    ax, room = _axes(ax, inches, x, y, colour_bar)
    room = size * (room / size).min()  # in inches
    image = ax.imshow(mosaic, **{"aspect": "equal", "interpolation_stage": "rgba"} | colours)
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


def draw_table(ax: Any, rows: np.ndarray, x: Labels, y: Labels, *, cell: float | None = None, **colours: Any) -> Any:
    """The image of a table, whose cells are so many inches high and wide, or as small as labels allow."""
    least = (2.5, 2.5) if cell is None else (1.0, 1.0)
    inches = np.clip((1.1 * _LINE if cell is None else cell) * np.array(rows.shape), least, _LARGEST + 1)
    ax, room = _axes(ax, inches, x, y, colour_bar=True)
    image = ax.imshow(rows, **{"aspect": "auto", "interpolation_stage": "rgba"} | colours)
    _label(ax.xaxis, np.arange(rows.shape[1]), x, room[1])
    _label(ax.yaxis, np.arange(rows.shape[0]), y, room[0])
    return image


def draw_circle(ax: Any, names: list[str], order: Sequence[int], n_outside: int) -> tuple[Any, np.ndarray]:
    """Axes with names around a circle of radius 1, and where their nodes are, (n, 2).

    The first `n_outside` nodes stand on it, in that `order` clockwise from the top, with their names outside; the
    others on a smaller one inside.
    """
    shown, n_inside = _shortened(names), len(names) - n_outside
    is_flat = n_outside <= _FLAT
    across = 0.25 + _CHARACTER * max(map(len, shown[:n_outside]), default=0)  # inches beside the circle
    margin = np.array([across, 0.4 if is_flat else across])
    if ax is None:
        radius = float(np.clip(1.8 * _LINE * n_outside / (2 * math.pi), 1.5 if is_flat else 1.8, 4.5))
        size = 2 * (radius + margin)
        ax = matplotlib().subplots(figsize=(size[0] + 1.0, size[1]), layout="constrained")[1]
    else:
        box = ax.get_window_extent()
        size = np.array([0.8 * box.width, box.height]) / ax.figure.dpi  # what a colour bar leaves
        radius = max(float((size / 2 - margin).min()), float(size.min()) / 5)
    width, height = size / 2 / radius
    ax.set(aspect="equal", xlim=(-width, width), ylim=(-height, height))
    ax.set_axis_off()
    places = np.zeros((len(names), 2))
    angle = math.pi / 2 - 2 * math.pi * np.arange(n_outside) / max(1, n_outside)
    places[list(order)] = np.stack((np.cos(angle), np.sin(angle)), 1)
    angle = math.pi / 2 - 2 * math.pi * (np.arange(n_inside) + 0.5) / max(1, n_inside)
    places[n_outside:] = 0.45 * np.stack((np.cos(angle), np.sin(angle)), 1)
    step = math.ceil(n_outside * _LINE / (2 * math.pi * radius))  # as many names as fit
    for i in order[::step]:
        style = _outward(places[i], is_flat)
        ax.text(*(1 + 0.1 / radius) * places[i], shown[i], rotation_mode="anchor", fontsize=FONT_SIZE, **style)
    _name_points(ax, shown[n_outside:], places[n_outside:])
    return ax, places


def _outward(place: np.ndarray, is_flat: bool) -> dict[str, Any]:
    """How a name is aligned that begins, or ends, at a place of a circle."""
    x, y = place
    if is_flat and abs(x) < 0.1:
        return {"ha": "center", "va": "bottom" if y > 0 else "top"}
    style = {"ha": "left" if x > -0.01 else "right", "va": "center"}
    turn = math.degrees(math.atan2(y, x))
    return style if is_flat else style | {"rotation": turn if x > -0.01 else turn - 180}


def draw_points(ax: Any, names: list[str], places: np.ndarray) -> Any:
    """Axes with a name beside each of the places, (n, 2)."""
    size = np.maximum(np.ptp(places, axis=0), 1e-9)
    if ax is None:
        inches = np.clip(0.55 * math.sqrt(len(names)) * size / np.sqrt(size.prod()), 2.0, _LARGEST)
        ax = matplotlib().subplots(figsize=tuple(inches + np.array([1.5, 0.5])), layout="constrained")[1]
    low, high = places.min(0) - 0.08 * size.max(), places.max(0) + 0.08 * size.max()
    ax.set(aspect="equal", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    ax.set_axis_off()
    _name_points(ax, _shortened(names), places)
    return ax


def _name_points(ax: Any, names: list[str], places: np.ndarray) -> None:
    """Names to the upper right of nodes, on white."""
    for name, place in zip(names, places, strict=True):
        ax.annotate(
            name,
            place,
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=FONT_SIZE,
            zorder=3,
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
        )


def add_colour_bar(image: Any, label: str, shrink: float = 1.0) -> None:
    """A thin one, as long as the image is high, or `shrink` times as long."""
    ax = image.axes
    inches = shrink * ax.get_window_extent().height / ax.figure.dpi
    ax.figure.colorbar(image, ax=ax, label=label, pad=0.02, shrink=shrink, aspect=max(10.0, inches / 0.15))


def _mosaic(rows: np.ndarray, shape: tuple[int, int], n_columns: int, blank: float, gap: int) -> np.ndarray:
    """All pictures in one, line by line, each with so many blank pixels around it."""
    n_lines, (height, width) = math.ceil(len(rows) / n_columns), np.array(shape) + 2 * gap
    inner = slice(gap, -gap or None)
    tiles = np.full((n_lines * n_columns, height, width), blank)
    tiles[: len(rows), inner, inner] = rows.reshape(-1, *shape)
    # (n_lines, n_columns, height, width) -> (n_lines * height, n_columns * width)
    return tiles.reshape(n_lines, n_columns, height, width).swapaxes(1, 2).reshape(n_lines * height, n_columns * width)


# -- axes and labels ---------------------------------------------------------------------------------------------------


def panel_axes(ax: Any, n_lines: int, n_columns: int, figsize: tuple[float, float], **kwargs: Any) -> np.ndarray:
    """So many axes: those given, or what a single one is divided into, or those of a new figure."""
    n = n_lines * n_columns
    if ax is None:
        how = {"figsize": figsize, "layout": "constrained", "squeeze": False, **kwargs}
        return matplotlib().subplots(n_lines, n_columns, **how)[1].ravel()
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


def with_style(style: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Properties of a line with others in their place, which may go by their short names ("c" for "color")."""
    return style | matplotlib("matplotlib.cbook").normalize_kwargs(wanted, matplotlib("matplotlib.lines").Line2D)


def whole_numbers() -> Any:
    """Where the ticks of counts are."""
    return matplotlib("matplotlib.ticker").MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])


def _axes(ax: Any, inches: np.ndarray, x: Labels, y: Labels, colour_bar: bool) -> tuple[Any, np.ndarray]:
    """`ax`, or else one of that height and width in a new figure; and the height and width that it has."""
    if ax is not None:
        box = ax.get_window_extent()
        return ax, 0.8 * np.array([box.height, box.width]) / ax.figure.dpi  # what a colour bar leaves
    height = 0.1 + inches[0] + _margin(x, flat=_fit(x.names, inches[1]))
    width = 0.1 + inches[1] + _margin(y) + (1.0 if colour_bar else 0.0)
    return matplotlib().subplots(figsize=(width, height), layout="constrained")[1], inches


def _label(axis: Any, positions: np.ndarray, labels: Labels, room: float) -> None:
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
    axis.set_ticks(positions[::step], _shortened(names)[::step], fontsize=FONT_SIZE, rotation=90 if upright else 0)


def _fit(names: Any, room: float) -> bool:
    """Whether labels fit side by side."""
    return names is None or len(names) * (1 + _longest(names)) * _CHARACTER <= room


def _margin(labels: Labels, flat: bool = False) -> float:
    """Inches that labels take beside a picture, or above it if they are `flat`."""
    names, title = labels
    ticks = 0 if names is None else _LINE if flat else _CHARACTER * _longest(names)
    return 0.25 * (title is not None) + 0.1 * (names is not None) + ticks


def _longest(names: Any) -> int:
    return max(map(len, _shortened(names)))


def _shortened(names: Any) -> list[str]:
    return [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in map(str, names)]
