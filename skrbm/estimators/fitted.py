"""Fitted attributes: what has been learned, and a machine that works with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skrbm.estimators.coding import CODING_ATTRIBUTES, PLAIN, Coding
from skrbm.machines.couplings import Graph
from skrbm.machines.restricted import RBMParameters
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream
from skrbm.support.tensors import CHUNK_ROWS, Placement, dense, find_device, from_torch, to_numpy, to_tensor
from skrbm.support.threads import threads_for
from skrbm.training.gaps import filled
from skrbm.training.learned import Learned
from skrbm.training.observers import check_rungs

TENSORS = {"W": "components_", "b": "intercept_visible_", "c": "intercept_hidden_"}  # of a machine, at the face
COUPLINGS, HIDDEN_COUPLINGS = "couplings_", "hidden_couplings_"  # R and T, of machines that have them
ATTRIBUTES = {  # of `Learned`; its `params` are `TENSORS` and `COUPLINGS`
    "h": "h_samples_",
    "v": "v_samples_",
    "base_rates": "base_rates_",
    "data_samples": "data_samples_",
    "history": "history_",
    "learning_rate": "learning_rate_",
    "balance_gain": "balance_gain_",
    "n_epochs": "n_iter_",
    "trajectory": "trajectory_",
    "validation_scores": "validation_scores_",
    "best_validation_score": "best_validation_score_",
    "couplings_stderr": "couplings_stderr_",
    "intercept_stderr": "intercept_stderr_",
    "carried": "_carried",
}
LATENT_STEPS = 100  # of chains that draw units which no row knows
assert {"params", *ATTRIBUTES} == {field.name for field in fields(Learned)}, "give the new field an attribute"


def attributes_of(learned: Learned, coding: Coding = PLAIN) -> dict[str, Any]:
    """What has been learned as fitted attributes, by name; those that it lacks are left out.

    `coding` is how rows of the table became those that have been learned from.
    """
    found: dict[str, Any] = {}
    if coding.n_latent and learned.params.R is not None:
        learned, found[HIDDEN_COUPLINGS] = _apart(learned, learned.params.n_features - coding.n_latent)
    found |= {attribute: to_numpy(getattr(learned.params, name)) for name, attribute in TENSORS.items()}
    if learned.params.R is not None:
        found[COUPLINGS] = to_numpy(learned.params.R)
    found |= coding.after(learned.params).attributes()
    for field, attribute in ATTRIBUTES.items():
        if (value := getattr(learned, field)) is not None:
            found[attribute] = coding.decode_array(value) if field == "data_samples" else value
    if learned.base_rates is not None:
        found["base_rates_"] = to_numpy(learned.params.states_of(torch.from_numpy(learned.base_rates)))
    if learned.trajectory is not None:
        # Shared, not copied: nobody writes into rungs, and there may be many.
        found["trajectory_"] = [
            tuple(from_torch(getattr(rung, name)) for name in TENSORS) for rung in learned.trajectory
        ]
    return found


def fitted_attributes(model: Any) -> dict[str, Any]:
    """Those that an estimator has, by name, as they are."""
    names = (*TENSORS.values(), COUPLINGS, HIDDEN_COUPLINGS, *ATTRIBUTES.values(), *CODING_ATTRIBUTES)
    return {name: getattr(model, name) for name in names if hasattr(model, name)}


def set_learned(model: Any, learned: Learned, coding: Coding = PLAIN) -> None:
    """Make an estimator a fitted one: it has these fitted attributes then, and no others of an earlier fit.

    `coding` is that of the rows that it has learned from.
    """
    attributes = attributes_of(learned, coding)
    vars(model).update(attributes)  # at once, so that Ctrl-C finds a whole epoch
    for name in {COUPLINGS, HIDDEN_COUPLINGS, *ATTRIBUTES.values(), *CODING_ATTRIBUTES} - {*attributes}:
        vars(model).pop(name, None)


def forget(model: Any) -> None:
    """Take away what an earlier fit has left, but for the parameters, which make an estimator a fitted one."""
    for name in ATTRIBUTES.values():
        vars(model).pop(name, None)


def learned_of(model: Any) -> Learned:
    """What a fitted estimator has learned; shares memory with its attributes."""
    check_is_fitted(model)
    values = {field: getattr(model, attribute, None) for field, attribute in ATTRIBUTES.items()}
    if values["data_samples"] is not None and not (coding := model.form.coding(model)).is_plain:
        values["data_samples"] = coding.encode_array(np.asarray(values["data_samples"]))
    if values["trajectory"] is not None:
        values["trajectory"] = [machine_of(model, rung) for rung in values["trajectory"]]
    for chains in ("h", "v"):
        if values[chains] is not None:
            values[chains] = np.asarray(values[chains])
    params = _machine_at_face(model)
    if params.n_features > len(model.intercept_visible_):  # the chains of all units, seen and unseen
        if values["v"] is not None and values["h"] is not None:
            values["v"] = np.concatenate((values["v"], values["h"]), 1)
            values["h"] = values["h"][:, :0]
        if values["base_rates"] is not None:
            values["base_rates"] = _with_latent_rates(model, values["base_rates"])
    if params.visible.scaled is not None:  # of states, whose scale is 1
        params = replace(params, log_scale=torch.zeros_like(params.b[params.visible.scaled]))
    return Learned(params, **values)


def _machine_at_face(model: Any) -> RBMParameters:
    """What a fitted estimator's attributes say, as a machine: hidden units that are coupled are visible ones there."""
    arrays, R = [getattr(model, name) for name in TENSORS.values()], getattr(model, COUPLINGS, None)
    if (T := getattr(model, HIDDEN_COUPLINGS, None)) is None:
        return machine_of(model, arrays, R)
    W, b, c = map(np.asarray, arrays)
    joint = np.block([[np.asarray(R, W.dtype), W.T], [W, np.asarray(T, W.dtype)]])
    return machine_of(model, (W[:0, :0].reshape(0, len(joint)), np.concatenate((b, c)), c[:0]), joint)


