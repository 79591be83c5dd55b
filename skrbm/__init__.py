"""Boltzmann machines for scikit-learn, on a torch core.

`BernoulliRBMTorch` is the estimator; `skrbm.datasets`, `skrbm.plots`, `skrbm.callbacks` and `skrbm.onnx` stand beside
it. The core, which works on tensors and knows no scikit-learn: `skrbm.machines`, `skrbm.sampling`, `skrbm.likelihood`,
`skrbm.diagnostics`, `skrbm.training`, and what these are made of: `skrbm.rows`, `skrbm.backends`, `skrbm.support`,
`skrbm.distributed`. Each is imported at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skrbm._version import __version__

if TYPE_CHECKING:
    from skrbm import (
        backends,
        callbacks,
        datasets,
        diagnostics,
        distributed,
        estimators,
        likelihood,
        machines,
        onnx,
        plots,
        rows,
        sampling,
        support,
        training,
    )
    from skrbm.estimators.bernoulli import BernoulliRBMTorch
    from skrbm.estimators.boltzmann import BoltzmannMachine
    from skrbm.estimators.deep import DeepBoltzmannMachine
    from skrbm.estimators.gaussian import GaussianRBM
    from skrbm.estimators.imputer import RBMImputer
    from skrbm.estimators.scoring import log_likelihood_scorer, register_scorer
    from skrbm.estimators.tabular import CategoricalRBM, MixedRBM
    from skrbm.likelihood.result import LogPartitionWarning
    from skrbm.rows.source import DataRangeWarning
    from skrbm.sampling.tempering import SwapWarning
    from skrbm.training.couplings import CouplingsWarning

_FROM = {  # names, and the files that they are in: late, so that the core can be imported without scikit-learn
    "BernoulliRBMTorch": "skrbm.estimators.bernoulli",
    "BoltzmannMachine": "skrbm.estimators.boltzmann",
    "CategoricalRBM": "skrbm.estimators.tabular",
    "CouplingsWarning": "skrbm.training.couplings",
    "DataRangeWarning": "skrbm.rows.source",
    "DeepBoltzmannMachine": "skrbm.estimators.deep",
    "GaussianRBM": "skrbm.estimators.gaussian",
    "LogPartitionWarning": "skrbm.likelihood.result",
    "MixedRBM": "skrbm.estimators.tabular",
    "RBMImputer": "skrbm.estimators.imputer",
    "SwapWarning": "skrbm.sampling.tempering",
    "log_likelihood_scorer": "skrbm.estimators.scoring",
    "register_scorer": "skrbm.estimators.scoring",
}
_MODULES = (
    "backends",
    "callbacks",
    "datasets",
    "diagnostics",
    "distributed",
    "estimators",
    "likelihood",
    "machines",
    "onnx",
    "plots",
    "rows",
    "sampling",
    "support",
    "training",
)

# fmt: off
__all__ = [
    "BernoulliRBMTorch", "BoltzmannMachine", "CategoricalRBM", "CouplingsWarning", "DataRangeWarning",
    "DeepBoltzmannMachine", "GaussianRBM", "LogPartitionWarning", "MixedRBM", "RBMImputer", "SwapWarning",
    "__version__", "backends", "callbacks", "datasets", "diagnostics", "distributed", "estimators", "likelihood",
    "log_likelihood_scorer", "machines", "onnx", "plots", "register_scorer", "rows", "sampling", "support",
    "training",
]
# fmt: on


if not TYPE_CHECKING:  # to type checkers every name would be there

    def __getattr__(name: str) -> Any:
        if name in _FROM:
            return getattr(import_module(_FROM[name]), name)
        if name in _MODULES:
            return import_module(f"skrbm.{name}")
        raise AttributeError(f"module 'skrbm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
