"""Does speed cost likelihood? Machines of MNIST in several precisions and seeds.

    SKRBM_MNIST=FOLDER python benchmarks/quality.py [--precision float32 auto] [--held-out]
    SKRBM_MNIST=FOLDER python benchmarks/quality.py --n-hidden 20 --precision float32 int8

Each is trained with the defaults but for the number of epochs: PCD-1, batches of 100, 100 chains. log Z is exact up to
20 hidden units, and else by AIS. The log-likelihood is that of the test digits, each drawn once as Bernoulli pixels;
with --held-out that of 10,000 training digits that training doesn't see. The script runs on earlier versions, too.
"""

import argparse
import time
import warnings

import numpy as np

import skrbm
from skrbm import BernoulliRBMTorch
from skrbm.datasets import load_mnist


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", nargs="+", default=["float32", "auto"])
    parser.add_argument("--algorithm", default="pcd")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-hidden", type=int, default=500)
    parser.add_argument("--n-iter", type=int, default=30)
    parser.add_argument("--n-temperatures", type=int, default=20_000)
    parser.add_argument("--held-out", action="store_true")
    args = parser.parse_args()

    X = load_mnist().data
    train, rows = (X[:50_000], X[50_000:60_000]) if args.held_out else (X[:60_000], load_mnist(subset="test").data)
    print(f"skrbm in {skrbm.__path__[0]}, {args.n_iter} epochs, {'held-out' if args.held_out else 'test'} rows")
    print("precision  seed    nats  std. err.    ESS  seconds")
    for precision in args.precision:
        means = []
        for seed in range(args.seeds):
            model = BernoulliRBMTorch(
                args.n_hidden, algorithm=args.algorithm, n_iter=args.n_iter, precision=precision, random_state=seed
            )
            began = time.perf_counter()
            model.fit(train)
            seconds = time.perf_counter() - began
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the effective sample size is printed
                found = model.log_partition(n_temperatures=args.n_temperatures, random_state=seed)
            means.append(float(model.log_likelihood(rows).mean(dtype=np.float64)))
            line = f"{precision:<9}  {seed:>4}  {means[-1]:6.2f}  {found.standard_error:9.2f}"
            size = "exact" if found.effective_sample_size is None else f"{found.effective_sample_size:.1f}"
            print(f"{line}  {size:>5}  {seconds:7.0f}", flush=True)
        print(f"{precision:<9}  mean  {np.mean(means):6.2f}  {np.std(means, ddof=1) / len(means) ** 0.5:9.2f} (seeds)")


if __name__ == "__main__":
    main()
