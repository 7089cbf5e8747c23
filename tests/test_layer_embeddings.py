"""Layers of a frozen backbone: made once for each window, and what is trained on them."""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from builders import windows_of
from sklearn.base import clone
from torch import Tensor, nn

from affectbook import embedding_store, evaluate, files, layer_embeddings, protocols
from affectbook.errors import AuditError, CacheError, DataError, ParameterError
from affectbook.layer_embeddings import Backbone, LayerEmbeddings, LayerNet
from affectbook.models.ecg_fm import ECGFM
from affectbook.models.leads import TwelveLeads
from affectbook.models.scaling import WindowScaler

N_LAYERS, N_TOKENS, TOKEN, HIDDEN = 12, 4, 4, 6
N_TIMES = N_LAYERS * N_TOKENS * TOKEN
HONEST = "group_kfold_subject"


class Slices(nn.Module):
    """A backbone whose layers each see a slice of the window of their own; it counts windows."""

    def __init__(self, seed: int = 0, heads: int = 1) -> None:
        super().__init__()
        self.heads, self.passes = heads, []
        weights = torch.randn(N_LAYERS, 12 * TOKEN, HIDDEN,
                              generator=torch.Generator().manual_seed(seed))  # fmt: skip
        self.weights = nn.Parameter(weights / 7)

    def layer_embeddings(self, x: Tensor) -> Tensor:
        self.passes.append(len(x))
        assert x.shape[1] == 12 and not self.training and torch.is_inference_mode_enabled()
        parts = x.reshape(len(x), 12, N_LAYERS, N_TOKENS, TOKEN).permute(2, 0, 3, 1, 4).flatten(3)
        return self.heads * torch.einsum("lbti,lih->lbth", parts, self.weights)

    def pooled(self, x: Tensor) -> Tensor:
        return self.layer_embeddings(x).mean(2)


