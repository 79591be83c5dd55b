"""Speed, side by side: skrbm, its peers, and the matrix products that an update can't do without.

    SKRBM_MNIST=FOLDER python benchmarks/speed.py epochs [--batch-size 100 10] [--n-hidden 500] [--csv F --figure F]
    python benchmarks/speed.py digits [--n-hidden 100 256] [--csv FILE]
    SKRBM_MNIST=FOLDER python benchmarks/speed.py methods [--csv FILE]
    SKRBM_MNIST=FOLDER python benchmarks/speed.py growth [--csv FILE --figure FILE]
    SKRBM_MNIST=FOLDER python benchmarks/speed.py profile
    SKRBM_MNIST=FOLDER python benchmarks/speed.py cuda
    SKRBM_MNIST=FOLDER python benchmarks/speed.py all [--page FILE]

The rows are MNIST's, drawn to zeros and ones once; without SKRBM_MNIST, random bits of that shape. Each contender is a
process of its own, so that the threads of one don't spin beside another, and they take turns, so that a change of the
machine's speed meets all. `rbms` and `learnergy` take part where they are installed, or with --peers PYTHON, an
interpreter that has them.

Seconds an epoch are a tenth of what a fit of 12 epochs takes longer than one of 2, so that what is done once, such as
imports, compilation and the last run of the chains, cancels. What follows the last epoch for a time that goes by the
number of updates, the verdict and the balance of modes, is left out of these fits, and both take compiled loops, as
fits of 500 updates and more do; "plain" is without loops. Where an epoch of 60,000 rows would take long, fewer are
trained on (--rows), and seconds are scaled up; with them what is done once an epoch, some 20 ms of skrbm's, so that it
counts more than once. The memory is that of the first fit, of 2 epochs. The limit is the products alone, by the fastest
means known: W'h for the chains, Wv for rows and chains, and their Σ h v'.

`digits` are scikit-learn's: whole fits of 20 epochs at the defaults of either package, by a process that has fitted
before, and by a fresh one, imports of the packages excluded but numba's, which is part of a fit, included; and seconds
an epoch. `all` runs the commands after one another, but for `cuda`, and records them as `record.py` does, in the blocks
that the page has for them, or in new ones at its end. A variable SKRBM_COMPILED=0 in front turns all loops off.
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from contextlib import contextmanager
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

MNIST_ROWS = 60_000
EPOCHS = (2, 12)  # of two fits, whose difference is what epochs take
WHOLE = (20,)  # of whole fits
SKLEARN, RBMS, LEARNERGY = "BernoulliRBM (scikit-learn) PCD-1", "rbms PCD-1", "learnergy CD-1"
AUTOGRAD, AUTOGRAD_SGD = "autograd F(v)-F(v_k), Adam, CD-1", "autograd F(v)-F(v_k), SGD, CD-1"
PEERS = {RBMS: "rbms", LEARNERGY: "learnergy"}  # contenders that needn't be there, and their packages
SWITCH, PLAIN = "SKRBM_COMPILED", ", plain"  # what turns compiled loops off, and the names of those without


# -- contenders: each returns a function that fits for so many epochs --------------------------------------------------


def rows_of(n_rows, n_features=784):
    """MNIST's, drawn to bits, or random bits; scikit-learn's digits, in grey, where there are 64 columns."""
    if n_features == 64:
        from sklearn.datasets import load_digits

        return (load_digits().data[:n_rows] / 16).astype(np.float32)
    rng = np.random.default_rng(0)
    if "SKRBM_MNIST" in os.environ and n_features == 784:
        from skrbm.datasets import load_mnist

        p = load_mnist().data[:n_rows]
    else:
        p = np.full((n_rows, n_features), 0.13, np.float32)
    return (rng.random(p.shape, np.float32) < p).astype(np.float32)


def timed(function, *arguments):
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def seconds_of(run, n_epochs):
    """What an epoch takes, from the difference of two fits; or a whole fit."""
    first, *more = [timed(run, n) for n in n_epochs]
    return (more[0] - first) / (n_epochs[1] - n_epochs[0]) if more else first


def fit_of_skrbm(X, batch_size, n_hidden, device="auto", **parameters):
    from skrbm import BernoulliRBMTorch
    from skrbm.estimators import base
    from skrbm.training import settings

    settings._LEAST_COMPILED = 0  # as in a long fit
    base.warn_if_bad = lambda *_: None  # takes longer after more epochs, as does balancing
    model = BernoulliRBMTorch(
        n_hidden,
        batch_size=batch_size,
        learning_rate=0.01,
        random_state=0,
        device=device,
        balance_modes=False,
        **parameters,
    )
    return lambda n_epochs: model.set_params(n_iter=n_epochs).fit(X)


def fit_of_sklearn(X, batch_size, n_hidden):
    from sklearn.neural_network import BernoulliRBM

    model = BernoulliRBM(n_hidden, batch_size=batch_size, learning_rate=0.01, random_state=0)
    return lambda n_epochs: model.set_params(n_iter=n_epochs).fit(X)


def fit_by_defaults(X, n_hidden, package):
    """The whole of it, as a user calls it."""
    from sklearn.neural_network import BernoulliRBM

    if package == "skrbm":
        from skrbm import BernoulliRBMTorch as BernoulliRBM
    model = BernoulliRBM(n_hidden, random_state=0)
    return lambda n_epochs: model.set_params(n_iter=n_epochs).fit(X)


def fit_of_rbms(X, batch_size, n_hidden, device="cpu"):
    """rbms' update in a loop of ours: without the files that its own writes at every update."""
    import torch
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.training.pcd import fit_batch_pcd

    data = torch.from_numpy(X).to(device)
    weights = torch.ones(len(X), 1, device=device)

    @torch.no_grad()
    def fit(n_epochs):
        scale = 0.01 * torch.randn(X.shape[1], n_hidden, device=device)
        params = BBRBM(scale, torch.zeros(X.shape[1], device=device), torch.zeros(n_hidden, device=device))
        for tensor in params.parameters():
            tensor.grad = torch.zeros_like(tensor)
        optimizer = torch.optim.SGD(params.parameters(), lr=0.01, maximize=True)
        chains = params.init_chains(batch_size)
        for _ in range(n_epochs):
            for batch in torch.randperm(len(data), device=device).split(batch_size):
                optimizer.zero_grad(set_to_none=False)
                chains, _ = fit_batch_pcd((data[batch], weights[batch]), chains, params, gibbs_steps=1, beta=1.0)
                optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return fit


