"""Where rows come from, and what kind of X it is. Imports `distributed` and `support`."""

from skrbm.rows.arrays import ArrayRows
from skrbm.rows.iterables import DatasetRows, IterableRows, ParquetRows, PassingRows, Sample, rows_in_passing
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import Batch, Binarize, DataRangeWarning, HeldOut, RowSource, binarize_rows, yields_batches

# fmt: off
__all__ = [
    "ArrayRows", "Batch", "Binarize", "DataRangeWarning", "DatasetRows", "HeldOut", "IterableRows", "ParquetRows",
    "PassingRows", "RowSource", "Sample", "SharedRows", "binarize_rows", "rows_in_passing", "yields_batches",
]
# fmt: on
