"""`RBMImputer`: gaps of tables of every kind, filled."""

import copy

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrbm import BernoulliRBMTorch, CategoricalRBM, GaussianRBM, MixedRBM, RBMImputer
from skrbm.estimators.imputer import n_hidden_for
from tests import reference
from tests.estimators.small import params_of

RNG = np.random.default_rng(0)
N = 300
# Two kinds of rows, which all columns but the last tell apart.
KIND = RNG.integers(2, size=N)
FRAME = pd.DataFrame(
    {
        "age": np.where(KIND, 60, 30) + RNG.integers(-5, 6, N),
        "income": np.where(KIND, 10.0, 40.0) + RNG.normal(size=N),
        "visits": pd.array(np.where(KIND, 100, 0) + RNG.integers(0, 30, N), dtype="Int64"),
        "diet": pd.Categorical(np.where(RNG.random(N) < 0.9, np.where(KIND, "meat", "fish"), "none")),
        "town": np.where(KIND, "Ulm", "Bonn"),
        "smokes": KIND.astype(bool),
        "drives": pd.array(KIND == 0, dtype="boolean"),
        "country": "DE",
    }
)
GAPS = FRAME.iloc[:80].mask(np.random.default_rng(1).random((80, 8)) < 0.3)
MACHINE = MixedRBM(3, n_iter=18, batch_size=30, random_state=0, handle_unknown="missing")
FAST = MixedRBM(2, n_iter=2, random_state=0, handle_unknown="missing")
SMALL = {"n_steps": 50, "n_chains": 1, "random_state": 0}


@pytest.fixture(scope="module")
def imputer():
    return RBMImputer(MACHINE, **SMALL).fit(FRAME)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        RBMImputer(MixedRBM(5, n_iter=3), n_steps=5),
        RBMImputer(GaussianRBM(5, n_iter=3), n_steps=5, sample_posterior=True, add_indicator=True),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# -- what is filled in -------------------------------------------------------------------------------------------------


def test_gaps_are_filled_by_the_rest(imputer):
    filled, missing = imputer.transform(GAPS), GAPS.isna()
    assert filled.notna().all(axis=None)
    for name in ("town", "smokes", "drives"):
        assert (filled[name] == FRAME[name][:80]).mean() > 0.9
    assert (filled["age"] - np.where(KIND, 60, 30)[:80])[missing["age"]].abs().mean() < 12  # 15 without the rest
    assert (filled["country"] == "DE").all()


@pytest.mark.parametrize("sample_posterior", [False, True])
def test_what_is_observed_stays_to_the_last_bit(imputer, sample_posterior):
    before = GAPS.copy()
    filled = copy.copy(imputer).set_params(sample_posterior=sample_posterior).transform(GAPS)
    pd.testing.assert_frame_equal(GAPS, before)
    for name in FRAME:
        observed = GAPS[name].notna()
        assert (filled[name][observed] == FRAME[name][:80][observed]).all()
    pd.testing.assert_frame_equal(imputer.transform(FRAME), FRAME)


def test_types_are_those_that_were_learned(imputer):
    assert GAPS["age"].dtype == np.float64
    assert list(imputer.transform(GAPS).dtypes) == list(FRAME.dtypes)


def test_numbers_are_rounded_where_the_column_is_whole():
    table = pd.DataFrame({"whole": np.arange(40) % 20, "real": np.arange(40) % 20 * 1.0, "x": RNG.normal(size=40)})
    gaps = table.mask(np.arange(40)[:, None] % 2 == [0, 0, 9])
    for machine in (FAST, GaussianRBM(2, n_iter=2)):
        filled = RBMImputer(machine, **SMALL).fit(table).transform(gaps)
        assert filled["whole"].dtype == np.int64
        assert (filled["real"] % 1 != 0).any()
    nullable = gaps.astype({"whole": "Int64"}), gaps.astype({"real": "Int64"})
    whole, broken = (RBMImputer(FAST, **SMALL).fit(table).transform(X).dtypes for X in nullable)
    assert (whole["whole"], broken["real"]) == (np.int64, np.float64)


