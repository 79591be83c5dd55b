"""Machines without hidden units: couplings by maximum likelihood and by pseudo-likelihood.

    python benchmarks/boltzmann.py spins [--sizes 20 40 100 400 1000]
    python benchmarks/boltzmann.py recovery [--n-rows 1000 10000]
    python benchmarks/boltzmann.py penalty FOLDER [TABLE ...]
    python benchmarks/boltzmann.py tables FOLDER [TABLE ...] [--seconds 30] [--seeds 3]

`spins` has the five spins of coniii's usage guide (`ipynb/usage_guide.ipynb`, whose printed errors stand beside ours):
the norm of what means and correlations of the machine differ from the sample's by. Then seconds for more spins, with
normal couplings of 0.5 / √n and 20,000 rows by Gibbs sampling. `recovery` has 16 spins on a periodic lattice and on a
random graph of three neighbours, with rows drawn from the exact probabilities: the error of the couplings of bits, the
edges that a test at 1 % a graph finds and misses, and how often intervals of 95 % hold the coupling, over pairs whose
rarest combination expects five rows. `penalty` chooses what l2_penalty="auto" is: mean pseudo-log-likelihood (of NLTCS
also log-likelihood) of 2,000 held-out training rows, for penalties of so many times 1 / n_rows, less that of the best
of them. FOLDER is that of `binary_tables.py`; no validation or test rows are read. `tables` has test nats of a machine
of couplings alone, of a restricted one, and of one with both (semi-restricted), each learned for as many seconds at the
defaults, as far as a pilot of three epochs tells; how many hidden units is chosen on validation rows. Differences from
the restricted one are paired by rows; a line that doesn't count (effective sample size under a tenth, or a bracket of
log Z over 0.5 nats) says so.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.special import ndtri
from sklearn.base import clone

from skrbm import BernoulliRBMTorch, BoltzmannMachine
from skrbm.machines import bits_to_ising, ising_to_bits
from skrbm.training import distinct_rows, learn_by_pseudolikelihood, learn_exactly, moments

PUBLISHED = {"enumeration": 5e-16, "pseudo-likelihood": 1.9e-4, "MPF": 1.8e-3, "ACE": 4.3e-2, "mean field": 0.66}
SOLVERS = {
    "exact": lambda rows, **options: learn_exactly(moments(rows), **options),
    "pseudo-likelihood": lambda rows, **options: learn_by_pseudolikelihood(rows, **options),
}


def states(n):
    return (np.arange(2**n)[:, None] >> np.arange(n)[::-1] & 1).astype(float)


def probabilities(R, b):
    x = states(len(b))
    log_p = 0.5 * ((x @ R) * x).sum(1) + x @ b
    p = np.exp(log_p - log_p.max())
    return p / p.sum()


def of_spins(p):
    """⟨s_i⟩ and ⟨s_i s_j⟩ of spins -1 and 1, of the probabilities of all states."""
    n = int(np.log2(len(p)))
    s, (i, j) = 2 * states(n) - 1, np.triu_indices(n, 1)
    return np.concatenate((p @ s, p @ (s[:, i] * s[:, j])))


def five():
    np.random.seed(0)  # noqa: NPY002 - the guide's
    h, J = np.random.normal(scale=0.1, size=5), np.zeros((5, 5))  # noqa: NPY002
    J[np.triu_indices(5, 1)] = couplings = np.random.normal(scale=0.1, size=10)  # noqa: NPY002
    R, b, _ = ising_to_bits(h, J + J.T)
    drawn = np.random.choice(32, 1000, p=probabilities(R, b))  # noqa: NPY002
    sample = of_spins(np.bincount(drawn, minlength=32) / 1000)
    rows = distinct_rows(states(5)[drawn])
    print("5 spins, 1000 rows: norm of the error of means and correlations, of parameters")
    for name, solve in SOLVERS.items():
        found = solve(rows)
        reached = of_spins(probabilities(found.R.numpy(), found.b.numpy()))
        fields, J, _ = bits_to_ising(found.R.numpy(), found.b.numpy())
        off = np.linalg.norm(np.concatenate((fields - h, J[np.triu_indices(5, 1)] - couplings)))
        print(f"  {name:<18} {np.linalg.norm(reached - sample):.1e}  {off:.4f}  gradient {found.gradient:.0e}")
    print("  published:", ", ".join(f"{name} {value:.1e}" for name, value in PUBLISHED.items()))


def gibbs(R, b, n_rows, n_sweeps, seed):
    rng, n = np.random.default_rng(seed), len(b)
    x = (rng.random((n, n_rows)) < 0.5).astype(np.float32)
    R, b = R.astype(np.float32), b.astype(np.float32)
    for _ in range(n_sweeps):
        for i in range(n):
            x[i] = rng.random(n_rows, dtype=np.float32) * (1 + np.exp(-(R[i] @ x + b[i]))) < 1
    return x.T


def sizes(sizes, n_rows):
    for n in sizes:
        rng = np.random.default_rng(n)
        J = np.triu(rng.normal(0, 0.5 / np.sqrt(n), (n, n)), 1)
        R, b, _ = ising_to_bits(rng.normal(0, 0.1, n), J + J.T)
        rows = distinct_rows(gibbs(R, b, n_rows, 10, n))
        for name, solve in SOLVERS.items():
            if name == "exact" and n > 20:
                continue
            began = time.perf_counter()
            found = solve(rows, with_stderr=False)
            seconds = time.perf_counter() - began
            off = np.sqrt(((found.R.numpy() - R)[np.triu_indices(n, 1)] ** 2).mean())
            print(
                f"{n:5} spins, {n_rows} rows, {name:<18} {seconds:6.1f} s  {found.n_iter:3} iterations  gradient "
                f"{found.gradient:.0e}  error of a coupling of bits {off:.4f}",
                flush=True,
            )


def graphs():
    """Edges of 16 spins, by name."""
    lattice = np.zeros((16, 16), bool)
    for row in range(4):
        for column in range(4):
            here = 4 * row + column
            lattice[here, [4 * ((row + 1) % 4) + column, 4 * row + (column + 1) % 4]] = True
    rng = np.random.default_rng(5)
    while True:  # three neighbours each, by pairing stubs until no pair is a loop or double
        ends = rng.permutation(np.repeat(np.arange(16), 3)).reshape(-1, 2)
        random = np.zeros((16, 16), int)
        np.add.at(random, tuple(ends.T), 1)
        if (random + random.T).max() == 1 and not random.diagonal().any():
            return {"lattice": lattice | lattice.T, "3 neighbours": (random + random.T).astype(bool)}


def recover(name, edges, strength, n_rows, n_tables=10):
    signs = np.triu(np.random.default_rng(0).choice([-1.0, 1.0], (16, 16)), 1)
    J = strength * edges * (signs + signs.T)
    R, b, _ = ising_to_bits(np.zeros(16), J)
    p, x, (i, j) = probabilities(R, b), states(16), np.triu_indices(16, 1)
    second = (x * p[:, None]).T @ x
    mean = second.diagonal()
    least = np.minimum.reduce(
        [second[i, j], mean[i] - second[i, j], mean[j] - second[i, j], 1 - mean[i] - mean[j] + second[i, j]]
    )
    counts, threshold = least * n_rows >= 5, -ndtri(0.01 / len(i) / 2)
    for solver, solve in SOLVERS.items():
        off, missed, wrong, covered, seconds = [], [], [], [], 0.0
        for seed in range(n_tables):
            drawn = np.random.default_rng(seed).choice(len(p), n_rows, p=p)
            began = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = solve(distinct_rows(x[drawn]))
            seconds += time.perf_counter() - began
            error = (found.R.numpy() - R)[i, j]
            stderr = np.full(len(i), np.inf) if found.R_stderr is None else found.R_stderr.numpy()[i, j]
            is_found = np.abs(found.R.numpy()[i, j]) > threshold * stderr
            off.append(np.sqrt((error**2).mean()))
            missed.append((edges[i, j] & ~is_found).sum())
            wrong.append((~edges[i, j] & is_found).sum())
            covered.append((np.abs(error) < 1.96 * stderr)[counts].mean() if counts.any() else np.nan)
        print(
            f"{name:<13} J {strength:.1f} {n_rows:6} rows {solver:<18} error {np.mean(off):.3f}±"
            f"{np.std(off) / np.sqrt(n_tables):.3f}  missed {np.mean(missed):4.1f} of {edges.sum() // 2}, wrong "
            f"{np.mean(wrong):.1f}  covered {np.mean(covered):.3f} of {counts.sum()}  {seconds / n_tables:.2f} s",
            flush=True,
        )


FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def penalty(folder, tables):
    print(f"{'':32}" + "".join(f"{factor:>9}" for factor in FACTORS))
    for table in tables:
        X = np.loadtxt(folder / f"{table}.train.data.gz", delimiter=",", dtype=np.float32, ndmin=2)
        X = X[np.random.default_rng(0).permutation(len(X))]
        held_out, X = X[:2000], X[2000:]
        for n_rows in (200, 1000, 5000):
            if n_rows > len(X):
                continue
            for solver in ("exact", "pseudolikelihood") if X.shape[1] <= 16 else ("pseudolikelihood",):
                found = []
                for factor in FACTORS:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        machine = BoltzmannMachine(solver=solver, l2_penalty=factor / n_rows, n_chains=1)
                        machine.fit(X[:n_rows])
                    found.append(
                        machine.log_likelihood(held_out).mean() if solver == "exact" else machine.score(held_out)
                    )
                losses = "".join(f"{value - max(found):9.3f}" for value in found)
                print(f"{table:<10} {n_rows:5} {solver[:6]:<6} {max(found):8.3f}{losses}", flush=True)


def for_seconds(machine, X, seconds):
    """The machine, fitted for about so many seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pilot = clone(machine).set_params(n_iter=3).fit(X)
        epoch = float(np.median(pilot.history_["seconds"][-2:]))
        return machine.set_params(n_iter=max(2, round(seconds / epoch))).fit(X)


