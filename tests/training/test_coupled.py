"""Learning of couplings: their gradient, one update, and what it keeps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.backends.protocol import Phases
from skrbm.distributed import ALONE, Alone
from skrbm.machines.couplings import Graph
from skrbm.machines.restricted import RBMParameters, free_energy, mean_h_given_v
from skrbm.rows import Batch
from skrbm.support.randomness import Stream
from skrbm.training.coupled import gradient_of_couplings, with_couplings
from skrbm.training.gradients import Centering
from skrbm.training.settings import TrainSettings, mask_of
from skrbm.training.update import update_
from tests import reference
from tests.training.states import PLAIN, begin, bits
from tests.training.test_gradients import model_statistics
from tests.training.test_update import spectrum

MASK = np.array([[0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 0]], bool)
of_machines = pytest.mark.parametrize("n_hidden", [0, 3])
of_centering = pytest.mark.parametrize("centered", [False, "visible", True])


def coupled(n_hidden=3, mask=MASK, **kwargs):
    params = reference.random_params(n_hidden, len(mask), coupled=True, **kwargs)
    return replace(params, R=params.R * torch.from_numpy(mask))


def settings_of(mask=MASK, **changes):
    return replace(PLAIN, **{"couplings": mask, "l2_penalty": 0.0} | changes)


def upper(R, mask=MASK):
    """The couplings, one for each pair."""
    return R[torch.from_numpy(np.triu(mask))]


def matrix_of(pairs, mask=MASK):
    R = pairs.new_zeros(mask.shape)
    R = R.masked_scatter(torch.from_numpy(np.triu(mask)), pairs)
    return R + R.T


def plain_of(centred, mu, lam):
    """The machine of W, b̃, c̃ and the couplings of pairs: b = b̃ - W'λ - Rμ, c = c̃ - Wμ."""
    W, b, c, pairs = centred
    R = matrix_of(pairs)
    return RBMParameters(W, b - W.T @ lam - R @ mu, c - W @ mu, R=R)


def exact_gradient(params, v, weight, mu, lam):
    """By autograd, of the mean exact log-likelihood by W, b̃, c̃ and the couplings of pairs; and these."""
    R = params.R
    start = (params.W, params.b + params.W.T @ lam + R @ mu, params.c + params.W @ mu, upper(R))
    leaves = [tensor.clone().requires_grad_() for tensor in start]
    machine = plain_of(leaves, mu, lam)
    log_z = (-free_energy(machine, torch.from_numpy(reference.states(4)))).logsumexp(0)
    log_p = -free_energy(machine, v) - log_z
    return torch.autograd.grad((weight / weight.sum() * log_p).sum(), leaves), start


def offsets(state):
    centering, params = state.centering, state.params
    given = ((centering.mu, params.b), (centering.lam, params.c))
    return [torch.zeros_like(like) if offset is None else offset.clone() for offset, like in given]


def moment(v, weight, mu):
    share = weight / weight.sum()
    return ((v - mu) * share[:, None]).T @ (v - mu)


def model_moment(params, mu):
    return moment(torch.from_numpy(reference.states(4)), torch.from_numpy(reference.p_v(params)), mu)


# -- the gradient ------------------------------------------------------------------------------------------------------


@of_machines
@of_centering
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_that_of_the_exact_log_likelihood(n_hidden, centered, weighted):
    params, v, chains = coupled(n_hidden), bits(7, 4), bits(5, 4, seed=1)
    weight = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) if weighted else None
    state = begin(params, settings_of(centered=centered), mean_v=0.3)
    mu, lam = offsets(state)
    of_rows = gradient_of_couplings(state, Phases(torch.cat((v, chains)), 7), weight, ALONE)
    states, p = torch.from_numpy(reference.states(4)), torch.from_numpy(reference.p_v(params))
    of_model = gradient_of_couplings(state, Phases(torch.cat((states, chains)), 16), p, ALONE)  # of the same chains
    weight = torch.ones(7).double() if weight is None else weight
    expected = exact_gradient(params, v, weight, mu, lam)[0][3]
    found = of_model - of_rows
    torch.testing.assert_close(upper(found), expected)
    torch.testing.assert_close(found, found.T)
    other = exact_gradient(params, v, weight, mu + 0.2, lam)[0][3]
    assert (upper(found) - other).abs().max() > 1e-3


def test_reconstructions_count_as_their_rows():
    params, rows, ends = coupled(), bits(6, 4), bits(6, 4, seed=1)
    weight = torch.arange(1.0, 7.0).double()
    phases = Phases(torch.cat((rows, ends)), 6)
    found = {
        algorithm: gradient_of_couplings(begin(params, settings_of(algorithm=algorithm)), phases, weight, ALONE)
        for algorithm in ("cd", "pcd")
    }
    zero, mask = torch.zeros(4).double(), torch.from_numpy(MASK)
    for algorithm, of_chains in (("cd", weight), ("pcd", torch.ones(6).double())):
        expected = (moment(ends, of_chains, zero) - moment(rows, weight, zero)) * mask
        torch.testing.assert_close(found[algorithm], expected)
    assert (found["cd"] - found["pcd"]).abs().max() > 1e-3


