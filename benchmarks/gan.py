"""A small GAN, as lectures set one beside restricted Boltzmann machines, against ours: MNIST, the same seconds.

    SKRBM_MNIST=FOLDER python benchmarks/gan.py [--held-out] [--seeds 3] [--figures FOLDER] [--csv FILE]
    SKRBM_MNIST=FOLDER python benchmarks/gan.py --choose --seconds 50

The GAN has a latent layer of 19 and dense layers of 100: 81,184 parameters in its generator, 78,601 in its
discriminator. It is trained for the wall time that the RBM of 500 units took; the RBM of 100 units is of its own size.
"averaged" is the generator of the mean weights. RBMs are at their defaults. Samples of an RBM are ends of Gibbs chains
of 1,000 steps from random bits; those of the GAN and the digits are drawn as Bernoulli pixels, once: all are bits.

The table has, against the same test digits: AATS (0.5 and 0.5 at best) and MMD², the median Hamming distance to the
nearest training digit, the Fréchet distance of the features of a small convolutional classifier, and what that makes of
the classes: the shares of the rarest and the most frequent one, half the sum of the differences to the digits' shares,
and its mean confidence. "training rows" is what training digits reach. Then the Fréchet distance (of 1,000 samples,
which makes it larger) on the way. The GAN's rate is the best of those that `--choose` tries, on held-out training
digits; its other changes were tried at a rate of 1e-3, where none helped. The rate stays constant.
"""

import argparse
import copy
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import torch
from samples import pyplot
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from skrbm import BernoulliRBMTorch
from skrbm.callbacks import OnEpoch
from skrbm.datasets import load_mnist
from skrbm.diagnostics import quality_table
from skrbm.support import Stream, Table

N_PIXELS, N_LATENT, N_DENSE, N_FEATURES, N_CLASSES = 784, 19, 100, 64, 10
N_HELD_OUT, N_LOOK, N_STEPS, SEED = 10_000, 1000, 1000, 0
LOOKS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # shares of the time of training
LOOK_NAMES = [f"{share:.0%}" for share in LOOKS]
GAN = {"learning_rate": 4e-3, "beta_1": 0.5, "batch_size": 100, "real": "grey", "dropout": 0.3, "averaging": 1e-3}
COLOURS = {"RBM 500": "#1b4f8f", "RBM 100": "#5b9bd5", "GAN": "#b03a2e", "GAN, averaged": "#e08a4f"}
QUALITY = ("samples", "train_s", "sample_s", "aa_truth", "aa_synthetic", "mmd2", "p_value", "nearest_train")
CLASSES = ("samples", "frechet", "least_class", "greatest_class", "classes_under_2%", "class_distance", "confidence")
LOOKED = ("samples", *LOOK_NAMES)
SUMMARY = ("train_s", "aa_truth", "aa_synthetic", "mmd2", "frechet", "least_class", "class_distance", "confidence")
CHOICES = {  # what is changed for --choose
    "rate 4e-3": {},
    "rate 8e-3": {"learning_rate": 8e-3},
    "rate 2e-3": {"learning_rate": 2e-3},
    "rate 1e-3": {"learning_rate": 1e-3},
    "rate 2e-4": {"learning_rate": 2e-4},
    "no dropout": {"dropout": 0.0},
    "dropout 0.5": {"dropout": 0.5},
    "beta_1 0.9": {"beta_1": 0.9},
    "real images as bits": {"real": "bits"},
    "averaging 2e-4": {"averaging": 2e-4},
}


def bits(X, use, seed=SEED):
    return Stream(seed, use).bernoulli(torch.as_tensor(X)).numpy()


# -- the GAN -----------------------------------------------------------------------------------------------------------


def generator():
    return nn.Sequential(nn.Linear(N_LATENT, N_DENSE), nn.LeakyReLU(0.2), nn.Linear(N_DENSE, N_PIXELS), nn.Sigmoid())


def discriminator(dropout):
    return nn.Sequential(nn.Linear(N_PIXELS, N_DENSE), nn.LeakyReLU(0.2), nn.Dropout(dropout), nn.Linear(N_DENSE, 1))


def n_parameters(network):
    return sum(p.numel() for p in network.parameters())


def update(G, D, optimizers, real):
    """One step of the discriminator, then one of the generator, by the non-saturating loss."""
    n = len(real)
    is_real = torch.cat((torch.ones(n, 1), torch.zeros(n, 1)))
    fake = G(torch.randn(n, N_LATENT))
    optimizers[D].zero_grad()
    binary_cross_entropy_with_logits(D(torch.cat((real, fake.detach()))), is_real).backward()
    optimizers[D].step()
    D.requires_grad_(False)
    optimizers[G].zero_grad()
    binary_cross_entropy_with_logits(D(fake), torch.ones(n, 1)).backward()
    optimizers[G].step()
    D.requires_grad_(True)


