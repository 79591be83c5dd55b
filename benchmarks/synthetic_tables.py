"""Synthetic tables of zeros and ones whose truth is known: rows drawn exactly, and log p of any row, in nats.

Each `Truth` draws rows and tells their log-probabilities; `TABLES` has tables of 200 to 1,500 columns and 300 to 20,000
rows by name. `python benchmarks/synthetic_tables.py` checks each kind against enumeration and lists the tables.
"""

import argparse
import itertools
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

N_HELD_OUT = 2000  # rows that learning doesn't see, validation and test each


class CurieWeiss:
    """p(s) ∝ exp(J/(2V) (Σ s)²), s = ±1: every column coupled to every other. Two modes for J > 1."""

    def __init__(self, n_columns, coupling):
        self.n_columns, self.coupling = n_columns, coupling
        ones = np.arange(n_columns + 1)
        self._energy = coupling / (2 * n_columns) * (2 * ones - n_columns) ** 2
        n_states = gammaln(n_columns + 1) - gammaln(ones + 1) - gammaln(n_columns - ones + 1)
        self._log_z = logsumexp(n_states + self._energy)
        self._p = np.exp(n_states + self._energy - self._log_z)

    def sample(self, n, rng):
        ones = rng.choice(self.n_columns + 1, size=n, p=self._p / self._p.sum())
        return (rng.random((n, self.n_columns)).argsort(1) < ones[:, None]).astype(np.float32)

    def log_p(self, X):
        return self._energy[X.sum(1).round().astype(int)] - self._log_z


class Ising:
    """p(s) ∝ exp(β Σ s s') over neighbours of a grid of `width` × `length` with open ends; critical at β = 0.44.

    Rows and log Z are exact: the grid is built site by site, and a table of 2^width numbers sums up what lies behind.
    """

    def __init__(self, width, length, beta):
        self.width, self.length, self.beta = width, length, beta
        self.n_columns = width * length

    def _bonds(self, site):
        """Which of the latest `width` sites, by age from 0 on, a site is bound to."""
        column = site % self.width
        ages = [self.width - 1] if site >= self.width else []
        return ages + ([0] if column else [])

    def _messages(self):
        """log of the sum over all that follows, by the latest `width` sites (bit i: the one of age i)."""
        size = 1 << self.width
        states = np.arange(size)
        after = np.zeros(size)
        messages = [after]
        for site in reversed(range(self.n_columns)):
            options = []
            for bit in (0, 1):
                energy = np.zeros(size)
                for age in self._bonds(site):
                    energy += self.beta * (2 * bit - 1) * (2 * (states >> age & 1) - 1)
                options.append(energy + after[(states << 1 | bit) & (size - 1)])
            after = np.logaddexp(*options)
            messages.append(after)
        return messages[::-1]

    @property
    def _log_z(self):
        return self._messages()[0][0]

    def sample(self, n, rng):
        messages, size = self._messages(), 1 << self.width
        state, X = np.zeros(n, np.int64), np.empty((n, self.n_columns), np.float32)
        for site in range(self.n_columns):
            field = np.zeros(n)
            for age in self._bonds(site):
                field += 2 * self.beta * (2 * (state >> age & 1) - 1)
            on, off = (state << 1 | 1) & (size - 1), state << 1 & (size - 1)
            log_odds = field + messages[site + 1][on] - messages[site + 1][off]
            bit = rng.random(n) < 1 / (1 + np.exp(-log_odds))
            X[:, site], state = bit, np.where(bit, on, off)
        return X

    def log_p(self, X):
        s = (2.0 * X - 1).reshape(len(X), self.length, self.width)
        bonds = (s[:, 1:] * s[:, :-1]).sum((1, 2)) + (s[:, :, 1:] * s[:, :, :-1]).sum((1, 2))
        return self.beta * bonds - self._log_z


