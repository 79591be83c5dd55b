"""Missing cells: drawn from p(v_m | v_o), which sums them out of the gradient."""

import numpy as np
import pytest
import torch

from skrbm import BernoulliRBMTorch, GaussianRBM, MixedRBM
from skrbm.backends import Int8Backend
from skrbm.machines import GAUSSIAN, RBMParameters, free_energy, mean_h_given_v
from skrbm.rows import Batch, HeldOut
from skrbm.support.randomness import Stream
from skrbm.training.gaps import filled, filled_batch, filled_held_out, summed_batch
from skrbm.training.gradients import statistics
from tests.backends.test_protocol import needs_int8
from tests.machines.layers import DISCRETE, LAYERS, random_inputs, states_of

N = 6000


def machine_of(unit, n, scale=0.6, seed=0):
    W = random_inputs(n, (3,), scale=scale, seed=seed)
    return RBMParameters(W, random_inputs(n, scale=0.5, seed=1), random_inputs(3, scale=0.5, seed=2), unit)


def a_row(unit, n):
    """One state, and which of its cells are free: those of the second and the last unit."""
    row = states_of(unit, n)[-2] if unit.n_bits(n) < 30 else unit.sample(random_inputs(n, seed=5)[None], Stream(1))[0]
    columns = list(unit.columns(n))
    free = torch.zeros(n, dtype=torch.bool)
    free[columns[1]] = free[columns[-1]] = True
    return row, free


