from __future__ import annotations

import ast
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import affectbook
from affectbook.errors import ParameterError
from affectbook.models import _ecg_fm_checkpoint
from affectbook.models.ecg_fm import ECGFM, ECGFMPretraining

LIB = Path(affectbook.__file__).parent
TINY = {"hidden": 32, "n_layers": 3, "n_heads": 2, "ffn": 48, "conv": 8}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture
def tiny() -> ECGFM:
    torch.manual_seed(0)
    return ECGFM(**TINY)


@pytest.fixture(scope="module")
def published() -> ECGFM:
    with torch.device("meta"):
        return ECGFM()


def test_the_published_encoder_has_its_parameters(published) -> None:
    assert count(published) == 90_373_248
    network = published.network
    parts = [
        network.feature_extractor, network.feature_projection.layer_norm,
        network.feature_projection.projection, network.encoder.pos_conv_embed,
        network.encoder.layers, network.encoder.layer_norm,
    ]  # fmt: skip
    each = [399_872, 512, 197_376, 4_719_488, 12 * 7_087_872, 1_536]
    assert [count(part) for part in parts] == each and sum(each) == count(published)


def test_pretraining_adds_the_published_extras(published) -> None:
    with torch.device("meta"):
        whole = ECGFMPretraining(published)
    parts = (whole.mask_emb.numel(), *map(count, (whole.quantizer, whole.project_q)))
    assert (*parts, count(whole.final_proj)) == (768, 246_400, 65_792, 196_864)
    assert count(whole) == 90_883_072


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((96, 12, 4, 384, 64), 1_448_832),
        ((128, 12, 4, 512, 64), 2_545_536),
        ((192, 12, 6, 768, 96), 5_710_592),
        ((256, 12, 8, 1024, 128), 10_137_216),
    ],
)
def test_small_encoders_keep_twelve_layers(sizes, expected) -> None:
    with torch.device("meta"):
        model = ECGFM(*sizes)
    assert count(model) == expected and len(model.network.encoder.layers) == 12


def test_pooled_layers_equal_those_of_the_published_network(
    published_state, reference, reference_input
) -> None:
    state = published_state("ecgfm")
    tensors = _ecg_fm_checkpoint.encoder_of(Path("reference"), state)
    weights = _ecg_fm_checkpoint.Published(Path("reference"), _ecg_fm_checkpoint.BASE, tensors)
    with torch.device("meta"):
        model = ECGFM(**weights.sizes)
    expected = weights.tensors_of(model.network.state_dict())
    model.network.load_state_dict(expected, assign=True)
    x = reference_input(20, 2, 12, 2500)[:1].float()
    with torch.no_grad():
        found = model.pooled(x)
    assert len(state) == 215 and found.shape == (12, 1, 768)
    torch.testing.assert_close(found[:, 0], reference("ecgfm_pooled")[1:], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("n_times", "tokens"), [(2500, 156), (5000, 312), (1280, 80), (1250, 78)])
def test_lengths(tiny, n_times, tokens) -> None:
    x = torch.randn(2, 12, n_times)
    assert tiny.layer_embeddings(x).shape == (3, 2, tokens, 32)
    assert tiny.pooled(x).shape == (3, 2, 32)
    assert tiny(x).shape == (2, tokens, 32)


