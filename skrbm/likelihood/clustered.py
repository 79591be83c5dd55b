"""AIS from a base machine for each cluster of rows: samples of all modes of a machine that the rows are in."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from skrbm.likelihood.annealed import Annealed, anneal
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.restricted import RBMParameters
from skrbm.machines.units import Unit
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream

_MAX_CLUSTERS, _ROWS_PER_CLUSTER = 8, 10
_EXTRA_SHARES = 2  # of the chains, for the last cluster: modes where no rows are may be hard to come by


@dataclass(frozen=True)
class Clusters:
    """Clusters of rows, each with the machine without weights that has its means.

    Attributes
    ----------
    bias : Tensor of shape (n_clusters, n_features)
        Visible biases of these machines.
    visible : Unit
        What kind of unit they have.
    """

    bias: Tensor
    visible: Unit = BERNOULLI

    @classmethod
    def of(cls, rows: Tensor, base_b: Tensor, stream: Stream, visible: Unit = BERNOULLI) -> Self:
        """Of rows of states, by k-means from rows far from each other: eight at most, and one at `base_b`.

        Notes
        -----
        The starts are those of k-means++ (Arthur & Vassilvitskii 2007). An empty cluster is left out. The one at
        `base_b` finds modes where no rows are.
        """
        n = min(_MAX_CLUSTERS, max(1, len(rows) // _ROWS_PER_CLUSTER))
        from scipy.cluster.vq import kmeans2  # late, as scipy.spatial comes with it

        v = rows.double().cpu()
        starts = [v[int(stream.integers(len(v), (1,))[0])]]
        for _ in range(n - 1):
            far = torch.cdist(v, torch.stack(starts)).square().amin(1)
            far = torch.where(far > 0.5, far, 0.0).cumsum(0)  # of rows of bits: 1 and more, or rounding
            if far[-1] == 0.0:
                break
            u = (1.0 - float(stream.uniform(1))) * float(far[-1])  # more than 0, at which no row begins
            starts.append(v[int(torch.searchsorted(far, u).clamp(max=len(v) - 1))])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of empty clusters, which are left out
            _, which = kmeans2(v.numpy(), torch.stack(starts).numpy(), minit="matrix")
        labels = torch.from_numpy(which).long()
        sizes = labels.bincount(minlength=n)
        sums = torch.zeros(n, v.shape[1], dtype=v.dtype).index_add_(0, labels, v)
        counts = sizes[sizes > 0].double() + 1.0  # and one row of the mean of all
        means = (sums[sizes > 0] + v.mean(0)) / counts[:, None]
        biases = [visible.bias_of(mean, 0.005 / float(n)) for mean, n in zip(means, counts, strict=True)]
        return cls(torch.cat((torch.stack(biases).to(base_b), base_b[None])), visible)

    def __len__(self) -> int:
        return len(self.bias)

    def nearest(self, v: Tensor) -> Tensor:
        """Which cluster states (n, n_features) most likely belong to, (n,)."""
        bias = self.bias.double()
        log_p = v.double() @ bias.T - self.visible.cumulant(bias).sum(1)  # but for what all have alike
        return log_p.argmax(1)


@torch.no_grad()
def anneal_from_clusters(
    machine: RBMParameters, clusters: Clusters, betas: Sequence[float], n_chains: int, stream: Stream
) -> Annealed:
    """Samples of a machine with their weights, from chains of each cluster.

    Parameters
    ----------
    machine : RBMParameters
        The machine.
    clusters : Clusters
        Where the chains start.
    betas : sequence of float
        Inverse temperatures, rising from 0 to 1.
    n_chains : int
        Number of chains, as many for each cluster as for the others, but three times as many for the last.
    stream : Stream
        Randomness.

    Returns
    -------
    Annealed
        States, in random order, and weights whose log mean exp is log Z.

    Notes
    -----
    AIS from any base machine k has E_k[w g(v)] = Σ_v f(v) g(v) for any function g, f being the unnormalised
    probability (Neal 2001). So with functions r_k(v) that sum up to 1 over k, Σ_k E_k[w r_k(v)] = Z, and chains of k
    need only come to where r_k isn't small. From one base all chains may fall into one mode, which is what makes plain
    AIS miss others without a sign. Here r_k(v) is the share of k among the chains that ended up in the same cluster as
    v, as in the balance heuristic (Veach & Guibas 1995): where chains cross between clusters it is the same for all k,
    and where they don't, 1 for those that started there. Its being estimated from the same chains brings a bias of the
    order of 1 / n_chains.
    """
    n_clusters = len(clusters)
    start = torch.arange(n_chains, device=machine.W.device) % (n_clusters + _EXTRA_SHARES)
    start = start.clamp_(max=n_clusters - 1)[torch.from_numpy(stream.permutation(n_chains)).to(start.device)]
    path = AnnealingPath(machine, clusters.bias.to(machine.W)[start])
    v, log_weight = anneal(path, path.samples_of_base(n_chains, stream), betas, stream)
    end = clusters.nearest(v)
    counts = torch.eye(n_clusters, dtype=torch.float64, device=v.device).mul_(0.5)
    counts.index_put_((start, end), counts.new_ones(()), accumulate=True)
    share = (counts / counts.sum(0))[start, end]
    log_z_of_base = machine.visible.cumulant(path.base_b.double()).sum(1)
    log_z_of_base += machine.n_hidden * float(machine.hidden.cumulant(torch.zeros((), dtype=torch.float64)))
    n_of_start = start.bincount(minlength=n_clusters).double()[start]
    return Annealed(v, log_weight + log_z_of_base + share.log() + (n_chains / n_of_start).log())
