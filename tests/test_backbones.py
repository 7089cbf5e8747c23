"""Backbones by name: read or made when needed, shared by copies, refused where they cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone

from affectbook import backbones, files, pretrain
from affectbook.errors import CheckpointError, DataNotFoundError, ParameterError
from affectbook.layer_embeddings import LayerEmbeddings
from affectbook.models import checkpoint
from affectbook.models.ecg_fm import ECGFM

TINY = {"hidden": 32, "n_layers": 2, "n_heads": 2, "ffn": 32, "conv": 8}


@pytest.fixture(autouse=True)
def empty() -> None:
    backbones.get.cache_clear()


def random(seed: int = 0) -> backbones.Lazy:
    return backbones.get("random_mini", tuple(TINY.items()), seed=seed)


def test_nothing_is_made_before_it_is_needed(monkeypatch) -> None:
    made = []
    monkeypatch.setattr(backbones, "ECGFM", lambda **sizes: made.append(sizes) or ECGFM(**sizes))
    found = random()
    clone(LayerEmbeddings(found)).fit()
    assert not made and "random_mini" in repr(found)
    assert found.module is found.module and made == [TINY]
    assert not found.module.training
    assert not any(one.requires_grad for one in found.module.parameters())


def test_a_seed_makes_random_weights_and_leaves_the_callers_alone() -> None:
    before = torch.get_rng_state()
    one, other = random().identity(), random(1).identity()
    assert torch.equal(torch.get_rng_state(), before) and one != other
    backbones.get.cache_clear()
    assert random().identity() == one and "seed 1" in repr(random(1))


def test_copies_share_a_backbone_and_few_are_kept() -> None:
    assert random() is random()
    copied = clone(LayerEmbeddings(random()))
    assert copied.backbone is random()
    first = random()
    random(1), random(2)
    assert random() is not first


def test_released_weights_are_those_of_the_sum(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pretrain, "folder", lambda: tmp_path)
    torch.manual_seed(3)
    kept = ECGFM(**TINY)
    path = checkpoint.save(kept.half(), pretrain.path_of("small"), {}, constructor=kept.sizes)
    sha256 = files.sha256(path)
    found = backbones.get("small", sha256=sha256).module
    for one, other in zip(found.parameters(), kept.parameters(), strict=True):
        assert one.dtype == torch.float32 and torch.equal(one, other.float())
    with pytest.raises(CheckpointError, match="SHA-256"):
        _ = backbones.get("small", sha256="0" * 64).module
    with pytest.raises(ParameterError, match="with their SHA-256"):
        backbones.get("small")


def test_published_weights_that_are_not_here_say_how_to_get_them(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    found = backbones.get(backbones.PUBLISHED)
    X = np.zeros((1, 1, 320), np.float32)
    with pytest.raises(DataNotFoundError, match="make data DATASET=ecg_fm"):
        LayerEmbeddings(found).fit().transform(X)
