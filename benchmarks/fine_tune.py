"""Two stacked machines, made into a network and fine-tuned in plain torch, against the network from random weights.

SKRBM_MNIST=FOLDER python benchmarks/fine_tune.py

The last 10,000 training rows are held out: they choose the classifier's C, the learning rate of each network, and the
epoch at which it is best. The test rows are read once, at the end.
"""

import argparse
import copy
import time

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from skrbm import BernoulliRBMTorch
from skrbm.datasets import load_mnist

N_HELD_OUT, N_CLASSES, BATCH = 10_000, 10, 100


def error(predicted, y):
    """Per cent."""
    return 100 * float((np.asarray(predicted) != y).mean())


@torch.no_grad()
def network_error(network, X, y):
    return error(torch.cat([network(part).argmax(1) for part in torch.from_numpy(X).split(5000)]), y)


def stack(X, args):
    """The two machines, the second trained on the features of the first."""
    machines = []
    for n_hidden in args.n_hidden:
        began = time.perf_counter()
        machines.append(BernoulliRBMTorch(n_hidden, n_iter=args.n_iter, random_state=args.seed).fit(X))
        print(f"{X.shape[1]}-{n_hidden}: {args.n_iter} epochs in {time.perf_counter() - began:.0f} s", flush=True)
        X = machines[-1].transform(X)
    return machines


def classify(X, y, X_val, y_val):
    """Softmax regression on features that stay as they are."""
    found = []
    for C in (0.1, 1.0):
        model = LogisticRegression(C=C, max_iter=100, tol=1e-3).fit(X, y)
        found.append((error(model.predict(X_val), y_val), C, model))
    held_out, C, model = min(found, key=lambda candidate: candidate[:2])
    return model, f"C={C:g}", held_out


def pretrained(machines, classifier):
    network = nn.Sequential(*(part for machine in machines for part in machine.to_torch()))
    head = nn.Linear(machines[-1].n_hidden, N_CLASSES)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(classifier.coef_))
        head.bias.copy_(torch.from_numpy(classifier.intercept_))
    return network.append(head)


def from_random(like):
    """The same layers with Glorot's random weights."""
    network = copy.deepcopy(like)
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return network


def tune(network, X, y, X_val, y_val, n_epochs, learning_rate):
    """The network of the epoch that is best on the held-out rows; a copy."""
    network = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=n_epochs * (len(X) // BATCH))
    X, y, best = torch.from_numpy(X), torch.from_numpy(y), (np.inf, 0, network)
    for epoch in range(1, n_epochs + 1):
        for rows in torch.randperm(len(X)).split(BATCH):
            loss = nn.functional.cross_entropy(network(X[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        held_out = network_error(network, X_val, y_val)
        if held_out < best[0]:
            best = held_out, epoch, copy.deepcopy(network)
    return best


def tuned(network, data, args):
    """The best of the learning rates."""
    found = []
    for rate in args.learning_rates:
        torch.manual_seed(args.seed)
        held_out, epoch, best = tune(network, *data, args.n_tune, rate)
        found.append((held_out, f"learning rate {rate:g}, epoch {epoch} of {args.n_tune}", best))
    held_out, chosen, best = min(found, key=lambda candidate: candidate[0])
    return best, chosen, held_out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-hidden", type=int, nargs="+", default=[500, 500])
    parser.add_argument("--n-iter", type=int, default=20, help="epochs of each machine")
    parser.add_argument("--n-tune", type=int, default=10, help="epochs of each network")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[3e-3, 1e-2], help="of Adam")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    began = time.perf_counter()

    train = load_mnist()
    X, y = np.asarray(train.data, np.float32), np.asarray(train.target, np.int64)
    X_val, y_val = X[-N_HELD_OUT:], y[-N_HELD_OUT:]
    X, y = X[:-N_HELD_OUT], y[:-N_HELD_OUT]
    machines = stack(X, args)

    def features(X):
        for machine in machines:
            X = machine.transform(X)
        return X

    classifier, *first = classify(features(X), y, features(X_val), y_val)
    start, data = pretrained(machines, classifier), (X, y, X_val, y_val)
    fine, *second = tuned(start, data, args)
    plain, *third = tuned(from_random(start), data, args)

    test = load_mnist(subset="test")
    X_test, y_test = np.asarray(test.data, np.float32), np.asarray(test.target, np.int64)
    print(f"{'':<44}{'held out':>9}{'test':>9}")
    for name, (chosen, held_out), test_error in (
        ("softmax on the features as they are", first, error(classifier.predict(features(X_test)), y_test)),
        ("the network, fine-tuned", second, network_error(fine, X_test, y_test)),
        ("the same network from random weights", third, network_error(plain, X_test, y_test)),
    ):
        print(f"{name:<44}{held_out:>7.2f} %{test_error:>7.2f} %   {chosen}")
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