def _apart(learned: Learned, n: int) -> tuple[Learned, np.ndarray]:
    """What a machine has learned of whose visible units the first `n` have columns; and the couplings of the others."""
    params, v = learned.params, learned.v
    R = params.R
    assert R is not None
    face = replace(params, W=R[n:, :n].clone(), b=params.b[:n], c=params.b[n:], R=R[:n, :n].clone(), graph=None)
    rates = None if learned.base_rates is None else learned.base_rates[:n]
    ours = replace(learned, params=face, base_rates=rates)
    return ours if v is None else replace(ours, v=v[:, :n], h=v[:, n:]), to_numpy(R[n:, n:])


def _with_latent_rates(model: Any, rates: np.ndarray) -> np.ndarray:
    """Base rates of all units, of those that no row knows a half."""
    return np.concatenate((rates, np.full(np.shape(model.components_)[0], 0.5)))


def machine_of(model: Any, arrays: Any, couplings: Any = None) -> RBMParameters:
    """Arrays, in the order of `TENSORS`, and couplings, if there are any, as a machine of the model's units."""
    visible, hidden = model.units
    W, b, c = map(np.asarray, arrays)
    dtype = _float_type(W)  # of all, should somebody have set others
    machine = RBMParameters(to_tensor(W, dtype), to_tensor(b, dtype), to_tensor(c, dtype), visible, hidden)
    if couplings is None:
        return machine
    R = to_tensor(np.asarray(couplings), dtype)
    return replace(machine, R=R, graph=Graph.of(R != 0))


def checked_parameters(W: Any, b: Any, c: Any) -> list[np.ndarray]:
    """Copies of weights and biases as arrays of one float type: the widest of theirs; float64 for what are no floats.

    Raises
    ------
    TypeError, ValueError
        If they aren't real numbers, their shapes don't go together, or values aren't finite.
    """
    arrays = {}
    for name, values in (("W", W), ("b", b), ("c", c)):
        try:
            arrays[name] = array = np.asarray(dense(from_torch(values)))
        except ValueError as error:  # of a ragged list
            raise ValueError(f"{name} is no array of numbers: {error}") from error
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name} has values of type {array.dtype}. Pass real numbers.")
    shapes = [array.shape for array in arrays.values()]
    if len(shapes[0]) != 2 or shapes[0] != (*shapes[2], *shapes[1]) or shapes[0][1] == 0:
        raise ValueError(
            "W must have shape (n_hidden, n_features), b (n_features,) and c (n_hidden,); "
            f"got {shapes[0]}, {shapes[1]} and {shapes[2]}."
        )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are infinite or NaN. Pass finite ones.")
    narrow = all(array.dtype in (np.float32, np.float16) for array in arrays.values())
    return [np.array(array, np.float32 if narrow else np.float64, order="C") for array in arrays.values()]


