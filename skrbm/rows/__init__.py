"""Where rows come from, and what kind of X it is. Imports `distributed` and `support`."""

from skrbm.rows.arrays import ArrayRows
from skrbm.rows.iterables import DatasetRows, IterableRows, PassingRows, rows_in_passing
from skrbm.rows.parquet import ParquetRows
from skrbm.rows.reading import DataRangeWarning, yields_batches
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import Batch, Binarize, HeldOut, RowSource, binarize_rows

__all__ = [
    "ArrayRows",
    "Batch",
    "Binarize",
    "DataRangeWarning",
    "DatasetRows",
    "HeldOut",
    "IterableRows",
    "ParquetRows",
    "PassingRows",
    "RowSource",
    "SharedRows",
    "binarize_rows",
    "rows_in_passing",
    "yields_batches",
]