def test_rows_without_any_value_are_like_the_table(imputer):
    nothing = pd.DataFrame(np.full((300, 8), None, object), columns=FRAME.columns)
    filled = imputer.transform(nothing)
    assert filled["age"].mean() == pytest.approx(FRAME["age"].mean(), abs=4)
    assert imputer.probabilities(nothing)["town"][:, 1].mean() == pytest.approx(KIND.mean(), abs=0.1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_rows_with_gaps_are_learned_from():
    """A table in which hardly a row is complete; what it says is lost where a column is shuffled."""
    table = FRAME[["age", "income", "town", "smokes"]]
    hidden = np.random.default_rng(2).random(table.shape) < 0.3

    def hits(table):
        machine = MixedRBM(3, n_iter=45, batch_size=30, random_state=0)
        filled = RBMImputer(machine, **SMALL).fit_transform(table.mask(hidden))
        return (filled["town"] == table["town"])[hidden[:, 2]].mean()

    assert hits(table) > 0.85
    assert hits(table.assign(town=RNG.permutation(table["town"]))) < 0.7


# -- against enumeration -----------------------------------------------------------------------------------------------

ROW = np.array([1.0, np.nan, np.nan, np.nan, np.nan])
W, B, C = np.array([[2.0, 2.0, -2.0, 1.0, 0.0], [0.0, 1.0, 1.0, -2.0, 3.0]]), np.array([-1.0, -1, 1, 0, -1]), [-0.5, -1]


@pytest.fixture(scope="module")
def bits():
    """An imputer with a machine of known parameters."""
    model = RBMImputer(BernoulliRBMTorch(2, n_iter=1), random_state=0).fit(np.eye(5))
    model.estimator_ = BernoulliRBMTorch.from_parameters(W, B, C)
    return model


def exact_of(bits):
    return reference.conditional_p_v(params_of(bits.estimator_), ROW)


def test_means_are_those_of_the_conditional_distribution(bits):
    exact = exact_of(bits) @ reference.states(5)
    np.testing.assert_allclose(bits.transform(np.tile(ROW, (40, 1))).mean(0), exact, atol=0.01)
    rates = reference.p_v(params_of(bits.estimator_)) @ reference.states(5)  # knowing nothing of the row is told apart
    assert np.abs(rates - exact)[1:].max() > 0.05


def test_means_of_factor_analysis_are_exact():
    loadings = RNG.normal(size=(2, 5))
    X = RNG.normal(size=(300, 2)) @ loadings + 0.5 * RNG.normal(size=(300, 5)) + 3
    model = RBMImputer(GaussianRBM(2, hidden="gaussian"), random_state=0).fit(X)
    machine = model.estimator_
    W = machine.components_ / machine.scale_
    precision = np.diag(machine.scale_**-2) - W.T @ W
    linear = machine.intercept_visible_ / machine.scale_ + W.T @ machine.intercept_hidden_
    shift = machine.location_ + np.linalg.solve(precision, linear)
    gaps = np.where([False, True, False, True, False], np.nan, X[:20])
    free, seen = [1, 3], [0, 2, 4]
    S = np.linalg.inv(precision)
    exact = shift[free] + (X[:20, seen] - shift[seen]) @ np.linalg.solve(S[np.ix_(seen, seen)], S[np.ix_(seen, free)])
    np.testing.assert_allclose(model.transform(gaps)[:, free], exact, rtol=1e-4, atol=1e-4)
    assert np.abs(shift[free] - exact).max() > 0.5  # the means of the columns are others
    drawn = np.stack(model.draws(gaps[:1], 4000))[:, 0, free]
    covariance = np.linalg.inv(precision[np.ix_(free, free)])
    np.testing.assert_allclose(drawn.mean(0), exact[0], atol=5 * np.sqrt(covariance.max() / 4000))
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=8 * covariance.max() / np.sqrt(4000))


def test_draws_are_those_of_the_conditional_distribution(bits):
    rows, p = np.tile(ROW, (20, 1)), exact_of(bits)
    drawn = np.concatenate(bits.draws(rows, 100))
    assert reference.total_variation(reference.frequencies(drawn), p) < reference.total_variation_floor(p, 2000)
    filled = bits.transform(rows)  # draws without what columns have to do with each other are told apart
    alone = (np.random.default_rng(0).random((100, *rows.shape)) < filled).reshape(-1, 5)
    assert reference.total_variation(reference.frequencies(alone), p) > reference.total_variation_floor(p, 2000)


