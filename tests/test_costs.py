"""Costs: products are counted as a hand would, also inside scans and LSTMs, and nothing else is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from affectbook import costs
from affectbook.errors import ParameterError
from affectbook.models.hcmnet import HCMNet
from affectbook.models.small_cnn import SmallCNN
from affectbook.models.ssm import Mamba2
from affectbook.papers.hcmnet import network_options

SIZES = st.integers(1, 6)


class Recurrent(nn.Module):
    """An LSTM over `n_chans` steps of `n_times` features, then a linear layer of its own."""

    def __init__(self, inputs: int, units: int, layers: int, both: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, units, layers, batch_first=True, bidirectional=both)
        self.out = nn.Linear(units * (1 + both), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0])


def hcmnet(variant: str, n_times: int = 2560) -> HCMNet:
    return HCMNet(1, n_times, 3, **network_options(variant))


@settings(deadline=None)  # the first product of a process times two libraries
@given(SIZES, SIZES, SIZES)
def test_a_linear_layer_uses_each_weight_once_per_row(rows: int, inputs: int, outputs: int) -> None:
    assert costs.macs(nn.Linear(inputs, outputs), rows, inputs) == rows * inputs * outputs


@settings(deadline=None)
@given(SIZES, SIZES, SIZES, st.integers(12, 20))
def test_a_convolution_uses_each_weight_once_per_step(
    c_in: int, c_out: int, kernel: int, n_times: int
) -> None:
    conv = nn.Conv1d(c_in, c_out, kernel)
    assert costs.macs(conv, c_in, n_times) == c_in * c_out * kernel * (n_times - kernel + 1)


def test_a_depthwise_convolution_does_not_mix_channels() -> None:
    conv = nn.Conv1d(6, 6, 5, padding=2, groups=6)
    assert costs.macs(conv, 6, 100) == 6 * 5 * 100


@pytest.mark.parametrize("both", [False, True])
def test_an_lstm_is_counted_step_by_step(both: bool) -> None:
    steps, i, h, ways = 9, 5, 4, 1 + both
    first, second = 4 * h * (i + h), 4 * h * (ways * h + h)
    by_hand = steps * ways * (first + second) + steps * ways * h * 2
    assert costs.macs(Recurrent(i, h, 2, both), steps, i) == by_hand


def test_the_products_inside_a_scan_are_counted() -> None:
    d_model, d_inner, n, heads, taps, chunk = 256, 512, 128, 8, 4, 64
    projections = d_model * (2 * d_inner + 2 * n + heads) + d_inner * d_model
    conv = taps * (d_inner + 2 * n)
    within = chunk * n + chunk * d_inner
    states = 2 * n * d_inner
    tokens = 3 * chunk
    by_hand = tokens * (projections + conv + within + states)
    assert costs.macs(Mamba2(d_model), tokens, d_model) == by_hand


def test_hcmnet_costs_what_the_code_of_its_authors_costs() -> None:
    whole = costs.macs(hcmnet("published"), 1, 2560)
    front = costs.macs(hcmnet("published+no_bissm+no_nlcca"), 1, 2560)
    without_scans = costs.macs(hcmnet("published+no_bissm"), 1, 2560)
    assert whole == pytest.approx(2.27e9, rel=0.02)
    shares = (front / whole, (without_scans - front) / whole, 1 - without_scans / whole)
    assert shares == pytest.approx((0.22, 0.02, 0.76), abs=0.01)


@pytest.mark.parametrize("variant", ["published", "published+bilstm"])
def test_arithmetic_grows_in_proportion_to_the_window(variant: str) -> None:
    counts = [costs.macs(hcmnet(variant), 1, n_times) for n_times in (1280, 2560, 5120)]
    assert counts[1] / counts[0] == pytest.approx(2, rel=0.02)
    assert counts[2] / counts[1] == pytest.approx(2, rel=0.02)



def test_the_network_is_left_as_it_was() -> None:
    network = SmallCNN(1, 64, 2).train()
    means = network.cnn.norm1.running_mean.clone()
    costs.macs(network, 1, 64)
    assert network.training
    assert torch.equal(network.cnn.norm1.running_mean, means)
    assert not network.cnn.norm1._forward_hooks


def test_a_window_that_does_not_fit_has_one_message() -> None:
    network = SmallCNN(1, 64, 2).train()
    with pytest.raises(ParameterError, match="SmallCNN takes no window of 2 x 64"):
        costs.macs(network, 2, 64)
    assert network.training


def test_weights_that_are_not_trained_do_not_count() -> None:
    network = nn.Linear(3, 2)
    network.bias.requires_grad_(False)
    assert costs.parameters(network) == 6
    assert costs.parameters(hcmnet("published")) == 1_250_941


def test_the_table_compares_with_the_first() -> None:
    table = costs.table({"large": nn.Linear(8, 4_000_000), "small": nn.Linear(8, 1_000_000)}, 1, 8)
    assert list(table["network"]) == ["large", "small"]
    assert list(table["parameters"]) == [36_000_000, 9_000_000]
    assert list(table["million MACs"]) == [32.0, 8.0]
    assert list(table["relative to the first"]) == [1.0, 0.25]
    with pytest.raises(ParameterError, match="one network or more"):
        costs.table({}, 1, 8)
