"""How the scikit-learn face stores a fit in progress and takes it up again."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from skrbm.distributed import Group, current_group
from skrbm.support.files import read_archive, write_checkpoint
from skrbm.training.fit import Run

__all__ = ["CheckpointMixin"]

_NOT_LEARNED_BY = ("checkpoint", "checkpoint_every", "device", "resume", "verbose")  # what doesn't change the result
_OF_A_RUN = ("history_", "validation_scores_", "best_validation_score_", "data_samples_", "base_rates_")


class CheckpointMixin:
    """Writes and reads the file that the parameter `checkpoint` names."""

    get_params: Callable[..., dict[str, Any]]
    checkpoint: Any
    resume: bool
    base_rates_: Any

    def _identity(self) -> dict[str, str]:
        """The parameters that a checkpoint has to have been written with, as text."""
        parameters = self.get_params(deep=False)
        values = {name: value for name, value in parameters.items() if name not in _NOT_LEARNED_BY}
        return {name: re.sub(" at 0x[0-9a-f]+", "", repr(value)) for name, value in values.items()}

    def _check_same_parameters(self, group: Group) -> None:
        """Raise a ValueError on all ranks unless they have the same parameters."""
        first, *others = group.gather_everywhere(self._identity() | {"checkpoint": str(self.checkpoint)})
        for rank, other in enumerate(others, 1):
            if those := [f"{name}={other[name]} (there {first[name]})" for name in first if other[name] != first[name]]:
                raise ValueError(
                    f"Rank {rank} has other parameters than rank 0: {', '.join(those)}. Give all the same."
                )

    def _write_archive(self, run: Run, to_store: dict[str, Any] | None) -> None:
        """Store a fit between two epochs; of several ranks, rank 0 does."""
        if self.checkpoint is None or to_store is None:
            return
        group = current_group()
        shared, own = run.saved()
        ranks = group.gather(own | {"start": to_store["start"]})
        if group.rank:
            return
        fitted = {name: getattr(self, name) for name in _OF_A_RUN if hasattr(self, name)}
        content = {"parameters": self._identity(), "fitted": fitted, "run": shared, "ranks": ranks}
        write_archive(self.checkpoint, content | {name: to_store[name] for name in ("seed", "n_rows")})

    def _read_archive(self) -> dict[str, Any] | None:
        """What is to be taken up, None where there is nothing."""
        if not self.resume or not os.path.exists(self.checkpoint):
            return None
        saved = read_archive(self.checkpoint)
        mine = self._identity()
        if different := [name for name in mine if saved["parameters"].get(name) != mine[name]]:
            those = ", ".join(f"{name}={saved['parameters'].get(name)} (here {mine[name]})" for name in different)
            raise ValueError(
                f"The checkpoint {os.fspath(self.checkpoint)!r} is of a training with {those}. Go on with the same "
                "parameters, or set resume=False to begin anew and overwrite it."
            )
        return saved

    def _check_same_rows(self, saved: dict[str, Any], n_rows: int, group: Group) -> None:
        """Raise a ValueError unless a checkpoint is of as many ranks and of rows like these."""
        if len(saved["ranks"]) != group.size:
            raise ValueError(
                f"The checkpoint {os.fspath(self.checkpoint)!r} is of {len(saved['ranks'])} processes, but there are "
                f"{group.size}. Go on with as many, or set resume=False to begin anew and overwrite it."
            )
        rates = saved["fitted"]["base_rates_"]
        same = saved["n_rows"] == n_rows and rates.shape == self.base_rates_.shape
        if not same or not np.allclose(rates, self.base_rates_, rtol=1e-3, atol=1e-6):
            raise ValueError(
                f"The checkpoint {os.fspath(self.checkpoint)!r} is of a training on other rows: {saved['n_rows']} of "
                f"{len(rates)} features, or of other means, than these {n_rows} of {len(self.base_rates_)}. Go "
                "on with the same rows, or set resume=False to begin anew and overwrite it."
            )
