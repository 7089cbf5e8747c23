from __future__ import annotations

import argparse
import json
import os
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from affectbook.errors import CheckpointError
from affectbook.files import sha256
from affectbook.models import _ecg_fm_checkpoint, checkpoint
from affectbook.models.ecg_fm import ECGFM, ECGFMPretraining

REFERENCE = Path(__file__).parents[1] / "reference"
SIZES = {"hidden": 32, "n_layers": 2, "n_heads": 2, "ffn": 48, "conv": 8, "n_chans": 12}
LARGE = {"hidden": 1024, "n_layers": 24, "n_heads": 16, "ffn": 4096}
FIELDS = {"hidden": "encoder_embed_dim", "n_layers": "encoder_layers",
          "n_heads": "encoder_attention_heads", "ffn": "encoder_ffn_embed_dim"}  # fmt: skip
OLD = {"parametrizations.weight.original0": "weight_g",
       "parametrizations.weight.original1": "weight_v"}  # fmt: skip
X = torch.linspace(-2, 3, 2 * 12 * 320).sin().reshape(2, 12, 320)


def encoder() -> ECGFM:
    torch.manual_seed(1)
    return ECGFM(**SIZES)


def cfg_of(sizes: dict[str, int], **also: object) -> dict[str, object]:
    """Return a cfg as fairseq-signals keeps it."""
    model = {"_name": "wav2vec2_cmsc", "layer_norm_first": False, "activation_fn": "gelu",
             "extractor_mode": "default", "in_d": 12, "conv_bias": False,
             "conv_feature_layers": f"[({SIZES['conv']}, 2, 2)] * 4"}  # fmt: skip
    model |= {field: sizes[size] for size, field in FIELDS.items()}
    return {"common": {"seed": 1}, "model": model | also, "optimizer": {"lr": [5e-5]}}


def state_of(model: ECGFM, *, old: bool = True, finetuned: bool = False) -> dict[str, Tensor]:
    """Return tensors under the names of a published file, extras among them."""
    state = {_ecg_fm_checkpoint.published_name(name): value
             for name, value in model.network.state_dict().items()}  # fmt: skip
    hidden, conv = SIZES["hidden"], SIZES["conv"]
    state |= {"mask_emb": torch.rand(hidden)}
    if finetuned:
        state = {f"encoder.{name}": value for name, value in state.items()}
        state |= {"proj.weight": torch.rand(5, hidden), "proj.bias": torch.rand(5)}
    else:
        state |= {
            "quantizer.vars": torch.rand(1, 640, conv // 2),
            "quantizer.weight_proj.weight": torch.rand(640, conv),
            "quantizer.weight_proj.bias": torch.rand(640),
            "project_q.weight": torch.rand(conv, conv), "project_q.bias": torch.rand(conv),
            "final_proj.weight": torch.rand(conv, hidden), "final_proj.bias": torch.rand(conv),
        }  # fmt: skip
    for new, name in OLD.items() if old else ():
        state = {key.replace(new, name): value for key, value in state.items()}
    return state


def write(path: Path, state: dict[str, Tensor], cfg: object, *, legacy: bool = False,
          **also: object) -> Path:  # fmt: skip
    """Write a file as fairseq-signals does, the state of its optimizer with it."""
    moments = {at: {"step": 7, "exp_avg": torch.rand_like(value, dtype=torch.float32),
                    "exp_avg_sq": torch.rand_like(value, dtype=torch.float32)}
               for at, value in enumerate(state.values())}  # fmt: skip
    content = {
        "args": None, "cfg": cfg, "model": OrderedDict(state),
        "criterion": OrderedDict(),
        "optimizer_history": [{"criterion_name": "Wav2Vec2WithCMSCCriterion",
                               "optimizer_name": "Adam", "lr_scheduler_state": {"best": 1.5},
                               "num_updates": 7}],
        "task_state": {},
        "extra_state": {"train_iterator": {"epoch": 3, "shuffle": True}, "val_loss": 1.5},
        "last_optimizer_state": {"state": moments, "param_groups": [{"lr": 5e-5, "params": [0]}]},
    } | also  # fmt: skip
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return write(tmp_path / "published.pt", state_of(encoder()), cfg_of(SIZES))


def refusal(path: Path, sum_: str | None = None) -> str:
    """Return the one line with which a file is refused."""
    with pytest.raises(CheckpointError) as error:
        ECGFM.from_checkpoint(path, sum_)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and message.isprintable()
    return message.removeprefix(f"{path}: ")


@given(
    old=st.booleans(), finetuned=st.booleans(), legacy=st.booleans(), double=st.booleans(),
    order=st.randoms(use_true_random=False),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_all_ways_to_write_them_are_the_same_weights(
    old, finetuned, legacy, double, order, tmp_path_factory
) -> None:
    model = encoder()
    state = list(state_of(model, old=old, finetuned=finetuned).items())
    order.shuffle(state)
    state = {name: value.double() if double else value for name, value in state}
    path = tmp_path_factory.mktemp("weights") / "published.pt"
    write(path, state, cfg_of(SIZES), legacy=legacy)
    found = ECGFM.from_checkpoint(path)
    assert found.sizes == SIZES and not found.training
    assert found.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(found.state_dict()[k], v) for k, v in model.state_dict().items())
    assert torch.equal(found.pooled(X), model.pooled(X))


def test_every_tensor_of_the_encoder_is_used(published) -> None:
    known = state_of(encoder())
    used = _ecg_fm_checkpoint.read(published).tensors
    assert len(known) - len(used) == len(_ecg_fm_checkpoint.EXTRAS) == 8
    extra = {_ecg_fm_checkpoint._SPELLINGS.get(name, name) for name in known} - set(used)
    assert extra == set(_ecg_fm_checkpoint.EXTRAS)


def test_published_names_are_those_of_the_published_code() -> None:
    theirs = json.loads((REFERENCE / "shapes.json").read_text())["ecgfm"]
    found = {name: list(value.shape) for name, value in shapes_of(_ecg_fm_checkpoint.BASE).items()}
    extras = {name: theirs.pop(name) for name in _ecg_fm_checkpoint.EXTRAS}
    assert found == theirs and len(found) + len(extras) == 215


def test_the_right_sum_is_accepted_and_the_file_is_let_go(published) -> None:
    expected = encoder().pooled(X)
    found = ECGFM.from_checkpoint(str(published), sha256(published).upper())
    published.write_bytes(b"")
    assert torch.equal(found.pooled(X), expected)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in found.parameters())


