"""The products, the draws and the update, fast. Imports `machines` and `support`."""

from skrbm.backends.choose import BACKENDS, PRECISIONS, backend_for, choose_precision
from skrbm.backends.cuda_graph import record
from skrbm.backends.floats import Bfloat16Backend, FloatBackend
from skrbm.backends.int8 import Int8Backend
from skrbm.backends.protocol import Backend, Contrast, Phases, RowBuffer

# fmt: off
__all__ = [
    "BACKENDS", "PRECISIONS", "Backend", "Bfloat16Backend", "Contrast", "FloatBackend", "Int8Backend", "Phases",
    "RowBuffer", "backend_for", "choose_precision", "record",
]
# fmt: on
