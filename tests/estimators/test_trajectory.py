"""Checkpoints of training that tempering takes for rungs."""

import numpy as np
import pytest
from sklearn.base import clone

from skrbm import BernoulliRBMTorch
from skrbm.training.observers import Trajectory
from tests.estimators.modes import X
from tests.estimators.small import assert_same


def test_a_trajectory_without_checkpoints_is_a_ladder_of_two_rungs():
    model = BernoulliRBMTorch(2, n_iter=1, store_trajectory=True, random_state=0).fit(X[:100])
    assert model.trajectory_ == []
    assert model.sample(3, 5, method="trajectory_tempering").shape == (3, 10)
    assert model.log_partition("trajectory_tempering").n_temperatures == 2
    assert "trajectory_tempering" in model.diagnose(n_steps=8)["method"]


def test_the_trajectory_changes_nothing_else(model):
    machine = BernoulliRBMTorch(6, n_iter=20, random_state=0)
    plain, watched = clone(machine).fit(X), clone(machine).set_params(store_trajectory=True).fit(X)
    assert_same(plain, watched)
    assert not hasattr(plain, "trajectory_")
    assert len(watched.trajectory_) >= 1
    W, b, c = model.trajectory_[0]
    assert (W.shape, b.shape, c.shape) == ((6, 10), (10,), (6,))


def test_the_trajectory_of_another_fit(model):
    before = model.trajectory_
    model.set_params(warm_start=True, n_iter=30).fit(np.where(np.arange(10) < 5, 1, X))
    assert len(model.trajectory_) > len(before)
    for arrays, kept in zip(before, model.trajectory_, strict=False):
        np.testing.assert_array_equal(arrays[0], kept[0])
    before = model.trajectory_
    model.set_params(n_iter=1, learning_rate=1e-6).fit(X)
    assert len(model.trajectory_) <= len(before) + 1
    model.set_params(warm_start=False, store_trajectory=False).fit(X)
    assert not hasattr(model, "trajectory_")


def test_ctrl_c_keeps_what_the_trajectory_has(monkeypatch):
    def interrupted(self, params):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trajectory, "catch_up_", interrupted)
    with pytest.warns(UserWarning, match="interrupted after epoch 40 of 40"):
        model = BernoulliRBMTorch(6, n_iter=40, store_trajectory=True, random_state=0).fit(X)
    assert model.n_iter_ == 40
    assert isinstance(model.trajectory_, list)


@pytest.mark.filterwarnings("ignore:The machine is not to be trusted")
def test_rungs_of_another_machine_are_in_nobodys_way_until_they_are_used():
    model = BernoulliRBMTorch(6, n_iter=3, store_trajectory=True, random_state=0).fit(X)
    model.trajectory_ = [(model.components_[:2], model.intercept_visible_, model.intercept_hidden_[:2])]
    model.set_params(store_trajectory=False).partial_fit(X)
    assert model.sample(2, 3).shape == (2, 10)
    with pytest.raises(ValueError, match="Delete trajectory_, or fit again"):
        model.sample(2, 3, method="trajectory_tempering")
    with pytest.raises(ValueError, match="Delete trajectory_, or fit again"):
        model.set_params(store_trajectory=True, warm_start=True).fit(X)


def test_rungs_are_handed_on_and_not_copied():
    model = BernoulliRBMTorch(6, n_iter=20, store_trajectory=True, random_state=0).fit(X)
    before = [rung[0] for rung in model.trajectory_]
    assert before
    model.partial_fit(X)
    assert all(np.shares_memory(rung[0], kept) for rung, kept in zip(model.trajectory_, before, strict=True))
