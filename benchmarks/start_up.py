"""Seconds of imports and of the first fit in a fresh process.

python benchmarks/start_up.py
"""

import subprocess
import sys
import time

import numpy as np

_PROCESS = """
import time
began = time.perf_counter()
import torch, sklearn.base, sklearn.utils.validation
others = time.perf_counter()
from skrbm import BernoulliRBMTorch
imported = time.perf_counter()
import numpy as np
X = np.random.default_rng(0).integers(0, 2, (1797, 64)).astype(np.float32)
start = time.perf_counter()
BernoulliRBMTorch(n_hidden=100, n_iter=1, random_state=0).fit(X)
print(others - began, imported - others, time.perf_counter() - start)
"""


def main():
    python, found, version = sys.executable, [], []
    for _ in range(3):
        run = subprocess.run([python, "-c", _PROCESS], capture_output=True, text=True, check=True)
        found.append([float(seconds) for seconds in run.stdout.split()])
        began = time.perf_counter()
        subprocess.run([python, "-c", "from skrbm.commands.cli import main; main(['--version'])"], check=True)
        version.append(time.perf_counter() - began)
    others, imported, fit = np.median(found, 0)
    print(f"torch and what any estimator needs of scikit-learn {others:.2f} s, skrbm on top {imported:.2f} s")
    print(f"first fit {fit:.2f} s; skrbm --version {np.median(version):.2f} s")


if __name__ == "__main__":
    main()
