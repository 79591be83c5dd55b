"""Tables as files: CSV, TSV and Parquet, read and written without pandas."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skrbm.support.checks import optional
from skrbm.support.files import write_atomically

Values = NDArray[Any]

_GAPS = ("", "na", "n/a", "nan", "null", "none", "?")
_TRUTHS = {"false": False, "true": True}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
_CODE = re.compile(r"0\d+", re.ASCII)  # of a place, a product or the like: as a number it would lose its zeros


class Rows(NamedTuple):
    """Rows of a table.

    Attributes
    ----------
    names : list of str
        Of the columns.
    columns : list of ndarray of shape (n_rows,)
        Their values: bool, int64, float64 with NaN where a cell is empty, or objects: text or bool, None where a cell
        is empty.
    places : sequence of str
        Where each row stands in its file; nowhere, if it is of none.
    """

    names: list[str]
    columns: list[Values]
    places: Sequence[str] = ()

    @property
    def gaps(self) -> NDArray[np.bool_]:
        """Which cells are empty, (n_rows, n_columns)."""
        return np.stack([_gaps_in(column) for column in self.columns], 1)

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
            parts = [f"{what} {listed(which)}" for what, which in named if which]
            raise ValueError(f"its columns are not the {len(names)} of the machine: {'; '.join(parts)}")
        where = {name: i for i, name in enumerate(self.names)}
        return self._replace(names=list(names), columns=[self.columns[where[name]] for name in names])

    def are_bits(self) -> bool:
        """Whether all cells that aren't empty are 0, 1, true or false."""
        return all(bool(np.isin(column[~_gaps_in(column)], [0, 1]).all()) for column in self.columns)

    def numbers_in(self, place: int) -> NDArray[np.float64]:
        """The column with that number as numbers, true as 1; NaN where a cell is empty.

        Raises
        ------
        ValueError
            If there are others; the message says where.
        """
        column = self.columns[place]
        if column.dtype != object:
            return column.astype(np.float64)
        found = np.array([np.nan if value is None else _as_number(value) for value in column], object)
        if (words := np.flatnonzero(_is_none(found))).size:
            row = words[0]
            raise ValueError(f"{self.places[row]}, column {self.names[place]!r}: {column[row]!r} is no number")
        return found.astype(np.float64)

    def numbers(self) -> NDArray[np.float64]:
        """All columns as numbers, (n_rows, n_columns); see `numbers_in`."""
        return np.stack([self.numbers_in(place) for place in range(len(self.columns))], 1)

    def bits(self) -> NDArray[np.float64]:
        """The same, from 0 to 1.

        Raises
        ------
        ValueError
            If there are others; the message says where.
        """
        values = self.numbers()
        if (wrong := np.argwhere((values < 0) | (values > 1))).size:
            row, column = wrong[0]
            cells = "1 such cell" if len(wrong) == 1 else f"{len(wrong):,} such cells"
            numbering = any(numbers_rows(values[:, i]) for i in np.unique(wrong[:, 1]))
            hint = " Leave out columns that number the rows." if numbering else ""
            raise ValueError(
                f"{self.places[row]}, column {self.names[column]!r}: {values[row, column]:g} is not from 0 to 1 "
                f"({cells}).{hint}"
            )
        return values


def read_rows(path: Path, *, texts: Collection[str | int] = ()) -> Rows:
    """The rows of a file .csv, .tsv or .parquet whose columns have names.

    A column of a .csv or .tsv file is of whole numbers, of numbers, or of true and false, if all its cells are that or
    empty (or NA, NaN, null, None, ?), and else of text; so it is where a number begins with a zero, as codes do.
    Columns of a .csv file are separated by commas, or by semicolons where its first line has no comma; then numbers
    may have decimal commas.

    Parameters
    ----------
    path : Path
        The file.
    texts : collection of str or int
        Columns of text, whatever their cells look like, by name or number.

    Raises
    ------
    OSError
        If it can't be read.
    ValueError
        If it isn't such a table; the message says where.
    ImportError
        If a file .parquet is to be read without pyarrow.
    """
    rows = _read_parquet(path) if path.suffix == ".parquet" else _read_text(path, texts)
    names = rows.names
    if "" in names:
        raise ValueError(
            f"column {names.index('') + 1} has no name. Name it, or leave it out if it only numbers the "
            "rows (pandas: to_csv(..., index=False))"
        )
    if not len(rows.places):
        raise ValueError("it has no rows")
    if not names:
        raise ValueError("it has no columns")
    return rows


