"""The rows of all processes together: training asks them, and never who else there is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice

import numpy as np
from torch import Tensor

from skrbm.distributed import ALONE, Group
from skrbm.rows.source import Batch, Binarize, HeldOut, RowSource
from skrbm.support.checks import warn
from skrbm.support.randomness import Stream


class SharedRows(RowSource):
    """Rows of this process among those of others, or alone.

    Means and numbers are those over all ranks, samples and batches those of this one. An epoch has as many batches as
    the rank with the fewest can have.

    Parameters
    ----------
    source : RowSource
        Rows of this process.
    group : Group
        The processes.
    held_out : HeldOut, optional
        Rows of this process that learning doesn't see.

    Attributes
    ----------
    n_own_rows : int
        Rows of this process.
    """

    group: Group
    held_out: HeldOut | None
    n_features: int
    n_rows: int
    n_own_rows: int
    total_weight: float
    is_binary: bool
    is_weighted: bool
    has_full_batches: bool
    has_gaps: bool
    has_absent: bool

    def __init__(self, source: RowSource, group: Group = ALONE, held_out: HeldOut | None = None) -> None:
        self._source, self.group, self.held_out = source, group, held_out
        self.n_features, self.is_binary, self.is_weighted = source.n_features, source.is_binary, source.is_weighted
        self.n_own_rows, self.n_rows = source.n_rows, group.total(source.n_rows)
        self.total_weight, self.has_full_batches = source.total_weight, source.has_full_batches and group.size == 1
        self.has_gaps, self.has_absent = source.has_gaps, source.has_absent
        self._plan = cache(self._agree)  # asked of the others once for each size of batches

    def n_batches(self, batch_size: int) -> int:
        return self._plan(batch_size)[0]

    def mean(self, rule: Binarize) -> Tensor:
        return self.group.mean(self._source.mean(rule), self.total_weight)

    def share_known(self) -> Tensor:
        return self.group.mean(self._source.share_known(), self.total_weight)

    def some(self, n: int, stream: Stream) -> Tensor:
        return self._source.some(n, stream)

    def epoch(self, stream: Stream, batch_size: int = 100, as_kept: bool = False) -> Iterator[Batch]:
        if self.group.size == 1:  # also of rows that turn out to be more than were seen beforehand
            yield from self._source.epoch(stream, batch_size, as_kept)
            return
        n_batches, are_alike = self._plan(batch_size)
        for i, batch in enumerate(islice(self._source.epoch(stream, batch_size), n_batches)):
            # The last one may have fewer rows in one process than in another.
            yield batch._replace(is_even=are_alike and i < n_batches - 1)

    def put_(self, batch: Batch) -> None:
        self._source.put_(batch)

    def provisional(self) -> np.ndarray | None:
        return self._source.provisional()

    def set_provisional_(self, values: np.ndarray) -> None:
        self._source.set_provisional_(values)

    def _agree(self, batch_size: int) -> tuple[int, bool]:
        """The number of batches of all ranks, and whether they have as many rows each."""
        n_own = self._source.n_batches(batch_size)
        n_batches = self.group.least(n_own)
        if n_batches < 0.9 * n_own:
            warn(
                f"Rank {self.group.rank} has rows for {n_own} batches, another for {n_batches} only, which is "
                "how long an epoch is. Give all ranks about as many rows."
            )
        kinds = self.group.gather_everywhere(self._source.has_full_batches and not self.is_weighted and batch_size)
        return n_batches, bool(kinds[0]) and len(set(kinds)) == 1
