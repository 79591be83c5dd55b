"""`CategoricalRBM` and `MixedRBM`: tables with columns of every kind."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skrbm import BernoulliRBMTorch, CategoricalRBM, GaussianRBM, MixedRBM
from skrbm.distributed import ALONE
from tests.estimators.test_resume import assert_same, cut_off

RNG = np.random.default_rng(0)
N = 1200
# Two kinds of rows, which all columns tell apart.
KIND = RNG.integers(2, size=N)
FRAME = pd.DataFrame(
    {
        "age": np.where(KIND, 60, 30) + RNG.integers(-5, 6, N),
        "income": np.exp(np.where(KIND, 10.0, 11.0) + 0.3 * RNG.normal(size=N)),
        "smokes": RNG.random(N) < np.where(KIND, 0.8, 0.1),
        "diet": pd.Categorical(np.where(RNG.random(N) < 0.85, np.where(KIND, "meat", "fish"), "none")),
        "town": np.where(RNG.random(N) < 0.8, np.where(KIND, "A", "B"), np.resize(["C", "D"], N)),
    }
)


@pytest.fixture(scope="module")
def model():
    return MixedRBM(4, n_iter=40, random_state=0).fit(FRAME)


def test_kinds_by_what_columns_hold(model):
    kinds = {column.name: column.kind for column in model.columns_}
    assert kinds == {
        "age": "gaussian",
        "income": "gaussian",
        "smokes": "binary",
        "diet": "categorical",
        "town": "categorical",
    }
    assert model.components_.shape == (4, 1 + 2 + 3 + 4)
    assert model.n_features_in_ == 5
    assert list(model.feature_names_in_) == list(FRAME.columns)


def test_samples_are_rows_of_the_table(model):
    samples = model.sample(3000, 300, init="data", random_state=0)
    assert list(samples.dtypes) == list(FRAME.dtypes)
    assert set(samples["town"]) <= {"A", "B", "C", "D"}
    for column in ("town", "diet", "smokes"):
        ours, theirs = samples[column].value_counts(normalize=True), FRAME[column].value_counts(normalize=True)
        assert (ours - theirs).abs().max() < 0.08
    assert samples["age"].mean() == pytest.approx(FRAME["age"].mean(), abs=2.0)
    assert np.corrcoef(samples["age"], samples["smokes"])[0, 1] == pytest.approx(
        np.corrcoef(FRAME["age"], FRAME["smokes"])[0, 1], abs=0.15
    )


def test_a_condition_by_name_and_label(model):
    old = model.sample(400, 200, condition={"age": 62, "diet": "meat"}, random_state=0)
    assert (old["age"] == 62).all()
    assert (old["diet"] == "meat").all()
    young = model.sample(400, 200, condition={"age": 30, "smokes": False}, random_state=0)
    assert not young["smokes"].any()
    assert (old["town"] == "A").mean() > 0.6 > 0.3 > (young["town"] == "A").mean()
    with pytest.raises(ValueError, match="unknown values in column 'town': 'Z'"):
        model.sample(3, 5, condition={"town": "Z"})
    with pytest.raises(ValueError, match="unknown name"):
        model.sample(3, 5, condition={"height": 3})


def test_gaps_are_filled_by_the_rest(model):
    gaps = FRAME.iloc[:200].copy()
    gaps["town"] = gaps["town"].astype(object)
    gaps.loc[gaps.index[::2], "town"] = None
    gaps["age"] = gaps["age"].astype(float)
    gaps.loc[gaps.index[1::2], "age"] = np.nan
    filled = model.complete(gaps, n_steps=400, random_state=0)
    assert filled.notna().all().all()
    assert (filled["income"] - FRAME["income"][:200]).abs().max() < 1e-6 * FRAME["income"].max()
    kept = gaps["town"].notna()
    assert (filled["town"][kept] == FRAME["town"][:200][kept]).all()
    assert (filled["town"][~kept] == np.where(KIND[:200], "A", "B")[~kept]).mean() > 0.9
    assert np.abs(filled["age"][1::2] - np.where(KIND[:200], 60, 30)[1::2]).mean() < 5


def test_the_likelihood_adds_up_over_all_labels():
    """Of a table of categories and bits, over all rows that there can be."""
    rows = FRAME[["smokes", "diet", "town"]]
    model = MixedRBM(3, n_iter=10, random_state=0).fit(rows)
    every = pd.MultiIndex.from_product(
        [[False, True], ["fish", "meat", "none"], list("ABCD")], names=rows.columns
    ).to_frame(index=False)
    every["diet"] = pd.Categorical(every["diet"], rows["diet"].cat.categories)
    assert np.exp(model.log_likelihood(every)).sum() == pytest.approx(1.0, abs=1e-5)


def test_learning_tells_rows_apart(model):
    independent = MixedRBM(1, n_iter=1, learning_rate=1e-9, noise=1.0, random_state=0).fit(FRAME)
    assert model.log_likelihood(FRAME).mean() > independent.log_likelihood(FRAME).mean() + 1.0
    assert model.score(FRAME) > independent.score(FRAME) + 1.0


def test_one_kind_of_columns_is_that_machine():
    bits = (RNG.random((300, 6)) < 0.4).astype(float)
    settings = {"n_iter": 5, "random_state": 0, "binarize": "none"}
    plain = BernoulliRBMTorch(3, **settings).fit(bits)
    del settings["binarize"]
    mixed = MixedRBM(3, **settings).fit(bits)
    np.testing.assert_allclose(mixed.transform(bits), plain.transform(bits), atol=1e-5)
    numbers = RNG.normal(size=(300, 4)) * [1, 10, 100, 1000]
    one, two = MixedRBM(3, **settings).fit(numbers), GaussianRBM(3, **settings).fit(numbers)
    np.testing.assert_allclose(one.log_likelihood(numbers), two.log_likelihood(numbers), atol=1e-4)


def test_codes_text_and_categories_are_the_same():
    codes = RNG.integers(0, 3, (300, 4))
    text = np.array(["a", "b", "c"])[codes]
    frame = pd.DataFrame(text, columns=list("wxyz")).astype("category")
    models = [CategoricalRBM(3, n_iter=5, random_state=0).fit(X) for X in (codes, text, frame)]
    for one, X in zip(models, (codes, text, frame), strict=True):
        np.testing.assert_array_equal(one.transform(X), models[0].transform(codes))
        np.testing.assert_array_equal(one.score_samples(X), models[0].score_samples(codes))


def test_unknown_labels():
    X = np.resize(["a", "b", "c"], (60, 2)).astype(object)
    new = np.array([["a", "z"]], object)
    with pytest.raises(ValueError, match="unknown values in column 'x1': 'z'"):
        CategoricalRBM(2, n_iter=2).fit(X).transform(new)
    missing = CategoricalRBM(2, n_iter=2, handle_unknown="missing", random_state=0).fit(X)
    assert missing.complete(new, n_steps=20)[0, 1] in {"a", "b", "c"}
    with pytest.raises(ValueError, match="values that fit didn't know"):
        missing.reconstruct(new)
    np.testing.assert_array_equal(missing.transform(new), missing.transform(np.array([["a", None]], object)))


def test_categories_that_are_given():
    X = np.resize([0, 1], (40, 2))
    model = CategoricalRBM(2, n_iter=2, categories=[[0, 1, 2], [0, 1]], random_state=0).fit(X)
    assert model.components_.shape == (2, 5)
    assert np.isfinite(model.log_likelihood([[2, 0]])).all()
    with pytest.raises(ValueError, match="unknown values"):
        CategoricalRBM(2, n_iter=2, categories=[[5], [0, 1]]).fit(X)


def test_in_a_pipeline():
    model = make_pipeline(MixedRBM(6, n_iter=20, random_state=0), LogisticRegression()).fit(FRAME, KIND)
    assert model.score(FRAME, KIND) > 0.95


def test_streams_of_frames():
    parts = [FRAME.iloc[i::3] for i in range(3)]
    model = MixedRBM(3, n_iter=5, random_state=0).fit(parts)
    assert np.isfinite(model.score(FRAME))
    model.partial_fit(FRAME.iloc[:100])
    assert np.isfinite(model.score(FRAME))


@pytest.mark.parametrize("store_trajectory", [False, True])
def test_a_fit_that_is_cut_off_goes_on_to_the_same_bits(store_trajectory, tmp_path, monkeypatch):
    """Scales of the columns and their running means among them."""
    settings = {"n_hidden": 3, "n_iter": 6, "random_state": 0, "store_trajectory": store_trajectory}
    rows, path = FRAME[:300], tmp_path / "checkpoint"
    whole = MixedRBM(**settings).fit(rows)
    cut_off(MixedRBM(**settings, checkpoint=path), rows, 3, monkeypatch)
    again = MixedRBM(**settings, checkpoint=path, resume=True).fit(rows)
    assert_same(whole, again)
    np.testing.assert_array_equal(whole.scale_, again.scale_)


def test_a_file_has_columns_labels_and_the_form(tmp_path, model):
    pytest.importorskip("safetensors")
    model.save(tmp_path / "model.safetensors")
    loaded = MixedRBM.load(tmp_path / "model.safetensors")
    assert [(c.name, c.kind, c.dtype) for c in loaded.columns_] == [(c.name, c.kind, c.dtype) for c in model.columns_]
    pd.testing.assert_frame_equal(loaded.sample(5, 20, random_state=0), model.sample(5, 20, random_state=0))
    np.testing.assert_array_equal(loaded.log_likelihood(FRAME[:50]), model.log_likelihood(FRAME[:50]))


def test_processes_have_to_find_the_same_columns():
    class Group(type(ALONE)):
        def gather_everywhere(self, value):
            return [value, "other"]

    form = MixedRBM().form
    with pytest.raises(ValueError, match="Processes have found different columns"):
        form.new_coding(np.zeros((3, 1)), form.learn(np.eye(3)[:, :1]), None, Group())
