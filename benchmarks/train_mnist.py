"""Train a machine on MNIST's 60,000 training digits and store it, for the other scripts.

SKRBM_MNIST=FOLDER python benchmarks/train_mnist.py build/pcd.joblib
SKRBM_MNIST=FOLDER python benchmarks/train_mnist.py build/cd.joblib --algorithm cd
"""

import argparse
import time
from pathlib import Path

import joblib

from skrbm import BernoulliRBMTorch
from skrbm.datasets import load_mnist


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--algorithm", choices=["pcd", "cd"], default="pcd")
    parser.add_argument("--n-hidden", type=int, default=500)
    parser.add_argument("--n-iter", type=int, default=50)
    args = parser.parse_args()
    model = BernoulliRBMTorch(
        args.n_hidden,
        algorithm=args.algorithm,
        n_iter=args.n_iter,
        store_trajectory=args.algorithm == "pcd",
        random_state=0,
    )
    began = time.perf_counter()
    model.fit(load_mnist().data)
    print(f"{model}: {time.perf_counter() - began:.0f} s, {len(getattr(model, 'trajectory_', []))} checkpoints")
    Path(args.file).parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, args.file)


if __name__ == "__main__":
    main()
