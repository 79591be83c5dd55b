"""CUDA graphs: work that is recorded once and replayed by a single launch."""

from __future__ import annotations

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
    try:
        graph = torch.cuda.CUDAGraph()
        for stream in streams:
            graph.register_generator_state(stream.generator(device))
        torch.cuda.synchronize(device)
        with torch.cuda.graph(graph):
            work()
    except (AttributeError, RuntimeError) as error:
        warn(f"Training goes on without a CUDA graph, and slower: {error}", RuntimeWarning)
        return None
    return graph.replay
