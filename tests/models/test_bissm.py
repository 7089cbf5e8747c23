"""The block that joins time steps: directions, padding, initial values, and the LSTM beside it."""

from __future__ import annotations

import pytest
import torch

from affectbook.errors import ParameterError
from affectbook.models.bissm import BiLSTM, BiSSM

C = 128


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, C, 70, generator=torch.Generator().manual_seed(0))


def test_the_lstm_is_as_large_as_the_scans(x) -> None:
    assert parameters(BiSSM()) == 995_888
    assert parameters(BiLSTM()) == 995_576
    assert abs(parameters(BiLSTM()) / parameters(BiSSM()) - 1) < 5e-4
    assert BiLSTM()(x).shape == BiSSM()(x).shape == x.shape


def test_both_directions_are_the_sum_of_either(x) -> None:
    torch.manual_seed(0)
    both = BiSSM().eval()
    forward, backward = BiSSM(directions="forward").eval(), BiSSM(directions="backward").eval()
    for one in (forward, backward):
        one.load_state_dict(both.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.allclose(both(x), forward(x) + backward(x), atol=1e-5)
    assert forward.backward_scan is None and backward.forward_scan is None
    assert parameters(forward) == parameters(backward) == 995_888 - 465_176


def changed_steps(block: BiSSM, x: torch.Tensor, at: int) -> torch.Tensor:
    """Return at which steps the output differs when one input step does."""
    other = x.clone()
    other[..., at] += 1
    with torch.no_grad():
        return ((block(x) - block(other)).abs().amax((0, 1)) > 1e-6).nonzero()[:, 0]


def test_each_direction_sees_its_own_side(x) -> None:
    forward, backward = BiSSM(directions="forward").eval(), BiSSM(directions="backward").eval()
    assert changed_steps(forward, x, 30).min() == 30 and changed_steps(forward, x, 30).max() == 69
    assert changed_steps(backward, x, 30).max() == 30 and changed_steps(backward, x, 30).min() == 0


def test_zeros_matter_to_the_backward_scan_and_not_to_the_forward_one(x) -> None:
    for direction, differs in (("forward", False), ("backward", True)):
        torch.manual_seed(0)
        padded = BiSSM(directions=direction).eval()
        bare = BiSSM(directions=direction, pad_first=False).eval()
        bare.load_state_dict(padded.state_dict())
        with torch.no_grad():
            gap = (padded(x) - bare(x)).abs().max() / padded(x).abs().max()
        assert (gap > 1e-3) == differs


def test_a_length_that_needs_no_zeros_is_the_same_without(x) -> None:
    padded, bare = BiSSM().eval(), BiSSM(pad_first=False).eval()
    bare.load_state_dict(padded.state_dict())
    with torch.no_grad():
        assert torch.allclose(padded(x[..., :64]), bare(x[..., :64]))


def test_the_rewritten_start_is_that_of_the_authors_own_scan() -> None:
    torch.manual_seed(0)
    scans = [BiSSM(init="rewritten") for _ in range(20)]
    layers = [layer for one in scans for layer in (one.forward_scan, one.backward_scan)]
    dt = torch.cat([layer.dt_bias.detach() for layer in layers])
    A = torch.cat([layer.A_log.detach() for layer in layers])
    assert abs(dt.mean() + 5) < 0.05 and 0.07 < dt.std() < 0.13
    assert abs(A.mean()) < 0.05 and 0.07 < A.std() < 0.13
    assert all((layer.D == 0).all() for layer in layers)
    assert (BiSSM().forward_scan.D == 1).all()


@pytest.mark.parametrize("wrong", [{"directions": "sideways"}, {"init": "zero"}])
def test_unknown_switches_are_refused(wrong) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        BiSSM(**wrong)
