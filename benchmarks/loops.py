"""Whether compiled loops learn as well: held-out rows' log-likelihoods of fits with loops and without, and how long.

    SKRBM_MNIST=FOLDER SKRBM_TABLES=FOLDER python benchmarks/loops.py [--only NAME …] [--n-iter N]

MNIST with 500 hidden units, three seeds, by AIS with its effective sample size; MNIST with 20, eight seeds, exactly;
scikit-learn's digits with 100, eight seeds, by AIS; NLTCS (whose file lies in SKRBM_TABLES) with 16, eight seeds,
exactly. Rows of the training sets are held out, the test sets aren't read. The difference has the standard error of its
mean over seeds, which both share: draws are the same until sums differ in their last bits.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import ttest_rel
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skrbm import BernoulliRBMTorch
from skrbm.datasets import load_mnist
from skrbm.likelihood import LogPartitionWarning
from skrbm.support.compiled import SWITCH


def mnist():
    X = load_mnist().data
    return X[:50_000], (X[50_000:52_000] > 0.5).astype(np.float32)


def digits():
    X = (load_digits().data / 16).astype(np.float32)
    X = X[np.random.default_rng(0).permutation(len(X))]
    return X[:1400], (X[1400:] > 0.5).astype(np.float32)


def nltcs():
    from binary_tables import load

    folder = Path(os.environ["SKRBM_TABLES"])
    return load(folder, "nltcs", "train"), load(folder, "nltcs", "valid")


# Name -> (rows, hidden units, seeds, settings of the fit).
CASES = {
    "MNIST, 500 units": (mnist, 500, 3, {"n_iter": 10}),
    "MNIST, 500 units, float32": (mnist, 500, 3, {"n_iter": 10, "precision": "float32"}),
    "MNIST, 20 units": (mnist, 20, 8, {"n_iter": 5}),
    "digits, 100 units": (digits, 100, 8, {"n_iter": 50}),
    "NLTCS, 16 units": (nltcs, 16, 8, {"n_iter": 20}),
}


def fit(X, X_held_out, n_hidden, seed, settings):
    """Nats a held-out row, effective sample size (None where log Z is exact), and seconds."""
    began = time.perf_counter()
    model = BernoulliRBMTorch(n_hidden, random_state=seed, **settings).fit(X)
    seconds = time.perf_counter() - began
    kwargs = {"method": "exact"} if n_hidden <= 20 else {"method": "ais", "n_temperatures": 10_000}
    log_z = model.log_partition(random_state=seed, **kwargs)
    nats = -float(np.mean(model.free_energy(X_held_out), dtype=np.float64)) - log_z.value
    return nats, log_z.effective_sample_size, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="words that the names must have one of")
    parser.add_argument("--n-iter", type=int, help="epochs, instead of each case's own")
    parser.add_argument("--seeds", type=int, help="how many, instead of each case's own")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.simplefilter("ignore", LogPartitionWarning)  # effective sample sizes are printed
    for name, (rows, n_hidden, n_seeds, settings) in CASES.items():
        if args.only and not any(word in name for word in args.only):
            continue
        X, X_held_out = rows()
        settings = settings | ({} if args.n_iter is None else {"n_iter": args.n_iter})
        found = {"plain": [], "loops": []}
        for seed in range(args.seeds or n_seeds):
            for kind in found:
                os.environ[SWITCH] = "1" if kind == "loops" else "0"
                found[kind].append(fit(X, X_held_out, n_hidden, seed, settings))
        print(f"\n{name}, {len(X):,} rows, {settings}")
        for kind, values in found.items():
            nats, sizes, seconds = zip(*values, strict=True)
            each = " ".join(f"{value:.2f}" for value in nats)
            size = (
                "exact" if sizes[0] is None else f"effective sample sizes {' '.join(f'{size:.0f}' for size in sizes)}"
            )
            print(
                f"  {kind:<6} {np.mean(nats):9.3f} nats ({each}), {size}, {np.median(seconds):.1f} s a fit", flush=True
            )
        plain, loops = (np.array([value[0] for value in found[kind]]) for kind in ("plain", "loops"))
        error = np.std(loops - plain, ddof=1) / np.sqrt(len(plain)) if len(plain) > 1 else float("nan")
        p = ttest_rel(loops, plain).pvalue if len(plain) > 1 else float("nan")
        print(f"  loops - plain: {np.mean(loops - plain):+.3f} ± {error:.3f} nats (p = {p:.2f})", flush=True)


if __name__ == "__main__":
    main()