def test_draws_are_independent(bits):
    first, second = bits.draws(np.tile(ROW, (2000, 1)), 2)
    free = np.isnan(ROW)
    together = np.corrcoef(first[:, free].T, second[:, free].T)[:4, 4:]
    assert np.abs(together).max() < 5 / np.sqrt(2000)
    assert np.abs(np.corrcoef(first[:, free].T) - np.eye(4)).max() > 5 / np.sqrt(2000)  # those of one draw are not


def test_probabilities(imputer):
    found, filled = imputer.probabilities(GAPS), imputer.transform(GAPS)
    assert list(found) == ["diet", "town", "smokes", "drives"]
    labels = {column.name: column.labels for column in imputer.estimator_.columns_}
    for name, p in found.items():
        np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-6)
        observed = GAPS[name].notna()
        assert set(p[observed].ravel()) == {0.0, 1.0}
        assert (labels[name][p.argmax(1)] == filled[name]).mean() > 0.95
    with pytest.raises(ValueError, match="GaussianRBM has no labels"):
        RBMImputer(GaussianRBM(2, n_iter=2)).fit(np.eye(5)).probabilities(np.eye(5))


# -- randomness --------------------------------------------------------------------------------------------------------


def test_a_number_as_seed_fills_in_the_same_way(imputer):
    pd.testing.assert_frame_equal(imputer.transform(GAPS), imputer.transform(GAPS))
    again = clone(imputer).fit(FRAME)
    pd.testing.assert_frame_equal(imputer.transform(GAPS), again.transform(GAPS))
    free = copy.copy(imputer).set_params(random_state=None)
    assert not free.transform(GAPS).equals(free.transform(GAPS))
    one, other = imputer.draws(GAPS, 1, random_state=1), imputer.draws(GAPS, 1, random_state=2)
    assert not one[0].equals(other[0])


# -- columns that can't be learned -------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [False, True])
def test_empty_columns(keep):
    table = FRAME[["age", "town"]].assign(no=np.nan, text=pd.Series([None] * N, dtype="str"))
    model = RBMImputer(FAST, keep_empty_features=keep, **SMALL)
    if keep:
        filled = model.fit_transform(table)
        assert (filled["no"] == 0).all()
        assert (filled["text"] == "missing").all()
    else:
        with pytest.warns(UserWarning, match="2 of 4 columns have no observed values and are dropped: no, text"):
            filled = model.fit_transform(table)
    assert list(filled) == list(model.get_feature_names_out()) == (list(table) if keep else ["age", "town"])


def test_a_column_that_never_varies_is_no_news(imputer):
    table = pd.DataFrame({"one": [1] * 4, "two": ["a"] * 4})
    model = RBMImputer().fit(table)
    assert not hasattr(model, "estimator_")
    assert model.probabilities(table) == {}
    gaps = table.mask(np.eye(4, 2, dtype=bool))
    pd.testing.assert_frame_equal(model.transform(gaps), table)
    pd.testing.assert_frame_equal(model.draws(gaps, 2)[1], table)
    assert [column.name for column in imputer.estimator_.columns_] == list(FRAME)[:-1]


def test_labels_that_fit_did_not_know(imputer):
    new = FRAME.iloc[:3].assign(town=["Ulm", "Rome", None])
    filled = imputer.transform(new)
    assert list(filled["town"][:2]) == ["Ulm", "Rome"]
    assert filled["town"][2] in {"Ulm", "Bonn"}
    with pytest.raises(ValueError, match="unknown values in column 'town': 'Rome'"):
        RBMImputer(MixedRBM(2, n_iter=2)).fit(FRAME[:50]).transform(new)


def test_columns_by_number_are_those_of_the_table():
    table = np.column_stack((np.ones(60), np.arange(60) % 3, RNG.normal(size=60), np.arange(60) % 4))
    machine = MixedRBM(2, n_iter=2, columns={"categorical": [1, 3], "gaussian": 2})
    found = RBMImputer(machine).fit(table).estimator_.columns_
    assert [column.kind for column in found] == ["categorical", "gaussian", "categorical"]
    labels = [["a", "b"], ["x"], ["c", "d", "e"]]
    rows = np.resize(["a", "x", "c", "b", "x", "d"], (20, 3))
    found = RBMImputer(CategoricalRBM(2, n_iter=2, categories=labels)).fit(rows).estimator_.columns_
    assert [list(column.labels) for column in found] == [labels[0], labels[2]]