def log_observed(params, row, free):
    """log Σ exp(-F) over the free cells, by enumeration or quadrature."""
    unit, n = params.visible, params.n_features
    states, log_weight = row[None], torch.zeros(1, dtype=torch.float64)
    for columns in unit.columns(n):
        if free[columns].any():
            points = unit.unit_at(columns).points(columns, -8.0, 8.0, row)
            k = len(points.s)
            states = states.repeat_interleave(k, 0)
            states[:, columns] = points.s.repeat(len(states) // k, 1)
            log_weight = log_weight.repeat_interleave(k)
            if unit.unit_at(columns) == GAUSSIAN:  # whose density is in F already
                log_weight = log_weight + torch.log(torch.diff(points.s[:2, 0]))
    return (-free_energy(params, states) + log_weight).logsumexp(0)


@pytest.mark.parametrize("name", DISCRETE)
def test_cells_are_drawn_given_the_others(name):
    unit, n = LAYERS[name]
    params, (row, free) = machine_of(unit, n), a_row(unit, n)
    starts = row.expand(N, -1)
    drawn = filled(params, starts, free.expand(N, -1), 20, Stream(0))
    torch.testing.assert_close(drawn[:, ~free], starts[:, ~free])
    states = states_of(unit, n)
    states = states[(states[:, ~free] == row[~free]).all(1)]
    p = (-free_energy(params, states)).softmax(0)
    found = torch.stack([(drawn == state).all(1).double().mean() for state in states])
    assert float(found.sum()) == pytest.approx(1.0)
    np.testing.assert_allclose(found, p, atol=5 * 0.5 / N**0.5)
    assert float((p - 1.0 / len(p)).abs().max()) > 0.05  # even draws would be found out


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_is_that_of_what_is_observed(name):
    unit, n = LAYERS[name]
    params, (row, free) = machine_of(unit, n, scale=0.4), a_row(unit, n)
    drawn = filled(params, row.expand(N, -1), free.expand(N, -1), 20, Stream(0))
    found = statistics(drawn, mean_h_given_v(params, drawn), visible=unit)
    leaves = [t.clone().requires_grad_() for t in (params.W, params.b, params.c)]
    expected = torch.autograd.grad(log_observed(RBMParameters(*leaves, unit), row, free), leaves)
    for ours, theirs in zip((found.hv, found.v, found.h), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.05)
    zeros = statistics(torch.where(free, 0.0, row)[None], mean_h_given_v(params, torch.where(free, 0.0, row)[None]))
    assert float((zeros.hv - expected[0]).abs().max()) > 0.1  # as if what is missing were 0


def test_a_step_leaves_the_distribution_of_the_missing_cells():
    unit, n = LAYERS["categorical"]
    params, (row, free) = machine_of(unit, n, scale=1.5), a_row(unit, n)
    states = states_of(unit, n)
    states = states[(states[:, ~free] == row[~free]).all(1)]
    p = (-free_energy(params, states)).softmax(0)
    starts = states[torch.from_numpy(np.random.default_rng(0).choice(len(p), N, p=p.numpy()))]
    drawn = filled(params, starts, free.expand(N, -1), 1, Stream(0))
    found = torch.stack([(drawn == state).all(1).double().mean() for state in states])
    np.testing.assert_allclose(found, p, atol=5 * 0.5 / N**0.5)


def moved_batch(params, row, free, n_steps, backend=None, starts=None):
    batch = Batch((row.expand(N, -1) if starts is None else starts).clone(), free=free.expand(N, -1))
    return filled_batch(params, batch, "none", n_steps, Stream(0), backend).v


@pytest.mark.parametrize("name", DISCRETE)
def test_cells_of_a_batch_are_drawn_given_the_others(name):
    """The steps of training itself; the twin has other weights."""
    unit, n = LAYERS[name]
    params, (row, free) = machine_of(unit, n), a_row(unit, n)
    states = states_of(unit, n)
    states = states[(states[:, ~free] == row[~free]).all(1)]
    p = (-free_energy(params, states)).softmax(0)
    tolerance = 5 * 0.5 / N**0.5

    def found(machine, n_steps, starts=None):
        drawn = moved_batch(machine, row, free, n_steps, starts=starts)
        torch.testing.assert_close(drawn[:, ~free], row[~free].expand(N, -1))
        return torch.stack([(drawn == state).all(1).double().mean() for state in states])

    np.testing.assert_allclose(found(params, 20), p, atol=tolerance)
    stationary = states[torch.from_numpy(np.random.default_rng(0).choice(len(p), N, p=p.numpy()))]
    np.testing.assert_allclose(found(params, 1, stationary), p, atol=tolerance)
    assert float((found(params.map(lambda x: -x), 20) - p).abs().max()) > tolerance


@needs_int8
def test_cells_of_a_batch_by_products_of_8_bits():
    """Weights that are multiples of the unit are exact there."""
    W = torch.tensor([[2.0, -1.0, 1.0, 0.0], [-1.0, 2.0, 0.0, 1.0], [1.0, 1.0, -2.0, 0.5]])
    params = RBMParameters(W, torch.tensor([0.5, -1.0, 0.0, 0.5]), torch.tensor([0.0, -0.5, 0.5]))
    row, free = torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([False, True, False, True])
    drawn = moved_batch(params, row, free, 20, Int8Backend(params))
    states = row.repeat(4, 1)
    states[:, free] = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    p = (-free_energy(params, states)).softmax(0)
    found = torch.stack([(drawn == state).all(1).float().mean() for state in states])
    np.testing.assert_allclose(found, p, atol=5 * 0.5 / N**0.5 + 0.005)


def test_batches_keep_what_is_observed():
    unit, n = LAYERS["bernoulli"]
    params = machine_of(unit, n).map(lambda x: x.float())
    v, free = torch.full((1000, 4), 0.3), torch.zeros(1000, 4, dtype=torch.bool)
    free[::2, 1] = True
    found = filled_batch(params, Batch(v, free=free), "sample", 1, Stream(0)).v
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert float(found[:, 0].mean()) == pytest.approx(0.3, abs=0.06)
    assert float(found[1::2].mean()) == pytest.approx(0.3, abs=0.06)
    kept = filled_batch(params, Batch(v, free=free), "none", 1, Stream(0)).v
    assert (kept[~free] == v[0, 0]).all()
    whole = Batch(v)
    assert filled_batch(params, whole, "none", 1, Stream(0)) is whole
    assert filled_held_out(params, None, Stream(0)) is None
    held_out = filled_held_out(params, HeldOut(v, free=free), Stream(0))
    assert set(held_out.v[free].unique().tolist()) == {0.0, 1.0}


# -- fits ------------------------------------------------------------------------------------------------------------


def truth():
    rng = np.random.default_rng(0)
    W, b, c = 1.5 * rng.normal(size=(3, 8)), 0.5 * rng.normal(size=8), rng.normal(size=3)
    return BernoulliRBMTorch.from_parameters(W, b, c, random_state=0)


@pytest.fixture(scope="module")
def table():
    X = truth().sample(2000, 300, random_state=0).astype(float)
    gaps = X.copy()
    gaps[np.random.default_rng(1).random(X.shape) < 0.3] = np.nan
    return X, gaps


def test_the_truth_is_learned_from_rows_with_gaps(table):
    _, gaps = table
    new = truth().sample(2000, 300, random_state=1)

    def nats(rows):
        return BernoulliRBMTorch(8, n_iter=40, random_state=0).fit(rows).log_likelihood(new).mean()

    best = truth().log_likelihood(new).mean()
    assert nats(gaps) > best - 0.05
    assert nats(np.nan_to_num(gaps)) < best - 0.3  # as if what is missing were 0
    assert nats(gaps) > nats(gaps[~np.isnan(gaps).any(1)]) + 0.02  # complete rows alone


def test_rows_without_any_value_add_nothing(table):
    _, gaps = table
    model = BernoulliRBMTorch(4, n_iter=3, random_state=0).fit(gaps[:200])
    more = BernoulliRBMTorch(4, n_iter=3, random_state=0).fit(np.vstack((gaps[:200], np.full((9, 8), np.nan))))
    np.testing.assert_array_equal(more.components_, model.components_)
    assert np.isfinite(model.data_samples_).all()


@pytest.mark.filterwarnings("ignore:The machine is not to be trusted")
def test_a_column_that_is_missing_everywhere_is_left_as_it_is(table):
    X, _ = table
    gaps = np.column_stack((X, np.full(len(X), np.nan)))
    with pytest.warns(UserWarning, match=r"1 of 9 columns of X have no values at all \(8, counted from 0\)"):
        model = BernoulliRBMTorch(4, n_iter=20, random_state=0).fit(gaps)
    assert not model.components_[:, 8].any()
    assert model.intercept_visible_[8] == 0.0
    assert np.abs(model.components_).max() > 0.01


@pytest.mark.parametrize(
    "settings", [{}, {"algorithm": "cd"}, {"early_stopping": True}, {"optimizer": "adam", "learning_rate": 0.01}]
)
def test_gaps_go_with_every_way_of_learning(table, settings):
    _, gaps = table
    model = BernoulliRBMTorch(4, n_iter=3, random_state=0, **settings).fit(gaps[:300], X_val=gaps[300:400])
    assert np.isfinite(model.components_).all()
    assert np.isfinite(model.history_["pseudo_log_likelihood"]).all()
    weight = np.ones(300)
    assert np.isfinite(
        BernoulliRBMTorch(4, n_iter=2, **settings | {"early_stopping": False})
        .fit(gaps[:300], sample_weight=weight)
        .components_
    ).all()


def test_streams_and_parts_with_gaps(table):
    _, gaps = table
    batches = np.array_split(gaps[:600], 4)
    model = BernoulliRBMTorch(4, n_iter=3, random_state=0).fit(batches)
    part = BernoulliRBMTorch(4, random_state=0)
    for batch in batches:
        part.partial_fit(batch)
    for fitted in (model, part):
        assert np.isfinite(fitted.components_).all()
        assert fitted.components_.std() > 0.01


def test_numbers_with_gaps_are_learned_in_their_units():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 1)) * [1.0, 2.0, -1.0] + 0.5 * rng.normal(size=(600, 3))
    gaps = X.copy()
    gaps[rng.random(X.shape) < 0.3] = np.nan
    new = rng.normal(size=(500, 1)) * [1.0, 2.0, -1.0] + 0.5 * rng.normal(size=(500, 3))
    model = GaussianRBM(4, n_iter=20, random_state=0).fit(gaps)
    scaled = GaussianRBM(4, n_iter=20, random_state=0).fit(gaps * 1e6)
    means = GaussianRBM(4, n_iter=20, random_state=0).fit(np.where(np.isnan(gaps), np.nanmean(gaps, 0), gaps))
    nats = model.log_likelihood(new).mean()
    assert nats > means.log_likelihood(new).mean() + 0.1
    assert scaled.log_likelihood(new * 1e6).mean() == pytest.approx(nats - 3 * np.log(1e6), abs=0.02)