def checked_couplings(model: Any, R: Any, b: np.ndarray) -> np.ndarray | None:
    """A copy of couplings, in the float type of the bias; of 0 where a machine that has couplings is given none.

    Raises
    ------
    ValueError
        If the model has no couplings, or these don't fit the bias, aren't symmetric, or couple a unit with itself.
    """
    if not hasattr(model, "visible_couplings"):
        if R is not None:
            raise ValueError(f"R has couplings, which {type(model).__name__} lacks. Take BoltzmannMachine.")
        return None
    if R is None:
        return np.zeros((len(b), len(b)), b.dtype)
    couplings = np.array(from_torch(R), b.dtype, order="C")
    if couplings.shape != (len(b), len(b)) or not np.isfinite(couplings).all():
        raise ValueError(
            f"R must have {(len(b), len(b))} finite values, a coupling for each pair of columns; got an array of shape "
            f"{couplings.shape}."
        )
    if not np.array_equal(couplings, couplings.T) or couplings.diagonal().any():
        raise ValueError("R must be symmetric with a diagonal of 0: units aren't coupled with themselves.")
    return couplings


def _float_type(array: Any) -> torch.dtype:
    """The float type to compute in: float32 for what is no wider, else float64."""
    return torch.float32 if array.dtype in (np.float32, np.float16) else torch.float64


@contextmanager
def restored_on_error(model: Any) -> Iterator[None]:
    """Put all attributes back if what happens inside fails; fitted arrays are replaced, never written into."""
    before = vars(model).copy()
    try:
        yield
    except BaseException:
        vars(model).clear()
        vars(model).update(before)
        raise


