"""Tables: columns by name that print themselves."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import chain, repeat
from typing import Any

import numpy as np

from skrbm.support.checks import optional


class Table(dict[str, np.ndarray]):
    """Columns of equal length by name, like scikit-learn's `cv_results_`; `pandas.DataFrame(table)` takes it.

    Attributes
    ----------
    note : str
        Printed below the table.

    Examples
    --------
    >>> Table(method=np.array(["gibbs", "other"]), r_hat=np.array([1.0032, 1.5]))
    method    r_hat
    gibbs         1
    other       1.5
    """

    note = ""

    def __repr__(self) -> str:
        if not self:
            return "Table()"
        cells = [[name, *map(_words, column)] for name, column in self.items()]
        is_text = [np.asarray(column).dtype.kind in "US" for column in self.values()]
        return as_text(list(zip(*cells, strict=True)), is_text) + (f"\n{self.note}" if self.note else "")

    def _repr_html_(self) -> str:
        """The table for notebooks."""
        is_text = [np.asarray(column).dtype.kind in "US" for column in self.values()]
        cells = zip(*([name, *map(_words, column)] for name, column in self.items()), strict=True)
        lines = (
            "".join(
                f'<{tag} style="text-align: {"left" if left else "right"}">{escape(cell)}</{tag}>'
                for cell, left in zip(line, is_text, strict=True)
            )
            for line, tag in zip(cells, chain(["th"], repeat("td")), strict=False)
        )
        rows = "\n".join(f"<tr>{line}</tr>" for line in lines)
        note = escape(self.note).replace("\n", "<br/>")
        return f"<table>\n{rows}\n</table>" + (f"\n<p>{note}</p>" if note else "")

    def to_frame(self) -> Any:
        """The table as a `pandas.DataFrame`; its note as `attrs["note"]`.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        frame = optional("pandas", "A data frame").DataFrame(dict(self))
        if self.note:
            frame.attrs["note"] = self.note
        return frame


def as_text(rows: Sequence[Sequence[str]], to_the_left: Sequence[bool], rule: bool = False) -> str:
    """Rows of cells in columns of equal width, the first row being the header; with a `rule` a line below it."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if rule:
        rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    lines = (
        "  ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(row, widths, to_the_left, strict=True)
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _words(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "-" if np.isnan(value) else f"{value:.3g}"
    return str(value)
