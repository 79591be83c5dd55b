"""Markov chains over the states of a machine, as small kernels; and block Gibbs sampling, the simplest.

A kernel has two functions: `init(model, v, stream, given) -> State`, and `step(model, state, stream) -> (State, Info)`.
The state is what is carried on; the info is what the step has to report, the visible states `info.v` and the means
`info.mean_v` always among it. The rows of a state are independent chains. Where `given` holds numbers the visible units
are clamped to them, where it holds NaN they are free: the chains then sample p(v_free | v_given).

`skrbm.sampling.tempering` has the kernel that runs several machines side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from skrbm.backends.floats import FloatBackend
from skrbm.backends.protocol import Backend
from skrbm.machines.restricted import RBMParameters, check_states, input_to_v, sample_h_given_v
from skrbm.sampling.compiled import CompiledGibbs, Weights
from skrbm.sampling.sweeps import sweep_
from skrbm.support.progress import Progress
from skrbm.support.randomness import Stream, check_stream

# Elements of a layer, over all copies of the machine, that are sampled at a time: 128 MB in float32, of which a step
# needs a few. Of the machines that are usual, thousands of Gibbs chains, and hundreds of systems of a ladder.
_BLOCK = 1 << 25


class Watch(Protocol):
    """Gathers what the steps of a kernel report about how well it works, over any number of runs."""

    def start_(self, state: Any) -> None:
        """Take note that chains set out from `state`; `add_` is of them until the next time."""

    def add_(self, state: Any, info: Any, late: bool) -> None:
        """Take note of a step; `late` if it is of the second half of a run."""

    @property
    def swap_acceptance(self) -> float:
        """The least mean probability of a swap between neighbours; NaN where nothing swaps."""

    @property
    def round_trips(self) -> float:
        """Mean number of round trips of a system between the ends of a ladder; NaN where there is none."""

    def warning_text(self) -> str | None:
        """What is wrong, if something is."""


class NothingToWatch(Watch):
    """Of a kernel without a ladder."""

    swap_acceptance: float = math.nan
    round_trips: float = math.nan

    def start_(self, state: Any) -> None:
        """Nothing to gather."""

    def add_(self, state: Any, info: Any, late: bool) -> None:
        """Nothing to gather."""

    def warning_text(self) -> str | None:
        """Nothing to say."""
        return None


class Kernel(NamedTuple):
    """A way of sampling. `BernoulliRBMTorch.sample`, `complete` and `diagnose` take one of your own as `method`.

    Attributes
    ----------
    init : callable
        Called with the model, visible states (n_chains, n_features), a `Stream`, and what is given, of the same shape
        with NaN where units are free, or None; returns a state of any kind, whose chains are independent.
    step : callable
        Called with the model, a state and a `Stream`; returns the next state, and an info with the visible states
        `info.v` (n_chains, n_features), in which what is given stands as it is (see `clamp`), and the means
        `info.mean_v` of the same shape, or the states again where there are none. It leaves the state that came in as
        it was, and takes all randomness from the stream.
    watch : callable
        Makes a `Watch` for runs with a model.
    n_copies : callable
        How many states of the machine one chain of a model consists of, for which memory is needed. (A model, whatever
        the kernel takes for one, says its `n_hidden` and `n_features`.)
    """

    init: Callable[..., Any]
    step: Callable[..., tuple[Any, Any]]
    watch: Callable[[Any], Watch] = lambda model: NothingToWatch()
    n_copies: Callable[[Any], int] = lambda model: 1

    def telling(self, progress: Progress | None, n_steps: int) -> Kernel:
        """One that says after each step how many of so many it has made; of several blocks of chains, of each."""
        if progress is None:
            return self
        numbers = cycle(range(1, n_steps + 1))

        def step(model: Any, state: Any, stream: Stream) -> tuple[Any, Any]:
            found = self.step(model, state, stream)
            progress(next(numbers), n_steps)
            return found

        return self._replace(step=step)


class GibbsState(NamedTuple):
    """Chains of block Gibbs sampling.

    Attributes
    ----------
    h : Tensor of shape (n_chains, n_hidden)
        Hidden states.
    given : Tensor of shape (n_chains, n_features) or None
        Visible states that are clamped, NaN where they are free; None where all are.
    v : Tensor of shape (n_chains, n_features) or None
        Visible states, which a chain goes on from where they are coupled; None where they aren't.
    """

    h: Tensor
    given: Tensor | None = None
    v: Tensor | None = None


class GibbsInfo(NamedTuple):
    """What a step of block Gibbs sampling did.

    Attributes
    ----------
    v : Tensor of shape (n_chains, n_features)
        Visible states, drawn given the hidden states before the step.
    mean_v : Tensor of shape (n_chains, n_features)
        P(v = 1 | h) that `v` was drawn from, of coupled units given the others too; where a unit is clamped, its value.
    mean_h : Tensor of shape (n_chains, n_hidden)
        P(h = 1 | v) that the new hidden states were drawn from.
    """

    v: Tensor
    mean_v: Tensor
    mean_h: Tensor


def gibbs_init(params: RBMParameters, v: Tensor, stream: Stream, given: Tensor | None = None) -> GibbsState:
    """Chains that start at visible states `v` (n_chains, n_features), but for what is `given`."""
    v = clamp(v, given)
    return GibbsState(sample_h_given_v(params, v, stream), given, None if params.R is None else v)


def gibbs_step(params: RBMParameters, state: GibbsState, stream: Stream) -> tuple[GibbsState, GibbsInfo]:
    """One full step: v drawn from p(v | h), by a sweep where visible units are coupled; then h from p(h | v)."""
    h = state.h.clone()
    v = h.new_empty((len(h), params.n_features)) if state.v is None else state.v.clone()
    mean_v, mean_h = gibbs_step_(FloatBackend(params), h, v, stream, given=state.given)
    return GibbsState(h, state.given, None if state.v is None else v), GibbsInfo(v, clamp(mean_v, state.given), mean_h)


def gibbs_step_(
    backend: Backend, h: Tensor, v: Tensor, stream: Stream, *, rows: Tensor | None = None, given: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The step that sampling and training share, in place.

    Parameters
    ----------
    backend : Backend
        Products with the machine's weights.
    h : Tensor of shape (n_chains, n_hidden)
        Hidden states, moved on.
    v : Tensor of shape (n_chains, n_features)
        Overwritten by the visible states in between; where they are coupled, moved on.
    stream : Stream
        Randomness.
    rows : Tensor of shape (n, n_features), optional
        Rows that end with the memory of `v`, such as those of an update: P(h = 1 | v) is wanted of all of them.
    given : Tensor of shape (n_chains, n_features), optional
        What is clamped, NaN where units are free.

    Returns
    -------
    mean_v, mean_h : Tensor
        P(v = 1 | h) that `v` was drawn from, of coupled units given the others too, and P(h = 1 | v) of `rows`
        (n, n_hidden).
    """
    check_stream(stream)
    for_v, for_h = stream.numbers_for(v, h)
    params = backend.params
    if params.R is not None:
        mean_v = params.visible.mean_(sweep_(params, v, input_to_v(params, h), for_v, given=given))
    else:
        mean_v = backend.mean_v(h)
        params.visible.draw_(v, mean_v, for_v)
        if given is not None:
            v.copy_(clamp(v, given))
    mean_h = backend.mean_h(v if rows is None else rows)
    params.hidden.draw_(h, mean_h[-len(h) :], for_h)
    return mean_v, mean_h


