"""What the defaults of `BernoulliRBMTorch` rest on: held-out log-likelihoods with one setting changed at a time.

    python benchmarks/defaults.py digits
    python benchmarks/defaults.py FILE.data.gz --rows 400
    SKRBM_MNIST=FOLDER python benchmarks/defaults.py mnist --rows 20000 --n-iter 20 [--invert] [--only centered]

Only training rows are used: a fifth of them (10,000 of MNIST) is held out. Log Z is exact where the smaller layer has
at most 16 units, else from AIS with 4,000 temperatures and 100 chains, whose effective sample size (ESS) stands beside
it. A FILE is a table of zeros and ones, comma-separated. On digits and MNIST the last column is the error of a logistic
regression (C=1) on the features of the held-out rows.
"""

import argparse
import time

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from skrbm import BernoulliRBMTorch
from skrbm.datasets import load_digits, load_mnist
from skrbm.likelihood import log_partition
from skrbm.machines import RBMParameters
from skrbm.sampling import AnnealingPath
from skrbm.support import Stream

CHANGES = [
    {},
    {"learning_rate": 0.1},
    {"learning_rate": 0.5},
    {"learning_rate_schedule": "constant"},
    {"learning_rate_schedule": "cosine"},
    {"learning_rate_schedule": "exponential"},
    {"momentum": 0.5},
    {"optimizer": "adam", "learning_rate": 1e-3},
    {"algorithm": "cd"},
    {"k": 5},
    {"n_chains": 20},
    {"n_chains": 500},
    {"averaging": 0.0},
    {"averaging": 0.5},
    {"centered": True},
    {"centered": False},
    {"weight_decay": 0.0},
    {"weight_decay": 1e-4},
    {"weight_decay": 1e-2},
    {"l1_penalty": 1e-4},
    {"sparsity_target": 0.1},
    {"early_stopping": True},
    {"batch_size": 10},
    {"batch_size": 100},
    {"binarize": "none"},
    {"n_iter": 0.3},  # of the epochs that the others have
    {"n_iter": 3.0},
]


def load(name, n_rows):
    """Training and held-out rows of probabilities, and their labels, if any."""
    if name == "mnist":
        X, y, _ = load_mnist()
    elif name == "digits":
        digits = load_digits()
        X, y = digits.data[:1437], digits.target[:1437]
    else:
        X, y = np.loadtxt(name, delimiter=",", dtype=np.float32), None
    order = np.random.default_rng(0).permutation(len(X))
    n_held_out = min(10_000, len(X) // 5)
    train, held_out = order[n_held_out:][:n_rows], order[:n_held_out]
    labels = (None, None) if y is None else (y[train], y[held_out])
    return X[train], X[held_out], *labels


def error_of_classifier(model, X, y, X_held_out, y_held_out):
    """In per cent."""
    if y is None:
        return float("nan")
    classifier = LogisticRegression(max_iter=2000).fit(model.transform(X), y)
    return 100 * (1 - classifier.score(model.transform(X_held_out), y_held_out))


def log_z_of(params, mean, n_rows):
    method = "exact" if min(params.n_hidden, params.n_features) <= 16 else "ais"
    base_b = params.visible.bias_of(torch.from_numpy(mean), 1 / n_rows)
    return log_partition(AnnealingPath(params, base_b), method, stream=Stream(0), n_temperatures=4000)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="digits, mnist, or a file")
    parser.add_argument("--rows", type=int, help="training rows, all by default")
    parser.add_argument("--n-hidden", type=int, default=256)
    parser.add_argument("--n-iter", type=int, default=100)
    parser.add_argument("--invert", action="store_true", help="exchange zeros and ones")
    parser.add_argument("--only", metavar="SETTING", help="only the defaults and the changes of this setting")
    args = parser.parse_args()
    X, X_held_out, y, y_held_out = load(args.data, args.rows)
    if args.invert:
        X, X_held_out = 1 - X, 1 - X_held_out
    stream = Stream(1)
    bits, bits_held_out = (stream.bernoulli(torch.from_numpy(rows[:10_000])) for rows in (X, X_held_out))
    print(f"{args.data}: {len(X)} rows to learn from, {len(X_held_out)} held out, {args.n_hidden} hidden units")
    print(f"{'change':<46} held-out nats  train nats  pseudo-ll  ESS  seconds  error %")
    for change in CHANGES:
        if args.only and change and args.only not in change:
            continue
        n_iter = round(args.n_iter * change.get("n_iter", 1))
        model = BernoulliRBMTorch(args.n_hidden, random_state=0).set_params(**change | {"n_iter": n_iter})
        began = time.perf_counter()
        model.fit(X)
        seconds = time.perf_counter() - began
        params = RBMParameters(
            *map(torch.from_numpy, (model.components_, model.intercept_visible_, model.intercept_hidden_))
        )
        log_z = log_z_of(params, X.mean(0), len(X))
        size = "-" if log_z.effective_sample_size is None else f"{log_z.effective_sample_size:.0f}"
        nats, train_nats = (-model.free_energy(rows).mean() - log_z.value for rows in (bits_held_out, bits))
        words = ", ".join(f"{name}={value}" for name, value in (change | {"n_iter": n_iter}).items())
        print(
            f"{words if change else f'the defaults, {words}':<46} {nats:13.3f}  {train_nats:10.3f} "
            f"{model.score(bits_held_out[:1000]):10.3f} {size:>4} {seconds:8.1f} "
            f"{error_of_classifier(model, X, y, X_held_out, y_held_out):8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
