"""Loops that numba compiles, where it is installed (`pip install "skrbm[fast]"`), run on the threads that torch has.

The loops themselves, in files called `loops.py`, import numba and are imported here, when one is called first. Each
takes a block of 64-bit numbers: which piece of the work is next, how many pieces there are, then addresses and sizes.
Whoever runs a loop takes one piece after another until none is left, so that several threads share the work evenly
beside busy neighbours, and what a piece computes doesn't depend on who does it.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SWITCH = "SKRBM_COMPILED"  # the environment variable that turns compiled loops off when it is 0
LANES = 16  # numbers in a vector: rows of matrices are best as long as a multiple
_N_ARGUMENTS = 60  # at most, of a loop
_Arguments = ctypes.c_int64 * (_N_ARGUMENTS + 2)


def is_compiled() -> bool:
    """Whether loops can be compiled here: numba is installed, and nobody has turned it off."""
    return os.environ.get(SWITCH, "1") != "0" and _has_numba()


_are_loaded: ContextVar[bool] = ContextVar("are_loaded", default=False)


@contextmanager
def loaded_loops(are_loaded: bool = True) -> Iterator[None]:
    """Inside, loops are loaded already, whoever asks `loops_pay`: as in what follows on a fit by compiled loops.

    What is computed may depend on it in the last bits, so it doesn't depend on what the process has done before.
    """
    token = _are_loaded.set(are_loaded)
    try:
        yield
    finally:
        _are_loaded.reset(token)


def loops_pay(is_long: bool) -> bool:
    """Whether compiled loops are to be used for some work: they can be, and it is long, or they are loaded already."""
    return is_compiled() and (is_long or _are_loaded.get())


class Loop:
    """A compiled loop; it is compiled, or read from numba's cache on disk, at the first call.

    Parameters
    ----------
    module, name : str
        Where it is.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name
        self._function: Any = None

    def __call__(self, n_pieces: int, *arguments: Tensor | int | float) -> None:
        """Run it on as many threads as torch has.

        Parameters
        ----------
        n_pieces : int
            How many pieces the work has.
        *arguments : Tensor, int or float
            Tensors become their addresses: they have to be contiguous, in the types that the loop expects.
        """
        self.bind(*arguments)(n_pieces)

    def bind(self, *arguments: Tensor | int | float) -> Bound:
        """The loop with its arguments, to be run again and again."""
        if self._function is None:
            self._function = _function(self._module, self._name)
        return Bound(self._function, arguments)


class Bound:
    """A loop and its arguments.

    Parameters
    ----------
    function : callable
        The compiled function.
    arguments : sequence
        See `Loop`.
    """

    def __init__(self, function: Any, arguments: tuple[Tensor | int | float, ...]) -> None:
        self._function, self._kept = function, arguments  # tensors that live as long as their addresses are known
        self._numbers = _Arguments(0, 0, *map(_number, arguments))

    def __setitem__(self, i: int, value: Tensor | int | float) -> None:
        """Replace an argument, from 0; a tensor has to be kept alive by the caller."""
        self._numbers[i + 2] = _number(value)

    def set_from(self, i: int, values: Sequence[Tensor | int | float]) -> None:
        """Replace several arguments, from this one on."""
        for place, value in enumerate(values, i + 2):
            self._numbers[place] = _number(value)

    def __call__(self, n_pieces: int, n_threads: int | None = None) -> None:
        """Run the loop on so many threads; by default on as many as torch has."""
        self._numbers[0], self._numbers[1] = 0, n_pieces
        n_threads = min(n_pieces, n_threads or torch.get_num_threads())
        run = _parallel() if n_threads > 1 else None
        if run is None:
            self._function(self._numbers)
        else:
            run(self._function, self._numbers, n_threads, 0)


def _number(value: Tensor | int | float) -> int:
    """As the 64 bits of an integer."""
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return struct.unpack("q", struct.pack("d", value))[0]
    return value.data_ptr()


@cache
def _has_numba() -> bool:
    return find_spec("numba") is not None and sys.maxsize > 2**32 and sys.byteorder == "little"


@cache
def _function(module: str, name: str) -> Any:
    """The compiled function; numba keeps it on disk where it can."""
    from numba import cfunc, types

    signature, source = types.void(types.CPointer(types.int64)), getattr(_imported(module), name)
    options = {"error_model": "numpy", "nopython": True}
    try:
        compiled = cfunc(signature, cache=True, **options)(source)
    except RuntimeError:  # no folder that could be written to
        compiled = cfunc(signature, **options)(source)
    return ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_int64))(compiled.address)


@cache
def _imported(module: str) -> Any:
    """A module of loops, and nothing that was compiled before what all of them import has changed.

    numba only looks at the file that a loop is in.
    """
    loops = import_module(module)
    changed = Path(__file__).with_name("loops.py").stat().st_mtime
    for compiled in Path(str(loops.__file__)).parent.glob("__pycache__/*loops.*.nb?"):
        with suppress(OSError):
            if compiled.stat().st_mtime < changed:
                compiled.unlink()
    return loops


@cache
def _parallel() -> Callable[..., None] | None:
    """What runs a function on several threads of the pool that torch's products run on; None where that isn't known.

    torch's wheels come with GNU's OpenMP, and those of others, which use Intel's or LLVM's, with the same entry.
    """
    run = openmp("GOMP_parallel")
    if run is not None:
        run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        run.restype = None
    return run


@cache
def of_team() -> tuple[int, int]:
    """Addresses of what a thread of a loop calls to wait for the others, and to hear how many there are; or zeros."""
    functions = [openmp("GOMP_barrier"), openmp("omp_get_num_threads")]
    if _parallel() is None or None in functions:
        return 0, 0
    wait, count = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    return wait, count


def openmp(name: str) -> Any:
    """A function of the OpenMP that torch has loaded for everybody to see; None where there isn't any."""
    if "OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
