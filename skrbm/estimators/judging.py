"""Whether a fitted estimator is to be trusted, and the warning where it isn't."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skrbm.diagnostics.verdict import LEAST_LEARNED, LEAST_UPDATES, N_CHAINS, Verdict, judge
from skrbm.estimators.coding import Coding
from skrbm.estimators.fitted import Fitted, learned_of
from skrbm.estimators.parameters import algorithm_of, rule_of
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import binarize_rows
from skrbm.support.checks import warn
from skrbm.support.compiled import loaded_loops
from skrbm.support.randomness import Stream
from skrbm.support.threads import one_thread
from skrbm.training.fit import STUCK_SHARE
from skrbm.training.settings import LIMIT_PER_UNIT, n_moving

_N_ROWS = 1000  # that a fitted machine is compared with
_TOO_FAST = 4.0  # times the divergence of an update that a rate of its own would come to


def warn_if_bad(model: Any, rows: SharedRows, coding: Coding, stream: Stream) -> None:
    """Say what is off about an estimator that has just been fitted to rows by this coding, if something is."""
    if not hasattr(model, "learning_rate_"):  # learned at once, without chains
        return
    scores = getattr(model, "validation_scores_", [0.0])  # the model is that of the best epoch, else the last
    epoch = int(np.argmax(scores)) - len(scores)
    off, on = (model.history_[name][epoch] for name in ("dead_share", "saturated_share"))
    is_free = isinstance(model.learning_rate, str)
    slower = "" if is_free else f"Lower the learning rate (learning_rate={model.learning_rate!r}), or set 'auto'. "
    if off + on > STUCK_SHARE:
        warn(
            f"{off:.0%} of the hidden units are off and {on:.0%} are on in every row: the model has learned next to "
            f"nothing. {slower}Check that X is scaled into [0, 1].",
            ConvergenceWarning,
        )
        return
    if algorithm_of(model) != "pcd" or _n_updates(model) < LEAST_UPDATES or rows.is_weighted or rows.group.rank > 0:
        return
    with one_thread():
        some = rows.some(_N_ROWS, stream)
        if not coding.is_plain:
            some = Fitted(model).whole_states(coding.decode(some.double()).cpu().numpy(), stream)
    with loaded_loops(_is_compiled(model)):
        verdict = verdict_of(model, some, stream)
    problems = list(verdict.problems)
    if verdict.learned < LEAST_LEARNED:
        slower += f"Less weight decay (weight_decay={model.weight_decay!r}) lets few rows be learned. "
    params = Fitted(model).machine()
    most = _TOO_FAST * LIMIT_PER_UNIT * n_moving(params.n_hidden, 0 if params.R is None else params.n_features)
    if not is_free and (divergence := _divergence_at_full_rate(model)) > most:
        problems.append(f"an update moves it by {divergence:.0f} nats, more than persistent chains can follow")
    if problems:
        warn(
            f"The machine is not to be trusted: {'; '.join(problems)}. {slower}More epochs (n_iter is {model.n_iter}), "
            f"more chains (n_chains is {model.n_chains}) or more Gibbs steps (k is {model.k!r}) may help; `diagnose` "
            "shows more.",
            ConvergenceWarning,
        )


def verdict_of(model: Any, v: Tensor, stream: Stream) -> Verdict:
    """What is off about a fitted estimator, by training rows as states, or means of these, (n, n_features)."""
    fitted = Fitted(model)
    with fitted.threads(N_CHAINS):
        v = model.units[0].states_of(binarize_rows(v.cpu(), rule_of(model), stream), stream)
        return judge(fitted.path(), v.to(fitted.place.device, fitted.place.dtype), stream, _n_updates(model))


def _n_updates(model: Any) -> int:
    """How many it has learned by; many where that isn't known."""
    carried = learned_of(model).carried
    return 10_000 if carried is None else int(carried["n_updates"])


def _is_compiled(model: Any) -> bool:
    """Whether it has learned by compiled loops, which are loaded then."""
    carried = learned_of(model).carried
    return carried is not None and bool(carried.get("is_compiled"))


def _divergence_at_full_rate(model: Any) -> float:
    """Median over the epochs of what an update moves the machine by, each as if at the schedule's full rate."""
    share = model.history_["learning_rate"] / model.learning_rate_
    return float(np.nanmedian(model.history_["step_divergence"] / np.maximum(share, 1e-12) ** 2))
