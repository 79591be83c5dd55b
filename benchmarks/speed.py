"""Seconds per epoch, side by side: `BernoulliRBM`, and `BernoulliRBMTorch` with PCD-1, both in float32.

    SKRBM_MNIST=FOLDER python benchmarks/speed.py [--batch-size 100 10] [--n-hidden 500] [--repeats 5]

The rows are MNIST's 60,000, drawn to zeros and ones once; without SKRBM_MNIST, random bits of that shape. The two take
turns, an epoch each, so that a change of the machine's speed meets both. An epoch of ours is the difference between a fit
of two epochs and one of one, and so is theirs: what is done once a fit doesn't count.
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


def seconds_of_fit(model, X):
    began = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - began


def seconds_of_epoch(make, X):
    return seconds_of_fit(make(2), X) - seconds_of_fit(make(1), X)


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
    print(f"{'MNIST' if on_mnist else 'random bits'}, {X.shape[0]}×{X.shape[1]}, {args.n_hidden} hidden units, float32, ", end="")
    print(f"{torch.get_num_threads()} threads, {args.repeats} repeats: median (least … most) seconds an epoch")
    for batch_size in args.batch_size:
        common = {"batch_size": batch_size, "random_state": 0}
        makers = {
            "BernoulliRBM": lambda n: BernoulliRBM(args.n_hidden, n_iter=n, learning_rate=0.01, **common),  # noqa: B023
            "BernoulliRBMTorch": lambda n: BernoulliRBMTorch(args.n_hidden, n_iter=n, precision="float32", **common),  # noqa: B023
        }
        seconds = {name: [] for name in makers}
        for _ in range(args.repeats):
            for name, make in makers.items():
                seconds[name].append(seconds_of_epoch(make, X))
        for name, values in seconds.items():
            print(
                f"batch {batch_size:>4}  {name:<18} {statistics.median(values):6.2f} "
                f"({min(values):.2f} … {max(values):.2f})",
                flush=True,
            )
        ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
        print(f"batch {batch_size:>4}  ratio              {statistics.median(ratios):6.2f}", flush=True)


if __name__ == "__main__":
    main()
