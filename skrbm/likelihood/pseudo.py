"""The pseudo-likelihood: how probable each unit of a row is given all the others. Exact, and mostly matrix products."""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor

from skrbm.machines.restricted import RBMParameters, check_states, input_to_h
from skrbm.machines.units import Unit
from skrbm.support.compiled import Loop, loops_pay
from skrbm.support.kernels import linear
from skrbm.support.tensors import is_bits

BITS = (0.0, 1.0)  # states of units whose cumulant is softplus
_BLOCK = 1 << 20  # elements of a temporary where units are flipped one by one
_PRODUCT_BLOCK = 1 << 22  # elements of a factor where they are not
_DEVICE_BLOCK = 1 << 24  # of either on a GPU, which has no cache to stay in, but takes time to launch anything
_EFFECT = Loop("skrbm.likelihood.loops", "effect_of_bits")
_LEAST_SUMS = 1 << 31  # terms that pay for loading a compiled loop
_LARGEST_LOG = 40.0, 600.0  # of products of factors, for float32 and float64: half of what each can hold, and more
_MAX_NODES, _LARGEST = 64, 100.0  # points, and weights, up to which products are quicker


def pseudo_log_likelihood(params: RBMParameters, v: Tensor) -> Tensor:
    """Pseudo-log-likelihood of each row: the sum over the visible units of log p(v_i | the other v).

    Parameters
    ----------
    params : RBMParameters
        A machine.
    v : Tensor of shape (n, n_features)
        States. Where all visible units have the states 0 and 1, a value between them counts as the probability p of a
        one: v_i log p_i + (1 - v_i) log(1 - p_i).

    Returns
    -------
    Tensor of shape (n,)
        Nats, in the float type of `v`. Exact up to rounding and deterministic; takes O(n_features · n_hidden) time a
        row and bounded memory.

    Raises
    ------
    TypeError
        If `v` is no tensor of floats.
    ValueError
        If `v` has another width than the machine, or a conditional of it can't be normalised.

    Notes
    -----
    Besag 1975; Hyvärinen 2006. Of a Gaussian unit the term is the log-density, whose normaliser is a sum over nodes
    less than a standard deviation apart (the trapezoidal rule, which is exact to 1e-13 for mixtures of normal densities
    of variance 1); of one of several categories the log-probability of the one that it is.

    Of bits: with a_j = c_j + W_j v, the logit of p_i is b_i plus, where visible units are coupled, Σ_j R_ij v_j, plus
    Σ_j softplus(a_j + W_ji (1 - v_i)) - softplus(a_j - W_ji v_i), where softplus is the cumulant of the hidden units.

    Where v and h are bits, that is b_i + Σ_j f(a_j, W_ji), or b_i - Σ_j f(a_j, -W_ji) where v_i is 1, with
    f(a, w) = softplus(a + w) - softplus(a). As a function of w, f has its next singularity at a distance of π, so a
    polynomial through few points w_m is as good as f itself (nine digits from 16 points for |w| < 1.5), and the sum
    over j becomes matrix products: Σ_m Σ_j f(a_j, w_m) ℓ_m(W_ji), with Lagrange's polynomials ℓ_m.

    Examples
    --------
    >>> import torch
    >>> from skrbm.machines import RBMParameters
    >>> from skrbm.likelihood import pseudo_log_likelihood
    >>> machine = RBMParameters(
    ...     W=torch.tensor([[2.0, -1.0], [0.0, 3.0]]), b=torch.tensor([-1.0, 0.5]), c=torch.tensor([0.5, -2.0])
    ... )
    >>> nats = pseudo_log_likelihood(machine, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    >>> [round(float(x), 3) for x in nats]
    [-2.493, -0.954]
    """
    terms = log_conditionals(params, v)
    if params.is_quadratic or params.visible.states == BITS:
        return terms.sum(1)
    return reduce(torch.add, terms.unbind(1)).to(v.dtype)


