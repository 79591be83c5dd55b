"""The constants behind learning_rate="auto", weight_decay="auto" and balance_modes, one at a time, on validation rows.

    python benchmarks/constants.py FOLDER [NAME …] [--only CONSTANT …] [--seed 0] [--jobs 2]

Each is halved and doubled while the others stay as they are in `skrbm.training`; FOLDER and the names are those of
`any_table.py`. Prints the nats of each fit, and in the end by how much each change is worse than the constants as they
are, in percent of the nats of a table: the median over the tables where both are measurable, the worst, and on how many
tables it is better or worse by more than half a percent.
"""

import argparse
import importlib
import warnings

import numpy as np
import torch
from any_table import LEAST_SIZE, MOST_ABOVE, evaluate, rows_of
from joblib import Parallel, delayed

from skrbm import BernoulliRBMTorch

NAMES = [
    "nltcs", "plants", "jester", "pumsb_star", "mushrooms", "dna", "digits", "clusters-200-5-1.0-300",
    "curie-weiss-200-1.1-300", "ising-10x20-0.44-300", "tree-300-16-2.0-2000", "mosaic-200-10-0.05-2000",
    "clusters-400-10-0.5-1000", "ising-10x20-0.6-2000",
]  # fmt: skip
CONSTANTS = {  # by name: module of skrbm.training
    "LIMIT_PER_UNIT": "settings", "_NOISE": "settings", "_PRECISION": "settings", "_PRECISION_OF_TABLE": "settings",
    "_NARROW": "settings",
    "_GAIN": "pace", "_GROWTH": "pace", "_UNIT": "spectrum", "_N_DIRECTIONS": "balance",
}  # fmt: skip
FACTORS = (0.5, 2.0)


def nats(name, constant, factor, seed, folder):
    """Mean log-likelihood of the validation rows, NaN where it isn't measurable."""
    torch.set_num_threads(1)
    if constant is not None:
        module = importlib.import_module(f"skrbm.training.{CONSTANTS[constant]}")
        value = getattr(module, constant)
        setattr(module, constant, type(value)(value * factor))
    try:
        X = rows_of(name, "train", folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = BernoulliRBMTorch(random_state=seed).fit(X)
        found, size, above = evaluate(model, X, rows_of(name, "valid", folder), 2000)
    finally:
        if constant is not None:
            setattr(module, constant, value)
    counts = size >= LEAST_SIZE and above <= MOST_ABOVE
    shown = f"{found:.3f}" if counts else f"({found:.3f})"
    print(f"{name:<28} {constant or 'as they are':<20} {factor:4g} {shown:>12}", flush=True)
    return found if counts else np.nan


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--only", nargs="+", choices=CONSTANTS, default=list(CONSTANTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    changes = [(None, 1.0), *((constant, factor) for constant in args.only for factor in FACTORS)]
    jobs = [(name, *change) for change in changes for name in args.names]
    found = Parallel(args.jobs)(delayed(nats)(*job, args.seed, args.folder) for job in jobs)
    table = np.reshape(found, (len(changes), len(args.names)))
    print(f"\n{'constant':<20} {'times':>5} {'median %':>9} {'worst %':>8}  better  worse  of")
    for (constant, factor), row in zip(changes[1:], table[1:], strict=True):
        worse = 100 * (table[0] - row) / np.abs(table[0])
        worse = worse[np.isfinite(worse)]
        if len(worse):
            print(
                f"{constant:<20} {factor:5g} {np.median(worse):9.2f} {worse.max():8.2f}  "
                f"{(worse < -0.5).sum():6d} {(worse > 0.5).sum():6d} {len(worse):3d}"
            )


if __name__ == "__main__":
    main()
