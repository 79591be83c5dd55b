"""How far estimates of log Z can be trusted.

    python benchmarks/log_partition.py enumeration
    SKRBM_MNIST=FOLDER python benchmarks/train_mnist.py build/pcd.joblib
    SKRBM_MNIST=FOLDER python benchmarks/log_partition.py model build/pcd.joblib
    python benchmarks/log_partition.py time build/pcd.joblib

The first compares AIS, its reverse and tempering with enumeration on random machines; "model" has a trained machine
judged by all of them, and prints its log-likelihood of MNIST's test digits (pixels drawn once); "time" repeats AIS.
"""

import argparse
import time
import warnings

import joblib
import numpy as np
import torch

from skrbm.datasets import load_mnist
from skrbm.likelihood import (
    LogPartitionWarning,
    inverse_temperatures,
    log_likelihood_exact,
    log_likelihood_raise,
    log_partition,
    log_partition_ais,
    log_partition_exact,
    log_partition_reverse_ais,
    uniform_schedule,
)
from skrbm.machines import RBMParameters, free_energy, sample_v_given_h
from skrbm.sampling import AnnealingPath
from skrbm.support import Stream

SHAPES = [(12, 30), (16, 50), (20, 100), (40, 15)]  # hidden, visible
SCALES = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0]  # standard deviation of weights and biases


def random_machine(shape, scale, seed):
    rng = np.random.default_rng(seed)
    return RBMParameters(
        *(torch.from_numpy(rng.normal(0, scale, size).astype(np.float32)) for size in (shape, shape[1], shape[0]))
    )


def exact_samples(params, n, seed):
    """Visible states drawn by enumerating the smaller layer."""
    by_hidden = params.n_hidden <= params.n_features
    small = params.transposed() if by_hidden else params
    states = ((torch.arange(2**small.n_features)[:, None] >> torch.arange(small.n_features)) & 1).float()
    p = torch.softmax(-free_energy(small.to(torch.float64), states.double()), 0).numpy()
    found = states[np.random.default_rng(seed).choice(len(p), n, p=p)]
    return sample_v_given_h(params, found, Stream(seed, "samples")) if by_hidden else found


