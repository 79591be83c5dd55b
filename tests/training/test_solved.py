"""Machines that are learned at once: which solver, and what comes of it."""

import numpy as np
import pytest

from skrbm import BoltzmannMachine
from skrbm.distributed import ALONE
from skrbm.rows import ArrayRows, SharedRows
from skrbm.training.couplings import distinct_rows, moments
from skrbm.training.couplings_exact import learn_exactly
from skrbm.training.fit import Start
from skrbm.training.settings import TrainSettings
from skrbm.training.solved import learn_at_once, solver_for

X = (np.random.default_rng(0).random((300, 4)) < [0.2, 0.5, 0.6, 0.7]).astype(np.float64)
X[:, 1] = np.where(np.random.default_rng(1).random(300) < 0.7, X[:, 0], X[:, 1])
START = Start([0])


def settings(**kwargs):
    return TrainSettings(**{"n_hidden": 0, "visible_couplings": True, "solver": "auto", "n_chains": 10, **kwargs})


def rows(X=X, **kwargs):
    return SharedRows(ArrayRows(X, **kwargs), ALONE)


@pytest.mark.parametrize(
    ("n", "kwargs", "expected"),
    [
        (4, {}, "exact"),
        (12, {}, "exact"),
        (13, {}, "pseudolikelihood"),
        (4, {"solver": "pseudolikelihood"}, "pseudolikelihood"),
        (4, {"solver": "pcd"}, "pcd"),
        (4, {"n_hidden": 2}, "pcd"),
        (4, {"early_stopping": True}, "pcd"),
        (4, {"n_hidden": 2, "visible_couplings": False}, "pcd"),
    ],
)
def test_which_solver(n, kwargs, expected):
    assert solver_for(rows(np.eye(n)), settings(**kwargs), START) == expected


def test_what_chains_have_to_learn():
    gaps = X.copy()
    gaps[3, 1] = np.nan
    assert solver_for(rows(gaps), settings(), START) == "pcd"
    assert solver_for(rows(), settings(), Start([0], carries_on=True)) == "pcd"
    with pytest.raises(ValueError, match="solver='exact' is not available where rows have gaps"):
        solver_for(rows(gaps), settings(solver="exact"), START)
    with pytest.raises(ValueError, match="at most 20 columns, and X has 21"):
        solver_for(rows(np.eye(21)), settings(solver="exact"), START)


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_what_the_solver_finds(weighted):
    weight = np.arange(len(X)) % 3 if weighted else None
    found = learn_at_once(rows(weight=weight), settings(l2_penalty=0.0), START, "exact")
    expected = learn_exactly(moments(distinct_rows(X, weight)))
    np.testing.assert_allclose(found.params.R, expected.R, atol=1e-8)
    np.testing.assert_allclose(found.params.b, expected.b, atol=1e-8)
    np.testing.assert_allclose(found.couplings_stderr, expected.R_stderr, rtol=1e-6)
    unweighted = learn_exactly(moments(distinct_rows(X)))
    assert bool((found.params.R - unweighted.R).abs().max() > 0.01) == weighted  # a twin that takes no notice of weights


def test_chains_and_rates_are_those_of_the_rows():
    found = learn_at_once(rows(), settings(n_chains=2000, l2_penalty=0.0), START, "exact")
    np.testing.assert_allclose(found.v.mean(0), X.mean(0), atol=0.05)
    np.testing.assert_allclose(found.base_rates, (X.sum(0) + 1) / (len(X) + 2))
    assert found.h.shape == (2000, 0)


def test_greys_are_drawn():
    greys = np.full((4000, 2), 0.3)
    found = learn_at_once(rows(greys), settings(l2_penalty=0.0), START, "exact")
    np.testing.assert_allclose(found.base_rates, 0.3, atol=0.03)
    assert abs(float(found.params.R[0, 1])) < 0.3


def test_penalties_and_masks():
    mask = np.zeros((4, 4), bool)
    mask[0, 1] = mask[1, 0] = True
    found = learn_at_once(rows(), settings(visible_couplings=mask), START, "pseudolikelihood")
    assert (found.params.R != 0).sum() == 2
    shrunk = learn_at_once(rows(), settings(visible_couplings=mask, l2_penalty=10.0), START, "pseudolikelihood")
    assert 0 < abs(shrunk.params.R[0, 1]) < 0.1 * abs(found.params.R[0, 1])
    sparse = learn_at_once(rows(), settings(l1_penalty=0.02), START, "exact")
    assert sparse.params.R[0, 1] != 0
    assert (sparse.params.R == 0).sum() > 4
    assert sparse.couplings_stderr is None


def test_a_fit_says_what_it_lacks():
    with pytest.raises(ValueError, match="checkpoint is for learning in epochs, but by solver='auto' couplings are"):
        BoltzmannMachine(checkpoint="model").fit(X)
