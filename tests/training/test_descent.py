"""Descent and named schedules are those of torch, to the last bit. What they don't import is in tests/test_face.py."""

import copy

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LambdaLR, PolynomialLR

from skrbm.training.descent import SGD, NamedSchedule

MEMORIES = {"plain": (0.0, False), "momentum": (0.9, False), "nesterov": (0.7, True)}
THEIRS = {
    "linear": lambda optimizer, n: PolynomialLR(optimizer, total_iters=n, power=1.0),
    "cosine": lambda optimizer, n: CosineAnnealingLR(optimizer, T_max=n),
    "exponential": lambda optimizer, n: ExponentialLR(optimizer, gamma=0.01 ** (1 / n)),
    "constant": lambda optimizer, n: LambdaLR(optimizer, lambda epoch: 1.0),
}


def tensors(dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator, dtype=dtype) for size in ((3, 4), (4,), (3,))]


def steps(optimizer, of, n, seed=1):
    for i in range(n):
        for tensor, grad in zip(of, tensors(of[0].dtype, seed + i), strict=True):
            tensor.grad = grad
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("memory", MEMORIES)
def test_steps_are_those_of_torch(memory, dtype):
    momentum, nesterov = MEMORIES[memory]
    ours, theirs = tensors(dtype), tensors(dtype)
    steps(SGD(ours, 0.3, momentum, nesterov), ours, 5)
    steps(torch.optim.SGD(theirs, 0.3, momentum, nesterov=nesterov), theirs, 5)
    assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("ours_first", [True, False])
def test_the_memory_of_either_is_read_by_the_other(memory, ours_first):
    momentum, nesterov = MEMORIES[memory]
    make = [SGD, lambda tensors, *args: torch.optim.SGD(tensors, *args[:2], nesterov=args[2])]
    makers = make if ours_first else make[::-1]
    kept = tensors()
    first = makers[0](kept, 0.3, momentum, nesterov)
    steps(first, kept, 3)
    other = copy.deepcopy(kept)
    second = makers[1](other, 0.3, momentum, nesterov)
    groups = second.state_dict()["param_groups"]
    second.load_state_dict({"state": copy.deepcopy(first.state_dict()["state"]), "param_groups": groups})
    for optimizer, of in ((first, kept), (second, other)):
        steps(optimizer, of, 3, seed=7)
    assert all(map(torch.equal, kept, other))


def test_a_state_has_the_rate_and_is_a_copy():
    one, two = tensors(), tensors()
    first, second = SGD(one, 0.3, 0.9), SGD(two, 1.0, 0.9)
    steps(first, one, 2)
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["lr"] == 0.3
    before = copy.deepcopy(second.state_dict()["state"])
    steps(first, one, 2)
    for i, kept in second.state_dict()["state"].items():
        assert torch.equal(kept["momentum_buffer"], before[i]["momentum_buffer"])


def test_without_gradients_nothing_moves():
    kept = tensors()
    optimizer = SGD(kept, 0.3, 0.9)
    steps(optimizer, kept, 1)
    before = copy.deepcopy(kept)
    optimizer.zero_grad()
    optimizer.step()
    assert all(tensor.grad is None for tensor in kept)
    assert all(map(torch.equal, before, kept))


@pytest.mark.parametrize("n_epochs", [1, 2, 7, 100])
@pytest.mark.parametrize("name", THEIRS)
def test_rates_are_those_of_torch(name, n_epochs):
    """Also where something else scales the rate on the way, as the pace does."""
    ours, theirs = SGD(tensors(), 0.3), torch.optim.SGD(tensors(), 0.3)
    schedules = NamedSchedule(ours, name, n_epochs), THEIRS[name](theirs, n_epochs)
    for epoch in range(n_epochs):
        if epoch == 3 and name != "constant":  # which torch has by base_lrs
            ours.param_groups[0]["lr"] *= 0.7
            theirs.param_groups[0]["lr"] *= 0.7
        theirs.step()
        for schedule in schedules:
            schedule.step()
        assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]


def test_a_schedule_goes_on_where_its_state_was_taken_and_stays_at_its_end():
    first, second = SGD(tensors(), 1.0), SGD(tensors(), 0.5)
    schedule, later = NamedSchedule(first, "linear", 4), NamedSchedule(second, "linear", 4)
    schedule.step()
    schedule.step()
    later.load_state_dict(schedule.state_dict())
    later.step()
    assert second.param_groups[0]["lr"] == pytest.approx(0.25)
    for _ in range(3):
        later.step()
    assert second.param_groups[0]["lr"] == 0.0


def test_all_groups_of_an_optimizer_of_torch_are_moved():
    a, b, c = tensors()
    optimizer = torch.optim.RMSprop([{"params": [a], "lr": 1.0}, {"params": [b, c], "lr": 2.0}])
    NamedSchedule(optimizer, "linear", 4).step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.75, 1.5]


def test_a_name_that_is_not_there():
    with pytest.raises(ValueError, match="schedule='steep' must be one of .*'cosine'"):
        NamedSchedule(SGD(tensors(), 1.0), "steep", 4)
