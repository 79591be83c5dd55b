"""log Z, densities, conditionals and gradients of machines with visible units of all kinds, by enumeration."""

import math
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal

from skrbm.likelihood import log_likelihood_exact, log_partition_ais, log_partition_exact, pseudo_log_likelihood
from skrbm.likelihood.annealed import inverse_temperatures
from skrbm.machines import BERNOULLI, GAUSSIAN, Blocks, Categorical, RBMParameters, energy, free_energy, free_energy_h
from skrbm.machines.restricted import mean_h_given_v, mean_v_given_h
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream
from tests.machines.layers import DISCRETE, LAYERS, random_inputs, states_of

of_all = pytest.mark.parametrize("name", LAYERS)
of_discrete = pytest.mark.parametrize("name", DISCRETE)


def machine_of(name, n_hidden=3, seed=0, hidden=BERNOULLI, scale=0.8):
    unit, n = LAYERS[name] if isinstance(name, str) else name
    W = random_inputs(n, (n_hidden,), scale, seed) if n_hidden else torch.zeros(0, n).double()
    return RBMParameters(
        W, random_inputs(n, (), scale, seed + 1), random_inputs(n_hidden, (), scale, seed + 2), unit, hidden
    )


def bits(n):
    return torch.tensor(list(product([0.0, 1.0], repeat=n)), dtype=torch.float64).view(2**n, n)


def log_z_by_hidden(machine):
    """Σ_h exp(c'h + Σ cumulant(b + W'h))."""
    h = bits(machine.n_hidden)
    return float((h @ machine.c + machine.visible.cumulant(machine.b + h @ machine.W).sum(1)).logsumexp(0))


def rows_of(machine, n=8, seed=5):
    h = bits(machine.n_hidden)
    h = h[torch.from_numpy(np.random.default_rng(seed).integers(len(h), size=n))]
    return machine.visible.sample(mean_v_given_h(machine, h), Stream(seed))


# -- log Z -------------------------------------------------------------------------------------------------------------


@of_all
@pytest.mark.parametrize("n_hidden", [0, 1, 3])
def test_log_z_by_sums_over_the_hidden_states(name, n_hidden):
    machine = machine_of(name, n_hidden)
    assert log_partition_exact(machine) == pytest.approx(log_z_by_hidden(machine), abs=1e-10)


@of_discrete
def test_log_z_by_sums_over_both_layers(name):
    machine = machine_of(name, n_hidden=4)
    v, h = states_of(*LAYERS[name]), bits(4)
    energies = torch.stack([energy(machine, v, one.expand(len(v), -1)) for one in h])
    assert log_partition_exact(machine) == pytest.approx(float((-energies).flatten().logsumexp(0)), abs=1e-10)
    many = machine_of(name, n_hidden=13)  # the visible layer is the smaller one, or not
    assert log_partition_exact(many) == pytest.approx(log_z_by_hidden(many), abs=1e-10)


def test_states_run_within_states_where_they_are_many(monkeypatch):
    machine = machine_of("categorical of different sizes", n_hidden=6)
    expected = log_z_by_hidden(machine)
    monkeypatch.setattr("skrbm.likelihood.exact._BLOCK", 40)
    for one in (machine, machine.transposed()):
        assert log_partition_exact(one) == pytest.approx(expected, abs=1e-10)


@of_all
def test_the_free_energies_of_both_layers_agree(name):
    machine = machine_of(name)
    assert -float((-free_energy_h(machine, bits(3))).logsumexp(0)) == pytest.approx(-log_partition_exact(machine))


@of_all
def test_ais_finds_it(name):
    machine = machine_of(name)
    path = AnnealingPath(machine, 0.5 * machine.b)
    found = log_partition_ais(path, inverse_temperatures(path, Stream(0), 300), Stream(1), 300)
    assert abs(found.value - log_partition_exact(machine)) < 4 * found.standard_error + 1e-6
    assert found.standard_error < 0.1


