"""Chains of a fitted machine: where they start, by which kernel they move, what they come to, and how well they mix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skrbm.diagnostics.mixing import diagnose
from skrbm.estimators.fitted import LATENT_STEPS, Fitted
from skrbm.estimators.inputs import array_of
from skrbm.estimators.judging import verdict_of
from skrbm.machines.restricted import RBMParameters, mean_v_given_h, sample_h_given_v, sample_v_given_h
from skrbm.sampling.kernels import GIBBS, Kernel, clamp, record_chains, run_chains
from skrbm.sampling.tempering import TEMPERING, SwapWarning, ladder_by_name
from skrbm.support.checks import check_choice, warn
from skrbm.support.progress import Progress, show_progress
from skrbm.support.randomness import Stream
from skrbm.support.tables import Table
from skrbm.support.tensors import Placement
from skrbm.training.gaps import filled

Sampler = Literal["gibbs", "parallel_tempering", "trajectory_tempering"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)


# -- how they move -----------------------------------------------------------------------------------------------------


def check_method(model: Any, name: str, method: Any, known: tuple[str, ...], other: str = "") -> None:
    """Raise a ValueError unless `method` is known, and the model has what it needs for it."""
    check_is_fitted(model)
    check_choice(name, method, known, other)
    if method == "trajectory_tempering" and not hasattr(model, "trajectory_"):
        raise ValueError(
            "method='trajectory_tempering' needs the machines on the way of a fit. Call fit with "
            "store_trajectory=True, or choose 'parallel_tempering'."
        )


def check_sampler(model: Any, name: str, method: Any) -> None:
    """Raise unless this is the name of a way of sampling that the model has what it needs for, or a kernel.

    Raises
    ------
    TypeError, ValueError
        See above; a ladder, which the kernel of tempering needs, is made by name.
    """
    if not isinstance(method, Kernel):
        if not isinstance(method, str):
            names = ", ".join(map(repr, SAMPLERS))
            raise TypeError(f"{name} must be {names} or a skrbm.sampling.Kernel, got {type(method).__name__}.")
        check_method(model, name, method, SAMPLERS, "a skrbm.sampling.Kernel")
    elif not (callable(method.init) and callable(method.step)):
        raise TypeError(f"{name} must be a Kernel whose init and step can be called, got {method!r}.")
    elif method.step is TEMPERING.step:
        raise ValueError(
            f"{name}=TEMPERING runs on a ladder of machines. Choose 'parallel_tempering' or "
            "'trajectory_tempering', which make one."
        )


def _name_of(method: Sampler | Kernel) -> str:
    """What a way of sampling is called."""
    return method if isinstance(method, str) else getattr(method.step, "__name__", "kernel")


def _tempered(params: RBMParameters, beta: float) -> RBMParameters:
    """The machine at an inverse temperature."""
    return params if beta == 1.0 else params.tempered(float(beta))


def _kernel_of(
    method: Sampler | Kernel, fitted: Fitted, place: Placement, stream: Stream, beta: float = 1.0
) -> tuple[Kernel, Any]:
    """The kernel, that of the name if it is one, and the model that it samples, at an inverse temperature."""
    machine = _tempered(fitted.machine(place), beta)
    if isinstance(method, Kernel) or method == "gibbs":
        return method if isinstance(method, Kernel) else GIBBS, machine
    path = replace(fitted.path(place), machine=machine)
    rungs = fitted.rungs(place) if method == "trajectory_tempering" else None
    return TEMPERING, ladder_by_name(method, path, stream, rungs=rungs)


@contextmanager
def progress_of(model: Any, what: str) -> Iterator[Progress | None]:
    """What is told of the steps of a long run: nothing, unless the model's `verbose` asks for it."""
    if not model.verbose:
        yield None
        return
    with show_progress(f"[{type(model).__name__}] {what}") as progress:
        yield progress


# -- where they start, and what they come to ---------------------------------------------------------------------------


