"""The defaults on tables of all kinds, against the truth, given learning rates, and a mixture of Bernoullis.

    python benchmarks/any_table.py synthetic [NAME …] [--rates 0.2 0.05 0.0125] [--seeds 0 1 2] [--jobs 2]
    python benchmarks/any_table.py grid FOLDER [NAME …]
    python benchmarks/any_table.py defaults FOLDER NAME … [--seeds 0 1 2] [--without-balance]
    python benchmarks/any_table.py ruined FOLDER [NAME …]
    python benchmarks/any_table.py verdict FILE …
    python benchmarks/any_table.py cost [NAME …]

`synthetic` learns each table of `synthetic_tables.py` at the defaults and at given rates, and prints the
log-likelihoods of rows held out beside that of the truth. `grid` does the same for tables of zeros and ones (see
`binary_tables.py` for FOLDER, "digits" for scikit-learn's, above 8): at the defaults, and with one setting after
another changed, each kept where it is better on the validation rows; test rows are read for the defaults and for what
was best. `defaults` takes tables of both kinds, at the defaults alone, or with `balance_modes=False`.
`ruined` learns these for two epochs, at rates far too
high, and from rows that aren't scaled. `verdict` counts, in what the others printed, how often fits that are good by
their nats were warned of, and bad ones: good ones are within 1 % of the best measurable fit of the table, or a fifth of
its gap to the truth; bad ones more than five times as far off. `cost` prints what an epoch takes longer where the rate
is left to the rows.

A figure counts where at least 10 of 100 chains of AIS count (ESS) and where AIS run backwards from tempered samples
lies at most 0.5 nats above AIS ("above"); else it is in brackets: not measurable.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from binary_tables import BernoulliMixture, load
from joblib import Parallel, delayed
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from synthetic_tables import TABLES

from skrbm import BernoulliRBMTorch, DataRangeWarning
from skrbm.likelihood import log_partition
from skrbm.machines import RBMParameters, free_energy
from skrbm.sampling import TEMPERING, AnnealingPath, run_chains
from skrbm.sampling.tempering import ladder_by_name
from skrbm.support import Stream

LEAST_SIZE, MOST_ABOVE = 10.0, 0.5
FOLDER_TABLES = ["nltcs", "plants", "jester", "accidents", "pumsb_star", "mushrooms", "dna", "digits"]
MIXTURES = [1, 2, 3, 5, 10, 20, 50, 100]
HEAD = f"{'table':<34} {'seed':>4} {'nats':>12} {'truth':>9} {'ESS':>5} {'above':>7} {'seconds':>7}  warned  setting"


def rows_of(name, part, folder=None):
    """Rows to learn from ("train"), to choose by ("valid"), or to judge by ("test")."""
    if name in TABLES:
        return TABLES[name].rows(part)
    if name == "digits":
        X = (load_digits().data > 8).astype(np.float32)
        order = np.random.default_rng(0).permutation(len(X))
        return X[order[{"train": slice(1200), "valid": slice(1200, 1500), "test": slice(1500, None)}[part]]]
    return load(Path(folder), name, part)


def evaluate(model, X, rows, n_temperatures=5000):
    """Mean log-likelihood of rows; how many of 100 chains count; and how far AIS backwards lies above AIS."""
    arrays = (model.components_, model.intercept_visible_, model.intercept_hidden_)
    params = RBMParameters(*(torch.from_numpy(np.asarray(array, np.float32)) for array in arrays))
    path = AnnealingPath(
        params, params.visible.bias_of(torch.from_numpy(X.mean(0, dtype=np.float64)), 1 / len(X)).float()
    )
    stream, method, samples = Stream(0), "exact" if min(params.W.shape) <= 16 else "ais", None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is printed
        if method == "ais":
            ladder = ladder_by_name("parallel_tempering", path, stream)
            samples, _ = run_chains(TEMPERING, ladder, path.samples_of_base(50, stream), 200, stream)
        found = log_partition(path, method, stream=stream, n_temperatures=n_temperatures, samples=samples)
    nats = -float(free_energy(params.to("cpu", torch.float64), torch.from_numpy(rows).double()).mean()) - found.value
    size = found.effective_sample_size
    return nats, np.inf if size is None else size, 0.0 if found.upper is None else found.upper - found.value


def run(name, setting, seed=0, part="test", folder=None):
    """A fit, measured: a line of text and (nats, whether it is measurable, whether there was a warning)."""
    torch.set_num_threads(1)
    X, rows = rows_of(name, "train", folder), rows_of(name, part, folder)
    truth = TABLES[name].truth.log_p(rows).mean() if name in TABLES else np.nan
    words = ", ".join(f"{key}={value:.4g}" for key, value in setting.items()) or "the defaults"
    began, warned, size, above = time.perf_counter(), "no", np.nan, np.nan
    if "n_components" in setting:
        nats, words = mixture(X, rows_of(name, "valid", folder), rows)
    else:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                model = BernoulliRBMTorch(random_state=seed, **{k: v for k, v in setting.items() if k != "scale"})
                model.fit(X * setting.get("scale", 1.0))
            except FloatingPointError:
                model = None
        seconds = time.perf_counter() - began
        if model is None or any(issubclass(w.category, (ConvergenceWarning, DataRangeWarning)) for w in caught):
            warned = "yes"  # by a warning or an error
        nats, size, above = (-np.inf, 0.0, np.inf) if model is None else evaluate(model, X, rows)
        began = time.perf_counter() - seconds
    seconds = time.perf_counter() - began
    counts = not (size < LEAST_SIZE or above > MOST_ABOVE)
    shown = f"{nats:.3f}" if counts else f"({nats:.3f})"
    line = (
        f"{name:<34} {seed:4d} {shown:>12} {truth:9.2f} {size:5.0f} {above:7.2f} {seconds:7.1f}  {warned:<6}  {words}"
    )
    print(line, flush=True)
    return nats, counts


def mixture(X, valid, rows):
    """Log-likelihood of rows by a mixture of Bernoullis, its size chosen on validation rows."""
    fits = []
    for n in MIXTURES:
        fits.append(BernoulliMixture(n, n_iter=50).fit(X))
        if len(fits) > 2 and fits[-1].log_likelihood(valid).mean() < fits[-2].log_likelihood(valid).mean() - 1.0:
            break
    scores = [fit.log_likelihood(valid).mean() for fit in fits]
    best = int(np.argmax(scores))
    return fits[best].log_likelihood(rows).mean(), f"mixture of {MIXTURES[best]} Bernoullis"


def synthetic(args):
    """All tables at the defaults, at given rates, and by a mixture."""
    jobs = [
        (name, setting, seed)
        for name in args.names or TABLES
        for setting in [{}, *({"learning_rate": rate} for rate in args.rates), {"n_components": 0}]
        for seed in (args.seeds if not setting else args.seeds[:1])
    ]
    Parallel(args.jobs)(delayed(run)(*job) for job in jobs)


def grid(name, folder, seeds):
    """The defaults, and the best of a search over one setting after another by the validation rows."""
    rate = BernoulliRBMTorch(n_iter=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rate = float(rate.fit(rows_of(name, "train", folder)).learning_rate_)
    best, score = {}, run(name, {}, 0, "valid", folder)[0]
    for changes in (
        [{"learning_rate": rate * factor} for factor in (0.25, 0.5, 1.0, 2.0)],
        [{"weight_decay": 3e-3}],
        [{"n_iter": 250}],
        [{"n_hidden": 1024}],
    ):
        found = [(run(name, best | change, 0, "valid", folder), best | change) for change in changes]
        for (nats, counts), setting in found:
            if counts and nats > score:
                score, best = nats, setting
    run(name, {"n_components": 0}, 0, "test", folder)
    for setting, some in (({}, seeds), (best, seeds[:1])):
        for seed in some:
            run(name, setting, seed, "test", folder)


def ruined(name, folder):
    """Fits that can't be good, and the defaults."""
    for setting in ({}, {"n_iter": 2}, {"learning_rate": 2.0}, {"learning_rate": 10.0}, {"scale": 16.0}):
        run(name, setting, 1, "valid", folder)


