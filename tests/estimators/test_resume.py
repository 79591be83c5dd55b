"""Training that was cut off and goes on from its checkpoint ends as if nothing had happened."""

import copy
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from skrbm import BernoulliRBMTorch
from skrbm.support.kernels import has_int8_mm

KILLS = Path(__file__).parents[2] / "benchmarks" / "kills.py"
X = np.random.default_rng(0).random((60, 12)).astype(np.float32)
WIDE = np.random.default_rng(1).random((40, 400)).astype(np.float32)
GAPS = np.where(X < 0.2, np.nan, X.round())
ALIKE = np.repeat(np.random.default_rng(2).integers(0, 2, (60, 1)), 40, axis=1).astype(np.float32)

SETTINGS = {
    "defaults": {},
    "gaps": {},
    "damped": {},  # rows that vary along one direction
    "contrastive divergence": {"algorithm": "cd", "k": {0: 1, 0.5: 3}},
    "Adam, centred, cosine": {
        "optimizer": "adam",
        "learning_rate": 1e-2,
        "centered": True,
        "learning_rate_schedule": "cosine",
    },
    "Nesterov and penalties": {
        "optimizer": "nesterov",
        "momentum": 0.5,
        "l1_penalty": 1e-4,
        "sparsity_target": 0.1,
        "centered": False,
    },
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2, "tol": 0.05},
    "early stopping by likelihood": {"early_stopping": "log_likelihood"},
    "trajectory": {"store_trajectory": True, "learning_rate": 1.0},
    "factories": {
        "optimizer": partial(torch.optim.RMSprop, momentum=0.1),
        "learning_rate": 1e-3,
        "learning_rate_schedule": partial(torch.optim.lr_scheduler.StepLR, step_size=2),
    },
    "float64, every second epoch": {"precision": "float64", "checkpoint_every": 2},
    "8 bits": {"precision": "int8"},
    "8 bits until weights are large": {"precision": "int8", "learning_rate": 50.0, "averaging": 0.0},
}


class CutOffError(Exception):
    """Stands for the end of the process."""


def cut_off(model, X, n_checkpoints, monkeypatch, **kwargs):
    """Fit, and end after so many checkpoints have come to their place."""
    written, replace = [], os.replace

    def replace_and_count(source, target, **kwargs):
        replace(source, target, **kwargs)
        if Path(target) == Path(model.checkpoint):
            written.append(1)
            if len(written) == n_checkpoints:
                raise CutOffError

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_and_count)
        with pytest.raises(CutOffError):
            model.fit(X, **kwargs)