def test_penalties():
    """l2 / 2 Σ R² + l1 Σ |R| over pairs; weight decay is of the weights alone."""
    params, phases = coupled(), Phases(bits(12, 4), 6)
    plain, *penalized = (
        gradient_of_couplings(begin(params, settings_of(**penalty)), phases, None, ALONE)
        for penalty in ({}, {"l2_penalty": 0.3}, {"l1_penalty": 0.2}, {"weight_decay": 0.5})
    )
    for found, expected in zip(penalized, (0.3 * params.R, 0.2 * params.R.sign(), 0 * params.R), strict=True):
        torch.testing.assert_close(found - plain, expected)


def test_damping_is_on_both_sides():
    params, phases = coupled(), Phases(bits(12, 4), 6)
    plain = gradient_of_couplings(begin(params, settings_of(mask_of(True, 4))), phases, None, ALONE)
    state = begin(params, settings_of(mask_of(True, 4), spectrum=spectrum()))
    damped = gradient_of_couplings(state, phases, None, ALONE)
    torch.testing.assert_close(damped, damped.T)
    v = phases.data
    full = moment(phases.chains, torch.ones(6).double(), 0) - moment(v, torch.ones(6).double(), 0)
    u = spectrum().directions[0]
    P = torch.eye(4).double() - 0.8 * torch.outer(u, u)
    torch.testing.assert_close(damped, (P @ full @ P) * torch.from_numpy(mask_of(True, 4)))
    assert (damped - plain).abs().max() > 1e-3


class Ranks(Alone):
    """What each of several processes hands in, and then what they all get."""

    size = 2

    def __init__(self):
        self.sums, self.calls, self.is_asked = [], 0, False

    def mean(self, value, weight=1.0):
        if not self.is_asked:
            self.sums.append((value, weight))
            return value
        both = self.sums[self.calls :: 2]
        self.calls += 1
        return sum(weight * value for value, weight in both) / sum(weight for _, weight in both)


@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_several_processes_have_the_gradient_of_one(algorithm):
    state = begin(coupled(), settings_of(algorithm=algorithm, centered="visible"))
    rows, chains = bits(8, 4), bits(8, 4, seed=1)
    weight, ranks = torch.arange(1.0, 9.0).double(), Ranks()

    def gradient(data, group):
        phases = Phases(torch.cat((rows[data], chains[data])), len(rows[data]))
        return gradient_of_couplings(state, phases, weight[data], group)

    parts = slice(0, 4), slice(4, 8)
    apart = [gradient(part, ranks) for part in parts]
    ranks.is_asked = True
    together, whole = gradient(parts[0], ranks), gradient(slice(8), ALONE)
    torch.testing.assert_close(together, whole)
    assert (sum(apart) / 2 - whole).abs().max() > 1e-3  # as if all processes had as much to say


# -- an update ---------------------------------------------------------------------------------------------------------


class Exact(Alone):
    """Has the model's exact statistics in place of the chains'."""

    size = 2

    def __init__(self, state, params):
        self._state, self._params, self._is_data = state, params, False

    def pooled(self, data, model):
        return data, model_statistics(self._params)

    def mean(self, value, weight=1.0):
        self._is_data, is_data = not self._is_data, self._is_data
        return value if is_data else model_moment(self._params, offsets(self._state)[0])


@of_machines
@of_centering
def test_an_update_climbs_the_exact_gradient(n_hidden, centered):
    params, v = coupled(n_hidden), bits(7, 4)
    weight = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    state = begin(params, settings_of(centered=centered), mean_v=0.3)
    mu, lam = offsets(state)
    gradient, start = exact_gradient(params, v, weight, mu, lam)
    expected = plain_of([tensor + 0.01 * slope for tensor, slope in zip(start, gradient, strict=True)], mu, lam)
    update_(state, Batch(v, weight), Exact(state, params))
    for name, tensor in expected.tensors.items():
        torch.testing.assert_close(state.params.tensors[name], tensor)
    if centered:  # a twin that forgets what centred couplings do to the bias
        forgetful = start[1] + 0.01 * gradient[1] - expected.W.T @ lam - params.R @ mu
        assert (forgetful - state.params.b).abs().max() > 1e-4