class Fitted:
    """A fitted estimator at work.

    Parameters
    ----------
    model : estimator
        Must be fitted.

    Attributes
    ----------
    place : Placement
        The float type of its parameters, and the device that it works on.
    """

    place: Placement

    def __init__(self, model: Any) -> None:
        check_is_fitted(model)
        self._model = model
        self.place = Placement(_float_type(np.asarray(model.components_)), find_device(model.device, fall_back=True))

    def machine(self, place: Placement | None = None) -> RBMParameters:
        """Its parameters there."""
        return self._placed(_machine_at_face(self._model), place)

    def rungs(self, place: Placement | None = None) -> list[RBMParameters] | None:
        """The machines of its trajectory there, None without one."""
        trajectory = learned_of(self._model).trajectory
        if trajectory is None:
            return None
        check_rungs(trajectory, self.machine())
        return [self._placed(rung, place) for rung in trajectory]

    def path(self, place: Placement | None = None) -> AnnealingPath:
        """The way to it from a machine without weights that has the base rates; those are a half if they aren't known.

        Raises
        ------
        ValueError
            If somebody has set base rates that are none.
        """
        machine = self.machine(place)
        if not hasattr(self._model, "base_rates_"):
            return AnnealingPath(machine, torch.zeros_like(machine.b))
        rates = np.asarray(self._model.base_rates_, np.float64)
        if hasattr(self._model, HIDDEN_COUPLINGS):
            rates = _with_latent_rates(self._model, rates)
        low, high = machine.visible.mean_range
        if rates.shape != (machine.n_features,) or not ((rates > low) & (rates < high)).all():
            raise ValueError(
                f"base_rates_ must be {machine.n_features} numbers between 0 and 1, both excluded; got an array of "
                f"shape {rates.shape} with values from {rates.min(initial=1.0):g} to {rates.max(initial=0.0):g}."
            )
        return AnnealingPath(
            machine, machine.visible.bias_of(to_tensor(rates, torch.float64, machine.b.device)).to(machine.b)
        )

    def _placed(self, machine: RBMParameters, place: Placement | None) -> RBMParameters:
        dtype, device = self.place if place is None else place
        return machine.to(device, dtype)

    def place_for(self, X: Any) -> Placement:
        """X's own float type, float64 for others, on the device."""
        return self.place._replace(dtype=_float_type(X))

    @torch.no_grad()
    def over_rows(self, function: Callable[..., Tensor], X: Any, *others: Any, is_coded: bool = True) -> np.ndarray:
        """`function` of the machine and the rows of X and of others, a chunk at a time, in X's float type.

        Rows are those of a table, which become states first, unless they aren't `is_coded`.

        Raises
        ------
        MemoryError
            If the memory of a GPU is exhausted by a single row; chunks get smaller until then.
        """
        place = self.place_for(X)
        machine = self.machine(place)
        with self.threads(min(X.shape[0], CHUNK_ROWS)):
            return self._over_chunks(
                function, machine, (X, *others), self._model.form.coding(self._model) if is_coded else PLAIN
            )

    def states(self, X: Any) -> Tensor:
        """Rows of a table as states of the machine, where it is."""
        return _states(X, self.place, self._model.form.coding(self._model))

    def whole_states(self, X: Any, stream: Stream) -> Tensor:
        """The same where units that no row knows have been drawn, by chains with all else clamped."""
        states = self.states(X)
        if not self._model.form.coding(self._model).n_latent:
            return states
        free = states.isnan()
        starts = torch.where(free, stream.bernoulli(torch.full_like(states, 0.5)), states)
        return filled(self.machine(), starts, free, LATENT_STEPS, stream)

    def decoded(self, states: np.ndarray, given: np.ndarray | None = None) -> np.ndarray:
        """States (…, n_features) as rows of the table; what is `given` of these stands as it is."""
        coding = self._model.form.coding(self._model)
        if coding.is_plain:
            return states
        rows = coding.decode_array(states.reshape(-1, states.shape[-1])).reshape(*states.shape[:-1], -1)
        if given is None:
            return rows
        given = given if given.ndim == rows.ndim else given[:, None]
        return np.where(np.isnan(given), rows, given).astype(rows.dtype)

    def threads(self, n_rows: int) -> AbstractContextManager[None]:
        """As many threads as products of so many rows are worth."""
        n_hidden, n_features = np.shape(self._model.components_)
        return threads_for(n_rows, n_hidden, n_features)

    def _over_chunks(
        self, function: Callable[..., Tensor], machine: RBMParameters, arrays: tuple[Any, ...], coding: Coding
    ) -> Any:
        """A chunk at a time; chunks get smaller where memory is too short for one."""
        X, place = arrays[0], machine.placement
        result, first, n_rows = None, 0, CHUNK_ROWS
        while first < X.shape[0]:
            rows = slice(first, first + n_rows)
            try:
                part = function(machine, *(_states(array[rows], place, coding) for array in arrays))
            except torch.cuda.OutOfMemoryError as error:
                if n_rows == 1:
                    raise MemoryError(
                        f"The memory of {place.device} is exhausted by a single row of {X.shape[1]} columns and a "
                        f"model of {machine.n_hidden} hidden units. Free some, or set device='cpu'."
                    ) from error
                n_rows = n_rows // 2
                continue
            first += n_rows
            if result is None:  # memory of numpy's, which comes in large pages
                result = np.empty((X.shape[0], *part.shape[1:]), str(part.dtype).removeprefix("torch."))
            torch.from_numpy(result[rows]).copy_(part)
        assert result is not None, "validation lets no X without rows through"
        return result

    def fingerprint(self) -> bytes:
        """Changes when the parameters do."""
        hasher = hashlib.blake2b(digest_size=16)
        couplings = [name for name in (COUPLINGS, HIDDEN_COUPLINGS) if hasattr(self._model, name)]
        for name in (*TENSORS.values(), *couplings):
            hasher.update(np.ascontiguousarray(getattr(self._model, name)).tobytes())
        hasher.update(repr(self._model.units).encode())
        return hasher.digest()


def _states(X: Any, place: Placement, coding: Coding) -> Tensor:
    """Rows of a table as states."""
    if coding.is_plain:
        return to_tensor(X, *place)
    return coding.encode(to_tensor(X, _float_type(X))).to(place.device, place.dtype)


def arrays_in(attributes: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """All arrays of fitted attributes by name; those in a dict or a list as `history_/loss` or `trajectory_/0/W`."""
    for name, value in attributes.items():
        if name == "history_":
            yield from ((f"{name}/{measure}", np.asarray(values)) for measure, values in value.items())
        elif name == "trajectory_":
            for i, rung in enumerate(value):
                yield from ((f"{name}/{i}/{tensor}", array) for tensor, array in zip(TENSORS, rung, strict=True))
        else:
            yield name, np.asarray(value)
