from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from affectbook.errors import CheckpointError
from affectbook.files import sha256
from affectbook.models import checkpoint
from affectbook.models.hcmnet import HCMNet
from affectbook.models.small_cnn import SmallCNN


class Tied(nn.Module):
    """Two names of one weight, a transposed one, a counter, a flag and an empty one."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.two.weight = self.one.weight
        self.turned = nn.Parameter(torch.randn(2, 4).T)
        self.register_buffer("seen", torch.tensor(7))
        self.register_buffer("short", torch.randn(3).to(torch.bfloat16))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("none", torch.zeros(0, 4))
        self.register_buffer("passing", torch.ones(1), persistent=False)


def bits(module: nn.Module) -> dict[str, bytes]:
    return {
        name: value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, value in module.state_dict().items()
    }


@pytest.mark.parametrize(
    "make", [Tied, lambda: SmallCNN(2, 64, 3), lambda: HCMNet(1, 640, 3, pool_strides=(8, 8, 2))]
)
def test_what_was_kept_comes_back_to_the_bit(make, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, other = make(), make()
    assert bits(module) != bits(other)
    path = checkpoint.save(module, tmp_path / "weights.safetensors", {"seed": 3})
    card = checkpoint.load(other, path)
    assert bits(other) == bits(module)
    assert card["made_by"] == {"seed": 3}
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "weights.json", "weights.safetensors",
    ]  # fmt: skip


def test_the_card_says_what_these_weights_are(tmp_path: Path) -> None:
    path = checkpoint.save(
        SmallCNN(2, 64, 3),
        tmp_path / "fold-0.safetensors",
        {"run_key": "abc", "fold": 0, "folder": Path("a/b"), "text": "é\n\x00'\"{$x$}"},
        constructor={"n_chans": 2, "n_times": 64, "n_outputs": 3},
    )
    card = json.loads(checkpoint.card_of(path).read_text(encoding="utf-8"))
    assert card["network"] == "affectbook.models.small_cnn.SmallCNN"
    assert card["constructor"] == {"n_chans": 2, "n_times": 64, "n_outputs": 3}
    assert card["made_by"]["folder"] == "a/b"
    assert card["made_by"]["text"] == "é\n\x00'\"{$x$}"
    assert card["tensors"]["cnn.conv1.weight"] == {"shape": [32, 2, 3], "dtype": "float32"}
    assert card["weights_sha256"] == sha256(path)
    assert set(card["tensors"]) == set(load_file(path))
    assert checkpoint.load(SmallCNN(2, 64, 3), path) == card


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    module = SmallCNN(1, 64, 2)
    first, second = (
        checkpoint.save(module, tmp_path / name / "w.safetensors", {"seed": 0}) for name in "ab"
    )
    assert first.read_bytes() == second.read_bytes()
    assert checkpoint.card_of(first).read_bytes() == checkpoint.card_of(second).read_bytes()


facts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(made_by=st.dictionaries(st.text() | st.integers(0, 3), facts, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_card_with_any_facts_can_be_read(made_by, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("card") / "w.safetensors"
    module = nn.Linear(1, 1)
    checkpoint.save(module, path, made_by)
    read = checkpoint.load(module, path)["made_by"]
    assert repr(read) == repr(json.loads(json.dumps(made_by)))


def test_weights_of_another_class_are_refused_with_both_names(tmp_path: Path) -> None:
    path = checkpoint.save(SmallCNN(1, 64, 2), tmp_path / "w.safetensors", {})
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(HCMNet(1, 640, 2, pool_strides=(8, 8, 2)), path)
    assert str(path) in str(error.value)
    assert "models.small_cnn.SmallCNN" in str(error.value)
    assert "models.hcmnet.HCMNet" in str(error.value)


def test_all_that_does_not_fit_is_in_one_message() -> None:
    module = SmallCNN(1, 64, 2)
    before = bits(module)
    state = dict(module.state_dict())
    state["head.more.weight"] = state.pop("head.hidden.weight")
    state["head.logits.bias"] = torch.zeros(3)
    state["cnn.conv1.bias"] = state["cnn.conv1.bias"].double()
    with pytest.raises(CheckpointError) as error:
        checkpoint.check_fit(module, state, Path("a.safetensors"))
    assert str(error.value) == (
        "a.safetensors: not the weights of this affectbook.models.small_cnn.SmallCNN; "
        "1 missing: head.hidden.weight; 1 unexpected: head.more.weight; "
        "1 of another shape: head.logits.bias (3,) instead of (2,); "
        "1 of another dtype: cnn.conv1.bias float64 instead of float32"
    )
    assert bits(module) == before


def test_long_lists_are_cut_and_counted(tmp_path: Path) -> None:
    path = checkpoint.save(SmallCNN(1, 64, 2), tmp_path / "w.safetensors", {})
    with pytest.raises(CheckpointError) as error:
        checkpoint.check_fit(nn.Linear(2, 2), load_file(path), path)
    count = len(SmallCNN(1, 64, 2).state_dict())
    assert f"; {count} unexpected: cnn.conv1.bias, " in str(error.value)
    assert str(error.value).count("cnn.") == 5
    assert str(error.value).endswith(f", and {count - 5} more")
    odd = {f"a\nb{'x' * 10_000}": torch.zeros(1)}
    with pytest.raises(CheckpointError) as error:
        checkpoint.check_fit(nn.Linear(2, 2), odd, path)
    assert str(error.value).isprintable() and len(str(error.value)) < 500


def test_what_has_no_place_in_the_format_is_not_kept(tmp_path: Path) -> None:
    class Odd(nn.Linear):
        def get_extra_state(self) -> dict:
            return {"code": print}

    with pytest.raises(CheckpointError, match="cannot be kept: dict is no dense tensor"):
        checkpoint.save(Odd(1, 1), tmp_path / "w.safetensors", {})
    with pytest.raises(CheckpointError, match="names end in .safetensors"):
        checkpoint.save(nn.Linear(1, 1), tmp_path / "w.pt", {})
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="could not be written"):
        checkpoint.save(nn.Linear(1, 1), tmp_path / "file" / "w.safetensors", {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_half_replaced_is_refused(tmp_path: Path) -> None:
    path = checkpoint.save(nn.Linear(2, 2), tmp_path / "w.safetensors", {})
    card = checkpoint.card_of(path).read_bytes()
    module = nn.Linear(2, 2)
    checkpoint.save(module, path, {})
    checkpoint.card_of(path).write_bytes(card)
    before = bits(module)
    with pytest.raises(CheckpointError, match="cut, damaged or replaced: its SHA-256 is"):
        checkpoint.load(module, path)
    assert bits(module) == before


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("suffix", checkpoint.PICKLED)
def test_published_pickles_of_torch_are_read(legacy, suffix, tmp_path: Path) -> None:
    state = Tied().state_dict()
    path = tmp_path / f"published{suffix}"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    found = checkpoint.load_state(path, sha256=sha256(path).upper())
    assert list(found) == list(state)
    assert all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_weights_one_level_down_are_found(key, tmp_path: Path) -> None:
    state = nn.Linear(2, 2).state_dict()
    torch.save({"epoch": 3, "lr": 0.1, key: state}, tmp_path / "w.pt")
    assert set(checkpoint.load_state(tmp_path / "w.pt")) == {"weight", "bias"}


def test_safetensors_without_a_card_are_published_weights(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3)}, tmp_path / "w.safetensors")
    found = checkpoint.load_state(tmp_path / "w.safetensors")
    assert torch.equal(found["a"], torch.arange(3))
    with pytest.raises(CheckpointError, match="card of the weights expected here"):
        checkpoint.load(nn.Linear(1, 1), tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"args": 3, "lr": 0.1}, {}, torch.zeros(2)])
def test_a_file_without_weights_says_what_is_in_it(content, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="holds no dictionary of weights; found"):
        checkpoint.load_state(tmp_path / "w.pt")


def test_a_published_sum_is_checked_before_anything_is_parsed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was parsed"))
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(b"anything")
        with pytest.raises(CheckpointError, match="its SHA-256 is .*; published was 00"):
            checkpoint.load_state(tmp_path / name, sha256="00")


@pytest.mark.parametrize("name", ["w.bin", "w.pkl", "w"])
def test_other_names_are_refused(name, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match="expected one of .safetensors, .pt, .pth, .ckpt"):
        checkpoint.load_state(tmp_path / name)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_missing_file_and_a_folder_are_named(name, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{name}: weights expected here"):
        checkpoint.load_state(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match=f"{name}: weights expected here"):
        checkpoint.load_state(tmp_path / name)
