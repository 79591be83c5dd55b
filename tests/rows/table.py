"""A table of greys, the same as bits, and what yields them in batches."""

import numpy as np
from torch.utils.data import IterableDataset

from skrbm.support.randomness import Stream

X = np.random.default_rng(0).random((230, 6)).astype(np.float32)
BITS = (X > 0.7).astype(np.float32)


class Batches:
    """What can be iterated over again and again."""

    def __init__(self, X, size=50, wrap=lambda rows: rows):
        self.X, self.size, self.wrap, self.n_times = X, size, wrap, 0

    def __iter__(self):
        self.n_times += 1
        for first in range(0, len(self.X), self.size):
            yield self.wrap(self.X[first : first + self.size])


class Iterable(IterableDataset):
    def __iter__(self):
        return iter(Batches(BITS))


def mapped(path, X):
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def sorted_rows(rows):
    rows = np.asarray(rows)
    return rows[np.lexsort(rows.T)]


def rows_of(source, seed=0):
    return np.concatenate([np.asarray(batch.v, float) for batch in source.epoch(Stream(seed), 20)])