@given(n_times=st.integers(16, 400))
@settings(max_examples=25, deadline=None)
def test_a_token_is_sixteen_samples(n_times) -> None:
    assert _TINY(torch.zeros(1, 12, n_times)).shape == (1, n_times // 16, 32)


_TINY = ECGFM(**TINY)


def test_layers_are_those_of_transformers_without_the_input(tiny) -> None:
    x = torch.randn(2, 12, 320)
    theirs = tiny.network(x, output_hidden_states=True).hidden_states
    found = tiny.layer_embeddings(x)
    assert len(theirs) == 4
    torch.testing.assert_close(found, torch.stack(theirs[1:]))
    assert not torch.allclose(found[0], theirs[0])
    torch.testing.assert_close(tiny(x), found[-1])


def test_the_mean_over_time_is_that_of_the_layers(tiny) -> None:
    x = torch.randn(4, 12, 320)
    torch.testing.assert_close(tiny.pooled(x), tiny.layer_embeddings(x).mean(2))


def test_pooling_lets_layers_go() -> None:
    model = ECGFM(**TINY | {"n_layers": 8})
    made, alive = [], []

    def note(_: nn.Module, __: object, output: torch.Tensor) -> None:
        made.append(weakref.ref(output))
        alive.append(sum(one() is not None for one in made))

    for layer in model.network.encoder.layers:
        layer.register_forward_hook(note)
    with torch.no_grad():
        model.pooled(torch.randn(1, 12, 160))
    assert len(alive) == 8 and max(alive) <= 2


def test_windows_of_a_batch_do_not_touch_each_other(tiny) -> None:
    x = torch.randn(3, 12, 320)
    one_by_one = torch.cat([tiny.pooled(window[None]) for window in x], 1)
    torch.testing.assert_close(tiny.pooled(x), one_by_one)


def test_without_dropout_training_mode_computes_the_same(tiny) -> None:
    x = torch.randn(2, 12, 320)
    assert not tiny.training
    expected = tiny.pooled(x)
    assert torch.equal(tiny.train().pooled(x), expected)
    assert not x.requires_grad
    with_dropout = ECGFM(**TINY, dropout=0.1)
    assert torch.equal(with_dropout.pooled(x), with_dropout.pooled(x))
    with_dropout.train()
    assert not torch.equal(with_dropout.pooled(x), with_dropout.pooled(x))


def test_all_of_it_can_be_trained(tiny) -> None:
    tiny.layer_embeddings(torch.randn(2, 12, 320)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in tiny.parameters())
    assert tiny.network.feature_extractor.conv_layers[0].conv.weight.grad.abs().sum() > 0


def test_silent_leads_give_numbers(tiny) -> None:
    x = torch.zeros(2, 12, 320)
    x[1, 1] = torch.randn(320)
    found = tiny.layer_embeddings(x)
    assert torch.isfinite(found).all() and not torch.allclose(found[:, 0], found[:, 1])


def test_a_seed_makes_the_weights(tiny) -> None:
    torch.manual_seed(0)
    again, other = ECGFM(**TINY).state_dict(), ECGFM(**TINY).state_dict()
    state = tiny.state_dict()
    assert all(torch.equal(again[name], value) for name, value in state.items())
    assert not all(torch.equal(other[name], value) for name, value in state.items())


def test_the_convolution_of_positions_begins_as_in_wav2vec() -> None:
    torch.manual_seed(0)
    position = ECGFM(128, 1, 4, 64, 8).network.encoder.pos_conv_embed.conv
    assert not position.bias.any()
    assert float(position.weight.detach().std()) == pytest.approx(2 / (128 * 128) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    "sizes", [{"hidden": 40}, {"n_heads": 3}, {"n_layers": 0}, {"conv": -1}, {"n_chans": 0}]
)
def test_sizes_that_make_no_encoder_are_refused(sizes) -> None:
    with pytest.raises(ParameterError, match=f"no ECG-FM with .*{next(iter(sizes))}"):
        ECGFM(**TINY | sizes)


@pytest.mark.parametrize("shape", [(2, 1, 320), (2, 12, 15), (12, 320), (2, 1, 12, 320)])
def test_windows_that_do_not_fit_are_refused(tiny, shape) -> None:
    with pytest.raises(ParameterError, match=r"windows \(b, 12, t\) with t of 16 or more"):
        tiny.pooled(torch.zeros(shape))


def test_pretraining_without_a_mask_sees_what_the_encoder_sees(tiny) -> None:
    x = torch.randn(2, 12, 320)
    found = ECGFMPretraining(tiny).eval()(x, torch.zeros(2, 20, dtype=torch.bool))
    torch.testing.assert_close(found.tokens, tiny(x))
    assert found.context.shape == found.targets.shape == found.features.shape == (2, 20, 8)


def test_what_is_masked_is_hidden_from_the_context_and_not_from_the_targets(tiny) -> None:
    model = ECGFMPretraining(tiny).eval()
    one, other = (model(torch.randn(2, 12, 320), torch.ones(2, 20, dtype=torch.bool))
                  for _ in range(2))  # fmt: skip
    assert torch.equal(one.context, other.context)
    assert not torch.equal(one.targets, other.targets)


def test_pretraining_trains_all_of_it(tiny) -> None:
    torch.manual_seed(0)
    model = ECGFMPretraining(tiny).train()
    mask = torch.zeros(2, 20, dtype=torch.bool)
    mask[:, 5:15] = True
    found = model(torch.randn(2, 12, 320), mask)
    assert 2 <= found.perplexity.item() <= 640
    (
        torch.cosine_similarity(found.context, found.targets, -1)[mask].sum() + found.perplexity
    ).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_transformers_is_imported_by_networks_alone_and_not_by_their_package() -> None:
    importing = set()
    for path in LIB.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if any(name.partition(".")[0] == "transformers" for name in names):
                importing.add(path.relative_to(LIB).as_posix())
    assert "models/ecg_fm.py" in importing
    assert {Path(name).parts[0] for name in importing} == {"models"}
    told = "import sys, affectbook.models; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0
