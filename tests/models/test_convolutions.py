from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from affectbook.models.convolutions import WideConv1d, causal_depthwise


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 12),
    channels=st.integers(1, 5),
    taps=st.integers(1, 5),
    has_bias=st.booleans(),
)
def test_causal_depthwise_is_a_padded_convolution(batch, length, channels, taps, has_bias) -> None:
    conv = nn.Conv1d(channels, channels, taps, groups=channels, padding=taps - 1, bias=has_bias)
    conv = conv.double()
    x = torch.randn(batch, length, channels, dtype=torch.float64, requires_grad=True)
    expected = conv(x.transpose(1, 2))[..., :length].transpose(1, 2)
    found = causal_depthwise(x, conv.weight.squeeze(1), conv.bias)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    inputs = [x, *conv.parameters()]
    for own, other in zip(
        torch.autograd.grad(found, inputs, weights),
        torch.autograd.grad(expected, inputs, weights),
        strict=True,
    ):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize("n_times", [40, 41])
def test_wide_convolution_is_the_plain_one(n_times) -> None:
    plain = nn.Conv1d(3, 4, 32, padding=16).double()
    wide = WideConv1d(3, 4, 32, padding=16).double()
    wide.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, n_times, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(wide(x), plain(x))
    torch.testing.assert_close(
        torch.autograd.grad(wide(x).square().sum(), x),
        torch.autograd.grad(plain(x).square().sum(), x),
    )
