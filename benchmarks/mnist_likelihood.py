"""MNIST: the likelihood and the features that machines reach, with what, and in how many seconds.

    SKRBM_MNIST=FOLDER python benchmarks/mnist_likelihood.py list
    SKRBM_MNIST=FOLDER python benchmarks/mnist_likelihood.py run [ROW …] [--held-out] [--jobs 2] [--peers PYTHON]

Each row of the table is a training in a process of its own, with as many threads as there are processors for each job.
`--held-out` trains on 50,000 of the training digits and judges on the other 10,000; that is for choosing. Without it
training is on all 60,000, and the test digits are read, once. Pixels are drawn as Bernoulli variables, once, with a
fixed seed; for rows that say so they are ones where they exceed 0.5.

Log Z is by AIS with 100 chains; its standard error (s.e.) and effective sample size (ESS) stand beside the nats, and
with `--bracket` how far above it the end is that AIS gives backwards from samples by parallel tempering. The error is
that of a logistic regression on the features of grey pixels, converged, its C chosen on 10,000 training digits.
`--curves FILE` writes training nats against seconds. `--peers` names the interpreter that has the package rbms.
"""

import argparse
import csv
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial

import numpy as np

PCD = {"n_hidden": 500, "n_iter": 50}
BEST = {"n_hidden": 500, "centered": True, "weight_decay": 1e-4, "n_iter": 200}
ROWS = {  # name: (which package, settings)
    # What each part brings: the defaults, and one thing changed at a time.
    "PCD-1": ("skrbm", PCD),
    "PCD-5": ("skrbm", PCD | {"k": 5}),
    "CD-1": ("skrbm", PCD | {"algorithm": "cd"}),
    "CD-5": ("skrbm", PCD | {"algorithm": "cd", "k": 5}),
    "PCD, k 1, 5, 25": ("skrbm", PCD | {"k": {0: 1, 0.6: 5, 0.9: 25}}),
    "not averaged": ("skrbm", PCD | {"averaging": 0.0}),
    "not centred": ("skrbm", PCD | {"centered": False}),
    "both layers centred": ("skrbm", PCD | {"centered": True}),
    "visible bias from 0": ("skrbm", PCD | {"bias_from_0": True}),
    "constant rate": ("skrbm", PCD | {"learning_rate_schedule": "constant"}),
    "exponential": ("skrbm", PCD | {"learning_rate_schedule": "exponential"}),
    "rate 0.1": ("skrbm", PCD | {"learning_rate": 0.1}),
    "rate 0.2": ("skrbm", PCD | {"learning_rate": 0.2}),
    "Adam, 1e-3": ("skrbm", PCD | {"optimizer": "adam", "learning_rate": 1e-3}),
    "20 chains": ("skrbm", PCD | {"n_chains": 20}),
    "500 chains": ("skrbm", PCD | {"n_chains": 500}),
    "no weight decay": ("skrbm", PCD | {"weight_decay": 0.0}),
    "weight decay 3e-4": ("skrbm", PCD | {"weight_decay": 3e-4}),
    "sparsity 0.1": ("skrbm", PCD | {"sparsity_target": 0.1}),
    "float32": ("skrbm", PCD | {"precision": "float32"}),
    "PCD-1, 5 epochs": ("skrbm", PCD | {"n_iter": 5}),
    "tempering, 5 epochs": ("skrbm", PCD | {"n_chains": 50, "tempered": 10, "precision": "float32", "n_iter": 5}),
    # What can be reached.
    "5 minutes": ("skrbm", BEST),
    "5 minutes, pixels > 0.5": ("skrbm", BEST | {"binarize": 0.5}),
    "30 minutes": ("skrbm", BEST | {"n_iter": 1000}),
    # Others.
    "BernoulliRBM": ("BernoulliRBM", {"n_components": 500}),
    "BernoulliRBM, rate 0.01": ("BernoulliRBM", {"n_components": 500, "learning_rate": 0.01}),
    "BernoulliRBM, batch 100": ("BernoulliRBM", {"n_components": 500, "batch_size": 100, "learning_rate": 0.05}),
    "rbms": ("rbms", {"n_hidden": 500, "seconds": 300}),
    # Features.
    "500 for features": ("skrbm", {"n_hidden": 500, "sparsity_target": 0.1}),
    "1024 for features": ("skrbm", {"n_hidden": 1024, "sparsity_target": 0.1}),
    "2048 for features": ("skrbm", {"n_hidden": 2048, "sparsity_target": 0.1}),
}
C_VALUES = (0.1, 0.3, 1.0)
N_HELD_OUT = 10_000
LOOKS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500)