def starts_of(model: Any, n_samples: int, init: Any, stream: Stream) -> np.ndarray:
    """Where chains start, (n_samples, n_features_in_): "random", "data", or rows.

    Raises
    ------
    ValueError, TypeError
        If `init` is something else, or other rows than samples, or the model keeps no training rows.
    """
    dtype = np.asarray(model.components_).dtype
    if not isinstance(init, str):
        rows = array_of(model, init, "init")
        if rows.shape[0] != n_samples:
            raise ValueError(f"init has {rows.shape[0]} rows, but n_samples={n_samples}. Pass as many rows.")
        return rows if isinstance(rows, np.ndarray) and rows.dtype.kind == "f" else rows.astype(dtype)
    check_choice("init", init, ("random", "data"), "an array of rows")
    if init == "random":
        return _random_starts(model, n_samples, stream).astype(dtype)
    if not hasattr(model, "data_samples_"):
        raise ValueError("init='data', but this model keeps no training rows. Pass rows as init, or fit it here.")
    kept = np.asarray(model.data_samples_, dtype)
    return kept[stream.integers(len(kept), (n_samples,))]


def _random_starts(model: Any, n: int, stream: Stream) -> np.ndarray:
    """Random states, where bits are even; else what random hidden states show."""
    fitted = Fitted(model)
    if fitted.machine().visible.states is not None:
        return stream.integers(2, (n, model.n_features_in_))
    machine = fitted.machine()
    h = machine.hidden.sample(machine.hidden.mean(machine.c.new_zeros(n, machine.n_hidden)), stream)
    return fitted.decoded(sample_v_given_h(machine, h, stream).cpu().numpy())


def run_chains_of(
    model: Any,
    method: Sampler | Kernel,
    n_steps: int,
    stream: Stream,
    starts: Any,
    given: Any = None,
    *,
    mean: bool = False,
    beta: float = 1.0,
    thin: int = 0,
    decode: bool = True,
) -> np.ndarray:
    """The ends of chains from `starts`, or the means over their second halves, or with `thin` what is kept.

    Where `starts` is None they are the mean of the rows of `fit`, so that what is given decides where a chain goes at
    first. Returned are rows of the table; of the machine, in which labels have probabilities, without `decode`.
    """
    fitted, rows = Fitted(model), given if starts is None else starts
    with fitted.threads(rows.shape[0]):
        kernel, sampled = _kernel_of(method, fitted, fitted.place_for(rows), stream, beta)
    watch = kernel.watch(sampled)
    base = fitted.path(fitted.place_for(rows)).base_b if starts is None else None

    has_latent = bool(model.form.coding(model).n_latent)

    def run(params: RBMParameters, v: Tensor, given: Tensor | None = None) -> Tensor:
        if has_latent:
            v = torch.where(v.isnan(), stream.bernoulli(torch.full_like(v, 0.5)), v)
        if base is not None:
            v, given = params.visible.mean(base).expand(len(v), -1), v
        if thin:
            return record_chains(kernel, sampled, v, n_steps, stream, given, thin, watch)[0]
        return run_chains(kernel, sampled, v, n_steps, stream, given, mean, watch)[0]

    with progress_of(model, "chains") as progress:
        kernel = kernel.telling(progress, n_steps)
        found = fitted.over_rows(run, rows, *(() if given is None or starts is None else (given,)))
        found = fitted.decoded(found, given) if decode else found
    if text := watch.warning_text():
        warn(f"Samples by method={_name_of(method)!r} are not to be trusted. {text}", SwapWarning)
    return found


def completed_normal(model: Any, given: np.ndarray, stream: Stream, *, mean: bool) -> np.ndarray:
    """Rows with gaps, completed by means or draws, of a machine whose layers are both Gaussian: without chains."""
    fitted = Fitted(model)
    complete = partial(_completed_normal, stream=stream, mean=mean)
    return fitted.decoded(fitted.over_rows(complete, given), given)


