"""Pictures of completed and of fresh digits, and how samples compare with test digits.

    SKRBM_MNIST=FOLDER python benchmarks/train_mnist.py build/pcd.joblib
    SKRBM_MNIST=FOLDER python benchmarks/train_mnist.py build/cd.joblib --algorithm cd
    SKRBM_MNIST=FOLDER python benchmarks/samples.py build/pcd.joblib build/cd.joblib [--figures FOLDER]

Test and training digits are drawn once as Bernoulli pixels. All chains start from random bits. The pictures need
matplotlib: `pip install "skrbm[plots]"`.
"""

import argparse
import time
from pathlib import Path

import joblib
import numpy as np
import torch

from skrbm.datasets import load_mnist
from skrbm.diagnostics import quality_table
from skrbm.support import Stream

N_PIXELS, N_PICTURED, SEED = 784, 12, 0


def bits(X, use):
    return Stream(SEED, use).bernoulli(torch.from_numpy(X)).numpy()


def pyplot():
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError('The pictures need matplotlib. Install it with: pip install "skrbm[plots]"') from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def draw(rows, title, file):
    """Rows of pictures by their labels; NaN pixels are shaded."""
    plt = pyplot()
    cmap = plt.get_cmap("gray_r").with_extremes(bad="#c9d8ea")
    n = max(len(pictures) for pictures in rows.values())
    figure, axes = plt.subplots(len(rows), n, figsize=(0.72 * n + 2.4, 0.74 * len(rows) + 0.5), squeeze=False)
    for (label, pictures), line in zip(rows.items(), axes, strict=True):
        for picture, ax in zip(pictures, line, strict=True):
            ax.imshow(np.ma.masked_invalid(picture.reshape(28, 28)), cmap=cmap, vmin=0, vmax=1)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_color("#bbbbbb")
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=8, fontsize=9)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout(pad=0.4, h_pad=0.3, w_pad=0.3)
    figure.savefig(file, dpi=130)
    plt.close(figure)
    print(f"wrote {file}")


def complete(model, X, labels, file):
    """The first test digit of each kind with its lower half missing."""
    whole = X[[np.flatnonzero(labels == digit)[0] for digit in np.unique(labels)]]
    given = whole.copy()
    given[:, N_PIXELS // 2 :] = np.nan
    rows = {"test digit": whole, "given": given, "mean": model.complete(given, n_steps=1000, random_state=SEED)}
    for i in range(3):
        rows[f"sample {i + 1}"] = model.complete(given, "sample", n_steps=1000, random_state=SEED + 1 + i)
    draw(rows, "Lower halves completed by 1,000 clamped Gibbs steps from random bits", file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pcd")
    parser.add_argument("cd")
    parser.add_argument("--figures", type=Path, help="where pictures go; none are drawn without")
    parser.add_argument("--n-samples", type=int, default=1000)
    parser.add_argument("--n-steps", type=int, default=1000, help="of Gibbs chains")
    parser.add_argument("--n-tempering-steps", type=int, default=200)
    args = parser.parse_args()
    pcd, cd = joblib.load(args.pcd), joblib.load(args.cd)
    X, labels, _ = load_mnist(subset="test")
    train, test = bits(load_mnist().data, "train"), bits(X, "test")
    runs = {
        "CD-1, Gibbs": (cd, "gibbs", args.n_steps),
        "CD-1, parallel tempering": (cd, "parallel_tempering", args.n_tempering_steps),
        "PCD, Gibbs": (pcd, "gibbs", args.n_steps),
        "PCD, parallel tempering": (pcd, "parallel_tempering", args.n_tempering_steps),
        "PCD, trajectory tempering": (pcd, "trajectory_tempering", args.n_tempering_steps),
    }
    samples = {}
    for name, (model, method, n_steps) in runs.items():
        began = time.perf_counter()
        label = f"{name},\n{n_steps} steps"
        samples[label] = model.sample(args.n_samples, n_steps, method=method, random_state=SEED)
        print(f"{name}: {args.n_samples} chains, {n_steps} steps, {time.perf_counter() - began:.0f} s", flush=True)
    print(quality_table({k.replace("\n", " "): V for k, V in samples.items()}, test, train, Stream(SEED, "quality")))
    if args.figures:
        args.figures.mkdir(parents=True, exist_ok=True)
        complete(pcd, test, labels, args.figures / "completed.png")
        rows = {"test digits": test[:N_PICTURED]} | {label: V[:N_PICTURED] for label, V in samples.items()}
        draw(rows, "Samples from random bits, the first of each run", args.figures / "samples.png")


if __name__ == "__main__":
    main()
