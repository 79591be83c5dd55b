"""A fit in progress as a file, and back, without scikit-learn."""

import numpy as np
import pytest

from skrbm.distributed import ALONE, Alone
from skrbm.support.files import read_archive
from skrbm.training import CheckpointFile, Listener, Start, train
from skrbm.training.checkpoint import check_same_parameters
from skrbm.training.listeners import Listeners
from tests.training.states import PLAIN, Rows, bits, replace

SETTINGS = replace(
    PLAIN, n_hidden=3, n_epochs=5, batch_size=10, averaging=0.5, store_trajectory=True, learning_rate=0.1
)


def rows(n=60, seed=0):
    return Rows(bits(n, 4, seed).numpy().astype(np.float32), dtype=SETTINGS.place.dtype)


def file_at(path, every=1, **identity):
    return CheckpointFile(path, every, {"n_hidden": "3"} | identity, ALONE)


class Stop(Exception):
    """Ends a fit as a crash would."""


class StopAfter(Listener):
    def __init__(self, n):
        self._n = n

    def end_epoch(self, run, learned):
        if run.n_finished == self._n:
            raise Stop


def cut_off(path, n=2, **kwargs):
    with pytest.raises(Stop):
        list(train(rows(), SETTINGS, Start([0]), Listeners(file_at(path, **kwargs), StopAfter(n))))


def test_a_fit_that_was_cut_off_ends_with_the_same_bits(tmp_path):
    *_, whole = train(rows(), SETTINGS, Start([0]))
    cut_off(tmp_path / "run")
    file = file_at(tmp_path / "run")
    seen = list(train(rows(), SETTINGS, Start([0], saved=file.read(resume=True)), file))
    assert [learned.n_epochs for learned in seen] == [3, 4, 5, 5]
    for name, tensor in whole.params.tensors.items():
        np.testing.assert_array_equal(seen[-1].params.tensors[name], tensor)
    np.testing.assert_array_equal(seen[-1].h, whole.h)
    assert len(seen[-1].trajectory) == len(whole.trajectory)
    for name, values in whole.history.items():
        if name != "seconds":
            np.testing.assert_array_equal(seen[-1].history[name], values)


def test_without_it_the_end_is_another_one(tmp_path):
    """So the test above would see it if nothing were taken over."""
    *_, whole = train(rows(), SETTINGS, Start([0]))
    *_, other = train(rows(), SETTINGS, Start([1]))
    assert (other.params.W - whole.params.W).abs().max() > 1e-3


def test_of_a_fit_that_is_over_the_result_is_what_the_file_has(tmp_path):
    file = file_at(tmp_path / "run")
    *_, whole = train(rows(), SETTINGS, Start([0]), file)
    seen = list(train(rows(), SETTINGS, Start([0], saved=file.read(resume=True)), file))
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0].h, whole.h)


@pytest.mark.parametrize(("every", "epochs"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_how_often(tmp_path, every, epochs):
    stored, path = [], tmp_path / "run"

    class Look(Listener):
        def begin_epoch(self, run):
            self.look()

        def end(self, learned):
            self.look()

        def look(self):
            if path.exists() and (n := read_archive(path)["shared"]["n_finished"]) not in stored:
                stored.append(n)

    list(train(rows(), SETTINGS, Start([0]), Listeners(file_at(path, every), Look())))
    assert stored == epochs


def test_nothing_to_go_on_from(tmp_path):
    assert file_at(tmp_path / "run").read(resume=True) is None
    cut_off(tmp_path / "run")
    assert file_at(tmp_path / "run").read(resume=False) is None


def test_other_parameters_and_other_rows(tmp_path):
    cut_off(tmp_path / "run", k="1")
    with pytest.raises(ValueError, match=r"of a training with k=1 \(here 2\). Go on with the same parameters, or set"):
        file_at(tmp_path / "run", k="2").read(resume=True)
    cut_off(tmp_path / "longer", n_iter="10")
    with pytest.raises(ValueError, match=r"n_iter=10 \(here 20\).*For more epochs .* warm_start=True"):
        file_at(tmp_path / "longer", n_iter="20").read(resume=True)
    file = file_at(tmp_path / "run", k="1")
    for others in (rows(50), Rows(1 - bits(60, 4).numpy().astype(np.float32) * [1, 1, 1, 0])):
        with pytest.raises(ValueError, match="is of a training on other rows: 60 of 4 features"):
            list(train(others, SETTINGS, Start([0], saved=file.read(resume=True)), file))


def test_leftovers_of_processes_that_died_while_they_wrote_go(tmp_path):
    (tmp_path / ".run.0123456789abcdef").write_bytes(b"half")
    cut_off(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_ranks_with_other_parameters():
    class Two(Alone):
        def gather_everywhere(self, value):
            return [value, value | {"k": "5"}]

    with pytest.raises(ValueError, match=r"Rank 1 has other parameters than rank 0: k=5 \(there 1\)"):
        check_same_parameters({"k": "1"}, Two())