def load(held_out):
    """Grey training and test digits, and their labels."""
    from skrbm.datasets import load_mnist

    X, y, *_ = load_mnist()
    if held_out:
        return X[:-N_HELD_OUT], y[:-N_HELD_OUT], X[-N_HELD_OUT:], y[-N_HELD_OUT:]
    X_test, y_test, *_ = load_mnist(subset="test")
    return X, y, X_test, y_test


def bits(X, binarize, seed):
    """What likelihoods are of."""
    if isinstance(binarize, float):
        return np.greater(X, binarize).astype(np.float32)
    return (np.random.default_rng(seed).random(X.shape) < X).astype(np.float32)


# -- training: each returns a BernoulliRBMTorch, the seconds, the epochs, and models on the way -----------------------


def train_skrbm(X, settings, curves):
    import skrbm.training.fit
    import skrbm.training.update
    from skrbm import BernoulliRBMTorch
    from skrbm.callbacks import OnEpoch

    states = []

    def look(model, epoch):
        if epoch in LOOKS:
            states.append((float(model.history_["seconds"].sum()), epoch, model))

    settings = settings.copy()
    if settings.pop("bias_from_0", False):
        start = skrbm.training.fit.initial_parameters
        skrbm.training.fit.initial_parameters = lambda mean_v, *args, **kwargs: start(0 * mean_v + 0.5, *args, **kwargs)
    if n_rungs := settings.pop("tempered", None):
        skrbm.training.update._move_chains_ = partial(move_tempered_chains_, n_rungs, {})
    model = BernoulliRBMTorch(random_state=0, **settings)
    if curves:
        model.set_callbacks(OnEpoch(look))
    began = time.perf_counter()
    model.fit(X)
    return model, time.perf_counter() - began, model.n_iter_, states


def move_tempered_chains_(n_rungs, memory, state, phases):
    """PCD with parallel tempering (Desjardins et al. 2010), in place of the chains' Gibbs steps in an update.

    Inverse temperatures from 0.7 to 1. It is here, and not in the package, as it doesn't earn its cost.
    """
    import torch

    from skrbm.sampling import AnnealingPath, tempering_init, tempering_step

    stream = state.streams.chains
    if not memory:
        memory["b"] = state.params.b.clone()
        memory["betas"] = torch.linspace(0.7, 1.0, n_rungs)
    path = AnnealingPath(state.params, memory["b"])
    ladder = path.ladder(memory["betas"])
    if "systems" not in memory:
        v = path.samples_of_base(len(state.h), stream)
        memory["systems"] = tempering_init(ladder, v, stream)
    for _ in range(state.k):
        memory["systems"], info = tempering_step(ladder, memory["systems"], stream)
    phases.chains.copy_(info.v)
    state.h.copy_(memory["systems"].h[-1])
    return state.backend.mean_h(phases.all)


def as_skrbm(X, W, b, c):
    """A model of ours with these parameters."""
    from skrbm import BernoulliRBMTorch

    model = BernoulliRBMTorch(n_hidden=len(c), n_iter=1, random_state=0).fit(X[:100])  # for its other attributes
    model.components_, model.intercept_visible_, model.intercept_hidden_ = W, b, c
    model.h_samples_ = np.random.default_rng(0).integers(0, 2, (100, len(c))).astype(W.dtype)
    model.base_rates_ = (X.mean(0) * len(X) + 1) / (len(X) + 2)
    return model