def train_gan(X, seconds, seed, *, learning_rate, beta_1, batch_size, real, dropout, averaging):
    """The generator, that of averaged weights, both at each look, and the number of updates, after `seconds`."""
    torch.manual_seed(seed)
    G, D = generator(), discriminator(dropout)
    assert [n_parameters(layer) for layer in (*G, *D) if isinstance(layer, nn.Linear)] == [2000, 79_184, 78_500, 101]
    mean = copy.deepcopy(G).requires_grad_(False)
    optimizers = {
        N: torch.optim.Adam(N.parameters(), lr=learning_rate, betas=(beta_1, 0.999), fused=True) for N in (G, D)
    }
    X, looks, n_updates, order = torch.from_numpy(X), [], 0, []
    began = time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        if spent >= LOOKS[len(looks)] * seconds:
            looks.append((copy.deepcopy(G), copy.deepcopy(mean)))
        if not order:
            order = list(torch.randperm(len(X)).split(batch_size))
        rows = X[order.pop()]
        update(G, D, optimizers, torch.bernoulli(rows) if real == "bits" else rows)
        n_updates += 1
        torch._foreach_lerp_(list(mean.parameters()), list(G.parameters()), max(averaging, 1 / n_updates))
    return [*looks, (G, mean)], n_updates


@torch.no_grad()
def sample_gan(G, n, seed=SEED):
    """Draws of the generator as bits, drawn from its greys as those of the digits are."""
    latents = torch.randn(n, N_LATENT, generator=torch.Generator().manual_seed(seed))
    return bits(G.eval()(latents), "samples", seed)


# -- what is compared --------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """A trained machine: how its samples are drawn, at the end and at each look."""

    name: str
    seed: int
    seconds: float
    sample: Callable[[int], np.ndarray]
    looks: list[Callable[[int], np.ndarray]] = field(default_factory=list)

    def __str__(self):
        return f"{self.name}, seed {self.seed}"


def rbm_run(X, n_hidden, n_iter, seed):
    epochs, looks = {max(1, round(share * n_iter)) for share in LOOKS}, []

    def look(model, epoch):
        if epoch in epochs:
            looks.append(partial(sample_rbm, model))

    model = BernoulliRBMTorch(n_hidden=n_hidden, n_iter=n_iter, random_state=seed).set_callbacks(OnEpoch(look))
    began = time.perf_counter()
    model.fit(X)
    run = Run(f"RBM {n_hidden}", seed, time.perf_counter() - began, partial(sample_rbm, model), looks)
    print(f"{run}: {n_iter} epochs in {run.seconds:.1f} s", flush=True)
    return run


def sample_rbm(model, n):
    return model.sample(n, n_steps=N_STEPS, random_state=SEED)


def stored_run(file):
    model = joblib.load(file)
    seconds = float(model.history_["seconds"].sum())
    return Run(f"RBM {model.n_hidden}", model.random_state, seconds, partial(sample_rbm, model))


def gan_runs(X, seconds, seed, settings=GAN):
    """The last generator, and the mean of the last ones."""
    looks, n_updates = train_gan(X, seconds, seed, **settings)
    n_epochs = n_updates * settings["batch_size"] / len(X)
    print(f"GAN, seed {seed}: {n_updates} updates, {n_epochs:.1f} epochs, in {seconds:.1f} s", flush=True)
    samplers = zip(*([partial(sample_gan, G) for G in look] for look in looks), strict=True)
    names = ("GAN", "GAN, averaged")
    return [Run(name, seed, seconds, each[-1], list(each)) for name, each in zip(names, samplers, strict=True)]


def train(X, args):
    """All machines of each seed, one after the other."""
    runs = []
    for seed in range(args.seeds):
        large = stored_run(args.model) if args.model and not seed else rbm_run(X, 500, args.n_iter, seed)
        runs += [large, rbm_run(X, 100, args.n_iter, seed), *gan_runs(X, args.seconds or large.seconds, seed)]
    return runs


# -- judging by a classifier -------------------------------------------------------------------------------------------


def train_classifier(X, labels, n_epochs=4):
    """A small convolutional network, taught digits that are drawn as bits afresh each epoch."""
    torch.manual_seed(SEED)
    features = nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 16, 5, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, N_FEATURES),
        nn.ReLU(),
    )
    network = nn.Sequential(features, nn.Linear(N_FEATURES, N_CLASSES))
    X, labels = torch.from_numpy(X), torch.from_numpy(labels).long()
    batches = [rows for _ in range(n_epochs) for rows in torch.randperm(len(X)).split(100)]
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, len(batches))
    for rows in batches:
        optimizer.zero_grad()
        cross_entropy(network(torch.bernoulli(X[rows])), labels[rows]).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


