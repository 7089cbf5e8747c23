"""Pretraining of ECG-FM: its parts in NumPy and in transformers, and what each switch changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from torch import Tensor, nn
from transformers import Wav2Vec2ForPreTraining
from transformers.models.wav2vec2.modeling_wav2vec2 import _sample_negative_indices

from affectbook import pretrain
from affectbook.errors import ParameterError
from affectbook.models import masked_ecg
from affectbook.models.ecg_fm import ECGFM, Masked
from affectbook.models.masked_ecg import (
    MaskedECG,
    MaskedNetwork,
    adjacent,
    halves,
    info_nce,
    others,
    spans,
)

TINY = {"hidden": 32, "n_layers": 2, "n_heads": 2, "ffn": 32, "conv": 16}
FEW = {"codes": 8, "n_negatives": 6, "mask_length": 2}
N_TIMES = 512  # two segments of 16 tokens
TERMS = {"contrast", "diversity", "penalty", "cmsc"}


def windows(n: int = 4, n_times: int = N_TIMES, seed: int = 0) -> Tensor:
    """Return waves of twelve leads, of another rate in each window."""
    rng = np.random.default_rng(seed)
    rate, size = rng.uniform(0.04, 0.1, (n, 1, 1)), rng.uniform(0.5, 1.5, (n, 12, 1))
    waves = size * np.sin(rate * np.arange(n_times)) + rng.normal(0, 0.1, (n, 12, n_times))
    return torch.as_tensor(waves, dtype=torch.float32)


def drawn(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(objective: MaskedECG, dropout: float = 0.0) -> MaskedNetwork:
    torch.manual_seed(0)
    return objective.network(dropout=dropout, **TINY)


def terms(objective: MaskedECG, network: nn.Module, x: Tensor, seed: int = 7) -> dict[str, float]:
    return {name: one.item() for name, one in objective.terms(network, x, drawn(seed)).items()}


class Spied(nn.Module):
    """Remembers what it is shown, and answers what it was given."""

    n_codes = 16

    def __init__(self, answer: Callable[[Tensor, Tensor], Masked]) -> None:
        super().__init__()
        self.answer, self.kept = answer, nn.Parameter(torch.zeros(1))
        self.eval()

    def forward(self, x: Tensor, mask: Tensor) -> Masked:
        self.x, self.mask = x, mask
        return self.answer(x, mask)


def nothing(x: Tensor, mask: Tensor) -> Masked:
    return Masked(*[torch.zeros(1)] * 5)


# What is masked, and what it is compared with.


def test_published_numbers_mask_half_of_the_tokens_and_not_two_thirds():
    share = np.mean([spans(64, 156, 0.65, 10, seed=seed).mean() for seed in range(20)])
    # Ten spans begin in 147 places: an inner token stays with (1 - 10/147)^10.14.
    assert share == pytest.approx(1 - (137 / 147) ** 10.14, abs=0.02)
    assert share == pytest.approx(0.49, abs=0.02)


@given(
    n_tokens=st.integers(4, 80), length=st.integers(1, 12), prob=st.floats(0.05, 0.95),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_spans_are_whole_and_two_are_masked_at_least(n_tokens, length, prob, seed):
    if length >= n_tokens:
        with pytest.raises(ParameterError, match="cannot be masked"):
            spans(3, n_tokens, prob, length, seed=seed)
        return
    mask = spans(3, n_tokens, prob, length, seed=seed)
    assert mask.shape == (3, n_tokens) and mask.sum(1).min() >= max(length, 1)
    for row in mask:
        edges = np.flatnonzero(np.diff(np.r_[0, row, 0]))
        assert (edges[1::2] - edges[::2]).min() >= length
    np.testing.assert_array_equal(mask, spans(3, n_tokens, prob, length, seed=seed))


@given(seed=st.integers(0, 999), n_negatives=st.integers(1, 30))
def test_negatives_are_other_masked_tokens_of_the_same_segment(seed, n_negatives):
    mask = spans(3, 20, 0.5, 3, seed=seed)
    found = others(mask, n_negatives, seed=seed)
    segment = np.nonzero(mask)[0]
    assert found.shape == (mask.sum(), n_negatives)
    assert (segment[found] == segment[:, None]).all()
    assert (found != np.arange(len(found))[:, None]).all()


def test_every_other_masked_token_is_drawn_alike():
    mask = spans(1, 20, 0.5, 5, seed=1)
    found, n_masked = others(mask, 50_000, seed=0), int(mask.sum())
    counts = np.bincount(found[0], minlength=n_masked) / found.shape[1]
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:], 1 / (n_masked - 1), atol=0.01)


# The losses.


def test_the_contrast_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    context, targets = rng.normal(size=(2, 9, 5))
    targets[3] = targets[4]
    negatives = np.array([[(own + step) % 9 for step in (1, 2, 5)] for own in range(9)])
    losses = []
    for own in range(9):
        rows = [own, *[one for one in negatives[own] if {own, one} != {3, 4}]]
        unit = targets[rows] / np.linalg.norm(targets[rows], axis=1, keepdims=True)
        logits = unit @ context[own] / np.linalg.norm(context[own]) / 0.3
        losses.append(np.log(np.exp(logits).sum()) - logits[0])
    found = info_nce(*map(torch.as_tensor, (context, targets, negatives)), 0.3)
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_other_segment_is_found_both_ways():
    one, two = np.random.default_rng(0).normal(size=(2, 4, 6))
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (one, two)]
    logits = unit[0] @ unit[1].T / 0.1
    expected = [np.mean(np.log(np.exp(part).sum(1)) - np.diag(part)) for part in (logits, logits.T)]
    found = adjacent(torch.as_tensor(np.concatenate([one, two])), 0.1)
    assert found.item() == pytest.approx(np.mean(expected))


def test_lengths_change_no_loss_and_carry_no_gradient():
    pooled = torch.randn(6, 5, generator=drawn(), dtype=torch.float64)
    longer = (pooled * torch.arange(1, 7)[:, None]).requires_grad_()
    assert adjacent(longer, 0.1).item() == pytest.approx(adjacent(pooled, 0.1).item())
    adjacent(longer, 0.1).backward()
    lengths = longer.detach().norm(dim=1, keepdim=True)
    again = longer.detach().clone().requires_grad_()
    one, two = (again / lengths).chunk(2)
    logits = one @ two.T / 0.1
    ((logits.logsumexp(0) + logits.logsumexp(1)) / 2 - logits.diag()).mean().backward()
    assert torch.allclose(longer.grad, again.grad)


@torch.no_grad()
def test_terms_are_those_of_transformers(monkeypatch):
    """Wav2Vec2ForPreTraining, which sums over masked tokens, has contrast and diversity."""
    objective = MaskedECG(**FEW, cmsc=False, rlm=False)
    network = built(objective).eval()
    x = windows()
    mask = spans(8, 16, 0.65, 2, seed=1)
    with masked_ecg._numpy_from(1):
        negatives = _sample_negative_indices(mask.shape, 6, mask)
    monkeypatch.setattr(masked_ecg, "spans", lambda *_, seed: mask)
    monkeypatch.setattr(masked_ecg, "others", lambda mask, n, seed: others(mask, n, seed=1))
    found = terms(objective, network, x)
    whole = Wav2Vec2ForPreTraining(network.encoder.network.config).eval()
    whole.wav2vec2, whole.quantizer = network.encoder.network, network.quantizer
    whole.wav2vec2.masked_spec_embed = network.mask_emb
    whole.project_hid, whole.project_q = network.final_proj, network.project_q
    expected = whole(halves(x), mask_time_indices=torch.as_tensor(mask),
                     sampled_negative_indices=torch.as_tensor(negatives))  # fmt: skip
    assert found["contrast"] == pytest.approx((expected.contrastive_loss / mask.sum()).item(), 1e-4)
    assert found["diversity"] == pytest.approx((expected.diversity_loss / mask.sum()).item(), 1e-4)
    convolved = network.encoder.network.feature_extractor(halves(x))
    assert found["penalty"] == pytest.approx(convolved.square().mean().item(), 1e-4)


def test_the_loss_is_the_sum_of_its_terms_by_their_weights():
    objective = MaskedECG(**FEW, diversity=0.3, penalty=7.0)
    network, x = built(objective).eval(), windows()
    found = terms(objective, network, x)
    assert found.keys() == TERMS
    expected = found["contrast"] + found["cmsc"] + 0.3 * found["diversity"] + 7 * found["penalty"]
    assert objective(network, x, drawn()).item() == pytest.approx(expected, rel=1e-5)
    defaults = MaskedECG().get_params()
    assert (defaults["diversity"], defaults["penalty"]) == (0.1, 10.0)


# What each switch changes, and nothing else.


@pytest.mark.parametrize(("off", "left"), [("w2v", {"cmsc"}), ("cmsc", TERMS - {"cmsc"})])
def test_without_a_part_the_other_terms_stay_what_they_are(off, left):
    objective = MaskedECG(**FEW)
    network, x = built(objective, dropout=0.1).train(), windows()
    whole = terms(objective, network, x)
    network.quantizer.temperature = objective.gumbel[0]
    part = terms(clone(objective).set_params(**{off: False}), network, x)
    assert part == {name: whole[name] for name in left}


def test_leads_are_zeroed_only_with_rlm_and_masks_are_the_same():
    with_rlm, without = (Spied(nothing) for _ in range(2))
    x = windows()
    MaskedECG(**FEW)._seen(with_rlm, x, drawn())
    MaskedECG(**FEW, rlm=False)._seen(without, x, drawn())
    assert torch.equal(without.x, halves(x)) and torch.equal(with_rlm.mask, without.mask)
    alive = with_rlm.x.any(-1)
    assert 0 < alive.sum() < alive.numel()
    assert torch.equal(with_rlm.x, without.x * alive[..., None])
    # Two segments of one window do not lose the same leads.
    assert not torch.equal(*alive.chunk(2))


def test_one_lead_survives_twelve_times_in_4096():
    spied = Spied(nothing)
    MaskedECG(mask_length=2)._seen(spied, torch.ones(4_000, 12, 128), drawn())
    survivors = spied.x.any(-1)
    n_segments = len(survivors)
    assert survivors.float().mean(0).tolist() == pytest.approx([0.5] * 12, abs=0.025)
    share = torch.bincount(survivors.sum(1), minlength=13) / n_segments
    for n_alive, combinations in ((0, 1), (1, 12), (6, 924), (11, 12)):
        expected = combinations / 4096
        spread = (expected * (1 - expected) / n_segments) ** 0.5
        assert share[n_alive].item() == pytest.approx(expected, abs=4 * spread)


@pytest.mark.parametrize("cmsc", [True, False])
def test_only_cmsc_knows_which_segments_are_of_one_window(cmsc, monkeypatch):
    objective = MaskedECG(**FEW, cmsc=cmsc, rlm=False)
    network, x = built(objective).eval(), windows()
    one = spans(1, 16, 0.65, 2, seed=3)
    n_masked = int(one.sum())
    every = np.array([[other for other in range(n_masked) if other != own]
                      for own in range(n_masked)])  # fmt: skip
    monkeypatch.setattr(masked_ecg, "spans", lambda n, *_, seed: np.repeat(one, n, axis=0))
    monkeypatch.setattr(
        masked_ecg, "others",
        lambda mask, _, seed: np.concatenate([every + n_masked * row for row in range(len(mask))]),
    )  # fmt: skip
    first, second = x.chunk(2, -1)
    other = torch.cat([first, second.roll(1, 0)], -1)
    found = [objective(network, each, drawn()).item() for each in (x, other)]
    assert (found[0] == pytest.approx(found[1], rel=1e-5)) is not cmsc


# What is drawn, and by whom.


def test_the_generator_decides_and_nobody_elses_state_is_touched():
    objective = MaskedECG(**FEW)
    network, x = built(objective, dropout=0.1).train(), windows()
    found = []
    for seed, others_seed in ((1, 0), (1, 5), (2, 0)):
        torch.manual_seed(others_seed)
        np.random.seed(others_seed)  # noqa: NPY002
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        network.quantizer.temperature = objective.gumbel[0]
        found.append(objective(network, x, drawn(seed)).item())
        assert torch.equal(before[0], torch.get_rng_state())
        np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert found[0] == found[1] != found[2]


def test_gradients_of_the_convolutions_alone_are_made_smaller():
    gradients = []
    for factor in (1.0, 0.1):
        objective = MaskedECG(**FEW, conv_gradient=factor)
        network = built(objective).eval()
        objective(network, windows(), drawn()).backward()
        gradients.append({name: one.grad for name, one in network.named_parameters()})
    whole, part = gradients
    assert any("feature_extractor" in name for name in whole)
    for name, gradient in whole.items():
        if gradient is not None:
            factor = 0.1 if "feature_extractor" in name else 1.0
            torch.testing.assert_close(part[name], factor * gradient)


def test_the_codebook_gets_harder_step_by_step_in_training_alone():
    objective = MaskedECG(**FEW, gumbel=(2.0, 1.5, 0.9))
    network, x = built(objective), windows()
    found = []
    for training in (True, False, True, True, True):
        objective(network.train(training), x, drawn())
        found.append(network.quantizer.temperature)
    assert found == pytest.approx([1.8, 1.8, 1.62, 1.5, 1.5])


# The network.


def test_published_sizes():
    with torch.device("meta"):
        network = MaskedECG().network()
    assert sum(one.numel() for one in network.parameters()) == 90_883_072
    assert network.quantizer.codevectors.shape == (1, 2 * 320, 128) and network.n_codes == 640
    assert network.quantizer.temperature == 2.0 and network.dropout_features.p == 0.1


@pytest.mark.parametrize("codes", [2, 40])
def test_the_codebook_of_a_small_encoder(codes):
    network = built(MaskedECG(codes=codes))
    assert network.quantizer.codevectors.shape == (1, 2 * codes, TINY["conv"] // 2)
    assert isinstance(network.encoder, ECGFM) and network.n_codes == 2 * codes
    mask = torch.as_tensor(spans(8, 16, 0.65, 2, seed=0))
    seen = network(halves(windows()), mask)
    assert seen.context.shape == seen.targets.shape == (int(mask.sum()), TINY["conv"])
    assert seen.tokens.shape == (8, 16, TINY["hidden"]) and seen.features.shape[:2] == (8, 16)
    assert 2 <= seen.perplexity.item() <= 2 * codes


def test_what_is_masked_is_not_seen_and_is_the_target():
    network = built(MaskedECG(**FEW)).eval()
    x = halves(windows())
    mask = torch.zeros(8, 16, dtype=torch.bool)
    mask[:, 5] = True
    # The first convolution is normalised over time: the samples swapped are all behind the mask.
    other = x.clone()
    other[..., 80:96] = x[..., 80:96].flip(-1)
    normed = network.encoder.network.feature_extractor.conv_layers[0]
    normed.layer_norm = nn.Identity()
    one, two = network(x, mask), network(other, mask)
    assert torch.allclose(one.context, two.context, atol=1e-6)
    assert not torch.allclose(one.features[:, 5], two.features[:, 5], atol=1e-3)


def test_the_loss_falls():
    X = windows(16).numpy()
    objective = MaskedECG(**FEW)
    history = pretrain.pretrain(
        built(objective), objective, X, epochs=15, batch_size=8, seed=0, lr=3e-3
    )
    assert history["steps"].iloc[-1] == 30
    assert history["loss"].iloc[-3:].mean() < 0.8 * history["loss"].iloc[0]


@pytest.mark.parametrize("part", ["contrast", "cmsc"])
def test_each_part_learns_a_batch_by_heart(part):
    objective = MaskedECG(**FEW, rlm=False, w2v=part == "contrast", cmsc=part == "cmsc")
    network, x, found = built(objective), windows(), []
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    network.eval()  # one codebook entry for each feature: no noise
    for _ in range(30):
        optimizer.zero_grad()
        found.append(terms(objective, network, x)[part])
        objective(network, x, drawn()).backward()
        optimizer.step()
    assert found[-1] < 0.7 * found[0]


def test_bfloat16_is_a_choice(tmp_path):
    objective = MaskedECG(**FEW)
    found = [
        pretrain.pretrain(built(objective), objective, windows(4).numpy(), epochs=1, batch_size=4,
                          seed=0, lr=1e-4, precision=precision)["loss"].item()
        for precision in pretrain.PRECISIONS
    ]  # fmt: skip
    assert found[0] == pytest.approx(found[1], rel=0.05) and found[0] != found[1]


def test_what_is_kept_is_an_encoder(tmp_path):
    objective, x = MaskedECG(**FEW), windows()
    network = built(objective)
    history = pretrain.pretrain(network, objective, x.numpy(), epochs=1, batch_size=4, seed=0)
    path = pretrain.keep(
        network.encoder, tmp_path / "mini.safetensors", constructor=network.encoder.sizes,
        subjects=["a/b/c"], history=history, made_by={"pretext": objective.get_params()},
    )  # fmt: skip
    with torch.no_grad():
        assert torch.equal(ECGFM.from_checkpoint(path)(x), network.encoder.eval()(x))


# Scores.


def knows(x: Tensor, mask: Tensor) -> Masked:
    """Know every target, and the window by what its first lead shows."""
    n_masked = int(mask.sum())
    targets = torch.eye(n_masked)
    return Masked(targets, targets, x.mean(-1, keepdim=True).mT, x, torch.tensor(4.0))


def test_scores_of_who_knows_and_of_who_cannot_tell():
    x = torch.eye(12)[:, :, None].expand(12, 12, 64).repeat(1, 1, 2).numpy()
    objective = MaskedECG(mask_length=2, n_negatives=5, rlm=False)
    found = objective.scores(Spied(knows), x).set_index("head")
    assert found["accuracy"].to_dict() == {"masked": 1, "other_segment": 1, "codes": 4 / 16}
    assert found["chance"][:2].tolist() == pytest.approx([1 / 6, 1 / 12])

    def same(x: Tensor, mask: Tensor) -> Masked:
        seen = knows(x, mask)
        return seen._replace(targets=torch.ones_like(seen.targets), context=seen.targets + 1)

    found = objective.scores(Spied(same), x).set_index("head")
    assert found["accuracy"]["masked"] == 0, "what is alike cannot be told apart"


def test_scores_are_those_of_a_seed():
    objective = MaskedECG(**FEW)
    network = built(objective, dropout=0.1)
    first, again = (objective.scores(network, windows(6).numpy(), seed=3) for _ in range(2))
    assert first.equals(again) and not network.training


# What is refused.


@pytest.mark.parametrize(
    ("options", "shape", "word"),
    [
        ({}, (4, 12, 513), "t even"),
        ({}, (4, 512), "t even"),
        ({}, (4, 11, 512), "12"),
        ({"mask_length": 16}, (4, 12, 512), "cannot be masked"),
        ({"mask_prob": 1.5}, (4, 12, 512), "cannot be masked"),
        ({"cmsc_temperature": 0.0}, (4, 12, 512), "CMSC"),
        ({}, (1, 12, 512), "CMSC of 2 segments"),
    ],
)
def test_windows_that_cannot_be_learnt_from_are_refused(options, shape, word):
    objective = MaskedECG(**FEW | options)
    with pytest.raises(ParameterError, match=word):
        objective(built(objective), torch.zeros(shape), drawn())


def test_networks_that_cannot_learn_are_refused():
    with pytest.raises(ParameterError, match="nothing to be learnt"):
        MaskedECG(w2v=False, cmsc=False).network(**TINY)
    with pytest.raises(ParameterError, match="codebook of 1"):
        MaskedECG(codes=1).network(**TINY)
    with pytest.raises(ParameterError, match="hidden"):
        MaskedECG().network(hidden=30)


@settings(max_examples=20)
@given(n=st.integers(1, 4), half=st.integers(1, 40))
def test_halves_are_the_two_segments_of_each_window(n, half):
    x = torch.arange(n * 3 * 2 * half).view(n, 3, 2 * half)
    found = halves(x)
    assert torch.equal(torch.cat(found.chunk(2), -1), x) and found.shape == (2 * n, 3, half)
