"""CUDA graphs: work that is recorded once and replayed by a single launch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch

from skrbm.support.checks import warn
from skrbm.support.randomness import Stream


def record(work: Callable[[], None], streams: Sequence[Stream], device: torch.device) -> Callable[[], None] | None:
    """What repeats `work`, all of whose memory must stay where it is.

    Parameters
    ----------
    work : callable
        Launches kernels and doesn't wait for them. It is called once, without effect on the device.
    streams : sequence of Stream
        The randomness that it draws.
    device : torch.device
        A CUDA device.

    Returns
    -------
    callable or None
        None if recording failed, with a warning.
    """
    current = None
    try:
        current = torch.cuda.current_stream(device)
        with torch.cuda.device(device):  # else what is launched on a device that isn't current isn't recorded, but runs
            graph = torch.cuda.CUDAGraph()
            for stream in streams:
                _register(graph, stream.generator(device))
            torch.cuda.synchronize(device)
            # A stream of its own, and an eye on this thread alone: fits in other threads go on as they like.
            own = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            with torch.cuda.graph(graph, stream=own, capture_error_mode="thread_local"):
                work()
    except (AssertionError, AttributeError, RuntimeError) as error:
        if current is not None:
            torch.cuda.set_stream(current)  # which a recording that fails may leave behind
        warn(f"Training goes on without a CUDA graph, and slower: {error}", RuntimeWarning)
        return None
    return graph.replay


def _register(graph: torch.cuda.CUDAGraph, generator: torch.Generator) -> None:
    """Let a generator move on with each replay. Later versions of torch see to that by themselves."""
    if register := getattr(graph, "register_generator_state", None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            register(generator)
