"""Runs of chains: their ends, their means, and how they are watched."""

import numpy as np
import pytest
import torch

from skrbm.sampling import KERNELS, kernels
from skrbm.sampling.kernels import GIBBS, gibbs_init, gibbs_step, record_chains, run_chains
from skrbm.sampling.tempering import TEMPERING
from skrbm.support.randomness import Stream
from tests import reference
from tests.sampling.test_kernels import GIVEN, MODELS, WEAK


def starts(n):
    return torch.from_numpy(reference.draw_v(WEAK, n))


def test_ends_and_means_are_those_of_the_steps():
    for n_steps in (1, 4, 7):
        stream, means = Stream(0), []
        state = gibbs_init(WEAK, starts(20), stream)
        for _ in range(n_steps):
            state, info = gibbs_step(WEAK, state, stream)
            means.append(info.mean_v)
        assert torch.equal(run_chains(GIBBS, WEAK, starts(20), n_steps, Stream(0))[0], info.v)
        found, _ = run_chains(GIBBS, WEAK, starts(20), n_steps, Stream(0), mean=True)
        torch.testing.assert_close(found, torch.stack(means[n_steps // 2 :]).mean(0))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("block", [1, 150, 1 << 25])
def test_chains_have_the_right_distribution_whatever_the_blocks(name, block, monkeypatch):
    monkeypatch.setattr(kernels, "_BLOCK", block)
    n = 40 if block == 1 else 3000
    model = MODELS[name](WEAK)
    given = torch.from_numpy(GIVEN).expand(n, -1)
    p = reference.conditional_p_v(WEAK, GIVEN)
    v = torch.from_numpy(reference.states(4)[np.arange(n) % 16])
    ends, watch = run_chains(KERNELS[name], model, v, 20, Stream(0), given)
    assert reference.total_variation(reference.frequencies(ends), p) < reference.total_variation_floor(p, n)
    means, _ = run_chains(KERNELS[name], model, v[:40], 100, Stream(1), given[:40], mean=True)
    exact = torch.from_numpy(p @ reference.states(4))
    torch.testing.assert_close(means.mean(0), exact, atol=0.02, rtol=0)
    assert (means[:, 1:3] == given[:40, 1:3]).all()
    assert watch.warning_text() is None


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("thin", [1, 2, 5])
def test_recorded_chains_go_through_the_steps(name, thin, monkeypatch):
    kernel, model, given = KERNELS[name], MODELS[name](WEAK), torch.from_numpy(GIVEN).expand(20, -1)
    stream, seen = Stream(0), []
    state = kernel.init(model, starts(20), stream, given)
    for _ in range(7):
        state, info = kernel.step(model, state, stream)
        seen.append(info.v)
    chains, watch = record_chains(kernel, model, starts(20), 7, Stream(0), given, thin)
    assert torch.equal(chains, torch.stack(seen[thin - 1 :: thin], 1))
    np.testing.assert_equal(
        watch.swap_acceptance, run_chains(kernel, model, starts(20), 7, Stream(0), given)[1].swap_acceptance
    )
    monkeypatch.setattr(kernels, "_BLOCK", 1)
    assert record_chains(kernel, model, starts(20), 7, Stream(0), given, thin)[0].shape == chains.shape


def test_blocks_are_no_larger_than_memory_is_for(monkeypatch):
    sizes, ladder = [], MODELS["tempering"](WEAK)
    kernel = TEMPERING._replace(init=lambda ladder, v, *rest: sizes.append(len(v)) or TEMPERING.init(ladder, v, *rest))
    monkeypatch.setattr(kernels, "_BLOCK", 120)  # of three rungs of four units
    run_chains(kernel, ladder, starts(35), 2, Stream(0))
    assert sizes == [10, 10, 10, 5]


def test_several_calls_gather_in_one_watch():
    ladder = MODELS["tempering"](WEAK)
    _, watch = run_chains(TEMPERING, ladder, starts(40), 50, Stream(0))
    _, second = run_chains(TEMPERING, ladder, starts(40), 50, Stream(1))
    found = run_chains(TEMPERING, ladder, starts(40), 50, Stream(1), watch=watch)[1]
    assert found is watch
    _, first = run_chains(TEMPERING, ladder, starts(40), 50, Stream(0))
    np.testing.assert_allclose(watch.acceptance, (first.acceptance + second.acceptance) / 2)
    assert watch.round_trips == pytest.approx((first.round_trips + second.round_trips) / 2)


def test_rungs_that_hardly_swap_are_told():
    params = reference.random_params(30, 40, scale=1.5)
    ladder = MODELS["tempering"](params)
    _, watch = run_chains(TEMPERING, ladder, torch.zeros(5, 40).double(), 10, Stream(0))
    assert "swap with probability" in watch.warning_text()


ROWS = torch.zeros(2, 4, dtype=torch.float64)


@pytest.mark.parametrize("run", [run_chains, record_chains])
@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (
            (WEAK, GIBBS, ROWS, 2, Stream(0)),
            TypeError,
            "kernel must be a Kernel, .*GIBBS, got RBMParameters. The order",
        ),
        ((GIBBS, np.eye(3), ROWS, 2, Stream(0)), TypeError, "model must be an RBMParameters, .*got ndarray.*`params_`"),
        (
            (GIBBS, WEAK, ROWS.numpy(), 2, Stream(0)),
            TypeError,
            "v must be a tensor, got ndarray. Pass torch.from_numpy",
        ),
        ((GIBBS, WEAK, ROWS.float(), 2, Stream(0)), ValueError, "v is float32 .* but the parameters are float64"),
        ((GIBBS, WEAK, ROWS[:, :3], 2, Stream(0)), ValueError, r"v must have shape \(n, 4\)"),
        ((TEMPERING, MODELS["tempering"](WEAK), ROWS.float(), 2, Stream(0)), ValueError, "v is float32"),
        ((GIBBS, WEAK, ROWS, 2, 0), TypeError, "Stream"),
        ((GIBBS, WEAK, ROWS, 0, Stream(0)), ValueError, "n_steps=0 must be at least 1"),
        ((GIBBS, WEAK, ROWS, 2, Stream(0), GIVEN[None]), TypeError, "given must be a tensor, got ndarray"),
        ((GIBBS, WEAK, ROWS, 2, Stream(0), ROWS[:1]), ValueError, "given has 1 rows, but v has 2"),
    ],
    ids=["order", "model", "array", "type", "width", "ladder", "stream", "steps", "given", "rows"],
)
def test_what_chains_cannot_be_run_with(run, args, error, message):
    with pytest.raises(error, match=message):
        run(*args)
