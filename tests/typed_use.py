"""Code of a user, which mypy checks with the package: what it infers, and what it refuses.

An `ignore` that isn't needed is an error, as mypy is strict: a type that has become too wide is one too.
"""

from __future__ import annotations

import functools
from typing import Any, assert_type

import numpy as np
import torch
from torch.optim.lr_scheduler import StepLR

import skrbm
from skrbm import BernoulliRBMTorch
from skrbm.likelihood import LogPartition
from skrbm.sampling import GIBBS

Array = np.ndarray[tuple[Any, ...], np.dtype[Any]]


def fitted_attributes(rbm: BernoulliRBMTorch, X: np.ndarray) -> None:
    assert_type(rbm.fit(X), BernoulliRBMTorch)
    assert_type(rbm.history_, dict[str, Array])
    assert_type(rbm.n_iter_, int)
    assert_type(rbm.learning_rate_, float)
    assert_type(rbm.base_rates_, Array)
    assert_type(rbm.validation_scores_, list[float])
    assert_type(rbm.trajectory_[0], tuple[Array, Array, Array])


def results(rbm: BernoulliRBMTorch, X: np.ndarray, both: bool) -> None:
    assert_type(rbm.log_likelihood(X), Array)
    assert_type(rbm.log_likelihood(X, return_std=True), tuple[Array, float | Array])
    assert_type(rbm.log_likelihood(X, both), Array | tuple[Array, float | Array])
    assert_type(rbm.log_partition("ais", n_chains=10), LogPartition)
    assert_type(rbm.sample(3, method="parallel_tempering"), Array)
    assert_type(rbm.sample(3, return_hidden=True), tuple[Array, Array])
    assert_type(rbm.sample(3, return_hidden=both), Array | tuple[Array, Array])


def names() -> None:
    BernoulliRBMTorch(algorithm="foo")  # type: ignore[arg-type]
    BernoulliRBMTorch(optimizer="rmsprop")  # type: ignore[arg-type]
    BernoulliRBMTorch(learning_rate_schedule="steep")  # type: ignore[arg-type]
    BernoulliRBMTorch(learning_rate="fast", batch_size="all")  # type: ignore[arg-type]
    BernoulliRBMTorch(precision="float16", early_stopping="loss", centered="both")  # type: ignore[arg-type]
    rbm = BernoulliRBMTorch(
        precision="int8", early_stopping="log_likelihood", centered=True, binarize=0.5, device="cpu"
    )
    rbm.sample(3, method="gibs")  # type: ignore[call-overload]
    rbm.log_partition("exakt")  # type: ignore[arg-type]
    rbm.complete(np.eye(3), "median")  # type: ignore[arg-type]
    rbm.diagnose(["gibs"])  # type: ignore[list-item]
    rbm.diagnose(["gibbs", "parallel_tempering", GIBBS])
    rbm.diagnose(GIBBS)
    rbm.complete(np.eye(3), method=GIBBS)
    rbm.sample(3, method=GIBBS.step)  # type: ignore[call-overload]
    skrbm.BernouliRBMTorch  # type: ignore[attr-defined]  # noqa: B018
    assert_type(skrbm.datasets.bars_and_stripes(3), np.ndarray[tuple[Any, ...], np.dtype[np.float32]])


def factories() -> None:
    BernoulliRBMTorch(optimizer=torch.optim.RMSprop, learning_rate_schedule=lambda optimizer: StepLR(optimizer, 2))
    BernoulliRBMTorch(
        optimizer=functools.partial(torch.optim.RMSprop, momentum=0.1),
        learning_rate_schedule=functools.partial(StepLR, step_size=2),
        device=torch.device("cpu"),
    )
