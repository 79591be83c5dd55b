"""Tables: columns by name."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Table"]


class Table(dict[str, np.ndarray]):
    """Columns of equal length by name, like scikit-learn's `cv_results_`; `pandas.DataFrame(table)` takes it.

    Examples
    --------
    >>> Table(method=np.array(["gibbs", "other"]), r_hat=np.array([1.0032, 1.5]))
    method    r_hat
    gibbs         1
    other       1.5
    """

    def __repr__(self) -> str:
        cells = [[name, *(_words(value) for value in column)] for name, column in self.items()]
        if not cells:
            return "Table()"
        widths = [max(map(len, column)) for column in cells]
        text = [np.asarray(column).dtype.kind in "US" for column in self.values()]
        lines = [
            "  ".join(
                cell.ljust(width) if left else cell.rjust(width)
                for cell, width, left in zip(row, widths, text, strict=True)
            )
            for row in zip(*cells, strict=True)
        ]
        return "\n".join(line.rstrip() for line in lines)


def _words(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "-" if np.isnan(value) else f"{value:.3g}"
    return str(value)