@of_centering
def test_moving_the_offsets_leaves_the_machine_alone(centered):
    params = coupled()
    state = begin(params, settings_of(centered=centered, learning_rate=0.0), mean_v=0.3)
    for seed in range(20):
        update_(state, Batch(bits(9, 4, seed), torch.ones(9).double()))
    for name, tensor in params.tensors.items():
        torch.testing.assert_close(state.params.tensors[name], tensor)
    again = state.centering.trained(state.params)
    for ours, theirs in zip(state.trained, again, strict=True):
        torch.testing.assert_close(ours, theirs)
    if centered:
        assert (offsets(state)[0] - 0.3).abs().max() > 0.01


def test_centred_coordinates():
    params, mu, lam = coupled(), torch.rand(4).double(), torch.rand(3).double()
    W, b, c, R = Centering(mu, lam).trained(params)
    plain = plain_of((W, b, c, upper(R)), mu, lam)
    for name, tensor in params.tensors.items():
        torch.testing.assert_close(plain.tensors[name], tensor)
    torch.testing.assert_close(Centering(mu).trained(params)[1], params.b + params.R @ mu)
    assert Centering().trained(params)[1] is params.b


@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_masks_stay_zero_and_couplings_symmetric(algorithm, optimizer):
    state = begin(coupled(), settings_of(algorithm=algorithm, optimizer=optimizer, centered="visible", l1_penalty=1e-3))
    before = state.params.R.clone()
    for seed in range(20):
        update_(state, Batch(bits(9, 4, seed)))
    R = state.params.R
    assert not R[torch.from_numpy(~MASK)].any()
    torch.testing.assert_close(R, R.T, rtol=0, atol=1e-14)
    assert (upper(R) - upper(before)).abs().min() > 0.0


@of_machines
@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_learning_finds_the_truth(n_hidden, algorithm):
    """From exact samples; a machine without couplings doesn't."""
    truth = coupled(n_hidden, scale=1.5)
    v = torch.from_numpy(reference.draw_v(truth, 2000))
    start = replace(truth.map(torch.zeros_like), W=0.1 * truth.W)
    exact = lambda params: reference.p_v(truth) @ np.log(reference.p_v(truth) / reference.p_v(params))  # noqa: E731

    def learned(params, settings):
        state = begin(
            params, replace(settings, algorithm=algorithm, learning_rate=0.1, centered="visible", k=2, n_chains=200)
        )
        for some in v.split(100) * 15:
            update_(state, Batch(some))
        return exact(state.params)

    found = learned(start, settings_of())
    assert found < 0.05
    if n_hidden == 0:
        independent = truth.without_weights(torch.from_numpy(reference.p_v(truth) @ reference.states(4)).logit())
        assert exact(independent) > 4 * found


def test_chains_go_on_from_their_visible_states():
    params = coupled(0, scale=1.5)
    state = begin(params, settings_of(learning_rate=0.0, n_chains=4000))
    assert state.v.shape == (4000, 4)
    assert state.h.shape == (4000, 0)
    for seed in range(30):
        update_(state, Batch(bits(2, 4, seed)))
    p = reference.p_v(params)
    floor = reference.total_variation_floor(p, 4000)
    assert reference.total_variation(reference.frequencies(state.v), p) < floor
    assert reference.total_variation(reference.p_v(replace(params, R=None)), p) > 2 * floor
    assert begin(replace(params, R=None, graph=None), PLAIN).v is None


# -- the first machine, and settings -----------------------------------------------------------------------------------


def test_the_first_couplings():
    params = reference.random_params(3, 40)
    mask = np.roll(np.eye(40, dtype=bool), 1, 1)
    mask |= mask.T
    first = with_couplings(params, mask, 0, Stream(0))
    assert not first.R.any()
    assert isinstance(first.graph, Graph)
    latent = with_couplings(params, mask_of(True, 40), 3, Stream(0)).R
    assert latent[37:, :37].std() == pytest.approx(0.01, rel=0.3)
    assert torch.equal(latent, latent.T)
    assert not latent[:37, :37].any()
    assert not latent[37:, 37:].any()


def test_masks():
    assert mask_of(False, 3) is None
    assert np.array_equal(mask_of(True, 3), ~np.eye(3, dtype=bool))
    assert np.array_equal(mask_of(np.ones((3, 3), bool), 3), ~np.eye(3, dtype=bool))
    for wrong in (np.ones((2, 3), bool), np.ones((4, 4), bool), np.ones((3, 3))):
        with pytest.raises(ValueError, match=r"visible_couplings must be True, False, or a boolean mask of shape"):
            mask_of(wrong, 3)
    with pytest.raises(ValueError, match="hidden_couplings must be symmetric"):
        mask_of(np.triu(np.ones((3, 3), bool)), 3, "hidden_couplings")


def test_plain_descent_is_for_machines_without_couplings():
    assert PLAIN.is_plain_descent(0.01)
    assert not settings_of().is_plain_descent(0.01)
    assert isinstance(settings_of(), TrainSettings)
    assert mean_h_given_v(coupled(), bits(2, 4)).shape == (2, 3)
