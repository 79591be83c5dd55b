"""Several processes learn what one learns. The tasks that they run are in ranks.py."""

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torch.distributed as dist

from skrbm import BernoulliRBMTorch
from skrbm.distributed import Alone, current_group, process_group
from tests import ranks
from tests.fake_cuda import fake_cuda, fake_driver

FIXED = ["centred", "plain", "contrastive divergence", "evenly", "evenly, plain descent"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(folder, names, n_ranks):
    """Start the processes as torchrun does."""
    port = free_port()
    run = {"WORLD_SIZE": str(n_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    run |= {"CUDA_VISIBLE_DEVICES": ""}  # there are more ranks than GPUs
    argv = [sys.executable, "-m", "tests.ranks", ";".join(names), os.fspath(folder)]
    return [
        subprocess.Popen(argv, env=os.environ | run | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(n_ranks)
    ]


def results(folder, names, n_ranks):
    """What each rank has found, by name."""
    processes = launch(folder, names, n_ranks)
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert not any(process.returncode for process in processes), "\n".join(errors)
    return {name: [list(np.load(folder / f"{name}_{rank}.npz").values()) for rank in range(n_ranks)] for name in names}


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def found(request, tmp_path_factory):
    names = [*FIXED, "fit", "early stopping", "wrong"]
    return results(tmp_path_factory.mktemp("ranks"), names, request.param)


@pytest.mark.parametrize("name", FIXED)
def test_with_fixed_draws_it_is_the_same_as_one_process(found, name):
    alone = ranks.TASKS[name](None)
    for one in found[name]:
        for array, expected in zip(one, alone, strict=True):
            np.testing.assert_allclose(array, expected, rtol=1e-9, atol=1e-12)
    assert np.abs(alone[0] - ranks.reference.random_params(4, 6).W.numpy()).max() > 0.01  # it has learned


def test_a_rank_alone_with_its_rows_is_something_else(monkeypatch):
    """So the test above would see it if statistics weren't averaged."""

    class Second(Alone):
        rank, size = 1, 2

    alone = ranks.TASKS["centred"](None)
    monkeypatch.setattr(ranks, "current_group", Second)
    assert np.abs(ranks.TASKS["centred"](None)[0] - alone[0]).max() > 1e-3


@pytest.mark.parametrize("name", ["fit", "early stopping"])
def test_all_ranks_have_the_same_bits(found, name):
    first, *others = found[name]
    for other in others:
        for one, two in zip(first, other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_ranks_learn_as_well_as_one_process(found):
    """One that has all their rows in its batch, and all their chains."""
    W, b, c, _, rates = found["fit"][0]
    together = {name: ranks.SETTINGS[name] * len(found["fit"]) for name in ("batch_size", "n_chains")}
    alone = BernoulliRBMTorch(**ranks.SETTINGS | together).fit(ranks.X)
    before = alone.log_likelihood(ranks.X).mean()
    np.testing.assert_allclose(rates, alone.base_rates_, rtol=1e-6)
    alone.components_, alone.intercept_visible_, alone.intercept_hidden_ = W, b, c
    assert alone.log_likelihood(ranks.X).mean() == pytest.approx(before, abs=0.05)


def test_early_stopping_is_agreed_upon(found):
    assert found["early stopping"][0][3] < 40


def test_other_parameters_are_an_error(found):
    for (error,) in found["wrong"]:
        assert "Rank 1 has other parameters than rank 0: n_hidden=6 (there 5)" in str(error)


@pytest.mark.slow
def test_a_death_ends_all_and_the_checkpoint_is_gone_on_with(tmp_path):
    whole = results(tmp_path, ["fit"], 2)["fit"][0]
    first, second = launch(tmp_path, ["death"], 2)
    second.communicate(timeout=60)
    began = time.perf_counter()
    _, error = first.communicate(timeout=60)
    assert time.perf_counter() - began < 25  # the group's timeout is 20
    assert first.returncode == 1
    assert "Rank 0 has lost another of the 2 processes" in error
    resumed = results(tmp_path, ["resume"], 2)["resume"][0]
    for one, two in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, two)
    rbm = BernoulliRBMTorch(**ranks.SETTINGS, checkpoint=tmp_path / "checkpoint", resume=True)
    with pytest.raises(ValueError, match="of 2 processes, but there are 1"):
        rbm.fit(ranks.X)


@pytest.mark.slow
def test_torchrun(tmp_path):
    argv = ["--nproc-per-node", "2", "-m", "tests.ranks", "fit", os.fspath(tmp_path)]
    subprocess.run([sys.executable, "-m", "torch.distributed.run", *argv], check=True, timeout=120)
    assert (tmp_path / "fit_1.npz").exists()


def test_without_torchrun(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeError, match="Start them with torchrun"), process_group():
        pass
    with pytest.raises(ValueError, match="timeout"), process_group(timeout=0):
        pass
    assert current_group().size == 1


# -- GPUs, of which there need not be any ------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch):
    """What torch's process groups have been started with: one process, on two GPUs."""
    driver, seen = fake_driver(monkeypatch, n_devices=2), []
    start = dist.init_process_group

    def init_process_group(backend, **given):
        blocking_wait = os.environ.get("TORCH_NCCL_BLOCKING_WAIT")
        seen.append((backend, given.pop("device_id", None), driver.current, blocking_wait))
        start("gloo", **given)

    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.setattr(dist, "init_process_group", init_process_group)
    for name in ("TORCH_NCCL_BLOCKING_WAIT", "NCCL_BLOCKING_WAIT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    run = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in run.items():
        monkeypatch.setenv(name, value)
    return seen


def test_each_process_takes_its_gpu_before_it_looks_for_the_others(started, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with process_group() as group:
        assert group.total(3) == 3
    assert started == [("cpu:gloo,cuda:nccl", torch.device("cuda:1"), 1, "1")]
    assert "TORCH_NCCL_BLOCKING_WAIT" not in os.environ


def test_what_the_user_has_set_stays(started, monkeypatch):
    monkeypatch.setenv("TORCH_NCCL_BLOCKING_WAIT", "0")
    torch.cuda.set_device(1)
    with process_group("nccl"):
        pass
    assert started == [("nccl", None, 1, "0")]
    assert os.environ["TORCH_NCCL_BLOCKING_WAIT"] == "0"


def test_gloo_takes_no_gpu(started, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with process_group("gloo"):
        pass
    assert started == [("gloo", None, 0, "1")]


def test_more_processes_than_gpus_are_an_error(started, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(RuntimeError, match="LOCAL_RANK=2: it sees 2. .*nproc-per-node 2.*'gloo'"), process_group():
        pass
    assert not started
    assert current_group().size == 1


@pytest.mark.parametrize(
    ("config", "of_cpu", "of_cuda", "of_numbers"),
    [
        ("cpu:gloo,cuda:nccl", "cpu", "cuda", "cpu"),
        ("cuda:nccl", "cuda", "cuda", "cuda"),
        ("cpu:gloo,cuda:gloo", "cpu", "cuda", "cpu"),
        ("cpu:gloo", "cpu", "cpu", "cpu"),
    ],
)
def test_sums_are_taken_where_there_is_a_backend_for_them(started, monkeypatch, config, of_cpu, of_cuda, of_numbers):
    devices = []
    monkeypatch.setattr(dist, "all_reduce", lambda values, *op: devices.append(values.device.type))
    monkeypatch.setattr(dist, "get_backend_config", lambda: config)
    with process_group() as group, fake_cuda(reads=1.0):
        for device, expected in (("cpu", of_cpu), ("cuda:0", of_cuda)):
            values = torch.ones(3, device=device)
            group.mean_(values)
            assert group.mean(values, 2.0).device == values.device == torch.device(device)
            assert devices == [expected, expected]
            devices.clear()
        group.least(1)
        group.total(1)
        assert devices == [of_numbers, of_numbers]
