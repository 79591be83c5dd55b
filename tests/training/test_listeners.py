"""Who is told of a fit, and when."""

import numpy as np
import pytest

from skrbm.training import Listener, Listeners, PrintEpochs, Start, train
from tests.training.states import PLAIN, Rows, bits, replace


class Notes(Listener):
    """Writes down what it hears, and asks for no more after so many epochs."""

    def __init__(self, until=99):
        self.heard, self._until = [], until

    def begin(self, run):
        self.heard.append(("begin", run.n_finished, run.n_epochs))

    def begin_epoch(self, run):
        self.heard.append(("begin_epoch", run.n_finished))

    def end_epoch(self, run, learned):
        self.heard.append(("end_epoch", run.n_finished, len(learned.history["epoch"])))
        return run.n_finished == self._until

    def stop(self, run):
        self.heard.append(("stop", run.n_finished))

    def end(self, learned):
        self.heard.append(("end", learned.n_epochs))


SETTINGS = replace(PLAIN, n_hidden=3, n_epochs=3, batch_size=10)


def rows():
    return Rows(bits(30, 4).numpy().astype(np.float32), dtype=SETTINGS.place.dtype)


def test_they_hear_of_everything_in_its_order():
    notes = Notes()
    seen = [learned.n_epochs for learned in train(rows(), SETTINGS, Start([0]), notes)]
    assert seen == [1, 2, 3, 3]  # after each epoch, and what there is in the end
    assert notes.heard == [
        ("begin", 0, 3),
        *[event for n in range(3) for event in (("begin_epoch", n), ("end_epoch", n + 1, n + 1))],
        ("stop", 3),
        ("end", 3),
    ]


def test_one_of_several_can_stop_and_all_are_told():
    first, second = Notes(until=2), Notes()
    list(train(rows(), SETTINGS, Start([0]), Listeners(first, second)))
    assert first.heard == second.heard
    assert ("stop", 2) in first.heard
    assert first.heard[-1] == ("end", 2)


def test_nobody_needs_to_listen():
    assert len(list(train(rows(), SETTINGS, Start([0])))) == 4


def test_a_line_an_epoch(capsys):
    list(train(rows(), SETTINGS, Start([0]), PrintEpochs("machine")))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("[machine] epoch 3/3, learning rate 0.01, pseudo-log-likelihood -")


@pytest.mark.parametrize("strike", [1, 2])
def test_ctrl_c_between_two_epochs_ends_the_fit_as_it_ends(strike):
    """Thrown where a user of the generator is struck, it leads to what stopping there leads to."""
    settings = replace(SETTINGS, averaging=0.5)
    learning, notes = train(rows(), settings, Start([0]), notes_of := Notes()), None
    for _ in range(strike):
        next(learning)
    with pytest.warns(UserWarning, match=f"interrupted after epoch {strike} of 3; the model is that of this epoch"):
        learned = learning.throw(KeyboardInterrupt())
    assert next(learning, notes) is None
    assert notes_of.heard[-1] == ("end", strike)
    *_, stopped = train(rows(), settings, Start([0]), Notes(until=strike))
    assert learned.n_epochs == strike
    np.testing.assert_array_equal(learned.params.W, stopped.params.W)
    np.testing.assert_array_equal(learned.h, stopped.h)  # the chains have run on, too


def test_ctrl_c_before_the_first_epoch_is_over_goes_on():
    class Struck(Listener):
        def begin_epoch(self, run):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(train(rows(), SETTINGS, Start([0]), Struck()))