class Clusters:
    """A mixture of products of Bernoullis. `spread` says how far the rates of the clusters lie from a half.

    With `n_levels` > 1 the clusters are the leaves of a tree whose branches each change a share of the columns.
    """

    def __init__(self, n_columns, n_clusters, spread, n_levels=1, seed=0):
        rng = np.random.default_rng([seed, n_columns, n_clusters])
        if n_levels == 1:
            logits = spread * rng.standard_normal((n_clusters, n_columns))
        else:
            logits = spread * rng.standard_normal((1, n_columns))
            n_branches = round(n_clusters ** (1 / n_levels))
            for _ in range(n_levels):
                logits = np.repeat(logits, n_branches, 0)
                redrawn = rng.random(logits.shape) < 1 / n_levels
                logits = np.where(redrawn, spread * rng.standard_normal(logits.shape), logits)
        self.n_columns = n_columns
        self._rates = 1 / (1 + np.exp(-logits))
        self._weights = rng.dirichlet(np.full(len(logits), 5.0))

    def sample(self, n, rng):
        which = rng.choice(len(self._weights), size=n, p=self._weights)
        return (rng.random((n, self.n_columns)) < self._rates[which]).astype(np.float32)

    def log_p(self, X):
        X = X.astype(np.float64)
        joint = X @ np.log(self._rates).T + (1 - X) @ np.log1p(-self._rates).T + np.log(self._weights)
        return logsumexp(joint, axis=1)


class Mosaic:
    """Rows that copy one of a few founders, column after column, switch between them now and then, and make errors.

    A hidden Markov chain, as for the haplotypes of a population: neighbouring columns are strongly correlated.
    """

    def __init__(self, n_columns, n_founders, switch, error, seed=0):
        rng = np.random.default_rng([seed, n_columns, n_founders])
        self.n_columns, self.n_founders, self.switch, self.error = n_columns, n_founders, switch, error
        self._founders = rng.random((n_founders, n_columns)) < rng.beta(0.5, 0.5, n_columns)

    def sample(self, n, rng):
        which, X = rng.integers(self.n_founders, size=n), np.empty((n, self.n_columns), np.float32)
        for column in range(self.n_columns):
            jump = rng.random(n) < self.switch
            which = np.where(jump, rng.integers(self.n_founders, size=n), which)
            X[:, column] = self._founders[which, column] ^ (rng.random(n) < self.error)
        return X

    def log_p(self, X):
        share, log_p = np.full((len(X), self.n_founders), 1 / self.n_founders), np.zeros(len(X))
        for column in range(self.n_columns):
            share = (1 - self.switch) * share + self.switch / self.n_founders
            right = self._founders[:, column] == (X[:, column, None] > 0.5)
            share = share * np.where(right, 1 - self.error, self.error)
            total = share.sum(1)
            log_p += np.log(total)
            share /= total[:, None]
        return log_p


class Altered:
    """The columns of another table, some of them again, some of them again with 0 and 1 exchanged, and constants."""

    def __init__(self, truth, n_same=0, n_negated=0, n_constant=0):
        self._truth, self._extra = truth, (n_same, n_negated, n_constant)
        self.n_columns = truth.n_columns + n_same + n_negated + n_constant

    def sample(self, n, rng):
        X = self._truth.sample(n, rng)
        n_same, n_negated, n_constant = self._extra
        again = np.arange(n_same + n_negated) % self._truth.n_columns
        constant = np.broadcast_to(np.arange(n_constant, dtype=np.float32) % 2, (n, n_constant))
        return np.hstack([X, X[:, again[:n_same]], 1 - X[:, again[n_same:]], constant])

    def log_p(self, X):
        return self._truth.log_p(X[:, : self._truth.n_columns])


@dataclass(frozen=True)
class Synthetic:
    """A truth, and how many rows there are to learn from."""

    truth: object
    n_rows: int
    seed: int = 0

    def rows(self, part):
        """Rows to learn from ("train"), or to choose ("valid") or judge ("test") by."""
        seed = ["train", "valid", "test"].index(part)
        n_rows = self.n_rows if part == "train" else N_HELD_OUT
        return self.truth.sample(n_rows, np.random.default_rng([self.seed, seed]))


