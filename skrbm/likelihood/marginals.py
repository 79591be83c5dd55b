"""Missing cells of rows summed out exactly: over their states, over the hidden states, or of normal distributions.

Given the observed cells v_o of a row the rest is an RBM over the missing ones and h, with the hidden bias c + W_o v_o.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from skrbm.likelihood.exact import joint_states
from skrbm.likelihood.pseudo import BITS, ends_of_inputs, log_conditionals
from skrbm.machines.couplings import log_weight_of_couplings
from skrbm.machines.restricted import RBMParameters
from skrbm.machines.units import Points
from skrbm.support.tensors import chunks

_BLOCK = 1 << 20  # elements of a temporary
_TABLE = 1 << 21  # elements of a table of rows and states
_KEPT = 1 << 12  # elements of states that are kept for rows with the same kinds of gaps


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
        What the observed units add to -F by themselves: Σ_i log ρ(v_i) + b_i v_i, and ½ v_o'R v_o.
    fields : Tensor of shape (n, n_features) or (n, 0)
        R v_o, what observed units add to the inputs of those that they are coupled with; no columns without couplings.
    """

    v: Tensor
    missing: Tensor
    inputs: Tensor
    log_weight: Tensor
    fields: Tensor

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

    params: RBMParameters
    columns: list[slice]
    points: list[Points | None]
    n_bits: Tensor
    unit_of: Tensor
    reads_greys: bool

    def __init__(self, params: RBMParameters) -> None:
        self.params = params = params.to(torch.float64)
        visible, W, b = params.visible, params.W, params.b
        self.columns = list(visible.columns(params.n_features))
        self.reads_greys = visible.states == BITS
        least, most = ends_of_inputs(W, params.hidden.mean_range)
        low, high = (b + least).tolist(), (b + most).tolist()
        self.points = []
        weights, before = [], None
        for columns in self.columns:
            unit, of_unit = visible.unit_at(columns), W[:, columns]
            ends = min(low[columns]), max(high[columns])
            is_endless = math.isinf(unit.n_bits(of_unit.shape[1])) and not all(map(math.isfinite, ends))
            points = None if is_endless else unit.points(columns, *ends, W)
            is_same = points is not None and before is not None and _are_same(points, before)
            before = before if is_same else points
            self.points.append(before)
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
        fields = v[:, :0]
        if params.R is not None:
            fields = params.fields(v)
            log_weight = log_weight + 0.5 * (fields * v).sum(1)
        return Rows(v, missing, v @ params.W.T + params.c, log_weight, fields)

    def inputs_of_v(self, rows: Rows) -> Tensor:
        """b + R v_o, the inputs of visible units without hidden and missing ones: (n_features,) or (n, n_features)."""
        return self.params.b if self.params.R is None else self.params.b + rows.fields

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
        """log2 of the number of hidden states, if missing cells are independent given these; else infinite."""
        return math.inf if self.params.R is not None else self.params.hidden.n_bits(self.params.n_hidden)