def train_sklearn(X, settings, curves):
    from sklearn.neural_network import BernoulliRBM

    began = time.perf_counter()
    model = BernoulliRBM(random_state=0, **settings).fit(X)
    seconds = time.perf_counter() - began
    parameters = (model.components_, model.intercept_visible_, model.intercept_hidden_)
    return as_skrbm(X, *(a.astype(np.float32) for a in parameters)), seconds, model.n_iter, []


def train_rbms(X, settings, peers):
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/X.npy", X)
        words = [str(settings["seconds"]), str(settings["n_hidden"]), folder]
        subprocess.run([peers, __file__, "in-peers", *words], check=True)
        with np.load(f"{folder}/params.npz") as found:
            W, b, c = (found[name] for name in ("W", "b", "c"))
            seconds, n_epochs = float(found["seconds"]), float(found["epochs"])
    return as_skrbm(X, W, b, c), seconds, round(n_epochs, 1), []


def in_peers(seconds, n_hidden, folder):
    """Run by the interpreter that has rbms: its centred PCD update, with 100 chains and batches of 100."""
    import torch
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.training.pcd import fit_batch_pcd

    X = torch.from_numpy(np.load(f"{folder}/X.npy"))
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    mean = X.mean(0).clamp(1e-4, 1 - 1e-4)
    params = BBRBM(0.01 * torch.randn(X.shape[1], n_hidden), torch.logit(mean), torch.zeros(n_hidden))
    for tensor in params.parameters():
        tensor.grad = torch.zeros_like(tensor)
    optimizer = torch.optim.SGD(params.parameters(), lr=0.05, maximize=True)
    chains, n_rows = params.init_chains(100), 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - min(1, (time.perf_counter() - began) / seconds)) + 1e-4
        for batch in torch.randperm(len(X)).split(100)[:100]:
            optimizer.zero_grad(set_to_none=False)
            v = torch.bernoulli(X[batch])
            chains, _ = fit_batch_pcd((v, torch.ones(len(v), 1)), chains, params, gibbs_steps=1, beta=1.0)
            optimizer.step()
            n_rows += len(v)
    W, b, c = params.weight_matrix.T, params.vbias, params.hbias
    np.savez(
        f"{folder}/params.npz",
        W=W.numpy(),
        b=b.numpy(),
        c=c.numpy(),
        seconds=time.perf_counter() - began,
        epochs=n_rows / len(X),
    )


# -- judging -----------------------------------------------------------------------------------------------------------


def classify(model, X, y, X_test, y_test):
    """Error in per cent, and C."""
    from sklearn.linear_model import LogisticRegression

    H, H_test = model.transform(X), model.transform(X_test)
    errors = []
    for C in C_VALUES:
        classifier = LogisticRegression(C=C, max_iter=5000).fit(H[:-N_HELD_OUT], y[:-N_HELD_OUT])
        errors.append(1 - classifier.score(H[-N_HELD_OUT:], y[-N_HELD_OUT:]))
    C = C_VALUES[int(np.argmin(errors))]
    return 100 * (1 - LogisticRegression(C=C, max_iter=5000).fit(H, y).score(H_test, y_test)), C


