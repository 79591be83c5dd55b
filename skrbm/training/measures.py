"""What is watched while a machine learns: measures after each epoch, and the rule for stopping early."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skrbm.likelihood.log_partition import log_partition
from skrbm.likelihood.pseudo import log_conditionals, pseudo_log_likelihood
from skrbm.machines.restricted import RBMParameters, free_energy, input_to_h, mean_v_given_rest, sample_v_given_h
from skrbm.rows.gaps import gaps_in
from skrbm.rows.source import HeldOut
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream
from skrbm.training.absent import reconstructed
from skrbm.training.listeners import Listener
from skrbm.training.settings import Criterion

# Training rows whose pseudo-likelihood is watched, about; fewer where columns are summed over state by state.
_N_SCORED, _N_SCORED_SLOWLY = 100, 20


class Measures(NamedTuple):
    """Measures of a machine; those of energies and likelihoods are means over rows, in nats.

    Attributes
    ----------
    loss : float
        F(v) - F(v_k), v being the monitored training rows and v_k drawn from the chains' hidden states.
    reconstruction_error : float
        Mean over rows and columns of (v - P(v = 1 | h = E[h | v]))², of coupled units given the others too.
    pseudo_log_likelihood : float
        Of the held-out rows; where there are none, of about a hundred of the monitored training rows.
    free_energy, free_energy_held_out : float
        F of the monitored training rows, and of the held-out ones (NaN where there are none).
    free_energy_gap : float
        The latter less the former. What it has risen by since the first epoch is overfitting (Hinton 2010, section 6).
    weight_norm : float
        Frobenius norm of the weights, and of the couplings, each pair once.
    update_norm : float
        Frobenius norm of what they have changed by in the epoch.
    dead_share, saturated_share : float
        Shares of the hidden units that are off (P < 0.01), or on (P > 0.99), in all monitored rows.
    """

    loss: float
    reconstruction_error: float
    pseudo_log_likelihood: float
    free_energy: float
    free_energy_held_out: float
    free_energy_gap: float
    weight_norm: float
    update_norm: float
    dead_share: float
    saturated_share: float


@torch.no_grad()
def measure(
    params: RBMParameters,
    before: RBMParameters,
    h_chains: Tensor,
    v: Tensor,
    held_out: HeldOut | None,
    stream: Stream,
    v_chains: Tensor | None = None,
) -> Measures:
    """Measure a machine after an epoch.

    Parameters
    ----------
    params, before : RBMParameters
        The machine, and what it was before the epoch.
    h_chains : Tensor of shape (n_chains, n_hidden)
        Hidden states of the chains.
    v : Tensor of shape (n, n_features)
        Training rows to watch; NaN where a cell is absent, of which nothing is measured.
    held_out : HeldOut or None
        Rows that learning doesn't see.
    stream : Stream
        Randomness of what the chains show.
    v_chains : Tensor of shape (n_chains, n_features), optional
        Visible states of the chains, where these are coupled.
    """
    n_scored = _N_SCORED_SLOWLY if params.visible.states is None else _N_SCORED
    free = gaps_in(v)
    v = v if free is None else v.masked_fill(free, 0.0)
    rows, v, volume = v, params.states_of(v), params.log_volume
    inputs = input_to_h(params, v)
    if v_chains is not None:
        fantasies = v_chains
    elif free is None:
        fantasies = sample_v_given_h(params, h_chains, stream)
    else:
        fantasies = reconstructed(params, params.hidden.mean(inputs), free, stream)
    energy = -(params.visible.log_weight(v, params.b) + params.hidden.cumulant(inputs).sum(1)).mean()
    if params.R is not None:
        energy = energy - params.log_weight_of_couplings(v).mean()
    mean_h = params.hidden.mean_(inputs)
    errors = (rows - params.rows_of(mean_v_given_rest(params, v, mean_h))).square()
    every = slice(None, None, max(1, len(v) // n_scored))
    some = HeldOut(rows[every], free=None if free is None else free[every])
    energy_held_out = math.nan if held_out is None else _free_energy_of(params, held_out)
    return Measures(
        loss=float(energy - free_energy(params, fantasies).mean()),
        reconstruction_error=float(_there(errors, free).mean()),
        pseudo_log_likelihood=validation_score(params, held_out or some),
        free_energy=float(energy) + volume,
        free_energy_held_out=energy_held_out,
        free_energy_gap=energy_held_out - float(energy) - volume,
        weight_norm=_norm(params.W, params.R),
        update_norm=_norm(params.W - before.W, None if params.R is None or before.R is None else params.R - before.R),
        dead_share=float((mean_h.amax(0) < 0.01).float().mean()),
        saturated_share=float((mean_h.amin(0) > 0.99).float().mean()),
    )


def _there(values: Tensor, free: Tensor | None) -> Tensor:
    """Those of cells that aren't absent."""
    return values if free is None else values[~free]


