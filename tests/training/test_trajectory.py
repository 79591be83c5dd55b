from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.datasets import bars_and_stripes
from skrbm.machines import RBMParameters, initial_parameters
from skrbm.sampling import TEMPERING, Ladder, SwapRates, steps, tempering_init
from skrbm.support.randomness import Stream
from skrbm.training import Streams, Trajectory, start_state
from tests.training.states import PLAIN, Rows, epochs


def without_weights(params):
    return RBMParameters(torch.zeros_like(params.W), params.b.clone(), torch.zeros_like(params.c))


def trained(acceptance):
    """A machine trained on bars-and-stripes, the first rung and the trajectory between them."""
    source = Rows(bars_and_stripes(4), batch_size=8)
    streams, mean_v = Streams.from_seed(1), source.mean("none").double()
    params = initial_parameters(mean_v, 12, streams.start)
    settings = replace(PLAIN, k=5, n_chains=200, learning_rate=0.2, centered="visible", n_epochs=300)
    state = start_state(params, mean_v, replace(settings, learning_rate_schedule="linear"), streams)
    first = without_weights(params)
    trajectory = Trajectory(first, streams.start.bernoulli(mean_v.expand(200, -1)), Stream(1), acceptance=acceptance)
    for _ in epochs(state, source, 300, trajectory):
        pass
    trajectory.catch_up_(state.params)
    return first, trajectory, state.params


def acceptance_along(first, trajectory, last):
    ladder = Ladder.of_rungs([first, *trajectory.kept, last])
    stream, rates = Stream(2), SwapRates(ladder)
    state = tempering_init(ladder, stream.bernoulli(first.b.sigmoid().expand(100, -1)), stream)
    rates.start_(state)
    for step, (moved, info) in enumerate(steps(TEMPERING, ladder, state, 600, stream)):
        rates.add_(moved, info, late=step >= 200)
    return rates.acceptance


@pytest.mark.parametrize("acceptance", [0.4, 0.6])
def test_neighbours_on_the_trajectory_swap_about_as_often_as_asked(acceptance):
    found = acceptance_along(*trained(acceptance))
    assert len(found) >= 2
    assert (found > acceptance - 0.15).all()
    assert abs(found[:-1].mean() - acceptance) < 0.15  # the last one is where training ended


def bias_only(b):
    return RBMParameters(torch.zeros(1, 50).double(), torch.full((50,), b).double(), torch.zeros(1).double())


def walk(biases, **kwargs):
    """A trajectory that was shown machines without weights, which have these visible biases."""
    stream = Stream(0)
    v = stream.bernoulli(torch.full((200, 50), 0.5).double())
    trajectory = Trajectory(bias_only(0.0), v, stream, **kwargs)
    for b in biases:
        trajectory.observe_(bias_only(b))
    return trajectory


def test_a_machine_that_stands_still_is_never_kept():
    assert walk(np.zeros(2000)).kept == []


def test_what_is_kept_is_evenly_spaced():
    trajectory = walk(np.linspace(0, 2, 8000))
    biases = np.array([float(params.b[0]) for params in trajectory.kept])
    assert len(biases) >= 3
    assert (np.diff(biases) > 0).all()
    assert np.diff(biases).max() < 2 * np.diff(biases).min()


def test_closer_where_neighbours_shall_swap_more_often():
    assert len(walk(np.linspace(0, 2, 8000), acceptance=0.6).kept) > len(walk(np.linspace(0, 2, 8000)).kept) + 1


def test_settling_closes_the_gap_to_where_training_ended():
    """Training that leaps at the end leaves the average far behind, until it settles."""
    trajectory = walk([3.0] * 8)
    trajectory.catch_up_(bias_only(3.0))
    assert acceptance_along(bias_only(0.0), trajectory, bias_only(3.0)).min() > 0.1


def test_without_settling_there_is_a_gap():
    assert acceptance_along(bias_only(0.0), walk([3.0] * 8), bias_only(3.0)).min() < 0.01


def test_goes_on_after_what_is_kept():
    kept = [bias_only(-1.0)]
    trajectory = walk(np.linspace(0, 2, 8000), kept=kept)
    assert trajectory.kept[0] is kept[0]
    assert len(trajectory.kept) > 2
