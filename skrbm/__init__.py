"""Restricted Boltzmann machines for scikit-learn, on a torch core."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skrbm.estimators.bernoulli import BernoulliRBMTorch, DataRangeWarning, log_likelihood_scorer

__all__ = ["BernoulliRBMTorch", "DataRangeWarning", "__version__", "log_likelihood_scorer"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Late, so that the core (skrbm.machines.restricted, skrbm.training.update, …) can be imported without scikit-learn.
    if name in ("BernoulliRBMTorch", "DataRangeWarning", "log_likelihood_scorer"):
        from skrbm.estimators import bernoulli as estimator

        return getattr(estimator, name)
    raise AttributeError(f"module 'skrbm' has no attribute {name!r}")