def run_row(name, args):
    """Train and judge: a line of the table as a dict, and one of the curves for each look."""
    package, settings = ROWS[name]
    settings = settings | ({"n_iter": args.n_iter} if args.n_iter and package == "skrbm" else {})
    X, y, X_test, y_test = load(args.held_out)
    if package == "rbms":
        model, seconds, n_epochs, states = train_rbms(X, settings, args.peers)
    else:
        train = {"skrbm": train_skrbm, "BernoulliRBM": train_sklearn}[package]
        model, seconds, n_epochs, states = train(X, settings, bool(args.curves))
    binarize = settings.get("binarize", "sample")
    rows, rows_test = bits(X[:N_HELD_OUT], binarize, 0), bits(X_test, binarize, 1)
    found = {"row": name, "seconds": round(seconds, 1), "epochs": n_epochs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the effective sample size is printed
        if not args.no_likelihood:
            samples = None
            if args.bracket:
                samples = model.sample(100, n_steps=500, method="parallel_tempering", random_state=1)
            log_z = model.log_partition(
                "ais",
                n_temperatures=args.n_temperatures,
                n_chains=args.n_chains,
                samples=samples,
                bracket=2.0 if args.bracket else None,
                random_state=0,
            )
            found |= {
                "train": model.log_likelihood(rows).mean(dtype=np.float64),
                "nats": model.log_likelihood(rows_test).mean(dtype=np.float64),
                "s.e.": log_z.standard_error,
                "ESS": log_z.effective_sample_size,
                "bracket": log_z.upper - log_z.value if args.bracket else None,
            }
        if not args.no_classifier:
            found["error"], found["C"] = classify(model, X, y, X_test, y_test)
        curve = []
        for at, epoch, state in states:
            log_z = state.log_partition("ais", n_temperatures=2000, random_state=0)
            nats = state.log_likelihood(rows[:2000]).mean(dtype=np.float64)
            curve.append([name, epoch, f"{at:.2f}", f"{nats:.2f}", f"{log_z.effective_sample_size:.1f}"])
    if args.models:
        import joblib

        joblib.dump(model.set_callbacks(), os.path.join(args.models, f"{name.replace(' ', '_')}.joblib"))
    return found, curve


COLUMNS = {
    "seconds": "8.1f",
    "epochs": "7g",
    "train": "8.2f",
    "nats": "8.2f",
    "s.e.": "6.2f",
    "ESS": "6.1f",
    "bracket": "8.2f",
    "error": "6.2f",
    "C": "5g",
}


def line(found):
    cells = []
    for column, form in COLUMNS.items():
        width, value = int(form.split(".")[0].rstrip("gf")), found.get(column)
        cells.append(" " * (width - 1) + "-" if value is None else format(value, form))
    return f"{found['row']:<28}" + " ".join(cells)


def main():
    if sys.argv[1:2] == ["in-peers"]:
        return in_peers(float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    from joblib import cpu_count  # the interpreter of rbms need not have it

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["list", "run"])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="by default all")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--n-iter", type=int, help="epochs, instead of a row's own")
    parser.add_argument("--n-temperatures", type=int, default=10_000)
    parser.add_argument("--n-chains", type=int, default=100)
    parser.add_argument("--bracket", action="store_true")
    parser.add_argument("--no-likelihood", action="store_true")
    parser.add_argument("--no-classifier", action="store_true")
    parser.add_argument("--curves", metavar="FILE")
    parser.add_argument("--csv", metavar="FILE", help="where the table goes, too")
    parser.add_argument("--models", metavar="FOLDER", help="where the models go")
    parser.add_argument("--peers", help="an interpreter that has rbms")
    args = parser.parse_args()
    if args.command == "list":
        for name, (package, settings) in ROWS.items():
            print(f"{name:<28} {package}: {settings}")
        return None
    names = args.rows or [name for name, (package, _) in ROWS.items() if package != "rbms" or args.peers]
    for name in names:
        if name not in ROWS:
            parser.error(f"there is no row {name!r}; `list` shows them")
    n_threads = max(1, cpu_count() // args.jobs)
    os.environ |= {name: str(n_threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    rows = f"{N_HELD_OUT} held-out training digits" if args.held_out else "the test digits"
    print(f"judged on {rows}; {n_threads} thread(s) a row, {args.jobs} row(s) at a time")
    print(f"{'':<28}" + " ".join(f"{name:>{int(form.split('.')[0].rstrip('gf'))}}" for name, form in COLUMNS.items()))
    table, curves = [], []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        futures = [pool.submit(run_row, name, args) for name in names]
        for future in as_completed(futures):
            found, curve = future.result()
            table.append(found)
            curves += curve
            print(line(found), flush=True)
            write(args.csv, ["row", *COLUMNS], [[row.get(c) for c in ("row", *COLUMNS)] for row in table])
            write(args.curves, ["row", "epoch", "seconds", "train_nats", "effective_sample_size"], curves)
    return None


def write(path, header, rows):
    if path:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)


if __name__ == "__main__":
    main()
