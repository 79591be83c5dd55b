"""The scikit-learn face. Imports `training` and what is below; nothing below knows scikit-learn."""

from skrbm.estimators.base import BaseRBM
from skrbm.estimators.bernoulli import BernoulliRBMTorch
from skrbm.estimators.boltzmann import BoltzmannMachine
from skrbm.estimators.deep import DeepBoltzmannMachine
from skrbm.estimators.gaussian import GaussianRBM
from skrbm.estimators.imputer import RBMImputer
from skrbm.estimators.scoring import log_likelihood_scorer, register_scorer
from skrbm.estimators.tabular import CategoricalRBM, MixedRBM

__all__ = [
    "BaseRBM",
    "BernoulliRBMTorch",
    "BoltzmannMachine",
    "CategoricalRBM",
    "DeepBoltzmannMachine",
    "GaussianRBM",
    "MixedRBM",
    "RBMImputer",
    "log_likelihood_scorer",
    "register_scorer",
]