GIBBS = Kernel(gibbs_init, gibbs_step)


def clamp(v: Tensor, given: Tensor | None) -> Tensor:
    """`given` where it holds numbers, `v` where it holds NaN or is None."""
    return v if given is None else torch.where(given.isnan(), v, given)


def check_info(info: Any, v: Tensor, given: Tensor | None = None) -> None:
    """Raise unless a step from chains like `v` reports what every kernel has to.

    Raises
    ------
    TypeError
        If there are no states, or no means, of all the chains.
    ValueError
        If states that are given have moved.
    """
    for name in ("v", "mean_v"):
        found = getattr(info, name, None)
        if not isinstance(found, Tensor) or found.shape != v.shape:
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise TypeError(f"info.{name} of a kernel's step must be a tensor of shape {tuple(v.shape)}, got {got}.")
    if given is not None and not torch.equal(clamp(info.v, given), info.v):
        raise ValueError(
            "The kernel has moved visible units that are given. Its init gets them as `given`, NaN where units are "
            "free: keep these, and let each step end with skrbm.sampling.clamp(v, given)."
        )


def steps(kernel: Kernel, model: Any, state: Any, n_steps: int, stream: Stream) -> Iterator[tuple[Any, Any]]:
    """The states and infos of `n_steps` steps from `state`."""
    for _ in range(n_steps):
        state, info = kernel.step(model, state, stream)
        yield state, info