# -- forms -------------------------------------------------------------------------------------------------------------


def test_arrays():
    X = np.column_stack((KIND * 9.0, KIND * 5 + RNG.normal(size=N))).astype(np.float32)
    gaps = X[:5].copy()
    gaps[[0, 1], [0, 1]] = np.nan
    filled = RBMImputer(MACHINE, **SMALL).fit(X).transform(gaps)
    assert filled.dtype == np.float32
    assert filled[0, 0] == X[0, 0]
    np.testing.assert_array_equal(filled[2:], X[2:5])
    assert RBMImputer(FAST).fit_transform(X.astype(int)).dtype == np.float64
    objects = FRAME[["age", "town"]].to_numpy(object)
    some = objects[:4].copy()
    some[[0, 1], [0, 1]] = None, np.nan
    filled = RBMImputer(FAST, **SMALL).fit(objects).transform(some)
    assert filled[1, 1] in {"Ulm", "Bonn"}
    assert list(filled[2]) == list(objects[2])


def test_frames_of_polars():
    pl = pytest.importorskip("polars")
    table = pl.DataFrame(
        {"age": FRAME["age"].tolist(), "town": FRAME["town"].tolist(), "smokes": FRAME["smokes"].tolist()},
    ).with_columns(pl.col("town").cast(pl.Categorical).alias("place"))
    hidden = pl.Series(np.arange(N) % 3 == 0)
    gaps = table.with_columns(
        pl.when(hidden).then(None).otherwise(pl.col(name)).alias(name) for name in ("age", "place")
    )
    filled = RBMImputer(MACHINE, add_indicator=True, **SMALL).fit(table).transform(gaps.head(30))
    assert filled.schema == table.schema
    assert filled.null_count().sum_horizontal().item() == 0
    assert filled["place"].to_list()[1:3] == table["place"].to_list()[1:3]
    empty = gaps.head(3).with_columns(pl.lit(None).alias("town"))
    assert RBMImputer(FAST, **SMALL).fit(table).transform(empty)["town"].dtype == pl.String


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_set_output(imputer, kind):
    pytest.importorskip(kind)
    X = FRAME[["age", "income"]].to_numpy(float)
    gaps = np.where(np.arange(6)[:, None] % 2, X[:6], np.nan)
    filled = RBMImputer(FAST, **SMALL).set_output(transform=kind).fit(X).transform(gaps)
    assert type(filled).__module__.startswith(kind)
    assert list(filled.columns) == ["x0", "x1"]
    frame = copy.copy(imputer).set_output(transform=kind).transform(GAPS)
    assert type(frame).__module__.startswith(kind)
    assert list(frame["town"]) == list(imputer.transform(GAPS)["town"])


def test_frames_of_polars_become_frames_of_pandas_with_types():
    pl = pytest.importorskip("polars")
    table = pl.DataFrame({name: FRAME[name].tolist() for name in ("age", "income", "town", "smokes")}).with_columns(
        place=pl.col("town").cast(pl.Categorical), sort=pl.col("town").cast(pl.Enum(["Ulm", "Bonn"]))
    )
    gaps = table.with_columns(pl.when(np.arange(N) % 3 == 0).then(None).otherwise(pl.all()).name.keep())
    imputer = RBMImputer(FAST, add_indicator=True, **SMALL).fit(gaps)
    expected, filled = imputer.transform(gaps), imputer.set_output(transform="pandas").transform(gaps)
    types = [str(dtype) for dtype in filled.dtypes][:6]
    assert types[:2] == ["int64", "float64"]
    assert types[2] in ("object", "str")
    assert types[3:] == ["bool", "category", "category"]
    assert list(filled["sort"].cat.categories) == ["Ulm", "Bonn"]
    assert "object" in {str(pd.DataFrame(expected)[i].dtype) for i in (0, 1, 3, 4)}  # as it would be without
    for name in expected.columns:
        assert filled[name].tolist() == expected[name].to_list()


