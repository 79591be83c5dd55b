"""What the tests of displays look at, and how they look."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("matplotlib").use("Agg")

RNG = np.random.default_rng(0)
IMAGES = (RNG.random((60, 64)) < np.linspace(0.1, 0.9, 64)).astype(np.float32)
NAMES = [f"a feature with the name {i}" for i in range(16)]
TABLE = pd.DataFrame((RNG.random((50, 16)) < 0.4).astype(float), columns=NAMES)


def tiles(display, shape, gap=0):
    """The pictures of a mosaic, line by line, without the blank pixels around each."""
    mosaic = display.im_.get_array()
    height, width = np.array(shape) + 2 * gap
    found = mosaic.reshape(mosaic.shape[0] // height, height, -1, width).swapaxes(1, 2)
    found = found[:, :, gap : height - gap, gap : width - gap]
    return found.reshape(-1, np.prod(shape))


def lightness(rgba):
    """L* of sRGB colours."""
    linear = np.where(rgba[:, :3] <= 0.04045, rgba[:, :3] / 12.92, ((rgba[:, :3] + 0.055) / 1.055) ** 2.4)
    Y = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(Y) - 16


def texts(figure):
    """All that is written, and where."""
    figure.canvas.draw()
    found = list(figure.texts)
    for ax in figure.axes:
        found += [ax.title, *ax.texts, *(ax.get_legend().get_texts() if ax.get_legend() else [])]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [axis.label, *(label for tick in ticks for label in (tick.label1, tick.label2))]
    shown = [text for text in found if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in shown]


def assert_legible(display):
    """No text overlaps another, nor does one reach over the edge."""
    figure = display.figure_
    found = texts(figure)
    for i, (text, box) in enumerate(found):
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= figure.bbox.width + 1, text
        assert box.y1 <= figure.bbox.height + 1, text
        for other, other_box in found[:i]:
            width = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
            height = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
            assert min(width, height) < 1, f"{text!r} and {other!r}"
    assert figure.bbox.width / figure.dpi <= 16
    assert figure.bbox.height / figure.dpi <= 16
