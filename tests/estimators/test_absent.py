"""`missing="absent"` at the face: what estimators say of rows whose missing cells are not there."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrbm import BernoulliRBMTorch, CategoricalRBM, MixedRBM, RBMImputer
from skrbm.training.fit import Run
from tests.estimators.test_common import expected_failures

NAN = np.nan
RNG = np.random.default_rng(0)
LIKED = RNG.random((300, 1)) < 0.5
STARS = np.where(LIKED, 4.0, 2.0) + RNG.integers(0, 2, (300, 5))
GAPS = np.where(RNG.random(STARS.shape) < 0.5, NAN, STARS)
LEVELS = [[1.0, 2.0, 3.0, 4.0, 5.0]] * 5


@pytest.mark.filterwarnings("ignore::skrbm.DataRangeWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        BernoulliRBMTorch(n_hidden=3, n_iter=2, missing="absent"),
        RBMImputer(CategoricalRBM(n_hidden=3, n_iter=2, missing="absent", handle_unknown="missing"), statistic="mean"),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def model():
    settings = {"n_iter": 25, "optimizer": "adam", "learning_rate": 0.03, "random_state": 0}
    return CategoricalRBM(4, missing="absent", categories=LEVELS, **settings).fit(GAPS)


def expected(model, row, column):
    """What a rating would be, by weights and biases: p(k) ∝ exp(b_k) Π_j (1 + exp(c_j + Σ_o W_jo v_o + W_jk))."""
    W, b, c = model.components_.astype(float), model.intercept_visible_.astype(float), model.intercept_hidden_
    known = [5 * i + int(x) - 1 for i, x in enumerate(row) if not np.isnan(x)]
    inputs = c + W[:, known].sum(1)
    places = slice(5 * column, 5 * column + 5)
    log_p = b[places] + np.logaddexp(0.0, inputs[:, None] + W[:, places]).sum(0)
    p = np.exp(log_p - log_p.max())
    return p / p.sum(), inputs


def test_features_and_free_energies_are_of_what_is_there(model):
    for row, h, nats in zip(GAPS[:9], model.transform(GAPS[:9]), model.free_energy(GAPS[:9]), strict=True):
        inputs = expected(model, row, 0)[1]
        np.testing.assert_allclose(h, 1 / (1 + np.exp(-inputs)), rtol=1e-5)
        known = [5 * i + int(x) - 1 for i, x in enumerate(row) if not np.isnan(x)]
        ours = -model.intercept_visible_[known].sum() - np.logaddexp(0.0, inputs).sum()
        assert nats == pytest.approx(ours, rel=1e-5)


def test_cells_are_predicted_each_by_itself(model):
    imputer = RBMImputer(model, statistic="mean").fit(GAPS)
    filled, p = imputer.transform(GAPS[:9]), imputer.probabilities(GAPS[:9])
    likeliest, learned = RBMImputer(model).fit(GAPS).transform(GAPS[:9]), imputer.estimator_
    for i, row in enumerate(GAPS[:9]):
        for column in np.flatnonzero(np.isnan(row)):
            q, _ = expected(learned, row, column)
            np.testing.assert_allclose(p[f"x{column}"][i], q, rtol=1e-4)
            assert filled[i, column] == pytest.approx(q @ LEVELS[0], rel=1e-4)
            assert likeliest[i, column] == 1 + q.argmax()
    known = ~np.isnan(GAPS[:9])
    np.testing.assert_array_equal(filled[known], GAPS[:9][known])
    np.testing.assert_array_equal(model.complete(GAPS[:9]), RBMImputer(model).fit(GAPS).transform(GAPS[:9]))


def test_predictions_and_draws_are_of_the_rating(model):
    gaps, known = np.isnan(GAPS), ~np.isnan(GAPS)
    filled = RBMImputer(model, statistic="mean").fit(GAPS).transform(GAPS)
    some = gaps & (known.sum(1) >= 2)[:, None]
    assert np.sqrt(np.square(filled - STARS)[some].mean()) < 0.75
    assert np.sqrt(np.square(np.nanmean(GAPS, 0) - STARS)[some].mean()) > 1.0
    drawn = model.complete(GAPS, "sample", random_state=0)
    assert set(drawn[gaps]) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert len(set(drawn[gaps])) > 3
    np.testing.assert_array_equal(drawn[known], GAPS[known])


def test_likelihoods_sum_to_one(model):
    rows = np.full((25, 5), NAN)
    rows[:, [1, 3]] = [(a, b) for a in LEVELS[0] for b in LEVELS[0]]
    assert np.exp(model.log_likelihood(rows)).sum() == pytest.approx(1.0)
    assert model.log_likelihood(np.full((1, 5), NAN))[0] == pytest.approx(0.0, abs=1e-9)
    by_one = model.log_likelihood(rows)
    alone = np.where(np.arange(5) == 1, rows, NAN)
    marginal = clone(model).set_params(missing="marginal", algorithm="cd")
    assert marginal.get_params()["missing"] == "marginal"
    assert model.score_samples(alone) == pytest.approx(model.log_likelihood(alone), abs=1e-6)
    assert by_one.max() < 0.0
    with pytest.raises(ValueError, match="enumerated up to 14 hidden units"):
        CategoricalRBM(15, missing="absent", categories=LEVELS, n_iter=1).fit(GAPS).log_likelihood(GAPS)


def test_frames_of_ratings():
    frame = pd.DataFrame(GAPS[:100, :3], columns=["a", "b", "c"])
    frame["a"] = frame["a"].astype("Int64")
    frame["b"] = pd.Categorical(frame["b"])
    machine = CategoricalRBM(3, missing="absent", n_iter=5, random_state=0)
    filled = RBMImputer(machine, statistic="mean").fit(frame).transform(frame)
    assert filled.notna().all(axis=None)
    assert filled.dtypes.astype(str).tolist() == ["Float64", "Float64", "float64"]
    assert not (filled["b"][frame["b"].isna()] % 1 == 0).all()


def test_files_pickles_and_checkpoints(model, tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    model.save(tmp_path / "ratings.safetensors")
    loaded = CategoricalRBM.load(tmp_path / "ratings.safetensors")
    for twin in (loaded, pickle.loads(pickle.dumps(model))):
        assert twin.missing == "absent"
        np.testing.assert_array_equal(twin.transform(GAPS), model.transform(GAPS))
        np.testing.assert_array_equal(twin.complete(GAPS), model.complete(GAPS))

    def stop(epoch):
        settings = {"missing": "absent", "categories": LEVELS, "n_iter": 4, "random_state": 0}
        path = tmp_path / "checkpoint"
        return CategoricalRBM(3, checkpoint=path if epoch else None, resume=epoch > 1, **settings)

    whole, first = stop(0).fit(GAPS), stop(1)

    n_before = iter(range(9))

    def interrupted(run):
        if next(n_before) == 2:
            raise RuntimeError("enough")
        original(run)

    original = Run.epoch_
    monkeypatch.setattr(Run, "epoch_", interrupted)
    with pytest.raises(RuntimeError, match="enough"):
        first.fit(GAPS)
    monkeypatch.undo()
    np.testing.assert_array_equal(stop(2).fit(GAPS).components_, whole.components_)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_what_is_refused(method):
    numbers = pd.DataFrame({"a": [0.5, 1.5, NAN, 2.5] * 10, "b": [True, False, True, None] * 10})
    with pytest.raises(ValueError, match="missing='absent' is for columns of bits and categories, but X has columns"):
        getattr(MixedRBM(2, missing="absent"), method)(numbers)
    with pytest.raises(ValueError, match=r"persistent chains \(algorithm='pcd'\) can't follow"):
        getattr(CategoricalRBM(2, missing="absent", algorithm="pcd"), method)(GAPS)
    with pytest.raises(ValueError, match="missing='zero' is not known"):
        getattr(CategoricalRBM(2, missing="zero"), method)(GAPS)


def test_early_stopping_by_likelihood_needs_rows_without_gaps():
    settings = {"missing": "absent", "n_iter": 2, "early_stopping": "log_likelihood"}
    with pytest.raises(ValueError, match="early_stopping='log_likelihood' needs held-out rows without gaps"):
        CategoricalRBM(2, **settings).fit(GAPS)
    assert len(CategoricalRBM(2, **settings, random_state=0).fit(GAPS, X_val=STARS).validation_scores_) == 2


def test_mixed_tables_of_bits_and_categories():
    table = pd.DataFrame({"likes": LIKED[:, 0], "stars": pd.Categorical(STARS[:, 0])}).mask(RNG.random((300, 2)) < 0.3)
    model = MixedRBM(3, missing="absent", n_iter=10, random_state=0).fit(table)
    assert model.complete(table).notna().all(axis=None)
    with pytest.raises(ValueError, match="keeps no training rows"):
        model.sample(2, init="data")
    assert model.diagnose("gibbs", n_steps=20, n_chains=3)["method"][0] == "gibbs"
