"""How the columns of a table become the columns of a machine, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from skrbm.distributed import Group
from skrbm.estimators.tables import KINDS, Column
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.blocks import Blocks
from skrbm.machines.categorical import Categorical
from skrbm.machines.gaussian import GAUSSIAN
from skrbm.machines.restricted import RBMParameters
from skrbm.machines.units import Unit
from skrbm.support.checks import warn
from skrbm.support.tensors import chunks, dense

_ROUNDING = 1e-12  # of a column's mean, that it varies by where it is constant
CODING_ATTRIBUTES = ("columns_", "frame_", "location_", "scale_")


class Coding(ABC):
    """How rows of a table, as numbers, become rows of a machine, and back; NaN stays NaN.

    Attributes
    ----------
    is_plain : bool
        Whether rows are what they are.
    takes_bits : bool
        Whether values of the table go in as they are, and have to lie in the range of the machine's units.
    log_volume : float
        What has to be taken off a log-density of the machine's rows for that of the table's, in nats.
    log_scales : ndarray of shape (n_scaled,)
        What it is the sum of: of the columns `visible.scaled` of the machine.
    visible : Unit
        What kind of units the machine has for the rows.
    n_latent : int
        How many of the machine's visible units, the last ones, have no column: hidden units that are coupled, which
        every row lacks.
    """

    is_plain: ClassVar[bool] = False
    takes_bits: bool = False
    log_volume: float = 0.0
    log_scales: np.ndarray = np.zeros(0)
    visible: Unit
    n_latent: int = 0

    @abstractmethod
    def encode(self, rows: Tensor) -> Tensor:
        """Rows of the table (n, n_features_in) as rows of the machine."""

    @abstractmethod
    def decode(self, rows: Tensor) -> Tensor:
        """The reverse."""

    @abstractmethod
    def attributes(self) -> dict[str, Any]:
        """What a fitted estimator has of it."""

    @abstractmethod
    def after(self, params: RBMParameters) -> Self:
        """The coding into states of a machine that has learned from rows by this one, whose scale then is 1."""

    @abstractmethod
    def folded_into(self, params: RBMParameters) -> RBMParameters:
        """Weights and biases of the hidden units for rows of the table, where rows enter these linearly.

        Raises
        ------
        ValueError
            If they don't.
        """

    def encode_array(self, X: np.ndarray) -> np.ndarray:
        """Of an array, in its own float type."""
        return self.encode(torch.from_numpy(np.ascontiguousarray(X))).numpy()

    def decode_array(self, X: np.ndarray) -> np.ndarray:
        """Of an array, in its own float type."""
        return self.decode(torch.from_numpy(np.ascontiguousarray(X))).numpy()


class Plain(Coding):
    """Rows are rows."""

    is_plain: ClassVar[bool] = True
    takes_bits: bool = True
    visible: Unit = BERNOULLI

    def encode(self, rows: Tensor) -> Tensor:
        return rows

    def decode(self, rows: Tensor) -> Tensor:
        return rows

    def attributes(self) -> dict[str, Any]:
        return {}

    def after(self, params: RBMParameters) -> Self:
        return self

    def folded_into(self, params: RBMParameters) -> RBMParameters:
        return params


PLAIN = Plain()


class Bits(Coding):
    """Rows of bits or of spins, beside units that no row knows: NaN in the machine's rows.

    Parameters
    ----------
    n_latent : int
        How many of these there are.
    are_spins : bool
        Whether rows have -1 and 1, or means between them, for 0 and 1.
    """

    visible: Unit = BERNOULLI

    def __init__(self, n_latent: int = 0, are_spins: bool = False) -> None:
        self.n_latent, self._are_spins = n_latent, are_spins
        self.takes_bits = not are_spins

    def encode(self, rows: Tensor) -> Tensor:
        rows = rows if rows.is_floating_point() else rows.float()
        if self._are_spins:
            low, high = torch.nan_to_num(rows).aminmax() if rows.numel() else (0.0, 0.0)
            if low < -1.0 or high > 1.0:
                raise ValueError(
                    f"Spins are -1 or 1, or means between them, but X has values from {float(low):g} to "
                    f"{float(high):g}. Cut them at a threshold: 2 * (X > t) - 1."
                )
            rows = 0.5 * (rows + 1.0)
        return torch.cat((rows, rows.new_full((*rows.shape[:-1], self.n_latent), torch.nan)), -1)

    def decode(self, rows: Tensor) -> Tensor:
        rows = rows[..., : rows.shape[-1] - self.n_latent].contiguous()
        return 2.0 * rows - 1.0 if self._are_spins else rows

    def attributes(self) -> dict[str, Any]:
        return {}

    def after(self, params: RBMParameters) -> Self:
        return self

    def folded_into(self, params: RBMParameters) -> RBMParameters:
        if self.n_latent:
            raise ValueError(
                "Hidden units that are coupled have no closed form, so no layer of a network computes them."
            )
        W = 0.5 * params.W if self._are_spins else params.W
        return replace(params, W=W, c=params.c + W.sum(1) if self._are_spins else params.c)


class Standardized(Coding):
    """Each column less its location, over its scale.

    Parameters
    ----------
    location, scale : ndarray of shape (n_features_in,)
        In float64.
    """

    visible: Unit = GAUSSIAN
    location: np.ndarray
    scale: np.ndarray
    log_volume: float
    log_scales: np.ndarray

    def __init__(self, location: np.ndarray, scale: np.ndarray) -> None:
        self.location, self.scale = location, scale
        self._location, self._scale = torch.from_numpy(location), torch.from_numpy(scale)
        self.log_scales = np.log(scale)
        self.log_volume = float(self.log_scales.sum())

    def encode(self, rows: Tensor) -> Tensor:
        wide = rows.double() if rows.dtype == torch.float64 else rows.float()
        location, scale = self._location.to(wide), self._scale.to(wide)
        return (wide - location).div_(scale)

    def decode(self, rows: Tensor) -> Tensor:
        return rows * self._scale.to(rows) + self._location.to(rows)

    def folded_into(self, params: RBMParameters) -> RBMParameters:
        W = params.W / self._scale.to(params.W)
        return replace(params, W=W, c=params.c - W @ self._location.to(params.W))

    def attributes(self) -> dict[str, Any]:
        return {"location_": self.location, "scale_": self.scale}

    def after(self, params: RBMParameters) -> Self:
        if params.log_scale is None:
            return self
        return type(self)(self.location, self.scale * np.exp(params.log_scale.double().cpu().numpy()))


class Table(Coding):
    """Columns of every kind: bits, then Gaussian ones standardised, then categories as zeros and a one.

    Rows of the table are numbers: values, or codes of labels.

    Parameters
    ----------
    columns : sequence of Column
        What they are.
    location, scale : ndarray of shape (n_gaussian,)
        Of the Gaussian ones, in float64.
    frame : str, optional
        Whose data frames the tables are, if they are any.

    Attributes
    ----------
    visible : Unit
        What kind of units the machine has for them.
    """

    frame: str | None
    columns: tuple[Column, ...]
    visible: Unit
    log_volume: float
    log_scales: np.ndarray

    def __init__(
        self, columns: Sequence[Column], location: np.ndarray, scale: np.ndarray, frame: str | None = None
    ) -> None:
        self.frame, self.columns, self._gaussian = frame, tuple(columns), Standardized(location, scale)
        self.log_volume, self.log_scales = self._gaussian.log_volume, self._gaussian.log_scales
        places = {kind: [i for i, one in enumerate(columns) if one.kind == kind] for kind in KINDS}
        self._places = {kind: torch.tensor(some, dtype=torch.long) for kind, some in places.items()}
        self._sizes = [columns[i].width for i in places["categorical"]]
        self._offsets = torch.tensor([sum(self._sizes[:i]) for i in range(len(self._sizes))], dtype=torch.long)
        self._n_bits, self._n_gaussian = len(places["binary"]), len(places["gaussian"])
        blocks: list[tuple[Unit, int]] = [(BERNOULLI, self._n_bits), (GAUSSIAN, self._n_gaussian)]
        if self._sizes:
            blocks.append((Categorical(self._sizes), sum(self._sizes)))
        blocks = [(unit, n) for unit, n in blocks if n]
        self.visible = blocks[0][0] if len(blocks) == 1 else Blocks(blocks)

    def encode(self, rows: Tensor) -> Tensor:
        places = {kind: some.to(rows.device) for kind, some in self._places.items()}
        rows = rows if rows.is_floating_point() else rows.double()
        codes = rows[:, places["categorical"]]
        one_hot = rows.new_zeros((len(rows), sum(self._sizes)))
        if self._sizes:
            known = codes.nan_to_num(0.0).long()
            one_hot.scatter_(1, known + self._offsets.to(rows.device), 1.0)
            missing = codes.isnan().repeat_interleave(torch.tensor(self._sizes, device=rows.device), 1)
            one_hot.masked_fill_(missing, torch.nan)
        gaussian = self._gaussian.encode(rows[:, places["gaussian"]])
        return torch.cat((rows[:, places["binary"]], gaussian, one_hot), 1)

    def decode(self, rows: Tensor) -> Tensor:
        """Means of bits as the likelier value, those of categories as the most probable one."""
        bits, gaussian, one_hot = torch.split(rows, [self._n_bits, self._n_gaussian, sum(self._sizes)], 1)
        table = rows.new_empty((len(rows), len(self.columns)))
        table[:, self._places["binary"].to(rows.device)] = (bits > 0.5).to(rows)
        table[:, self._places["gaussian"].to(rows.device)] = self._gaussian.decode(gaussian)
        for place, block in zip(
            self._places["categorical"].tolist(), torch.split(one_hot, self._sizes, 1), strict=True
        ):
            table[:, place] = block.argmax(1).to(rows)
        return table

    def probabilities(self, rows: np.ndarray) -> dict[int, np.ndarray]:
        """Of the labels of each column that has some, by its number, (n, n_labels): means of the machine's states."""
        bits, _, one_hot = np.split(rows, np.cumsum([self._n_bits, self._n_gaussian]), 1)
        blocks = np.split(one_hot, np.cumsum(self._sizes)[:-1], 1) if self._sizes else []
        found = dict(zip(self._places["categorical"].tolist(), blocks, strict=True))
        found |= {
            place: np.stack((1 - p, p), 1) for place, p in zip(self._places["binary"].tolist(), bits.T, strict=True)
        }
        return dict(sorted(found.items()))

    def attributes(self) -> dict[str, Any]:
        return {"columns_": list(self.columns), "frame_": self.frame} | self._gaussian.attributes()

    def folded_into(self, params: RBMParameters) -> RBMParameters:
        raise ValueError("Rows with labels of categories can't go through a linear layer as they are.")

    def after(self, params: RBMParameters) -> Self:
        gaussian = self._gaussian if params.log_scale is None else self._gaussian.after(params)
        return type(self)(self.columns, gaussian.location, gaussian.scale, self.frame)


