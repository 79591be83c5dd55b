"""Small machines without hidden units, by enumeration, in numpy: couplings R, biases b, probabilities of all states."""

import numpy as np

from tests import reference


def machine(n, scale=1.0, seed=0):
    """R and b."""
    rng = np.random.default_rng(seed)
    R = np.triu(rng.normal(0, scale, (n, n)), 1)
    return R + R.T, rng.normal(0, scale, n)


def probabilities(R, b):
    """p(x) of all states, in the order of `reference.states`."""
    x = reference.states(len(b))
    p = np.exp(0.5 * np.einsum("ri,ij,rj->r", x, R, x) + x @ b)
    return p / p.sum()


def draws(R, b, n_rows, seed=0):
    """Rows of bits."""
    p = probabilities(R, b)
    return reference.states(len(b))[np.random.default_rng(seed).choice(len(p), n_rows, p=p)]


def second_moments(R, b):
    """⟨x x'⟩."""
    x = reference.states(len(b))
    return (x * probabilities(R, b)[:, None]).T @ x


def covered(learn, R, b, n_rows, n_tables, factor=1.0):
    """Share of true couplings within 1.96 standard errors, over tables; the errors are multiplied by a factor."""
    i, j = np.triu_indices(len(b), 1)
    inside = []
    for seed in range(n_tables):
        found = learn(draws(R, b, n_rows, seed))
        inside.append(np.abs(found.R.numpy() - R)[i, j] < 1.96 * factor * found.R_stderr.numpy()[i, j])
    return np.mean(inside)