@torch.no_grad()
def run_chains(
    kernel: Kernel,
    model: Any,
    v: Tensor,
    n_steps: int,
    stream: Stream,
    given: Tensor | None = None,
    mean: bool = False,
    watch: Watch | None = None,
) -> tuple[Tensor, Watch]:
    """The ends of chains, or the means over their second halves.

    Parameters
    ----------
    kernel : Kernel
        How the chains move.
    model : RBMParameters or Ladder
        What the kernel samples: the machine, or a ladder up to it.
    v : Tensor of shape (n_chains, n_features)
        Where the chains start.
    n_steps : int
        Their length, at least 1.
    stream : Stream
        Randomness.
    given : Tensor of shape (n_chains, n_features), optional
        What is clamped, NaN where units are free.
    mean : bool
        Whether to return, instead of the visible states at the end, the mean of P(v = 1 | h) in the second half.
    watch : Watch, optional
        Gathers what the steps report, so that one may serve several calls. By default a new one of the kernel's.

    Returns
    -------
    found : Tensor of shape (n_chains, n_features)
        States or means; what is given, where it is.
    watch : Watch
        What the steps have reported. Its `warning_text` says whether the chains are to be trusted.

    Raises
    ------
    TypeError, ValueError
        If one of these is something else, `v` or `given` have other shapes, types or devices than the model, or a step
        of the kernel doesn't report what it has to.

    Examples
    --------
    10,000 chains of a small machine, whose means enumeration gives as 0.58 and 0.72:

    >>> import torch
    >>> from skrbm.machines import RBMParameters
    >>> from skrbm.sampling import GIBBS, run_chains
    >>> from skrbm.support import Stream
    >>> machine = RBMParameters(
    ...     W=torch.tensor([[2.0, -1.0], [0.0, 3.0]]), b=torch.tensor([-1.0, 0.5]), c=torch.tensor([0.5, -2.0])
    ... )
    >>> v, _ = run_chains(GIBBS, machine, torch.zeros(10_000, 2), n_steps=20, stream=Stream(0))
    >>> v.mean(0).round(decimals=1)
    tensor([0.6000, 0.7000])

    The same by hand, where something is to be done at each step:

    >>> from skrbm.sampling import steps
    >>> stream = Stream(0)
    >>> state = GIBBS.init(machine, torch.zeros(10_000, 2), stream)
    >>> for state, info in steps(GIBBS, machine, state, 20, stream):
    ...     mean_h = info.mean_h  # P(h = 1 | v), (10_000, 2)
    >>> torch.equal(info.v, v)
    True
    """
    _check_run(kernel, model, v, n_steps, stream, given)
    watch = kernel.watch(model) if watch is None else watch
    n_early = n_steps // 2
    found = torch.empty_like(v)
    weights = _weights(kernel, model, len(v), n_steps, given)
    if weights is not None:
        for rows in _row_blocks(kernel, model, v):
            chains, total = CompiledGibbs(weights, kernel.init(model, v[rows], stream).h), torch.zeros_like(v[rows])
            chains.run_(n_steps, stream, total, n_steps - n_early if mean else 0)
            found[rows] = total.div_(n_steps - n_early) if mean else chains.v
        return found, watch
    for rows, fixed, infos in _blocks(kernel, model, v, n_steps, stream, given, watch):
        total = torch.zeros_like(v[rows])
        for step, info in enumerate(infos):
            if mean and step >= n_early:
                total += info.mean_v
        found[rows] = clamp(total.div_(n_steps - n_early), fixed) if mean else info.v
    return found, watch


