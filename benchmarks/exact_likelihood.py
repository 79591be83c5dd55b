"""Exact test log-likelihoods of machines small enough to enumerate: bars-and-stripes, and MNIST with 16 hidden units.

    python benchmarks/exact_likelihood.py bars-and-stripes
    SKRBM_MNIST=FOLDER python benchmarks/exact_likelihood.py mnist

On MNIST, pixels are ones where they exceed 0.5; `--held-out` judges on the last 10,000 training rows instead of the
test set, for choosing settings.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMTorch
from skrbm.datasets import bars_and_stripes, load_mnist
from skrbm.likelihood import log_likelihood_exact
from skrbm.machines import RBMParameters

N_HIDDEN = 16
BARS_AND_STRIPES = {
    "k": 10,
    "n_chains": 300,
    "learning_rate": 0.2,
    "weight_decay": 0.0,
    "batch_size": 16,
    "n_iter": 2000,
    "binarize": "none",
}
MNIST = {"n_chains": 200, "weight_decay": 0.0, "batch_size": 100, "n_iter": 40}


def exact_nats(model, X):
    """Mean exact log-likelihood of the rows."""
    arrays = (model.components_, model.intercept_visible_, model.intercept_hidden_)
    params = RBMParameters(*(torch.from_numpy(array) for array in arrays))
    return float(log_likelihood_exact(params, torch.from_numpy(X)).mean())


def report(name, model, X, X_test, seeds):
    """Fit for each seed and print the mean test log-likelihood."""
    nats, seconds = [], []
    for seed in seeds:
        began = time.perf_counter()
        model.set_params(random_state=seed).fit(X)
        seconds.append(time.perf_counter() - began)
        nats.append(exact_nats(model, X_test))
    each = " ".join(f"{value:.3f}" for value in nats)
    print(f"{name:<28} {np.mean(nats):9.3f} nats  ({each})  {statistics.median(seconds):6.1f} s a fit", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["bars-and-stripes", "mnist"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--held-out", action="store_true", help="MNIST: judge on held-out training rows")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=NUMBER", help="settings other than the script's")
    args = parser.parse_args()
    seeds = range(args.seeds)
    changes = {
        name: float(value) if "." in value or "e" in value else int(value)
        for name, value in (item.split("=") for item in args.set)
    }
    if args.data == "bars-and-stripes":
        X = X_test = bars_and_stripes(4)
        ours, theirs = BARS_AND_STRIPES, {"learning_rate": 0.05, "batch_size": 16, "n_iter": 2000}
        print("best possible                   -3.379 nats")
    else:
        X, X_test = ((load_mnist(subset=subset).data > 0.5).astype(np.float32) for subset in ("train", "test"))
        if args.held_out:
            X, X_test = X[:50_000], X[50_000:]
        ours, theirs = MNIST, {"learning_rate": 0.05, "batch_size": 100, "n_iter": 50}
    report("BernoulliRBMTorch", BernoulliRBMTorch(N_HIDDEN, **(ours | changes)), X, X_test, seeds)
    if not changes:
        report("BernoulliRBM", BernoulliRBM(N_HIDDEN, **theirs), X, X_test, seeds)


if __name__ == "__main__":
    main()
