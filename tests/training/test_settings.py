"""What "auto" stands for, and what one pass leaves out."""

import inspect
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from skrbm import BernoulliRBMTorch
from skrbm.rows import ArrayRows, SharedRows
from skrbm.training import TrainSettings

BITS = (np.random.default_rng(0).random((500, 500)) < 0.5).astype(np.float32)
GREYS = np.random.default_rng(0).random((500, 500))


def test_the_defaults_are_those_of_the_estimator():
    face = {name: p.default for name, p in inspect.signature(BernoulliRBMTorch).parameters.items()}
    face["n_epochs"] = face.pop("n_iter")
    for field in fields(TrainSettings):
        if field.name not in ("device", "visible", "hidden", "offset_rate"):
            assert field.default == face[field.name], field.name


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "weight_decay"),
    [(20, 10, 2e-3), (500, 10, 2e-3), (3000, 30, 1e-3), (60_000, 100, 5e-5)],
)
def test_auto_goes_by_the_number_of_rows(n_rows, batch_size, weight_decay):
    rows = SharedRows(ArrayRows(np.zeros((n_rows, 2), np.float32)))
    resolved = TrainSettings().resolved(rows)
    assert resolved.batch_size == batch_size
    assert resolved.weight_decay == pytest.approx(weight_decay)
    given = TrainSettings(batch_size=7, weight_decay=0.0).resolved(rows)
    assert (given.batch_size, given.weight_decay) == (7, 0.0)


def test_bits_are_not_drawn_again():
    assert TrainSettings().resolved(SharedRows(ArrayRows(BITS))).binarize == "none"
    assert TrainSettings().resolved(SharedRows(ArrayRows(GREYS))).binarize == "sample"
    assert TrainSettings(binarize=0.3).resolved(SharedRows(ArrayRows(BITS))).binarize == 0.3


HAS_INT8 = "skrbm.backends.choose.has_int8_mm"  # what tells whether a device has units for 8 bits


def precision_of(n_hidden=300, device="cpu", weight=None, rows=BITS, **settings):
    """What a fit on 500 columns of zeros and ones, or of greys, would multiply in."""
    settings = TrainSettings(n_hidden=n_hidden, device=torch.device(device), **settings)
    return settings.resolved(SharedRows(ArrayRows(rows, weight))).precision


def test_auto_takes_fewer_bits_where_that_serves(monkeypatch):
    greys, weight = GREYS, np.ones(500)
    monkeypatch.setattr(HAS_INT8, lambda device: device.type == "cpu")
    assert precision_of() == precision_of(rows=greys) == precision_of(binarize="none") == "int8"
    assert precision_of(device="cuda") == "bfloat16"
    for narrow in ({"rows": greys, "binarize": "none"}, {"n_hidden": 100}, {"weight": weight}):
        assert precision_of(**narrow) == "float32"
    assert [precision_of(precision=name) for name in ("float32", "float64")] == ["float32", "float64"]
    monkeypatch.setattr(HAS_INT8, lambda device: False)
    assert precision_of() == "float32"


def test_one_pass_has_no_end():
    settings = TrainSettings(k={0: 2, 0.5: 5}, store_trajectory=True).for_one_pass()
    assert (settings.n_epochs, settings.k, settings.averaging) == (1, 2, 0.0)
    assert (settings.learning_rate_schedule, settings.weight_decay) == ("constant", 1e-4)
    assert not settings.store_trajectory
    assert replace(TrainSettings(), weight_decay=0.5).for_one_pass().weight_decay == 0.5


def test_settings_that_are_not_final_are_not_used():
    with pytest.raises(ValueError, match="call resolved"):
        TrainSettings().is_plain_descent(0.1)
