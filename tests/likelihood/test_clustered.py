"""Annealing from clusters of rows, against enumeration; AIS from one base machine is the broken twin."""

import math

import numpy as np
import pytest
import torch

from skrbm.likelihood import log_partition_exact
from skrbm.likelihood.annealed import log_partition_ais, uniform_schedule
from skrbm.likelihood.clustered import Clusters, anneal_from_clusters
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream
from tests import reference
from tests.diagnostics.test_verdict import two_modes

BETAS = uniform_schedule(200)


def rows_near(modes, n_each, noise=0.05, seed=0):
    rows = np.repeat(np.asarray(modes, dtype=float), n_each, 0)
    return torch.from_numpy(np.abs(rows - (np.random.default_rng(seed).random(rows.shape) < noise)))


def log_z(log_weight):
    return float(log_weight.logsumexp(0)) - math.log(len(log_weight))


@pytest.mark.parametrize("seed", range(5))
def test_log_z_and_means_are_those_of_enumeration(seed):
    """A machine that mixes, so that chains end in clusters that they didn't start in."""
    params = reference.random_params(3, 8, seed=seed)
    p = reference.p_v(params)
    rows = torch.from_numpy(reference.states(8)[np.random.default_rng(seed).choice(len(p), 300, p=p)])
    clusters = Clusters.of(rows, torch.zeros(8).double(), Stream(seed))
    v, log_weight = anneal_from_clusters(params, clusters, BETAS, 4000, Stream(seed))
    assert log_z(log_weight) == pytest.approx(reference.log_partition(params), abs=0.05)
    np.testing.assert_allclose(log_weight.softmax(0) @ v, p @ reference.states(8), atol=0.05)


def test_the_functions_sum_up_to_one():
    """With weights that are known, at one step from β = 0 to 1: the mean of r_k over starts and ends is exact."""
    params = two_modes(6, strength=0.0)
    rows = rows_near([[0] * 6, [1] * 6], 20)
    clusters = Clusters.of(rows, torch.zeros(6).double(), Stream(0))
    _, log_weight = anneal_from_clusters(params, clusters, uniform_schedule(50), 20_000, Stream(0))
    assert log_z(log_weight) == pytest.approx(float(log_partition_exact(params)), abs=0.03)


@pytest.mark.parametrize("tilt", [-6.0, 0.0, 6.0])
def test_finds_all_modes_that_rows_are_in(tilt):
    """From a base machine that all chains fall into one mode from, AIS misses the other, with all its chains alike."""
    params = two_modes(40, tilt, strength=6.0)
    rows = rows_near([[0] * 40, [1] * 40], 50)
    base_b = torch.full((40,), 2.0).double()
    v, log_weight = anneal_from_clusters(params, Clusters.of(rows, base_b, Stream(0)), BETAS, 300, Stream(1))
    exact = float(log_partition_exact(params))
    assert log_z(log_weight) == pytest.approx(exact, abs=0.25)
    share = float(log_weight.softmax(0) @ (v.mean(1) > 0.5).double())
    assert share == pytest.approx(1 / (1 + math.exp(-tilt)), abs=0.15)
    if tilt < 0:
        blind = log_partition_ais(AnnealingPath(params, base_b), BETAS, Stream(1), 300)
        assert blind.effective_sample_size > 100
        assert blind.value < exact - 3.0


def test_clusters():
    modes = [[0] * 12, [1] * 12, [0, 1] * 6]
    rows = rows_near(modes, 40)
    base_b = torch.zeros(12).double()
    clusters = Clusters.of(rows, base_b, Stream(0))
    assert 4 <= len(clusters) <= 9
    assert torch.equal(clusters.bias[-1], base_b)
    nearest = clusters.nearest(torch.tensor(modes).double())
    assert len(set(nearest.tolist())) == 3
    assert clusters.bias.isfinite().all()


@pytest.mark.parametrize("n_rows", [1, 2, 25])
def test_few_rows_and_rows_that_are_all_the_same(n_rows):
    clusters = Clusters.of(torch.ones(n_rows, 5), torch.zeros(5), Stream(0))
    assert 2 <= len(clusters) <= 3
    assert clusters.bias.dtype == torch.float32
    assert clusters.bias.isfinite().all()


def test_is_repeatable():
    params = reference.random_params(3, 8)
    rows = rows_near([[0] * 8, [1] * 8], 50)
    found = [
        anneal_from_clusters(params, Clusters.of(rows, torch.zeros(8).double(), Stream(0)), BETAS, 30, Stream(1))
        for _ in range(2)
    ]
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