@torch.no_grad()
def validation_score(
    params: RBMParameters,
    held_out: HeldOut,
    criterion: Criterion = "pseudo_log_likelihood",
    base_b: Tensor | None = None,
    stream: Stream | None = None,
) -> float:
    """Mean (pseudo-)log-likelihood of the rows, in nats; log Z is exact for small machines, else by a short AIS.

    Parameters
    ----------
    params : RBMParameters
        The machine.
    held_out : HeldOut
        Rows, and their weights; of rows with gaps, filled in by draws or by 0, the cells that aren't missing.
    criterion : {"pseudo_log_likelihood", "log_likelihood"}
        Which.
    base_b : Tensor of shape (n_features,), optional
        See `skrbm.sampling.AnnealingPath`; by default 0.
    stream : Stream, optional
        Randomness of AIS.
    """
    if criterion == "pseudo_log_likelihood":
        if held_out.free is not None:
            return _mean(_of_observed(params, held_out.v, held_out.free), held_out.weight)
        nats = pseudo_log_likelihood(params, params.states_of(held_out.v))
        return _mean(nats, held_out.weight) - params.log_volume
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a small effective sample size: epochs are only compared
        path = AnnealingPath(params, torch.zeros_like(params.b) if base_b is None else base_b)
        log_z = log_partition(path, stream=stream, n_temperatures=1000).value
    return -_free_energy_of(params, held_out) - log_z


def _norm(W: Tensor, R: Tensor | None) -> float:
    """Of all weights, each pair of coupled units once."""
    of_W = float(W.norm())
    return of_W if R is None else math.hypot(of_W, math.sqrt(0.5) * float(R.norm()))


def _of_observed(params: RBMParameters, v: Tensor, free: Tensor) -> Tensor:
    """The pseudo-log-likelihood of the cells that aren't missing, given what the missing ones have been drawn as, (n,).

    Nats, as densities of rows, not of states.
    """
    firsts = [columns.start for columns in params.visible.columns(params.n_features)]
    nats = (log_conditionals(params, params.states_of(v)) * ~free[:, firsts]).sum(1)
    if params.log_scale is None:
        return nats
    return nats - (~free[:, params.visible.scaled]).to(nats) @ params.log_scale.to(nats)


def _free_energy_of(params: RBMParameters, held_out: HeldOut) -> float:
    """Mean of F of rows, which is -log p up to log Z also where the scale of columns is learned."""
    return _mean(free_energy(params, params.states_of(held_out.v)), held_out.weight) + params.log_volume


def _mean(values: Tensor, weight: Tensor | None) -> float:
    values = values.double()
    return float(values.mean() if weight is None else values @ weight.double() / weight.sum(dtype=torch.float64))


class EarlyStopping(Listener):
    """Tells which epoch is the best so far, and when there is no more to be expected.

    Parameters
    ----------
    tol : float
        An epoch whose score is not at least so much above the best is one without improvement.
    n_iter_no_change : int
        More than so many of them in a row are enough.

    Attributes
    ----------
    scores : list of float
        Of the epochs seen.
    best : float
        The highest.

    Notes
    -----
    The rule of scikit-learn's `MLPClassifier`.
    """

    scores: list[float]
    best: float

    def __init__(self, tol: float, n_iter_no_change: int) -> None:
        self._tol, self._patience, self._n_without = tol, n_iter_no_change, 0
        self.scores = []
        self.best = -math.inf

    def is_best(self, score: float) -> bool:
        """Take the score of another epoch; whether it is the highest so far."""
        self.scores.append(score)
        self._n_without = self._n_without + 1 if score < self.best + self._tol else 0
        best = score > self.best
        self.best = max(score, self.best)
        return best

    @property
    def is_over(self) -> bool:
        """Whether there is no more to be expected."""
        return self._n_without > self._patience

    def end_epoch(self, run: Any, learned: Any) -> bool:
        return self.is_over

    def state(self) -> dict[str, Any]:
        """Everything that the next decision depends on."""
        return {"scores": self.scores.copy(), "best": self.best, "n_without": self._n_without}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken."""
        self.scores, self.best, self._n_without = state["scores"].copy(), state["best"], state["n_without"]