def expected_labels(coding: Table, states: np.ndarray) -> dict[int, np.ndarray]:
    """Σ label · p(label) of each column whose labels are numbers, by its number, (n,); states as in `probabilities`."""
    found = {}
    for place, p in coding.probabilities(states).items():
        labels = coding.columns[place].labels
        assert labels is not None, "columns with probabilities have labels"
        kinds = {type(label) for label in labels.tolist()}
        if kinds <= {int, float}:
            found[place] = p @ labels.astype(p.dtype)
    return found


def table_for(
    columns: Sequence[Column], X: np.ndarray, weight: np.ndarray | None, group: Group, frame: str | None
) -> Table:
    """The coding of a table of these columns, given as numbers."""
    gaussian = [i for i, column in enumerate(columns) if column.kind == "gaussian"]
    coding = standardized_for(X[:, gaussian], weight, group)
    return Table(columns, coding.location, coding.scale, frame)


def standardized_for(X: Any, weight: np.ndarray | None, group: Group) -> Standardized:
    """The coding that gives each column of X a mean of 0 and a variance of 1, but for those that don't vary.

    Warns
    -----
    UserWarning
        If columns are constant, but for rounding.
    """
    mean, deviation = moments(X, weight, group)
    is_constant = deviation <= _ROUNDING * np.abs(mean)
    if is_constant.any():
        places = np.flatnonzero(is_constant)
        few = ", ".join(map(str, places[:5])) + (" …" if len(places) > 5 else "")
        warn(
            f"{len(places)} of {len(mean)} columns of X don't vary ({few}, counted from 0). They tell nothing; leave "
            "them out. Their scale is 1.",
            UserWarning,
        )
    return Standardized(mean, np.where(is_constant, 1.0, deviation))


def moments(X: Any, weight: np.ndarray | None, group: Group) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation of each column over all processes, float64; (n_columns,) each.

    Of the cells that aren't NaN; 0 where there are none. Two passes: what is squared are deviations from the mean,
    which loses no digits to a large one.
    """
    n_rows, n_columns = X.shape
    weight = np.ones(n_rows) if weight is None else np.asarray(weight, np.float64)
    total = float(weight.sum())

    def mean_of(function: Any) -> np.ndarray:
        found, missing = np.zeros(n_columns), np.zeros(n_columns)
        for rows in chunks(n_rows):
            values = function(np.asarray(dense(X[rows]), np.float64))
            if (free := np.isnan(values)).any():
                values = np.where(free, 0.0, values)
                missing += weight[rows] @ free
            found += weight[rows] @ values
        share = np.asarray(group.mean(torch.from_numpy(1.0 - missing / total), total))
        return np.asarray(group.mean(torch.from_numpy(found / total), total)) / np.maximum(share, 1e-300)

    mean = mean_of(lambda x: x)
    return mean, np.sqrt(mean_of(lambda x: np.square(x - mean)))
