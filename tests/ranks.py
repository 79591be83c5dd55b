"""What test_distributed.py runs in several processes: `python -m tests.ranks TASK FOLDER`."""

import io
import os
import signal
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from skrbm import BernoulliRBMTorch
from skrbm.distributed import current_group, process_group
from skrbm.rows import Batch
from skrbm.support.randomness import Stream
from skrbm.training import Streams, start_state, update_
from tests import reference
from tests.training.states import PLAIN

X = (np.random.default_rng(0).random((240, 6)) < [0.2, 0.5, 0.5, 0.7, 0.9, 0.5]).astype(np.float32)
X[:, 2] = X[:, 1]
SETTINGS = {"n_hidden": 4, "n_iter": 40, "n_chains": 50, "batch_size": 5, "learning_rate": 1.0, "random_state": 0}


class FixedStream(Stream):
    """Draws nothing: what is more likely happens."""

    def numbers(self, n, device="cpu"):
        return torch.full((n,), 0.5)


def fixed_draws(centered, weighted=True, **settings):
    """Ten updates, on this rank's share of the same batches and chains."""
    group = current_group()
    share = slice(group.rank, None, group.size)
    settings = replace(PLAIN, learning_rate=0.1, centered=centered, weight_decay=1e-2, **settings)
    streams = Streams(*(FixedStream(0, use) for use in Streams._fields))
    params, rows = reference.random_params(4, 6), torch.from_numpy(X).double()
    h = (torch.rand(8, 4, generator=torch.Generator().manual_seed(0)) < 0.5).double()[share]
    state = start_state(params, rows.mean(0), settings, streams, h=h)
    weight = torch.linspace(0.5, 2.0, 24, dtype=torch.float64)
    for batch in rows.split(24):
        update_(state, Batch(batch[share], weight[share] if weighted else None, is_even=not weighted), group)
    return [tensor.numpy() for tensor in (state.params.W, state.params.b, state.params.c)]


def fit(**settings):
    group = current_group()
    rbm = BernoulliRBMTorch(**SETTINGS | settings).fit(X[group.rank :: group.size])
    return [rbm.components_, rbm.intercept_visible_, rbm.intercept_hidden_, np.array(rbm.n_iter_), rbm.base_rates_]


class DeadlyOutput(io.StringIO):
    """What a rank prints to that dies in its third epoch."""

    def write(self, text):
        if "epoch 3/" in text:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(text)


def death(folder):
    rank = current_group().rank
    with redirect_stdout(DeadlyOutput() if rank == 1 else sys.stdout):
        return fit(checkpoint=folder / "checkpoint", verbose=rank)


def wrong(folder):
    try:
        fit(n_hidden=5 + current_group().rank)
    except ValueError as error:
        return [np.array(str(error))]
    return [np.array("")]


TASKS = {
    "centred": lambda folder: fixed_draws(True, momentum=0.5),
    "plain": lambda folder: fixed_draws(False),
    "contrastive divergence": lambda folder: fixed_draws("visible", algorithm="cd", k=2),
    "evenly": lambda folder: fixed_draws(True, False, sparsity_target=0.2),
    "evenly, plain descent": lambda folder: fixed_draws("visible", False),
    "fit": lambda folder: fit(),
    "early stopping": lambda folder: fit(early_stopping=True, tol=0.5, n_iter_no_change=2),
    "wrong": wrong,
    "death": death,
    "resume": lambda folder: fit(checkpoint=folder / "checkpoint", resume=True),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    names, where = sys.argv[1].split(";"), Path(sys.argv[2])
    with process_group(timeout=20) as ranks:
        for name in names:
            np.savez(where / f"{name}_{ranks.rank}.npz", *TASKS[name](where))
    # All is written, and the group is gone. What Python and torch then take down races with threads of theirs: one time
    # in ten, a process in four ended with "terminate called without an active exception" and no Python frame left.
    os._exit(0)
