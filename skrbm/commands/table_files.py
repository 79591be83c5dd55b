"""Tables of zeros and ones as files: CSV, TSV and Parquet, read and written without pandas."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skrbm.support.checks import optional
from skrbm.support.files import write_atomically

_GAPS = ("", "na", "n/a", "nan", "null", "none", "?")
_CELLS = {
    "0": 0.0,
    "1": 1.0,
    "false": 0.0,
    "true": 1.0,
    **dict.fromkeys(_GAPS, math.nan),
}


class Rows(NamedTuple):
    """Rows of a table.

    Attributes
    ----------
    names : list of str
        Of the columns.
    values : ndarray of shape (n_rows, n_columns)
        From 0 to 1, float64; NaN where a cell is empty.
    """

    names: list[str]
    values: NDArray[np.float64]

    def in_order_of(self, names: Sequence[str]) -> Rows:
        """The same columns in another order.

        Raises
        ------
        ValueError
            If they aren't the same.
        """
        missing = [name for name in names if name not in set(self.names)]
        unknown = [name for name in self.names if name not in set(names)]
        if missing or unknown:
            named = (("it lacks", missing), ("too many are", unknown))
            parts = [f"{what} {_listed(which)}" for what, which in named if which]
            raise ValueError(f"its columns are not the {len(names)} of the machine: {'; '.join(parts)}")
        where = {name: i for i, name in enumerate(self.names)}
        return Rows(list(names), self.values[:, [where[name] for name in names]])


def read_rows(path: Path, *, if_empty: str | None = None) -> Rows:
    """The rows of a file .csv, .tsv or .parquet whose columns have names.

    A cell is a number from 0 to 1, true or false, or empty (or NA, NaN, null, None, ?). Columns of a .csv file are
    separated by commas, or by semicolons where its first line has no comma.

    Parameters
    ----------
    path : Path
        The file.
    if_empty : str, optional
        What is to be done about empty cells where none may be.

    Raises
    ------
    OSError
        If it can't be read.
    ValueError
        If it isn't such a table; the message says where.
    ImportError
        If a file .parquet is to be read without pyarrow.
    """
    names, values, places = _read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"more than one column is called {_listed(twice)}. Is the header missing?")
    if "" in names:
        raise ValueError(
            f"column {names.index('') + 1} has no name. Name it, or leave it out if it only numbers the "
            "rows (pandas: to_csv(..., index=False))"
        )
    if not len(values):
        raise ValueError("it has no rows")
    if (wrong := np.argwhere((values < 0) | (values > 1))).size:
        row, column = wrong[0]
        cells = "1 such cell" if len(wrong) == 1 else f"{len(wrong):,} such cells"
        hint = " Leave out columns that number the rows." if any(map(_numbers_rows, values[:, wrong[:, 1]].T)) else ""
        raise ValueError(
            f"{places[row]}, column {names[column]!r}: {values[row, column]:g} is not from 0 to 1 ({cells}).{hint}"
        )
    if if_empty is not None and (gaps := np.argwhere(np.isnan(values))).size:
        row, column = gaps[0]
        cells = "1 empty cell" if len(gaps) == 1 else f"{len(gaps):,} empty cells"
        raise ValueError(f"{places[row]}, column {names[column]!r} is empty ({cells}). {if_empty}")
    return Rows(names, values)


def _numbers_rows(column: NDArray[np.float64]) -> bool:
    """Whether it goes 1, 2, 3 …, or so from another number on."""
    return len(column) > 2 and bool((np.diff(column) == 1).all())


def write_rows(path: Path, rows: Rows) -> None:
    """Write rows to a file .csv, .tsv or .parquet, by its ending; NaN as empty cells."""
    if path.suffix == ".parquet":
        pyarrow, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
        table = pyarrow.table({name: rows.values[:, i] for i, name in enumerate(rows.names)})
        write_atomically(path, lambda file: parquet.write_table(table, file))
        return
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
    writer.writerow(rows.names)
    writer.writerows([["" if math.isnan(x) else f"{x:.15g}" for x in row] for row in rows.values.tolist()])
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def _pyarrow(module: str) -> Any:
    return optional(module, "A file .parquet", "parquet")


_Read = tuple[list[str], NDArray[np.float64], Sequence[str]]  # names, values, and where each row stands


def _read_parquet(path: Path) -> _Read:
    parquet = _pyarrow("pyarrow.parquet")
    with open(path, "rb") as file:
        table = parquet.read_table(file)
    values = np.empty((table.num_rows, table.num_columns))
    for i, name in enumerate(table.column_names):
        try:
            values[:, i] = table.column(i).cast("float64").to_numpy()
        except (ValueError, NotImplementedError) as error:  # pyarrow's are subclasses
            raise ValueError(f"column {name!r} is not of numbers ({table.schema.field(i).type})") from error
    return list(table.column_names), values, [f"row {i}" for i in range(1, table.num_rows + 1)]


def _read_text(path: Path) -> _Read:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            semicolons = ";" in first and "," not in first
            lines = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ";" if semicolons else ",")
            names = [name.strip() for name in next(lines, [])]
            rows, places = [], []
            for number, row in _parsed(lines, names):
                rows.append(row)
                places.append(f"line {number}")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8 ({error})") from error
    except csv.Error as error:
        raise ValueError(f"it is no table: {error}") from error
    return names, np.array(rows).reshape(len(rows), len(names)), places


def _parsed(lines: Any, names: list[str]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    for cells in lines:
        if not cells:
            continue  # a blank line
        if len(cells) != len(names):
            raise ValueError(f"line {lines.line_num} has {len(cells)} cells, but the header has {len(names)}")
        row = [_CELLS[cell] if cell in _CELLS else _number(cell) for cell in cells]
        if None in row:
            i = row.index(None)
            raise ValueError(f"line {lines.line_num}, column {names[i]!r}: {cells[i]!r} is no number")
        yield lines.line_num, np.array(row, dtype=float)


def _number(cell: str) -> float | None:
    """What a cell says that isn't written in the plainest way; None where that is no number."""
    cell = cell.strip().lower()
    if cell in _CELLS:
        return _CELLS[cell]
    try:
        return float(cell)
    except ValueError:
        return None


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
