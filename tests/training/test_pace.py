"""How far an update moves the machine, and the rate that follows from it."""

import math

import numpy as np
import pytest
import torch

from skrbm.machines.restricted import RBMParameters
from skrbm.training.pace import Pace, step_divergence
from tests import reference


def moved(params, by, seed=1):
    rng = np.random.default_rng(seed)
    return RBMParameters(*(t + by * torch.from_numpy(rng.normal(size=t.shape)) for t in params.tensors.values()))


def divergence(p, q):
    return float((p * np.log(p / q)).sum())


def test_step_divergence_is_that_of_kullback_and_leibler():
    """To second order, by enumeration; a machine that hasn't moved is at no distance."""
    before = reference.random_params(3, 4)
    after = moved(before, 0.01)
    p, q = reference.p_v(before), reference.p_v(after)
    v = torch.from_numpy(reference.states(4))[np.random.default_rng(0).choice(16, 200_000, p=p)]
    found = float(step_divergence(before, after, v))
    assert found == pytest.approx(divergence(p, q), rel=0.03)
    assert found != pytest.approx(divergence(p, reference.p_v(moved(before, 0.02))), rel=0.5)
    assert float(step_divergence(before, before, v)) == 0.0


def test_the_first_updates_are_looked_at_most():
    pace = Pace(1.0, 4.0, is_free=True)
    early, late = (sum(map(pace.is_due, range(first, first + 100))) for first in (0, 1000))
    assert early == 50
    assert late in (6, 7)


def follow(pace, coefficient, n, first=1000, share=1.0):
    """Looks at a machine that an update moves by `coefficient` times the square of the rate, which begins at 1."""
    for i in range(n):
        pace.look(coefficient * (pace.factor * share) ** 2, share, first + i)
    return pace.factor


def test_the_rate_goes_where_an_update_moves_the_machine_by_the_limit():
    assert follow(Pace(2.0, 100.0, is_free=True), 200.0, 100) == pytest.approx(0.1, rel=1e-3)
    assert follow(Pace(2.0, 100.0, is_free=True), 2.0 / 9.0, 500) == pytest.approx(3.0, rel=1e-2)
    assert follow(Pace(2.0, 100.0, is_free=True), 200.0, 100, share=0.3) == pytest.approx(0.1, rel=1e-3)


def test_down_at_once_up_slowly_and_not_at_all_at_first():
    pace = Pace(1.0, 100.0, is_free=True)
    assert 1.0 < pace.look(1e-4, 1.0, 1000) < 1.01
    assert pace.look(1e4, 1.0, 1000) < 0.7
    assert Pace(1.0, 100.0, is_free=True).look(1e-4, 1.0, 10) == 1.0
    assert Pace(1.0, 100.0, is_free=True).look(math.inf, 1.0, 10) == 0.5
    assert Pace(1.0, 100.0, is_free=True).look(math.nan, 1.0, 10) == 0.5


def test_no_higher_than_it_may():
    assert follow(Pace(1.0, 4.0, is_free=True), 1e-9, 500) == pytest.approx(4.0)


def test_a_given_rate_is_looked_at_only():
    pace = Pace(1.0, 1.0, is_free=False)
    assert [pace.look(x, 1.0, 10) for x in (5.0, 7.0, 60.0)] == [1.0, 1.0, 1.0]
    assert pace.take() == 7.0
    assert math.isnan(pace.take())


def test_state():
    pace, twin = Pace(1.0, 4.0, is_free=True), Pace(1.0, 4.0, is_free=True)
    follow(pace, 100.0, 3)
    twin.set_state(pace.state())
    pace.take()
    assert follow(pace, 100.0, 5) == follow(twin, 100.0, 5)
