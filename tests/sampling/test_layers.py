"""Chains of machines with visible units of all kinds leave their distribution as it is, and their steps are right."""

import math

import pytest
import torch

from skrbm.likelihood import log_partition_exact
from skrbm.machines import free_energy_h
from skrbm.machines.restricted import mean_v_given_h
from skrbm.sampling import GIBBS, Kernel, run_chains
from skrbm.sampling.kernels import clamp, gibbs_init, gibbs_step
from skrbm.sampling.ladder import AnnealingPath
from skrbm.sampling.tempering import TEMPERING
from skrbm.support.randomness import Stream
from tests.likelihood.test_layers import bits, machine_of
from tests.machines.layers import DISCRETE, LAYERS, states_of

N = 40_000
of_all = pytest.mark.parametrize("name", LAYERS)


def exact_draws(machine, n=N, seed=0):
    """Rows from p(v): h from p(h), which is enumerated, and v given h."""
    h = bits(machine.n_hidden)
    p = (-free_energy_h(machine, h) - log_partition_exact(machine)).exp()
    generator = torch.Generator().manual_seed(seed)
    which = torch.multinomial(p, n, replacement=True, generator=generator)
    return machine.visible.sample(mean_v_given_h(machine, h[which]), Stream(seed))


def moments_differ(v, machine):
    """The largest z-score of means and second moments against those by enumeration of h."""
    h = bits(machine.n_hidden)
    p = (-free_energy_h(machine, h) - log_partition_exact(machine)).exp()
    means = mean_v_given_h(machine, h)
    mean = p @ means
    other = exact_draws(machine, seed=7)
    second = lambda v: torch.cat((v, (v[:, :, None] * v[:, None, :]).flatten(1)), 1)  # noqa: E731
    ours, theirs = second(v), second(other)
    error = ((ours.var(0) + theirs.var(0)) / len(v)).sqrt().clamp_min(1e-9)
    z = ((ours.mean(0) - theirs.mean(0)) / error).abs()
    z_of_means = ((v.mean(0) - mean) / (v.var(0) / len(v)).sqrt().clamp_min(1e-9)).abs()
    return float(torch.maximum(z.max(), z_of_means.max()))


def ends(machine, kernel=GIBBS, n_steps=3, given=None):
    return run_chains(kernel, machine, exact_draws(machine), n_steps, Stream(1), given)[0]


@of_all
def test_gibbs_steps_are_stationary(name):
    machine = machine_of(name)
    assert moments_differ(ends(machine), machine) < 4.5


@of_all
def test_tempering_is_stationary(name):
    machine = machine_of(name)
    path = AnnealingPath(machine, 0.5 * machine.b)
    ladder = path.ladder(torch.tensor([0.0, 0.4, 0.8, 1.0]))
    v = run_chains(TEMPERING, ladder, exact_draws(machine, N // 4), 60, Stream(1))[0]
    assert moments_differ(torch.cat([v] * 1), machine) < 5.5


def noiseless(machine, state, stream):
    """A twin that shows the means of v, and takes them for states, as a package of today does."""
    state, info = gibbs_step(machine, state, stream)
    return gibbs_init(machine, info.mean_v, stream, state.given), info._replace(v=info.mean_v)


def twice_as_likely(machine, state, stream):
    """A twin whose bias is a little off."""
    wrong = type(machine)(
        machine.W, machine.b + 0.4 * torch.linspace(0, 1, len(machine.b)).double(), machine.c, machine.visible
    )
    return gibbs_step(wrong, state, stream)


@of_all
@pytest.mark.parametrize("step", [noiseless, twice_as_likely])
def test_a_broken_twin_is_seen(name, step):
    machine = machine_of(name)
    assert moments_differ(ends(machine, Kernel(gibbs_init, step)), machine) > 5.5


@pytest.mark.parametrize("name", DISCRETE)
def test_one_step_has_the_transitions_of_enumeration(name):
    """From one state: v' by Σ_h p(h | v) p(v' | h)."""
    machine = machine_of(name)
    unit, n = LAYERS[name]
    s, h = states_of(unit, n), bits(machine.n_hidden)
    start = s[3]
    log_h = h @ (machine.c + machine.W @ start)
    p_h = log_h.softmax(0)
    inputs = machine.b + h @ machine.W
    log_v = s @ inputs.T - unit.cumulant(inputs).sum(1)  # (n_states, n_h)
    expected = log_v.exp() @ p_h
    torch.testing.assert_close(expected.sum(), torch.ones(()).double())
    # A step of the kernel draws v from the h of its state, and then h.
    v = run_chains(GIBBS, machine, start.repeat(N, 1), 1, Stream(3))[0]
    counts = torch.cdist(v, s).argmin(1).bincount(minlength=len(s)).double()
    chi2 = float(((counts - N * expected).square() / (N * expected)).sum())
    assert chi2 < len(s) + 5 * math.sqrt(2 * len(s))


@of_all
def test_what_is_given_stays_and_the_rest_has_its_conditional(name):
    """The last unit is clamped: means of the others against rows drawn exactly whose last unit is near."""
    machine = machine_of(name)
    *_, last = LAYERS[name][0].columns(LAYERS[name][1])
    value = exact_draws(machine, 1, seed=5)[0, last]
    given = torch.full((N, machine.n_features), math.nan, dtype=torch.float64)
    given[:, last] = value
    v = run_chains(GIBBS, machine, exact_draws(machine), 20, Stream(1), given)[0]
    assert torch.equal(clamp(v, given), v)
    # p(h | v_last) ∝ exp(c'h + v_last'W_last h + Σ_others cumulant), unit by unit.
    h = bits(machine.n_hidden)
    inputs = machine.b + h @ machine.W
    others = torch.zeros(len(h)).double()
    for columns in machine.visible.columns(machine.n_features):
        if columns != last:
            others += machine.visible.unit_at(columns).cumulant(inputs[:, columns]).sum(1)
    p = (h @ machine.c + inputs[:, last] @ value + others).softmax(0)
    expected = p @ mean_v_given_h(machine, h)
    free = torch.ones(machine.n_features, dtype=torch.bool)
    free[last] = False
    z = (v.mean(0) - expected)[free] / (v.var(0)[free] / N).sqrt()
    assert z.abs().max() < 4.5