def test_tables_with_gaps():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=300)
    frame = pd.DataFrame(
        {
            "plan": pd.Categorical.from_codes(kind, ["a", "b", "c"]),
            "bill": 20.0 * kind + rng.normal(size=300),
            "calls": pd.array(kind * 3 + rng.integers(0, 15, 300), dtype="Int64"),
            "pays": pd.array(kind > 0, dtype="boolean"),
        }
    )
    gaps = frame.mask(rng.random(frame.shape) < 0.2)
    model = MixedRBM(8, n_iter=20, random_state=0).fit(gaps)
    filled_in = model.complete(gaps, n_steps=100, random_state=0)
    missing = gaps["plan"].isna()
    assert (filled_in["plan"][missing] == frame["plan"][missing]).mean() > 0.7
    assert filled_in.dtypes.equals(frame.dtypes)


def test_the_score_of_held_out_rows_is_of_what_is_observed(table):
    X, gaps = table
    model = BernoulliRBMTorch(4, n_iter=2, early_stopping=True, random_state=0).fit(X[:300], X_val=gaps[:500])
    assert model.validation_scores_[-1] == pytest.approx(model.score(gaps[:500]), abs=0.1)
    with pytest.raises(ValueError, match="early_stopping='log_likelihood' needs held-out rows without gaps"):
        BernoulliRBMTorch(4, early_stopping="log_likelihood").fit(gaps)
    numbers = np.random.default_rng(0).normal(size=(200, 3))
    numbers[::3, 1] = np.nan
    model = GaussianRBM(2, n_iter=2, early_stopping=True, random_state=0).fit(numbers, X_val=numbers)
    assert model.validation_scores_[-1] == pytest.approx(model.score(numbers), abs=0.1)


