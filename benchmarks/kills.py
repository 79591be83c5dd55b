"""Kill a training again and again, resume it, and see whether it ends as one that was never killed.

    python benchmarks/kills.py [--kills 500] [--n-hidden 100] [--seed 0]

Each process is killed by SIGKILL after a random time, most in the middle of an epoch, and of writing a checkpoint
when the kill finds a half-written file. It ends with status 1 if the parameters, the chains or the history differ in
a single bit, or if a checkpoint is lost or damaged.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # children are forked

import numpy as np

from skrbm import BernoulliRBMTorch
from skrbm.datasets import load_digits
from skrbm.support import read_archive

SETTINGS = {
    "defaults": {},
    "CD, Adam, centred": {"algorithm": "cd", "optimizer": "adam", "learning_rate": 1e-3, "centered": True},
    "Nesterov, early stopping": {"optimizer": "nesterov", "momentum": 0.5, "early_stopping": True},
    "trajectory": {"store_trajectory": True},
}


def child(model, X):
    """Fit in a new process; its number."""
    pid = os.fork()
    if pid == 0:
        warnings.simplefilter("ignore")
        model.fit(X)
        os._exit(0)
    return pid


def half_written(path):
    return [file for file in path.parent.iterdir() if file.name.startswith(f".{path.name}.")]


def kill_and_resume(model, X, n_kills, rng):
    """Kill until so many processes have died; the model at last, and counts."""
    path = Path(model.checkpoint)
    n_killed = n_in_writes = n_finished = 0
    began = time.perf_counter()
    whole = model.fit(X)
    seconds = time.perf_counter() - began
    path.unlink()
    while n_killed < n_kills:
        pid = child(model, X)
        patience = time.perf_counter() + rng.uniform(0, 0.3 * seconds)
        wait_for_write = rng.random() < 0.5
        while time.perf_counter() < patience or (wait_for_write and not half_written(path)):
            if os.waitpid(pid, os.WNOHANG)[0]:
                n_finished += 1
                check(whole, model.fit(X))  # it was over: the result is in the checkpoint
                path.unlink()
                break
        else:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            n_killed += 1
            n_in_writes += bool(half_written(path))
            if path.exists():
                read_archive(path)  # raises if it is damaged
    check(whole, model.fit(X))
    return n_killed, n_in_writes, n_finished


def check(whole, resumed):
    for name in ("components_", "intercept_visible_", "intercept_hidden_", "h_samples_"):
        if not np.array_equal(getattr(whole, name), getattr(resumed, name)):
            sys.exit(f"{name} differs")
    for name, values in whole.history_.items():
        if name != "seconds" and not np.array_equal(values, resumed.history_[name], equal_nan=True):
            sys.exit(f"history_[{name!r}] differs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--n-hidden", type=int, default=100)
    parser.add_argument("--n-iter", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    X, rng, began = load_digits().data, np.random.default_rng(args.seed), time.perf_counter()
    print(f"{'training':<28}{'killed':>8}{'in a write':>12}{'finished':>10}  bits")
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, settings) in enumerate(SETTINGS.items()):
            model = BernoulliRBMTorch(
                args.n_hidden,
                n_iter=args.n_iter,
                random_state=0,
                checkpoint=Path(folder) / f"run_{i}.pt",
                resume=True,
                **settings,
            )
            counts = kill_and_resume(model, X, -(-args.kills // len(SETTINGS)), rng)
            print(f"{name:<28}{counts[0]:>8}{counts[1]:>12}{counts[2]:>10}  the same", flush=True)
        rests = [file for file in Path(folder).iterdir() if file.name.startswith(".")]
    print(f"{len(rests)} half-written files left; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
