"""Spins and bits: the same distribution, by enumeration."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from skrbm.machines import bits_to_ising, bits_to_spins, ising_to_bits, spins_to_bits
from skrbm.machines.restricted import RBMParameters
from tests import reference


def spin_energies(J, f, g):
    """E(s, t) = -t'Js - f's - g't of all pairs in the order of `reference.states`, written out."""
    S, T = (2 * reference.states(n) - 1 for n in (len(f), len(g)))
    return np.array([[-(t @ J @ s) - f @ s - g @ t for t in T] for s in S])


@pytest.fixture
def spins():
    rng = np.random.default_rng(3)
    return rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=3)


def test_spins_as_bits_have_the_same_distribution(spins):
    W, b, c, constant = spins_to_bits(*spins)
    params = RBMParameters(*map(torch.from_numpy, (W, b, c)))
    energies = spin_energies(*spins)
    np.testing.assert_allclose(energies, reference.all_energies(params) + constant, atol=1e-12)
    p = np.exp(-energies - logsumexp(-energies))
    np.testing.assert_allclose(reference.joint(params), p, atol=1e-12)
    assert logsumexp(-energies) == pytest.approx(reference.log_partition(params) - constant, abs=1e-12)


def test_bits_as_spins_have_the_same_distribution():
    params = reference.random_params(3, 4, seed=5)
    J, f, g, constant = bits_to_spins(**params.tensors)
    energies = spin_energies(J.numpy(), f.numpy(), g.numpy())
    np.testing.assert_allclose(reference.all_energies(params), energies + constant, atol=1e-12)


def test_there_and_back(spins):
    there = spins_to_bits(*spins)
    back = bits_to_spins(*there[:3])
    for found, expected in zip(back[:3], spins, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-15)
    assert back.constant == pytest.approx(-there.constant)


def test_tensors_stay_tensors_and_lists_become_arrays():
    tensors = torch.ones(2, 3), torch.zeros(3), torch.zeros(2)
    assert all(
        part.dtype == torch.float32 for convert in (spins_to_bits, bits_to_spins) for part in convert(*tensors)[:3]
    )
    assert isinstance(spins_to_bits([[1]], [0], [0]).W, np.ndarray)
    assert bits_to_spins([[1]], [0], [0]).W == 0.25


@pytest.mark.parametrize("convert", [spins_to_bits, bits_to_spins])
def test_wrong_shapes(convert):
    with pytest.raises(ValueError, match=r"got \(2, 3\), \(2,\) and \(3,\)"):
        convert(np.zeros((2, 3)), np.zeros(2), np.zeros(3))


def coupled(n, seed=1):
    """Couplings and biases, of either kind of unit."""
    rng = np.random.default_rng(seed)
    J = np.triu(rng.normal(size=(n, n)), 1)
    return J + J.T, rng.normal(size=n)


def coupled_energies(J, h, states):
    return -0.5 * np.einsum("ri,ij,rj->r", states, J, states) - states @ h


def test_coupled_spins_as_bits_have_the_same_distribution():
    (J, h), bits = coupled(5), reference.states(5)
    R, b, constant = ising_to_bits(h, J)
    energies = coupled_energies(J, h, 2 * bits - 1)
    np.testing.assert_allclose(energies, coupled_energies(R, b, bits) + constant, atol=1e-12)
    broken = coupled_energies(R, 2 * (h - J.sum(1) / 2), bits)  # each pair counted once
    assert np.ptp(energies - broken) > 0.1


def test_coupled_bits_to_spins_and_back():
    R, b = coupled(6)
    h, J, constant = bits_to_ising(torch.from_numpy(R), torch.from_numpy(b))
    back = ising_to_bits(h, J)
    np.testing.assert_allclose(back.R, R, atol=1e-14)
    np.testing.assert_allclose(back.b, b, atol=1e-14)
    assert back.constant == pytest.approx(-constant)
    assert isinstance(back.R, torch.Tensor)


@pytest.mark.parametrize(
    ("J", "h", "message"),
    [
        (np.zeros((2, 3)), np.zeros(2), "must have shape"),
        (np.array([[0.0, 1.0], [0.0, 0.0]]), np.zeros(2), "symmetric"),
        (np.eye(2), np.zeros(2), "zeros on the diagonal"),
    ],
)
def test_wrong_couplings(J, h, message):
    with pytest.raises(ValueError, match=f"J .*{message}"):
        ising_to_bits(h, J)
    with pytest.raises(ValueError, match=f"R .*{message}"):
        bits_to_ising(J, h)
