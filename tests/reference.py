"""The mathematics of a machine, slow and obvious: by enumeration of all states, in numpy float64."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import torch

from skrbm.machines.restricted import RBMParameters


def random_params(n_hidden=3, n_features=4, scale=1.0, seed=0, dtype=torch.float64, coupled=False):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: torch.from_numpy(rng.normal(0, scale, shape)).to(dtype)  # noqa: E731
    params = RBMParameters(draw(n_hidden, n_features), draw(n_features), draw(n_hidden))
    return replace(params, R=symmetric(draw(n_features, n_features))) if coupled else params


def symmetric(matrix):
    """The entries above the diagonal, below it too; 0 on it."""
    upper = matrix.triu(1)
    return upper + upper.T


def states(n):
    """All states of n bits, (2^n, n); row r is the number r in binary, first bit first."""
    return np.array(list(product([0.0, 1.0], repeat=n)))


def index(v):
    """The row of each state in `states`."""
    v = np.asarray(v)
    return (v @ 2 ** np.arange(v.shape[1])[::-1]).astype(int)


def energy(params, v, h):
    W, b, c = (t.double().numpy() for t in (params.W, params.b, params.c))
    return -(h @ W @ v) - b @ v - c @ h - coupling(params, v)


def coupling(params, v):
    """Σ_{i<j} R_ij v_i v_j, pair by pair."""
    if params.R is None:
        return 0.0
    return sum(float(params.R[i, j]) * v[i] * v[j] for i, j in combinations(range(len(v)), 2))


def joint(params):
    """p(v, h) of every pair, (2^n_features, 2^n_hidden)."""
    weights = np.exp(-all_energies(params))
    return weights / weights.sum()


def all_energies(params):
    return np.array([[energy(params, v, h) for h in states(params.n_hidden)] for v in states(params.n_features)])


def log_partition(params):
    return np.log(np.exp(-all_energies(params)).sum())


def p_v(params):
    return joint(params).sum(1)


def h_given_v(params):
    """p(h | v), a row for each v."""
    p = joint(params)
    return p / p.sum(1, keepdims=True)


def v_given_h(params):
    """p(v | h), a row for each h."""
    p = joint(params).T
    return p / p.sum(1, keepdims=True)


def sweep_transition(params, h, order=None, given=None):
    """Probabilities of v → v' where units are drawn given h and all other units, one after another."""
    V, matrix = states(params.n_features), np.eye(2**params.n_features)
    weights = np.exp([-energy(params, v, h) for v in V])
    for i in range(params.n_features) if order is None else order:
        if given is not None and not np.isnan(given[i]):
            continue
        one, zero = V.copy(), V.copy()
        one[:, i], zero[:, i] = 1.0, 0.0
        one, zero, rows = index(one), index(zero), np.arange(len(V))
        step, both = np.zeros_like(matrix), weights[one] + weights[zero]
        step[rows, one], step[rows, zero] = weights[one] / both, weights[zero] / both
        matrix = matrix @ step
    return matrix


def gibbs_transition(params, given=None):
    """One-step probabilities of v → h → v', a row for each v; of coupled units by a sweep."""
    if params.R is None:
        return h_given_v(params) @ v_given_h(params)
    sweeps = [sweep_transition(params, h, given=given) for h in states(params.n_hidden)]
    return np.einsum("vh,hvu->vu", h_given_v(params), sweeps)


def pseudo_log_likelihood(params, v):
    """Of one row of bits or grey values, from p_i = P(v_i = 1 | the other places)."""
    total = 0.0
    for i in range(len(v)):
        one, zero = v.copy(), v.copy()
        one[i], zero[i] = 1.0, 0.0
        weight = lambda u: sum(np.exp(-energy(params, u, h)) for h in states(params.n_hidden))  # noqa: E731
        both = weight(one) + weight(zero)  # log(1 - p) as such would cancel where p is near 1
        total += v[i] * np.log(weight(one) / both) + (1 - v[i]) * np.log(weight(zero) / both)
    return total


def frequencies(v):
    """Share of each state among rows of bits, in the order of `states`."""
    return np.bincount(index(v), minlength=2 ** v.shape[1]) / len(v)


def total_variation(p, q):
    return 0.5 * np.abs(p - q).sum()


def total_variation_floor(p, n):
    """What the total variation between p and n draws from p is unlikely to exceed."""
    mean = 0.5 * np.sqrt(2 / np.pi) * np.sqrt(p * (1 - p) / n).sum()
    return mean + 4 * 0.5 / np.sqrt(n)


def draw_v(params, n, seed=0):
    """n rows drawn exactly from p(v)."""
    rng = np.random.default_rng(seed)
    p = p_v(params)
    return states(params.n_features)[rng.choice(len(p), n, p=p)]


def compatible(given):
    """Whether each state has the numbers of `given`, whose NaN are free."""
    free = np.isnan(given)
    return (states(len(given))[:, ~free] == given[~free]).all(1)


def conditional_p_v(params, given):
    """p(v | the numbers of `given`), over all states v."""
    p = p_v(params) * compatible(given)
    return p / p.sum()


def clamped_gibbs_transition(params, given):
    """One-step probabilities of v → h → v' where the free units of v' are drawn and the others are as given."""
    if params.R is not None:
        return gibbs_transition(params, given)
    free, fits = np.isnan(given), compatible(given)
    V = states(len(given))
    same = (V[:, None, free] == V[None, :, free]).all(2) * fits  # v' drawn without clamping, and what it becomes
    return h_given_v(params) @ v_given_h(params) @ same


def swap_transition(p_low, p_high):
    """Metropolis swap of two machines' states: probabilities from each pair (low, high), a row, to each pair."""
    n = len(p_low)
    matrix = np.zeros((n * n, n * n))
    for i in range(n):
        for j in range(n):
            accept = min(1.0, p_low[j] * p_high[i] / (p_low[i] * p_high[j]))
            matrix[i * n + j, j * n + i] += accept
            matrix[i * n + j, i * n + j] += 1 - accept
    return matrix
