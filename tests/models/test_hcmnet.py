from __future__ import annotations

import pytest
import torch

from affectbook.errors import CheckpointError, ParameterError
from affectbook.models.hcmnet import HCMNet, check_length, describe, load_published
from affectbook.models.hcmnet import steps_after_pools as steps
from affectbook.models.small_cnn import SmallCNN

SHORT = {"pool_strides": (8, 8, 2)}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("n_chans", "n_outputs", "expected"),
    [
        (1, 3, 1_250_941),
        (1, 4, 1_251_198),
        (1, 6, 1_251_712),
        (2, 2, 1_251_708),
        (2, 3, 1_251_965),
        (2, 4, 1_252_222),
        (2, 5, 1_252_479),
    ],
)
def test_parameter_counts(n_chans, n_outputs, expected) -> None:
    assert count(HCMNet(n_chans, 1280, n_outputs)) == expected


def test_parameter_counts_of_the_parts() -> None:
    model = HCMNet(1, 2560, 3)
    parts = [count(part) for part in (model.cnn, model.nlcca, model.bissm, model.head)]
    assert parts == [198_592, 22_666, 995_888, 33_795]


@pytest.mark.parametrize(
    ("n_times", "expected"), [(640, 314), (1280, 634), (2560, 1274), (5120, 2554)]
)
def test_time_steps(n_times, expected) -> None:
    assert steps(n_times) == expected
    assert HCMNet(1, n_times, 3).cnn(torch.zeros(1, 1, n_times)).shape == (1, 128, expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
def test_output_equals_the_published_network(
    dtype, tolerance, published_state, reference, reference_input, relative_error
) -> None:
    model = HCMNet(2, 1280, 2).to(dtype).eval()
    load_published(model, published_state("hcmnet", dtype))
    found = model(reference_input(12, 2, 2, 1280).to(dtype))
    assert relative_error(found, reference("hcmnet_y")) < tolerance


def test_foreign_weights_are_refused_in_one_message(published_state) -> None:
    state = published_state("hcmnet")
    state["fc3.weight"] = state.pop("fc2.weight")
    state["fc2.bias"] = torch.zeros(3)
    model = HCMNet(2, 1280, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_published(model, state)
    message = str(error.value)
    assert "missing: fc2.weight" in message
    assert "unexpected: fc3.weight" in message
    assert "fc2.bias (3,) instead of (2,)" in message
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("pool_strides", [(1, 1, 2), (8, 8, 2)])
def test_shortest_window(pool_strides) -> None:
    with pytest.raises(ParameterError, match="the minimum is") as error:
        check_length(1, pool_strides)
    minimum = int(str(error.value).split()[-2])
    model = HCMNet(1, minimum, 2, pool_strides=pool_strides).eval()
    assert model(torch.zeros(1, 1, minimum)).shape == (1, 2)
    with pytest.raises(ParameterError, match=f"the minimum is {minimum} samples"):
        HCMNet(1, minimum - 1, 2, pool_strides=pool_strides)


@pytest.mark.parametrize(
    ("switch", "removed"),
    [
        ({}, 0),
        ({"nlcca": False}, 22_666),
        ({"bissm": False}, 995_888),
        ({"directions": "forward"}, 465_176),
    ],
)
def test_switches_remove_their_part_and_all_the_rest_is_trained(switch, removed) -> None:
    torch.manual_seed(0)
    model = HCMNet(1, 640, 3, **SHORT, **switch)
    assert count(model) == 1_250_941 - removed
    model(torch.randn(2, 1, 640)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize(
    "switch", [{"nlcca": "half"}, {"directions": "sideways"}, {"bissm": True}, {"init": "zero"}]
)
def test_unknown_switch_is_refused(switch) -> None:
    with pytest.raises(ParameterError, match=next(iter(switch))):
        HCMNet(1, 640, 3, **switch)


def test_a_relu_in_the_head_stands_between_the_linear_layers() -> None:
    model = HCMNet(1, 640, 3, head_relu=True, **SHORT).eval()
    features = model.embed(torch.randn(2, 1, 640))
    expected = model.head.logits(model.head.hidden(features).relu())
    torch.testing.assert_close(model.head(features), expected)
    assert count(model) == count(HCMNet(1, 640, 3, **SHORT))


@pytest.mark.parametrize("kernels", [(32, 16, 8), (16, 16, 16), (7, 7, 7)])
@pytest.mark.parametrize("n_times", [200, 201, 333])
def test_steps_are_counted_for_other_kernels(kernels, n_times) -> None:
    model = HCMNet(1, n_times, 2, kernels=kernels)
    found = model.cnn(torch.zeros(1, 1, n_times)).shape[-1]
    assert found == steps(n_times, (1, 1, 2), kernels)


def test_embedding_has_128_features() -> None:
    model = HCMNet(1, 640, 3, **SHORT).eval()
    x = torch.randn(2, 1, 640)
    assert model.embed(x).shape == (2, 128)
    torch.testing.assert_close(model.head(model.embed(x)), model(x))


@pytest.mark.parametrize("network", [HCMNet, SmallCNN])
def test_description_accounts_for_every_parameter(network) -> None:
    model = network(2, 640, 2)
    table = describe(model, 2, 640)
    assert table["parameters"].sum() == count(model)
    assert list(table.columns) == ["layer", "output shape", "parameters"]
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_description_of_hcmnet_shows_the_published_shapes() -> None:
    table = describe(HCMNet(1, 2560, 3), 1, 2560).set_index("layer")["output shape"]
    assert table["cnn.block1.conv2 (WideConv1d)"] == "32 x 2562"
    assert table["cnn.block3.pool (MaxPool1d)"] == table["nlcca (NLCCA)"] == "128 x 1274"
    assert table["bissm.forward_scan (Mamba2)"] == "1280 x 256"
