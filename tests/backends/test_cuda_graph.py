import warnings
from contextlib import contextmanager

import pytest
import torch

from skrbm.backends.cuda_graph import record
from skrbm.support.randomness import Stream


class Driver:
    """Answers for torch.cuda, and takes note of what it is asked for and on which device."""

    def __init__(self, monkeypatch, fails_in=None):
        self.calls, self.current, self.stream, self.fails_in = [], "cuda:0", "first", fails_in
        driver = self

        class Graph:
            def __init__(self):
                driver.note("graph")

            def register_generator_state(self, generator):
                warnings.warn("registering is no longer needed", FutureWarning, stacklevel=2)
                driver.note("register", generator)

            def replay(self):
                driver.note("replay")

        @contextmanager
        def device(device):
            before, self.current = self.current, str(device)
            try:
                yield
            finally:
                self.current = before

        @contextmanager
        def graph(graph, stream, capture_error_mode):
            before, self.stream = self.stream, stream
            driver.note("begin", stream, capture_error_mode)
            yield  # as torch does it, which leaves its stream behind where what is recorded raises
            driver.note("end")
            self.stream = before

        for name, answer in {
            "CUDAGraph": Graph,
            "device": device,
            "graph": graph,
            "Stream": lambda device: f"stream on {device}",
            "current_stream": lambda device: self.stream,
            "set_stream": lambda stream: setattr(self, "stream", stream),
            "synchronize": lambda device: driver.note("synchronize", str(device)),
        }.items():
            monkeypatch.setattr(torch.cuda, name, answer)
        monkeypatch.setattr(Stream, "generator", lambda self, device: f"generator on {device}")

    def note(self, name, *words):
        self.calls.append((name, *words, self.current))
        if name == self.fails_in:
            raise RuntimeError("no graphs today")


def test_what_is_recorded_runs_on_the_device_that_is_meant(monkeypatch):
    """Whatever device is current: else nothing would be recorded, and each replay would do nothing."""
    driver = Driver(monkeypatch)
    replay = record(lambda: driver.note("work"), [Stream(0), Stream(1)], torch.device("cuda:1"))
    assert driver.calls == [
        ("graph", "cuda:1"),
        *2 * [("register", "generator on cuda:1", "cuda:1")],
        ("synchronize", "cuda:1", "cuda:1"),
        ("begin", "stream on cuda:1", "thread_local", "cuda:1"),  # fits in other threads go on
        ("work", "cuda:1"),
        ("end", "cuda:1"),
    ]
    replay()
    assert driver.calls[-1][0] == "replay"
    assert (driver.current, driver.stream) == ("cuda:0", "first")


@pytest.mark.parametrize("where", ["graph", "register", "begin", "work", "end"])
def test_without_a_graph_there_is_a_warning(where, monkeypatch):
    driver = Driver(monkeypatch, fails_in=where)
    with pytest.warns(RuntimeWarning, match="without a CUDA graph, and slower: no graphs today") as caught:
        assert record(lambda: driver.note("work"), [Stream(0)], torch.device("cuda:1")) is None
    assert caught[0].filename == __file__
    assert (driver.current, driver.stream) == ("cuda:0", "first")


@pytest.mark.cuda
def test_what_is_recorded_draws_anew():
    device, stream = torch.device("cuda"), Stream(0)
    numbers, total = torch.zeros(1000, device=device), torch.zeros((), device=device)

    def work():
        numbers.copy_(stream.uniform(1000, device))
        total.add_(1.0)

    stream.uniform(1, device)  # makes the generator
    replay = record(work, [stream], device)
    replay()
    first = numbers.clone()
    replay()
    assert not torch.equal(first, numbers)
    assert float(total) == 2
