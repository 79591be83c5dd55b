"""A fit in progress as a file, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from skrbm.distributed import Group
from skrbm.support.files import read_archive, remove_leftovers, write_archive
from skrbm.training.learned import Learned
from skrbm.training.listeners import FitInProgress, Listener

_ANEW = "or set resume=False to begin anew and overwrite it."
_LONGER = "For more epochs let that one end, then fit again with warm_start=True and checkpoint=None (n_iter more)."


class CheckpointFile(Listener):
    """Writes a file after epochs, from which the fit can go on. Of several ranks rank 0 writes, for all.

    Parameters
    ----------
    path : str or path-like
        The file; it is whole at any moment.
    every : int
        Epochs from one time to the next; the last one is always stored.
    identity : mapping of str to str
        The parameters that the result depends on, as text.
    group : Group
        The processes.
    """

    def __init__(self, path: str | os.PathLike[str], every: int, identity: Mapping[str, str], group: Group) -> None:
        self._path, self._every, self._identity, self._group = os.fspath(path), every, dict(identity), group
        self._stored = -1  # epochs that the file has

    def read(self, resume: bool) -> dict[str, Any] | None:
        """What there is to go on from, on all ranks; None where there is nothing, or where it isn't wanted.

        Raises
        ------
        ValueError
            If the file is damaged, or of other parameters.
        """
        wanted = resume and self._group.rank == 0 and os.path.exists(self._path)
        saved = read_archive(self._path) if wanted else None
        if saved is not None:
            before, here = saved["identity"], self._identity
            if different := [name for name in here if before.get(name) != here[name]]:
                those = ", ".join(f"{name}={before.get(name)} (here {here[name]})" for name in different)
                longer = "" if "n_iter" not in different else " " + _LONGER
                raise ValueError(
                    f"The checkpoint {self._path!r} is of a training with {those}. Go on with the same parameters, "
                    f"{_ANEW}{longer}"
                )
            saved["path"] = self._path
        return self._group.of_first(saved)

    def begin(self, run: FitInProgress) -> None:
        if self._group.rank == 0:
            remove_leftovers(self._path)
        self._stored = run.n_finished or -1

    def end_epoch(self, run: FitInProgress, learned: Learned) -> None:
        if run.n_finished % self._every == 0 or run.is_over:
            self._write(run)

    def stop(self, run: FitInProgress) -> None:
        if run.n_finished != self._stored:
            self._write(run)

    def _write(self, run: FitInProgress) -> None:
        shared, own = run.state_of_fit()
        ranks = self._group.gather(own)
        self._stored = run.n_finished
        if self._group.rank == 0:
            write_archive(self._path, {"identity": self._identity, "shared": shared, "ranks": ranks})


def check_same_parameters(identity: Mapping[str, str], group: Group) -> None:
    """Raise a ValueError on all ranks unless they have the same parameters, given as text."""
    first, *others = group.gather_everywhere(dict(identity))
    for rank, other in enumerate(others, 1):
        if those := [f"{name}={other[name]} (there {first[name]})" for name in first if other[name] != first[name]]:
            raise ValueError(f"Rank {rank} has other parameters than rank 0: {', '.join(those)}. Give all the same.")


def check_same_rows(saved: Mapping[str, Any], n_rows: int, base_rates: np.ndarray, group: Group) -> None:
    """Raise a ValueError unless a checkpoint is of as many ranks and of rows like these."""
    if len(saved["ranks"]) != group.size:
        raise ValueError(
            f"The checkpoint {saved['path']!r} is of {len(saved['ranks'])} processes, but there are {group.size}. "
            f"Go on with as many, {_ANEW}"
        )
    shared = saved["shared"]
    rates = shared["base_rates"]
    same = shared["n_rows"] == n_rows and rates.shape == base_rates.shape
    if not same or not np.allclose(rates, base_rates, rtol=1e-3, atol=1e-6):  # as sums may be in another order
        raise ValueError(
            f"The checkpoint {saved['path']!r} is of a training on other rows: {shared['n_rows']} of {len(rates)} "
            f"features, or of other means, than these {n_rows} of {len(base_rates)}. Go on with the same rows, {_ANEW}"
        )