def write_rows(path: Path, rows: Rows) -> None:
    """Write rows to a file .csv, .tsv or .parquet, by its ending; NaN and None as empty cells."""
    if path.suffix == ".parquet":
        pyarrow, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
        table = pyarrow.table(dict(zip(rows.names, rows.columns, strict=True)))
        write_atomically(path, lambda file: parquet.write_table(table, file))
        return
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
    writer.writerow(rows.names)
    writer.writerows(zip(*([_cell(value) for value in column.tolist()] for column in rows.columns), strict=True))
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def numbers_rows(column: Values) -> bool:
    """Whether it goes 1, 2, 3 …, or so from another number on."""
    return len(column) > 2 and column.dtype.kind in "if" and bool((np.diff(column) == 1).all())


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def _gaps_in(column: Values) -> NDArray[np.bool_]:
    if column.dtype.kind == "f":
        return np.isnan(column)
    return _is_none(column) if column.dtype == object else np.zeros(len(column), bool)


def _is_none(column: Values) -> NDArray[np.bool_]:
    return np.array([value is None for value in column], bool)


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if not isinstance(value, float):
        return str(value)
    short = f"{value:.15g}"
    return short if float(short) == value else repr(value)


def _pyarrow(module: str) -> Any:
    return optional(module, "A file .parquet", "parquet")


def _read_parquet(path: Path) -> Rows:
    parquet = _pyarrow("pyarrow.parquet")
    with open(path, "rb") as file:
        table = parquet.read_table(file)
    names = list(table.column_names)
    _check_names(names)
    columns = [_from_arrow(name, table.column(i)) for i, name in enumerate(names)]
    return Rows(names, columns, [f"row {i}" for i in range(1, table.num_rows + 1)])


def _from_arrow(name: str, column: Any) -> Values:
    types = _pyarrow("pyarrow.types")
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_boolean(column.type) or types.is_string(column.type) or types.is_large_string(column.type):
        values = np.array(column.to_pylist(), object)
        return values.astype(bool) if types.is_boolean(column.type) and not column.null_count else values
    try:
        if types.is_integer(column.type) and not column.null_count:
            return np.asarray(column.cast("int64").to_numpy())
        if not types.is_temporal(column.type):
            return np.array(column.cast("float64").to_numpy())
    except (ValueError, NotImplementedError):  # pyarrow's are subclasses
        pass
    raise ValueError(f"column {name!r} is not of numbers, text, or true and false ({column.type})")


def _read_text(path: Path, texts: Collection[str | int]) -> Rows:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            has_semicolons = path.suffix == ".csv" and ";" in first and "," not in first
            lines = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ";" if has_semicolons else ",")
            names = [name.strip() for name in next(lines, [])]
            numbered = list(_checked(lines, len(names)))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8 ({error})") from error
    except csv.Error as error:
        raise ValueError(f"it is no table: {error}") from error
    _check_names(names)
    by_column: Iterable[tuple[str, ...]] = zip(*(cells for _, cells in numbered), strict=True)
    columns = [
        _typed(cells, name in texts or place in texts, has_semicolons)
        for place, (name, cells) in enumerate(zip(names, by_column, strict=bool(numbered)))
    ]
    return Rows(names, columns, [f"line {number}" for number, _ in numbered])


def _checked(lines: Any, n_columns: int) -> Iterator[tuple[int, list[str]]]:
    for cells in lines:
        if not cells:
            continue  # a blank line
        if len(cells) != n_columns:
            raise ValueError(f"line {lines.line_num} has {len(cells)} cells, but the header has {n_columns}")
        yield lines.line_num, cells


def _check_names(names: list[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"more than one column is called {listed(twice)}. Is the header missing?")


def _typed(cells: Sequence[str], is_text: bool, has_decimal_commas: bool) -> Values:
    """Cells as what all of them are: whole numbers, numbers, truth values, or else text."""
    texts = {cell: None if cell.strip().lower() in _GAPS else cell.strip() for cell in set(cells)}
    known = {text for text in texts.values() if text is not None}
    values: dict[str, Any] = {text: text for text in known}
    dtype: Any = object
    has_gaps = None in texts.values()
    if not is_text and not any(map(_CODE.fullmatch, known)):
        words = {text for text in known if text.lower() in _TRUTHS}
        if words and known - words <= {"0", "1"}:
            values = {text: _TRUTHS.get(text.lower(), text == "1") for text in known}
            dtype = object if has_gaps else bool
        elif (
            None
            not in (
                numbers := {text: _number(text.replace(",", ".") if has_decimal_commas else text) for text in known}
            ).values()
        ):
            values = numbers
            are_whole = all(isinstance(number, int) and abs(number) < 2**63 for number in numbers.values())
            dtype = np.int64 if are_whole and not has_gaps else np.float64
    found = {cell: None if text is None else values[text] for cell, text in texts.items()}
    return np.array([found[cell] for cell in cells], dtype)


def _number(text: str) -> int | float | None:
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return int(text)
    except ValueError:
        return float(text)


def _as_number(value: str | bool) -> float | None:
    """What a cell among text says; None where that is no number."""
    return float(value) if isinstance(value, bool) else _TRUTHS.get(value.lower(), _number(value))
