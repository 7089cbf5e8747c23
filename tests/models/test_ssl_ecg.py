"""The networks of self-supervised ECG: their sizes, what they see, every switch, and in NumPy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from affectbook.augment import NAMES
from affectbook.errors import ParameterError
from affectbook.models.ssl_ecg import (
    HEADS,
    EmotionHead,
    EmotionNet,
    Encoder,
    TransformationRecognition,
)

CONVOLUTIONS = [1_056, 32_800, 32_832, 65_600, 65_664, 131_200]
PADDING = {32: (15, 16), 16: (7, 8), 8: (3, 4)}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def layers(module: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def windows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def built(kind: type[nn.Module], *sizes: int, **switches: object) -> nn.Module:
    """Return a network in which no bias is zero."""
    torch.manual_seed(0)
    model = kind(*sizes, **switches)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def in_numpy(model: Encoder, x: np.ndarray, slope: float) -> list[np.ndarray]:
    """Return the maps of all blocks, convolutions and pools as their definitions read."""
    convolutions, found = layers(model, nn.Conv1d), []
    for number, convolution in enumerate(convolutions):
        if number in (2, 4):
            starts = range(0, x.shape[-1] - 7, 2)
            x = np.stack([x[..., start : start + 8].max(-1) for start in starts], -1)
        weight, bias = (p.detach().double().numpy() for p in convolution.parameters())
        kernel = weight.shape[-1]
        padded = np.pad(x, [(0, 0), (0, 0), PADDING[kernel]])
        seen = [padded[..., start : start + kernel] for start in range(x.shape[-1])]
        x = np.stack([np.einsum("bck,ock->bo", part, weight) + bias for part in seen], -1)
        x = np.where(x > 0, x, slope * x)
        if number % 2:
            found.append(x)
    return found


def test_numbers_of_weights_are_those_of_the_release() -> None:
    model = TransformationRecognition()
    assert count(model) == 561_223
    assert count(model.encoder) == 329_152 == sum(CONVOLUTIONS)
    assert [count(layer) for layer in layers(model, nn.Conv1d)] == CONVOLUTIONS
    assert [count(head) for head in model.heads] == [33_153] * 7
    assert 33_153 == 2 * (128 * 128 + 128) + 128 + 1


def test_more_leads_alter_the_first_convolution_only() -> None:
    model = Encoder(2)
    assert [count(layer) for layer in layers(model, nn.Conv1d)] == [2_080, *CONVOLUTIONS[1:]]
    assert model(windows(3, 2, 100)).shape == (3, 128)


def test_a_window_of_ten_seconds_is_pooled_to_1277_and_635_steps() -> None:
    model, x = Encoder().eval(), windows(2, 1, 2560)
    with torch.no_grad():
        assert [tuple(one.shape[1:]) for one in model.maps(x)] == [
            (32, 2560), (64, 1277), (128, 635),
        ]  # fmt: skip
        assert model(x).shape == (2, 128)
        assert TransformationRecognition()(x).shape == (2, 7)


def test_a_step_of_the_last_map_sees_200_samples_and_the_next_one_four_later() -> None:
    n_times = 300
    samples = torch.eye(n_times)[:, None]
    x = torch.where(samples > 0, torch.nan, windows(1, 1, n_times))  # NaN reaches all who see it
    with torch.no_grad():
        sees = Encoder().eval().maps(x)[-1].isnan().any(1)  # (sample, step)
    spans = [step.nonzero().flatten().tolist() for step in sees.T[30:40]]
    for before, after in pairwise(spans):
        assert after == list(range(after[0], after[0] + 200))
        assert after[0] == before[0] + 4


@pytest.mark.parametrize(("tap", "delay"), [(0, 15), (31, -16), (15, 0)])
def test_an_even_kernel_is_padded_as_tensorflow_does(tap, delay) -> None:
    model = Encoder(n_blocks=1)
    for layer in layers(model, nn.Conv1d):
        nn.init.zeros_(layer.weight)
        layer.weight.data[0, 0, tap] = 1.0
    x = torch.zeros(1, 1, 200)
    x[..., 100] = 1.0
    assert model.maps(x)[0][0, 0].nonzero().flatten().tolist() == [100 + 2 * delay]


@pytest.mark.parametrize("n_times", [22, 97, 120])
@pytest.mark.parametrize(("activation", "slope"), [("leaky_relu", 0.2), ("relu", 0.0)])
@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_the_encoder_is_that_of_its_definition(
    n_times, activation, slope, pooling, relative_error
) -> None:
    x = windows(2, 1, n_times).double()
    expected = [torch.tensor(one) for one in in_numpy(built(Encoder).double(), x.numpy(), slope)]
    for n_blocks in (1, 2, 3):
        switches = {"activation": activation, "pooling": pooling, "n_blocks": n_blocks}
        model = built(Encoder, **switches).double()
        model.load_state_dict(built(Encoder).double().state_dict(), strict=n_blocks == 3)
        maps = model.maps(x)
        assert len(maps) == n_blocks
        for found, one in zip(maps, expected, strict=False):
            assert relative_error(found, one) < 1e-12
        own = expected[n_blocks - 1]
        feature = own.amax(-1) if pooling == "max" else own.mean(-1)
        assert model(x).shape == (2, model.n_features) == (2, (32, 64, 128)[n_blocks - 1])
        assert relative_error(model(x), feature) < 1e-12


def test_batch_norm_stands_between_convolution_and_activation_if_asked_for() -> None:
    assert not layers(TransformationRecognition(), nn.BatchNorm1d)
    model = Encoder(batch_norm=True)
    widths = [layer.num_features for layer in layers(model, nn.BatchNorm1d)]
    assert widths == [32, 32, 64, 64, 128, 128]
    assert count(model) == 329_152 + 2 * sum(widths)
    kinds = [type(layer) for block in model.blocks for layer in block]
    for place, kind in enumerate(kinds):
        if kind is nn.Conv1d:
            assert kinds[place + 1 : place + 3] == [nn.BatchNorm1d, nn.LeakyReLU]


def test_pretext_heads_drop_three_in_five_and_the_encoder_none() -> None:
    model = TransformationRecognition()
    assert not layers(model.encoder, nn.Dropout)
    assert [layer.p for layer in layers(model.heads, nn.Dropout)] == [0.6] * 14
    assert {layer.negative_slope for layer in layers(model, nn.LeakyReLU)} == {0.2}
    head = [type(layer) for layer in model.heads[0]]
    assert head == [nn.Linear, nn.LeakyReLU, nn.Dropout] * 2 + [nn.Linear]
    x = windows(3, 1, 100)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize(("single_head", "n_kernels"), [(False, 6 + 7 * 3), (True, 6 + 3)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_penalty_is_on_kernels_only(single_head, n_kernels, batch_norm) -> None:
    model = TransformationRecognition(single_head=single_head, batch_norm=batch_norm)
    kernels = model.kernels()
    assert len(kernels) == n_kernels == len({id(kernel) for kernel in kernels})
    expected = {id(p) for p in model.parameters() if p.dim() > 1}
    assert {id(kernel) for kernel in kernels} == expected


def test_one_head_can_tell_all_versions_or_some() -> None:
    single = TransformationRecognition(single_head=True)
    assert [count(head) for head in single.heads] == [2 * (128 * 128 + 128) + 7 * 129]
    assert single(windows(2, 1, 100)).shape == (2, 7)
    some = TransformationRecognition(tasks=("original", "noise"), n_blocks=2)
    assert [count(head) for head in some.heads] == [64 * 128 + 128 + 128 * 128 + 128 + 129] * 2
    assert some(windows(2, 1, 100)).shape == (2, 2)
    assert TransformationRecognition().tasks == NAMES


def test_heads_answer_in_the_order_of_the_tasks() -> None:
    model, x = TransformationRecognition().eval(), windows(2, 1, 100)
    for number, head in enumerate(model.heads):
        nn.init.constant_(head[-1].bias, float(100 * number))
    assert torch.equal(model(x).round(decimals=-2).mean(0), 100.0 * torch.arange(7))


@pytest.mark.parametrize(
    ("head", "fixed", "per_output"),
    [("dense_512x2", 328_704, 513), ("dense_512x3", 591_360, 513),
     ("dense_64x2", 12_416, 65), ("linear", 0, 129)],
)  # fmt: skip
@pytest.mark.parametrize("n_outputs", [2, 4, 9])
def test_sizes_of_the_emotion_heads(head, fixed, per_output, n_outputs) -> None:
    model = EmotionHead(1, 128, n_outputs, head=head)
    assert count(model) == fixed + per_output * n_outputs
    assert model(windows(5, 1, 128)).shape == (5, n_outputs)
    whole = EmotionNet(1, 640, n_outputs, head=head)
    assert count(whole) == 329_152 + count(model)
    assert whole(windows(2, 1, 640)).shape == (2, n_outputs)


@pytest.mark.parametrize(
    ("head", "kind", "shares"),
    [("dense_512x2", nn.ReLU, []), ("dense_512x3", nn.ReLU, [0.2] * 3),
     ("dense_64x2", nn.Sigmoid, []), ("linear", nn.Identity, [])],
)  # fmt: skip
def test_activation_and_dropout_of_the_emotion_heads(head, kind, shares) -> None:
    n_layers = HEADS[head][0]
    model = EmotionHead(1, 128, 2, head=head)
    assert [layer.p for layer in layers(model, nn.Dropout)] == shares
    assert len(layers(model, kind)) == n_layers
    kinds = {type(layer) for layer in model.layers} - {nn.Flatten, nn.Linear, nn.Dropout}
    assert kinds == ({kind} if n_layers else set())
    own = EmotionHead(1, 128, 2, head=head, dropout=0.4)
    assert [layer.p for layer in layers(own, nn.Dropout)] == [0.4] * n_layers
    assert not layers(EmotionHead(1, 128, 2, head=head, dropout=0.0), nn.Dropout)


def test_the_head_with_sigmoids_is_that_of_its_definition(relative_error) -> None:
    model, x = built(EmotionHead, 1, 128, 3, head="dense_64x2"), windows(4, 1, 128)
    (a, p), (b, q), (c, r) = (layer.parameters() for layer in layers(model, nn.Linear))
    hidden = 1 / (1 + torch.exp(-(x[:, 0] @ a.T + p)))
    hidden = 1 / (1 + torch.exp(-(hidden @ b.T + q)))
    assert relative_error(model(x), hidden @ c.T + r) < 1e-5


def test_the_emotion_net_is_encoder_and_head() -> None:
    model, x = built(EmotionNet, 2, 300, 3, pooling="mean", n_blocks=2), windows(4, 2, 300)
    feature = model.encoder(x)
    assert feature.shape == (4, 64)
    assert torch.equal(model(x), model.head(feature[:, None]))


@pytest.mark.parametrize("model", [TransformationRecognition(), EmotionNet(1, 300, 3)])
def test_everything_is_trained(model) -> None:
    model(windows(8, 1, 300)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(
    "make",
    [
        lambda: TransformationRecognition(2),
        lambda: EmotionNet(1, 640, 4, head="dense_512x3"),
        lambda: EmotionHead(1, 128, 2, head="dense_64x2"),
    ],
)
def test_training_starts_with_glorot_and_zero_biases(make) -> None:
    torch.manual_seed(0)
    found = layers(make(), nn.Conv1d) + layers(make(), nn.Linear)
    assert found
    for layer in found:
        n_out, n_in, *kernel = layer.weight.shape
        bound = (6 / ((n_in + n_out) * np.prod(kernel))) ** 0.5
        assert layer.weight.abs().max() <= bound
        if layer.weight.numel() > 1000:
            assert layer.weight.abs().max() > 0.99 * bound
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
            assert layer.weight.mean().abs() < 0.05 * bound
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Encoder(activation="gelu"), "activation 'gelu'.*leaky_relu, relu"),
        (lambda: Encoder(pooling="min"), "pooling 'min'.*max, mean"),
        (lambda: Encoder(n_blocks=0), "0 blocks.*1 to 3 blocks"),
        (lambda: Encoder(n_blocks=4), "4 blocks.*1 to 3 blocks"),
        (lambda: TransformationRecognition(activation="tanh"), "activation 'tanh'"),
        (lambda: TransformationRecognition(tasks=("noise", "shift")), "'shift'.*original, noise"),
        (lambda: TransformationRecognition(tasks=()), "no task.*original, noise"),
        (lambda: EmotionHead(1, 128, 2, head="dense"), "no head 'dense'; there are dense_512x2"),
        (lambda: EmotionNet(1, 640, 2, head="dense"), "no head 'dense'"),
        (lambda: EmotionNet(1, 640, 2, pooling="min"), "pooling 'min'"),
        (lambda: EmotionNet(1, 21, 2), "21 samples are too short.*takes 22"),
    ],
)
def test_what_there_is_not_is_refused(make, match) -> None:
    with pytest.raises(ParameterError, match=match):
        make()


def test_the_shortest_window_can_be_pooled() -> None:
    assert EmotionNet(1, 22, 2).eval()(windows(2, 1, 22)).shape == (2, 2)