def _completed_normal(params: RBMParameters, v: Tensor, stream: Stream, mean: bool) -> Tensor:
    """E[v | v_o], or a draw, of a machine whose layers are both Gaussian: p(h | v_o) is normal, of this precision."""
    W, free = params.W.double(), v.isnan().double()
    precision = torch.eye(len(W), dtype=W.dtype, device=W.device) - torch.einsum("hv,nv,kv->nhk", W, free, W)
    linear = params.c.double() + torch.where(v.isnan(), params.b, v).double() @ W.T
    root = torch.linalg.cholesky(precision)
    h = torch.cholesky_solve(linear[:, :, None], root)[:, :, 0]
    if not mean:
        noise = torch.from_numpy(stream.normal((len(h), len(W)))).to(h)
        h += torch.linalg.solve_triangular(root.mT, noise[:, :, None], upper=True)[:, :, 0]
    found = mean_v_given_h(params, h.to(params.W))
    return clamp(found if mean else params.visible.sample(found, stream), v)


def hidden_of(model: Any, v: np.ndarray, beta: float, stream: Stream) -> np.ndarray:
    """Hidden states drawn from p(h | v) at an inverse temperature, of visible ones (..., n_features)."""
    n_latent = model.form.coding(model).n_latent

    def draw(params: RBMParameters, v: Tensor) -> Tensor:
        if n_latent:
            free = v.isnan()
            starts = torch.where(free, stream.bernoulli(torch.full_like(v, 0.5)), v)
            params = _tempered(params, beta)
            v = filled(params, starts, free, LATENT_STEPS, stream)
            return torch.cat((sample_h_given_v(params, v, stream), v[:, -n_latent:]), 1)
        return sample_h_given_v(_tempered(params, beta), v, stream)

    found = Fitted(model).over_rows(draw, v.reshape(-1, v.shape[-1]))
    return found.reshape(*v.shape[:-1], -1)


def equilibrium(model: Any, n: int, stream: Stream) -> np.ndarray:
    """The chains of training, or random ones, after 1,000 Gibbs steps: visible states (n, n_features)."""
    starts = starts_of(model, n, "random", stream)
    v = np.asarray(getattr(model, "v_samples_", ()), starts.dtype)
    if v.ndim == 2:
        starts = np.resize(v, (n, v.shape[1]))
        return run_chains_of(model, "gibbs", 1000, stream, starts)
    h = np.asarray(getattr(model, "h_samples_", ()))
    if h.ndim == 2 and len(h) and h.shape[1] == np.shape(model.components_)[0]:
        fitted = Fitted(model)
        means = fitted.over_rows(mean_v_given_h, h.astype(starts.dtype), is_coded=False)
        means = np.resize(means, (n, means.shape[1]))
        starts = fitted.decoded(model.units[0].sample(torch.from_numpy(means), stream).numpy())
    return run_chains_of(model, "gibbs", 1000, stream, starts)


# -- how well they mix -------------------------------------------------------------------------------------------------


def how_chains_mix(
    model: Any, methods: Sequence[Sampler | Kernel], n_steps: int, n_chains: int, stream: Stream
) -> Table:
    """The tables of `skrbm.diagnostics.diagnose` for each method, below each other; its note is the verdict."""
    fitted = Fitted(model)
    place, params = fitted.place, fitted.machine()
    has_data = hasattr(model, "data_samples_")
    random_v = fitted.whole_states(starts_of(model, n_chains, "random", stream), stream)
    data_v = fitted.whole_states(starts_of(model, n_chains, "data", stream), stream) if has_data else None
    tables = []
    for method in methods:
        name = _name_of(method)
        with fitted.threads(2 * n_chains), progress_of(model, name.replace("_", " ")) as progress:
            kernel, sampled = _kernel_of(method, fitted, place, stream)
            table = diagnose(params, kernel.telling(progress, n_steps), sampled, random_v, data_v, n_steps, stream)
        tables.append({"method": np.full(len(table["statistic"]), name)} | table)
    found = Table({name: np.concatenate([table[name] for table in tables]) for name in tables[0]})
    if data_v is not None:
        kept = fitted.whole_states(np.asarray(model.data_samples_), stream)
        found.note = str(verdict_of(model, kept, stream))
    return found