@of_all
def test_ais_of_a_wrong_step_doesnt(name, monkeypatch):
    machine = machine_of(name)
    path = AnnealingPath(machine, 0.5 * machine.b)
    monkeypatch.setattr(type(machine.visible), "draw_", lambda self, out, mean, uniform: out.copy_(mean))
    found = log_partition_ais(path, inverse_temperatures(path, Stream(0), 300), Stream(1), 300)
    assert abs(found.value - log_partition_exact(machine)) > 4 * found.standard_error + 1e-6


# -- Gaussian columns --------------------------------------------------------------------------------------------------


def mixture_of(machine):
    """Weights and means of the normal densities that a machine of Gaussian columns is a mixture of."""
    h = bits(machine.n_hidden)
    means = machine.b + h @ machine.W
    log_weight = h @ machine.c + 0.5 * means.square().sum(1)
    return (log_weight - log_weight.logsumexp(0)).exp().numpy(), means.numpy()


def test_gaussian_columns_are_a_mixture():
    machine = machine_of("gaussian", n_hidden=4)
    v, (weights, means) = rows_of(machine), mixture_of(machine)
    density = sum(w * multivariate_normal.pdf(v.numpy(), m, np.eye(3)) for w, m in zip(weights, means, strict=True))
    np.testing.assert_allclose(log_likelihood_exact(machine, v).numpy(), np.log(density), atol=1e-10)


def test_without_hidden_units_columns_are_independent():
    machine = machine_of("gaussian", n_hidden=0)
    v = torch.randn(5, 3, dtype=torch.float64)
    expected = multivariate_normal.logpdf(v.numpy(), machine.b.numpy(), np.eye(3))
    np.testing.assert_allclose(log_likelihood_exact(machine, v).numpy(), expected, atol=1e-10)
    np.testing.assert_allclose(pseudo_log_likelihood(machine, v).numpy(), expected, atol=1e-10)


def quadratic(seed=0, n_hidden=2, n_features=4, norm=0.9):
    W = torch.from_numpy(np.random.default_rng(seed).normal(size=(n_hidden, n_features)))
    b, c = random_inputs(n_features, seed=seed), random_inputs(n_hidden, seed=seed + 1)
    return RBMParameters(W * (norm / torch.linalg.matrix_norm(W, 2)), b, c, GAUSSIAN, GAUSSIAN)


def test_gaussian_layers_are_a_normal_distribution():
    machine = quadratic()
    covariance = torch.linalg.inv(torch.eye(4).double() - machine.W.T @ machine.W)
    mean = covariance @ (machine.b + machine.W.T @ machine.c)
    v = torch.randn(6, 4, dtype=torch.float64)
    expected = multivariate_normal.logpdf(v.numpy(), mean.numpy(), covariance.numpy())
    np.testing.assert_allclose(log_likelihood_exact(machine, v).numpy(), expected, atol=1e-10)


def test_gaussian_layers_are_factor_analysis():
    """The likelihood of scikit-learn's model, whose loadings become weights: cov = Ψ^½ (1 - W'W)^-1 Ψ^½."""
    from sklearn.decomposition import FactorAnalysis

    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 5)) + rng.normal(size=(300, 5)) * [1, 2, 0.5, 1, 1] + 3
    model = FactorAnalysis(2, tol=1e-8, max_iter=10_000).fit(X)
    scale = np.sqrt(model.noise_variance_)
    _, s, directions = np.linalg.svd(model.components_ / scale, full_matrices=False)
    W = torch.from_numpy((s / np.sqrt(1 + s**2))[:, None] * directions)
    machine = RBMParameters(W, torch.zeros(5).double(), torch.zeros(2).double(), GAUSSIAN, GAUSSIAN)
    u = torch.from_numpy((X - model.mean_) / scale)
    nats = log_likelihood_exact(machine, u).numpy() - np.log(scale).sum()
    np.testing.assert_allclose(nats, model.score_samples(X), atol=1e-8)


