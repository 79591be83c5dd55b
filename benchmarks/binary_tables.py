"""Tables of zeros and ones: test log-likelihoods of RBMs, scikit-learn's BernoulliRBM and a mixture of Bernoullis.

    python benchmarks/binary_tables.py search FOLDER [TABLE …]
    python benchmarks/binary_tables.py compare FOLDER [TABLE …]

FOLDER has TABLE.train.data.gz, TABLE.valid.data.gz and TABLE.test.data.gz, rows of comma-separated zeros and ones, as
the density-estimation benchmark of Lowd & Davis (2010) has them. `search` trains every candidate on the training rows
and prints its log-likelihood of the validation rows. `compare` takes what was best there, or searches first if the
table is not known, and reads the test rows, once. Log Z is exact where the smaller layer has at most 16 units, else by
AIS: its standard error (s.e.) and effective sample size (ESS, of 100 chains) stand beside it.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMTorch
from skrbm.likelihood import log_partition
from skrbm.machines import RBMParameters, free_energy
from skrbm.sampling import AnnealingPath
from skrbm.support import Stream

TABLES = ["nltcs", "plants", "jester", "dna"]
OURS = [  # changes of the defaults
    {},
    {"learning_rate": 0.1},
    {"learning_rate": 0.4},
    {"n_iter": 250},
    {"n_iter": 250, "learning_rate": 0.4},
    {"n_hidden": 64},
    {"n_hidden": 1024},
    {"n_hidden": 1024, "weight_decay": 3e-3},
    {"n_hidden": 512, "l1_penalty": 3e-4},
    {"n_hidden": 512, "sparsity_target": 0.1},
    {"early_stopping": True},
    {"averaging": 0.0},
]
THEIRS = [
    {"n_components": n_components, "learning_rate": rate, "n_iter": n_iter, "batch_size": 50}
    for n_components in (64, 256)
    for rate, n_iter in ((0.02, 50), (0.1, 50), (0.02, 200), (0.005, 200))
]
MIXTURES = [{"n_components": n} for n in (20, 50, 100, 200)]
# What `search` found best on the validation rows.
BEST = {
    "nltcs": {
        "skrbm": {"n_iter": 250},
        "BernoulliRBM": {"n_components": 256, "learning_rate": 0.02, "n_iter": 200, "batch_size": 50},
        "mixture": {"n_components": 100},
    },
    "plants": {
        "skrbm": {"n_iter": 250, "learning_rate": 0.4},
        "BernoulliRBM": {"n_components": 256, "learning_rate": 0.02, "n_iter": 50, "batch_size": 50},
        "mixture": {"n_components": 200},
    },
    "jester": {
        "skrbm": {"n_hidden": 512, "sparsity_target": 0.1},
        "BernoulliRBM": {"n_components": 256, "learning_rate": 0.005, "n_iter": 200, "batch_size": 50},
        "mixture": {"n_components": 50},
    },
    "dna": {
        "skrbm": {"n_hidden": 1024, "weight_decay": 3e-3},
        "BernoulliRBM": {"n_components": 256, "learning_rate": 0.02, "n_iter": 200, "batch_size": 50},
        "mixture": {"n_components": 20},
    },
}
PUBLISHED = {  # LearnSPN, ID-SPN: test nats, as papers on tractable circuits quote them
    "nltcs": (-6.11, -6.02),
    "plants": (-12.98, -12.54),
    "jester": (-53.48, -52.86),
    "dna": (-82.52, -81.21),
}


class BernoulliMixture:
    """Mixture of products of Bernoullis, fitted by expectation maximisation; means are shrunk by `smoothing` rows."""

    def __init__(self, n_components, n_iter=100, smoothing=1.0, seed=0):
        self.n_components, self.n_iter, self.smoothing, self.seed = n_components, n_iter, smoothing, seed

    def fit(self, X):
        X = X.astype(np.float64)
        rng, n = np.random.default_rng(self.seed), self.n_components
        share = rng.dirichlet(np.ones(n), len(X))  # of each component in each row
        for _ in range(self.n_iter):
            weight = share.sum(0) + 1e-12
            mean = (share.T @ X + self.smoothing * X.mean(0)) / (weight[:, None] + self.smoothing)
            mean = mean.clip(1e-6, 1 - 1e-6)
            self._log_p, self._log_q = np.log(mean), np.log1p(-mean)
            self._log_weight = np.log(weight / weight.sum())
            joint = self._joint(X)
            share = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        return self

    def log_likelihood(self, X):
        return logsumexp(self._joint(X.astype(np.float64)), axis=1)

    def _joint(self, X):
        return X @ self._log_p.T + (1 - X) @ self._log_q.T + self._log_weight


def load(folder, table, part):
    return np.loadtxt(folder / f"{table}.{part}.data.gz", delimiter=",", dtype=np.float32, ndmin=2)


def make(kind, setting):
    if kind == "mixture":
        return BernoulliMixture(**setting)
    return (BernoulliRBMTorch if kind == "skrbm" else BernoulliRBM)(**setting, random_state=0)


def evaluate(model, X, rows, n_temperatures):
    """Mean log-likelihood of the rows in nats, standard error of log Z, effective sample size."""
    if isinstance(model, BernoulliMixture):
        return model.log_likelihood(rows).mean(), 0.0, None
    arrays = (model.components_, model.intercept_visible_, model.intercept_hidden_)
    params = RBMParameters(*(torch.from_numpy(np.asarray(array, np.float64)) for array in arrays))
    base_b = params.visible.bias_of(torch.from_numpy(X.mean(0, dtype=np.float64)), 1 / len(X))
    method = "exact" if min(params.W.shape) <= 16 else "ais"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the effective sample size is printed
        found = log_partition(AnnealingPath(params, base_b), method, stream=Stream(0), n_temperatures=n_temperatures)
    v = torch.from_numpy(rows.astype(np.float64))
    return float(-free_energy(params, v).mean()) - found.value, found.standard_error, found.effective_sample_size


def run(kind, setting, X, rows, n_temperatures, name):
    model = make(kind, setting)
    began = time.perf_counter()
    model.fit(X)
    seconds = time.perf_counter() - began
    nats, error, size = evaluate(model, X, rows, n_temperatures)
    words = ", ".join(f"{key}={value}" for key, value in setting.items()) or "the defaults"
    ess = "exact" if size is None else f"{size:.0f}"
    print(f"{name:<8} {kind:<13} {nats:8.3f}  {error:5.3f}  {ess:>5}  {seconds:7.1f}  {words}", flush=True)
    return nats


def search(folder, table, n_temperatures, kinds=("skrbm", "BernoulliRBM", "mixture")):
    """The best candidate of each kind by the validation rows."""
    X, rows, best = load(folder, table, "train"), load(folder, table, "valid"), {}
    for kind in kinds:
        candidates = {"skrbm": OURS, "BernoulliRBM": THEIRS, "mixture": MIXTURES}[kind]
        scores = [run(kind, setting, X, rows, n_temperatures, table) for setting in candidates]
        best[kind] = candidates[int(np.argmax(scores))]
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["search", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("tables", nargs="*", default=TABLES)
    parser.add_argument("--n-temperatures", type=int, help="of AIS; 3,000 in a search, else 20,000")
    parser.add_argument("--kinds", nargs="+", default=["skrbm", "BernoulliRBM", "mixture"])
    args = parser.parse_args()
    print("table    model             nats   s.e.    ESS  seconds  setting")
    for table in args.tables:
        if args.command == "search" or table not in BEST:
            best = search(args.folder, table, args.n_temperatures or 3000, args.kinds)
            print(f"{table}: best by the validation rows: {best}")
        else:
            best = BEST[table]
        if args.command == "search":
            continue
        X, rows = load(args.folder, table, "train"), load(args.folder, table, "test")
        for kind, setting in [("skrbm", {}), *((kind, best[kind]) for kind in args.kinds)]:
            run(kind, setting, X, rows, args.n_temperatures or 20_000, table)
        if table in PUBLISHED:
            print(f"{table:<8} published: LearnSPN {PUBLISHED[table][0]}, ID-SPN {PUBLISHED[table][1]}")


if __name__ == "__main__":
    main()