def assert_same(model, other):
    for name in ("components_", "intercept_visible_", "intercept_hidden_", "h_samples_", "data_samples_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(other, name), err_msg=name)
    assert model.n_iter_ == other.n_iter_
    for name, values in model.history_.items():
        if name != "seconds":
            np.testing.assert_array_equal(values, other.history_[name], err_msg=name)
    assert getattr(model, "validation_scores_", None) == getattr(other, "validation_scores_", None)
    for one, two in zip(getattr(model, "trajectory_", []), getattr(other, "trajectory_", []), strict=True):
        np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(*(copy.deepcopy(each).sample(3, n_steps=2) for each in (model, other)))


@pytest.mark.filterwarnings("ignore:.*hidden units are off")
@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_bits(name, tmp_path, monkeypatch):
    settings = {"n_hidden": 5, "n_iter": 6, "batch_size": 7, "random_state": 0} | SETTINGS[name]
    rows = {"damped": ALIKE, "gaps": GAPS}.get(name, X)
    if settings.get("precision") == "int8":
        if not has_int8_mm(torch.device("cpu")):
            pytest.skip("no units for integers of 8 bits")
        rows = WIDE
    whole = BernoulliRBMTorch(**settings).fit(rows)
    path = tmp_path / "checkpoint"
    model = BernoulliRBMTorch(**settings, checkpoint=path)
    cut_off(model, rows, 1 if settings.get("checkpoint_every") else 3, monkeypatch)
    again = BernoulliRBMTorch(**settings, checkpoint=path, resume=True)
    cut_off(again, rows, 1, monkeypatch)
    again.fit(rows)
    assert_same(whole, again)
    assert_same(whole, BernoulliRBMTorch(**settings, checkpoint=path, resume=True).fit(rows))  # it is over already
    again.partial_fit(rows) if not settings.get("early_stopping") else None


def test_held_out_rows_that_are_named_are_seen_alike(tmp_path, monkeypatch):
    settings = {"n_hidden": 5, "n_iter": 6, "early_stopping": True, "random_state": 0}
    batches, rows, path = [X[:20], X[20:40]], [X[40:50], X[50:]], tmp_path / "checkpoint"
    whole = BernoulliRBMTorch(**settings).fit(batches, X_val=rows)
    cut_off(BernoulliRBMTorch(**settings, checkpoint=path), batches, 3, monkeypatch, X_val=rows)
    again = BernoulliRBMTorch(**settings, checkpoint=path, resume=True).fit(batches, X_val=rows)
    assert len(again.validation_scores_) == 6
    assert_same(whole, again)


def test_going_on_is_more_than_a_warm_start():
    """The tests above would see it if streams or optimiser began anew, even where parameters and chains go on."""
    settings = {"n_hidden": 5, "batch_size": 7, "random_state": 0, "learning_rate_schedule": "constant"}
    settings |= {"averaging": 0.0, "momentum": 0.5, "weight_decay": 1e-3}
    whole = BernoulliRBMTorch(**settings, n_iter=6).fit(X)
    halves = BernoulliRBMTorch(**settings, n_iter=3, warm_start=True).fit(X)
    np.testing.assert_array_equal(whole.history_["weight_norm"][:3], halves.history_["weight_norm"])
    assert not np.array_equal(whole.components_, halves.fit(X).components_)


def test_without_a_seed_the_stored_one_serves(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    settings = {"n_hidden": 5, "n_iter": 4, "early_stopping": True, "checkpoint": path, "resume": True}
    cut_off(BernoulliRBMTorch(**settings), X, 2, monkeypatch)
    data = path.read_bytes()
    first = BernoulliRBMTorch(**settings).fit(X)
    path.write_bytes(data)
    assert_same(first, BernoulliRBMTorch(**settings).fit(X))


def test_a_warm_start_that_was_cut_off(tmp_path, monkeypatch):
    settings = {"n_hidden": 5, "n_iter": 4, "random_state": 0, "warm_start": True}
    whole = BernoulliRBMTorch(**settings).fit(X).fit(X)
    model = BernoulliRBMTorch(**settings).fit(X).set_params(checkpoint=tmp_path / "checkpoint", resume=True)
    cut_off(model, X, 2, monkeypatch)
    again = BernoulliRBMTorch(**settings, checkpoint=tmp_path / "checkpoint", resume=True).fit(X)  # a new process
    np.testing.assert_array_equal(again.components_, whole.components_)
    assert len(again.history_["epoch"]) == 8


def test_fit_begins_anew_without_resume(tmp_path, monkeypatch):
    settings = {"n_hidden": 5, "n_iter": 4, "random_state": 0, "checkpoint": tmp_path / "checkpoint"}
    cut_off(BernoulliRBMTorch(**settings), X, 2, monkeypatch)
    assert len(BernoulliRBMTorch(**settings).fit(X).history_["epoch"]) == 4


def test_epochs_of_callbacks_go_on(tmp_path, monkeypatch):
    pytest.importorskip("sklearn.callback")
    from skrbm.callbacks import OnEpoch

    seen = []
    settings = {"n_hidden": 5, "n_iter": 4, "checkpoint": tmp_path / "checkpoint", "resume": True}
    cut_off(BernoulliRBMTorch(**settings), X, 2, monkeypatch)
    model = BernoulliRBMTorch(**settings)
    model.set_callbacks(OnEpoch(lambda model, epoch: seen.append((epoch, model.n_iter_)))).fit(X)
    assert seen == [(3, 3), (4, 4)]


def test_what_does_not_fit(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    settings = {"n_hidden": 5, "n_iter": 4, "checkpoint": path, "resume": True}
    cut_off(BernoulliRBMTorch(**settings), X, 2, monkeypatch)
    model = BernoulliRBMTorch(**settings | {"n_hidden": 6, "k": 2})
    with pytest.raises(ValueError, match=r"k=1 \(here 2\), n_hidden=5 \(here 6\)"):
        model.fit(X)
    for rows in (X[:50], X[:, :7], 1 - X):
        with pytest.raises(ValueError, match="on other rows"):
            BernoulliRBMTorch(**settings).fit(rows)
    with pytest.raises(ValueError, match="set checkpoint"):
        BernoulliRBMTorch(resume=True).fit(X)
    with pytest.raises(FileNotFoundError, match="no folder"):
        BernoulliRBMTorch(checkpoint=tmp_path / "no" / "file").fit(X)
    with pytest.raises(ValueError, match="checkpoint_every"):
        BernoulliRBMTorch(checkpoint=path, checkpoint_every=0).fit(X)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged"):
        BernoulliRBMTorch(**settings).fit(X)


@pytest.mark.slow
def test_kills_at_any_moment():
    run = subprocess.run(
        [sys.executable, KILLS, "--kills", "24", "--n-iter", "8"], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert len(re.findall(r" 6 +\d+ +\d+  the same\n", run.stdout)) == 4
    assert run.stdout.splitlines()[-1].startswith("0 half-written files left")
