"""What every estimator has to do: scikit-learn's own checks, and what ours have in common."""

import copy
import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.neural_network import BernoulliRBM
from sklearn.utils.estimator_checks import parametrize_with_checks

import skrbm.estimators
from skrbm import BernoulliRBMTorch, BoltzmannMachine
from skrbm.estimators import BaseRBM
from skrbm.estimators.chains import SAMPLERS

# A new estimator is taken in by its line in skrbm/estimators/__init__.py.
OFFERED = [getattr(skrbm.estimators, name) for name in skrbm.estimators.__all__]
ESTIMATORS = [cls for cls in OFFERED if isinstance(cls, type) and issubclass(cls, BaseRBM) and cls is not BaseRBM]
ROWS = (np.random.default_rng(0).random((60, 6)) < 0.4).astype(np.float32)


def made(estimator, n_hidden, **params):
    """An estimator with so many hidden units, and of the parameters those that it has."""
    known = estimator().get_params()
    size = {"n_hidden": n_hidden} if "n_hidden" in known else {"hidden_layer_sizes": (n_hidden - 1, 1)}
    return estimator(**size, **{name: value for name, value in params.items() if name in known})


# No stochastic learner gives the same draws to repeated rows and to weights. In their place stand
# training/test_gradients.test_integer_weights_equal_repeated_rows and rows/test_arrays.test_rows_of_weight_zero_….
STOCHASTIC = {
    "check_sample_weight_equivalence_on_dense_data": "draws differ between weights and repetitions",
    "check_sample_weight_equivalence_on_sparse_data": "draws differ between weights and repetitions",
}

# scikit-learn 1.6 takes the mean off rows of integers, which it makes for whatever takes categories.
if tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9):
    OF_TABLES = {"check_positive_only_tag_during_fit": "the check itself fails on integers"}
else:
    OF_TABLES = {}


def expected_failures(estimator):
    return STOCHASTIC | (OF_TABLES if estimator.__sklearn_tags__().input_tags.categorical else {})


@pytest.mark.filterwarnings("ignore::skrbm.DataRangeWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        *(made(estimator, 5, n_iter=3) for estimator in ESTIMATORS),
        BoltzmannMachine(),
        BoltzmannMachine(2, hidden_couplings=True, n_iter=3),
        BernoulliRBMTorch(n_hidden=5, n_iter=3, algorithm="cd", optimizer="adam", centered=False, binarize="none"),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_public_names_are_those_of_bernoulli_rbm():
    """What a user of BernoulliRBM calls or reads is there, but for its private parts and its metadata requests."""
    theirs = {name for name in dir(BernoulliRBM) if not name.startswith(("_", "set_"))}
    assert theirs <= set(dir(BernoulliRBMTorch))


def test_there_are_estimators():
    assert BernoulliRBMTorch in ESTIMATORS


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_is_fitted_goes_anywhere_and_comes_back(estimator, tmp_path):
    """In a file, pickled, and copied; a clone has learned nothing."""
    pytest.importorskip("safetensors")
    model = made(estimator, 4, n_iter=3, random_state=0, store_trajectory=True, early_stopping=True).fit(ROWS)
    model.save(tmp_path / "model.safetensors", data_samples=True)
    loaded = estimator.load(tmp_path / "model.safetensors")
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), loaded):
        assert type(twin) is estimator
        np.testing.assert_array_equal(twin.transform(ROWS), model.transform(ROWS))
        assert {*vars(twin)} | {"_carried", "_sampling"} == {*vars(model)}
    assert not hasattr(clone(model), "components_")


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_all_methods_work_on_a_fitted_machine(estimator):
    model = made(estimator, 4, n_iter=3, random_state=0, store_trajectory=True).fit(ROWS)
    samplers = SAMPLERS if hasattr(model, "trajectory_") else SAMPLERS[:2]
    shapes = {"transform": (60, 4), "reconstruct": (60, 6), "free_energy": (60,), "score_samples": (60,)}
    for name, shape in {**shapes, "log_likelihood": (60,), "gibbs": (60, 6)}.items():
        assert getattr(model, name)(ROWS).shape == shape
    if not hasattr(model, "couplings_"):  # whose columns are not independent given h
        assert model.inverse_transform(model.transform(ROWS)).shape == (60, 6)
    gaps = np.where(np.arange(6) < 3, ROWS.astype(float), np.nan)
    assert np.isfinite(model.complete(gaps, n_steps=5)).all()
    for method in samplers:
        assert model.sample(3, 5, method=method, condition=gaps[0]).shape == (3, 6)
    for method in ("exact", "ais", *samplers[1:]):
        assert np.isfinite(model.log_partition(method, n_temperatures=20, n_chains=20, n_steps=20).value)
    assert len(model.diagnose(n_steps=8, n_chains=2)["method"]) == 4 * len(samplers)
    if not hasattr(model, "columns_") and not hasattr(
        model, "weights_"
    ):  # labels, or layers, that no linear layer takes
        assert type(model.to_torch()[0]).__name__ == "Linear"
    assert np.isfinite(model.score(ROWS))
    assert model.partial_fit(ROWS).n_iter_ == 4
