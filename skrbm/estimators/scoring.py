"""The log-likelihood as a scorer."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from skrbm.estimators._compat import add_scorer


def log_likelihood_scorer(estimator: Any, X: Any, y: Any = None) -> float:
    """Mean log-likelihood of the rows, in nats, for `scoring=log_likelihood_scorer` in a search.

    Parameters
    ----------
    estimator : BernoulliRBMTorch or Pipeline
        A fitted model, or a pipeline that ends in one.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Rows.
    y : Ignored
        Present for scikit-learn's conventions.

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If the estimator has no `log_likelihood`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skrbm import BernoulliRBMTorch, log_likelihood_scorer
    >>> rbm = BernoulliRBMTorch(n_iter=2, random_state=0)
    >>> search = GridSearchCV(rbm, {"n_hidden": [2, 4]}, scoring=log_likelihood_scorer, cv=2)
    >>> sorted(search.fit(np.eye(20)).best_params_)
    ['n_hidden']
    """
    if isinstance(estimator, Pipeline):
        X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        estimator = estimator[-1]
    if not hasattr(estimator, "log_likelihood"):
        raise TypeError(f"scoring by log-likelihood needs a BernoulliRBMTorch, got {type(estimator).__name__}.")
    return float(estimator.log_likelihood(X).mean(dtype=np.float64))


def register_scorer() -> None:
    """Let scikit-learn know `log_likelihood_scorer` by its name, as in `scoring="log_likelihood"`.

    scikit-learn has no public way to do so: this changes its tables, in this process and in none that it starts. So a
    search inside a parallel `cross_val_score` doesn't find the name; `scoring=log_likelihood_scorer` works everywhere.

    Raises
    ------
    RuntimeError
        If this version of scikit-learn keeps its scorers in another way.
    """
    add_scorer("log_likelihood", log_likelihood_scorer)
