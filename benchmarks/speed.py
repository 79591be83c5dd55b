"""Seconds per epoch, side by side: `BernoulliRBM`, and `BernoulliRBMTorch` with PCD-1, both in float32.

    SKRBM_MNIST=FOLDER python benchmarks/speed.py [--batch-size 100 10] [--n-hidden 500] [--repeats 5]

The rows are MNIST's 60,000, drawn to zeros and ones once; without SKRBM_MNIST, random bits of that shape. The two take
turns, so that a change of the machine's speed meets both. What is timed is a fit of two epochs as a user calls it, all
that is done once a fit included, over two.
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMTorch
from skrbm.datasets import load_mnist

N_EPOCHS = 2


def seconds_of_epoch(model, X):
    began = time.perf_counter()
    model.fit(X)
    return (time.perf_counter() - began) / N_EPOCHS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[100, 10])
    parser.add_argument("--n-hidden", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    on_mnist = "SKRBM_MNIST" in os.environ
    p = load_mnist().data if on_mnist else np.full((60_000, 784), 0.13, np.float32)
    X = (rng.random(p.shape, np.float32) < p).astype(np.float32)
    rows = "MNIST" if on_mnist else "random bits"
    print(f"{rows}, {X.shape[0]}×{X.shape[1]}, {args.n_hidden} hidden units, {torch.get_num_threads()} threads")
    print(f"median (least … most) of {args.repeats} repeats, seconds an epoch")
    BernoulliRBMTorch(args.n_hidden, n_iter=1).fit(X[:1000])  # what torch does once a process
    for batch_size in args.batch_size:
        common = {"n_iter": N_EPOCHS, "batch_size": batch_size, "random_state": 0}
        models = {
            "BernoulliRBM": BernoulliRBM(args.n_hidden, learning_rate=0.01, **common),
            "BernoulliRBMTorch": BernoulliRBMTorch(args.n_hidden, precision="float32", **common),
        }
        seconds = {name: [] for name in models}
        for _ in range(args.repeats):
            for name, model in models.items():
                seconds[name].append(seconds_of_epoch(model, X))
        for name, values in seconds.items():
            spread = f"{statistics.median(values):6.2f} ({min(values):.2f} … {max(values):.2f})"
            print(f"batch {batch_size:>4}  {name:<18} {spread}", flush=True)
        ratios = [theirs / ours for theirs, ours in zip(*seconds.values(), strict=True)]
        print(f"batch {batch_size:>4}  {'ratio':<18} {statistics.median(ratios):6.2f}", flush=True)


if __name__ == "__main__":
    main()
