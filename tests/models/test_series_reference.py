from __future__ import annotations

import pytest
import torch

from affectbook.errors import ParameterError
from affectbook.models.series_reference import DLinear, ITransformer, TimesNet


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(8, 4, 128, generator=torch.Generator().manual_seed(0))


def test_dlinear_has_the_weights_counted_by_hand() -> None:
    assert parameters(DLinear(4, 128, 2)) == 2 * (128 * 128 + 128) + 4 * 128 * 2 + 2


def test_dlinear_is_a_linear_function_of_the_window(x) -> None:
    model = DLinear(4, 128, 2).double()
    x = x.double()
    a, b = x[:4], x[4:]
    torch.testing.assert_close(model(a) + model(b), model(a + b) + model(torch.zeros_like(a)))


def test_dlinear_sends_the_moving_average_one_way_and_the_rest_the_other(x) -> None:
    model = DLinear(4, 128, 2, width=5)
    logits = model(x)
    repeated = torch.cat([x[..., :1]] * 2 + [x] + [x[..., -1:]] * 2, dim=-1)
    trend = repeated.unfold(-1, 5, 1).mean(-1)
    mixed = model.of_trend(trend) + model.of_rest(x - trend)
    torch.testing.assert_close(logits, model.logits(mixed.flatten(1)))


def test_an_even_moving_average_is_refused() -> None:
    with pytest.raises(ParameterError, match="odd"):
        DLinear(4, 128, 2, width=24)


def test_itransformer_has_the_weights_counted_by_hand() -> None:
    embedding = 128 * 128 + 128
    attention = 4 * (128 * 128 + 128)
    layer = attention + 2 * (128 * 128 + 128) + 2 * 256
    assert parameters(ITransformer(4, 128, 2)) == embedding + 2 * layer + 256 + 512 * 2 + 2


def test_the_encoder_of_itransformer_does_not_know_the_order_of_channels(x) -> None:
    torch.manual_seed(0)
    model = ITransformer(4, 128, 2).eval()
    order = [2, 0, 3, 1]
    tokens, permuted = (model.encoder(model.embedding(one)) for one in (x, x[:, order]))
    torch.testing.assert_close(tokens[:, order], permuted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(x), model(x[:, order]), atol=1e-3), "the head does"


def test_heads_that_do_not_divide_the_features_are_refused() -> None:
    with pytest.raises(ParameterError, match="n_heads 5"):
        ITransformer(4, 128, 2, n_heads=5)


def test_timesnet_has_the_weights_counted_by_hand() -> None:
    taps = 1 + 9 + 25 + 49 + 81 + 121
    block = 16 * 32 * taps + 6 * 32 + 32 * 16 * taps + 6 * 16
    assert parameters(TimesNet(4, 128, 2)) == 4 * 16 * 3 + 2 * block + 32 + 16 * 128 * 2 + 2


def test_timesnet_as_published_depends_on_the_windows_beside(x) -> None:
    torch.manual_seed(0)
    hz = torch.tensor([6.0, 4, 9, 11, 13, 17, 20, 30])[:, None, None]
    x = x + 10 * torch.sin(2 * torch.pi * hz * torch.arange(128) / 128)
    published = TimesNet(4, 128, 2).eval()
    repaired = TimesNet(4, 128, 2, periods="sample").eval()
    repaired.load_state_dict(published.state_dict())
    assert not torch.allclose(published(x), repaired(x), atol=1e-2)
    torch.testing.assert_close(repaired(x)[:1], repaired(x[:1]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(repaired(x[:1]), published(x[:1]), rtol=1e-4, atol=1e-5)


def test_timesnet_written_out_as_in_the_paper(x) -> None:
    """The same weights, one convolution after the other and without any trick."""
    torch.manual_seed(0)
    model = TimesNet(4, 128, 2).double().eval()
    x = x.double()
    h = torch.cat([x[..., -1:], x, x[..., :1]], -1)
    h = torch.nn.functional.conv1d(h, model.embedding.weight)
    position, feature = torch.arange(128.0)[None], torch.arange(0, 16, 2)[:, None]
    h[:, 0::2] += torch.sin(position / 10_000 ** (feature / 16))
    h[:, 1::2] += torch.cos(position / 10_000 ** (feature / 16))
    for block in model.blocks:
        spectrum = torch.fft.rfft(h, dim=-1).abs().mean(1)
        strongest = spectrum.mean(0)[1:].topk(3).indices + 1
        shares = spectrum[:, strongest].softmax(1)
        total = h
        for i, frequency in enumerate(strongest.tolist()):
            period = 128 // frequency
            zeros = torch.zeros(8, 16, -128 % period, dtype=h.dtype)
            image = torch.cat([h, zeros], -1).reshape(8, 16, -1, period)
            image = torch.stack([conv(image) for conv in block.conv1.convs]).mean(0)
            image = torch.nn.functional.gelu(image)
            image = torch.stack([conv(image) for conv in block.conv2.convs]).mean(0)
            total = total + shares[:, i, None, None] * image.reshape(8, 16, -1)[..., :128]
        h = model.norm(total.transpose(1, 2)).transpose(1, 2)
    expected = model.logits(torch.nn.functional.gelu(h).reshape(8, -1))
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"periods": "log_spaced"}, {"d_model": 15}])
def test_timesnet_refuses_what_it_cannot_be(wrong) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        TimesNet(4, 128, 2, **wrong)