class Marginals(ABC):
    """A way of summing missing cells out."""

    @abstractmethod
    def log_weight(self, rows: Rows) -> Tensor:
        """-F(v_o) = log Σ exp(-E) over the missing cells and h, (n,)."""

    @abstractmethod
    def mean_h(self, rows: Rows) -> Tensor:
        """E[h | v_o], (n, n_hidden)."""

    @abstractmethod
    def mean_v(self, rows: Rows) -> Tensor:
        """E[v | v_o], (n, n_features); what is observed as it is."""

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
        self._joint: dict[tuple[int, ...], Points] = {}

    def log_weight(self, rows: Rows) -> Tensor:
        found = torch.full_like(rows.log_weight, -math.inf)
        for owner, _, log_weight, _ in self._completions(rows):
            found = torch.logaddexp(found, _log_sums(owner, log_weight, len(found)))
        return found

    def mean_h(self, rows: Rows) -> Tensor:
        found, total = torch.zeros_like(rows.inputs), self.log_weight(rows)
        for owner, inputs, log_weight, _ in self._completions(rows):
            share = (log_weight - total[owner]).exp()
            found.index_add_(0, owner, share[:, None] * self._machine.params.hidden.mean(inputs))
        return found

    def mean_v(self, rows: Rows) -> Tensor:
        found, total = torch.zeros_like(rows.v), self.log_weight(rows)
        for owner, _, log_weight, v in self._completions(rows, with_v=True):
            found.index_add_(0, owner, (log_weight - total[owner]).exp()[:, None] * v)
        return torch.where(rows.missing[:, self._machine.unit_of], found, rows.v)

    def log_conditionals(self, rows: Rows) -> Tensor:
        found, has_greys = rows.v.new_zeros(rows.missing.shape), self._machine.has_greys(rows)
        for some, function in ((~has_greys, self._of_completions), (has_greys, self._of_greys)):
            index = some.nonzero().flatten()
            if len(index):
                found[index] = function(rows.take(index))
        return found.masked_fill_(rows.missing, 0.0)

    def _of_completions(self, rows: Rows) -> Tensor:
        total = rows.v.new_full(rows.missing.shape, -math.inf)
        for owner, _, log_weight, v in self._completions(rows, with_v=True):
            terms = log_weight[:, None] - log_conditionals(self._machine.params, v)
            total = torch.logaddexp(total, _log_sums(owner, terms, len(total)))
        return self.log_weight(rows)[:, None] - total

    def _of_greys(self, rows: Rows) -> Tensor:
        """The same by the odds of each unit, from the sums where it is 1 and where it is 0."""
        params, logits = self._machine.params, torch.empty_like(rows.v)
        numbers, n_each = torch.arange(len(rows.v), device=rows.v.device), 2 * params.n_features
        for index in torch.split(numbers, max(1, _BLOCK // max(1, n_each * max(params.W.shape)))):
            some = rows.take(index)
            steps = torch.stack((1.0 - some.v, -some.v), 2)  # (n, n_features, 2)
            inputs = some.inputs[:, None, None] + steps[..., None] * params.W.T[:, None]
            of_units = self._machine.inputs_of_v(some)
            log_weight = some.log_weight[:, None, None] + steps * of_units[..., None]
            there = Rows(*(part.repeat_interleave(n_each, 0) for part in some))
            there = there._replace(inputs=inputs.flatten(0, 2), log_weight=log_weight.flatten())
            if params.R is not None:
                fields = some.fields[:, None, None] + steps[..., None] * params.R[:, None]
                there = there._replace(fields=fields.flatten(0, 2))
            logits[index] = self.log_weight(there).view(*steps.shape) @ steps.new_tensor((1.0, -1.0))
        return log_p_of_greys(rows.v, logits)

    def _completions(self, rows: Rows, with_v: bool = False) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Completions of all rows, as many at a time as a block holds.

        Of each the number of its row, the inputs of the hidden units, -F with the weight of a quadrature, and, if asked
        for, the visible states.
        """
        params = self._machine.params
        most = max(1, _BLOCK // max(1, params.n_hidden, params.n_features if with_v else 0))
        parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        n = 0
        for part in self._parts(rows, most, with_v):
            if parts and n + len(part[0]) > most:
                yield self._joined(parts)
                parts, n = [], 0
            parts.append(part)
            n += len(part[0])
        if parts:
            yield self._joined(parts)

    def _joined(self, parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        owner, inputs, log_weight, v = (torch.cat(part) for part in zip(*parts, strict=True))
        return owner, inputs, log_weight + self._machine.params.hidden.cumulant(inputs).sum(1), v

    def _parts(self, rows: Rows, most: int, with_v: bool) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """The same for rows of the same gaps, and without what the hidden units add to -F."""
        machine, params = self._machine, self._machine.params
        patterns, which = torch.unique(rows.missing, dim=0, return_inverse=True)
        order, sizes = which.argsort(stable=True), which.bincount()
        for pattern, of_pattern in zip(patterns, torch.split(order, sizes.tolist()), strict=True):
            states, columns = self._states_of(pattern), pattern[machine.unit_of].nonzero().flatten()
            of_h, of_v = states.s @ params.W[:, columns].T, states.log_weight + states.s @ params.b[columns]
            if params.R is not None:
                of_v += log_weight_of_couplings(params.R[columns][:, columns], None, states.s)
            for part in chunks(len(of_v), most):
                n_states = len(of_v[part])
                for index in torch.split(of_pattern, max(1, most // n_states)):
                    owner = index.repeat_interleave(n_states)
                    inputs = (rows.inputs[index][:, None] + of_h[part]).flatten(0, 1)
                    log_weight = rows.log_weight[index][:, None] + of_v[part]
                    if params.R is not None:
                        log_weight += rows.fields[index][:, columns] @ states.s[part].T
                    log_weight = log_weight.flatten()
                    v = rows.v[owner] if with_v else rows.v[:0]
                    if with_v:
                        v[:, columns] = states.s[part].repeat(len(index), 1)
                    yield owner, inputs, log_weight, v

    def _states_of(self, pattern: Tensor) -> Points:
        """All states of the units that are missing."""
        points = [self._machine.points[i] for i in pattern.nonzero().flatten().tolist()]
        known, key = [of_unit for of_unit in points if of_unit is not None], tuple(map(id, points))
        if key not in self._joint:
            numbers = torch.arange(math.prod(len(of_unit.s) for of_unit in known), device=pattern.device)
            states = joint_states(numbers, known, self._machine.params.W)
            if states.s.numel() > _KEPT:
                return states
            self._joint[key] = states
        return self._joint[key]


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

    def mean_v(self, rows: Rows) -> Tensor:
        found, params = torch.empty_like(rows.v), self._machine.params
        means = params.visible.mean(params.b + self._states.s @ params.W)
        for index in self._blocks(rows):
            found[index] = self._table(rows.take(index)).softmax(1) @ means
        return torch.where(rows.missing[:, self._machine.unit_of], found, rows.v)

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
        return self.mean_v(rows) @ self._W.T + self._c

    def mean_v(self, rows: Rows) -> Tensor:
        v = rows.v.clone()
        for index, gaps, others, factor in self._groups(rows):
            of_gaps = self._eta[gaps] - v[index][:, others] @ self._P[others][:, gaps]
            v[index[:, None], gaps] = torch.cholesky_solve(of_gaps.T, factor).T
        return v

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


def _are_same(points: Points, others: Points) -> bool:
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(points, others, strict=True))


def _log_sums(owner: Tensor, x: Tensor, n: int) -> Tensor:
    """log Σ exp(x) over those of each owner, (n, ...); -inf where there are none."""
    places = owner if x.ndim == 1 else owner[:, None].expand_as(x)
    top = x.new_full((n, *x.shape[1:]), -math.inf).scatter_reduce_(0, places, x, "amax")
    return top + torch.zeros_like(top).index_add_(0, owner, (x - top[owner]).exp()).log()


def log_p_of_greys(v: Tensor, logits: Tensor) -> Tensor:
    """v log p + (1 - v) log(1 - p), the logarithm of the probability of a bit where v is one."""
    return v * logits + logsigmoid(-logits)
