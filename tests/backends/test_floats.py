import torch

from skrbm.backends.floats import Bfloat16Backend, FloatBackend
from skrbm.machines.restricted import mean_h_given_v, mean_v_given_h
from tests.backends.test_protocol import bits, contrast, machine


def test_floats_are_the_machine_itself():
    for dtype in (torch.float32, torch.float64):
        params = machine(dtype=dtype)
        ours = FloatBackend(params)
        assert ours.state_dtype == dtype
        assert torch.equal(ours.mean_h(bits(9, 50, dtype)), mean_h_given_v(params, bits(9, 50, dtype)))
        assert torch.equal(ours.mean_v(bits(9, 30, dtype)), mean_v_given_h(params, bits(9, 30, dtype)))


def test_bfloat16_keeps_the_weights_in_full():
    params = machine()
    before = params.clone()
    ours = Bfloat16Backend(params)
    ours.refresh_()
    assert ours.state_dtype == torch.bfloat16
    assert torch.equal(params.W, before.W)
    assert ours.mean_h(bits(9, 50).bfloat16()).dtype == torch.float32
    target, _, _ = contrast(ours, bits(40, 50), 20)
    assert target.dtype == torch.float32
