"""Missing cells of rows summed out exactly: over their states, over the hidden states, or of normal distributions.

Given the observed cells v_o of a row the rest is an RBM over the missing ones and h, with the hidden bias c + W_o v_o.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from skrbm.likelihood.exact import joint_states
from skrbm.likelihood.pseudo import BITS, ends_of_inputs, log_conditionals
from skrbm.machines.restricted import RBMParameters
from skrbm.machines.units import Points

_BLOCK = 1 << 20  # elements of a temporary
_TABLE = 1 << 21  # elements of a table of rows and states


class Rows(NamedTuple):
    """Rows with gaps, in float64.

    Attributes
    ----------
    v : Tensor of shape (n, n_features)
        Values, 0 where they are missing.
    missing : Tensor of shape (n, n_units), bool
        Which units are.
    inputs : Tensor of shape (n, n_hidden)
        c + W_o v_o.
    log_weight : Tensor of shape (n,)
        What the observed units add to -F by themselves: Σ_i log ρ(v_i) + b_i v_i.
    """

    v: Tensor
    missing: Tensor
    inputs: Tensor
    log_weight: Tensor

    def take(self, index: Tensor) -> Rows:
        """Some of them."""
        return Rows(*(part[index] for part in self))


class Machine:
    """A machine in float64, and what is to be known of its visible units, one by one.

    Attributes
    ----------
    params : RBMParameters
        In float64.
    columns : list of slice
        Those of each unit.
    points : list of Points or None
        States of each unit; None where there are too many.
    n_bits : Tensor of shape (n_units,)
        log2 of how many states these are.
    unit_of : Tensor of shape (n_features,)
        Which unit a column is of.
    reads_greys : bool
        Whether observed values between 0 and 1 count as probabilities of a one.
    """

    def __init__(self, params: RBMParameters) -> None:
        self.params = params = params.to(torch.float64)
        visible, W, b = params.visible, params.W, params.b
        self.columns = list(visible.columns(params.n_features))
        self.reads_greys = visible.states == BITS
        least, most = ends_of_inputs(W, params.hidden.mean_range)
        low, high = (b + least).tolist(), (b + most).tolist()
        self.points: list[Points | None] = []
        weights = []
        for columns in self.columns:
            unit, of_unit = visible.unit_at(columns), W[:, columns]
            ends = min(low[columns]), max(high[columns])
            is_endless = math.isinf(unit.n_bits(of_unit.shape[1])) and not all(map(math.isfinite, ends))
            self.points.append(None if is_endless else unit.points(columns, *ends, W))
            weights.append(unit.log_weight(W.new_zeros(1, of_unit.shape[1]), b[columns]))
        self._at_zero = torch.cat(weights) if weights else W.new_zeros(0)
        sizes = [math.inf if points is None else math.log2(len(points.s)) for points in self.points]
        self.n_bits = torch.tensor(sizes, dtype=W.dtype, device=W.device)
        widths = torch.tensor([columns.stop - columns.start for columns in self.columns], device=W.device)
        self.unit_of = torch.arange(len(sizes), device=W.device).repeat_interleave(widths)

    def rows(self, v: Tensor) -> Rows:
        """States (n, n_features), NaN where they are missing, as rows; all columns of a unit are missing, or none."""
        params, is_gap = self.params, v.isnan()
        missing = v.new_zeros((len(v), len(self.columns)), dtype=torch.float64)
        missing = missing.index_add_(1, self.unit_of, is_gap.double()) > 0.0
        v = torch.where(missing[:, self.unit_of], 0.0, v.double())
        log_weight = params.visible.log_weight(v, params.b) - missing.double() @ self._at_zero
        return Rows(v, missing, v @ params.W.T + params.c, log_weight)

    def has_greys(self, rows: Rows) -> Tensor:
        """Of which rows an observed value counts as the probability of a one, (n,)."""
        if not self.reads_greys:
            return torch.zeros(len(rows.v), dtype=torch.bool, device=rows.v.device)
        return ((rows.v != 0.0) & (rows.v != 1.0)).any(1)

    def visible_bits(self, rows: Rows) -> Tensor:
        """log2 of the number of states of the missing cells, (n,)."""
        return torch.where(rows.missing, self.n_bits, 0.0).sum(1)

    @property
    def hidden_bits(self) -> float:
        """log2 of the number of hidden states."""
        return self.params.hidden.n_bits(self.params.n_hidden)


class Marginals(ABC):
    """A way of summing missing cells out."""

    @abstractmethod
    def log_weight(self, rows: Rows) -> Tensor:
        """-F(v_o) = log Σ exp(-E) over the missing cells and h, (n,)."""

    @abstractmethod
    def mean_h(self, rows: Rows) -> Tensor:
        """E[h | v_o], (n, n_hidden)."""

    @abstractmethod
    def log_conditionals(self, rows: Rows) -> Tensor:
        """log p(v_i | v_o without v_i) of each observed unit, (n, n_units); 0 of those that are missing."""


class ByVisibleStates(Marginals):
    """Sums over the states of the missing cells, or nodes of a quadrature; rows of the same gaps together.

    Notes
    -----
    With weights w_s = p(s | v_o) of completions s, p(v_i | the other v_o) = 1 / Σ_s w_s / p(v_i | the other v_o, s),
    whose conditionals are those of the pseudo-likelihood (Gelfand, Dey & Chang 1992, section 3).
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def log_weight(self, rows: Rows) -> Tensor:
        found = torch.empty_like(rows.log_weight)
        for index, columns, states in self._groups(rows):
            found[index] = self._table(rows.take(index), columns, states).logsumexp(1)
        return found

    def mean_h(self, rows: Rows) -> Tensor:
        found, hidden = torch.empty_like(rows.inputs), self._machine.params.hidden
        for index, columns, states in self._groups(rows):
            some = rows.take(index)
            weights = self._table(some, columns, states).softmax(1)
            total = torch.zeros_like(some.inputs)
            for part, inputs in self._inputs(some, columns, states):
                total += (weights[:, part, None] * hidden.mean(inputs)).sum(1)
            found[index] = total
        return found

    def log_conditionals(self, rows: Rows) -> Tensor:
        found, has_greys = rows.v.new_zeros(rows.missing.shape), self._machine.has_greys(rows)
        for index, columns, states in self._groups(rows, self._machine.params.n_features):
            some, is_grey = rows.take(index), has_greys[index]
            bits, greys = (some.take(where.nonzero().flatten()) for where in (~is_grey, is_grey))
            if len(bits.v):
                found[index[~is_grey]] = self._of_completions(bits, columns, states)
            if len(greys.v):
                found[index[is_grey]] = self._of_greys(greys, columns, states)
        return found.masked_fill_(rows.missing, 0.0)

    def _groups(self, rows: Rows, width: int = 1) -> Iterator[tuple[Tensor, Tensor, Points]]:
        """Rows whose gaps are the same, by their numbers; the columns of the gaps, and the states of these."""
        machine, W = self._machine, self._machine.params.W
        patterns, which = torch.unique(rows.missing, dim=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            points = [of_unit for of_unit, is_gap in zip(machine.points, pattern.tolist(), strict=True) if is_gap]
            known = [of_unit for of_unit in points if of_unit is not None]
            n_states = math.prod(len(of_unit.s) for of_unit in known)
            states = joint_states(torch.arange(n_states, device=W.device), known, W)
            columns = pattern[machine.unit_of].nonzero().flatten()
            of_pattern = (which == number).nonzero().flatten()
            for index in torch.split(of_pattern, max(1, _TABLE // (n_states * width))):
                yield index, columns, states

    def _inputs(self, rows: Rows, columns: Tensor, states: Points) -> Iterator[tuple[slice, Tensor]]:
        """Inputs of the hidden units at all completions, some states at a time: (n, n_some, n_hidden)."""
        of_gaps = self._machine.params.W[:, columns]
        size = max(1, _BLOCK // max(1, rows.inputs.numel()))
        for first in range(0, len(states.s), size):
            part = slice(first, first + size)
            yield part, rows.inputs[:, None] + states.s[part] @ of_gaps.T

    def _table(self, rows: Rows, columns: Tensor, states: Points) -> Tensor:
        """-F of all completions, with the weights of a quadrature: (n, n_states)."""
        params = self._machine.params
        table = rows.log_weight[:, None] + (states.log_weight + states.s @ params.b[columns])
        for part, inputs in self._inputs(rows, columns, states):
            table[:, part] += params.hidden.cumulant(inputs).sum(-1)
        return table

    def _of_completions(self, rows: Rows, columns: Tensor, states: Points) -> Tensor:
        log_w = self._table(rows, columns, states).log_softmax(1)
        total = rows.v.new_full(rows.missing.shape, -math.inf)
        size = max(1, _TABLE // rows.v.numel())
        for first in range(0, len(states.s), size):
            some = states.s[first : first + size]
            v = rows.v[:, None].repeat(1, len(some), 1)
            v[:, :, columns] = some
            terms = log_conditionals(self._machine.params, v.flatten(0, 1)).view(len(v), len(some), -1)
            total = torch.logaddexp(total, (log_w[:, first : first + size, None] - terms).logsumexp(1))
        return -total

    def _of_greys(self, rows: Rows, columns: Tensor, states: Points) -> Tensor:
        """The same with the odds of each unit from the sums where it is 1 and where it is 0."""
        params, logits = self._machine.params, torch.zeros_like(rows.v)
        for i in (~rows.missing[0]).nonzero().flatten().tolist():
            ends = []
            for state in (1.0, 0.0):
                step = state - rows.v[:, i]
                there = rows._replace(
                    inputs=rows.inputs + step[:, None] * params.W[:, i],
                    log_weight=rows.log_weight + step * params.b[i],
                )
                ends.append(self._table(there, columns, states).logsumexp(1))
            logits[:, i] = ends[0] - ends[1]
        return log_p_of_greys(rows.v, logits)


class ByHiddenStates(Marginals):
    """Sums over the hidden states, given which all cells are independent, whatever is missing.

    Notes
    -----
    -F(v_o) = log Σ_h ρ(h) exp(h'(c + W_o v_o) + Σ_i cumulant_i(b_i + W_i'h)), i over the missing units; and
    p(v_i | the other v_o) = 1 / Σ_h p(h | v_o) / p(v_i | h).
    """

    def __init__(self, machine: Machine) -> None:
        self._machine, params = machine, machine.params
        units = [
            params.hidden.points(columns, 0.0, 0.0, params.W) for columns in params.hidden.columns(params.n_hidden)
        ]
        n_states = math.prod(len(unit.s) for unit in units)
        self._states = joint_states(torch.arange(n_states, device=params.W.device), units, params.W)

    def log_weight(self, rows: Rows) -> Tensor:
        found = torch.empty_like(rows.log_weight)
        for index in self._blocks(rows):
            found[index] = self._table(rows.take(index)).logsumexp(1)
        return found

    def mean_h(self, rows: Rows) -> Tensor:
        found = torch.empty_like(rows.inputs)
        for index in self._blocks(rows):
            found[index] = self._table(rows.take(index)).softmax(1) @ self._states.s
        return found

    def log_conditionals(self, rows: Rows) -> Tensor:
        found, params = rows.v.new_zeros(rows.missing.shape), self._machine.params
        for index in self._blocks(rows):
            some = rows.take(index)
            table = self._table(some)
            total = table.logsumexp(1)
            for i, columns in enumerate(self._machine.columns):
                x = params.b[columns] + self._states.s @ params.W[:, columns]  # (n_states, n_columns)
                v = some.v[:, columns]
                if self._machine.reads_greys:
                    with_one, with_zero = ((table + (end - v) * x.T).logsumexp(1) for end in (1.0, 0.0))
                    found[index, i] = log_p_of_greys(v[:, 0], with_one - with_zero)
                    continue
                unit = params.visible.unit_at(columns)
                without = table - v @ x.T + unit.cumulant(x)[:, 0]
                found[index, i] = total - without.logsumexp(1) + unit.log_weight(v, x.new_zeros(x.shape[1]))
        return found.masked_fill_(rows.missing, 0.0)

    def _blocks(self, rows: Rows) -> tuple[Tensor, ...]:
        """Numbers of rows, as many at a time as a table holds."""
        return torch.split(torch.arange(len(rows.v), device=rows.v.device), max(1, _TABLE // len(self._states.s)))

    def _table(self, rows: Rows) -> Tensor:
        """log Σ exp(-E) over the missing cells at each hidden state: (n, n_states)."""
        params, (s, log_weight) = self._machine.params, self._states
        table = rows.inputs @ s.T + log_weight + rows.log_weight[:, None]
        gaps, size = rows.missing.double(), max(1, _BLOCK // max(1, params.n_features))
        for first in range(0, len(s), size):
            part = slice(first, first + size)
            table[:, part] += gaps @ params.visible.cumulant(params.b + s[part] @ params.W).T
        return table


class OfNormal(Marginals):
    """Closed forms where all units are Gaussian.

    Notes
    -----
    p(v) ∝ exp(-v'Pv / 2 + η'v), P = 1 - W'W, η = b + W'c. Without the missing cells: Q = P_oo - P_om P_mm⁻¹ P_mo
    and η_o - P_om P_mm⁻¹ η_m (Bishop 2006, section 2.3.2).
    """

    def __init__(self, machine: Machine) -> None:
        params = machine.params
        self._W, self._c = params.W, params.c
        self._P = torch.eye(params.n_features, dtype=torch.float64, device=params.W.device) - params.W.T @ params.W
        self._eta = params.b + params.W.T @ params.c

    def log_weight(self, rows: Rows) -> Tensor:
        found = torch.empty_like(rows.log_weight)
        for index, gaps, others, factor in self._groups(rows):
            v, eta = rows.v[index][:, others], self._eta[gaps]
            Q, natural = self._of_others(gaps, others, factor)
            constant = 0.5 * (eta @ torch.cholesky_solve(eta[:, None], factor)[:, 0]) - factor.diagonal().log().sum()
            constant = constant + 0.5 * self._c.square().sum() - 0.5 * len(others) * math.log(2.0 * math.pi)
            found[index] = constant + v @ natural - 0.5 * ((v @ Q) * v).sum(1)
        return found

    def mean_h(self, rows: Rows) -> Tensor:
        v = rows.v.clone()
        for index, gaps, others, factor in self._groups(rows):
            of_gaps = self._eta[gaps] - v[index][:, others] @ self._P[others][:, gaps]
            v[index[:, None], gaps] = torch.cholesky_solve(of_gaps.T, factor).T
        return v @ self._W.T + self._c

    def log_conditionals(self, rows: Rows) -> Tensor:
        found = torch.zeros_like(rows.v)
        for index, gaps, others, factor in self._groups(rows):
            v, (Q, natural) = rows.v[index][:, others], self._of_others(gaps, others, factor)
            precision = Q.diagonal()
            deviation = v - (natural - v @ Q + v * precision) / precision
            density = 0.5 * (precision.log() - math.log(2.0 * math.pi)) - 0.5 * precision * deviation.square()
            found[index[:, None], others] = density
        return found

    def _groups(self, rows: Rows) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Rows whose gaps are the same, by their numbers; columns of gaps and others, the Cholesky factor of P_mm."""
        patterns, which = torch.unique(rows.missing, dim=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            gaps, others = pattern.nonzero().flatten(), (~pattern).nonzero().flatten()
            factor, is_not_positive = torch.linalg.cholesky_ex(self._P[gaps][:, gaps])
            if bool(is_not_positive):
                raise ValueError("The machine can't be normalised: the weights of the missing columns are too large.")
            yield (which == number).nonzero().flatten(), gaps, others, factor

    def _of_others(self, gaps: Tensor, others: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Precision Q and natural mean of the other columns."""
        across = self._P[gaps][:, others]
        solved = torch.cholesky_solve(across, factor)
        return self._P[others][:, others] - across.T @ solved, self._eta[others] - self._eta[gaps] @ solved


def log_p_of_greys(v: Tensor, logits: Tensor) -> Tensor:
    """v log p + (1 - v) log(1 - p), the logarithm of the probability of a bit where v is one."""
    return v * logits + logsigmoid(-logits)