class Judge:
    """Compares samples with rows by what a classifier sees in them."""

    def __init__(self, network, rows, labels):
        self.network = network
        self.shares = np.bincount(labels, minlength=N_CLASSES) / len(labels)
        self.mean, self.covariance = moments(self.see(rows)[0])

    @torch.no_grad()
    def see(self, V):
        """Features and probabilities of the classes."""
        features, head = self.network
        H = torch.cat([features(rows) for rows in torch.from_numpy(V).float().split(1000)])
        return H.double().numpy(), head(H).softmax(1).numpy()

    def frechet(self, V):
        """|m - m'|² + tr(S + S' - 2 (S S')^½), of normal distributions with the moments of the features."""
        mean, covariance = moments(self.see(V)[0])
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(values.clip(0)) @ vectors.T
        overlap = np.sqrt(np.linalg.eigvalsh(root @ covariance @ root).clip(0)).sum()
        return float(((mean - self.mean) ** 2).sum() + np.trace(covariance + self.covariance) - 2 * overlap)

    def __call__(self, V):
        p = self.see(V)[1]
        shares = np.bincount(p.argmax(1), minlength=N_CLASSES) / len(p)
        return {
            "frechet": self.frechet(V),
            "least_class": shares.min(),
            "greatest_class": shares.max(),
            "classes_under_2%": int((shares < 0.02).sum()),
            "class_distance": 0.5 * float(np.abs(shares - self.shares).sum()),
            "confidence": float(p.max(1).mean()),
        }


def moments(H):
    return H.mean(0), np.cov(H, rowvar=False)


def prepare(held_out):
    """Grey digits to learn from, rows that judge, as bits, and the judge, who has seen 50,000 training digits."""
    X, labels, _ = load_mnist()
    network = train_classifier(X[:-N_HELD_OUT], labels[:-N_HELD_OUT])
    rest = bits(X[-N_HELD_OUT:], "test")
    judge = Judge(network, rest, labels)
    right = (judge.see(rest)[1].argmax(1) == labels[-N_HELD_OUT:]).mean()
    print(f"classifier: {right:.2%} of {N_HELD_OUT} held-out training digits right, as bits", flush=True)
    if held_out:
        return X[:-N_HELD_OUT], rest, judge
    judged = bits(load_mnist(subset="test").data, "test")
    return X, judged, Judge(network, judged, labels)


# -- tables ------------------------------------------------------------------------------------------------------------


def as_table(records, columns=None):
    return Table({name: np.array([record.get(name, np.nan) for record in records]) for name in columns or records[0]})


def measure(runs, judge, X, judged, n):
    """A record for each run, and one for training rows in place of samples."""
    train, samples, records = bits(X, "train"), {}, []
    for run in runs:
        began = time.perf_counter()
        samples[str(run)] = run.sample(n)
        records.append({"seed": run.seed, "train_s": run.seconds, "sample_s": time.perf_counter() - began})
    quality = quality_table(samples, judged, train, Stream(SEED, "quality"))
    samples["training rows"] = train[Stream(SEED, "ceiling").permutation(len(train))[:n]]
    records.append({})
    for i, (record, V) in enumerate(zip(records, samples.values(), strict=True)):
        looks = [look(N_LOOK) for look in runs[i].looks[:-1]] if i < len(runs) else [V[:N_LOOK]] * (len(LOOKS) - 1)
        looks = dict(zip(LOOK_NAMES, [judge.frechet(W) for W in [*looks, V[:N_LOOK]]], strict=True)) if looks else {}
        record |= {column: values[i] for column, values in quality.items()} | judge(V) | looks
    return records


def over_seeds(runs, records):
    """Mean ± standard deviation over the seeds of each kind of run."""
    table = {"samples": list(dict.fromkeys(run.name for run in runs))}
    for column in SUMMARY:
        values = {name: [] for name in table["samples"]}
        for run, record in zip(runs, records, strict=False):
            values[run.name].append(record[column])
        table[column] = [f"{np.mean(x):.3g} ± {np.std(x, ddof=1):.2g}" for x in values.values()]
    return Table({name: np.array(column) for name, column in table.items()})