def test_another_sum_is_refused_before_anything_is_parsed(published, monkeypatch) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was parsed"))
    assert refusal(published, "00") == f"its SHA-256 is {sha256(published)}; published was 00"


@pytest.mark.parametrize("name", ["not.pt", "folder.pt"])
def test_what_is_no_file_is_named(name, tmp_path: Path) -> None:
    (tmp_path / "folder.pt").mkdir()
    assert refusal(tmp_path / name) == "weights expected here: there is no such file"


def test_another_name_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path / "mimic_iv_ecg_physionet_pretrained.yaml")
    assert (
        message == "no file of weights by its name; expected one of .pt, .pth, .ckpt, .safetensors"
    )


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_was_cut_is_refused(share, legacy, tmp_path: Path) -> None:
    path = write(tmp_path / "cut.pt", state_of(encoder()), cfg_of(SIZES), legacy=legacy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    message = refusal(path)
    assert "cut or damaged" in message or "damaged" in message
    assert len(message) < 300


class Attack:
    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("where", ["cfg", "extra_state", "model"])
def test_code_in_a_file_never_runs(where, summed, legacy, tmp_path: Path) -> None:
    made = tmp_path / "made"
    state = state_of(encoder())
    attack = Attack(made)
    given_ = {"model": {**state, "mask_emb": attack}} if where == "model" else {where: attack}
    path = write(
        tmp_path / "w.pt", state, given_.pop("cfg", cfg_of(SIZES)), legacy=legacy, **given_
    )
    message = refusal(path, sha256(path) if summed else None)
    assert not made.exists()
    assert "carries more than weights: posix.mkdir; code in a file is never run" in message
    assert "get it again from its publisher" in message and "torch.save" not in message


def test_configuration_objects_are_refused_with_a_way_out(tmp_path: Path) -> None:
    state = state_of(encoder())
    namespace = argparse.Namespace(encoder_layers=2)
    path = write(tmp_path / "w.pt", state, None, args=namespace)
    for known in (None, sha256(path)):
        message = refusal(path, known)
        assert "carries more than weights: argparse.Namespace; code in a file is never" in message
        assert "torch.save({'model': loaded['model']}, 'weights.pt')" in message
    torch.save({"model": state, "cfg": cfg_of(SIZES)}, tmp_path / "weights.pt")
    found = ECGFM.from_checkpoint(tmp_path / "weights.pt")
    assert torch.equal(found.pooled(X), encoder().pooled(X))


@pytest.mark.parametrize("number", [np.float64(0.9), np.float32(1), np.int64(3), np.bool_(True)])
def test_numbers_of_numpy_take_a_known_sum(number, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    write(path, state_of(encoder()), cfg_of(SIZES), extra_state={"best": number})
    message = refusal(path)
    assert "carries more than weights: numpy" in message
    assert "Numbers of NumPy are let through where sha256 is given" in message
    found = ECGFM.from_checkpoint(path, sha256(path))
    assert torch.equal(found.pooled(X), encoder().pooled(X))


def test_arrays_of_numpy_are_not_numbers(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    write(path, state_of(encoder()), cfg_of(SIZES), extra_state={"best": np.zeros(3)})
    before = torch.serialization.get_safe_globals()
    assert "carries more than weights: numpy" in refusal(path, sha256(path))
    assert torch.serialization.get_safe_globals() == before


def test_what_is_missing_unexpected_or_misshapen_is_in_one_message(tmp_path: Path) -> None:
    state = state_of(encoder())
    state["encoder.layers.1.fc3.weight"] = state.pop("encoder.layers.1.fc2.weight")
    state["encoder.layers.9x.fc1.bias"] = torch.zeros(1)
    state["conv_pos.pos_conv.0.weight_g"] = torch.zeros(128, 1, 1)
    state["layer_norm.bias"] = torch.zeros(8, dtype=torch.int64)
    state["encoder.layers.0.fc2.bias"] = torch.full((32,), torch.nan)
    assert refusal(write(tmp_path / "w.pt", state, cfg_of(SIZES))) == (
        "not the tensors of ECG-FM's encoder; 1 missing: encoder.layers.1.fc2.weight; "
        "2 unexpected: encoder.layers.1.fc3.weight, encoder.layers.9x.fc1.bias; "
        "1 of another shape: conv_pos.pos_conv.0.parametrizations.weight.original0 (128, 1, 1) "
        "instead of (1, 1, 128); 2 without numbers: layer_norm.bias of int64, "
        "encoder.layers.0.fc2.bias is not finite"
    )


@settings(max_examples=20, deadline=None)
@given(data=st.data(), finetuned=st.booleans())
def test_one_tensor_less_or_more_is_refused(data, finetuned, tmp_path_factory) -> None:
    state = state_of(encoder(), finetuned=finetuned)
    own = [name for name in state if name.removeprefix("encoder.") not in (
        *_ecg_fm_checkpoint.EXTRAS, *_ecg_fm_checkpoint.CLASSIFIER)]  # fmt: skip
    name = data.draw(st.sampled_from(own))
    value = state.pop(name)
    path = tmp_path_factory.mktemp("weights") / "w.pt"
    if data.draw(st.booleans()):
        state |= {name: value, f"{name}2": value}
        assert " unexpected: " in refusal(write(path, state, cfg_of(SIZES)))
    else:
        assert "1 missing: " in refusal(write(path, state, cfg_of(SIZES)))


def test_the_same_weight_in_both_spellings_is_refused(tmp_path: Path) -> None:
    state = state_of(encoder(), old=True) | state_of(encoder(), old=False)
    message = refusal(write(tmp_path / "w.pt", state, cfg_of(SIZES)))
    assert "is there in both spellings of the weight norm" in message


@pytest.mark.parametrize("name", ["mask_emb", "layer_norm.weight", "head.weight"])
def test_a_fine_tuned_file_has_nothing_else_beside_its_encoder(name, tmp_path: Path) -> None:
    state = state_of(encoder(), finetuned=True) | {name: torch.zeros(8)}
    message = refusal(write(tmp_path / "w.pt", state, cfg_of(SIZES)))
    assert message == f"a fine-tuned file with 1 unexpected: {name}"


def test_a_classifier_in_a_pretrained_file_is_unexpected(tmp_path: Path) -> None:
    state = state_of(encoder()) | {"proj.weight": torch.zeros(5, 32)}
    message = refusal(write(tmp_path / "w.pt", state, cfg_of(SIZES)))
    assert message.endswith("; 1 unexpected: proj.weight")


@pytest.mark.parametrize("content", [{"model": {}}, {"cfg": None}, [torch.zeros(1)]])
def test_a_file_without_weights_says_so(content, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert refusal(tmp_path / "w.pt").startswith("holds no dictionary of weights; found ")


def test_a_zip_that_unpacks_to_more_is_refused(published, tmp_path: Path) -> None:
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(published) as old, zipfile.ZipFile(packed, "w", 8) as new:
        for one in old.namelist():
            new.writestr(one, old.read(one))
    assert "unpack to more than the file" in refusal(packed)


@pytest.mark.parametrize(
    ("field", "value"),
    [("layer_norm_first", True), ("activation_fn", "relu"), ("extractor_mode", "layer_norm"),
     ("conv_feature_layers", "[(8, 2, 1)] * 4"), ("conv_feature_layers", "[(8, 2, 2)] * 5")],
)  # fmt: skip
def test_another_architecture_is_refused(field, value, tmp_path: Path) -> None:
    path = write(tmp_path / "w.pt", state_of(encoder()), cfg_of(SIZES, **{field: value}))
    assert refusal(path).startswith(f"its cfg says {field} ")


@pytest.mark.parametrize("layers", ["[(8,2,2)]*4", "[(8, 2, 2), (8, 2, 2), (8, 2, 2), (8, 2, 2)]"])
def test_convolutions_may_be_written_out(layers, tmp_path: Path) -> None:
    cfg = cfg_of(SIZES, conv_feature_layers=layers)
    path = write(tmp_path / "w.pt", state_of(encoder()), cfg)
    assert ECGFM.from_checkpoint(path).sizes == SIZES


@pytest.mark.parametrize("cfg", [None, {}, {"model": None}, [1], cfg_of(LARGE | {"n_layers": "2"})])
def test_small_weights_need_a_cfg(cfg, tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "w.pt", state_of(encoder()), cfg))
    assert "its tensors have hidden 32, n_layers 2, ffn 48, conv 8, n_chans 12; its cfg" in message


def shapes_of(sizes: dict[str, int]) -> dict[str, Tensor]:
    """Return the tensors of an encoder, without memory."""
    with torch.device("meta"):
        state = ECGFM(**sizes).network.state_dict()
    return {_ecg_fm_checkpoint.published_name(name): value for name, value in state.items()}


def test_sizes_are_those_that_cfg_and_tensors_agree_on_else_those_of_the_public_model() -> None:
    base, path = _ecg_fm_checkpoint.BASE, Path("w.pt")
    large, small = shapes_of(LARGE), shapes_of(base)
    plain = {"conv_feature_layers": "[(256, 2, 2)] * 4"}
    assert _ecg_fm_checkpoint.sizes(path, small, None) == base
    assert _ecg_fm_checkpoint.sizes(path, small, cfg_of(base, **plain)) == base
    assert _ecg_fm_checkpoint.sizes(path, small, cfg_of(LARGE, **plain)) == base
    agreed = _ecg_fm_checkpoint.sizes(path, large, cfg_of(LARGE, **plain))
    assert agreed == base | LARGE
    for cfg in (None, cfg_of(base)):
        with pytest.raises(CheckpointError) as error:
            _ecg_fm_checkpoint.sizes(path, large, cfg)
        message = str(error.value)
        assert "its tensors have hidden 1024, n_layers 24, ffn 4096" in message
        assert "The .yaml beside the public file carries the sizes of the Large model" in message
        assert "this reader takes Base (hidden 768, n_layers 12, n_heads 12, ffn 3072" in message


def test_our_own_weights_come_back_with_their_sizes(tmp_path: Path) -> None:
    model = encoder()
    path = tmp_path / "mini.safetensors"
    checkpoint.save(model, path, {"seed": 3}, constructor=model.sizes)
    for known in (None, sha256(path)):
        found = ECGFM.from_checkpoint(path, known)
        assert found.sizes == SIZES and not found.training
        assert torch.equal(found.pooled(X), model.pooled(X))
    assert "published was 00" in refusal(path, "00")


@pytest.mark.parametrize("sizes", [None, {"hidden": 33}, {"width": 3}, SIZES | {"ffn": 49}])
def test_our_own_weights_of_other_sizes_are_refused(sizes, tmp_path: Path) -> None:
    path = checkpoint.save(encoder(), tmp_path / "w.safetensors", {}, constructor=sizes)
    message = refusal(path)
    assert "its sizes are none of an ECG-FM" in message or "6 of another shape" in message


def test_our_own_weights_of_the_whole_pretraining_are_refused(tmp_path: Path) -> None:
    path = checkpoint.save(
        ECGFMPretraining(encoder()), tmp_path / "w.safetensors", {}, constructor=SIZES
    )
    assert "ECGFMPretraining, not of affectbook.models.ecg_fm.ECGFM" in refusal(path)


def test_what_was_read_is_kept_apart_from_the_file(published) -> None:
    read = _ecg_fm_checkpoint.read(published)
    ours = encoder().network.state_dict()
    first, second = read.tensors_of(ours), read.tensors_of(ours)
    next(iter(first.values())).zero_()
    assert all(torch.equal(second[name], value) for name, value in ours.items())