def coupled(n, n_latent, seed=0):
    """A machine of coupled bits, the last of which no row knows."""
    R = random_inputs(n, (n,), scale=0.8, seed=seed)
    R = (R + R.T).fill_diagonal_(0.0)
    none = R.new_zeros(0)
    return RBMParameters(R[:0], random_inputs(n, scale=0.5, seed=1), none, R=R), n_latent


def second_moments(v, weight):
    return v.T @ (v * (weight / weight.sum())[:, None])


@pytest.mark.parametrize("weighted", [False, True])
def test_units_that_no_row_knows_are_summed_over(weighted):
    params, n_latent = coupled(6, 2)
    v = Stream(0).bernoulli(torch.full((7, 6), 0.5, dtype=torch.float64))
    weight = torch.arange(1.0, 8.0, dtype=torch.float64) if weighted else torch.ones(7, dtype=torch.float64)
    batch, drawn = summed_batch(params, Batch(v, weight if weighted else None), n_latent, Stream(1))
    torch.testing.assert_close(drawn[:, :-n_latent], v[:, :-n_latent])

    R = params.R.clone().requires_grad_()
    machine = RBMParameters(params.W, params.b, params.c, R=R)
    observed = (-free_energy(machine, batch.v)).view(7, -1).logsumexp(1)  # log p(v_o) + log Z
    (slope,) = torch.autograd.grad((weight * observed).sum() / weight.sum(), R)
    expected = 0.5 * second_moments(batch.v, batch.weight)  # ½ v'Rv, each pair twice
    torch.testing.assert_close(slope, expected)
    uniform = second_moments(batch.v, torch.ones_like(batch.weight))  # a twin whose states all count the same
    assert (slope - 0.5 * uniform).abs().max() > 0.02


def test_draws_of_units_that_no_row_knows():
    params, n_latent = coupled(5, 2, seed=3)
    v = torch.tensor([[1.0, 0.0, 1.0, 0.0, 0.0]], dtype=torch.float64).expand(N, -1)
    batch, drawn = summed_batch(params, Batch(v), n_latent, Stream(1))
    p = batch.weight.view(N, -1)[0]
    found = (drawn[:, -2] + 2 * drawn[:, -1]).long().bincount(minlength=4) / N
    np.testing.assert_allclose(found, p, atol=5 * 0.5 / N**0.5)
    assert p.max() - p.min() > 0.1