def forget() -> None:
    """Forget what this process knows, as another process would."""
    embedding_store._STORES.clear()


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let an empty folder stand for the project, and nothing be embedded yet."""
    monkeypatch.setattr(files, "project_root", lambda: tmp_path)
    monkeypatch.setattr(embedding_store, "_STORES", OrderedDict())
    return tmp_path


def windows(n: int = 12, seed: int = 0, n_chans: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, n_chans, N_TIMES)).astype(np.float32)


def labels(n: int = 12) -> np.ndarray:
    return np.arange(n) % 2


def source(module: nn.Module | None = None, **given: object) -> LayerEmbeddings:
    backbone = Backbone(module or Slices(), given.pop("subjects", ()))
    return LayerEmbeddings(backbone, **{"batch_size": 4} | given)


def made(encoder: LayerEmbeddings) -> int:
    """Return how many windows went through the backbone, fillers included."""
    return sum(encoder.backbone.module.passes)


def by_hand(module: Slices, X: np.ndarray, lead_input: str = "lead_II") -> np.ndarray:
    with torch.inference_mode():
        found = module.layer_embeddings(TwelveLeads(lead_input)(torch.tensor(X)))
    module.passes.clear()
    return found.transpose(0, 1).numpy()


def net(encoder: LayerEmbeddings | None, **given: object) -> LayerNet:
    told = {"module__n_outputs": 2, "module__widths": (), "max_epochs": 2, "batch_size": 8,
            "optimizer": torch.optim.Adam, "patience": None, "checkpoint": "last"}  # fmt: skip
    return LayerNet(encoder=encoder, **told | given)


# What an embedding is.


@pytest.mark.parametrize("lead_input", ["lead_II", "lead_I", "copied"])
def test_layers_are_those_of_the_backbone_for_twelve_leads_made_of_one(lead_input) -> None:
    encoder = source(lead_input=lead_input).fit()
    tokens = by_hand(encoder.backbone.module, windows(), lead_input)
    found = encoder.transform(windows())
    assert found.shape == (12, N_LAYERS, HIDDEN) and found.dtype == np.float32
    np.testing.assert_allclose(found, tokens.mean(2), atol=1e-6)
    found = encoder.tokens(windows())
    assert found.shape == (12, N_LAYERS, N_TOKENS, HIDDEN) and found.dtype == np.float32
    np.testing.assert_allclose(found, tokens, atol=1e-6)


def test_windows_of_twelve_leads_are_taken_as_they_are() -> None:
    encoder, X = source(lead_input=None).fit(), windows(5, n_chans=12)
    with torch.inference_mode():
        expected = encoder.backbone.module.pooled(torch.tensor(X)).transpose(0, 1)
    np.testing.assert_allclose(encoder.transform(X), expected, atol=1e-6)
    with pytest.raises(ParameterError, match="of a single lead expected"):
        source().fit().transform(X)


def test_bfloat16_is_another_embedding_and_near() -> None:
    plain, short = (source(precision=one).fit().transform(windows())
                    for one in ("float32", "bfloat16"))  # fmt: skip
    assert short.dtype == np.float32 and not np.array_equal(plain, short)
    np.testing.assert_allclose(short, plain, atol=0.02)


def test_neither_labels_nor_other_windows_have_a_part_in_an_embedding() -> None:
    X = windows(11)
    whole = source().fit(X, labels(11)).transform(X)
    forget()
    for path in (files.project_root() / "build").rglob("embeddings.npy"):
        path.unlink()
    alone = source().fit(X, 1 - labels(11))
    for i in (10, 0, 5):
        assert np.array_equal(alone.transform(X[i : i + 1])[0], whole[i])
    assert alone.backbone.module.passes == [4, 4, 4], "each batch is filled up"


# It is made once.


def test_what_was_embedded_is_never_embedded_again(project) -> None:
    encoder, X = source().fit(), windows(11)
    first = encoder.transform(X)
    assert encoder.backbone.module.passes == [4, 4, 4]
    order = np.random.default_rng(0).permutation(11)[:7]
    for another in (encoder, clone(encoder).fit(), source().fit()):
        assert np.array_equal(another.transform(X[order]), first[order])
        assert np.array_equal(another.transform(X), first)
    forget()
    later = source().fit()
    assert np.array_equal(later.transform(X[order]), first[order])
    assert made(encoder) == 12 and made(later) == 0, "another process reads the disk"
    more = np.concatenate([windows(2, seed=9), X[:3], windows(2, seed=9)])
    found = later.transform(more)
    assert later.backbone.module.passes == [4], "two new windows, twice the same"
    assert np.array_equal(found[2:5], first[:3]) and np.array_equal(found[:2], found[5:])
    assert not list(project.rglob(".lock"))


def test_what_is_returned_is_a_copy() -> None:
    encoder = source().fit()
    first = encoder.transform(windows()).copy()
    encoder.transform(windows())[:] = 0
    assert np.array_equal(encoder.transform(windows()), first)


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (lambda: source(Slices(seed=1)), True),
        (lambda: source(Slices(heads=2)), True),
        (lambda: source(lead_input="lead_I"), True),
        (lambda: source(precision="bfloat16"), True),
        (lambda: source(batch_size=3), False),
    ],
)
def test_what_changes_an_embedding_is_told_apart(other, differs) -> None:
    first = source().fit().transform(windows())
    encoder = other().fit()
    found = encoder.transform(windows())
    assert made(encoder) == 12 and np.array_equal(found, first) != differs
    assert np.array_equal(source().fit().transform(windows()), first)


class Means(nn.Module):
    """A backbone of any leads, each of which is a layer of one feature."""

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean(-1).T[..., None]


def test_windows_of_the_same_bytes_and_another_shape_are_others() -> None:
    X, encoder = windows(4, n_chans=12), source(Means(), lead_input=None).fit()
    for one in (X, X.reshape(4, 6, -1)):
        np.testing.assert_allclose(encoder.transform(one)[..., 0], one.mean(2), atol=1e-6)


@pytest.mark.parametrize("how", ["in_place", "replaced", "loaded"])
def test_weights_that_change_make_another_backbone(how) -> None:
    encoder = source().fit()
    before, first = encoder.backbone.identity(), encoder.transform(windows())
    module = encoder.backbone.module
    with torch.no_grad():
        if how == "in_place":
            module.weights += 1
        elif how == "replaced":
            module.weights = nn.Parameter(module.weights + 1)
        else:
            module.load_state_dict({"weights": module.weights + 1})
    assert encoder.backbone.identity() != before
    np.testing.assert_allclose(
        encoder.transform(windows()), by_hand(module, windows()).mean(2), atol=1e-6
    )
    assert not np.allclose(encoder.transform(windows()), first)


def test_equal_backbones_are_one(monkeypatch) -> None:
    one = Backbone(Slices())
    assert one.identity() == Backbone(Slices()).identity() != Backbone(Slices(seed=1)).identity()
    moved = Backbone(Slices().train())
    assert moved.identity() == one.identity() and not moved.module.training
    assert not any(parameter.requires_grad for parameter in moved.module.parameters())
    monkeypatch.setattr(layer_embeddings, "_code", lambda path: "other")
    assert Backbone(Slices()).identity() != one.identity(), "other code is another backbone"


def test_ecg_fm_is_such_a_backbone() -> None:
    torch.manual_seed(0)
    backbone, X = ECGFM(32, 12, 2, 32, 16), windows(5)
    encoder = source(backbone).fit()
    with torch.inference_mode():
        expected = backbone.pooled(TwelveLeads()(torch.tensor(X))).transpose(0, 1)
    np.testing.assert_allclose(encoder.transform(X), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.tokens(X).mean(2), expected, atol=1e-5)
    more_heads = ECGFM(32, 12, 4, 32, 16)
    more_heads.load_state_dict(backbone.state_dict())
    assert Backbone(more_heads).identity() != encoder.backbone.identity(), "of the same weights"


# Where it lies.


def pieces(project: Path) -> list[Path]:
    return sorted(project.glob("build/cache/layer_embeddings/*/*/embeddings.npy"))


def test_what_is_kept_says_what_it_was_made_from(project) -> None:
    source(lead_input="copied").fit().transform(windows())
    (kept,) = pieces(project)
    told = json.loads((kept.parent / "MANIFEST.json").read_text())["from"]
    assert told["backbone"] == Backbone(Slices()).identity()
    assert (told["lead_input"], told["window"]) == ("copied", [1, N_TIMES])
    assert np.load(kept).shape == (12, N_LAYERS, HIDDEN)


def test_a_damaged_file_is_made_again(project, caplog) -> None:
    encoder = source().fit()
    first = encoder.transform(windows())
    (kept,) = pieces(project)
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(data)
    forget()
    again = source().fit()
    assert np.array_equal(again.transform(windows()), first)
    assert made(again) == 12 and "is damaged; it is made again" in caplog.text


def test_an_interrupt_costs_one_piece(monkeypatch, project) -> None:
    monkeypatch.setattr(layer_embeddings, "_PIECE", 8)
    encoder = source().fit()
    plain = Slices.pooled

    def interrupted(self: Slices, x: Tensor) -> Tensor:
        if sum(self.passes) == 16:
            raise KeyboardInterrupt
        return plain(self, x)

    monkeypatch.setattr(Slices, "pooled", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoder.transform(windows(24))
    assert len(pieces(project)) == 2 and not list(project.rglob(".lock"))
    monkeypatch.setattr(Slices, "pooled", plain)
    forget()
    later = source().fit()
    found = later.transform(windows(24))
    assert made(later) == 8
    np.testing.assert_allclose(found, by_hand(Slices().eval(), windows(24)).mean(2), atol=1e-6)


def test_where_nothing_can_be_kept_it_is_made_once_for_the_process(project, caplog) -> None:
    (project / "build").write_text("no folder")
    encoder = source().fit()
    first = encoder.transform(windows())
    assert np.array_equal(encoder.transform(windows()), first) and made(encoder) == 12
    assert caplog.text.count("embeddings of layers could not be kept") == 1
    assert (project / "build").read_text() == "no folder"


def test_what_another_process_makes_meanwhile_is_read(project, monkeypatch) -> None:
    expected = source().fit().transform(windows())
    (kept,) = pieces(project)
    aside = project / "aside"
    place = kept.parent
    place.rename(aside)
    forget()
    held, plain = [], embedding_store.locks.alone

    def after_waiting(path: Path, what: str):
        held.append(path)
        aside.rename(place)
        return plain(path, what)

    monkeypatch.setattr(embedding_store.locks, "alone", after_waiting)
    later = source().fit()
    assert np.array_equal(later.transform(windows()), expected)
    assert made(later) == 0 and held == [place.parent / ".lock"]


def test_large_embeddings_are_memory_maps(project, monkeypatch) -> None:
    expected = source().fit().transform(windows())
    forget()
    monkeypatch.setattr(embedding_store, "LARGE", 100)
    encoder = source().fit()
    found = encoder.transform(windows())
    assert isinstance(found, np.memmap) and np.array_equal(found, expected)
    (store,) = embedding_store._STORES.values()
    assert all(isinstance(part, np.memmap) for part in store.parts)
    assert sorted(path.name for path in (project / "build/cache").iterdir() if path.is_file()) == []
    model = net(source()).fit(windows(), labels())
    assert model.predict(windows()).shape == (12,)


def test_a_disk_without_room_is_one_message(monkeypatch) -> None:
    encoder = source().fit()
    encoder.transform(windows())
    monkeypatch.setattr(embedding_store, "LARGE", 100)
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(embedding_store.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CacheError, match="too little room for the embeddings") as error:
        encoder.transform(windows())
    assert "do: free the disk" in str(error.value) and "\n" not in str(error.value)


def test_tokens_are_kept_only_while_they_are_small(project, monkeypatch) -> None:
    encoder = source().fit()
    first = encoder.tokens(windows())
    assert len(pieces(project)) == 1
    passes = made(encoder)
    assert np.array_equal(encoder.tokens(windows()), first)
    assert made(encoder) == passes + 1, "one window, to see how large its tokens are"
    forget()
    monkeypatch.setattr(embedding_store, "LARGE", first.nbytes - 1)
    again = source(Slices(seed=2)).fit()
    found = again.tokens(windows())
    assert len(pieces(project)) == 1 and isinstance(found, np.memmap)
    assert again.backbone.module.passes == [1, 4, 4, 4]
    np.testing.assert_allclose(found, by_hand(again.backbone.module, windows()), atol=1e-6)


# What is refused.


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"precision": "float16"}, "'float16'.*float32, bfloat16"),
        ({"batch_size": 0}, "batches of 0"),
        ({"lead_input": "learnt"}, "trained through the backbone.* lead_II, lead_I, copied"),
        ({"lead_input": "V9"}, "lead_input must be one of"),
    ],
)
def test_unknown_choices_are_one_message(given, words) -> None:
    with pytest.raises(ParameterError, match=words):
        source(**given).fit()


def test_no_backbone_is_one_message() -> None:
    with pytest.raises(ParameterError, match="Give backbone=Backbone"):
        LayerEmbeddings().fit()


@pytest.mark.parametrize("how", ["transform", "tokens"])
def test_windows_that_no_backbone_can_take_are_one_message(how) -> None:
    encoder, bad = source().fit(), windows()
    bad[3, 0, 5] = np.nan
    with pytest.raises(DataError, match=r"not finite \[found: windows \[3\]\]"):
        getattr(encoder, how)(bad)
    for shape in ((0, 1, N_TIMES), (3, N_TIMES)):
        with pytest.raises(ParameterError, match="windows .* expected, 1 or more"):
            getattr(encoder, how)(np.zeros(shape))
    assert not made(encoder)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_bar_is_shown_on_a_terminal_if_asked_for(monkeypatch, stream) -> None:
    shown = {}
    for progress in (True, False):
        monkeypatch.setattr(sys, "stderr", stream())
        encoder = source(Slices(seed=int(progress)), progress=progress).fit()
        encoder.transform(windows())
        encoder.transform(windows())
        shown[progress] = sys.stderr.getvalue()
    assert not shown[False] and bool(shown[True]) == (stream is Terminal)
    assert shown[True].count(" 0/12 ") == (stream is Terminal), "what is read needs no bar"


# A classifier on top.


def test_the_backbone_stays_as_it_is_and_gate_and_head_are_trained() -> None:
    encoder = source()
    before = encoder.backbone.identity()
    model = net(encoder, max_epochs=5, lr=0.1).fit(windows(), labels())
    assert encoder.backbone.identity() == before
    assert {name.split(".")[0] for name, _ in model.module_.named_parameters()} == {"gate", "head"}
    Z = source().fit().transform(windows())
    with torch.no_grad():
        expected = model.module_.eval()(torch.tensor(Z)).softmax(1).numpy()
    np.testing.assert_allclose(model.predict_proba(windows()), expected, atol=1e-6)
    assert np.array_equal(model.predict(windows()), expected.argmax(1))
    assert made(encoder) == 12, "once, for training and every prediction"
    assert len(model.history) == 5 and not np.allclose(model.gate_weights(windows()), 1 / 12)


@pytest.fixture(params=[1, 8])
def one_layer_tells(request) -> tuple[int, np.ndarray, np.ndarray]:
    """Return which layer sees the label, windows, and labels."""
    y, slices = labels(120), windows(120).reshape(120, N_LAYERS, -1)
    slices[:, request.param] += 1.5 * (2 * y[:, None] - 1)
    return request.param, slices.reshape(120, 1, N_TIMES), y


def test_a_static_gate_finds_the_layer_that_sees_the_label(one_layer_tells) -> None:
    layer, X, y = one_layer_tells
    told = {"max_epochs": 30, "lr": 0.01, "batch_size": 16}
    quick = {"optimizer__param_groups": [("gate*", {"lr": 0.1})]}
    model = net(source(), **told, **quick).fit(X[:80], y[:80])
    weights = model.gate_weights(X[80:])
    assert weights.shape == (40, N_LAYERS) and (weights == weights[0]).all()
    assert weights[0].argmax() == layer and weights[0, layer] > 0.5
    assert (model.predict(X[80:]) == y[80:]).mean() > 0.9
    slow = net(source(), **told).fit(X[:80], y[:80]).gate_weights(X[80:])
    assert slow[0].argmax() == layer and slow[0, layer] < weights[0, layer]


@pytest.mark.parametrize("gate", ["last", "uniform", "static", "raw", "dynamic", "token"])
@pytest.mark.parametrize("normalise", [None, "zscore"])
def test_every_gate_can_be_trained_and_looked_at(gate, normalise) -> None:
    model = net(source(), module__gate=gate, module__normalise=normalise, module__widths=(5,),
                scaler=WindowScaler("per_window_zscore"), lr=0.1)  # fmt: skip
    model.fit(windows(), labels())
    shape = (7, N_LAYERS, N_TOKENS) if gate == "token" else (7, N_LAYERS)
    assert model.gate_weights(windows(7, seed=1)).shape == shape
    assert model.predict_proba(windows(7, seed=1)).shape == (7, 2)
    assert model.scaler.kind == "per_window_zscore", "for `evaluate`, and for a clone"


def test_the_scale_of_layers_is_that_of_the_training_windows() -> None:
    encoder = source()
    model = net(encoder, module__normalise="zscore").fit(windows(), labels())
    Z = source().fit().transform(windows())
    np.testing.assert_allclose(model.module_.mean, Z.mean(0), atol=1e-6)
    np.testing.assert_allclose(model.module_.deviation, Z.std(0), atol=1e-6)
    model.predict(windows(5, seed=4))
    np.testing.assert_allclose(model.module_.mean, Z.mean(0), atol=1e-6)


def test_sizes_come_from_the_backbone_unless_they_are_given() -> None:
    model = net(source()).fit(windows(), labels())
    assert (model.module_.n_layers, model.module_.hidden) == (N_LAYERS, HIDDEN)
    assert "module__hidden" not in model.get_params()
    with pytest.raises(ParameterError, match=r"\(1 or more, 12, 768\)"):
        net(source(), module__hidden=768).fit(windows(), labels())


@pytest.mark.parametrize(("n", "batches"), [(9, [4, 4]), (8, [4, 4]), (10, [4, 4, 2])])
def test_a_window_that_would_be_alone_in_its_batch_waits_for_the_next_epoch(n, batches) -> None:
    sizes, model = [], net(source(), batch_size=4, max_epochs=1, module__widths=(5,))
    plain = model.train_step_single
    model.train_step_single = lambda batch, **told: (sizes.append(len(batch[1])),
                                                     plain(batch, **told))[1]  # fmt: skip
    model.fit(windows(n), labels(n))
    assert sizes == batches
    assert model.predict(windows(n)).shape == (n,)


@pytest.mark.parametrize(
    ("given", "n", "words"),
    [
        ({"encoder": None}, 12, "takes encoder=LayerEmbeddings"),
        ({"finetune": True}, 12, "stays frozen"),
        ({"scaler": WindowScaler("global")}, 12, "scaler 'global' .* per_window_zscore"),
        ({"batch_size": 1}, 12, "two windows or more, not 12 in batches of 1"),
        ({}, 1, "two windows or more, not 1"),
        ({"module__gate": "soft"}, 12, "no gate 'soft'"),
    ],
)
def test_what_cannot_be_trained_is_one_message(given, n, words) -> None:
    with pytest.raises(ParameterError, match=words):
        net(given.pop("encoder", source()), **given).fit(windows(n), labels(n))


def test_it_is_a_scikit_learn_estimator() -> None:
    model = net(source(), seed=1)
    copy = clone(model).set_params(encoder__lead_input="copied", lr=0.5, module__gate="raw")
    assert copy.encoder.lead_input == "copied" and model.encoder.lead_input == "lead_II"
    assert copy.encoder.backbone is model.encoder.backbone, "90 million weights are not copied"
    assert model.get_params()["encoder__precision"] == "float32"
    first = model.fit(windows(), labels()).predict_proba(windows())
    assert np.array_equal(model.fit(windows(), labels()).predict_proba(windows()), first)
    other = clone(model).set_params(seed=2).fit(windows(), labels())
    assert not np.array_equal(other.predict_proba(windows()), first)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(windows()), first)


# What an evaluation lets through.


Found = tuple[np.ndarray, np.ndarray, pd.DataFrame]


@pytest.fixture
def found() -> Found:
    """Four subjects with two trials of each class and two windows of each."""
    y, meta = windows_of((f"S{s}", f"{c}-{t}", c, 2) for s in range(4) for c in (0, 1)
                         for t in (0, 1))  # fmt: skip
    return windows(len(y)), y, meta


def test_folds_gates_and_seeds_share_what_was_embedded(found) -> None:
    X, y, meta = found
    encoder, seen = source(), []

    def look(fold: int, model: LayerNet, tested: np.ndarray) -> None:
        seen.append(model.gate_weights(tested).mean(0))

    for gate in ("static", "dynamic"):
        for seed in (0, 1):
            done = evaluate.evaluate(
                net(encoder, module__gate=gate, scaler=WindowScaler("per_window_zscore")), X, y,
                meta, protocols.get(HONEST, n_splits=2), seed=seed, look=look,
            )  # fmt: skip
            assert len(done.predictions) == len(y)
            assert done.audits["pretrained_subjects"].tolist() == [0, 0]
    assert made(encoder) == len(X) == 32
    assert np.shape(seen) == (8, N_LAYERS)
    np.testing.assert_allclose(np.sum(seen, 1), 1, atol=1e-5)


def test_a_backbone_that_saw_a_test_subject_is_an_error(found) -> None:
    split = protocols.get(HONEST, n_splits=2)
    with pytest.raises(AuditError, match="test subjects seen in pretraining: 1"):
        evaluate.evaluate(net(source(subjects=("S1", "S9"))), *found, split)
    evaluate.evaluate(net(source(subjects=("S9",))), *found, split)