def log_conditionals(params: RBMParameters, v: Tensor) -> Tensor:
    """What the pseudo-log-likelihood is the sum of: log p(v_i | the other v) of each visible unit.

    Parameters
    ----------
    params, v
        As in `pseudo_log_likelihood`.

    Returns
    -------
    Tensor of shape (n, n_units)
        Nats, in the float type of `v`, or in float64 where units are taken one by one.

    Raises
    ------
    TypeError, ValueError
        As `pseudo_log_likelihood` does.
    """
    check_states("v", v, params.n_features)
    if not v.is_floating_point():
        raise TypeError(f"v must be a tensor of floats, got {v.dtype}. Pass v.to(params.W).")
    params = params.to(v.dtype)
    inputs = input_to_h(params, v)  # (n, n_hidden)
    if params.is_quadratic:
        return _of_normal(params, v, inputs)
    if params.visible.states != BITS:
        return _by_points(params, v, inputs)
    largest = float(params.W.abs().max()) if params.n_hidden else 0.0
    nodes = _nodes(largest, v.dtype) if largest < _LARGEST and params.hidden.states == BITS else None
    if largest < _LARGEST_LOG[0] and _suits_loop(params, v):
        logits = params.b + _effect_by_loop(v, inputs, params.W, largest)
    elif nodes is not None and len(nodes) <= _MAX_NODES and is_bits(v):
        logits = params.b + _effect_of_bits(v, inputs, params.W, nodes)
    else:
        logits = params.b + _effect(v, inputs, params.W, params.hidden)
    if params.R is not None:
        logits = logits + params.fields(v)
    return v * logits - params.visible.cumulant(logits)


