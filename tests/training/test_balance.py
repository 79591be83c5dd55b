"""Modes in the proportions of the rows: a machine whose modes are known, put wrong by a bias, against enumeration."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.likelihood import log_likelihood_exact
from skrbm.machines.restricted import RBMParameters
from skrbm.rows import ArrayRows, SharedRows
from skrbm.support.randomness import Stream
from skrbm.training import Start, TrainSettings, balance_modes, begin
from tests import reference
from tests.diagnostics.test_verdict import two_modes

N = 40


def rows_of_two_modes(share, n=400, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.random((n, 1)) < share, N, 1) ^ (rng.random((n, N)) < noise)
    return torch.from_numpy(rows.astype(float))


def likelihood(params, rows):
    return float(log_likelihood_exact(params, rows).mean())


def balance(params, rows, seed=0):
    return balance_modes(params, torch.logit(rows.mean(0).clamp(0.01, 0.99)), rows, Stream(seed))


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("tilt", [-8.0, 4.0, 16.0])
def test_modes_come_to_the_share_of_the_rows(share, tilt):
    """A hidden unit more than is needed, so that there are directions which tell nothing."""
    rows = rows_of_two_modes(share)
    right = two_modes(N, float(np.log(share / (1 - share))), strength=5.9)
    right = RBMParameters(torch.cat((right.W, 0.01 * torch.ones(2, N))), right.b, torch.cat((right.c, torch.zeros(2))))
    wrong = right.with_tensors(right.tensors | {"c": right.c + torch.tensor([tilt, 0.0, 0.0])})
    best = likelihood(right, rows)
    params, gain = balance(wrong, rows)
    assert likelihood(wrong, rows) < best - 0.4
    assert likelihood(params, rows) > best - 0.1
    assert gain == pytest.approx(likelihood(params, rows) - likelihood(wrong, rows), abs=0.2)
    assert torch.equal(params.W, wrong.W)


def test_rows_of_another_share_make_a_machine_worse():
    rows, others = rows_of_two_modes(0.9), rows_of_two_modes(0.1)
    right = two_modes(N, float(np.log(9.0)), strength=5.9)
    assert likelihood(balance(right, others).params, rows) < likelihood(right, rows) - 1.0


@pytest.mark.parametrize("seed", range(5))
def test_what_is_right_is_left_alone(seed):
    params = reference.random_params(4, 10, seed=seed)
    p = reference.p_v(params)
    rows = reference.states(10)[np.random.default_rng(seed).choice(len(p), 500, p=p)]
    found = balance(params, torch.from_numpy(rows), seed)
    assert found.gain == 0.0
    assert found.params is params


def test_few_rows_and_columns_that_never_change():
    params = two_modes(6)
    assert balance(params, torch.ones(5, 6).double()).gain == 0.0
    assert balance(params, torch.ones(50, 6).double()).gain >= 0.0


def test_is_repeatable():
    rows, wrong = rows_of_two_modes(0.5), two_modes(N, 5.0, strength=5.9)
    first, second = (balance(wrong, rows, seed=3) for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(first.params.tensors.values(), second.params.tensors.values(), strict=True)
    )
    assert first.gain == second.gain


@pytest.mark.parametrize(
    "changes",
    [{}, {"balance_modes": False}, {"algorithm": "cd"}, {"sparsity_target": 0.1}, {"n_epochs": 99}, {"weighted": True}],
)
def test_only_machines_of_persistent_chains_are_balanced(changes, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "skrbm.training.fit.balance_modes", lambda params, *args: calls.append(args) or balance_modes(params, *args)
    )
    changes = dict(changes)
    X = rows_of_two_modes(0.5, 200).numpy().astype(np.float32)
    weight = np.ones(len(X)) if changes.pop("weighted", False) else None
    settings = replace(TrainSettings(n_hidden=4, learning_rate=0.05, batch_size=20, n_epochs=100), **changes)
    run = begin(SharedRows(ArrayRows(X, weight)), settings, Start([0]))
    for _ in range(settings.n_epochs):
        run.epoch_()
    assert run.finished().balance_gain >= 0.0
    assert len(calls) == (not changes and weight is None)
