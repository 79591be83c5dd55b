import json
import os
import pickle
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMTorch, CategoricalRBM, MixedRBM, __version__
from skrbm.estimators.saving import _checksum


class Trap:
    """Runs code where it is unpickled carelessly."""

    def __reduce__(self):
        return os.mkdir, ("trap",)


# -- models ----------------------------------------------------------------------------------------------------------

GOLDEN = Path(__file__).parents[1] / "data" / "model_format_1.safetensors"  # written by skrbm 0.1.0
BITS = (np.random.default_rng(0).random((60, 5)) < [0.1, 0.9, 0.5, 0.3, 0.7]).astype(np.float32)
FRAME = pd.DataFrame(BITS, columns=["a", "b", "ç", "d e", "f/g"])
SETTINGS = {"n_hidden": 3, "n_chains": 4, "n_iter": 4, "random_state": 0}


@pytest.fixture
def path(tmp_path):
    pytest.importorskip("safetensors")
    return tmp_path / "model.safetensors"


def contents(value):
    """Fitted attributes in a form that compares by bits."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tolist() if value.dtype == object else value.tobytes()
    if isinstance(value, dict):
        return {name: contents(item) for name, item in value.items()}
    return list(map(contents, value)) if isinstance(value, list | tuple) else value


def fitted(model, without=()):
    left_out = {"data_samples_", *without}
    public = (name for name in vars(model) if name.endswith("_") and not name.startswith("_"))
    return {name: contents(getattr(model, name)) for name in public if name not in left_out}


def answers(model, X):
    methods = (model.transform, model.score_samples, model.free_energy, model.reconstruct)
    return contents([method(X) for method in methods] + [model.sample(5, n_steps=20, random_state=0)])


@pytest.mark.parametrize(
    "settings",
    [
        {"store_trajectory": True, "learning_rate": 0.05},
        {"early_stopping": True, "validation_fraction": 0.2, "k": {0: 1, 0.5: 2}},
        {
            "precision": "float64",
            "optimizer": "adam",
            "sparsity_target": np.float32(0.25),
            "device": torch.device("cpu"),
        },
    ],
)
def test_a_loaded_model_is_the_same(path, settings):
    model = BernoulliRBMTorch(**SETTINGS | settings).fit(FRAME)
    model.save(path)
    assert os.listdir(path.parent) == [path.name]
    loaded = BernoulliRBMTorch.load(path)
    plain = {"device": str(model.device)} if isinstance(model.device, torch.device) else {}
    assert loaded.get_params() == model.get_params() | plain
    assert fitted(loaded) == fitted(model)
    assert answers(loaded, FRAME) == answers(model, FRAME)
    assert list(loaded.feature_names_in_) == list(FRAME.columns)
    loaded.save(path.with_name("again"))
    assert path.with_name("again").read_bytes() == path.read_bytes()


def test_a_loaded_model_learns_on(path):
    model = BernoulliRBMTorch(**SETTINGS, warm_start=True).fit(FRAME)
    model.save(path)
    del model._carried  # which no file has
    loaded = BernoulliRBMTorch.load(path)
    for learn in ("partial_fit", "fit"):
        before = loaded.components_.copy()
        for one in (model, loaded):
            getattr(one, learn)(FRAME)
            one.history_.pop("seconds")
        assert fitted(loaded) == fitted(model)
        assert not np.array_equal(loaded.components_, before)
        for one in (model, loaded):
            one.history_["seconds"] = np.zeros(len(one.history_["epoch"]))


def test_training_rows_only_on_demand(path):
    model = BernoulliRBMTorch(**SETTINGS).fit(BITS)
    model.save(path)
    assert not hasattr(BernoulliRBMTorch.load(path), "data_samples_")
    assert hasattr(model, "data_samples_")
    model.save(path, data_samples=True)
    np.testing.assert_array_equal(BernoulliRBMTorch.load(path).data_samples_, model.data_samples_)


def test_a_model_from_elsewhere(path):
    model = BernoulliRBMTorch.from_sklearn(BernoulliRBM(3, n_iter=2, random_state=0).fit(BITS.astype(float)))
    model.components_ = np.asfortranarray(model.components_)
    model.save(path)
    np.testing.assert_array_equal(BernoulliRBMTorch.load(path).components_, model.components_)


def test_what_json_cannot_hold_is_told(path):
    unusual = {"optimizer": partial(torch.optim.SGD, momentum=0.5), "random_state": np.random.RandomState(0)}
    BernoulliRBMTorch(**SETTINGS | {"learning_rate": 0.05} | unusual).fit(BITS).save(path)
    with pytest.warns(UserWarning, match=" was ") as caught:
        loaded = BernoulliRBMTorch.load(path)
    first, second = (str(warning.message) for warning in caught)
    assert first.startswith("optimizer was functools.partial(<class 'torch.optim.sgd.SGD'>, momentum=0.5)")
    assert second.startswith("random_state was RandomState(MT19937)")
    assert all(warning.filename == __file__ for warning in caught)
    assert (loaded.optimizer, loaded.random_state, loaded.n_chains) == ("sgd", None, 4)


@pytest.mark.filterwarnings("error")
def test_parameters_of_tables_travel(path):
    X = np.array([[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]] * 4)
    for model in (
        MixedRBM(2, columns={"gaussian": [0], "categorical": ("x1",)}, n_iter=1, random_state=0),
        CategoricalRBM(2, categories=[[0.5, 1.5, 2.5], [1.0, 2.0, 3.0, 4.0]], n_iter=1, random_state=0),
    ):
        model.fit(X).save(path)
        loaded = type(model).load(path)
        for name in ("columns", "categories"):
            assert contents(getattr(loaded, name, None)) == contents(getattr(model, name, None))


def test_the_path_of_a_checkpoint_does_not_travel(path):
    model = BernoulliRBMTorch(**SETTINGS, checkpoint=path.with_name("checkpoint"), resume=True).fit(BITS)
    model.save(path)
    loaded = BernoulliRBMTorch.load(path)
    assert (loaded.checkpoint, loaded.resume) == (None, False)
    rewrite(path, facts=lambda facts: facts["parameters"].update(checkpoint="elsewhere"))
    with pytest.warns(UserWarning, match="doesn't know its checkpoint"):
        assert BernoulliRBMTorch.load(path).checkpoint is None


def test_the_first_format_loads_for_ever():
    pytest.importorskip("safetensors")
    model = BernoulliRBMTorch.load(GOLDEN)
    W = np.array([[1.5, -0.5, 0.25, 0, -1], [0, 2, -1, 0.5, 0.75], [-0.25, 0, 0.5, -2, 1]])
    np.testing.assert_array_equal(model.components_, W)
    np.testing.assert_array_equal(model.intercept_visible_, [-1, 1, 0, -0.5, 0.5])
    np.testing.assert_array_equal(model.intercept_hidden_, [0, -1, 0.5])
    rows = pd.DataFrame([[0, 1, 1, 1, 0], [0, 1, 0, 0, 0]], columns=FRAME.columns)
    expected = [[0.4378235, 0.62245935, 0.26894143], [0.37754065, 0.7310586, 0.62245935]]
    np.testing.assert_allclose(model.transform(rows), expected, rtol=1e-6)
    np.testing.assert_allclose(model.free_energy(rows), [-2.3632782, -3.7614155], rtol=1e-6)
    assert (model.k, model.n_iter_, model.early_stopping) == ({0: 1, 0.5: 2}, 4, True)
    assert list(model.feature_names_in_) == ["a", "b", "ç", "d e", "f/g"]
    np.testing.assert_array_equal(model.history_["epoch"], [1, 2, 3, 4])
    np.testing.assert_array_equal(model.trajectory_[1][0], W / 2)
    assert len(model.validation_scores_) == 4
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.data_samples_.shape == (36, 5)
    model.set_params(early_stopping=False).partial_fit(FRAME)


def test_every_damage_is_seen(path):
    pytest.importorskip("safetensors")
    whole, rng = GOLDEN.read_bytes(), np.random.default_rng(0)
    n_header = 8 + int.from_bytes(whole[:8], "little")
    damaged = [b"", whole + b"\0", whole[:-1], whole[:8], whole[:n_header]]
    damaged += [whole[:n] for n in rng.integers(len(whole), size=50)]
    for i in range(200):
        data, place = bytearray(whole), rng.integers(n_header if i % 2 else len(whole))
        data[place] ^= 1 << rng.integers(8)
        damaged.append(bytes(data))
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"model.safetensors (is no model of skrbm, or a damaged one|was written)"):
            BernoulliRBMTorch.load(path)


def test_foreign_files(path):
    numpy_files = pytest.importorskip("safetensors.numpy")
    foreign = [b"\x89PNG\r\n\x1a\n" + bytes(99), pickle.dumps(Trap()), b"x" * 1000]
    foreign += [
        numpy_files.save({"components_": BITS}),
        numpy_files.save({"components_": BITS}, {"skrbm": "[" * 10**5}),
    ]
    for data in foreign:
        path.write_bytes(data)
        with pytest.raises(ValueError, match="is no model of skrbm, or a damaged one: "):
            BernoulliRBMTorch.load(path)
    assert not os.path.exists("trap")
    with pytest.raises(FileNotFoundError):
        BernoulliRBMTorch.load(path.with_name("nothing"))
    with pytest.raises(IsADirectoryError):
        BernoulliRBMTorch.load(path.parent)


def rewrite(path, facts=lambda facts: None, arrays=lambda arrays: None):
    """Change a file as someone would who gets the checksum right."""
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(path, framework="numpy") as file:
        known = json.loads(file.metadata()["skrbm"])
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    arrays(found)
    known["arrays"] = {name: [array.dtype.name, list(array.shape)] for name, array in found.items()}
    facts(known)
    del known["sha256"]
    header = {"skrbm": json.dumps(known | {"sha256": checksum(known, found)})}
    path.write_bytes(pytest.importorskip("safetensors.numpy").save(found, header))


def checksum(facts, arrays):
    try:
        return _checksum(facts, arrays)
    except ValueError:  # of NaN
        return ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"facts": lambda f: f.update(format="1")}, "doesn't say what format"),
        ({"facts": lambda f: f.update(format=True)}, "doesn't say what format"),
        ({"facts": lambda f: f.pop("class")}, "'class'"),
        ({"facts": lambda f: f.update(parameters=[])}, "class and parameters"),
        ({"facts": lambda f: f["parameters"].update(k={"mapping": [0, 1]})}, "damaged"),
        ({"facts": lambda f: f["parameters"].update(k={"call": "print"})}, "damaged"),
        ({"facts": lambda f: f["parameters"].update(tol=float("nan"))}, "not JSON"),
        ({"facts": lambda f: f["arrays"].update(more=["float32", [1]])}, "other shapes or types than it says"),
        ({"facts": lambda f: f.update(n_iter_=0)}, "n_iter_ is 0"),
        ({"facts": lambda f: f.update(n_checkpoints=1)}, "trajectory_ has other arrays"),
        ({"facts": lambda f: f.update(n_checkpoints=2.0)}, "n_checkpoints is 2.0"),
        ({"facts": lambda f: f.update(feature_names_in_=["a"])}, "must be 5 strings"),
        ({"arrays": lambda a: a.pop("intercept_hidden_")}, "intercept_hidden_ is missing"),
        ({"arrays": lambda a: a.update(components_=np.ones(5))}, "two dimensions"),
        ({"arrays": lambda a: a.update(components_=np.ones((3, 4)))}, "must have shape"),
        ({"arrays": lambda a: a.update(components_=np.full((3, 5), np.nan))}, "aren't finite"),
        ({"arrays": lambda a: a.update(h_samples_=np.ones((4, 2)))}, r"h_samples_ must have shape \(any, 3\)"),
        ({"arrays": lambda a: a.update({"history_/loss": np.ones((4, 2))})}, "history_/loss must have shape"),
        ({"arrays": lambda a: a.update({"trajectory_/0/W": np.ones((5, 3))})}, "trajectory_/0/W must have shape"),
    ],
)
def test_what_does_not_go_together_is_refused(path, change, message):
    path.write_bytes(GOLDEN.read_bytes())
    rewrite(path)
    BernoulliRBMTorch.load(path)
    rewrite(path, **change)
    with pytest.raises(ValueError, match=f"(?s)no model of skrbm, or a damaged one: .*{message}|{message}"):
        BernoulliRBMTorch.load(path)


def test_later_versions(path):
    path.write_bytes(GOLDEN.read_bytes())
    rewrite(
        path, lambda facts: facts["parameters"].update(n_layers=2), lambda arrays: arrays.update(future_=np.ones(2))
    )
    with pytest.warns(UserWarning, match=f"skrbm 0.1.0 wrote this file, and {__version__} doesn't know its n_layers"):
        loaded = BernoulliRBMTorch.load(path)
    assert not hasattr(loaded, "n_layers")
    rewrite(path, lambda facts: facts.update(format=2, skrbm="9.9"))
    with pytest.raises(ValueError, match=r"was written by skrbm 9.9 in format 2, but skrbm .* Upgrade it"):
        BernoulliRBMTorch.load(path)
    path.write_bytes(GOLDEN.read_bytes())
    rewrite(path, lambda facts: facts["parameters"].pop("k"))
    assert BernoulliRBMTorch.load(path).k == 1  # of an earlier version, so to say


def test_another_class(path):
    class Child(BernoulliRBMTorch):
        pass

    Child(3, n_iter=1).fit(BITS).save(path)
    assert type(Child.load(path)) is Child
    with pytest.raises(ValueError, match=r"class Child. Load it with Child.load"):
        BernoulliRBMTorch.load(path)


def test_what_cannot_be_saved(path):
    with pytest.raises(NotFittedError):
        BernoulliRBMTorch().save(path)
    model = BernoulliRBMTorch(**SETTINGS).fit(BITS)
    with pytest.raises(FileNotFoundError, match="Make it first"):
        model.save(path / "model")
    model.intercept_hidden_ = np.array([0.0, np.inf, 0.0])
    with pytest.raises(ValueError, match="intercept_hidden_ has values that aren't finite"):
        model.save(path)
    assert not path.exists()


def test_without_the_package(tmp_path, monkeypatch):
    model = BernoulliRBMTorch(**SETTINGS).fit(BITS)
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (model.save, BernoulliRBMTorch.load):
        with pytest.raises(ImportError, match=r"skrbm\[safetensors\]"):
            call(tmp_path / "model")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_skops(optimizer):
    skops = pytest.importorskip("skops.io")
    settings = {"optimizer": optimizer, "learning_rate": 0.01, "momentum": 0.5, "store_trajectory": True}
    model = BernoulliRBMTorch(**SETTINGS | settings).fit(FRAME)
    model.sample(2, n_steps=3)
    data = skops.dumps(model)
    types = skops.get_untrusted_types(data=data)
    assert types == ["skrbm.estimators.bernoulli.BernoulliRBMTorch", "skrbm.support.randomness.Stream"]
    loaded = skops.loads(data, trusted=types)
    assert fitted(loaded) == fitted(model)
    for one in (model, loaded):
        one.set_params(store_trajectory=False).partial_fit(FRAME)
        one.history_.pop("seconds")
    assert fitted(loaded) == fitted(model)  # by the optimiser's memory and the streams too
    np.testing.assert_array_equal(loaded.sample(3, n_steps=5), model.sample(3, n_steps=5))
    model.log_partition("exact")
    assert "skrbm.likelihood.result.LogPartition" in skops.get_untrusted_types(data=skops.dumps(model))


# -- torch -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_network_of_torch(precision):
    model = BernoulliRBMTorch(**SETTINGS, precision=precision).fit(BITS)
    before = torch.get_rng_state()
    network = model.to_torch()
    assert torch.equal(torch.get_rng_state(), before)
    assert [type(part) for part in network] == [torch.nn.Linear, torch.nn.Sigmoid]
    assert (network[0].in_features, network[0].out_features) == (5, 3)
    X = BITS.astype(precision)
    features = network(torch.from_numpy(X))
    assert features.dtype == getattr(torch, precision)
    np.testing.assert_allclose(features.detach().numpy(), model.transform(X), rtol=1e-6)
    before = fitted(model)
    features.sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            assert parameter.grad.abs().sum() > 0
            parameter += 1
    assert fitted(model) == before
    with pytest.raises(NotFittedError):
        BernoulliRBMTorch().to_torch()
