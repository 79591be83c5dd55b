"""Seconds of an epoch of MNIST in 1, 2 and 4 processes on this machine, and the traffic of an update on paper.

    SKRBM_MNIST=FOLDER python benchmarks/scaling.py [--repeats 3]

Strong scaling: all processes together have 60,000 rows, 200 rows in a batch and 200 chains. Weak scaling: each has
30,000 rows, 100 in a batch and 100 chains. Each process computes on one thread; a single one, which has nothing to
hand on, does an update in one step. Medians over epochs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

N_HIDDEN, N_EPOCHS = 500, 4


def child(kind, file):
    """In each process: fit its share, and rank 0 writes the seconds."""
    import torch

    from skrbm import BernoulliRBMTorch
    from skrbm.datasets import load_mnist
    from skrbm.distributed import process_group

    torch.set_num_threads(1)
    X = load_mnist().data
    with process_group(timeout=120) as group:
        strong = kind == "strong"
        rows = X[group.rank :: group.size] if strong else X[group.rank % 2 :: 2]
        n = 200 // group.size if strong else 100
        seconds = fit(BernoulliRBMTorch, rows, n)
        if group.rank == 0:
            with open(file, "w", encoding="utf-8") as out:
                json.dump(seconds, out)


def fit(machine, rows, n):
    rbm = machine(N_HIDDEN, batch_size=n, n_chains=n, n_iter=N_EPOCHS, random_state=0)
    return rbm.fit(rows).history_["seconds"].tolist()


def measure(kind, n_processes):
    """Seconds of the epochs, without the first."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        run = [sys.executable, __file__, "alone"]
        if n_processes:
            run = [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--nproc-per-node",
                str(n_processes),
                __file__,
                "child",
            ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run([*run, kind, file.name], check=True, env=environment, stderr=subprocess.DEVNULL)
        with open(file.name, encoding="utf-8") as found:
            return json.load(found)[1:]


def traffic():
    """Megabytes that a process sends in an update, by a ring: 2 (n - 1) / n times the differences of statistics."""
    print("\nMB a process sends in an update (a ring)")
    print(f"{'':<16}" + "".join(f"{f'{n} processes':>14}" for n in (2, 8, 16, 64)))
    for n_features, n_hidden in ((784, 500), (10_000, 10_000)):
        size = 4 * (n_features * n_hidden + 2 * n_features + 2 * n_hidden) / 1e6
        sent = "".join(f"{2 * (n - 1) / n * size:>14.1f}" for n in (2, 8, 16, 64))
        print(f"{f'{n_features} x {n_hidden}':<16}{sent}")


def main():
    if sys.argv[1:2] == ["child"]:
        return child(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores; seconds an epoch, {N_HIDDEN} hidden units")
    print(f"{'processes':<12}{'strong':>9}{'speed-up':>10}{'weak':>9}{'efficiency':>12}")
    table = {n: {"strong": [], "weak": []} for n in (1, 2, 4)}
    for _ in range(args.repeats):  # in turn
        for n, times in table.items():
            for kind in times:
                times[kind] += measure(kind, n)
    median = {n: {kind: float(np.median(values)) for kind, values in times.items()} for n, times in table.items()}
    for n, found in median.items():
        speed, efficiency = median[1]["strong"] / found["strong"], median[1]["weak"] / found["weak"]
        print(f"{n:<12}{found['strong']:>9.2f}{speed:>10.2f}{found['weak']:>9.2f}{efficiency:>12.2f}")
    traffic()
    return None


if __name__ == "__main__":
    main()