def test_the_indicator_is_that_of_the_other_imputers():
    X = np.column_stack((RNG.normal(size=(30, 2)), np.ones(30)))
    gaps = np.where(np.eye(30, 3), np.nan, X)
    ours, theirs = (
        model.fit(gaps)
        for model in (RBMImputer(FAST, add_indicator=True, **SMALL), IterativeImputer(add_indicator=True))
    )
    assert list(ours.get_feature_names_out(list("abc"))) == list(theirs.get_feature_names_out(list("abc")))
    np.testing.assert_array_equal(ours.transform(gaps)[:, 3:], theirs.transform(gaps)[:, 3:])
    frame = pd.DataFrame(gaps, columns=list("abc"))
    found = RBMImputer(FAST, add_indicator=True, **SMALL).fit(frame).transform(frame)
    assert list(found.columns) == list(theirs.get_feature_names_out(list("abc")))
    assert found["missingindicator_a"].dtype == bool


# -- with the rest of scikit-learn -------------------------------------------------------------------------------------


def test_in_a_pipeline_and_a_search():
    gaps = FRAME[["age", "income"]].mask(np.random.default_rng(1).random((N, 2)) < 0.3)[:100]
    model = make_pipeline(RBMImputer(FAST, **SMALL), LogisticRegression())
    search = GridSearchCV(model, {"rbmimputer__estimator__n_hidden": [1, 2]}, cv=2).fit(gaps, KIND[:100])
    assert search.best_score_ > 0.7
    assert search.best_estimator_[0].estimator_.n_hidden in (1, 2)


def test_what_was_passed_is_left_alone():
    machine = MixedRBM(2, n_iter=2)
    model = RBMImputer(machine, random_state=3).fit(FRAME[:50])
    assert model.estimator_.random_state is not None
    assert model.estimator is machine
    assert machine.random_state is None
    assert not hasattr(machine, "components_")
    assert model.get_params()["estimator__n_iter"] == 2


def test_sizes_of_machines():
    full = [n_hidden_for(np.zeros((n_rows, 3), bool)) for n_rows in (1, 100, 1000, 10**5)]
    assert full == sorted(full)
    assert n_hidden_for(np.eye(2, dtype=bool).repeat(100, 0)) == full[1]
    numbers = RBMImputer().fit(FRAME[["age", "income"]]).estimator_
    assert (numbers.hidden, numbers.n_hidden) == ("gaussian", 1)
    assert RBMImputer().fit(FRAME[["age", "smokes"]][:10]).estimator_.n_hidden == 6
    nullable = FRAME[["age", "visits"]].astype("Int64").mask(np.eye(N, 2, dtype=bool))
    assert list(RBMImputer().fit_transform(nullable).dtypes) == ["Int64", "Int64"]


def test_numbers_are_given_as_many_factors_as_they_can_have():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 6)) @ rng.normal(size=(6, 12)) + 0.1 * rng.normal(size=(150, 12))
    missing = rng.random(X.shape) < 0.1
    machines = ("auto", GaussianRBM(5, hidden="gaussian", random_state=0))  # half the root of the number of rows
    auto, few = (
        np.square(RBMImputer(machine, random_state=0).fit_transform(np.where(missing, np.nan, X)) - X)[missing].mean()
        for machine in machines
    )
    assert auto < 0.1 < few


@pytest.mark.parametrize(
    ("params", "X", "error", "message"),
    [
        ({"estimator": "best"}, FRAME, TypeError, "estimator='best' must be 'auto' or a machine"),
        ({"estimator": MixedRBM}, FRAME, TypeError, "must be 'auto' or a machine"),
        ({"n_steps": 0}, FRAME, ValueError, "n_steps == 0, must be >= 1"),
        ({"sample_posterior": 1}, FRAME, TypeError, "sample_posterior=1 must be True or False"),
        ({}, np.full((3, 2), np.nan), ValueError, "X has no values at all"),
        ({}, np.array([[1.0, np.inf]]), ValueError, "Input X contains infinity"),
    ],
)
def test_bad_arguments(params, X, error, message):
    with pytest.raises(error, match=message):
        RBMImputer(**params).fit(X)


def test_bad_rows(imputer):
    with pytest.raises(ValueError, match="feature names should match"):
        imputer.transform(FRAME[FRAME.columns[::-1]])
    with pytest.raises(ValueError, match=r"n == 0, must be >= 1"):
        imputer.draws(GAPS, 0)
