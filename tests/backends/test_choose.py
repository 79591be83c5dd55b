import pytest
import torch

from skrbm.backends import choose
from skrbm.backends.choose import BACKENDS, PRECISIONS, backend_for, choose_precision
from tests.backends.test_protocol import machine, needs_int8
from tests.fake_cuda import fake_driver

CPU, CUDA, LARGE = torch.device("cpu"), torch.device("cuda"), 1 << 17


@pytest.mark.parametrize(
    ("n_weights", "device", "bits", "weighted", "units", "expected"),
    [
        (LARGE, CPU, True, False, True, "int8"),
        (LARGE, CPU, True, False, False, "float32"),
        (LARGE - 1, CPU, True, False, True, "float32"),
        (LARGE, CPU, False, False, True, "float32"),
        (LARGE, CPU, True, True, True, "float32"),
        (LARGE, CUDA, True, False, True, "bfloat16"),
        (LARGE, CUDA, True, False, False, "float32"),
        (LARGE - 1, CUDA, True, False, True, "float32"),
        (LARGE, CUDA, False, False, True, "float32"),
        (LARGE, CUDA, True, True, True, "float32"),
    ],
)
def test_what_auto_stands_for(n_weights, device, bits, weighted, units, expected, monkeypatch):
    monkeypatch.setattr(choose, "has_int8_mm", lambda device: units and device.type == "cpu")
    monkeypatch.setattr(choose, "has_bfloat16_mm", lambda device: units and device.type == "cuda")
    assert choose_precision("auto", n_weights, device, bits=bits, weighted=weighted) == expected


def test_what_is_asked_for_is_taken_or_refused(monkeypatch):
    for precision in ("float32", "float64"):
        assert choose_precision(precision, 1, CPU, bits=False, weighted=True) == precision
    assert choose_precision("bfloat16", 1, CPU, bits=True, weighted=False) == "bfloat16"
    for precision in ("int8", "bfloat16"):
        with pytest.raises(ValueError, match=f"precision='{precision}' takes zeros and ones"):
            choose_precision(precision, 1, CPU, bits=False, weighted=False)
    monkeypatch.setattr(choose, "has_int8_mm", lambda device: False)
    with pytest.raises(ValueError, match="precision='int8' is not available on cpu"):
        choose_precision("int8", 1, CPU, bits=True, weighted=False)


def test_bfloat16_on_an_older_gpu_is_a_warning(monkeypatch):
    driver = fake_driver(monkeypatch, capability=(8, 0))
    assert choose_precision("bfloat16", 1, CUDA, bits=True, weighted=False) == "bfloat16"  # without a warning
    driver.capability = (7, 5)
    with pytest.warns(UserWarning, match=r"'bfloat16' is slow on cuda, .* capability 7\.5: .* 8\.0\. .*'float32'"):
        assert choose_precision("bfloat16", 1, CUDA, bits=True, weighted=False) == "bfloat16"


def test_every_precision_has_a_backend():
    assert set(PRECISIONS) - {"auto"} == set(BACKENDS)
    params = machine()
    for precision in ("float32", "bfloat16"):
        assert backend_for(precision, params).params is params


@needs_int8
def test_the_backend_of_8_bits():
    assert backend_for("int8", machine()).state_dtype == torch.int8
