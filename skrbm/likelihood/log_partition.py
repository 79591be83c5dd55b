"""log Z by the method of a name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from skrbm.likelihood.annealed import Schedule, inverse_temperatures, log_partition_ais, log_partition_reverse_ais
from skrbm.likelihood.exact import bits_to_enumerate, log_partition_exact
from skrbm.likelihood.result import LogPartition, warn_if_wide
from skrbm.likelihood.tempered import log_partition_tempering
from skrbm.machines.restricted import RBMParameters
from skrbm.sampling.ladder import AnnealingPath
from skrbm.sampling.tempering import ladder_by_name
from skrbm.support.checks import check_choice
from skrbm.support.progress import Progress
from skrbm.support.randomness import Stream, check_stream

Method = Literal["auto", "exact", "ais", "parallel_tempering", "trajectory_tempering"]
METHODS: tuple[str, ...] = get_args(Method)
_MAX_AUTO = 20  # units of the smaller layer up to which enumeration takes seconds


@torch.no_grad()
def log_partition(  # noqa: PLR0913 (the face of five methods)
    path: AnnealingPath,
    method: str = "auto",
    *,
    stream: Stream | None = None,
    n_temperatures: int | None = None,
    n_chains: int = 100,
    n_steps: int = 500,
    schedule: Schedule = "adaptive",
    samples: Tensor | None = None,
    max_width: float | None = None,
    rungs: Sequence[RBMParameters] | None = None,
    progress: Progress | None = None,
) -> LogPartition:
    """Logarithm of the partition function Z, by the method of that name.

    Parameters
    ----------
    path : AnnealingPath
        The machine, and the one without weights that estimates start from.
    method : {"auto", "exact", "ais", "parallel_tempering", "trajectory_tempering"}
        "auto" enumerates if the smaller layer has at most 20 units, and else is "ais".
    stream : Stream, optional
        Randomness, fresh by default.
    n_temperatures : int, optional
        Steps of AIS, 10,000 by default; rungs of parallel tempering, by default as many as it needs.
    n_chains : int
        Independent chains of AIS, or systems of chains of tempering.
    n_steps : int
        Steps of tempering that count; half as many go before.
    schedule : {"uniform", "adaptive"} or sequence of float
        Of AIS, see `skrbm.likelihood.annealed.inverse_temperatures`.
    samples : Tensor of shape (n_samples, n_features), optional
        Samples of the machine at equilibrium: AIS is run backwards from them too, and gives `upper`.
    max_width : float, optional
        Width of the bracket, in nats, from which on there is a warning; also where the ends lie the wrong way round,
        as they may where chains are far from equilibrium.
    rungs : sequence of RBMParameters, optional
        The rungs of trajectory tempering below the machine.
    progress : callable, optional
        See `skrbm.support.progress.Progress`.

    Returns
    -------
    LogPartition

    Raises
    ------
    ValueError
        If the method is not known, or is "exact" for a machine that is too large, or lacks rungs.

    Warns
    -----
    LogPartitionWarning
        If the effective sample size is less than a tenth of the chains, neighbouring rungs hardly ever swap, or the
        bracket is wider than `max_width`.

    Examples
    --------
    By enumeration, and by AIS from the machine that has neither weights nor biases:

    >>> import torch
    >>> from skrbm.machines import RBMParameters
    >>> from skrbm.likelihood import log_partition
    >>> from skrbm.sampling import AnnealingPath
    >>> from skrbm.support import Stream
    >>> machine = RBMParameters(
    ...     W=torch.tensor([[2.0, -1.0], [0.0, 3.0]]), b=torch.tensor([-1.0, 0.5]), c=torch.tensor([0.5, -2.0])
    ... )
    >>> path = AnnealingPath(machine, base_b=torch.zeros(2))
    >>> exact = log_partition(path)
    >>> exact
    3.425056 nats (exact)
    >>> found = log_partition(path, "ais", stream=Stream(0), n_temperatures=1000)
    >>> abs(found.value - exact.value) < 4 * found.standard_error
    True
    """
    began = time.perf_counter()
    method = method_for(path.machine, method)
    if method == "exact":
        value = log_partition_exact(path.machine)
        return LogPartition(value, 0.0, value, value, None, 0, 0, time.perf_counter() - began, "exact")
    stream = Stream() if stream is None else stream
    check_stream(stream)
    if method == "ais":
        betas = inverse_temperatures(path, stream, 10_000 if n_temperatures is None else n_temperatures, schedule)
        found = log_partition_ais(path, betas, stream, n_chains, progress)
        if samples is not None:
            found = replace(found, upper=log_partition_reverse_ais(path, samples, betas, stream, progress).value)
    else:
        ladder = ladder_by_name(method, path, stream, n_temperatures, rungs)
        found = log_partition_tempering(ladder, stream, n_steps=n_steps, n_chains=n_chains, progress=progress)
    warn_if_wide(found, max_width)
    return replace(found, method=method, seconds=time.perf_counter() - began)


def method_for(params: RBMParameters, method: str) -> str:
    """The name of the method, where "auto" is the one that it stands for."""
    check_choice("method", method, METHODS)
    if method == "auto":
        return "exact" if bits_to_enumerate(params) <= _MAX_AUTO else "ais"
    return method
