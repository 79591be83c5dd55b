import math
from functools import partial

import pytest
import torch

from skrbm.training.settings import gibbs_steps, rate_scheduler


def rates(schedule, n_epochs):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler, found = rate_scheduler(optimizer, schedule, n_epochs), []
    for _ in range(n_epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return found


SCHEDULES = {
    "constant": ("constant", [1, 1, 1, 1]),
    "linear": ("linear", [1, 0.75, 0.5, 0.25]),
    "cosine": ("cosine", [(1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)]),
    "exponential": ("exponential", [0.01 ** (i / 4) for i in range(4)]),
    "factory": (partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.1), [1, 1, 0.1, 0.1]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates(name):
    schedule, expected = SCHEDULES[name]
    assert rates(schedule, 4) == pytest.approx(expected)


def test_one_epoch_has_the_first_rate():
    assert all(rates(schedule, 1) == [1.0] for schedule, _ in SCHEDULES.values())


def test_what_is_no_schedule():
    with pytest.raises(ValueError, match="schedule='steep' must be one of .*'cosine'"):
        rates("steep", 4)
    with pytest.raises(TypeError, match="must return a torch.*LRScheduler.*but returned int"):
        rates(lambda optimizer: 3, 4)


def test_steps_grow():
    k = {0: 1, 0.5: 5, 0.9: 25}
    assert [gibbs_steps(k, epoch, 10) for epoch in range(10)] == [1] * 5 + [5] * 4 + [25]
    assert [gibbs_steps(k, epoch, 2) for epoch in range(2)] == [1, 5]
    assert [gibbs_steps({0: 2, 0.1 * 3: 7}, epoch, 10) for epoch in (2, 3)] == [2, 7]  # 0.1 * 3 > 3 / 10
    assert gibbs_steps(3, 7, 10) == 3
