"""What everything stands on: randomness, tensors, files, checks. Imports nothing of skrbm."""

from skrbm.support.checks import check_choice, optional, warn
from skrbm.support.files import (
    check_folder,
    from_plain,
    read_archive,
    remove_leftovers,
    to_plain,
    write_archive,
    write_atomically,
)
from skrbm.support.kernels import bfloat16_mm, has_int8_mm, int8_mm, linear
from skrbm.support.randomness import TABLE, Stream, bernoulli_, check_stream
from skrbm.support.ranges import Range
from skrbm.support.tables import Table, as_text
from skrbm.support.tensors import (
    CHUNK_ROWS,
    Placement,
    chunks,
    dense,
    find_device,
    from_torch,
    is_bits,
    numpy_type,
    take_rows,
    to_numpy,
    to_tensor,
)

# fmt: off
__all__ = [
    "CHUNK_ROWS", "TABLE", "Placement", "Range", "Stream", "Table", "as_text", "bernoulli_", "bfloat16_mm",
    "check_choice", "check_folder", "check_stream", "chunks", "dense", "find_device", "from_plain", "from_torch",
    "has_int8_mm",
    "int8_mm", "is_bits", "linear", "numpy_type", "optional", "read_archive", "remove_leftovers", "take_rows",
    "to_numpy", "to_plain", "to_tensor", "warn", "write_archive", "write_atomically",
]
# fmt: on
