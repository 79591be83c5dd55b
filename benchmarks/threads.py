"""How long fits take with the default threads and with one, alone and beside a process that is busy.

    python benchmarks/threads.py [--busy 1] [--repeat 5]
    SKRBM_MNIST=FOLDER python benchmarks/threads.py --mnist
    python benchmarks/threads.py --work

The first two fit digits (100 units, 20 epochs) and 6,000 digits of MNIST (500 units, 10 epochs) by turns, and print
medians. `--work` prints the seconds of an epoch with one thread and with torch's number, however large the products
are: what `skrbm.support.threads.LEAST_WORK` rests on. Run it with nothing else running.
"""

import argparse
import contextlib
import itertools
import subprocess
import sys
import warnings
from unittest import mock

import numpy as np
import torch

from skrbm import BernoulliRBMTorch
from skrbm.datasets import load_digits, load_mnist

BUSY = "while True: pass"


@contextlib.contextmanager
def busy(n):
    """So many processes that never rest."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def seconds(model, X):
    """Of an epoch, the median."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(np.median(model.fit(X).history_["seconds"]))


def compare(model, X, repeat, default=contextlib.nullcontext):
    """Seconds of an epoch with one thread, and with the default; by turns."""
    found, n_threads = {"one": [], "default": []}, torch.get_num_threads()
    seconds(model, X)
    for _ in range(repeat):
        torch.set_num_threads(1)
        found["one"].append(seconds(model, X))
        torch.set_num_threads(n_threads)
        with default():
            found["default"].append(seconds(model, X))
    return np.median(found["one"]), np.median(found["default"])


def all_threads():
    """As if no product were too small for several."""
    return mock.patch("skrbm.support.threads.LEAST_WORK", 0)


def work(repeat):
    """One thread and all, for products of growing size."""
    print(f"{'columns':>7} {'units':>6} {'rows':>5} {'precision':<9} {'work':>8}  busy  one thread  all threads  ratio")
    sizes = [(64, 100, 100), (163, 256, 100), (784, 500, 100), (784, 500, 500), (1500, 1024, 500)]
    for n_busy, precision, size in itertools.product((0, 1), ("int8", "float32"), sizes):
        columns, units, batch = size
        X = (np.random.default_rng(0).random((4000, columns)) < 0.3).astype(np.float32)
        settings = {"n_iter": 3, "batch_size": batch, "n_chains": batch, "precision": precision}
        model = BernoulliRBMTorch(units, learning_rate=0.05, random_state=0, **settings)
        with busy(n_busy):
            one, several = compare(model, X, repeat, all_threads)
        print(
            f"{columns:7d} {units:6d} {2 * batch:5d} {precision:<9} {2 * batch * columns * units / 1e6:6.0f} M  "
            f"{n_busy:4d}  {one:8.3f} s  {several:9.3f} s  {several / one:5.2f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=1, help="processes that never rest")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--mnist", action="store_true")
    parser.add_argument("--work", action="store_true")
    args = parser.parse_args()
    print(f"torch has {torch.get_num_threads()} threads")
    if args.work:
        return work(args.repeat)
    fits = [("digits", BernoulliRBMTorch(100, n_iter=20, random_state=0), load_digits().data)]
    if args.mnist:
        fits.append(("MNIST", BernoulliRBMTorch(500, n_iter=10, random_state=0), load_mnist()[0][:6000]))
    for name, model, X in fits:
        for n_busy in (0, args.busy):
            with busy(n_busy):
                one, default = compare(model, X, args.repeat)
                several = compare(model, X, args.repeat, all_threads)[1]
            print(
                f"{name:<7} beside {n_busy} busy: an epoch {one:.4f} s with one thread, {default:.4f} s with the "
                f"default ({default / one:.2f}), {several:.4f} s with all of torch's ({several / one:.2f})",
                flush=True,
            )
    return None


if __name__ == "__main__":
    main()