def without_warnings(function, *args, **kwargs):
    """The result, and whether it came with a warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args, **kwargs)
    return result, any(issubclass(warning.category, LogPartitionWarning) for warning in caught)


def against_enumeration(n_machines, rates, n_temperatures):
    """AIS from the base rates of 1,000 exact samples, as of data; or from all rates a half."""
    print(f"\nAIS from {rates}, {n_temperatures} temperatures, 100 chains, against enumeration: {n_machines} machines")
    print("scale  machines  ESS >= 10  largest error there  ESS < 10  warned  largest error there")
    for scale in SCALES:
        trusted, doubted, n_warned = [], [], 0
        for seed in range(n_machines // len(SCALES)):
            params = random_machine(SHAPES[seed % len(SHAPES)], scale, seed)
            base_b = torch.zeros_like(params.b)
            if rates == "base rates":
                base_b = params.visible.bias_of(exact_samples(params, 1000, seed).mean(0), 1 / 1000)
            path, stream = AnnealingPath(params, base_b), Stream(seed)
            betas = inverse_temperatures(path, stream, n_temperatures)
            found, warned = without_warnings(log_partition_ais, path, betas, stream)
            error = abs(found.value - log_partition_exact(params))
            (trusted if found.effective_sample_size >= 10 else doubted).append(error)
            n_warned += warned
        largest = [f"{max(errors):.4f}" if errors else "-" for errors in (trusted, doubted)]
        print(
            f"{scale:5} {len(trusted) + len(doubted):9} {len(trusted):10} {largest[0]:>20} {len(doubted):9} "
            f"{n_warned:7} {largest[1]:>20}",
            flush=True,
        )


def coverage(n_intervals):
    print("\n95 % intervals that hold the exact log Z")
    for method, settings in (
        ("ais", {"n_temperatures": 300, "n_chains": 100}),
        ("parallel_tempering", {"n_steps": 50, "n_chains": 50}),
    ):
        inside = n = 0
        for seed in range(n_intervals):
            params = random_machine((8, 12), SCALES[seed % 4], seed)
            path = AnnealingPath(params, torch.zeros_like(params.b))
            found, warned = without_warnings(log_partition, path, method, stream=Stream(seed), **settings)
            if not warned:
                low, high = found.interval(0.95)
                inside += low <= log_partition_exact(params) <= high
                n += 1
        print(f"{method:<20} {inside} of {n}: {inside / n:.1%}  {settings}", flush=True)


def expectations(n_repeats):
    print(f"\nMeans over {n_repeats} runs with 3 temperatures and 10 chains, less the exact value (± standard error)")
    for scale in (0.6, 1.0, 1.5):
        params = random_machine((6, 10), scale, 1)
        path, truth = AnnealingPath(params, torch.zeros_like(params.b)), log_partition_exact(params)
        errors = {"AIS": [], "reverse AIS": [], "RAISE": []}
        for seed in range(n_repeats):
            v, betas = exact_samples(params, 10, seed), uniform_schedule(3)
            forward, _ = without_warnings(log_partition_ais, path, betas, Stream(seed), n_chains=10)
            reverse, _ = without_warnings(log_partition_reverse_ais, path, v, betas, Stream(seed))
            raised = log_likelihood_raise(path, v, betas, Stream(seed), n_chains=1)
            errors["AIS"].append(forward.value - truth)
            errors["reverse AIS"].append(reverse.value - truth)
            errors["RAISE"].append(float((raised - log_likelihood_exact(params, v, truth)).mean()))
        words = (
            f"{name} {np.mean(values):+.4f} ± {np.std(values) / np.sqrt(n_repeats):.4f}"
            for name, values in errors.items()
        )
        print(f"scale {scale}: {',  '.join(words)}", flush=True)


def judge(file, n_steps):
    model = joblib.load(file)
    print(model, f"{torch.get_num_threads()} threads")
    X = Stream(0, "test pixels").bernoulli(torch.from_numpy(load_mnist(subset="test").data)).numpy()
    minus_free_energy = -float(model.free_energy(X).mean(dtype=np.float64))
    print(f"{'method':<22}    log Z  std. err.    lower    upper     ESS  rungs  chains  seconds  test nats")
    began = time.perf_counter()
    tempered = model.sample(100, n_steps, method="parallel_tempering", random_state=1)
    seconds = time.perf_counter() - began
    runs = {
        "AIS": {"method": "ais"},
        "  uniform schedule": {"method": "ais", "schedule": "uniform"},
        "  and reverse": {"method": "ais", "bracket": 2.0},
        "  reverse of tempered": {"method": "ais", "bracket": 2.0, "samples": tempered},
        "parallel tempering": {"method": "parallel_tempering", "n_steps": n_steps},
        "trajectory tempering": {"method": "trajectory_tempering", "n_steps": n_steps},
    }
    for name, settings in runs.items():
        found, warned = without_warnings(model.log_partition, random_state=0, **settings)
        upper = "-" if found.upper is None else f"{found.upper:.2f}"
        size = "-" if found.effective_sample_size is None else f"{found.effective_sample_size:.1f}"
        print(
            f"{name:<22} {found.value:8.2f} {found.standard_error:10.2f} {found.lower:8.2f} {upper:>8} {size:>7} "
            f"{found.n_temperatures:6} {found.n_chains:7} {found.seconds:8.1f} {minus_free_energy - found.value:10.2f}"
            + ("  (warned)" if warned else ""),
            flush=True,
        )
    print(f"{n_steps} steps of parallel tempering for the 100 samples of the fourth line: {seconds:.1f} s")
    print(model.diagnose(n_steps=n_steps, random_state=0))


def time_ais(file, n_repeats):
    model = joblib.load(file)
    seconds = []
    for seed in range(n_repeats):
        found, _ = without_warnings(model.log_partition, "ais", random_state=seed)
        seconds.append(found.seconds)
    each = " ".join(f"{value:.1f}" for value in seconds)
    print(f"AIS, 100 chains, 10,000 temperatures and the pilot: median {np.median(seconds):.1f} s ({each})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    enumeration = commands.add_parser("enumeration")
    enumeration.add_argument("--machines", type=int, default=60)
    enumeration.add_argument("--intervals", type=int, default=420)
    enumeration.add_argument("--repeats", type=int, default=1000)
    model = commands.add_parser("model")
    model.add_argument("file")
    model.add_argument("--n-steps", type=int, default=500)
    timing = commands.add_parser("time")
    timing.add_argument("file")
    timing.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if args.command == "time":
        time_ais(args.file, args.repeats)
    elif args.command == "model":
        judge(args.file, args.n_steps)
    else:
        for rates, n_temperatures in (("base rates", 10_000), ("rates of a half", 10_000), ("rates of a half", 30)):
            against_enumeration(args.machines, rates, n_temperatures)
        coverage(args.intervals)
        expectations(args.repeats)


if __name__ == "__main__":
    main()
