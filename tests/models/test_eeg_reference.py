"""What every reference network for EEG windows can do, and what EEGNet, TCN and the MLP are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from affectbook.errors import ParameterError
from affectbook.models.eeg_reference import TCN, EEGNet, TokenMLP
from affectbook.models.eeg_scaling import EegScaler
from affectbook.models.network import WindowNet
from affectbook.models.series_reference import DLinear, ITransformer, TimesNet

NETWORKS = (EEGNet, TCN, TokenMLP, DLinear, ITransformer, TimesNet)
SHAPES = ((4, 128, 2), (4, 200, 3), (19, 128, 2))


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def windows(n: int, n_chans: int, n_times: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, n_chans, n_times, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_logits_and_gradients(network, shape) -> None:
    n_chans, n_times, n_outputs = shape
    torch.manual_seed(0)
    model = network(*shape)
    logits = model(windows(5, n_chans, n_times))
    assert logits.shape == (5, n_outputs)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("network", NETWORKS)
def test_a_prediction_repeats_and_leaves_the_weights_alone(network) -> None:
    torch.manual_seed(0)
    model = network(4, 128, 2).eval()
    x = windows(6, 4, 128)
    first = model(x)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert torch.equal(first, model(x))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("network", [each for each in NETWORKS if each is not TimesNet])
def test_a_prediction_does_not_depend_on_the_windows_beside_it(network) -> None:
    torch.manual_seed(0)
    model = network(4, 128, 2).eval()
    x = windows(6, 4, 128)
    torch.testing.assert_close(model(x)[2:3], model(x[2:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "n_times", "minimum"),
    [(EEGNet, 31, 32), (TCN, 0, 1), (TokenMLP, 0, 1), (DLinear, 24, 25), (ITransformer, 0, 1),
     (TimesNet, 5, 6)],
)  # fmt: skip
def test_shortest_window(network, n_times, minimum) -> None:
    assert network(3, minimum, 2).eval()(windows(2, 3, minimum)).shape == (2, 2)
    with pytest.raises(ParameterError, match=f"the minimum is {minimum}"):
        network(3, n_times, 2)


@pytest.mark.parametrize("network", NETWORKS)
def test_trained_as_every_network_here(network) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 4, 64)).astype(np.float32)
    y = np.arange(12) % 2
    net = WindowNet(
        network, module__n_chans=4, module__n_times=64, module__n_outputs=2,
        max_epochs=1, batch_size=6, scaler=EegScaler(),
    )  # fmt: skip
    probabilities = net.fit(X, y, valid=(X[:4], y[:4])).predict_proba(X)
    assert probabilities.shape == (12, 2) and np.isfinite(probabilities).all()
    assert np.isfinite(net.history_frame()["train_loss"]).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # 8 filters of 64 and norm; 16 of c channels and norm; 16 of 16; 16 of 16 maps and norm;
        # 16 maps of t // 32 steps, and the outputs.
        ((4, 128, 2), 512 + 16 + 16 * 4 + 32 + 256 + 256 + 32 + 64 * 2 + 2),
        ((19, 128, 2), 512 + 16 + 16 * 19 + 32 + 256 + 256 + 32 + 64 * 2 + 2),
        ((4, 200, 3), 512 + 16 + 16 * 4 + 32 + 256 + 256 + 32 + 96 * 3 + 3),
    ],
)
def test_eegnet_has_the_weights_counted_by_hand(shape, expected) -> None:
    assert parameters(EEGNet(*shape)) == expected


def test_eegnet_at_another_rate_has_longer_kernels() -> None:
    longer = parameters(EEGNet(4, 200, 2, kernel=100)) - parameters(EEGNet(4, 200, 2))
    assert longer == 36 * 8 + 9 * 16
    with pytest.raises(ParameterError, match="kernel"):
        EEGNet(4, 200, 2, kernel=3)


def test_eegnet_keeps_its_norms_whatever_a_step_does() -> None:
    torch.manual_seed(0)
    model = EEGNet(4, 128, 2)
    small = model.spatial.weight.detach()[3].clone() * 0.1
    with torch.no_grad():
        model.spatial.weight.mul_(100)
        model.spatial.weight[3] = small
        model.logits.weight.mul_(100)
    model(windows(4, 4, 128)).sum().backward()
    spatial = model.spatial.weight.flatten(1).norm(dim=1)
    assert spatial.max() <= 1 + 1e-4 and torch.equal(model.spatial.weight[3], small)
    assert torch.allclose(model.logits.weight.norm(dim=1), torch.tensor(0.25), rtol=1e-4)


def test_eegnet_can_be_run_twice_before_its_gradient() -> None:
    torch.manual_seed(0)
    model = EEGNet(4, 128, 2, dropout=0.0)
    with torch.no_grad():
        model.logits.weight.mul_(100)
    (model(windows(4, 4, 128)) + model(windows(4, 4, 128, seed=1))).sum().backward()
    assert model.spatial.weight.grad.isfinite().all()


def test_tcn_has_the_weights_counted_by_hand() -> None:
    # Of a convolution: kernel, a length per output, a bias. The first block has a 1 x 1 besides.
    conv, first = 25 * 25 * 7 + 50, 25 * 4 * 7 + 50
    assert parameters(TCN(4, 128, 2)) == first + conv + (25 * 4 + 25) + 6 * conv + 25 * 2 + 2


def test_tcn_sees_181_samples_back_and_no_further() -> None:
    torch.manual_seed(0)
    model = TCN(2, 256, 2).eval()
    x = windows(1, 2, 256).requires_grad_()
    model(x)[0, 0].backward()
    seen = x.grad[0].abs().amax(0).nonzero()[:, 0]
    assert seen.min() == 256 - 181 and seen.max() == 255


def test_tcn_blocks_are_causal() -> None:
    torch.manual_seed(0)
    blocks = TCN(2, 64, 2).eval().blocks
    x = windows(1, 2, 64)
    later = x.clone()
    later[..., 40:] += 1
    a, b = blocks(x), blocks(later)
    torch.testing.assert_close(a[..., :40], b[..., :40])
    assert not torch.allclose(a[..., 40:], b[..., 40:])


@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_the_mlp_is_as_large_as_ms_imamba(shape) -> None:
    assert parameters(TokenMLP(*shape)) == pytest.approx(324_698, rel=0.005)


@pytest.mark.parametrize("n_parameters", [2_000, 50_000, 334_427])
def test_no_other_mlp_comes_closer(n_parameters) -> None:
    model = TokenMLP(4, 64, 3, n_parameters=n_parameters)
    units = model.layers[1].out_features
    off = abs(parameters(model) - n_parameters)
    for other in {max(1, units - 1), units + 1}:
        assert abs(parameters(TokenMLP(4, 64, 3, hidden=other)) - n_parameters) >= off


def test_an_mlp_smaller_than_its_input_allows_is_refused() -> None:
    with pytest.raises(ParameterError, match="as few as 100"):
        TokenMLP(4, 128, 2, n_parameters=100)
