"""The compiled loop of the pseudo-likelihood, against the plain ways in float64."""

import numpy as np
import pytest
import torch

from skrbm.likelihood import pseudo
from skrbm.likelihood.pseudo import pseudo_log_likelihood
from skrbm.machines.bernoulli import Bernoulli
from skrbm.machines.restricted import RBMParameters
from skrbm.support.compiled import Loop, loaded_loops
from tests import reference
from tests.compiled import needs_numba, on_threads, refused_loops, without_loops

pytestmark = needs_numba


def machine(n_hidden, n_features, largest):
    """One whose weights are that large, and whose hidden units have inputs of all sizes."""
    params = reference.random_params(n_hidden, n_features, 1.0)
    W = params.W * largest / params.W.abs().max()
    return RBMParameters(W, params.b, 6 * params.c).to(torch.float32)


def rows(n, n_features):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 2, (n, n_features))).float()


def error(params, v):
    """The largest relative error by the loop."""
    with without_loops():
        exact = pseudo_log_likelihood(params.to(torch.float64), v.double())
    with loaded_loops():
        found = pseudo_log_likelihood(params, v)
    assert found.dtype == torch.float32
    return float((found.double() / exact - 1).abs().max())


@pytest.mark.parametrize("largest", [0.0, 1e-9, 0.1, 1.5, 5.0, 9.0, 19.9, 20.5, 39.9])
@pytest.mark.parametrize("n_hidden", [1, 2, 15, 16, 17, 100])
def test_the_loop_is_as_good_as_float32(largest, n_hidden):
    """Whatever the weights, and so the number of factors that are multiplied before a logarithm is taken."""
    assert error(machine(n_hidden, 20, largest), rows(200, 20)) < 2e-6


@pytest.mark.parametrize("n_hidden", [1023, 1024, 1025, 1040])
def test_more_hidden_units_than_factors_that_go_together(n_hidden):
    """16 products in float32 of 64 each in float64."""
    assert error(machine(n_hidden, 5, 0.5), rows(20, 5)) < 5e-6


def extreme(weight, c):
    """A machine whose factors are all as large as they can be, or all as small."""
    return RBMParameters(torch.full((1300, 3), weight), torch.zeros(3), torch.full((1300,), c))


@pytest.mark.parametrize("largest", [0.5, 5.0, 20.5, 39.9])
@pytest.mark.parametrize("sign", [1, -1])
def test_products_stay_within_the_range_of_the_numbers(largest, sign):
    v = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    for c in (0.0, 0.5 * largest, -0.5 * largest, 100.0, -100.0):
        params = extreme(sign * largest, c)
        with without_loops():
            exact = pseudo_log_likelihood(params.to(torch.float64), v.double())
        with loaded_loops():
            found = pseudo_log_likelihood(params, v)
        torch.testing.assert_close(found.double(), exact, rtol=2e-5, atol=1e-3)  # sums of 1,300 of the same number


def test_that_test_rejects_factors_that_cancel(monkeypatch):
    """As those of units whose input is above 0 would with σ(a) instead of σ(-|a|)."""
    run = Loop.__call__

    def run_twin(self, n_pieces, n_features, n_hidden, n_few, n_many, v, small, upper, *rest):
        small[upper > 0] += 1e-6
        run(self, n_pieces, n_features, n_hidden, n_few, n_many, v, small, upper, *rest)

    monkeypatch.setattr(Loop, "__call__", run_twin)
    assert error(machine(30, 20, 9.0), rows(200, 20)) > 2e-6


def test_that_test_rejects_products_beyond_the_range(monkeypatch):
    monkeypatch.setattr(pseudo, "_LARGEST_LOG", (400.0, 6000.0))
    with loaded_loops():
        assert not pseudo_log_likelihood(extreme(20.5, 0.0), torch.zeros(1, 3)).isfinite().any()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_rows_by_themselves_and_together(n_threads):
    params, v = machine(30, 20, 2.0), rows(37, 20)
    with on_threads(n_threads), loaded_loops():
        together = pseudo_log_likelihood(params, v)
        torch.testing.assert_close(pseudo_log_likelihood(params, v.T.contiguous().T), together)
        for i in (0, 20, 36):
            torch.testing.assert_close(pseudo_log_likelihood(params, v[i : i + 1])[0], together[i])
    assert pseudo_log_likelihood(params, v[:0]).shape == (0,)


def test_units_that_are_all_on_or_off():
    for v in (torch.zeros(3, 20), torch.ones(3, 20)):
        assert error(machine(30, 20, 5.0), v) < 2e-6


def test_where_the_loop_cannot_do_it_the_plain_ways_do():
    params, v = machine(30, 20, 5.0), rows(10, 20)
    spins = type("Other", (Bernoulli,), {"states": (-1.0, 1.0), "cumulant": lambda self, x: torch.logaddexp(x, -x)})()
    cases = {
        "greys": (params, 0.5 * v),
        "float64": (params, v.double()),
        "too large": (machine(30, 20, 40.5), v),
        "as large": (machine(30, 20, 300.0), v),
        "other units": (RBMParameters(params.W, params.b, params.c, hidden=spins), v),
    }
    for case in cases.values():
        with loaded_loops(), refused_loops():
            found = pseudo_log_likelihood(*case)
        with without_loops():
            assert torch.equal(found, pseudo_log_likelihood(*case))
    with loaded_loops(), refused_loops(), pytest.raises(AssertionError, match="a compiled loop"):
        pseudo_log_likelihood(params, v)


def test_short_work_goes_without_where_nothing_is_loaded():
    with refused_loops():
        pseudo_log_likelihood(machine(30, 20, 5.0), rows(10, 20))
