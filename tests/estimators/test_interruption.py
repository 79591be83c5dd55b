"""Training that is broken off: by Ctrl-C, by numbers that blow up, for want of memory."""

from functools import partial

import numpy as np
import pytest
import torch

from skrbm.training import TrainState
from tests.estimators.small import X, assert_same, rbm


class BreaksOff(torch.optim.SGD):
    """Raises an error in the second of the three updates of an epoch, after so many epochs."""

    def __init__(self, params, lr, n_epochs, error):
        super().__init__(params, lr)
        self.n_left, self.error = 3 * n_epochs + 1, error

    def step(self, closure=None):
        if self.n_left == 0:
            raise self.error
        self.n_left -= 1
        return super().step(closure)


def breaks_off_after(n_epochs, error=KeyboardInterrupt):
    return partial(BreaksOff, n_epochs=n_epochs, error=error)


def test_ctrl_c_keeps_the_last_finished_epoch():
    settings = {"learning_rate_schedule": "constant", "averaging": 0.0, "learning_rate": 0.05}
    expected = rbm(**settings, n_iter=2, optimizer=torch.optim.SGD).fit(X)
    model = rbm(**settings, n_iter=5, optimizer=breaks_off_after(2))
    with pytest.warns(UserWarning, match="interrupted after epoch 2 of 5") as caught:
        model.fit(X)
    assert caught[0].filename == __file__
    assert_same(model, expected)
    assert model.n_iter_ == 2


def test_ctrl_c_keeps_the_best_epoch_where_there_is_one():
    model = rbm(n_iter=9, early_stopping=True, learning_rate=3.0, random_state=1, optimizer=breaks_off_after(4))
    with pytest.warns(UserWarning, match="interrupted after epoch 4 of 9; the model is the best until then"):
        model.fit(X)
    assert len(model.validation_scores_) == 4
    best = int(np.argmax(model.validation_scores_)) + 1
    assert model.history_["weight_norm"][best - 1] == pytest.approx(np.linalg.norm(model.components_))


def test_ctrl_c_before_the_first_epoch_changes_nothing(fitted):
    before = dict(vars(fitted.set_params(optimizer=breaks_off_after(0), learning_rate=0.1)))
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X)
    assert vars(fitted) == before


def test_parameters_that_blow_up():
    model = rbm().fit(X)
    before = dict(vars(model.set_params(learning_rate=1e20, weight_decay=1e10)))
    with pytest.raises(FloatingPointError, match="Lower `learning_rate`"):
        model.fit(X)
    assert vars(model) == before


def test_exhausted_memory_says_what_to_lower(fitted):
    no_memory = breaks_off_after(1, torch.cuda.OutOfMemoryError("CUDA out of memory"))
    before = fitted.components_
    with pytest.raises(MemoryError, match="n_hidden=4, n_chains=100 and batches of 20 rows. Lower one"):
        fitted.set_params(optimizer=no_memory, learning_rate=0.1).fit(X)
    assert fitted.components_ is before


@pytest.mark.parametrize("epoch", [1, 3])
def test_ctrl_c_while_what_was_learned_is_copied(epoch, monkeypatch):
    """An epoch that isn't handed out yet doesn't count."""
    calls, real = [], TrainState.carried

    def carried(state):
        calls.append(1)
        if len(calls) == epoch:
            raise KeyboardInterrupt
        return real(state)

    model = rbm(n_iter=5, learning_rate=0.1)  # nothing else asks for the state then
    monkeypatch.setattr(TrainState, "carried", carried)
    if epoch == 1:
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
        assert not hasattr(model, "components_")
        return
    with pytest.warns(UserWarning, match=f"interrupted after epoch {epoch - 1} of 5"):
        model.fit(X)
    assert model.n_iter_ == len(model.history_["epoch"]) == epoch - 1
