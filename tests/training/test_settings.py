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


OF_COUPLINGS = (
    "couplings",
    "hidden_couplings",
    "hidden_layer_sizes",
    "l2_penalty",
    "n_latent",
    "positive_phase",
    "solver",
    "visible_couplings",
)


def test_the_defaults_are_those_of_the_estimator():
    face = {name: p.default for name, p in inspect.signature(BernoulliRBMTorch).parameters.items()}
    face["n_epochs"] = face.pop("n_iter")
    for field in fields(TrainSettings):
        if field.name not in (
            "algorithm",  # "auto" has a meaning before there are settings
            "device",
            "visible",
            "hidden",
            "offset_rate",
            "spectrum",
            "gap_steps",
            "is_compiled",
            "noise",
            "scale_rate",
            *OF_COUPLINGS,
        ):
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
    assert resolved.learning_rate == 0.2  # of columns that never change
    given = TrainSettings(batch_size=7, weight_decay=0.0).resolved(rows)
    assert (given.batch_size, given.weight_decay) == (7, 0.0)


def table(n_rows, n_features, n_alike):
    """Coins; the first `n_alike` columns are noisy copies of one."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (n_rows, n_features))
    X[:, :n_alike] = X[:, :1] ^ (rng.random((n_rows, n_alike)) < 0.1)
    return SharedRows(ArrayRows(X.astype(np.float32)))


def test_wide_tables_without_structure_are_smoothed_most():
    narrow, loose, tight = (
        TrainSettings().resolved(table(400, *shape)).weight_decay for shape in ((20, 0), (400, 0), (400, 300))
    )
    assert narrow == pytest.approx(0.15 * 5 / 0.05**0.5 / 400, rel=0.2)
    assert loose == 0.05
    assert 2e-3 < tight < 0.02


def test_what_a_handful_of_narrow_rows_have_in_common_may_be_learned():
    few, as_few_but_wide = (TrainSettings().resolved(table(14, *shape)).weight_decay for shape in ((9, 6), (100, 60)))
    assert 2e-3 <= few < 0.005
    assert as_few_but_wide == 0.05


def test_the_first_rate_goes_by_width_correlation_and_batch():
    rate = {n: TrainSettings(batch_size=n).resolved(table(1000, 20, 0)).learning_rate for n in (10, 100)}
    assert rate == {10: 0.2, 100: 0.2}
    wide = {n: TrainSettings(batch_size=n).resolved(table(1000, 1000, 900)).learning_rate for n in (10, 100)}
    assert 0.01 < wide[10] < wide[100] < 0.19


def test_the_rate_where_it_does_not_fall():
    rows = table(1000, 20, 0)
    assert TrainSettings().for_one_pass().resolved(rows).learning_rate == pytest.approx(0.05)
    assert TrainSettings(learning_rate_schedule="constant").resolved(rows).learning_rate == pytest.approx(0.05)
    assert TrainSettings(optimizer="adam").resolved(rows).learning_rate == pytest.approx(1e-3)
    assert TrainSettings(optimizer="nesterov", momentum=0.9).resolved(rows).learning_rate == pytest.approx(0.02)


def test_several_layers_are_learned_slowly():
    """From a quarter of the rate, by updates of an eighth; one hidden layer as ever."""
    rows = table(1000, 20, 0)
    one, deep = (TrainSettings(n_hidden=8, hidden_layer_sizes=sizes).resolved(rows) for sizes in ((8,), (8, 4)))
    assert deep.learning_rate == pytest.approx(one.learning_rate / 4)
    assert deep.pace().limit == pytest.approx(one.pace().limit / 8)


def test_a_rate_for_an_optimiser_of_ones_own_has_to_be_given():
    with pytest.raises(ValueError, match="Set learning_rate to a number"):
        TrainSettings(optimizer=torch.optim.RMSprop).resolved(table(50, 5, 0))
    assert TrainSettings(optimizer=torch.optim.RMSprop, learning_rate=0.01).resolved(table(50, 5, 0)).spectrum is None


def test_a_rate_that_is_not_resolved_is_none():
    with pytest.raises(ValueError, match="call resolved"):
        TrainSettings().rate  # noqa: B018


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
    monkeypatch.setattr("skrbm.backends.choose.has_bfloat16_mm", lambda device: device.type == "cuda")
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