def fit_of_learnergy(X, batch_size, n_hidden):
    import logging

    import torch

    logging.disable(logging.CRITICAL)
    from learnergy.models.bernoulli import RBM

    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.zeros(len(X)))
    model = RBM(X.shape[1], n_hidden, steps=1, learning_rate=0.01)
    return lambda n_epochs: model.fit(data, batch_size=batch_size, epochs=n_epochs)


def fit_of_autograd(X, batch_size, n_hidden, optimizer="Adam", lr=1e-3):
    """The plain loop of the lecture: the loss F(v) - F(v_k), differentiated by torch."""
    import torch
    from torch.nn.functional import softplus

    data = torch.from_numpy(X)

    def fit(n_epochs):
        W = (0.01 * torch.randn(n_hidden, X.shape[1])).requires_grad_()
        b, c = torch.zeros(X.shape[1], requires_grad=True), torch.zeros(n_hidden, requires_grad=True)
        descent = getattr(torch.optim, optimizer)([W, b, c], lr=lr)
        free_energy = lambda v: -(v @ b) - softplus(v @ W.T + c).sum(1)  # noqa: E731
        for _ in range(n_epochs):
            for batch in torch.randperm(len(data)).split(batch_size):
                v = data[batch]
                h = torch.bernoulli(torch.sigmoid(v @ W.T + c))
                v_k = torch.bernoulli(torch.sigmoid(h @ W + b)).detach()
                loss = (free_energy(v) - free_energy(v_k)).mean()
                descent.zero_grad()
                loss.backward()
                descent.step()

    return fit


