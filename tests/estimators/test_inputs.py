"""What may be passed as X, and what may not."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from skrbm import DataRangeWarning
from tests.estimators.small import METHODS, NAN, X, assert_same, rbm


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, 0)[::2],
        lambda a: a.tolist(),
        pd.DataFrame,
        torch.from_numpy,
        lambda a: torch.from_numpy(a).requires_grad_(),
        sp.csr_matrix,
        sp.csr_array,
        sp.coo_array,
        sp.csc_matrix,
    ],
)
def test_kinds_of_input(convert, fitted):
    given_X = convert(X.copy())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X has feature names|X does not have valid feature names")
        assert_same(rbm().fit(given_X), fitted)
        for name in METHODS:
            np.testing.assert_allclose(getattr(fitted, name)(given_X), getattr(fitted, name)(X), rtol=2e-5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int64, np.float16, np.float64, np.longdouble, object])
def test_types_of_input(dtype):
    bits = X.round()
    model = rbm().fit(bits.astype(dtype))
    assert_same(model, rbm().fit(bits))
    for name in METHODS:
        np.testing.assert_allclose(
            getattr(model, name)(bits.astype(dtype)), getattr(model, name)(bits), rtol=1e-5, atol=1e-6
        )


def test_bfloat16_tensors():
    bits = torch.from_numpy(X.round())
    assert_same(rbm().fit(bits.bfloat16()), rbm().fit(bits))


def test_input_is_never_written_to(tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, X)
    frozen = np.load(path, mmap_mode="r")
    model = rbm(binarize=0.5).fit(frozen)
    for name in (*METHODS, "gibbs"):
        getattr(model, name)(frozen)
    model.inverse_transform(model.transform(frozen))
    own = X.copy()
    rbm(binarize=0.5).fit(own).score_samples(own)
    np.testing.assert_array_equal(own, X)


def test_data_frames_keep_their_names():
    frame = pd.DataFrame(X, columns=list("abcdefg"))
    model = rbm().set_output(transform="pandas").fit(frame)
    assert model.feature_names_in_.tolist() == list("abcdefg")
    model.set_params(verbose=1).partial_fit(frame)
    for init in ("random", "data", frame[:2]):
        assert model.sample(2, 1, init).shape == (2, 7)  # without a warning on missing names
    out = model.transform(frame)
    assert out.columns.tolist() == [f"bernoullirbmtorch{i}" for i in range(4)]
    assert out.columns.tolist() == model.get_feature_names_out().tolist()
    assert (out.dtypes == np.float32).all()
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame[list("gfedcba")])


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        (np.array([[0, 255], [3, 128]], np.uint8), r"from 0 to 255.*pass X / 255"),
        (np.array([[0, 255.0], [3, 128]]), r"pass X / 255"),
        (np.array([[0, 16.0], [3, 8]]), r"from 0 to 16.*pass X / 16"),
        (np.array([[1, 5], [2, 4]]), r"from 1 to 5.*OneHotEncoder"),
        (np.array([[-1.0, 1], [1, -1]]), r"from -1 to 1.*by \(X \+ 1\) / 2"),
        (np.array([[-1.0, 0.5], [0.25, 1]]), r"from -1 to 1.*MinMaxScaler"),
        (sp.csr_matrix(np.array([[0, 3.5], [0.25, 1]])), r"from 0 to 3.5"),
        (sp.csr_matrix(np.array([[0, 3.0], [1, 2]])), r"from 0 to 3.*pass X / 3"),
    ],
)
def test_values_outside_0_1_warn_once(values, remedy):
    for method in ("fit", "partial_fit"):
        with pytest.warns(DataRangeWarning, match=remedy) as caught:
            getattr(rbm(), method)(values)
        assert len(caught) == 1
        assert caught[0].filename == __file__


OF_ROWS = {
    **{name: lambda model, rows, name=name: getattr(model, name)(rows) for name in (*METHODS, "score", "gibbs")},
    "init": lambda model, rows: model.sample(len(rows), 1, init=rows),
}
REFUSED = {
    "log_likelihood": lambda model, rows: model.log_likelihood(rows),
    "complete": lambda model, rows: model.complete(rows),
    "condition": lambda model, rows: model.sample(len(rows), 1, condition=rows),
    "samples": lambda model, rows: model.log_partition("ais", bracket=1.0, samples=rows),
}


@pytest.mark.parametrize("call", OF_ROWS.values(), ids=OF_ROWS)
@pytest.mark.parametrize("convert", [lambda a: a, lambda a: -a, lambda a: 2.0 * a - 1, pd.DataFrame, torch.from_numpy])
def test_every_method_warns_of_rows_out_of_range(fitted, call, convert):
    """Scaling that was forgotten where a model is applied."""
    rows = np.ones((5, 7))
    with warnings.catch_warnings():
        call(fitted, rows)
    with pytest.warns(DataRangeWarning, match=r"has values from .* Scale or encode it as the rows of fit were") as seen:
        call(fitted, convert(16 * rows))
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_rows_that_were_out_of_range_in_fit_too_are_told_the_same_again():
    with pytest.warns(DataRangeWarning) as caught:
        rbm().fit_transform(np.arange(17.0)[:, None] + np.zeros(3))
    assert len(caught) == 2
    assert str(caught[0].message) == str(caught[1].message)
    assert "pass X / 16" in str(caught[0].message)


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_rows_out_of_range_are_refused_where_nothing_else_makes_sense(fitted, call):
    with pytest.raises(ValueError, match="has values"):
        call(fitted, np.full((5, 7), 16.0))


def test_hidden_activations_out_of_range_warn(fitted):
    fitted.inverse_transform(fitted.transform(X))
    with pytest.warns(DataRangeWarning, match="X has values from 3 to 3.*such as transform returns"):
        fitted.inverse_transform(np.full((5, 4), 3.0))


@pytest.mark.parametrize("values", [np.eye(3), np.eye(3, dtype=bool), sp.eye(3, format="csr"), np.zeros((3, 2))])
def test_values_in_0_1_do_not_warn(values):
    rbm().fit(values)


def test_rounding_is_no_reason_to_warn():
    """MinMaxScaler, which a warning recommends, may go past 1 by 2e-16."""
    high = np.nextafter(1.0, 2.0)
    model = rbm().fit(np.array([[0.0, high, 0.3], [high, 0.0, -1e-17]] * 5))
    gaps = np.array([[np.nan, high, 0.0]])
    assert np.isfinite(model.complete(gaps, n_steps=2)).all()
    assert np.isfinite(model.log_likelihood([[high, 0.0, 0.0]])).all()


def test_categories_that_are_numbers_are_numbers():
    frame = pd.DataFrame(X.round(), columns=list("abcdefg"))
    categories = frame.astype("category")
    model = rbm().fit(categories)
    assert_same(model, rbm().fit(frame))
    for name in METHODS:
        np.testing.assert_array_equal(getattr(model, name)(categories), getattr(model, name)(frame.astype(float)))
    gaps = categories[:3].copy()
    gaps.loc[1, "c"] = np.nan
    assert np.isfinite(model.complete(gaps, n_steps=2)).all()
    assert_same(rbm().fit(gaps), rbm().fit(frame[:3].where(gaps.notna().to_numpy())))
    with pytest.raises(ValueError, match="infinity"):
        model.fit(frame.replace(1.0, np.inf).astype("category"))


TEXT = pd.DataFrame({"colour": ["red", "blue"] * 3, "size": ["S", "M", "L"] * 2})


@pytest.mark.parametrize(
    "text", [TEXT, TEXT.astype("category"), TEXT.assign(size=1), TEXT.to_numpy(str), TEXT.to_numpy().tolist()]
)
def test_of_text_the_error_names_what_encodes_it(text):
    with pytest.raises(ValueError, match="X has text: .* with OneHotEncoder"):
        rbm().fit(text)


def test_of_gaps_the_error_says_what_to_do_with_them(fitted):
    gaps = pd.DataFrame(NAN)
    for rows in (NAN, sp.csr_matrix(NAN), gaps, torch.from_numpy(NAN), gaps.astype("Float32")):
        for call in (fitted.reconstruct, fitted.gibbs):
            with pytest.raises(ValueError, match="NaN. Drop the rows .* SimpleImputer .* `complete` fills") as caught:
                call(rows)
            assert "Gradient" not in str(caught.value)


@pytest.mark.parametrize("shape", [(60, 1, 7), (60, 7, 1, 1)])
def test_of_images_the_error_says_how_they_become_rows(fitted, shape):
    images = X.reshape(shape)
    for rows in (images, torch.from_numpy(images), images.tolist()):
        for call in (rbm().fit, fitted.transform, fitted.gibbs):
            with pytest.raises(ValueError, match=r"dim [34][,.].* X.reshape\(len\(X\), -1\)"):
                call(rows)
    assert_same(rbm().fit(images.reshape(len(images), -1)), fitted)


def test_of_a_dict_the_error_names_the_keys(fitted):
    for call in (rbm().fit, fitted.transform, fitted.complete, fitted.inverse_transform):
        with pytest.raises(TypeError, match="X is a dict with the keys 'image', 'label'. Pass the rows") as caught:
            call({"image": torch.from_numpy(X), "label": 1})
        assert "tensor" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "weight", "error", "message"),
    [
        (np.full((60, 7), np.nan), None, ValueError, "X has no values at all"),
        (np.where(np.isnan(NAN), np.inf, NAN), None, ValueError, "infinity"),
        (sp.csr_matrix(NAN), None, ValueError, "NaN"),
        (X[:0], None, ValueError, "minimum of 1 is required"),
        (X[:, :0], None, ValueError, "minimum of 1 is required"),
        (X[0], None, ValueError, "1D array"),
        (X[None], None, ValueError, "dim 3"),
        (np.array([["a", "b"]]), None, ValueError, "could not convert|numeric"),
        (X + 1j, None, ValueError, "Complex"),
        (None, None, ValueError, "None"),
        (X, -np.ones(60), ValueError, "[Nn]egative values in data passed to `sample_weight`"),
        (X, np.zeros(60), ValueError, "at least one non-zero"),
        (X, np.ones(59), ValueError, r"sample_weight.shape == \(59,\)"),
        (X, np.full(60, np.nan), ValueError, "NaN"),
        (X, np.ones((60, 2)), ValueError, "1D"),
    ],
    ids=lambda value: None if isinstance(value, np.ndarray) else str(value)[:20],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_wrong_data_leaves_the_model_as_it_was(rows, weight, error, message, method):
    model = rbm().fit(pd.DataFrame(X, columns=list("abcdefg")))
    before = dict(vars(model))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        with pytest.raises(error, match=message):
            getattr(model, method)(rows, sample_weight=weight)
    assert vars(model) == before


class LazyFrame:
    """As Polars has them: a plan without rows."""

    def collect(self):
        return pd.DataFrame(X)


def test_lazy_frames_are_to_be_collected(fitted):
    for method in ("fit", "partial_fit", "transform", "complete"):
        with pytest.raises(TypeError, match=r"X is a lazy frame, which has no rows yet. Pass X.collect\(\)"):
            getattr(fitted, method)(LazyFrame())
    with pytest.raises(TypeError, match=r"Pass X_val.collect\(\)"):
        rbm().fit(X, X_val=LazyFrame())


@pytest.mark.parametrize("index", [None, list(range(60, 0, -1))])
def test_na_of_pandas_is_a_gap(index):
    bits = pd.DataFrame(X > 0.3, index, list("abcdefg")).astype(object)
    gaps = bits.copy()
    gaps.iloc[3, 2] = pd.NA
    gaps.iloc[4, :3] = None
    model = rbm().fit(bits)
    expected = model.complete(gaps.astype("boolean"), random_state=0)
    np.testing.assert_array_equal(model.complete(gaps, random_state=0), expected)
    condition = model.sample(60, condition=gaps, random_state=0)
    np.testing.assert_array_equal(condition[:3], bits[:3].to_numpy(dtype=float))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        np.testing.assert_array_equal(model.complete(gaps.to_numpy(), random_state=0), expected)
    assert gaps.iloc[3, 2] is pd.NA  # as it was
    assert_same(rbm().fit(gaps), rbm().fit(gaps.astype("boolean")))
    np.testing.assert_array_equal(model.transform(gaps), model.transform(gaps.astype("boolean")))
    with pytest.raises(ValueError, match="X contains NaN. .*`complete` fills the gaps"):
        model.reconstruct(gaps)


def test_text_beside_na_is_still_told(fitted):
    frame = pd.DataFrame(X, columns=list("abcdefg")).astype(object)
    frame.iloc[0, 0], frame.iloc[1, 1] = pd.NA, "red"
    with pytest.raises(ValueError, match="X has text: make categories columns"):
        rbm().fit(frame)
