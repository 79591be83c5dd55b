import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.likelihood.exact import log_partition_exact
from skrbm.likelihood.result import LogPartitionWarning
from skrbm.likelihood.tempered import log_partition_tempering
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream
from tests import reference


def ladders(seed):
    params = reference.random_params(8, 12, scale=(0.5, 1.0)[seed % 2], seed=seed)
    path = AnnealingPath(params, params.b * 0.5)
    steps_to_it = [replace(params, W=params.W * t, b=params.b + 1 - t) for t in (0.3, 0.6, 0.8)]
    return params, path.ladder(torch.linspace(0, 1, 6)), path.ladder_through(steps_to_it)


def tempering_errors(change=lambda ladder: ladder):
    errors = []
    for seed in range(8):
        params, *both = ladders(seed)
        for ladder in both:
            found = log_partition_tempering(change(ladder), Stream(seed), n_steps=100, n_chains=50)
            errors.append((found.value - log_partition_exact(params)) / found.standard_error)
    return np.array(errors)


def test_tempering_agrees_with_enumeration():
    errors = tempering_errors()
    assert np.abs(errors).max() < 4
    assert 0.5 < errors.std() < 1.7


def test_that_test_rejects_tempering_with_a_wrong_first_rung():
    def change(ladder):
        return replace(ladder, b=ladder.b + 0.05 * (torch.arange(ladder.n_rungs) == ladder.n_rungs - 1)[:, None])

    assert np.abs(tempering_errors(change)).max() > 4


def test_tempering_has_its_own_bracket():
    _, ladder, _ = ladders(1)
    found = log_partition_tempering(ladder, Stream(0), n_steps=400, n_chains=100)
    assert found.lower <= found.value <= found.upper
    assert found.upper - found.lower < 0.5
    assert (found.n_temperatures, found.n_chains) == (6, 100)


def test_tempering_warns_of_rungs_too_far_apart():
    params = reference.random_params(30, 40, scale=1.5)
    ladder = AnnealingPath(params, torch.zeros_like(params.b)).ladder_through([])
    with pytest.warns(LogPartitionWarning, match=r"Rungs 0 and 1 of 2 swap with probability") as caught:
        found = log_partition_tempering(ladder, Stream(0), n_steps=50, n_chains=10)
    assert caught[0].filename == __file__
    assert found.standard_error == math.inf


def test_tempering_needs_a_first_rung_without_weights():
    ladder = AnnealingPath(reference.random_params(), torch.zeros(4).double()).ladder(torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match="first rung of the ladder has weights"):
        log_partition_tempering(ladder, Stream(0))


def test_progress_is_told():
    calls = []
    _, ladder, _ = ladders(0)
    log_partition_tempering(ladder, Stream(0), n_steps=11, n_chains=5, progress=lambda *numbers: calls.append(numbers))
    assert calls == [(step, 17) for step in range(1, 18)]  # six for each half of the pairs, after five
