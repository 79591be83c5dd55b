"""A fit: what it carries from epoch to epoch, and the loop over epochs."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrbm.machines.restricted import (
    RBMParameters,
    initial_parameters,
    mean_h_given_v,
    mean_v_given_h,
    sample_h_given_v,
)
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import Binarize, binarize_rows
from skrbm.sampling.kernels import GibbsState, moved_on
from skrbm.support.checks import warn
from skrbm.support.compiled import loaded_loops
from skrbm.support.files import to_plain
from skrbm.support.randomness import Stream
from skrbm.support.tensors import Placement, to_numpy, to_tensor
from skrbm.training.absent import binarized_some, mean_with_absent, smoothing_of
from skrbm.training.balance import balance_modes
from skrbm.training.checkpoint import check_same_rows
from skrbm.training.coupled import mask_of_layers, with_couplings
from skrbm.training.gaps import filled_held_out
from skrbm.training.learned import Learned
from skrbm.training.listeners import Listener, Listeners
from skrbm.training.measures import EarlyStopping, Measures, measure, validation_score
from skrbm.training.observers import Trajectory
from skrbm.training.settings import FIRST_NOISE, TrainSettings
from skrbm.training.state import Streams, TrainState, start_state
from skrbm.training.update import EpochRecord, epoch_

_KEPT_ROWS = 100  # training rows that a model keeps, for chains that start at data
_LEAST_WATCHED, _MOST_WATCHED = 200, 500  # training rows that are measured after each epoch: a tenth, within bounds
_BALANCED_ROWS = 1000  # that the modes of a machine are compared with
_LAST_STEPS = 100  # of the chains, under weights that aren't those that they were left by
_LEAST_TO_BALANCE = 1000  # updates, before which modes have hardly come apart, and a look takes as long as learning
STUCK_SHARE = 0.9  # of units that are always on or always off: next to nothing can be learned from there
_MOST_SPREAD = 10.0  # of chains in Gaussian columns, in parts of that of the rows
_RETREAT, _MAX_RETREATS = 0.25, 4  # what the rate is multiplied by where an epoch has ruined the machine, and how often
MEASURES = (*EpochRecord._fields, "retreats", *Measures._fields)  # of a history
_OWN = ("h", "v", "streams")  # of the state of training: what each of several processes has for itself


@dataclass(frozen=True)
class Start:
    """Where a fit starts: anew, at a machine that has learned already, or where a checkpoint was written.

    Attributes
    ----------
    seed : list of int
        Of all randomness.
    learned : Learned or None
        The machine to go on from.
    carries_on : bool
        Whether optimiser, offsets and randomness go on too.
    saved : dict or None
        What a checkpoint has, see `CheckpointFile.read`.
    """

    seed: list[int]
    learned: Learned | None = None
    carries_on: bool = False
    saved: dict[str, Any] | None = None


@dataclass
class Run:
    """A fit in progress.

    Attributes
    ----------
    state : TrainState
        Training itself.
    rows : SharedRows
        What is learned.
    start : Start
        Where it has started.
    first : dict
        State of the stream of the start, before it was used for what follows.
    base_rates, data_samples : ndarray
        See `Learned`.
    watched : Tensor of shape (n, n_features)
        Training rows that are measured after each epoch; NaN where cells are absent.
    watched_at, kept_at : dict
        States of the streams that have chosen these, and `data_samples`.
    rule : {"none", "sample"} or float
        What those that are measured are made of, see `binarize_rows`.
    stream : Stream
        Randomness of the measures.
    stopping : EarlyStopping
        Tells the best epoch, where rows are held out.
    trajectory : Trajectory or None
        Keeps machines for tempering.
    history : dict of list
        Measures by name.
    last, best : Learned or None
        After the last epoch, and after the best one.
    n_finished : int
        Epochs so far.
    was_ruined : bool
        Whether the last one left a machine that nothing can be learned from, and couldn't be gone back on.
    """

    state: TrainState
    rows: SharedRows
    start: Start
    first: dict[str, Any]
    base_rates: np.ndarray
    data_samples: np.ndarray | None
    watched: Tensor
    watched_at: dict[str, Any]
    kept_at: dict[str, Any]
    rule: Binarize
    stream: Stream
    stopping: EarlyStopping
    trajectory: Trajectory | None = None
    history: dict[str, list[Any]] = field(default_factory=dict)
    last: Learned | None = None
    best: Learned | None = None
    n_finished: int = 0
    was_ruined: bool = False

    @property
    def n_epochs(self) -> int:
        """How many there will be at most."""
        return self.state.settings.n_epochs

    @property
    def is_over(self) -> bool:
        """Whether no epoch is to follow, as far as nobody asks for that."""
        return self.n_finished >= self.n_epochs or self.stopping.is_over

    @property
    def base_b(self) -> Tensor:
        """Visible bias of the machine without weights that has the base rates."""
        return base_bias(self.base_rates, self.state.params)

    def learned(self, history: dict[str, list[Any]] | None = None) -> Learned:
        """What has been learned so far, as copies; with another history, if one is given."""
        history = self.history if history is None else history
        stopping, has_scores = self.stopping, self.rows.held_out is not None and bool(self.stopping.scores)
        return Learned(
            params=self.state.model.to("cpu").clone(),
            h=to_numpy(self.state.h.to(self.state.params.W.dtype)),
            v=None if self.state.v is None else to_numpy(self.state.v),
            base_rates=self.base_rates,
            data_samples=self.data_samples,
            history={name: np.array(values) for name, values in history.items()} or None,
            learning_rate=self.state.first_rate,
            n_epochs=self.state.n_epochs or None,
            trajectory=None if self.start.learned is None else self.start.learned.trajectory,
            validation_scores=[*stopping.scores] if has_scores else None,
            best_validation_score=stopping.best if has_scores else None,
            carried=self.state.carried(),
        )

    def epoch_(self) -> None:
        """Train for an epoch, and take note of it. One that ruins the machine is gone back on, at a lower rate."""
        with loaded_loops(self.state.settings.is_compiled):
            self._epoch_()

    def _epoch_(self) -> None:
        state, observers = self.state, () if self.trajectory is None else (self.trajectory,)
        before, n_retreats = state.model.clone(), 0
        can_retreat = state.pace.is_free and not self.was_ruined
        saved = (state.state(), [observer.state() for observer in observers]) if can_retreat else None
        while True:
            error = None
            try:
                record = epoch_(state, self.rows, *observers)
            except FloatingPointError as found:
                error = found
            self.was_ruined = error is not None or (saved is not None and self._is_ruined(state.params))
            if saved is None or n_retreats == _MAX_RETREATS or self.rows.group.least(not self.was_ruined) == 1:
                break
            n_retreats += 1
            self._retreat_(saved, observers)
        if error is not None:
            raise error
        if self.was_ruined and n_retreats:  # whatever the rate: so it isn't to blame
            state.scale_rate_(state.pace.scale(_RETREAT**-n_retreats))
        self.measure(record, before, n_retreats)

    def _is_ruined(self, params: RBMParameters) -> bool:
        """Whether nearly all hidden units are off, or on, in all the rows that are looked at, or values not finite.

        Or whether chains of Gaussian columns have left the rows far behind.
        """
        v = params.states_of(self.watched.nan_to_num(0.0) if self.rows.has_absent else self.watched)
        mean_h = mean_h_given_v(params, v)
        stuck = (mean_h.amax(0) < 0.01) | (mean_h.amin(0) > 0.99)
        is_ruined = not bool(mean_h.isfinite().all()) or float(stuck.float().mean()) > STUCK_SHARE
        if params.log_scale is None or is_ruined:
            return is_ruined
        chains = mean_v_given_h(params, self.state.h.to(params.W.dtype))[:, params.visible.scaled]
        ours, theirs = chains.var(0), v[:, params.visible.scaled].var(0)
        return not bool((ours <= _MOST_SPREAD * (theirs + 1.0)).all())

    def _retreat_(self, saved: tuple[Any, list[Any]], observers: tuple[Trajectory, ...]) -> None:
        factor = self.state.pace.factor
        self.state.set_state(saved[0])
        for observer, state in zip(observers, saved[1], strict=True):
            observer.set_state(state)
        self.state.slow_down_(_RETREAT * min(1.0, factor / self.state.pace.factor))

    def measure(self, record: EpochRecord, before: RBMParameters, n_retreats: int = 0) -> None:
        """Take note of an epoch, `before` being the machine before it, that was begun again so many times."""
        state = self.state
        held_out = self.rows.held_out
        if state.settings.missing != "absent":
            held_out = filled_held_out(state.model, held_out, self.stream)
        if self.rows.has_gaps:
            self.watched = self._some_again(self.watched_at, len(self.watched), self.rule)
        h = state.h.to(state.params.W.dtype)
        measures = measure(state.model, before, h, self.watched, held_out, self.stream, state.v)
        is_best = False
        if held_out is not None and state.settings.early_stopping:
            score = measures.pseudo_log_likelihood
            if state.settings.early_stopping == "log_likelihood":
                score = validation_score(state.model, held_out, "log_likelihood", self.base_b, self.stream)
            score = float(self.rows.group.mean(torch.tensor(score, dtype=torch.float64)))
            is_best = self.stopping.is_best(score)
        values = {**record._asdict(), "retreats": n_retreats, **measures._asdict()}
        if past := self.history.get("epoch"):  # goes on counting where a fit goes on from another
            values["epoch"] = past[-1] + 1
        unknown = [math.nan] * max(map(len, self.history.values()), default=0)  # of epochs of an older version
        history = {name: [*self.history.get(name, unknown), value] for name, value in values.items()}
        learned = self.learned(history)
        # At once, so that Ctrl-C finds either the epoch before or this one.
        self.history, self.last, self.n_finished = history, learned, self.n_finished + 1
        self.best = learned if is_best else self.best

    def finished(self) -> Learned:
        """What the fit hands out in the end, from the last epoch that is over: the best machine, its chains run on."""
        with loaded_loops(self.state.settings.is_compiled):
            return self._finished()

    def _finished(self) -> Learned:
        learned, state = self.last, self.state
        assert learned is not None, "a fit that has no epoch behind it has nothing to hand out"
        if self.best is not None:
            best = self.best
            learned = replace(learned, params=best.params, h=best.h, v=best.v, carried=best.carried)
        learned = self._balanced(learned)
        if self.rows.has_gaps:
            learned = replace(learned, data_samples=to_numpy(self._some_again(self.kept_at, _KEPT_ROWS)))
        if self.trajectory is not None:
            learned = replace(learned, trajectory=[params.to("cpu") for params in self.trajectory.kept])
        if state.settings.algorithm == "pcd" and (state.average is not None or self.best is not None):
            place = state.params.placement
            params = learned.params.to(place.device)
            chains = GibbsState(to_tensor(learned.h, *place), v=_placed(learned.v, place))
            chains = moved_on(params, chains, _LAST_STEPS, state.streams.chains)
            learned = replace(learned, h=to_numpy(chains.h), v=None if chains.v is None else to_numpy(chains.v))
        return learned

    def _some_again(self, at: dict[str, Any], n: int, rule: Binarize = "none") -> Tensor:
        """The rows that a stream in this state chooses, with what their missing cells have come to by now."""
        stream = Stream(0)
        stream.set_state(at)
        return binarize_rows(self.rows.some(n, stream), rule, stream)

    def _balanced(self, learned: Learned) -> Learned:
        """With the modes of the machine in the proportions of the rows, where persistent chains have learned it."""
        settings, group = self.state.settings, self.rows.group
        if (
            not settings.balance_modes
            or settings.algorithm != "pcd"
            or settings.sparsity_target is not None
            or self.rows.is_weighted
            or self.state.n_updates < _LEAST_TO_BALANCE
        ):
            return replace(learned, balance_gain=0.0)
        place = self.state.params.placement
        params = learned.params.to(place.device, place.dtype)
        stream = Stream(self.start.seed, "balance")
        rows = binarize_rows(self.rows.some(_BALANCED_ROWS, stream), settings.binarize, stream)
        rows = params.states_of(params.visible.states_of(rows, stream).to(params.W))
        base_b = base_bias(self.base_rates, params)
        params, gain = balance_modes(params, base_b, rows, stream, self.state.n_updates)
        b, c, gain = group.of_first((to_numpy(params.b), to_numpy(params.c), gain))
        tensors = learned.params.tensors | {"b": torch.from_numpy(b), "c": torch.from_numpy(c)}
        return replace(learned, params=learned.params.with_tensors(tensors), balance_gain=gain)

    # -- state ---------------------------------------------------------------------------------------------------------

    def state_of_fit(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """All that the coming epochs depend on but the rows, as plain data. Take it between two epochs.

        First what is the same in each of several processes, then what each has for itself: chains and randomness.
        """
        training = self.state.state()
        own = {name: training.pop(name) for name in _OWN}
        own |= {"measures": self.stream.state(), "first": self.first, "data_samples": self.data_samples}
        best = self.best and {"params": to_plain(self.best.params.tensors), "carried": self.best.carried}
        own["best_h"], own["best_v"] = (None, None) if self.best is None else (self.best.h, self.best.v)
        own["gaps"] = self.rows.provisional()
        shared = {
            "training": training,
            "stopping": self.stopping.state(),
            "trajectory": None if self.trajectory is None else self.trajectory.state(),
            "best": best,
            "history": self.history,
            "base_rates": self.base_rates,
            "n_finished": self.n_finished,
            "n_rows": self.rows.n_rows,
            "seed": self.start.seed,
        }
        return shared, own

    def set_state_of_fit(self, shared: dict[str, Any], own: dict[str, Any]) -> None:
        """Continue where `state_of_fit()` was taken."""
        self.state.set_state(shared["training"] | {name: own[name] for name in _OWN})
        self.stream.set_state(own["measures"])
        self.stopping.set_state(shared["stopping"])
        if self.trajectory is not None:
            self.trajectory.set_state(shared["trajectory"])
        self.data_samples, self.base_rates = own["data_samples"], shared["base_rates"]
        if own.get("gaps") is not None:
            self.rows.set_provisional_(own["gaps"])
        self.history = {name: [*values] for name, values in shared["history"].items()}
        self.n_finished = shared["n_finished"]
        self.last = self.learned()
        if (best := shared["best"]) is not None:
            params = self.last.params.with_tensors(best["params"])
            states = {"h": own["best_h"], "v": own.get("best_v")}
            self.best = replace(self.last, params=params, **states, carried=best["carried"])


def _placed(array: np.ndarray | None, place: Placement) -> Tensor | None:
    return None if array is None else to_tensor(array, *place)


def base_bias(base_rates: Any, params: RBMParameters) -> Tensor:
    """The visible bias that gives units without weights these means of rows, where the parameters live."""
    means = params.states_of(to_tensor(base_rates, torch.float64).to(params.b.device))
    return params.visible.bias_of(means).to(params.b)


def _first_machine(mean_v: Tensor, smoothing: float | Tensor, settings: TrainSettings, stream: Stream) -> RBMParameters:
    """The machine before learning, given the mean of the rows."""
    visible, log_scale = settings.visible, None
    if visible.scaled is not None:
        share = FIRST_NOISE if isinstance(settings.noise, str) else settings.noise
        log_scale = mean_v.new_full(mean_v[visible.scaled].shape, 0.5 * math.log(share))
        mean_v = mean_v.clone()
        mean_v[visible.scaled] *= torch.exp(-log_scale)
    first = initial_parameters(
        mean_v,
        settings.n_hidden,
        stream,
        smoothing=smoothing,
        visible=visible,
        hidden=settings.hidden,
        log_scale=log_scale,
    )
    if settings.has_masked_weights:
        mask = mask_of_layers(settings.hidden_layer_sizes, first.n_features - settings.n_latent)
        first.W.mul_(mask.to(first.W))
    if settings.couplings is None:
        return first
    return with_couplings(first, settings.couplings, settings.n_latent, stream)


def _machine_to_go_on_from(
    learned: Learned, rows: SharedRows, settings: TrainSettings, stream: Stream
) -> tuple[RBMParameters, Tensor | None, Tensor | None, Tensor | None]:
    """The machine, h and v of its chains, and the mean of its hidden units where it comes without chains of this shape.

    These begin at rows then: from afar, chains of a machine that has learned take long to come, and drive it away
    meanwhile.
    """
    place, n = settings.place, settings.n_chains
    params = learned.params.to(place.device, place.dtype)
    if learned.h is not None and learned.h.shape == (n, settings.n_hidden):
        return params, to_tensor(learned.h, *place), _placed(learned.v, place), None
    if rows.has_absent:
        return params, None, None, None
    stream = stream.spawn("chains")
    some = binarize_rows(rows.some(max(n, _KEPT_ROWS), stream), settings.binarize, stream)
    some = params.states_of(params.visible.states_of(some, stream).to(params.W))
    v = some[torch.arange(n, device=some.device) * len(some) // n]  # of all parts: they come in the rows' order
    return params, sample_h_given_v(params, v, stream), v, mean_h_given_v(params, some).mean(0)


def _told_of_unseen(unseen: Tensor, n_latent: int) -> Tensor | None:
    """Columns that have no values (n_features,), with a warning; None if all have some, but for hidden units."""
    unseen[len(unseen) - n_latent :] = False  # they are learned nevertheless
    places = torch.nonzero(unseen).flatten().tolist()
    if not places:
        return None
    few = ", ".join(map(str, places[:5])) + (" …" if len(places) > 5 else "")
    warn(
        f"{len(places)} of {len(unseen) - n_latent} columns of X have no values at all ({few}, counted from 0). "
        "Nothing is learned of them; leave them out.",
        UserWarning,
    )
    return unseen


@torch.no_grad()
def begin(rows: SharedRows, settings: TrainSettings, start: Start) -> Run:
    """A fit before its first epoch, or where a checkpoint was written.

    Raises
    ------
    ValueError
        If the rows don't go with the settings, with the machine that the fit starts from, or with the checkpoint.
    """
    asked, settings = settings, settings.resolved(rows)
    group, learned, place = rows.group, start.learned, settings.place
    streams = Streams.from_seed(start.seed, group.seed(start.seed))
    mean_v, smoothing, h, v, mean_h = rows.mean(settings.binarize), smoothing_of(rows), None, None, None
    unseen = mean_v.isnan()
    mean_v = torch.where(unseen, settings.visible.mean(torch.zeros_like(mean_v)), mean_v)
    if learned is None:
        params = _first_machine(mean_v, smoothing, settings, streams.start)
    else:
        params, h, v, mean_h = _machine_to_go_on_from(learned, rows, settings, streams.start)
    visible = params.visible
    kept_at = streams.start.state()
    some = rows.some(_KEPT_ROWS, streams.start)
    data_samples = None if rows.has_absent else to_numpy(some)  # chains couldn't start at rows with absent cells
    base_rates = to_numpy(visible.mean(visible.bias_of(mean_v.double(), smoothing)))
    state = start_state(
        params, params.states_of(mean_with_absent(rows, mean_v)), settings, streams, h=h, v=v, mean_h=mean_h
    )
    if learned is None:
        state.unseen = _told_of_unseen(unseen, settings.n_latent)
    if start.carries_on and learned is not None and learned.carried is not None:
        state.carry_on_(learned.carried)
    if start.saved is not None:
        check_same_rows(start.saved, rows.n_rows, base_rates, group)
        own = start.saved["ranks"][group.rank]
        streams.start.set_state(own["first"])
    first, trajectory = streams.start.state(), None
    if settings.store_trajectory:
        kept = [] if learned is None or learned.trajectory is None else learned.trajectory
        kept = [rung.to(place.device, place.dtype) for rung in kept]
        trajectory = Trajectory.after(kept, params, base_bias(base_rates, params), streams.start.spawn("trajectory"))
    stream = streams.start.spawn("monitor")
    # By the rule that was asked for: the draws of the measures are then the same for rows of bits.
    n_watched = min(max(rows.n_own_rows // 10, _LEAST_WATCHED), _MOST_WATCHED)
    watched_at = stream.state()
    watched = binarized_some(rows, n_watched, asked.binarize, stream)
    past = {} if learned is None or learned.history is None else learned.history
    run = Run(
        state,
        rows,
        start,
        first,
        base_rates,
        data_samples,
        watched,
        watched_at,
        kept_at,
        asked.binarize,
        stream,
        EarlyStopping(settings.tol, settings.n_iter_no_change),
        trajectory,
        {name: values.tolist() for name, values in past.items()},
    )
    if start.saved is not None:
        run.set_state_of_fit(start.saved["shared"], own)
    return run


def train(
    rows: SharedRows, settings: TrainSettings, start: Start, listener: Listener | None = None
) -> Generator[Learned, None, None]:
    """Train; yields what has been learned after each epoch, and in the end the best of it.

    Parameters
    ----------
    rows : SharedRows
        What is to be learned.
    settings : TrainSettings
        How.
    start : Start
        Where from.
    listener : Listener, optional
        Who is told.

    Yields
    ------
    Learned
        On Ctrl-C, here or thrown into this generator between two epochs, what `Run.finished` has, with a warning.

    Raises
    ------
    FloatingPointError
        If the parameters stop being finite.
    MemoryError
        If the memory of a GPU is exhausted.
    KeyboardInterrupt
        On Ctrl-C before the first epoch is over.
    """
    run = begin(rows, settings, start)
    told = Listeners(run.stopping, *(() if listener is None else (listener,)))
    try:
        yield from _epochs(run, told)
    except torch.cuda.OutOfMemoryError as error:
        final = run.state.settings
        raise MemoryError(
            f"The memory of {final.device} is exhausted by a training with n_hidden={final.n_hidden}, "
            f"n_chains={final.n_chains} and batches of {final.batch_size} rows. Lower one of these, or set "
            "device='cpu'."
        ) from error
    except KeyboardInterrupt:
        if not run.n_finished:
            raise
        which = "that of this epoch" if run.best is None else "the best until then"
        warn(f"Training was interrupted after epoch {run.n_finished} of {run.n_epochs}; the model is {which}.")
    learned = run.finished()
    yield learned
    told.end(learned)


def _epochs(run: Run, told: Listener) -> Iterator[Learned]:
    """One after the other, until they are over or somebody asks for no more."""
    is_over = run.is_over
    told.begin(run)
    while not is_over:
        told.begin_epoch(run)
        run.epoch_()
        assert run.last is not None
        yield run.last
        asked = told.end_epoch(run, run.last)
        is_over = run.rows.group.least(not asked) == 0 or run.is_over
    told.stop(run)
    if run.trajectory is not None:
        run.trajectory.catch_up_(run.state.model)
