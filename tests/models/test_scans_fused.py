from __future__ import annotations

import pytest
import torch

from affectbook.errors import ParameterError
from affectbook.models.scans import fused
from affectbook.models.ssm import Mamba, Mamba2

LAYERS = {
    "Mamba": lambda **kw: Mamba(64, **kw),
    "Mamba2": lambda **kw: Mamba2(64, 32, headdim=32, **kw),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.skipif(
    fused.missing() is not None, reason=f"needs the fused kernels: {fused.missing()}"
)
def test_fused_kernels_and_plain_torch_agree(layer, relative_error) -> None:
    torch.manual_seed(0)
    own = LAYERS[layer](backend="torch").cuda()
    theirs = LAYERS[layer](backend="fused").cuda()
    theirs.load_state_dict(own.state_dict())
    outcomes = []
    weights = torch.randn(3, 200, 64, device="cuda")
    u = torch.randn(3, 200, 64, device="cuda", requires_grad=True)
    for network in (own, theirs):
        y = network(u)
        gradients = torch.autograd.grad(y, [u, *network.parameters()], weights)
        outcomes.append([y, *gradients])
    for found, expected in zip(*outcomes, strict=True):
        # The kernels multiply in TF32 where the device has it.
        assert relative_error(found.cpu(), expected.double().cpu()) < 5e-3


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a CUDA device")
@pytest.mark.parametrize("layer", LAYERS)
def test_asking_for_kernels_that_are_not_there_says_why(layer) -> None:
    network = LAYERS[layer](backend="fused")
    with pytest.raises(ParameterError, match="no CUDA device.*auto"):
        network(torch.randn(1, 4, 64))


@pytest.mark.parametrize("layer", LAYERS)
def test_an_unknown_backend_is_refused_when_the_layer_is_made(layer) -> None:
    with pytest.raises(ParameterError, match="auto, torch, fused, not 'triton'"):
        LAYERS[layer](backend="triton")


@pytest.mark.parametrize("layer", LAYERS)
def test_auto_is_torch_where_the_kernels_are_not(layer) -> None:
    torch.manual_seed(0)
    auto, plain = LAYERS[layer](), LAYERS[layer](backend="torch")
    plain.load_state_dict(auto.state_dict())
    u = torch.randn(2, 10, 64)
    assert torch.equal(auto(u), plain(u))


def test_kernels_are_taken_for_float32_on_cuda_only(monkeypatch) -> None:
    class Tokens:
        def __init__(self, device: str, dtype: torch.dtype) -> None:
            self.device, self.dtype = torch.device(device), dtype

    monkeypatch.setattr(fused, "missing", lambda: None)
    assert fused.wanted("auto", Tokens("cuda", torch.float32))
    assert not fused.wanted("torch", Tokens("cuda", torch.float32))
    assert not fused.wanted("auto", Tokens("cpu", torch.float32))
    assert not fused.wanted("auto", Tokens("cuda", torch.float64))
    with pytest.raises(ParameterError, match="float64"):
        fused.wanted("fused", Tokens("cuda", torch.float64))
    with pytest.raises(ParameterError, match="device 'cpu'"):
        fused.wanted("fused", Tokens("cpu", torch.float32))


def test_the_name_of_the_scan_says_what_ran(monkeypatch) -> None:
    assert fused.name("cpu") == "torch"
    monkeypatch.setattr(fused, "missing", lambda: None)
    monkeypatch.setattr(fused, "version", lambda package: "2.3.2")
    assert fused.name("cuda:0") == "mamba-ssm 2.3.2"
    monkeypatch.setattr(fused, "missing", lambda: "cannot be imported")
    assert fused.name("cuda") == "torch"
