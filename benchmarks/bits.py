"""The bits that seeded fits end in: what a change that only tidies must leave as they are.

    python benchmarks/bits.py > before.txt    # at the commit before
    python benchmarks/bits.py | diff before.txt -

Bits depend on the processor and the versions of torch and numpy, so compare on one machine. One thread.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits

from skrbm import BernoulliRBMTorch
from skrbm.distributed import process_group

GREYS = (load_digits().data / 16).astype(np.float32)
BITS = (GREYS > 0.5).astype(np.float32)
LARGE = (np.random.default_rng(0).random((1500, 700)) < np.linspace(0.05, 0.6, 700)).astype(np.float32)
LARGE[:, ::2] = LARGE[:, 1::2]


class Batches:
    """Rows that pass by."""

    def __iter__(self) -> Any:
        return iter(np.array_split(BITS, 12))


def fit(X: Any = GREYS, folder: Path | None = None, **parameters: Any) -> BernoulliRBMTorch:
    """A machine that has learned, the same at each call."""
    weight = parameters.pop("sample_weight", None)
    defaults = {"n_hidden": 40, "n_iter": 4, "random_state": 0, "device": "cpu"}
    return BernoulliRBMTorch(**defaults | parameters).fit(X, sample_weight=weight)


def mapped(folder: Path) -> BernoulliRBMTorch:
    """From a file of rows."""
    np.save(folder / "rows.npy", GREYS)
    return fit(np.load(folder / "rows.npy", mmap_mode="r"))


def in_parts(folder: Path) -> BernoulliRBMTorch:
    """By `partial_fit`, after `fit` and before."""
    rbm = BernoulliRBMTorch(30, random_state=0, batch_size=50, optimizer="adam", learning_rate=1e-3, n_iter=2)
    for part in np.array_split(GREYS, 3):
        rbm.partial_fit(part)
    return rbm.fit(GREYS).partial_fit(BITS)


def resumed(folder: Path) -> BernoulliRBMTorch:
    """Stopped after two epochs, and gone on with."""
    how = {"checkpoint": folder / "run.pt", "early_stopping": True, "store_trajectory": True, "centered": True}
    rbm = BernoulliRBMTorch(40, n_iter=5, random_state=0, device="cpu", **how)

    class Stop(Exception):
        pass

    count = 0
    original = torch.optim.lr_scheduler.LRScheduler.step

    def step(scheduler: Any, *args: Any) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise Stop
        original(scheduler, *args)

    torch.optim.lr_scheduler.LRScheduler.step = step  # type: ignore[method-assign, assignment]
    try:
        rbm.fit(GREYS)
    except Stop:
        pass
    finally:
        torch.optim.lr_scheduler.LRScheduler.step = original  # type: ignore[method-assign]
    return rbm.set_params(resume=True).fit(GREYS)


def warm(folder: Path) -> BernoulliRBMTorch:
    """A second fit that begins where the first has ended."""
    rbm = fit(warm_start=True, store_trajectory=True)
    return rbm.fit(BITS)


FITS: dict[str, Callable[[Path], BernoulliRBMTorch]] = {
    "defaults": lambda folder: fit(),
    "float64, not averaged": lambda folder: fit(precision="float64", averaging=0.0),
    "cd": lambda folder: fit(algorithm="cd", k=3),
    "centred both": lambda folder: fit(centered=True),
    "not centred": lambda folder: fit(centered=False, binarize="none"),
    "threshold, k grows": lambda folder: fit(binarize=0.4, k={0: 1, 0.5: 3}, learning_rate_schedule="exponential"),
    "adam": lambda folder: fit(optimizer="adam", learning_rate=1e-3),
    "adam, centred both": lambda folder: fit(optimizer="adam", learning_rate=1e-3, centered=True),
    "nesterov, penalties": lambda folder: fit(
        optimizer="nesterov", momentum=0.5, l1_penalty=1e-4, sparsity_target=0.1, learning_rate=0.05
    ),
    "weights": lambda folder: fit(sample_weight=np.linspace(0.5, 2, len(GREYS))),
    "weights, centred both": lambda folder: fit(sample_weight=np.linspace(0, 2, len(GREYS)), centered=True),
    "csr": lambda folder: fit(csr_matrix(BITS)),
    "memmap": mapped,
    "stream": lambda folder: fit(Batches()),
    "partial_fit": in_parts,
    "early stopping": lambda folder: fit(BITS, early_stopping=True, n_iter=12, n_iter_no_change=1, tol=0.2),
    "early stopping, likelihood": lambda folder: fit(BITS[:400], early_stopping="log_likelihood", n_hidden=25),
    "trajectory": lambda folder: fit(BITS, store_trajectory=True, n_iter=6),
    "resume": resumed,
    "warm start": warm,
    "int8": lambda folder: fit(LARGE, n_hidden=200, precision="int8"),
    "int8, centred both": lambda folder: fit(LARGE, n_hidden=200, precision="int8", centered=True, k=2),
    "int8, to floats": lambda folder: fit(LARGE, n_hidden=200, precision="int8", learning_rate=30.0, n_iter=3),
    "int8, cd, adam": lambda folder: fit(
        LARGE, n_hidden=200, precision="int8", algorithm="cd", optimizer="adam", learning_rate=1e-3
    ),
    "bfloat16": lambda folder: fit(LARGE, n_hidden=64, precision="bfloat16", n_iter=2),
}


def digest(arrays: list[Any]) -> str:
    """Twelve digits of a hash of arrays."""
    hasher = hashlib.sha256()
    for array in arrays:
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()[:12]


def line(name: str, rbm: BernoulliRBMTorch) -> str:
    """The bits of what has been learned: parameters, chains, curves, and the rest."""
    parameters = [rbm.components_, rbm.intercept_visible_, rbm.intercept_hidden_]
    curves = [values for measure, values in rbm.history_.items() if measure != "seconds"]
    others = [
        rbm.base_rates_,
        rbm.data_samples_,
        *(array for rung in getattr(rbm, "trajectory_", ()) for array in rung),
    ]
    parts = {"parameters": parameters, "chains": [rbm.h_samples_], "history": curves, "others": others}
    return f"{name:28} " + " ".join(f"{what} {digest(arrays)}" for what, arrays in parts.items())


def ranks() -> None:
    """Run `line` of a fit in two processes."""
    free = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533", "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "rank"], env=os.environ | free | {"RANK": str(rank)}, stdout=subprocess.PIPE
        )
        for rank in range(2)
    ]
    print(processes[0].communicate()[0].decode(), end="")
    processes[1].communicate()


def main() -> None:
    """Print a line a fit."""
    torch.set_num_threads(1)
    if sys.argv[1:] == ["rank"]:
        with process_group() as group:
            for centered in ("visible", True):
                rbm = fit(GREYS[group.rank :: 2], centered=centered, early_stopping=True)
                if group.rank == 0:
                    print(line(f"two processes, {centered}", rbm))
        return
    for name, function in FITS.items():
        if not sys.argv[1:] or name in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                print(line(name, function(Path(folder))), flush=True)
    if not sys.argv[1:]:
        ranks()


if __name__ == "__main__":
    main()