@pytest.mark.parametrize("norm", [1.0, 1.5])
def test_a_machine_without_z_is_never_given_one(norm):
    machine = quadratic(norm=norm)
    with pytest.raises(ValueError, match="no partition function"):
        log_partition_exact(machine)


# -- categories --------------------------------------------------------------------------------------------------------


def test_two_categories_are_bits():
    """A machine of n units of two categories is a Bernoulli machine: W_1 - W_0, b_1 - b_0, and c + Σ W_0."""
    machine = machine_of((Categorical([2, 2, 2]), 6))
    first, second = slice(0, None, 2), slice(1, None, 2)
    twin = RBMParameters(
        machine.W[:, second] - machine.W[:, first],
        machine.b[second] - machine.b[first],
        machine.c + machine.W[:, first].sum(1),
    )
    v = bits(3)
    one_hot = torch.stack((1 - v, v), -1).flatten(1)
    torch.testing.assert_close(log_likelihood_exact(machine, one_hot), log_likelihood_exact(twin, v))
    torch.testing.assert_close(pseudo_log_likelihood(machine, one_hot), pseudo_log_likelihood(twin, v))
    torch.testing.assert_close(mean_h_given_v(machine, one_hot), mean_h_given_v(twin, v))


def test_what_can_be_observed_doesnt_depend_on_the_gauge():
    name = "categorical of different sizes"
    machine = machine_of(name)
    sizes = torch.tensor(machine.visible.sizes)
    shift = torch.randn(3, 3, dtype=torch.float64).repeat_interleave(sizes, 1)
    moved = RBMParameters(
        machine.W + shift,
        machine.b + torch.tensor([1.0, -2.0, 30.0]).double().repeat_interleave(sizes),
        machine.c - (shift / sizes.repeat_interleave(sizes)).sum(1),
        machine.visible,
    )
    v = states_of(*LAYERS[name])
    torch.testing.assert_close(log_likelihood_exact(moved, v), log_likelihood_exact(machine, v))
    torch.testing.assert_close(pseudo_log_likelihood(moved, v), pseudo_log_likelihood(machine, v))
    torch.testing.assert_close(mean_h_given_v(moved, v), mean_h_given_v(machine, v))
    h = bits(3)
    torch.testing.assert_close(mean_v_given_h(moved, h), mean_v_given_h(machine, h))
    centered = RBMParameters(
        machine.visible.centered(machine.W),
        machine.visible.centered(machine.b),
        machine.c + (machine.W - machine.visible.centered(machine.W))[:, [0, 2, 6]].sum(1),
        machine.visible,
    )
    torch.testing.assert_close(log_likelihood_exact(centered, v), log_likelihood_exact(machine, v))


# -- conditionals ------------------------------------------------------------------------------------------------------


@of_discrete
def test_the_pseudo_likelihood_by_enumeration(name):
    machine = machine_of(name)
    unit, n = LAYERS[name]
    v = states_of(unit, n)
    log_p = log_likelihood_exact(machine, v)
    expected = torch.zeros(len(v)).double()
    for columns in unit.columns(n):
        others = torch.ones(n, dtype=torch.bool)
        others[columns] = False
        same = (v[:, None, others] == v[None, :, others]).all(2)
        expected += log_p - torch.where(same, log_p, -math.inf).logsumexp(1)
    torch.testing.assert_close(pseudo_log_likelihood(machine, v), expected)


def with_one_changed(machine, v, i, x):
    """exp(-F) of a row whose column i is x."""
    changed = v.clone()
    changed[i] = x
    return math.exp(-float(free_energy(machine, changed[None])))