def _tables():
    for n_columns, coupling, n_rows in [
        (200, 0.8, 2000), (200, 1.1, 300), (400, 1.3, 5000), (800, 1.1, 1000), (1000, 0.9, 1200),
        (1200, 1.3, 1200), (1500, 1.05, 2000), (300, 1.0, 20000),
    ]:  # fmt: skip
        yield f"curie-weiss-{n_columns}-{coupling}-{n_rows}", Synthetic(CurieWeiss(n_columns, coupling), n_rows)
    for width, length, beta, n_rows in [
        (10, 20, 0.3, 2000), (10, 20, 0.44, 300), (10, 20, 0.6, 2000), (10, 30, 0.44, 20000), (10, 50, 0.44, 2000),
        (10, 50, 0.6, 1000), (10, 100, 0.35, 1500), (10, 100, 0.44, 1200), (10, 100, 0.6, 5000), (10, 150, 0.5, 1200),
    ]:  # fmt: skip
        yield f"ising-{width}x{length}-{beta}-{n_rows}", Synthetic(Ising(width, length, beta), n_rows)
    for n_columns, n_clusters, spread, n_rows in [
        (200, 5, 1.0, 300), (200, 20, 2.0, 5000), (400, 10, 0.5, 1000), (500, 50, 1.5, 20000), (800, 5, 0.4, 1600),
        (1001, 5, 0.5, 1600), (1000, 10, 1.0, 1000), (1000, 10, 3.0, 1000), (1500, 20, 1.0, 5000), (1500, 3, 0.3, 300),
    ]:  # fmt: skip
        truth = Clusters(n_columns, n_clusters, spread)
        yield f"clusters-{n_columns}-{n_clusters}-{spread}-{n_rows}", Synthetic(truth, n_rows)
    for n_columns, n_clusters, spread, n_levels, n_rows in [
        (300, 16, 2.0, 2, 2000), (1000, 27, 2.0, 3, 1200), (1400, 64, 3.0, 3, 2000),
    ]:  # fmt: skip
        truth = Clusters(n_columns, n_clusters, spread, n_levels)
        yield f"tree-{n_columns}-{n_clusters}-{spread}-{n_rows}", Synthetic(truth, n_rows)
    for n_columns, n_founders, switch, error, n_rows in [
        (200, 10, 0.05, 0.02, 2000), (500, 20, 0.02, 0.01, 5000), (1000, 10, 0.01, 0.05, 1000),
        (1359, 30, 0.01, 0.02, 1214), (1359, 8, 0.005, 0.03, 1214), (800, 50, 0.02, 0.02, 20000),
    ]:  # fmt: skip
        truth = Mosaic(n_columns, n_founders, switch, error)
        yield f"mosaic-{n_columns}-{n_founders}-{switch}-{n_rows}", Synthetic(truth, n_rows)
    for name, truth, extra, n_rows in [
        ("clusters", Clusters(100, 10, 1.0), (100, 0, 0), 2000),
        ("clusters", Clusters(100, 10, 1.0), (200, 200, 20), 2000),
        ("clusters", Clusters(300, 5, 0.5), (0, 300, 0), 1000),
        ("ising", Ising(10, 10, 0.44), (100, 100, 10), 5000),
        ("ising", Ising(10, 20, 0.3), (50, 50, 100), 1000),
        ("curie-weiss", CurieWeiss(100, 1.2), (300, 300, 0), 2000),
        ("mosaic", Mosaic(200, 10, 0.05, 0.02), (100, 100, 0), 2000),
    ]:
        n_same, n_negated, n_constant = extra
        words = f"{name}-{truth.n_columns}+{n_same}-{n_negated}+{n_constant}-{n_rows}"
        yield words, Synthetic(Altered(truth, *extra), n_rows)


TABLES = dict(_tables())


def _check(truth):
    """Probabilities sum to 1, and rows come as often as they should."""
    states = np.array(list(itertools.product([0.0, 1.0], repeat=truth.n_columns)), np.float32)
    p = np.exp(truth.log_p(states))
    n, rng = 200_000, np.random.default_rng(1)
    codes = (truth.sample(n, rng) @ (1 << np.arange(truth.n_columns)[::-1])).astype(int)
    counts = np.bincount(codes, minlength=len(states))
    expected = n * p
    frequent = expected > 5
    chi2 = ((counts - expected)[frequent] ** 2 / expected[frequent]).sum()
    return p.sum(), (chi2 - frequent.sum()) / np.sqrt(2 * frequent.sum())


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for truth in [
        CurieWeiss(8, 1.2), Ising(3, 3, 0.5), Clusters(8, 3, 1.0), Clusters(8, 4, 1.0, 2), Mosaic(8, 3, 0.2, 0.1),
    ]:  # fmt: skip
        total, z = _check(truth)
        print(f"{type(truth).__name__:<12} Σ p = {total:.12f}; z of the frequencies of rows {z:+.1f}")
    print(f"\n{len(TABLES)} tables\n{'name':<34} {'columns':>8} {'rows':>6} {'truth':>10} {'independent':>12}")
    for name, table in TABLES.items():
        X, mean = table.rows("valid"), table.rows("train").mean(0).clip(1e-3, 1 - 1e-3)
        independent = (X @ np.log(mean) + (1 - X) @ np.log1p(-mean)).mean()
        print(f"{name:<34} {X.shape[1]:8d} {table.n_rows:6d} {table.truth.log_p(X).mean():10.2f} {independent:12.2f}")


if __name__ == "__main__":
    main()