def write_csv(file, records):
    with open(file, "w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(dict.fromkeys(column for record in records for column in record)))
        writer.writeheader()
        writer.writerows(records)
    print(f"wrote {file}")


def choose(X, judge, seconds, n):
    """GANs of other settings, judged on held-out digits."""
    records = []
    for name, change in CHOICES.items():
        print(f"{name}: ", end="")
        for run in gan_runs(X, seconds, SEED, GAN | change):
            looks = {look_name: judge.frechet(look(n)) for look_name, look in zip(LOOK_NAMES, run.looks, strict=True)}
            found = judge(run.sample(n))
            del found["frechet"]  # that of the last look
            records.append({"setting": name, "generator": run.name} | looks | found)
    print(as_table(records))


# -- the picture -------------------------------------------------------------------------------------------------------


def mosaic(V, n_rows=6, n_columns=5, gap=2):
    """Pictures side by side as one, NaN between them."""
    tiles = np.full((n_rows, 28 + gap, n_columns, 28 + gap), np.nan)
    tiles[:, :28, :, :28] = V[: n_rows * n_columns].reshape(n_rows, n_columns, 28, 28).swapaxes(1, 2)
    return tiles.reshape(n_rows * (28 + gap), -1)[:-gap, :-gap]


def draw(runs, records, judged, file):
    """Samples of the first seed's machines; below, how near all came to the judging rows in the meantime."""
    plt = pyplot()
    panels = [("digits not learned from", judged, records[-1])]
    panels += [(run.name, run.sample(30), r) for run, r in zip(runs, records, strict=False) if run.seed == runs[0].seed]
    tile, gap, margin, header, chart, below = (296, 356), 36, 70, 106, 250, 140  # pixels
    width, height = 2 * margin + len(panels) * (tile[0] + gap) - gap, header + tile[1] + chart + below
    figure = plt.figure(figsize=(width / 100, height / 100), dpi=100)
    cmap = plt.get_cmap("gray_r").with_extremes(bad="#dfe5ee")
    for i, (name, V, record) in enumerate(panels):
        left, bottom = margin + i * (tile[0] + gap), below + chart
        ax = figure.add_axes((left / width, bottom / height, tile[0] / width, tile[1] / height))
        ax.imshow(mosaic(V), cmap=cmap, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        ax.set_axis_off()
        ax.set_title(name, fontsize=13, pad=22, weight="bold", color=COLOURS.get(name, "black"))
        words = f"AATS {record['aa_truth']:.2f}, {record['aa_synthetic']:.2f}; Fréchet {record['frechet']:.3g}"
        words = words if i else f"training digits: {words}"
        ax.text(0.5, 1.018, words, transform=ax.transAxes, ha="center", fontsize=10)
    title = "The first samples of each machine, as bits; below, its Fréchet distance over time"
    figure.suptitle(title, x=margin / width, y=1 - 14 / height, ha="left", va="top", fontsize=12)
    ax = figure.add_axes((margin / width, 60 / height, (width - 2 * margin) / width, chart / height))
    draw_looks(ax, runs, records)
    figure.savefig(file)
    plt.close(figure)
    print(f"wrote {file}")


def draw_looks(ax, runs, records):
    """Fréchet distance over seconds of training, a line for each seed."""
    for run, record in zip(runs, records, strict=False):
        if run.looks:
            seconds, distances = [share * run.seconds for share in LOOKS], [record[name] for name in LOOK_NAMES]
            label = run.name if run.seed == runs[0].seed else None
            ax.plot(seconds, distances, "o-", color=COLOURS[run.name], ms=4, lw=1.5, label=label)
    ax.axhline(records[-1][LOOK_NAMES[-1]], color="black", lw=1.2, ls=":", label="training digits")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xlim(left=0)
    ax.set_xlabel("seconds of training")
    ax.set_ylabel(f"Fréchet distance of {N_LOOK:,} samples", fontsize=9)
    ax.legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=10)
    ax.grid(color="#e6e6e6")
    ax.spines[["top", "right"]].set_visible(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", action="store_true", help="judge on 10,000 training digits that none is taught")
    parser.add_argument("--choose", action="store_true", help="try other settings of the GAN on these")
    parser.add_argument("--seconds", type=float, help="of a GAN's training, instead of those of the larger RBM")
    parser.add_argument("--seeds", type=int, default=1, help="how many trainings of each machine")
    parser.add_argument("--n-iter", type=int, default=100, help="epochs of the RBMs")
    parser.add_argument("--n-samples", type=int, default=5000)
    parser.add_argument("--model", help="a stored machine in place of the RBM of 500 units of the first seed")
    parser.add_argument("--figures", type=Path, help="where the picture goes; none is drawn without")
    parser.add_argument("--csv", metavar="FILE", help="where the table goes, too")
    args = parser.parse_args()
    X, judged, judge = prepare(args.held_out or args.choose)
    if args.choose:
        return choose(X, judge, args.seconds or 60.0, args.n_samples)
    runs = train(X, args)
    records = measure(runs, judge, X, judged, args.n_samples)
    for columns in (QUALITY, CLASSES, LOOKED):
        print(as_table(records, columns), end="\n\n")
    if args.seeds > 1:
        print(over_seeds(runs, records))
    if args.csv:
        write_csv(args.csv, records)
    if args.figures:
        args.figures.mkdir(parents=True, exist_ok=True)
        draw(runs, records, judged, args.figures / "gan.png")
    return None


if __name__ == "__main__":
    main()