def products(X, batch_size, n_hidden, precision="float32"):
    """The products of PCD-1 with as many chains as rows, in the layouts that an update has."""
    import torch

    n_features, n = X.shape[1], batch_size
    generator = torch.Generator().manual_seed(0)
    bits = lambda *shape: torch.randint(0, 2, shape, generator=generator)  # noqa: E731
    W, v, h = torch.randn(n_hidden, n_features, generator=generator), bits(2 * n, n_features), bits(2 * n, n_hidden)
    if precision == "int8":
        W, v, h = (30 * W).to(torch.int8), v.to(torch.int8), h.to(torch.int8)
        ways = [lambda a, b: torch._int_mm(a, b)]
    else:
        v, h = v.float(), h.float()
        ways = [torch.mm, lambda a, b: torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")]
    pairs = [(h[:n], W), (v, W.T), (h.T, v)]
    best = []
    for a, b in pairs:
        medians = []
        for way in ways:
            way(a, b)
            medians.append(statistics.median(timed(lambda way=way, a=a, b=b: way(a, b)) for _ in range(15)))
        best.append(ways[int(np.argmin(medians))])
    n_updates = -(-len(X) // batch_size)

    def run(n_epochs):
        for _ in range(n_epochs * n_updates):
            for way, (a, b) in zip(best, pairs, strict=True):
                way(a, b)

    return run


def contenders(batch_size):
    """Name -> (function, its arguments). PCD has as many chains as rows in a batch, as in `BernoulliRBM`."""
    pcd, cd = {"n_chains": batch_size}, {"algorithm": "cd"}
    f32, auto = {"precision": "float32"}, {"precision": "auto"}
    found = {
        SKLEARN: ("fit_of_sklearn", {}),
        RBMS: ("fit_of_rbms", {}),
        LEARNERGY: ("fit_of_learnergy", {}),
        AUTOGRAD: ("fit_of_autograd", {}),
        AUTOGRAD_SGD: ("fit_of_autograd", {"optimizer": "SGD", "lr": 0.01}),
        "skrbm float32 PCD-1": ("fit_of_skrbm", f32 | pcd),
        "skrbm float32 PCD-1" + PLAIN: ("fit_of_skrbm", f32 | pcd),
        "skrbm float32 PCD-5": ("fit_of_skrbm", f32 | pcd | {"k": 5}),
        "skrbm float32 CD-1": ("fit_of_skrbm", f32 | cd),
        "skrbm auto PCD-1": ("fit_of_skrbm", auto | pcd),
        "skrbm auto PCD-1" + PLAIN: ("fit_of_skrbm", auto | pcd),
        "skrbm auto PCD-5": ("fit_of_skrbm", auto | pcd | {"k": 5}),
        "skrbm auto CD-1": ("fit_of_skrbm", auto | cd),
        "skrbm auto CD-1, Adam": ("fit_of_skrbm", auto | cd | {"optimizer": "adam"}),
        "limit in float32": ("products", {"precision": "float32"}),
        "limit in int8": ("products", {"precision": "int8"}),
    }
    if batch_size != 100:  # and with the default of skrbm
        found["skrbm auto PCD-1, 100 chains"] = ("fit_of_skrbm", auto | {"n_chains": 100})
    return found


def methods(n_rows):
    """Functions of a fitted model, on skrbm's side and on scikit-learn's; fitted when one is called first."""

    @cache
    def fitted(n_features=784, n_hidden=500, n_iter=1):
        from skrbm import BernoulliRBMTorch

        X = rows_of(n_rows, n_features)
        ours = BernoulliRBMTorch(n_hidden, n_iter=n_iter, random_state=0).fit(X)
        return X, ours, ours.to_sklearn()

    small = partial(fitted, 64, 100, 20)
    n, few = min(n_rows, MNIST_ROWS), min(n_rows, 10_000)
    words = {"schedule": "uniform", "random_state": 0}  # without the pilot run

    def ais(machine, n_temperatures):
        return lambda: machine()[1].log_partition("ais", n_temperatures=n_temperatures, **words)

    def gibbs(machine, n_steps):
        return lambda: machine()[1].sample(1000, n_steps=n_steps, random_state=0)

    def by(who, name, end=None):
        return lambda: getattr(fitted()[who], name)(fitted()[0][:end])

    return {
        f"transform of {n:,} rows, skrbm": by(1, "transform"),
        f"transform of {n:,} rows, BernoulliRBM": by(2, "transform"),
        f"score_samples of {few:,} rows, skrbm: all pixels": by(1, "score_samples", few),
        f"score_samples of {few:,} rows, BernoulliRBM: one pixel": by(2, "score_samples", few),
        f"free_energy of {n:,} rows, skrbm": by(1, "free_energy"),
        "AIS, 100 chains × 1,000 temperatures, skrbm": ais(fitted, 1000),
        "AIS, 100 chains × 10,000 temperatures, skrbm": ais(fitted, 10_000),
        "1,000 Gibbs chains × 100 steps, skrbm": gibbs(fitted, 100),
        "1,000 Gibbs chains × 1,000 steps, skrbm": gibbs(fitted, 1000),
        "digits, AIS, 100 chains × 10,000 temperatures, skrbm": ais(small, 10_000),
        "digits, 1,000 Gibbs chains × 1,000 steps, skrbm": gibbs(small, 1000),
    }


# -- processes ---------------------------------------------------------------------------------------------------------


class Child:
    """A contender in a process of its own, which measures whenever it is asked to."""

    def __init__(self, spec, python=sys.executable):
        environment = os.environ | spec.get("environment", {})
        self._process = subprocess.Popen(
            [python, __file__, "child", json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.memory, self.first = self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a contender ended; its error stands above")
        return json.loads(line)

    def measure(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def child(spec):
    """Warm up, print the megabytes that a fit takes at its peak, and its seconds; then a time for each line read."""
    out, sys.stdout = sys.stdout, sys.stderr  # what contenders print is not an answer
    warnings.simplefilter("ignore", ConvergenceWarning)  # two epochs are no fit to be trusted
    n_epochs = spec.get("n_epochs", EPOCHS)
    if spec["function"] == "methods":
        method, n_epochs = methods(spec["n_rows"])[spec["name"]], [1]
        run = lambda _: method()  # noqa: E731
    else:
        X = rows_of(spec["n_rows"], spec["n_features"])
        run = globals()[spec["function"]](X, **spec["arguments"])
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of reading the rows
    before = megabytes_of("VmRSS")
    first = timed(run, n_epochs[0])
    megabytes = megabytes_of("VmHWM") - before
    print(json.dumps([megabytes, first]), file=out, flush=True)
    for _ in sys.stdin:
        print(json.dumps(seconds_of(run, n_epochs)), file=out, flush=True)


def megabytes_of(name):
    """What Linux says this process holds (VmRSS), or has held at its peak (VmHWM); elsewhere always the peak."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def has(package, python):
    """Whether an interpreter, by default this one, has a package."""
    if not python:
        return find_spec(package) is not None
    code = f"import sys, importlib.util; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def take_turns(specs, repeats, peers=None):
    """Times of each, {name: [seconds, …]}, and megabytes and seconds of the warm-up, {name: …}."""
    children = {}
    for name, spec in specs.items():
        if PLAIN in name:
            spec = spec | {"environment": spec.get("environment", {}) | {SWITCH: "0"}}
        children[name] = Child(spec, peers if peers and name in PEERS else sys.executable)
    seconds = {name: [] for name in children}
    turn = list(children)
    for _ in range(repeats):
        for name in turn:
            seconds[name].append(children[name].measure())
        turn.reverse()  # who comes after whom makes a difference
    memory, first = ({name: getattr(one, what) for name, one in children.items()} for what in ("memory", "first"))
    for one in children.values():
        one.close()
    return seconds, memory, first


BEFORE = " (before)"


def with_before(specs, checkout):
    """The same, and each contender of ours once more with the package of another checkout, right after it."""
    if not checkout:
        return specs
    twice = {}
    for name, spec in specs.items():
        twice[name] = spec
        if "skrbm" in name:
            twice[name + BEFORE] = spec | {"environment": {"PYTHONPATH": checkout}}
    return twice


def print_before(seconds):
    """How long each takes, of what it takes in the other checkout."""
    for name, values in seconds.items():
        if name.endswith(BEFORE):
            now = seconds[name.removesuffix(BEFORE)]
            ratios = [a / b for a, b in zip(now, values, strict=True)]
            print(f"{name.removesuffix(BEFORE)}: takes {spread(ratios, 3)} times as long as before")


# -- what is shown -----------------------------------------------------------------------------------------------------


def header(args):
    import torch

    rows = "MNIST" if "SKRBM_MNIST" in os.environ else "random bits"
    rows = "digits" if args.what == "digits" else rows
    print(
        f"{rows}, {torch.get_num_threads()} threads, torch {torch.__version__}; median (least … most) of {args.repeats}"
    )


def spread(values, digits=2):
    return f"{statistics.median(values):8.{digits}f} ({min(values):.{digits}f} … {max(values):.{digits}f})"


def asked_for(args, specs):
    """Those whose names have one of the words of --only."""
    return {name: x for name, x in specs.items() if not args.only or any(word in name for word in args.only)}


def line_of(name, values):
    return [name, statistics.median(values), min(values), max(values)]


def median_ratio(numerators, denominators):
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def epochs(args):
    header(args)
    table = []
    for n_hidden in args.n_hidden:
        for batch_size in args.batch_size:
            n_updates = max(30, min(300, 15_000 // batch_size) * 500 // max(n_hidden, 500))
            n_rows = min(MNIST_ROWS, args.rows or batch_size * n_updates)
            sizes = {"batch_size": batch_size, "n_hidden": n_hidden}
            specs = {
                name: {"function": function, "arguments": arguments | sizes, "n_rows": n_rows, "n_features": 784}
                for name, (function, arguments) in asked_for(args, contenders(batch_size)).items()
                if name not in PEERS or has(PEERS[name], args.peers)
            }
            seconds, memory, _ = take_turns(with_before(specs, args.before), args.repeats, args.peers)
            per_epoch = {name: [s * MNIST_ROWS / n_rows for s in x] for name, x in seconds.items()}
            print(f"\nbatch {batch_size}, {n_hidden} hidden units ({n_rows} rows an epoch timed)", flush=True)
            print(f"{'seconds an epoch':<36}{'':>26}  × BernoulliRBM  share of the limit  peak MB")
            for name, values in per_epoch.items():
                theirs = per_epoch.get(SKLEARN)
                times = f"{median_ratio(theirs, values):10.2f}" if theirs else " " * 10
                limit = per_epoch.get("limit in int8" if " auto " in name else "limit in float32")
                share = ""
                if limit and name.startswith("skrbm") and "PCD-1" in name and "chains" not in name:
                    share = f"{median_ratio(limit, values):.0%}"
                megabytes = "" if name.startswith("limit") else f"{memory[name]:.0f}"
                print(f"{name:<36}{spread(values):>26}  {times:>14}  {share:>18}  {megabytes:>7}", flush=True)
                table.append([batch_size, n_hidden, *line_of(name, values)])
            print_before(seconds)
            pairs = (
                ("skrbm auto PCD-1", "skrbm auto PCD-1" + PLAIN),
                ("skrbm float32 PCD-1", "skrbm float32 PCD-1" + PLAIN),
                ("skrbm auto PCD-1", RBMS),
                ("skrbm auto CD-1", AUTOGRAD_SGD),
                ("skrbm auto CD-1", AUTOGRAD),
                ("skrbm auto CD-1, Adam", AUTOGRAD),
            )
            for ours, rival in pairs:
                if ours in per_epoch and rival in per_epoch:
                    print(f"{ours}: {median_ratio(per_epoch[rival], per_epoch[ours]):.2f} times as fast as {rival}")
    write_csv(args.csv, ["batch_size", "n_hidden", "contender", "seconds_an_epoch", "least", "most"], table)
    if args.figure:
        curves(args.figure, table)


def digits(args):
    """scikit-learn's digits: whole fits at the defaults, the first one of a process, and seconds an epoch."""
    header(args)
    table, rows = [], {"n_rows": min(args.rows or 1797, 1797), "n_features": 64}
    packages = {"BernoulliRBM": "sklearn", "skrbm": "skrbm", "skrbm" + PLAIN: "skrbm"}
    for n_hidden in args.n_hidden:
        whole, epoch = {}, {}
        for name, package in packages.items():
            arguments = {"n_hidden": n_hidden, "package": package}
            whole[name] = rows | {"function": "fit_by_defaults", "arguments": arguments, "n_epochs": WHOLE}
            sizes = {"n_hidden": n_hidden, "batch_size": 10} | ({"n_chains": 10} if package == "skrbm" else {})
            epoch[name] = rows | {"function": f"fit_of_{package}", "arguments": sizes}
        whole, epoch = (with_before(asked_for(args, specs), args.before) for specs in (whole, epoch))
        rounds = [take_turns(whole, 1) for _ in range(args.repeats + 1)][1:]  # the first lets numba keep what it makes
        results = {
            f"seconds of a fit of {WHOLE[0]} epochs at the defaults": {
                name: [seconds[name][0] for seconds, *_ in rounds] for name in whole
            },
            "the same, the first fit of a process": {name: [first[name] for *_, first in rounds] for name in whole},
            "seconds an epoch, batch 10, 10 chains": take_turns(epoch, args.repeats)[0],
        }
        print(f"\n{rows['n_rows']} digits, {n_hidden} hidden units")
        for what, found in results.items():
            print(f"{what:<68}  × BernoulliRBM")
            for name, values in found.items():
                times = f"{median_ratio(found['BernoulliRBM'], values):.2f}" if "BernoulliRBM" in found else ""
                print(f"  {name:<36}{spread(values, 3):>30}  {times:>14}", flush=True)
                table.append([n_hidden, what, *line_of(name, values)])
            print_before(found)
    if "skrbm" in whole:
        with tempfile.TemporaryDirectory() as empty:
            one = Child(whole["skrbm"] | {"environment": {"NUMBA_CACHE_DIR": empty}})
            one.close()
        print(f"\nthe first fit where nothing has been compiled yet: {one.first:.1f} s")
    write_csv(args.csv, ["n_hidden", "measured", "contender", "seconds", "least", "most"], table)


def run_methods(args):
    header(args)
    n_rows = args.rows or MNIST_ROWS
    specs = {name: {"function": "methods", "name": name, "n_rows": n_rows} for name in asked_for(args, methods(n_rows))}
    seconds, *_ = take_turns(with_before(specs, args.before), args.repeats)
    for name, values in seconds.items():
        print(f"{name:<62}{spread(values, 3)} s")
    print_before(seconds)
    write_csv(args.csv, ["measured", "seconds", "least", "most"], [line_of(*item) for item in seconds.items()])
    names = [name for name in seconds if name.startswith("transform") and not name.endswith(BEFORE)]
    if len(names) == 2:
        print(f"transform: {median_ratio(seconds[names[1]], seconds[names[0]]):.2f} times as fast as BernoulliRBM's")
    if args.only:
        return
    from skrbm import BernoulliRBMTorch

    X = rows_of(n_rows)
    model = BernoulliRBMTorch(500, n_iter=2, random_state=0).fit(X)
    narrow, wide = model.score_samples(X[:10_000]), model.score_samples(X[:10_000].astype(np.float64))
    print(
        f"score_samples in float32 against float64: largest relative difference {np.abs(narrow / wide - 1).max():.1e}"
    )


def growth(args):
    """Time against rows, features and hidden units, one varied at a time."""
    header(args)
    n_rows, table = args.rows or 6000, []
    base = {"n_rows": n_rows, "n_features": 784, "n_hidden": 500}
    grids = {
        "n_rows": [n_rows // 4, n_rows, 4 * n_rows],
        "n_features": [196, 784, 3136],
        "n_hidden": [125, 500, 2000],
    }
    for what, grid in grids.items():
        for value in grid:
            shape = base | {what: value}
            sizes = {"batch_size": 100, "n_hidden": shape.pop("n_hidden")}
            specs = {
                "BernoulliRBM": {"function": "fit_of_sklearn", "arguments": sizes} | shape,
                "skrbm float32": {"function": "fit_of_skrbm", "arguments": sizes | {"precision": "float32"}} | shape,
                "skrbm auto": {"function": "fit_of_skrbm", "arguments": sizes} | shape,
            }
            seconds, *_ = take_turns(asked_for(args, specs), args.repeats)
            line = "  ".join(f"{name} {statistics.median(x):7.3f}" for name, x in seconds.items())
            print(f"{what:>10} {value:>6}   seconds an epoch: {line}", flush=True)
            table += [[what, value, *line_of(*item)] for item in seconds.items()]
    write_csv(args.csv, ["varied", "value", "contender", "seconds_an_epoch", "least", "most"], table)
    if args.figure:
        growth_curves(args.figure, table)


def profile(args):
    """Where the time of an update goes: in compiled loops, and in operations of torch by its profiler."""
    X = rows_of(args.rows or 6000)
    batch_size, before = args.batch_size[0], os.environ.get(SWITCH, "1")
    n_updates = (EPOCHS[1] - EPOCHS[0]) * -(-len(X) // batch_size)
    for precision in ("float32", "auto"):
        for switch, words in (("1", "compiled loops"), ("0", "no compiled loops")):
            os.environ[SWITCH] = switch
            run = fit_of_skrbm(X, batch_size, args.n_hidden[0], precision=precision, n_chains=batch_size)
            run(EPOCHS[0])
            wall = seconds_of(run, EPOCHS) * (EPOCHS[1] - EPOCHS[0]) / n_updates
            short, long = (own_times(run, n) for n in EPOCHS)
            own = {key: [(b - a) / n_updates for a, b in zip(short[key], long[key], strict=True)] for key in long}
            print(f"\n{precision}, {words}: {wall * 1e6:.0f} µs an update without the profiler; µs an update with it")
            lines = sorted(own.items(), key=lambda item: -item[1][0])
            for key, (microseconds, count) in lines[:14]:
                print(f"{microseconds:8.1f}  {count:5.1f} ×  {key}")
            for words, are_loops in (("all loops", True), ("all operations of torch", False)):
                print(f"{sum(x[0] for key, x in own.items() if key.startswith('loop ') == are_loops):8.1f}  {words}")
    os.environ[SWITCH] = before


def own_times(run, n_epochs):
    """Microseconds of a fit and how often, by compiled loop and by torch's operation, which no loop is part of."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    with timed_loops() as found, torch_profile(activities=[ProfilerActivity.CPU]) as profiler:
        run(n_epochs)
    for event in profiler.key_averages():
        found[event.key] = [event.self_cpu_time_total, event.count]
    return found


@contextmanager
def timed_loops():
    """Inside, compiled loops take note of their time: "loop" and the name -> [microseconds, how often]."""
    from skrbm.support.compiled import Bound, Loop

    found, bind, call = defaultdict(lambda: [0.0, 0]), Loop.bind, Bound.__call__

    def bind_by_name(loop, *arguments):
        bound = bind(loop, *arguments)
        bound.name = f"loop {loop._name}"
        return bound

    def timed_call(bound, n_pieces, n_threads=None):
        seconds = timed(call, bound, n_pieces, n_threads)
        found[bound.name][0] += seconds * 1e6
        found[bound.name][1] += 1

    Loop.bind, Bound.__call__ = bind_by_name, timed_call
    try:
        yield found
    finally:
        Loop.bind, Bound.__call__ = bind, call


PAGE = Path(__file__).parent / "results/speed.md"


def all_commands(args):
    """Put what the commands print into the page of results: each in its block, or in a new one at the end."""
    import record

    rows = f" --rows {args.rows}" if args.rows else ""
    size, before, peers = f" --repeats {args.repeats}{rows}", "", ""
    if args.before:
        os.environ["SKRBM_BEFORE"], before = args.before, " --before CHECKOUT"
    if args.peers:
        os.environ["SKRBM_PEERS"], peers = args.peers, " --peers PYTHON"
    figures = "--figure benchmarks/figures"
    for command in (
        f"epochs --batch-size 100 64 10 1024{size}{peers}{before} --csv benchmarks/epochs.csv {figures}/speed.png",
        f"digits{size}{before} --csv benchmarks/digits.csv",
        f"methods{size}{before} --csv benchmarks/methods.csv",
        f"growth{size} --csv benchmarks/growth.csv {figures}/growth.png",
        f"profile{rows}",
    ):
        line = f"`$ python benchmarks/speed.py {command}`"
        text = args.page.read_text("utf-8")
        if line not in text.splitlines():
            args.page.write_text(f"{text.rstrip()}\n\n{line}\n".lstrip(), "utf-8")
        record.record(args.page, line.strip("`$ "))


CUDA_SIZES = ((100, 784, 500), (1024, 784, 500), (4096, 4096, 4096))  # rows in a batch, columns, hidden units
CUDA_EPOCHS = 12  # of which the first two set things up


def cuda(args):
    """On a GPU: seconds an epoch, their share of the products', and what runs on the device in an update."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device here.")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    print("seconds an epoch: median (least to most); share: of the time that bfloat16 products alone take")
    for batch_size, n_features, n_hidden in CUDA_SIZES:
        X = rows_of(MNIST_ROWS, n_features)
        n_updates = -(-len(X) // batch_size)
        limit = n_updates * seconds_of_products(batch_size, n_features, n_hidden)
        print(f"\nbatch and chains {batch_size}, {n_features} x {n_hidden}: {n_updates} updates an epoch")
        print(f"  {'the products alone, in a graph':<40} {limit:.4f}", flush=True)
        shape = {"batch_size": batch_size, "n_hidden": n_hidden, "n_chains": batch_size}
        settings = {
            "bfloat16": {"precision": "bfloat16"},
            "bfloat16, learning_rate='auto'": {"precision": "bfloat16", "learning_rate": "auto"},
            "float32": {"precision": "float32"},
        }
        if n_hidden == 500:
            settings |= {
                "bfloat16, centered=False": {"precision": "bfloat16", "centered": False},
                "bfloat16, centered=True": {"precision": "bfloat16", "centered": True},
                "bfloat16, CD-1": {"precision": "bfloat16", "algorithm": "cd"},
                "bfloat16, PCD-5": {"precision": "bfloat16", "k": 5},
            }
        for name, setting in settings.items():
            seconds = np.array(fit_on_cuda(X, CUDA_EPOCHS, **shape, **setting).history_["seconds"][2:])
            median, least, most = np.median(seconds), seconds.min(), seconds.max()
            print(f"  {name:<40} {median:.4f} ({least:.4f} to {most:.4f})  {limit / median:4.0%}", flush=True)
        if find_spec("rbms"):
            run = fit_of_rbms(X, batch_size, n_hidden, device="cuda")
            run(EPOCHS[0])
            print(f"  {'rbms, float32':<40} {seconds_of(run, EPOCHS):.4f}", flush=True)
        names = kernels_of_update(X[: 200 * batch_size], shape)
        print(f"  {sum(names.values()):.1f} kernels and copies an update in bfloat16, in the order of their number:")
        print("  " + "; ".join(f"{n:.1f} {name}" for name, n in sorted(names.items(), key=lambda x: -x[1])[:8]))


def fit_on_cuda(X, n_iter, **parameters):
    from skrbm import BernoulliRBMTorch

    words = {"learning_rate": 0.01, "random_state": 0, "device": "cuda", "balance_modes": False} | parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of noise nothing can be learned
        return BernoulliRBMTorch(n_iter=n_iter, **words).fit(X)


def seconds_of_products(batch_size, n_features, n_hidden):
    """What the three products of an update take in bfloat16, recorded in a graph, the weights cast beforehand."""
    import torch

    v = torch.randint(0, 2, (2 * batch_size, n_features), device="cuda").bfloat16()
    h = torch.rand(2 * batch_size, n_hidden, device="cuda").bfloat16()
    W = torch.randn(n_hidden, n_features, device="cuda").bfloat16()
    work = lambda: (h[:batch_size] @ W, v @ W.T, h.T @ v)  # noqa: E731
    work()
    torch.cuda.synchronize()
    graph, n, found = torch.cuda.CUDAGraph(), 20, []
    with torch.cuda.graph(graph):
        for _ in range(n):
            work()
    for _ in range(7):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        graph.replay()
        ended.record()
        torch.cuda.synchronize()
        found.append(began.elapsed_time(ended) / 1e3 / n)
    return statistics.median(found)


def kernels_of_update(X, shape):
    """How often each kernel runs in an update, from the profiles of two fits of different lengths."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    counts = []
    for n_iter in (2, 4):
        with torch_profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
            fit_on_cuda(X, n_iter, precision="bfloat16", **shape)
        events = [event.name for event in profiler.events() if event.device_type == DeviceType.CUDA]
        counts.append(Counter(name.split("<")[0].removeprefix("void ")[:50] for name in events))
    counts[1].subtract(counts[0])
    n_updates = 2 * -(-len(X) // shape["batch_size"])
    return {name: n / n_updates for name, n in counts[1].items() if n > 0}


def write_csv(path, names, table):
    if path:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([[f"{x:.5g}" if isinstance(x, float) else x for x in row] for row in table])


STYLES = ["-o", "--s", "-.^", ":D", "-v", "--P", "-.X", ":*"]


def curves(path, table):
    """Seconds an epoch against the batch size, for the first number of hidden units."""
    from matplotlib.figure import Figure

    n_hidden = table[0][1]
    shown = [
        SKLEARN, RBMS, LEARNERGY, AUTOGRAD, "skrbm float32 PCD-1", "skrbm auto PCD-1",
        "limit in float32", "limit in int8",
    ]  # fmt: skip
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for style, name in zip(STYLES, shown, strict=True):
        points = [(row[0], row[3]) for row in table if row[2] == name and row[1] == n_hidden]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=name)
    axes.set(xscale="log", yscale="log", xlabel="batch size (rows)", ylabel="seconds an epoch of 60,000 rows")
    sizes = sorted({row[0] for row in table})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_title(f"784 × {n_hidden}, as many chains as rows")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=110)


def growth_curves(path, table):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    labels = {"n_rows": "rows", "n_features": "features", "n_hidden": "hidden units"}
    for axes, (what, label) in zip(figure.subplots(1, 3, sharey=True), labels.items(), strict=True):
        for style, name in zip(STYLES, ("BernoulliRBM", "skrbm float32", "skrbm auto"), strict=False):
            axes.plot(
                *zip(*[(row[1], row[3]) for row in table if row[0] == what and row[2] == name], strict=True),
                style,
                label=name,
            )
        axes.set(xscale="log", yscale="log", xlabel=label)
        values = sorted({row[1] for row in table if row[0] == what})
        axes.set_xticks(values, [f"{value:,}" for value in values])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("seconds an epoch")
    figure.axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=110)


def main():
    commands = {
        "epochs": epochs,
        "digits": digits,
        "methods": run_methods,
        "growth": growth,
        "profile": profile,
        "cuda": cuda,
        "all": all_commands,
    }
    if sys.argv[1:2] == ["child"]:
        return child(json.loads(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=commands)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[100])
    parser.add_argument("--n-hidden", type=int, nargs="+", help="500; 100 and 256 for digits")
    parser.add_argument("--rows", type=int, help="how many to train on in an epoch, or to take, at most")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="words that the contenders' names must have one of")
    parser.add_argument("--peers", help="an interpreter that has rbms and learnergy")
    parser.add_argument("--before", metavar="CHECKOUT", help="another checkout of skrbm, to run in turn with this one")
    parser.add_argument("--csv")
    parser.add_argument("--figure")
    parser.add_argument("--page", type=Path, default=PAGE, help="for all: where to record")
    args = parser.parse_args()
    args.n_hidden = args.n_hidden or ([100, 256] if args.what == "digits" else [500])
    return commands[args.what](args)


if __name__ == "__main__":
    main()
