import numpy as np
import torch

from skrbm.diagnostics import mixing
from skrbm.diagnostics.mixing import STATISTICS, diagnose, statistics_of
from skrbm.machines.restricted import RBMParameters, free_energy
from skrbm.sampling.kernels import GIBBS, NothingToWatch
from skrbm.sampling.ladder import AnnealingPath
from skrbm.sampling.tempering import TEMPERING
from skrbm.support.randomness import Stream
from tests import reference


def two_modes(n=12, weight=5.0, bias=0.05):
    """All zeros or all ones, nearly: one strong hidden unit. The ones have the share σ(n · bias), nearly."""
    W = torch.full((1, n), weight, dtype=torch.float64)
    return RBMParameters(W, torch.full((n,), -weight / 2 + bias).double(), torch.full((1,), -weight * n / 2).double())


def run(params, kernel, model, n_steps=400, data=None):
    random_v = Stream(2).bernoulli(torch.full((20, params.n_features), 0.5).double())
    return diagnose(params, kernel, model, random_v, data, n_steps, Stream(0))


def test_a_machine_that_mixes_at_once():
    params = reference.random_params(5, 10, scale=0.1)
    table = run(params, GIBBS, params, data=torch.from_numpy(reference.draw_v(params, 20)))
    assert table["statistic"].tolist() == list(STATISTICS)
    assert (table["r_hat"] < 1.02).all()
    assert (table["merge_time"] <= 4).all()
    assert (table["autocorrelation_time"] < 2).all()
    assert (table["effective_sample_size"] > 4000).all()
    assert np.isnan(table["swap_acceptance"]).all()
    assert np.isnan(table["round_trips"]).all()


def test_gibbs_between_two_modes_is_found_out_and_tempering_is_not():
    params = two_modes()
    ones = torch.ones(20, params.n_features).double()
    gibbs = run(params, GIBBS, params, data=ones)
    share = STATISTICS.index("share_of_ones")
    assert gibbs["r_hat"][share] > 1.5
    assert gibbs["merge_time"][share] == np.inf
    ladder = AnnealingPath(params, torch.zeros_like(params.b)).ladder(torch.linspace(0, 1, 8))
    tempered = run(params, TEMPERING, ladder, data=ones)
    assert tempered["r_hat"][share] < 1.05
    assert tempered["merge_time"][share] < 200
    assert tempered["round_trips"][share] > 10
    assert 0.1 < tempered["swap_acceptance"][share] < 1


def test_without_data_there_is_no_merge_time():
    params = reference.random_params(1, 1)
    table = run(params, GIBBS, params, n_steps=50)
    assert np.isnan(table["merge_time"]).all()
    assert np.isfinite(table["r_hat"]).all()


def test_statistics_are_what_they_are_called():
    params = reference.random_params(3, 5)
    V = torch.from_numpy(reference.states(5))
    found = statistics_of(params)(V)
    torch.testing.assert_close(found[0], free_energy(params, V))
    torch.testing.assert_close(found[1], V.mean(1))
    directions = np.linalg.svd(params.W.numpy())[2][:2]
    np.testing.assert_allclose(found[2:].abs().numpy(), np.abs(directions @ V.numpy().T), atol=1e-12)


def test_a_kernel_is_asked_for_what_it_watches():
    class Nosy(NothingToWatch):
        swap_acceptance, round_trips, steps = 0.3, 7.0, []

        def add_(self, state, info, late):
            self.steps.append(late)

    params = reference.random_params(2, 3)
    table = run(params, GIBBS._replace(watch=lambda model: Nosy()), params, n_steps=11)
    assert (table["swap_acceptance"] == 0.3).all()
    assert (table["round_trips"] == 7).all()
    assert Nosy.steps == [False] * 5 + [True] * 6


def test_seconds_are_those_that_the_device_works(monkeypatch):
    """A GPU whose steps take 2 s, and are launched in no time."""
    elapsed, pending = 0.0, 0.0

    def step(*args):
        nonlocal pending
        pending += 2.0
        return GIBBS.step(*args)

    def clock(device):
        nonlocal elapsed, pending
        assert device == params.W.device
        elapsed, pending = elapsed + pending, 0.0
        return elapsed

    monkeypatch.setattr(mixing, "clock", clock)
    params = reference.random_params(2, 3)
    assert (run(params, GIBBS._replace(step=step), params, n_steps=11)["seconds"] == 2.0).all()
