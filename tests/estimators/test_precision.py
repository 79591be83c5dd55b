"""Training in float32, float64 and fewer bits."""

import numpy as np
import pytest
import torch

from skrbm.support.kernels import has_int8_mm
from tests.estimators.small import X, assert_same, rbm

HAS_INT8 = "skrbm.backends.choose.has_int8_mm"  # what tells whether a device has units for 8 bits


def test_precision_is_that_of_training():
    assert rbm().fit(X.astype(float)).components_.dtype == np.float32
    assert rbm(precision="float64").fit(X).components_.dtype == np.float64
    assert rbm(precision="float64").fit(X).transform(X).dtype == np.float32


def test_auto_is_what_this_processor_is_best_at():
    rows = (np.random.default_rng(0).random((20, 500)) < 0.5).astype(np.float32)
    auto, best = (
        rbm(n_hidden=300, n_iter=1, precision=precision).fit(rows)
        for precision in ("auto", "int8" if has_int8_mm(torch.device("cpu")) else "float32")
    )
    assert_same(auto, best)


def test_fewer_bits_that_are_not_to_be_had(monkeypatch):
    for precision in ("int8", "bfloat16"):
        with pytest.raises(ValueError, match=f"precision='{precision}' takes zeros and ones"):
            rbm(precision=precision, binarize="none").fit(X)
    monkeypatch.setattr(HAS_INT8, lambda device: False)
    with pytest.raises(ValueError, match="precision='int8' is not available on cpu"):
        rbm(precision="int8").fit(X)


def few_rows():
    return np.repeat((np.random.default_rng(0).random((20, 12)) < 0.4).astype(np.float32), 5, 0)


@pytest.fixture(scope="module")
def in_float32():
    return rbm(n_hidden=10, n_iter=600, precision="float32").fit(few_rows())


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_fewer_bits_learn_as_good_a_model(precision, in_float32):
    if precision == "int8" and not has_int8_mm(torch.device("cpu")):
        pytest.skip("the processor has no units for 8-bit integers")
    rows = few_rows()
    model = rbm(n_hidden=10, n_iter=600, precision=precision).fit(rows)
    assert model.components_.dtype == model.h_samples_.dtype == np.float32
    nats = model.log_likelihood(rows).mean()
    assert nats == pytest.approx(in_float32.log_likelihood(rows).mean(), abs=0.15)
    assert nats > rbm(n_hidden=10, n_iter=3).fit(rows).log_likelihood(rows).mean() + 1