def nats(machine, X):
    """Log-likelihoods of rows, and what is wrong with log Z."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = machine.log_partition(bracket=0.5)
        values = machine.log_likelihood(X)
    wide = found.upper is not None and abs(found.upper - found.lower) > 0.5
    few = found.effective_sample_size is not None and found.effective_sample_size < found.n_chains / 10
    return values, " not measurable" if wide or few else ""


def compare(folder, tables, seconds, n_seeds):
    kinds = {
        "restricted": (BernoulliRBMTorch, (32, 128)),
        "couplings": (BoltzmannMachine, (0,)),
        "semi-restricted": (BoltzmannMachine, (32, 128)),
    }
    for table in tables:
        X, valid, test = (
            np.loadtxt(folder / f"{table}.{part}.data.gz", delimiter=",", dtype=np.float32, ndmin=2)
            for part in ("train", "valid", "test")
        )
        base = None
        for name, (kind, sizes) in kinds.items():
            scores = []
            for size in sizes if len(sizes) > 1 else ():
                machine = for_seconds(kind(size, random_state=0), X, seconds)
                scores.append(nats(machine, valid[:1000])[0].mean())
            size = sizes[int(np.argmax(scores))] if scores else sizes[0]
            began, found, notes = time.perf_counter(), [], set()
            for seed in range(n_seeds):
                if size == 0:
                    machine = kind(random_state=seed).fit(X)
                else:
                    machine = for_seconds(kind(size, random_state=seed), X, seconds)
                values, note = nats(machine, test)
                found.append(values)
                notes.add(note)
            spent = (time.perf_counter() - began) / n_seeds
            mean = np.mean(found, 0)
            base = mean if base is None else base
            difference, spread = mean - base, np.std([values.mean() for values in found], ddof=1) / np.sqrt(n_seeds)
            error = np.hypot(difference.std() / np.sqrt(len(test)), spread)
            print(
                f"{table:<10} {name:<16} {size:4} hidden  {mean.mean():9.3f} ± {spread:.3f} over seeds  less "
                f"restricted {difference.mean():+8.3f} ± {error:.3f}  {spent:5.0f} s with log Z"
                f"{''.join(sorted(notes))}",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    spins = commands.add_parser("spins")
    spins.add_argument("--sizes", type=int, nargs="*", default=[20, 40, 100, 400, 1000])
    spins.add_argument("--n-rows", type=int, default=20_000)
    recovery = commands.add_parser("recovery")
    recovery.add_argument("--n-rows", type=int, nargs="+", default=[1000, 10_000])
    choice = commands.add_parser("penalty")
    choice.add_argument("folder", type=Path)
    choice.add_argument("tables", nargs="*", default=["nltcs", "plants", "jester", "dna", "mushrooms"])
    comparison = commands.add_parser("tables")
    comparison.add_argument("folder", type=Path)
    comparison.add_argument("tables", nargs="*", default=["nltcs", "plants", "jester", "accidents", "mushrooms", "dna"])
    comparison.add_argument("--seconds", type=float, default=30.0)
    comparison.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    if args.command == "spins":
        five()
        sizes(args.sizes, args.n_rows)
    elif args.command == "tables":
        compare(args.folder, args.tables, args.seconds, args.seeds)
    elif args.command == "penalty":
        penalty(args.folder, args.tables)
    else:
        for name, edges in graphs().items():
            for strength in (0.2, 0.7):
                for n_rows in args.n_rows:
                    recover(name, edges, strength, n_rows)


if __name__ == "__main__":
    main()