@pytest.mark.parametrize("name", ["gaussian", "blocks"])
def test_the_pseudo_likelihood_by_integrals(name):
    machine = machine_of(name)
    unit, n = LAYERS[name]
    v = rows_of(machine, 4)
    expected = torch.zeros(4).double()
    for columns in unit.columns(n):
        s, _ = unit.points(columns, 0.0, 0.0, v)
        for row in range(4):
            f = lambda x: math.exp(-float(free_energy(machine, x)[0]))  # noqa: E731
            if columns == slice(columns.start, columns.start + 1) and unit.unit_at(columns) is GAUSSIAN:
                with_x = partial(with_one_changed, machine, v[row], columns.start)
                total = quad(with_x, -30, 30, limit=200, points=[-5, 0, 5])[0]
            else:
                changed = v[row].repeat(len(s), 1)
                changed[:, columns] = s
                total = sum(f(one[None]) for one in changed)
            expected[row] += math.log(f(v[[row]]) / total)
    torch.testing.assert_close(pseudo_log_likelihood(machine, v), expected, atol=1e-7, rtol=0)
    narrow = pseudo_log_likelihood(machine, v.float())
    torch.testing.assert_close(narrow.double(), expected, atol=1e-4, rtol=0)


def test_the_pseudo_likelihood_of_gaussian_layers():
    machine = quadratic()
    precision = torch.eye(4).double() - machine.W.T @ machine.W
    mean = torch.linalg.solve(precision, machine.b + machine.W.T @ machine.c)
    v = torch.randn(5, 4, dtype=torch.float64)
    expected = torch.zeros(5).double()
    for i in range(4):
        others = [j for j in range(4) if j != i]
        m = mean[i] - (v[:, others] - mean[others]) @ precision[i, others] / precision[i, i]
        expected += torch.distributions.Normal(m, precision[i, i] ** -0.5).log_prob(v[:, i])
    torch.testing.assert_close(pseudo_log_likelihood(machine, v), expected)


def test_a_column_that_cant_be_normalised_is_refused():
    machine = quadratic(n_hidden=1, n_features=2, norm=1.6)
    with pytest.raises(ValueError, match="can't be normalised"):
        pseudo_log_likelihood(machine, torch.zeros(1, 2).double())


@of_all
def test_means_given_the_other_layer(name):
    """P(h | v) by the energies of both states of each hidden unit."""
    machine = machine_of(name)
    v = rows_of(machine)
    for j in range(3):
        h = bits(3)
        energies = torch.stack([energy(machine, v, one.expand(len(v), -1)) for one in h], 1)
        p = (-energies).softmax(1)
        torch.testing.assert_close(p @ h[:, j], mean_h_given_v(machine, v)[:, j])


# -- gradients ---------------------------------------------------------------------------------------------------------


@of_all
def test_the_gradient_of_the_likelihood_is_that_of_the_statistics(name):
    """⟨h v'⟩ and means of the rows less those of the machine: autograd of the exact log-likelihood."""
    machine = machine_of(name)
    v, h = rows_of(machine, 20), bits(3)
    W, b, c = (tensor.clone().requires_grad_() for tensor in (machine.W, machine.b, machine.c))
    inputs = h @ W
    log_z = (h @ c + machine.visible.cumulant(b + inputs).sum(1)).logsumexp(0)
    log_p = machine.visible.log_weight(v, b) + BERNOULLI.cumulant(v @ W.T + c).sum(1) - log_z
    of_W, of_b, of_c = torch.autograd.grad(log_p.mean(), (W, b, c))
    p_h = (-free_energy_h(machine, h) - log_partition_exact(machine)).exp()
    mean_v, mean_h = mean_v_given_h(machine, h), mean_h_given_v(machine, v)
    torch.testing.assert_close(of_W, mean_h.T @ v / 20 - (h * p_h[:, None]).T @ mean_v)
    torch.testing.assert_close(of_b, v.mean(0) - p_h @ mean_v)
    torch.testing.assert_close(of_c, mean_h.mean(0) - p_h @ h)


def test_blocks_of_one_kind_are_that_kind():
    unit = Blocks([(BERNOULLI, 2), (BERNOULLI, 2)])
    machine = machine_of((unit, 4))
    plain = RBMParameters(machine.W, machine.b, machine.c)
    v = bits(4)
    torch.testing.assert_close(log_likelihood_exact(machine, v), log_likelihood_exact(plain, v))
    torch.testing.assert_close(pseudo_log_likelihood(machine, v), pseudo_log_likelihood(plain, v))
