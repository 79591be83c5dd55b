"""Rows with gaps, NaN in place of values: their free energy, hidden units and pseudo-likelihood, gaps summed out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from skrbm.likelihood.annealed import uniform_schedule
from skrbm.likelihood.marginals import (
    ByHiddenStates,
    ByVisibleStates,
    Machine,
    Marginals,
    OfNormal,
    Rows,
    log_p_of_greys,
)
from skrbm.likelihood.pseudo import log_conditionals, pseudo_log_likelihood
from skrbm.likelihood.result import LogPartitionWarning
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.restricted import RBMParameters, check_states, free_energy, mean_h_given_v
from skrbm.sampling.sweeps import sweep_
from skrbm.support.checks import warn
from skrbm.support.randomness import Stream, check_stream

_MAX_BITS = 14.0  # log2 of the states that are summed over
_MAX_BITS_OF_COMPLETIONS = 10.0  # the same where each takes as long as a pseudo-likelihood
_MAX_BITS_OF_GREYS = 6.0  # the same where that is of greys, which matrix products don't give
_BLOCK = 1 << 20  # elements of a layer that move at a time
# A quarter of the temperatures does for rows of which so many of a few chains count with these, such as most that miss
# the upper layer of a deep machine. The pilot's weights aren't used: what is chosen by them would be biased.
_FEWER, _PILOT_CHAINS, _ENOUGH = 4, 10, 0.9
_THIN = 10  # steps between two completions that are kept


class Marginal(NamedTuple):
    """Free energies of rows whose gaps have been summed out.

    Attributes
    ----------
    value : Tensor of shape (n,)
        Nats, in the float type of the rows.
    standard_error : Tensor of shape (n,), float64
        0 where the sum is exact.
    effective_sample_size : Tensor of shape (n,), float64
        Of the chains of a row, as in `LogPartition`; infinite where the sum is exact.
    """

    value: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor


@torch.no_grad()
def marginal_free_energy(
    params: RBMParameters, v: Tensor, stream: Stream, *, n_chains: int = 50, n_temperatures: int = 200
) -> Marginal:
    """F(v_o) = -log Σ exp(-F(v_o, v_m)) over the missing cells v_m of each row, in nats.

    -F(v_o) - log Z is log p(v_o), the likelihood of what is observed where values are missing at random (Little & Rubin
    2019, section 6.2).

    Parameters
    ----------
    params : RBMParameters
        A machine.
    v : Tensor of shape (n, n_features)
        States, NaN where they are missing; of a unit of several columns, such as one of categories, in all of them.
    stream : Stream
        Randomness of the chains, where there are any.
    n_chains, n_temperatures : int
        Chains of a row, and their steps, where sums are estimated; a quarter of the steps where that is enough.

    Returns
    -------
    Marginal
        Exact, by a sum over the states of the missing cells (of Gaussian ones over nodes of a quadrature) or of the
        hidden layer, whichever has fewer, if these are at most 2^14; or where all units are Gaussian. Otherwise by AIS.

    Raises
    ------
    TypeError, ValueError
        If `v` is no tensor, has another width, type or device than the machine, or there is no such integral.

    Warns
    -----
    LogPartitionWarning
        If less than a tenth of the chains of a row count.

    Notes
    -----
    AIS (Neal 2001) starts from independent units: with means m of v_m and μ of h by a step of mean field,
    h has the inputs c + W_o v_o + W_m m, v_m has b_m + W_m'μ, and what remains of the energy, -(h - μ)'W_m (v_m - m),
    comes in by degrees, β from 0 to 1. The estimate of exp(-F) is unbiased.

    Examples
    --------
    >>> import torch
    >>> from skrbm.machines import RBMParameters, free_energy
    >>> from skrbm.likelihood import marginal_free_energy
    >>> from skrbm.support import Stream
    >>> machine = RBMParameters(W=torch.tensor([[2.0, -1.0]]), b=torch.tensor([-1.0, 0.5]), c=torch.tensor([0.5]))
    >>> found = marginal_free_energy(machine, torch.tensor([[1.0, torch.nan]]), Stream(0))
    >>> both = free_energy(machine, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    >>> torch.allclose(found.value, -(-both).logsumexp(0))
    True
    """
    check_states("v", v, params.n_features, params.W)
    check_stream(stream)
    value, has_gaps = _of_whole_rows(free_energy, params, v)
    error = torch.zeros(len(v), dtype=torch.float64, device=v.device)
    size = torch.full_like(error, math.inf)
    for index, rows, machine, way in _with_gaps(params, v, has_gaps, _MAX_BITS):
        if way is None:
            found, error[index], size[index] = _annealed(machine, rows, stream, n_chains, n_temperatures)
        else:
            found = way.log_weight(rows)
        value[index] = -found.to(v.dtype)
    _warn_if_few_count(size, n_chains)
    return Marginal(value, error, size)


@torch.no_grad()
def marginal_mean_h(
    params: RBMParameters, v: Tensor, stream: Stream, *, n_chains: int = 10, n_steps: int = 200
) -> Tensor:
    """E[h | v_o] of each row, its missing cells summed out.

    Parameters
    ----------
    params, v, stream
        As in `marginal_free_energy`.
    n_chains, n_steps : int
        Gibbs chains of a row with what is observed clamped, where sums are estimated, and their length; of which the
        second half counts.

    Returns
    -------
    Tensor of shape (n, n_hidden)
        Exact where `marginal_free_energy` is.

    Raises
    ------
    TypeError, ValueError
        As `marginal_free_energy` does.
    """
    check_states("v", v, params.n_features, params.W)
    check_stream(stream)
    found, has_gaps = _of_whole_rows(mean_h_given_v, params, v)
    return _with_means_(found, params, v, has_gaps, stream, n_chains, n_steps, of_h=True)


@torch.no_grad()
def marginal_mean_v(
    params: RBMParameters, v: Tensor, stream: Stream, *, n_chains: int = 10, n_steps: int = 200
) -> Tensor:
    """E[v | v_o] of each row: what is observed as it is, and the means of its missing cells.

    Parameters
    ----------
    params, v, stream, n_chains, n_steps
        As in `marginal_mean_h`.

    Returns
    -------
    Tensor of shape (n, n_features)
        Exact where `marginal_free_energy` is.

    Raises
    ------
    TypeError, ValueError
        As `marginal_free_energy` does.
    """
    check_states("v", v, params.n_features, params.W)
    check_stream(stream)
    found, has_gaps = v.clone(), v.isnan().any(1)
    return _with_means_(found, params, v, has_gaps, stream, n_chains, n_steps, of_h=False)


@torch.no_grad()
def marginal_pseudo_log_likelihood(
    params: RBMParameters, v: Tensor, stream: Stream, *, n_chains: int = 10, n_steps: int = 200
) -> Tensor:
    """Pseudo-log-likelihood of what is observed: the sum over observed units of log p(v_i | the other observed ones).

    Parameters
    ----------
    params, v, stream
        As in `marginal_free_energy`; of bits, values between 0 and 1 count as in `pseudo_log_likelihood`.
    n_chains, n_steps : int
        As in `marginal_mean_h`.

    Returns
    -------
    Tensor of shape (n,)
        Nats; 0 for a row without any value. Exact up to 2^14 hidden states, or 2^10 states of the missing cells (2^6 in
        rows that have values between 0 and 1), or where all units are Gaussian; otherwise from completions of the row
        that clamped Gibbs chains draw.

    Raises
    ------
    TypeError, ValueError
        As `marginal_free_energy` does.

    Notes
    -----
    With completions s of weights w_s = p(s | v_o), p(v_i | the other v_o) = 1 / Σ_s w_s / p(v_i | the other v_o, s).
    """
    check_states("v", v, params.n_features, params.W)
    check_stream(stream)
    found, has_gaps = _of_whole_rows(pseudo_log_likelihood, params, v)
    most = _MAX_BITS_OF_COMPLETIONS, _MAX_BITS_OF_GREYS
    for index, rows, machine, way in _with_gaps(params, v, has_gaps, *most):
        if way is not None:
            found[index] = way.log_conditionals(rows).sum(1).to(v.dtype)
            continue
        for part in _blocks(rows, machine, n_chains):
            terms = _of_completions(machine, rows.take(part), stream, n_chains, n_steps)
            found[index[part]] = terms.sum(1).to(v.dtype)
    return found


# -- which way ---------------------------------------------------------------------------------------------------------


def _of_whole_rows(
    function: Callable[[RBMParameters, Tensor], Tensor], params: RBMParameters, v: Tensor
) -> tuple[Tensor, Tensor]:
    """`function` of the rows without gaps, with room for the others; and which these are, (n,)."""
    has_gaps = v.isnan().any(1)
    if not bool(has_gaps.any()):
        return function(params, v), has_gaps
    of_whole = function(params, v[~has_gaps])
    found = of_whole.new_empty((len(v), *of_whole.shape[1:]))
    found[~has_gaps] = of_whole
    return found, has_gaps


def _with_gaps(
    params: RBMParameters, v: Tensor, has_gaps: Tensor, most: float, most_of_greys: float | None = None
) -> Iterator[tuple[Tensor, Rows, Machine, Marginals | None]]:
    """The rows with gaps, by their numbers, and how these are summed out; None if they aren't.

    Of visible states there may be 2^most, or other numbers in rows with greys.
    """
    chosen = has_gaps.nonzero().flatten()
    if not len(chosen):
        return
    machine = Machine(params)
    rows = machine.rows(v[chosen])
    if params.is_quadratic:
        yield chosen, rows, machine, OfNormal(machine)
        return
    n_bits, of_hidden = machine.visible_bits(rows), machine.hidden_bits
    limit = torch.full_like(n_bits, most)
    if most_of_greys is not None:
        limit[machine.has_greys(rows)] = most_of_greys
    by_hidden = of_hidden <= _MAX_BITS
    by_visible = (n_bits <= limit + 1e-9) & ((n_bits <= of_hidden) if by_hidden else True)
    for is_so, way in ((by_visible, ByVisibleStates), (~by_visible, ByHiddenStates if by_hidden else None)):
        some = is_so.nonzero().flatten()
        if len(some):
            yield chosen[some], rows.take(some), machine, None if way is None else way(machine)


def _blocks(rows: Rows, machine: Machine, n_chains: int) -> tuple[Tensor, ...]:
    """Numbers of rows, as many at a time as there is memory for."""
    size = _BLOCK // (n_chains * max(1, machine.params.n_features, machine.params.n_hidden))
    return torch.split(torch.arange(len(rows.v), device=rows.v.device), max(1, size))


# -- chains ------------------------------------------------------------------------------------------------------------


def _with_means_(
    found: Tensor,
    params: RBMParameters,
    v: Tensor,
    has_gaps: Tensor,
    stream: Stream,
    n_chains: int,
    n_steps: int,
    of_h: bool,
) -> Tensor:
    """Write the means of h, or of v, given what is observed to the rows of `found` that have gaps; return it."""
    for index, rows, machine, way in _with_gaps(params, v, has_gaps, _MAX_BITS):
        if way is not None:
            found[index] = (way.mean_h(rows) if of_h else way.mean_v(rows)).to(v.dtype)
            continue
        for part in _blocks(rows, machine, n_chains):
            some = rows.take(part)
            total = torch.zeros_like(some.inputs if of_h else some.v)
            for step, (_, mean_v, mean_h, _) in enumerate(_clamped_chains(machine, some, stream, n_chains, n_steps)):
                if step >= n_steps // 2:
                    total += (mean_h if of_h else mean_v).view(len(part), n_chains, -1).mean(1)
            found[index[part]] = (total / (n_steps - n_steps // 2)).to(v.dtype)
    return found


def _mean_field(machine: Machine, rows: Rows, is_gap: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the missing cells (n, n_features), 0 elsewhere, and of h (n, n_hidden), about as they follow from v_o.

    By a step and a half of mean field: of several modes more steps choose one, and chains from there miss the others.
    """
    params = machine.params
    mean_h = params.hidden.mean(rows.inputs)
    mean_v = torch.where(is_gap, params.visible.mean(machine.inputs_of_v(rows) + mean_h @ params.W), 0.0)
    return mean_v, 0.5 * (mean_h + params.hidden.mean(rows.inputs + mean_v @ params.W.T))


def _annealed(
    machine: Machine, rows: Rows, stream: Stream, n_chains: int, n_temperatures: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Estimates of -F(v_o) by AIS, their standard errors, and how many chains count; (n,) each."""
    n_few, log_weights = max(1, n_temperatures // _FEWER), []
    for part in _blocks(rows, machine, max(n_chains, _PILOT_CHAINS)):
        of_part = rows.take(part)
        pilot = _log_weights(machine, of_part, stream, _PILOT_CHAINS, n_few)
        is_hard = _n_effective(pilot) < _ENOUGH * _PILOT_CHAINS
        found = pilot.new_empty((len(pilot), n_chains))
        for some, n in ((~is_hard, n_few), (is_hard, n_temperatures)):
            if bool(some.any()):
                found[some] = _log_weights(machine, of_part.take(some), stream, n_chains, n)
        log_weights.append(found)
    log_weight = torch.cat(log_weights)
    w = (log_weight - log_weight.amax(1, keepdim=True)).exp()
    error = w.std(1) / w.mean(1) / math.sqrt(n_chains) if n_chains > 1 else torch.full_like(w[:, 0], math.inf)
    return log_weight.logsumexp(1) - math.log(n_chains), error, _n_effective(log_weight)


def _n_effective(log_weight: Tensor) -> Tensor:
    """(Σ w)² / Σ w² of each row's chains, (n,)."""
    w = (log_weight - log_weight.amax(1, keepdim=True)).exp()
    return w.sum(1).square() / w.square().sum(1)


def _log_weights(machine: Machine, rows: Rows, stream: Stream, n_chains: int, n_temperatures: int) -> Tensor:
    """Log-weights of the chains of each row, with log Z of the base: (n, n_chains)."""
    params, missing, is_gap = machine.params, rows.missing, rows.missing[:, machine.unit_of]
    W, visible, hidden = params.W, params.visible, params.hidden
    mean_v, mean_h = _mean_field(machine, rows, is_gap)
    of_h, of_v = rows.inputs + mean_v @ W.T, machine.inputs_of_v(rows) + mean_h @ W  # inputs of the base
    of_pairs = params.fields(mean_v)
    of_v += of_pairs
    if visible == BERNOULLI and params.R is None:  # the other columns are in the inputs
        some = is_gap.any(0)
        W, missing, is_gap, mean_v, of_v, of_pairs = (
            values[:, some] for values in (W, missing, is_gap, mean_v, of_v, of_pairs)
        )
    constant = (mean_h * (mean_v @ W.T)).sum(1)
    log_z = rows.log_weight + torch.where(missing, visible.cumulant(of_v), 0.0).sum(1)
    log_z = log_z + hidden.cumulant(of_h).sum(1) - constant - 0.5 * (of_pairs * mean_v).sum(1)
    of_h, of_v, is_gap, shift_h, shift_v, constant, mean_v, of_pairs = (
        of_row.repeat_interleave(n_chains, 0)
        for of_row in (of_h, of_v, is_gap, mean_v @ W.T, mean_h @ W, constant, mean_v, of_pairs)
    )
    betas, log_weight = uniform_schedule(n_temperatures), torch.zeros_like(constant)
    v = visible.sample(visible.mean(of_v), stream).mul_(is_gap)
    for step, (before, beta) in enumerate(pairwise(betas), 1):
        along = v @ W.T - shift_h
        later = of_h + beta * along
        log_weight += (hidden.cumulant(later) - hidden.cumulant(of_h + before * along)).sum(1)
        log_weight -= (beta - before) * ((shift_v * v).sum(1) - constant)
        if params.R is not None:
            log_weight += (beta - before) * params.log_weight_of_couplings(v - mean_v)
        if step < n_temperatures:
            h = hidden.sample(hidden.mean(later), stream)
            v, _ = _moved(params, v, of_v + beta * (h @ W - shift_v - of_pairs), is_gap, stream, beta)
    return log_weight.view(-1, n_chains) + log_z[:, None]


def _moved(
    params: RBMParameters, v: Tensor, inputs: Tensor, is_gap: Tensor, stream: Stream, beta: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Missing cells drawn anew, by their inputs without the couplings between them, and their means; 0 elsewhere."""
    if params.R is None:
        mean_v = params.visible.mean(inputs)
        return params.visible.sample(mean_v, stream).mul_(is_gap), mean_v.mul_(is_gap)
    v, numbers = v.clone(), stream.numbers(v.numel(), v.device)
    given = torch.where(is_gap, torch.nan, torch.zeros_like(v))
    logits = sweep_(params, v, inputs.clone(), numbers, given=given, scale=beta)
    return v, params.visible.mean(logits).mul_(is_gap)


def _clamped_chains(
    machine: Machine, rows: Rows, stream: Stream, n_chains: int, n_steps: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Steps of Gibbs chains of p(v_m, h | v_o): v, its means, E[h | v] and h, the chains of a row one after another."""
    params, is_gap = machine.params, rows.missing[:, machine.unit_of]
    mean_v, mean_h = _mean_field(machine, rows, is_gap)
    of_v = machine.inputs_of_v(rows).expand(len(rows.v), -1)
    mean_v, mean_h, is_gap, given, inputs, of_v = (
        of_row.repeat_interleave(n_chains, 0) for of_row in (mean_v, mean_h, is_gap, rows.v, rows.inputs, of_v)
    )
    h = params.hidden.sample(mean_h, stream)
    drawn = mean_v if params.R is None else params.visible.sample(mean_v, stream)
    for _ in range(n_steps):
        drawn, mean_v = _moved(params, drawn, of_v + h @ params.W, is_gap, stream)
        mean_h = params.hidden.mean(inputs + drawn @ params.W.T)
        h = params.hidden.sample(mean_h, stream)
        yield given + drawn, given + mean_v, mean_h, h


def _of_completions(machine: Machine, rows: Rows, stream: Stream, n_chains: int, n_steps: int) -> Tensor:
    """Estimates of log p(v_i | v_o without v_i) of each observed unit, (n, n_units); 0 of those that are missing.

    Greys take the means over draws of h of what v_i = 1 and v_i = 0 would add to the weight of h.
    """
    params, shape = machine.params, (len(rows.v), n_chains, -1)
    has_greys = machine.has_greys(rows)
    of_bits, of_greys = (~has_greys).nonzero().flatten(), has_greys.nonzero().flatten()
    v_greys, n_kept = rows.v[of_greys][:, None], 0
    total = rows.v.new_full(rows.missing.shape, -math.inf)
    ends = [torch.full_like(rows.v[of_greys], -math.inf) for _ in range(2)]
    for step, (v, _, _, h) in enumerate(_clamped_chains(machine, rows, stream, n_chains, n_steps)):
        if step < n_steps // 2 or (step + 1) % _THIN:
            continue
        n_kept += n_chains
        if len(of_bits):
            terms = log_conditionals(params, v.view(shape)[of_bits].flatten(0, 1)).view(len(of_bits), n_chains, -1)
            total[of_bits] = torch.logaddexp(total[of_bits], (-terms).logsumexp(1))
        if len(of_greys):
            x = (
                params.b + h.view(shape)[of_greys] @ params.W + params.fields(v).view(shape)[of_greys]
            )  # (n, n_chains, n_features)
            ends = [
                torch.logaddexp(so_far, ((end - v_greys) * x).logsumexp(1))
                for so_far, end in zip(ends, (1.0, 0.0), strict=True)
            ]
    found = math.log(max(n_kept, 1)) - total
    if len(of_greys):
        found[of_greys] = log_p_of_greys(v_greys[:, 0], ends[0] - ends[1])
    return found.masked_fill_(rows.missing, 0.0)


def _warn_if_few_count(size: Tensor, n_chains: int) -> None:
    """Warn if of some rows less than a tenth of the chains count, or less than two."""
    n_few = int((size < max(n_chains / 10, min(n_chains, 2) - 1e-6)).sum())
    if n_few:
        warn(
            f"The missing values of {n_few} {'row' if n_few == 1 else 'rows'} were summed out by AIS of which only "
            f"{float(size.min()):.1f} of {n_chains} chains count (effective sample size): their log-probabilities are "
            "not to be trusted.",
            LogPartitionWarning,
        )