def verdict(files):
    """Counts of warnings among good fits and bad ones, by their nats."""
    fits = {}
    for line in (line for file in files for line in Path(file).read_text().splitlines()):
        fields = line.split()
        if (
            len(fields) > 7
            and fields[1].isdigit()
            and fields[6].replace(".", "").isdigit()
            and "mixture" not in line
            and "scale" not in line
        ):
            counts, nats = not fields[2].startswith("("), float(fields[2].strip("()"))
            fits.setdefault(fields[0], []).append((nats, counts, fields[7] == "yes", float(fields[3])))
    good, bad = [], []
    for found in fits.values():
        measurable = [nats for nats, counts, *_ in found if counts]
        if not measurable:
            continue
        best = max(measurable)
        for nats, counts, warned, truth in found:
            gap = 0.01 * abs(best) if np.isnan(truth) else max(0.2 * (truth - best), 0.01 * abs(best))
            if counts and nats >= best - gap:
                good.append(warned)
            elif nats < best - 5 * gap:
                bad.append(warned)
    for words, found in (("good", good), ("bad", bad)):
        interval = binomtest(sum(found), len(found)).proportion_ci()
        print(f"{words} fits: {sum(found)} of {len(found)} warned of ({interval.low:.2f} to {interval.high:.2f})")


def cost(name):
    """Seconds of an epoch at a given rate and at the defaults, by turns."""
    X, found = rows_of(name, "train"), {}
    for _ in range(5):
        for rate in (0.01, "auto"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = BernoulliRBMTorch(n_iter=8, learning_rate=rate, random_state=0).fit(X)
            found.setdefault(rate, []).append(np.median(model.history_["seconds"][3:]))
    given, auto = (np.median(values) for values in found.values())
    print(
        f"{name}: an epoch {given:.4f} s at a given rate, {auto:.4f} s at the defaults ({auto / given:.2f})", flush=True
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["synthetic", "grid", "defaults", "ruined", "verdict", "cost"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rates", type=float, nargs="*", default=[0.2, 0.05, 0.0125])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--without-balance", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    if args.command == "verdict":
        return verdict(args.names)
    if args.command == "cost":
        return [cost(name) for name in args.names or ("digits", "mosaic-500-20-0.02-5000", "tree-1000-27-2.0-1200")]
    print(f"{' '.join(sys.argv[1:])}\n{HEAD}", flush=True)
    if args.command == "synthetic":
        return synthetic(args)
    folder, *names = args.names
    names = names or FOLDER_TABLES
    if args.command == "defaults":
        setting = {"balance_modes": False} if args.without_balance else {}
        jobs = [(name, setting, seed, "test", folder) for name in names for seed in args.seeds]
        return Parallel(args.jobs)(delayed(run)(*job) for job in jobs)
    if args.command == "ruined":
        return Parallel(args.jobs)(delayed(ruined)(name, folder) for name in names)
    return Parallel(args.jobs)(delayed(grid)(name, folder, args.seeds) for name in names)


if __name__ == "__main__":
    main()
