"""scikit-learn's own checks of an estimator."""

import pytest
from sklearn.neural_network import BernoulliRBM
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrbm import BernoulliRBMTorch

# No stochastic learner gives the same draws to repeated rows and to weights. In their place stand
# training/test_gradients.test_integer_weights_equal_repeated_rows and rows/test_arrays.test_rows_of_weight_zero_….
STOCHASTIC = {
    "check_sample_weight_equivalence_on_dense_data": "draws differ between weights and repetitions",
    "check_sample_weight_equivalence_on_sparse_data": "draws differ between weights and repetitions",
}


@pytest.mark.filterwarnings("ignore::skrbm.DataRangeWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        BernoulliRBMTorch(n_hidden=5, n_iter=3),
        BernoulliRBMTorch(n_hidden=5, n_iter=3, algorithm="cd", optimizer="adam", centered=False, binarize="none"),
    ],
    expected_failed_checks=lambda estimator: STOCHASTIC,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_public_names_are_those_of_bernoulli_rbm():
    """What a user of BernoulliRBM calls or reads is there, but for its private parts and its metadata requests."""
    theirs = {name for name in dir(BernoulliRBM) if not name.startswith(("_", "set_"))}
    assert theirs <= set(dir(BernoulliRBMTorch))