@torch.no_grad()
def record_chains(
    kernel: Kernel,
    model: Any,
    v: Tensor,
    n_steps: int,
    stream: Stream,
    given: Tensor | None = None,
    thin: int = 1,
    watch: Watch | None = None,
) -> tuple[Tensor, Watch]:
    """The states that chains go through.

    Parameters
    ----------
    kernel, model, v, n_steps, stream, given, watch
        As in `run_chains`.
    thin : int
        Steps from one state that is kept to the next; at most `n_steps`.

    Returns
    -------
    chains : Tensor of shape (n_chains, n_steps // thin, n_features)
        Visible states after `thin`, 2 `thin`, … steps. Where `thin` divides `n_steps` the last ones are those that
        `run_chains` returns.
    watch : Watch
        What the steps have reported.

    Raises
    ------
    TypeError, ValueError
        As `run_chains` does.

    Examples
    --------
    >>> import torch
    >>> from skrbm.machines import RBMParameters
    >>> from skrbm.sampling import GIBBS, record_chains
    >>> from skrbm.support import Stream
    >>> machine = RBMParameters(W=torch.ones(2, 3), b=torch.zeros(3), c=torch.zeros(2))
    >>> chains, _ = record_chains(GIBBS, machine, torch.zeros(4, 3), n_steps=100, stream=Stream(0), thin=10)
    >>> chains.shape
    torch.Size([4, 10, 3])
    """
    _check_run(kernel, model, v, n_steps, stream, given)
    watch = kernel.watch(model) if watch is None else watch
    chains = v.new_empty((len(v), n_steps // thin, v.shape[1]))
    weights = _weights(kernel, model, len(v), n_steps, given)
    if weights is not None:
        for rows in _row_blocks(kernel, model, v):
            moving = CompiledGibbs(weights, kernel.init(model, v[rows], stream).h)
            for i in range(chains.shape[1]):
                moving.run_(thin, stream)
                chains[rows, i] = moving.v
            if rest := n_steps - thin * chains.shape[1]:
                moving.run_(rest, stream)
        return chains, watch
    for rows, _, infos in _blocks(kernel, model, v, n_steps, stream, given, watch):
        for step, info in enumerate(infos, 1):
            if step % thin == 0:
                chains[rows, step // thin - 1] = info.v
    return chains, watch


@torch.no_grad()
def moved_on(params: RBMParameters, state: GibbsState, n_steps: int, stream: Stream) -> GibbsState:
    """Chains after so many steps of block Gibbs sampling."""
    weights = Weights.of(params, len(state.h), n_steps)
    if weights is not None:
        chains = CompiledGibbs(weights, state.h)
        chains.run_(n_steps, stream)
        return GibbsState(chains.h)
    for moved, _ in steps(GIBBS, params, state, n_steps, stream):
        state = moved
    return state


def _check_run(kernel: Any, model: Any, v: Any, n_steps: int, stream: Any, given: Any) -> None:
    """Raise unless chains can be run with these."""
    if not isinstance(kernel, Kernel):
        raise TypeError(
            f"kernel must be a Kernel, such as skrbm.sampling.GIBBS, got {type(kernel).__name__}. The order is: "
            "kernel, model, v, n_steps, stream."
        )
    if not (hasattr(model, "n_features") and hasattr(model, "n_hidden")):
        raise TypeError(
            f"model must be an RBMParameters, or a Ladder where the kernel takes one, got {type(model).__name__}. A "
            "fitted BernoulliRBMTorch has its RBMParameters as `params_`."
        )
    check_stream(stream)
    weights = getattr(model, "W", None)  # which models of other people's kernels may lack
    check_states("v", v, model.n_features, weights)
    if given is not None:
        check_states("given", given, model.n_features, weights)
        if len(given) != len(v):
            raise ValueError(f"given has {len(given)} rows, but v has {len(v)}. Each chain needs one.")
    if n_steps < 1:
        raise ValueError(f"n_steps={n_steps!r} must be at least 1.")


def _blocks(
    kernel: Kernel, model: Any, v: Tensor, n_steps: int, stream: Stream, given: Tensor | None, watch: Watch
) -> Iterator[tuple[slice, Tensor | None, Iterator[Any]]]:
    """As many chains at a time as there is memory for: which, what is given of them, and the infos of their steps."""

    def watched(start: Any, v: Tensor, fixed: Tensor | None) -> Iterator[Any]:
        for step, (state, info) in enumerate(steps(kernel, model, start, n_steps, stream)):
            if step in (0, n_steps - 1):  # not at all, as a GPU would have to be waited for
                check_info(info, v, fixed)
            watch.add_(state, info, step >= n_steps // 2)
            yield info

    for rows in _row_blocks(kernel, model, v):
        fixed = None if given is None else given[rows]
        start = kernel.init(model, v[rows], stream, fixed)
        watch.start_(start)
        yield rows, fixed, watched(start, v[rows], fixed)


def _row_blocks(kernel: Kernel, model: Any, v: Tensor) -> Iterator[slice]:
    """As many chains at a time as there is memory for."""
    n_rows = max(1, _BLOCK // (kernel.n_copies(model) * max(model.n_features, model.n_hidden)))
    for first in range(0, len(v), n_rows):
        yield slice(first, min(first + n_rows, len(v)))


def _weights(kernel: Kernel, model: Any, n_chains: int, n_steps: int, given: Tensor | None) -> Weights | None:
    """What compiled loops need, where these can do what is asked for: plain Gibbs steps of free units."""
    if kernel is not GIBBS or given is not None or not isinstance(model, RBMParameters):
        return None
    return Weights.of(model, n_chains, n_steps)
