import pytest
import torch

from skrbm.backends.cuda_graph import record
from skrbm.support.randomness import Stream


def test_without_a_graph_there_is_a_warning(monkeypatch):
    def fails():
        raise RuntimeError("no graphs today")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", fails)
    with pytest.warns(RuntimeWarning, match="without a CUDA graph, and slower: no graphs today") as caught:
        assert record(lambda: None, [], torch.device("cuda")) is None
    assert caught[0].filename == __file__


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
