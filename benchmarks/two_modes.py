"""A machine with two deep modes: what share of the samples is in the first one, against enumeration.

    python benchmarks/two_modes.py

The machine is trained on 16 pixels: a pattern in 70 % of the rows and its opposite in 30 %, with noise. Chains start
all in the first mode, all in the second, or at random. Training is slow (rate 0.01) and has 1,000 chains: no chain
crosses between deep modes, so at higher rates the shares of the modes drift up and down while it goes on. Rungs that
lack a mode can bar the way for trajectory tempering; `--learning-rate 0.1 --n-chains 100` has such rungs.
"""

import argparse
import time

import numpy as np
import torch

from skrbm import BernoulliRBMTorch
from skrbm.likelihood import log_likelihood_exact
from skrbm.machines import RBMParameters

N_PIXELS = 16
PATTERN = (np.arange(N_PIXELS) % 2).astype(np.float32)


def rows(n, noise, seed):
    rng = np.random.default_rng(seed)
    clean = np.where(rng.random((n, 1)) < 0.7, PATTERN, 1 - PATTERN)
    return np.abs(clean - (rng.random(clean.shape) < noise)).astype(np.float32)


def in_first_mode(V):
    return (V == PATTERN).sum(1) > N_PIXELS / 2


def exact_share(arrays):
    """P(v nearer to the pattern than to its opposite), over all 2^16 states, from weights and biases."""
    codes = np.arange(2**N_PIXELS)
    V = ((codes[:, None] >> np.arange(N_PIXELS)) & 1).astype(np.float32)
    log_p = log_likelihood_exact(RBMParameters(*map(torch.from_numpy, arrays)), torch.from_numpy(V)).numpy()
    return float(np.exp(log_p)[in_first_mode(V)].sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-samples", type=int, default=2000)
    parser.add_argument("--n-steps", type=int, default=1000)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--n-chains", type=int, default=1000, help="of training")
    args = parser.parse_args()
    X = rows(5000, 0.02, seed=0)
    settings = {"learning_rate": args.learning_rate, "n_chains": args.n_chains, "n_iter": 100}
    model = BernoulliRBMTorch(8, **settings, store_trajectory=True, random_state=0).fit(X)
    exact, n = exact_share((model.components_, model.intercept_visible_, model.intercept_hidden_)), args.n_samples
    print(f"exact share of the first mode: {exact:.4f}; {n} chains of {args.n_steps} steps")
    print("at the rungs of the trajectory:", *(f"{exact_share(arrays):.4f}" for arrays in model.trajectory_))
    starts = {"first mode": np.tile(PATTERN, (n, 1)), "second mode": np.tile(1 - PATTERN, (n, 1)), "random": "random"}
    for method in ("gibbs", "parallel_tempering", "trajectory_tempering"):
        for name, init in starts.items():
            began = time.perf_counter()
            share = in_first_mode(model.sample(n, args.n_steps, init, random_state=1, method=method)).mean()
            error = np.sqrt(exact * (1 - exact) / n)
            print(
                f"{method:<21} from {name:<12} share {share:.4f}  {(share - exact) / error:+8.1f} standard errors "
                f"{time.perf_counter() - began:6.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
