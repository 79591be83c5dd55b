"""The verdict on a machine, against machines that are right by construction and twins that are not."""

import numpy as np
import pytest
import torch

from skrbm.diagnostics.verdict import Verdict, judge
from skrbm.machines.restricted import RBMParameters
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream
from tests import reference


def rows_of(params, n, seed=0):
    p = reference.p_v(params)
    chosen = np.random.default_rng(seed).choice(len(p), n, p=p)
    return torch.from_numpy(reference.states(params.n_features)[chosen])


def verdict(params, rows, seed=0):
    rates = (rows.mean(0) * len(rows) + 0.5) / (len(rows) + 1)
    return judge(AnnealingPath(params, torch.logit(rates)), rows, Stream(seed))


def two_modes(n_features, tilt=0.0, strength=8.0):
    """All on or all off, in the proportion e^tilt: a single hidden unit tells which."""
    W = torch.full((1, n_features), strength).double()
    b = torch.full((n_features,), -strength / 2).double()
    return RBMParameters(W, b, torch.full((1,), tilt - n_features * strength / 2).double())


@pytest.mark.parametrize("seed", range(5))
def test_silent_on_the_machine_that_the_rows_are_from(seed):
    params = reference.random_params(3, 8, seed=seed)
    assert verdict(params, rows_of(params, 1000, seed), seed).is_good


def test_the_chance_of_a_false_alarm():
    """At most one in a thousand by each test: more than one in 20 verdicts would be a chance of one in a thousand."""
    params = reference.random_params(2, 6)
    bad = [v for seed in range(20) if not (v := verdict(params, rows_of(params, 300, seed), seed)).is_good]
    assert len(bad) <= 1, bad


@pytest.mark.parametrize("strength", [0.0, 1.0, 4.0])
def test_loud_where_chains_leave_the_rows(strength):
    """A machine that has learned the means only, one whose weights are too small, and one with a wrong bias."""
    params = two_modes(8, strength=3.0)
    rows = rows_of(params, 1000)
    assert verdict(params, rows).is_good
    found = verdict(two_modes(8, tilt=8.0 * (strength == 4.0), strength=strength), rows)
    assert not found.is_good
    assert "drift away" in str(found)


def test_loud_where_the_mass_is_in_one_mode():
    """Chains never cross between the modes, so that they tell nothing; annealing does."""
    rows = torch.cat([torch.ones(500, 40), torch.zeros(500, 40)]).double()
    rows = rows[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    noise = torch.rand(rows.shape, generator=torch.Generator().manual_seed(1)) < 0.02
    rows = torch.where(noise, 1 - rows, rows)
    good, bad = (verdict(two_modes(40, tilt), rows) for tilt in (0.0, 60.0))
    assert good.is_good, good
    assert not bad.is_good
    assert bad.elsewhere > 20
    assert "mode" in str(bad)
    assert min(bad.worst_column, bad.worst_direction) > 1e-3  # the chains look right


@pytest.mark.parametrize("seed", range(10))
def test_silent_on_columns_that_are_hardly_ever_on(seed):
    """Few ones more or less are no sign; their variance is far from that of a normal distribution."""
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy((rng.random((1000, 60)) < 0.004).astype(float))
    b = torch.logit(torch.full((60,), 0.004).double())
    params = RBMParameters(torch.zeros(3, 60).double(), b, torch.zeros(3).double())
    assert (found := verdict(params, rows, seed)).is_good, found


def test_few_rows_and_columns_that_never_change():
    params = reference.random_params(2, 3)
    for n in (1, 2, 5, 30):
        rows = torch.ones(n, 3).double()
        assert isinstance(verdict(RBMParameters(0 * params.W, torch.full((3,), 8.0).double(), params.c), rows), Verdict)


def test_in_words():
    assert "nothing is off" in str(Verdict((), 0.5, 0.4, 0.1, 90.0))
    assert "mass" in str(Verdict(("it has its mass elsewhere",), 0.5, 0.4, 20.0, 90.0))


def test_what_few_rows_cannot_tell_is_not_told():
    """Directions of fewer than twenty rows aren't compared, and that isn't a pass; nothing is -0.0."""
    params = reference.random_params(2, 6)
    few, many = (verdict(params, rows_of(params, n)) for n in (19, 20))
    assert np.isnan(few.worst_direction)
    assert "nothing is off, as far as so few rows can tell. " in str(few)
    assert "directions not compared" in str(few)
    assert 0 <= many.worst_direction <= 1
    assert "nothing is off. " in str(many)
    assert "-0.0" not in str(many._replace(elsewhere=-0.01))


def test_the_columns_of_few_rows_are_compared():
    """What isn't a number is no pass of the others."""
    rows = torch.ones(10, 6).double()
    far = RBMParameters(torch.zeros(2, 6).double(), torch.full((6,), -8.0).double(), torch.zeros(2).double())
    assert "means of columns" in str(judge(AnnealingPath(far, torch.zeros(6).double()), rows, Stream(0)))


def bars_and_stripes(n):
    """All pictures of n × n whose rows, or whose columns, are each on or off: (2^(n+1) - 2, n²)."""
    bits = reference.states(n)
    pictures = np.concatenate([np.repeat(bits, n, 1), np.tile(bits, (1, n))])
    return torch.from_numpy(np.unique(pictures, axis=0)).double()


def means_only(rows):
    """The machine that has learned the columns' means and nothing else."""
    n_features = rows.shape[1]
    b = torch.logit((rows.mean(0) * len(rows) + 0.5) / (len(rows) + 1))
    return RBMParameters(torch.zeros(4, n_features).double(), b, torch.zeros(4).double())


@pytest.mark.parametrize("n", [4, 5])
def test_loud_where_few_rows_were_not_learned_at_all(n):
    """No single column or direction of so few rows would tell."""
    rows = bars_and_stripes(n)
    found = verdict(means_only(rows), rows)
    assert found.problems[-1] == "it has learned next to nothing of how columns go together"
    assert found.learned < 0.1


@pytest.mark.parametrize("share", [0.5, 0.02])  # also of columns that are hardly ever on, which meet by chance
def test_silent_where_there_is_nothing_to_learn(share):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = torch.from_numpy((rng.random((60, 50)) < share).astype(float))
        assert "next to nothing" not in str(verdict(means_only(rows), rows, seed))


def test_the_share_that_is_learned():
    params = two_modes(8, strength=3.0)
    found = verdict(params, rows_of(params, 3000))
    assert found.is_good
    assert 0.8 < found.learned < 1.2
