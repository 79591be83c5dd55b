"""Missing cells that are not there: the gradient is that of log p(v_o), each row with its own partition function."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm import BernoulliRBMTorch
from skrbm.likelihood import absent_log_likelihood
from skrbm.machines import RBMParameters
from skrbm.rows import ArrayRows, Batch, SharedRows
from skrbm.support.randomness import Stream
from skrbm.training import TrainSettings
from skrbm.training.absent import binarized_some, mean_with_absent, reconstruct_absent_, smoothing_of
from skrbm.training.update import update_
from tests import reference
from tests.likelihood.test_absent import LAYERS, machine_of, machine_without, rows_of
from tests.machines.layers import states_of
from tests.training.states import PLAIN, Merged, begin

N = 4000
CD = replace(PLAIN, algorithm="cd", missing="absent", precision="float64", binarize="none")


def exact_gradient(params, v):
    """Of the mean over the rows of log p(v_o), by enumeration and autograd."""
    leaves = [t.clone().requires_grad_() for t in (params.W, params.b, params.c)]
    machine = RBMParameters(*leaves, params.visible)
    nats = absent_log_likelihood.__wrapped__(machine, v).mean()
    return torch.autograd.grad(nats, leaves)


def phases_of(params, v, k, repeats):
    """Statistics of both phases of an update by so many copies of the rows, the parameters held fixed."""
    seen, v = [], v.repeat(repeats, 1)

    def reduce(data, model):
        seen.extend(phase._replace(hv=phase.hv.clone()) for phase in (data, model))
        return data, data  # no difference, no gradient

    state = begin(params, replace(CD, k=k, visible=params.visible))
    free = v.isnan()
    update_(state, Batch(v.nan_to_num(9.0), torch.ones(len(v)).double(), free=free), Merged(reduce))
    return seen


def largest_error(found, expected):
    return max(float((ours - theirs).abs().max()) for ours, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", LAYERS)
def test_long_chains_give_the_exact_gradient(name):
    params = machine_of(name, scale=0.6)
    v = rows_of(params)
    expected = exact_gradient(params, v)
    data, model = phases_of(params, v, 10, N // len(v))
    found = [data.hv - model.hv, data.v - model.v, data.h - model.h]
    assert largest_error(found, expected) < 0.04
    data, model = phases_of(params, v.nan_to_num(0.0), 10, N // len(v))  # a free phase of all columns
    twin = [data.hv - model.hv, data.v - model.v, data.h - model.h]
    assert largest_error(twin, expected) > 0.1


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_has_the_probabilities_of_the_machine_without_absent_units(name):
    params = machine_of(name)
    row = next(row for row in rows_of(params) if 0 < row.isnan().sum() < params.n_features // 2 + 1)
    small, there = machine_without(params, row)
    states = states_of(small.visible, small.n_features)
    h = torch.from_numpy(reference.states(3))
    of_h = torch.sigmoid(there @ small.W.T + small.c)
    of_h = (h * of_h + (1 - h) * (1 - of_h)).prod(1)
    of_v = small.b + h @ small.W
    log_p = states @ of_v.T - small.visible.cumulant(of_v).sum(1)
    p = log_p.exp() @ of_h

    state = begin(params, replace(CD, visible=params.visible))
    phases = state.buffer.phases(N, N)
    phases.data.copy_(row.nan_to_num(5.0).expand(N, -1))
    free = row.isnan().expand(N, -1)
    mean_h = reconstruct_absent_(state, phases, free)
    assert not phases.all[:, row.isnan()].any()
    torch.testing.assert_close(mean_h, torch.sigmoid(phases.all @ params.W.T + params.c))
    drawn = phases.chains[:, ~row.isnan()]
    found = torch.stack([(drawn == one).all(1).double().mean() for one in states])
    np.testing.assert_allclose(found, p, atol=5 * 0.5 / N**0.5)
    assert float((p - 1 / len(p)).abs().max()) > 0.05  # even draws would be found out


@pytest.mark.parametrize("centered", [False, True, "visible"])
def test_offsets_change_the_way_and_not_what_is_learned(centered):
    """With the exact statistics in place of chains an update is the image of the exact gradient."""
    params = machine_of("categorical", 0.6)
    v = rows_of(params)
    dW, db, dc = exact_gradient(params, v)
    state = begin(params, replace(CD, centered=centered, visible=params.visible), mean_v=0.3)
    mu = torch.zeros_like(db) if state.centering.mu is None else state.centering.mu.clone()
    lam = torch.zeros_like(dc) if state.centering.lam is None else state.centering.lam.clone()

    def exact(data, model):
        return data, data._replace(hv=data.hv - dW, v=data.v - db, h=data.h - dc)

    update_(state, Batch(v.nan_to_num(0.0), torch.ones(len(v)).double(), free=v.isnan()), Merged(exact))
    W = dW - torch.outer(lam, db) - torch.outer(dc, mu)
    torch.testing.assert_close(state.params.W, params.W + 0.01 * W)
    torch.testing.assert_close(state.params.b, params.b + 0.01 * (db - W.T @ lam))
    torch.testing.assert_close(state.params.c, params.c + 0.01 * (dc - W @ mu))


def test_fast_updates_are_those_of_statistics():
    """Plain descent, and the way by statistics, which weights of rows take, to the same parameters."""
    params = machine_of("blocks")
    v = rows_of(params)
    machines = []
    for weight in (None, torch.ones(len(v)).double()):
        state = begin(params, replace(CD, centered=True, weight_decay=0.1, visible=params.visible))
        for _ in range(3):
            update_(state, Batch(v.nan_to_num(0.0), weight, free=v.isnan()))
        machines.append(state.params)
    for ours, theirs in zip(machines[0].tensors.values(), machines[1].tensors.values(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_rows_hand_out_zeros_and_say_where_they_are():
    X = np.array([[1.0, np.nan, 0.0], [np.nan] * 3, [0.0, 1.0, np.nan]])
    rows = SharedRows(ArrayRows(X, shuffle=False, absent=True))
    (batch,) = rows.epoch(Stream(0))
    assert rows.has_absent
    assert not rows.has_gaps
    assert rows.is_binary
    assert rows.n_rows == 2
    assert batch.v.tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert batch.free.tolist() == [[False, True, False], [False, False, True]]
    some = binarized_some(rows, 2, "sample", Stream(0))
    np.testing.assert_array_equal(some, X[[0, 2]])
    assert rows.mean("none").tolist() == [0.5, 1.0, 0.0]
    assert rows.share_known().tolist() == [1.0, 0.5, 0.5]
    assert mean_with_absent(rows, rows.mean("none")).tolist() == [0.5, 0.5, 0.0]
    assert smoothing_of(rows).tolist() == [0.5, 1.0, 1.0]
    whole = SharedRows(ArrayRows(np.eye(4), absent=True))
    assert not whole.has_absent
    assert smoothing_of(whole) == 0.25


def test_what_has_no_sense_is_refused():
    rows = SharedRows(ArrayRows(np.eye(4)))
    with pytest.raises(ValueError, match=r"missing='absent' makes a machine of its own of each row, which persistent"):
        TrainSettings(missing="absent").resolved(rows)


# -- fits --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    """Rows of a machine over the columns that each row has: the others never were."""
    rng = np.random.default_rng(0)
    W, b, c = 2.5 * rng.normal(size=(2, 6)), rng.normal(size=6), rng.normal(size=2)
    gaps = np.full((800, 6), np.nan)
    for of_kind in np.array_split(np.arange(800), 8):
        there = rng.random(6) < 0.5
        there[rng.integers(6)] = True
        part = BernoulliRBMTorch.from_parameters(W[:, there], b[there], c, random_state=0)
        gaps[np.ix_(of_kind, there)] = part.sample(len(of_kind), 50)
    truth = BernoulliRBMTorch.from_parameters(W, b, c, random_state=0, missing="absent")
    return truth, gaps[rng.permutation(800)]


def test_the_truth_is_learned(table):
    truth, gaps = table
    best, settings = truth.log_likelihood(gaps).mean(), {"n_iter": 8, "random_state": 0}
    model = BernoulliRBMTorch(6, missing="absent", **settings).fit(gaps)
    zeros = (
        BernoulliRBMTorch(6, algorithm="cd", **settings)
        .fit(np.nan_to_num(gaps))
        .set_params(algorithm="auto", missing="absent")
    )
    assert model.log_likelihood(gaps).mean() > best - 0.1
    assert zeros.log_likelihood(gaps).mean() < best - 0.3  # as if what is missing were 0


def test_without_gaps_it_is_contrastive_divergence(table):
    X = (np.random.default_rng(1).random((300, 6)) < 0.4).astype(float)
    model, other = (
        BernoulliRBMTorch(4, n_iter=3, random_state=0, **which).fit(X)
        for which in ({"missing": "absent"}, {"algorithm": "cd"})
    )
    for name in ("components_", "intercept_visible_", "intercept_hidden_", "data_samples_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(other, name))


@pytest.mark.parametrize(
    "settings",
    [
        {"early_stopping": True},
        {"optimizer": "adam", "learning_rate": 0.01},
        {"centered": True, "sparsity_target": 0.2},
        {"store_trajectory": True},
        {"binarize": 0.5},
    ],
)
def test_absent_cells_go_with_every_way_of_learning(table, settings):
    _, gaps = table
    model = BernoulliRBMTorch(4, missing="absent", n_iter=3, random_state=0, **settings).fit(
        gaps[:300], X_val=gaps[300:400]
    )
    assert np.isfinite(model.components_).all()
    for name in ("loss", "reconstruction_error", "pseudo_log_likelihood", "free_energy_held_out"):
        assert np.isfinite(model.history_[name]).all()
    of_kept = np.argmax if "early_stopping" in settings else lambda scores: -1
    scores = model.history_["pseudo_log_likelihood"]
    assert scores[of_kept(scores)] == pytest.approx(model.score(gaps[300:400]), abs=1e-4)
    assert not hasattr(model, "data_samples_")


def test_weights_streams_and_parts(table):
    _, gaps = table
    batches = np.array_split(gaps[:600], 4)
    streamed = BernoulliRBMTorch(4, missing="absent", n_iter=3, random_state=0).fit(batches)
    part, weighted = (BernoulliRBMTorch(4, missing="absent", n_iter=3, random_state=0) for _ in range(2))
    for batch in batches:
        part.partial_fit(batch)
    weighted.fit(gaps[:600], sample_weight=np.ones(600))
    late = BernoulliRBMTorch(4, missing="absent", random_state=0).partial_fit(iter([np.ones((10, 6)), gaps[:100]]))
    for fitted in (streamed, part, weighted, late):
        assert np.isfinite(fitted.score(gaps))
        assert fitted.components_.std() > 0.01