def _by_points(params: RBMParameters, v: Tensor, inputs: Tensor) -> Tensor:
    """The same for visible units of any kind: unit by unit, over all its states or the nodes of a quadrature.

    log p(v_i | the others) = e(v_i) - log Σ_s exp(e(s)), with e(s) = log ρ(s) + b_i's + Σ_j cumulant(a_j + W_ji's) and
    the inputs a_j of the hidden units without v_i.
    """
    W, hidden, visible = params.W, params.hidden, params.visible
    terms, of_all = [], hidden.cumulant(inputs).sum(1)
    least, most = (params.b + sum_of_ends for sum_of_ends in ends_of_inputs(W, hidden.mean_range))
    for columns in visible.columns(params.n_features):
        unit, of_W, b, of_v = visible.unit_at(columns), W[:, columns], params.b[columns], v[:, columns]
        s, log_weight = unit.points(columns, float(least[columns].min()), float(most[columns].max()), v)
        log_weight = log_weight + s @ b
        size = max(1, _BLOCK // max(1, len(s) * len(W)))
        term = v.new_empty(len(v), dtype=torch.float64)
        for first in range(0, len(v), size):
            rows = slice(first, first + size)
            without = inputs[rows] - of_v[rows] @ of_W.T
            of_points = hidden.cumulant(without[:, None] + s @ of_W.T).sum(-1) + log_weight  # (n, n_points)
            of_state = unit.log_weight(of_v[rows], b) + of_all[rows]
            term[rows] = (of_state - of_points.logsumexp(1)).double()
        terms.append(term)
    return torch.stack(terms).T  # which lies unit by unit


def ends_of_inputs(W: Tensor, mean_range: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """The least and the largest Σ_j W_ji h_j for means of h in a range, (n_features,) each."""
    low, high = (W * end for end in mean_range)
    return torch.minimum(low, high).sum(0), torch.maximum(low, high).sum(0)


def _of_normal(params: RBMParameters, v: Tensor, inputs: Tensor) -> Tensor:
    """The same where all units are Gaussian: v_i given the others is normal, with precision 1 - |W_i|²."""
    W = params.W
    strength = W.square().sum(0)
    precision = 1.0 - strength
    if bool((precision <= 0.0).any()):
        raise ValueError("The machine can't be normalised: the weights of a column have a norm of 1 or more.")
    natural = params.b + inputs @ W - v * strength  # the input of v_i, without its own part
    deviation = v - natural / precision
    return 0.5 * (precision.log() - math.log(2.0 * math.pi)) - 0.5 * precision * deviation.square()


def _suits_loop(params: RBMParameters, v: Tensor) -> bool:
    """Whether a compiled loop takes these rows."""
    suits = v.dtype == torch.float32 and v.device.type == "cpu" and params.hidden.states == BITS
    return suits and loops_pay(v.numel() * params.n_hidden >= _LEAST_SUMS) and is_bits(v)


def _effect_by_loop(v: Tensor, inputs: Tensor, W: Tensor, largest: float) -> Tensor:
    """The same as `_effect`, for v of zeros and ones: each unit's part is the logarithm of a product of few factors."""
    n_few = max(1, min(16, int(_LARGEST_LOG[0] / max(largest, 1e-3))))
    n_many = max(1, min(64, int(_LARGEST_LOG[1] / (n_few * max(largest, 1e-3)))))
    up, down, few = W.expm1().contiguous(), (-W).expm1().contiguous(), torch.empty(v.shape)
    total, many = torch.zeros(v.shape, dtype=torch.float64), torch.empty(v.shape, dtype=torch.float64)
    # f(a, w) = w + f(-a, -w) for a > 0, as in `_values`.
    upper, small = (inputs > 0).to(inputs.dtype).contiguous(), inputs.abs().neg_().sigmoid_().contiguous()
    rows = (v.contiguous(), small, upper, up, down, few, many, total)
    _EFFECT(len(v), v.shape[1], len(W), n_few, n_many, *rows)
    return upper @ W + torch.where(v > 0, -total, total).to(v.dtype)


def _effect(v: Tensor, inputs: Tensor, W: Tensor, hidden: Unit) -> Tensor:
    """What hidden units (their inputs (n, n_hidden)) add to the logit of each v_i given the others: (n, n_features)."""
    effect = torch.zeros_like(v)
    n_hidden, n_features = W.shape
    block = _BLOCK if v.device.type == "cpu" else _DEVICE_BLOCK
    n_units = max(1, min(n_hidden, block // n_features))
    n_rows = max(1, block // (n_units * n_features))
    for first in range(0, len(v), n_rows):
        rows = slice(first, first + n_rows)
        for first_unit in range(0, n_hidden, n_units):
            units = slice(first_unit, first_unit + n_units)
            without = inputs[rows, units, None] - W[units] * v[rows, None]  # the inputs without v_i
            effect[rows] += (hidden.cumulant(without + W[units]) - hidden.cumulant(without)).sum(1)
    return effect


def _nodes(largest: float, dtype: torch.dtype) -> Tensor:
    """Chebyshev's points on [-largest, largest], as many as f needs there; an even number, rising, (n_nodes,), float64.

    The error falls by the sum of the semi-axes of the ellipse with foci ±1 through the singularity at iπ / largest, for
    each point (Trefethen 2013, theorem 8.2).
    """
    height = math.pi / max(largest, 1e-3)
    shrinks_by = height + math.sqrt(1.0 + height**2)
    half = math.ceil(0.5 * (1.0 - math.log(torch.finfo(dtype).eps / 100) / math.log(shrinks_by)))
    angles = (torch.arange(2 * half, dtype=torch.float64) + 0.5) * (math.pi / (2 * half))
    return -max(largest, 1e-3) * angles.cos()


def _effect_of_bits(v: Tensor, inputs: Tensor, W: Tensor, nodes: Tensor) -> Tensor:
    """The same for v of zeros and ones. f is split into its even and odd part in w, as v_i only changes their sign."""
    n_hidden, n_features = W.shape
    positive = nodes[len(nodes) // 2 :]
    on_cpu = v.device.type == "cpu"
    block, lagrange, values = (
        (_PRODUCT_BLOCK, _lagrange, _values) if on_cpu else (_DEVICE_BLOCK, _lagrange_at_once, _values_at_once)
    )
    n_units = max(1, min(n_hidden, block // (len(positive) * n_features)))
    n_rows = max(1, block // (len(positive) * n_units))
    even, odd = torch.zeros_like(v), torch.zeros_like(v)
    for first_unit in range(0, n_hidden, n_units):
        units = slice(first_unit, first_unit + n_units)
        even_basis, odd_basis = lagrange(W[units], positive)
        for first in range(0, len(v), n_rows):
            rows = slice(first, first + n_rows)
            even_values, odd_values = values(inputs[rows, units], positive)
            even[rows] += linear(even_values, even_basis.T, v.new_zeros(n_features))
            odd[rows] += linear(odd_values, odd_basis.T, v.new_zeros(n_features))
    return odd.add_(even.mul_(1.0 - 2.0 * v))


def _lagrange(W: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd polynomials at W that are 1 at one of the `positive` points and 0 at the others.

    Each (n_points · n_hidden, n_features).
    """
    dtype, W, points = W.dtype, W.double(), positive.tolist()
    squared = W * W
    even = W.new_ones((len(points), *W.shape))
    odd = torch.empty_like(even)
    for m, point in enumerate(points):
        for other in points[:m] + points[m + 1 :]:
            even[m].mul_((squared - other**2).div_(point**2 - other**2))
        torch.mul(even[m], W, out=odd[m]).div_(point)
    return even.flatten(0, 1).to(dtype), odd.flatten(0, 1).to(dtype)


def _values(inputs: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd part of f at the `positive` points, each (n, n_points · n_hidden).

    f(a, w) = log(1 + σ(a) (e^w - 1)), without cancellation for a <= 0; for a > 0 it is w + f(-a, -w).
    """
    upper = (inputs > 0).to(inputs.dtype)
    small = inputs.abs().neg_().sigmoid_()
    even, odd = (inputs.new_empty((len(inputs), len(positive), inputs.shape[1])) for _ in range(2))
    sign = 1.0 - 2.0 * upper
    for m, point in enumerate(positive.tolist()):
        up, down = (small * math.expm1(point)).log1p_(), (small * math.expm1(-point)).log1p_()
        torch.add(up, down, out=even[:, m]).mul_(0.5)
        # -a instead of a exchanges the two, and the linear term is odd.
        torch.sub(up, down, out=odd[:, m]).mul_(sign).mul_(0.5).add_(upper, alpha=point)
    return even.flatten(1), odd.flatten(1)


# -- the same for all points at once: a tenth of the launches, but nothing stays in a cache ----------------------------


def _lagrange_at_once(W: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    dtype, W, squares, n_points = W.dtype, W.double(), positive * positive, len(positive)
    scale = (squares[:, None] - squares).fill_diagonal_(1.0).prod(1)
    squares, points, scale = torch.stack((squares, positive, scale)).to(W.device)[..., None, None]
    difference = W * W - squares
    even = torch.ones_like(difference)
    for shift in range(1, n_points):
        even.mul_(difference.roll(shift, 0))
    even.div_(scale)
    odd = (even * W).div_(points)
    return even.flatten(0, 1).to(dtype), odd.flatten(0, 1).to(dtype)


def _values_at_once(inputs: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    points, rise, fall = torch.stack((positive, positive.expm1(), (-positive).expm1())).to(inputs)[..., None]
    upper, small = (inputs > 0).to(inputs.dtype)[:, None], inputs.abs().neg_().sigmoid_()[:, None]
    up, down = (small * rise).log1p_(), (small * fall).log1p_()
    even, odd = (up + down).mul_(0.5), (up - down).mul_(0.5 - upper).add_(upper * points)
    return even.flatten(1), odd.flatten(1)
