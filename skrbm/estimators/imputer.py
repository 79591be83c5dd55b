"""`RBMImputer`: gaps of a table filled from a machine that has learned the table, gaps and all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Integral
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils import Tags, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skrbm.estimators._compat import wanted_container
from skrbm.estimators.absent import predicted
from skrbm.estimators.base import BaseRBM
from skrbm.estimators.chains import completed_normal, run_chains_of
from skrbm.estimators.coding import Coding, Table, expected_labels
from skrbm.estimators.filling import (
    dtypes_of,
    filled_table,
    gaps_of,
    is_whole,
    only_value,
    with_columns,
    with_new_columns,
)
from skrbm.estimators.fitted import Fitted
from skrbm.estimators.forms import table_of
from skrbm.estimators.gaussian import GaussianRBM
from skrbm.estimators.inputs import array_with_gaps
from skrbm.estimators.parameters import Number, missing_of
from skrbm.estimators.tables import as_pandas, columns_of, frame_kind, learn_columns
from skrbm.estimators.tabular import MixedRBM
from skrbm.support.checks import check_choice, warn
from skrbm.support.randomness import Stream

if TYPE_CHECKING:
    from sklearn.impute import MissingIndicator

_CHAINS = 10_000  # that draws are made by at a time


def n_hidden_for(gaps: np.ndarray) -> int:
    """How many hidden units a table with these gaps is given: by as many rows as its values fill."""
    n_rows = (~gaps).sum() / gaps.shape[1]
    return int(min(max(4, 2 * math.sqrt(n_rows)), 128))  # by `benchmarks/imputation.py sizes`


def n_factors_for(gaps: np.ndarray) -> int:
    """How many factors a table of numbers with these gaps is given: as many as it can have, which do no harm."""
    return min(max(1, gaps.shape[1] - 1), 32)  # by `numbers_of_factors` there


def _machine_of(table: Any, gaps: np.ndarray) -> BaseRBM:
    """Factor analysis for tables of numbers alone, which does better there; bits for others."""
    has_numbers = all(dtype.lower().startswith(("float", "int", "uint")) for dtype in dtypes_of(table))
    if has_numbers and all(column.kind == "gaussian" for column in learn_columns(table)):
        return GaussianRBM(n_factors_for(gaps), hidden="gaussian")
    return MixedRBM(n_hidden_for(gaps), handle_unknown="missing")


def _for_columns(machine: BaseRBM, places: np.ndarray) -> BaseRBM:
    """A machine of the columns with these numbers alone, whose parameters name all by their numbers."""
    new = {int(place): i for i, place in enumerate(places)}
    params = machine.get_params(deep=False)
    if isinstance(kinds := params.get("columns"), Mapping):
        some = {kind: [which] if isinstance(which, str | int) else which for kind, which in kinds.items()}
        named = {k: [w if isinstance(w, str) else new.get(w, -1) for w in which] for k, which in some.items()}
        machine.set_params(columns={k: [w for w in which if w != -1] for k, which in named.items()})
    if not isinstance(labels := params.get("categories", "auto"), str) and len(labels) > len(places):
        machine.set_params(categories=[labels[place] for place in places])
    return machine


class RBMImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fill gaps from a restricted Boltzmann machine of the table: numbers, categories, yes and no.

    The machine learns from all rows, those with gaps too, and the gaps of a row are then filled by what it expects
    given all that the row has. Nothing has to be scaled or encoded, and no column is filled by a model of its own.

    Parameters
    ----------
    estimator : "auto" or estimator, default="auto"
        A machine, such as `MixedRBM(n_hidden=50)`, `GaussianRBM()`, `BernoulliRBMTorch()`, which is cloned. "auto" is
        factor analysis, `GaussianRBM(hidden="gaussian")`, where all columns are numbers, and else a `MixedRBM`, which
        takes columns of every kind; with more hidden units the more values there are, and one factor less than columns
        (32 at most).
    sample_posterior : bool, default=False
        Whether gaps are filled by a draw from p(missing | observed), rather than by means of numbers and the most
        probable labels.
    statistic : {"mode", "mean"}, default="mode"
        What fills gaps of columns that have numbers for labels, such as ratings: the most probable one, or the mean,
        Σ label · p(label | observed). Other labels are the most probable one, other numbers the mean;
        and draws are draws.
    n_steps : int, default=200
        Length of the chains of each row with gaps; there are none where the machine's missing cells are absent
        (`missing="absent"`), each of which is predicted by itself, exactly.
    n_chains : int, default=5
        How many chains means are over, of their second halves. (A draw takes one.)
    add_indicator : bool, default=False
        Whether a column for each column that had gaps in `fit` is appended, which says where these were.
    keep_empty_features : bool, default=False
        Whether columns without any value in `fit` are kept, with gaps as 0, False or "missing". Else they are dropped.
    random_state : int, RandomState instance or None, default=None
        Of the learning, where `estimator` has no `random_state` of its own, and of the chains. With a number, the same
        table is filled in the same way each time.

    Attributes
    ----------
    estimator_ : estimator
        The fitted machine. It knows nothing of columns that are empty or never vary.
    indicator_ : MissingIndicator or None
        Where gaps were, with `add_indicator`.
    n_features_in_, feature_names_in_
        As in all of scikit-learn.

    See Also
    --------
    sklearn.impute.IterativeImputer : A regression for each column, on numbers.
    MixedRBM.complete : What fills the gaps.

    Notes
    -----
    NaN, None and pandas' NA are gaps. Observed cells stay as they are to the last bit, also labels that `fit` didn't
    know, which count as missing where the machine has `handle_unknown="missing"`, as that of "auto" has. Columns keep
    their types; where these are whole numbers, so are means, rounded. A gap in a column that never varied in `fit` gets
    its only value.

    Chains set out from the mean of the table, with all that the row has clamped, so that it is this which decides where
    they go at first: where several quite different completions fit, Gibbs chains hardly ever go from one to another.
    Means and draws of `GaussianRBM(hidden="gaussian")` take no chains.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skrbm import RBMImputer
    >>> rng = np.random.default_rng(0)
    >>> age = rng.normal(50, 15, 100)
    >>> table = pd.DataFrame({"age": age, "pressure": age + 80 + rng.normal(0, 8, 100)})
    >>> table["retired"] = np.where(age + rng.normal(0, 3, 100) > 65, "yes", "no")
    >>> gaps = pd.DataFrame({"age": [30.0, 75.0], "pressure": [np.nan, 155.0], "retired": ["no", None]})
    >>> imputer = RBMImputer(random_state=0).fit(pd.concat([table, gaps]))
    >>> imputer.transform(gaps).round(-1)
        age  pressure retired
    0  30.0     110.0      no
    1  80.0     160.0     yes

    How probable labels are; and three tables of draws, for multiple imputation:

    >>> imputer.probabilities(gaps)["retired"].round(1)
    array([[1. , 0. ],
           [0.3, 0.7]])
    >>> [table["retired"][1] for table in imputer.draws(gaps, 3)]
    ['yes', 'yes', 'no']
    """

    estimator_: BaseRBM
    indicator_: MissingIndicator | None
    n_features_in_: int

    def __init__(
        self,
        estimator: BaseRBM | Literal["auto"] = "auto",
        *,
        sample_posterior: bool = False,
        statistic: Literal["mode", "mean"] = "mode",
        n_steps: int = 200,
        n_chains: int = 5,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.sample_posterior = sample_posterior
        self.statistic = statistic
        self.n_steps = n_steps
        self.n_chains = n_chains
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.random_state = random_state

    # -- learning ------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn a machine of the table.

        Parameters
        ----------
        X : {array-like, data frame, tensor} of shape (n_samples, n_features)
            Rows, with gaps.
        y : Ignored
            Present for scikit-learn's conventions.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or the table is not as described, or nothing but gaps.

        Warns
        -----
        UserWarning
            If columns are empty, and dropped.
        ConvergenceWarning
            As `fit` of the machine.
        """
        self._check_parameters()
        table = self._table(X, reset=True)
        columns, gaps = columns_of(table), gaps_of(table)
        if gaps.all():
            raise ValueError("X has no values at all: it is nothing but gaps.")
        self._names = [name for name, _ in columns]
        self._dtypes = dtypes_of(table)
        self._only = [only_value(values) for _, values in columns]
        self._is_empty = gaps.all(0)
        if self._is_empty.any() and not self.keep_empty_features:
            names = [self._names[place] for place in np.flatnonzero(self._is_empty)]
            warn(
                f"{len(names)} of {len(columns)} columns have no observed values and are dropped: "
                f"{', '.join(names[:5])}{' …' if len(names) > 5 else ''}. With keep_empty_features=True they are kept."
            )
        self._fit_indicator(gaps)
        places = self._places
        if len(places):
            seen = with_columns(table, places)
            self.estimator_ = self._machine_for(seen, gaps[:, places]).fit(seen)
        elif hasattr(self, "estimator_"):
            del self.estimator_
        return self

    def _check_parameters(self) -> None:
        if self.estimator != "auto" and not isinstance(self.estimator, BaseRBM):
            raise TypeError(
                f"estimator={self.estimator!r} must be 'auto' or a machine of skrbm, such as MixedRBM(n_hidden=50)."
            )
        check_choice("statistic", self.statistic, ("mode", "mean"))
        for name in ("n_steps", "n_chains"):
            Number(1, kind=Integral)(name, getattr(self, name))
        for name in ("sample_posterior", "add_indicator", "keep_empty_features"):
            if not isinstance(value := getattr(self, name), bool | np.bool_):
                raise TypeError(f"{name}={value!r} must be True or False.")

    def _table(self, X: Any, reset: bool) -> Any:
        """X as a frame or an array of finite values and gaps, with the features that are known."""
        table = table_of(X)
        validate_data(self, table, reset=reset, skip_check_array=True)
        if isinstance(table, np.ndarray) and table.dtype.kind == "f" and np.isinf(table).any():
            raise ValueError(f"Input X contains infinity or a value too large for {table.dtype!r}.")
        return table

    def _machine_for(self, table: Any, gaps: np.ndarray) -> BaseRBM:
        if isinstance(self.estimator, str):
            machine = _machine_of(table, gaps)
        else:
            machine = _for_columns(clone(self.estimator), self._places)
        if machine.get_params()["random_state"] is None and self.random_state is not None:
            machine.set_params(random_state=int(check_random_state(self.random_state).randint(2**31)))
        return machine

    def _fit_indicator(self, gaps: np.ndarray) -> None:
        self.indicator_ = None
        if self.add_indicator:
            from sklearn.impute import MissingIndicator  # late, for who has no use for it: it imports all neighbours

            self.indicator_ = MissingIndicator(error_on_new=False).fit(np.where(gaps, np.nan, 0.0))

    @property
    def _places(self) -> np.ndarray:
        """Numbers of the columns that the machine sees."""
        return np.flatnonzero([value is None for value in self._only])

    @property
    def _kept(self) -> np.ndarray:
        """Numbers of the columns that are handed out."""
        return np.flatnonzero(~self._is_empty | self.keep_empty_features)

    # -- filling -------------------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Any:
        """The table with its gaps filled.

        Parameters
        ----------
        X : {array-like, data frame, tensor} of shape (n_samples, n_features)
            Rows, with gaps.

        Returns
        -------
        ndarray or data frame of shape (n_samples, n_features_out)
            A frame of the same kind if X is one, else an array of floats, or of objects where there is text. After
            `set_output` what that asks for.

        Raises
        ------
        ValueError, TypeError
            If X is not as it must be.
        """
        table, gaps, given = self._given(X)
        filled = self._mean_or_draw(table, gaps, given)
        # scikit-learn would make objects of the columns
        return as_pandas(filled) if frame_kind(filled) == "polars" and wanted_container(self) == "pandas" else filled

    def _mean_or_draw(self, table: Any, gaps: Any, given: Any) -> Any:
        """The table with its gaps filled, as `transform` has it."""
        if self.sample_posterior:
            return self._filled(table, gaps, self._completed(given, "sample", self._stream(None)))
        if self.statistic == "mode" or given is None or not isinstance(coding := self._coding, Table):
            return self._filled(table, gaps, self._completed(given, "mean", self._stream(None)))
        states = self._states(given, coding)
        found = Fitted(self.estimator_).decoded(states, given)
        return self._filled(table, gaps, found, expected_labels(coding, states))

    def draws(self, X: Any, n: int = 5, *, random_state: Any = None) -> list[Any]:
        """Completed tables for multiple imputation: independent draws from p(missing | observed).

        Each table takes chains of its own, which start independently of each other; how good draws are, after
        `n_steps` steps, is up to how fast these forget where they started.

        Parameters
        ----------
        X : {array-like, data frame, tensor} of shape (n_samples, n_features)
            Rows, with gaps.
        n : int
            How many tables.
        random_state : int, RandomState instance or None
            None takes that of the imputer.

        Returns
        -------
        list of ndarray or data frame of shape (n_samples, n_features_out)
            As `transform` returns.

        Notes
        -----
        The machine is the same for all: draws tell what is uncertain given the machine, and not how well that is
        known. For that, fit imputers to bootstrap samples of the rows.
        """
        Number(1, kind=Integral)("n", n)
        table, gaps, given = self._given(X)
        stream = self._stream(random_state)
        return [self._filled(table, gaps, found) for found in self._drawn(given, n, stream)]

    def probabilities(self, X: Any) -> dict[str, np.ndarray]:
        """How probable each label of a column is in each row, given what the row has.

        Parameters
        ----------
        X : {array-like, data frame, tensor} of shape (n_samples, n_features)
            Rows, with gaps.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, n_labels)
            Of each column with labels, by name ("x0", "x1" … where it has none); labels are in the order of
            `estimator_.columns_`. Means over chains; where a label is observed, 1 and zeros.

        Raises
        ------
        ValueError
            If the machine is none of tables (`MixedRBM`, `CategoricalRBM`).
        """
        _, _, given = self._given(X)
        if given is None:
            return {}
        coding = self._coding
        if not isinstance(coding, Table) and isinstance(self.estimator, str):
            return {}
        if not isinstance(coding, Table):
            raise ValueError(
                f"{type(self.estimator_).__name__} has no labels. Take MixedRBM or CategoricalRBM as estimator."
            )
        found = coding.probabilities(self._states(given, coding))
        return {self._names[self._places[i]]: p for i, p in found.items()}

    @property
    def _coding(self) -> Coding:
        return self.estimator_.form.coding(self.estimator_)

    def _states(self, given: np.ndarray, coding: Coding) -> np.ndarray:
        """Rows as means of the machine's states, in which labels have probabilities."""
        states = coding.encode_array(given)
        some = np.isnan(given).any(1)
        if some.any():
            states[some] = self._run(given[some], "mean", self._stream(None), decode=False)
        return states

    def _stream(self, random_state: Any) -> Stream:
        state = self.random_state if random_state is None else random_state
        if state is None:
            return Stream([int(n) for n in np.random.SeedSequence().generate_state(4)], "imputing")
        return Stream([int(n) for n in check_random_state(state).randint(0, 2**32, 4, np.uint64)], "imputing")

    def _given(self, X: Any) -> tuple[Any, np.ndarray, np.ndarray | None]:
        """The table, its gaps, and as numbers what the machine sees of it, NaN where it knows nothing."""
        check_is_fitted(self, "n_features_in_")
        self._check_parameters()
        table = self._table(X, reset=False)
        gaps = gaps_of(table)
        if not hasattr(self, "estimator_"):
            return table, gaps, None
        return table, gaps, array_with_gaps(self.estimator_, with_columns(table, self._places), "X")

    def _completed(self, given: np.ndarray | None, kind: str, stream: Stream) -> np.ndarray | None:
        if given is None:
            return None
        found = given.copy()
        some = np.isnan(given).any(1)
        if some.any():
            found[some] = self._run(given[some], kind, stream)
        return found

    def _drawn(self, given: np.ndarray | None, n: int, stream: Stream) -> Iterator[np.ndarray | None]:
        """So many completions, as many at a time as there are chains for."""
        n_at_once = max(1, _CHAINS // max(1, 0 if given is None else len(given)))
        for first in range(0, n, n_at_once):
            size = min(n_at_once, n - first)
            if given is None:
                yield from [None] * size
                continue
            found = self._completed(np.tile(given, (size, 1)), "sample", stream)
            assert found is not None, "something is given"
            yield from np.split(found, size)

    def _run(self, given: np.ndarray, kind: str, stream: Stream, decode: bool = True) -> np.ndarray:
        """Rows with gaps, completed; as numbers of the table or, without `decode`, of the machine."""
        model, n_steps = self.estimator_, self.n_steps
        if missing_of(model) == "absent":
            return predicted(model, given, stream, mean=kind == "mean", decode=decode or kind == "sample")
        fitted = Fitted(model)
        if fitted.machine().is_quadratic:
            return completed_normal(model, given, stream, mean=kind == "mean")
        if kind == "sample":
            return run_chains_of(model, "gibbs", n_steps, stream, None, given)
        found = np.zeros(())
        for _ in range(self.n_chains):
            found = found + run_chains_of(model, "gibbs", n_steps, stream, None, given, mean=True, decode=False)
        found = (found / self.n_chains).astype(given.dtype)
        return fitted.decoded(found, given) if decode else found

    def _filled(
        self,
        table: Any,
        gaps: np.ndarray,
        found: np.ndarray | None,
        expected: Mapping[int, np.ndarray] = MappingProxyType({}),
    ) -> Any:
        """The table with its gaps filled by numbers of the machine's columns, or by the only value of the others.

        Of columns of the machine in `expected`, by their numbers, by values (n,) as they are.
        """
        fills = {}
        for place in np.flatnonzero(gaps.any(0)).tolist():
            missing, only = gaps[:, place], self._only[place]
            if only is None:
                assert found is not None, "there is a machine"
                column = int(np.searchsorted(self._places, place))
                if column in expected:
                    fills[place] = expected[column][missing]
                else:
                    fills[place] = self._values_of(place, found[missing, column])
            else:
                fills[place] = np.full(int(missing.sum()), only, object)
        filled = filled_table(table, self._kept, gaps, fills, self._dtypes)
        return filled if self.indicator_ is None else self._with_indicator(filled, gaps)

    def _values_of(self, place: int, numbers: np.ndarray) -> np.ndarray:
        """What the machine's numbers of a column mean."""
        columns = getattr(self.estimator_, "columns_", None)
        if columns is not None:
            return columns[int(np.searchsorted(self._places, place))].values_of_numbers(numbers)
        return np.rint(numbers) if is_whole(self._dtypes[place]) else numbers

    def _with_indicator(self, filled: Any, gaps: np.ndarray) -> Any:
        assert self.indicator_ is not None, "asked for"
        flags = self.indicator_.transform(np.where(gaps, np.nan, 0.0))
        if frame_kind(filled) is None:
            return np.hstack((filled, flags.astype(filled.dtype)))
        names = self.get_feature_names_out()[len(self._kept) :]
        return with_new_columns(filled, dict(zip(names, flags.T, strict=True)))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that `transform` returns.

        Parameters
        ----------
        input_features : array-like of str, optional
            Names of the columns of X, where `fit` has seen none.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self, "n_features_in_")
        names = np.asarray(super().get_feature_names_out(input_features))
        kept = names[self._kept]
        if self.indicator_ is None:
            return kept
        return np.concatenate([kept, self.indicator_.get_feature_names_out(names)])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        theirs = get_tags(MixedRBM() if isinstance(self.estimator, str) else self.estimator).input_tags
        tags.input_tags.categorical, tags.input_tags.string = theirs.categorical, theirs.string
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
