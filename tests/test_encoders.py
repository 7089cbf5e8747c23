"""Pretrained encoders: which weights, whom they saw, and what a classifier does with them."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from builders import windows_of
from sklearn.base import clone

from affectbook import encoders, evaluate, files, pretrain, protocols
from affectbook.encoders import EncoderNet, PretrainedEncoder, PublishedLoss
from affectbook.errors import AuditError, CheckpointError, ParameterError
from affectbook.models import checkpoint
from affectbook.models.pretexts import Contrastive, Transformations
from affectbook.models.ssl_ecg import EmotionHead, EmotionNet, Encoder

N_TIMES, SFREQ = 32, 256.0
HONEST, TRANSDUCTIVE = "group_kfold_subject", "group_kfold_subject_transductive"
SHUFFLED = "shuffled_windows_as_published"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let an empty folder stand for the project, and nothing be encoded yet."""
    monkeypatch.setattr(pretrain, "project_root", lambda: tmp_path)
    monkeypatch.setattr(encoders, "_MEMO", OrderedDict())
    return tmp_path


def an_encoder(seed: int = 3, **options: object) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(1, **options).eval()


def release(
    name: str = "tiny", subjects: tuple[str, ...] = ("eegmat/open/S1",), **options: object
) -> str:
    """Keep weights as they are released, and return their sum."""
    path = pretrain.keep(
        an_encoder(**options), pretrain.path_of(name), constructor={"n_chans": 1, **options},
        subjects=subjects, history=pd.DataFrame({"epoch": [1], "steps": [2], "loss": [0.5]}),
        made_by={"windows": {"sfreq": SFREQ}},
    )  # fmt: skip
    return files.sha256(path)


def windows(n: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 1, N_TIMES)).astype(np.float32)


def labels(n: int = 12, n_outputs: int = 2) -> np.ndarray:
    return np.arange(n) % n_outputs


def source(name: str = "tiny", **given: object) -> PretrainedEncoder:
    return PretrainedEncoder(name, **({"dataset": "eegmat", "tier": "open", "sfreq": SFREQ}
                                      | given))  # fmt: skip


def net(
    encoder: PretrainedEncoder | None = None, finetune: bool = False, n_outputs: int = 2,
    **given: object,
) -> EncoderNet:  # fmt: skip
    shape = {"module__n_outputs": n_outputs, "module__head": "linear", "module__n_chans": 1}
    shape["module__n_times"] = N_TIMES if finetune else 128
    told = {"max_epochs": 1, "batch_size": 8, "weight_decay": 0.0, "optimizer": torch.optim.Adam}
    module = EmotionNet if finetune else EmotionHead
    return EncoderNet(module, encoder=encoder, finetune=finetune, criterion=PublishedLoss,
                      patience=None, checkpoint="last", **told | shape | given)  # fmt: skip


def state(module: torch.nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


# Where an encoder comes from.


def test_released_weights_come_back_with_whom_they_saw() -> None:
    sha256 = release(subjects=("eegmat/open/S1", "eegmat/open/S3", "eegmat/simulated/S2"),
                     pooling="mean")  # fmt: skip
    assert pretrain.path_of("tiny").parent.parts[-2:] == ("results", "weights")
    fitted = source(sha256=sha256).fit(windows())
    assert state(fitted.encoder_) == state(an_encoder(pooling="mean"))
    assert fitted.encoder_.pooling == "mean" and not fitted.encoder_.training
    assert fitted.subjects_ == ("S1", "S3")
    assert fitted.history_ is None and fitted.network_ is None
    with torch.no_grad():
        expected = an_encoder(pooling="mean")(torch.from_numpy(windows()))
    np.testing.assert_allclose(fitted.transform(windows()), expected, atol=1e-6)
    assert source(tier="simulated").fit(windows()).subjects_ == ("S2",)
    assert source(dataset="drivedb").fit(windows()).subjects_ == ()


def test_nothing_is_asked_that_is_not_given() -> None:
    release()
    assert source(sha256=None, sfreq=None).fit(windows()).subjects_ == ("S1",)


def no_card(path: Path) -> None:
    checkpoint.card_of(path).unlink()


def other_bytes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("harm", "given", "words"),
    [
        (Path.unlink, {}, r"tiny\.safetensors: no such weights; there are another$"),
        (no_card, {}, r"tiny\.json: the card of the weights expected here"),
        (other_bytes, {}, "cut, damaged or replaced: its SHA-256 is"),
        (shortened, {}, "not a whole safetensors file"),
        (None, {"sha256": "0" * 64}, f"its SHA-256 is [0-9a-f]+; published was {'0' * 64}"),
        (None, {"name": "tinny"}, "tinny.safetensors: no such weights; there are another, tiny$"),
    ],
)
def test_weights_that_are_not_those_are_one_message(harm, given, words) -> None:
    release()
    release("another")
    if harm is not None:
        harm(pretrain.path_of("tiny"))
    with pytest.raises(CheckpointError, match=words) as error:
        source(**given).fit(windows())
    assert "\n" not in str(error.value)


def test_where_there_are_no_weights_that_is_said() -> None:
    with pytest.raises(CheckpointError, match="no such weights; there are none"):
        source().fit(windows())


def test_weights_that_do_not_say_how_they_are_built_or_whom_they_saw_are_refused() -> None:
    path, told = pretrain.path_of("tiny"), {"windows": {"sfreq": SFREQ}}
    checkpoint.save(an_encoder(), path, told | {"subjects": ["a/open/b"]})
    with pytest.raises(CheckpointError, match="does not say how"):
        source().fit(windows())
    checkpoint.save(an_encoder(), path, told, constructor={"n_chans": 1})
    with pytest.raises(CheckpointError, match="does not name the subjects"):
        source().fit(windows())


def test_weights_of_another_rate_are_one_message() -> None:
    release()
    with pytest.raises(ParameterError, match="tiny was pretrained at 256 Hz, these.* 128") as error:
        source(sfreq=128.0).fit(windows())
    assert "-p pretraining fold" in str(error.value) and "\n" not in str(error.value)


def test_a_random_encoder_is_known_by_its_seed() -> None:
    torch.manual_seed(0)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    one, same, other = (PretrainedEncoder(seed=seed).fit(windows()) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), drawn), "the caller's random state is left alone"
    assert state(one.encoder_) == state(same.encoder_) != state(other.encoder_)
    assert np.array_equal(one.transform(windows()), same.transform(windows()))
    assert one.subjects_ == () and one.history_ is None and one.network_ is None
    changed = PretrainedEncoder(options=(("pooling", "mean"), ("batch_norm", True)))
    assert changed.fit(windows()).encoder_.pooling == "mean"


@pytest.mark.parametrize("pretext", [None, Contrastive(temperature=0.3)])
@pytest.mark.parametrize("place", ["fold", "transductive"])
def test_an_encoder_of_the_fold_is_pretrained_on_what_it_is_given(pretext, place) -> None:
    told = {"pretext": pretext, "epochs": 2, "batch_size": 2, "options": (("pooling", "mean"),)}
    one, same, other = (PretrainedEncoder(place, seed=seed, **told).fit(windows(4))
                        for seed in (1, 1, 2))  # fmt: skip
    assert one.history_["epoch"].tolist() == [1, 2] and one.history_["steps"].tolist() == [2, 4]
    assert one.encoder_ is one.network_.encoder and not one.network_.training
    assert one.encoder_.pooling == "mean"
    assert hasattr(one.network_, "heads" if pretext is None else "projection")
    assert state(one.network_) == state(same.network_) != state(other.network_)
    start = PretrainedEncoder(seed=1, options=told["options"]).fit(windows(4))
    assert state(one.encoder_) != state(start.encoder_)
    assert one.subjects_ == (), "they are of the fold, which the audit knows"


def test_pretraining_of_the_fold_sees_no_label() -> None:
    told = {"epochs": 1, "batch_size": 4, "pretext": Transformations(("noise",))}
    one, two = (PretrainedEncoder("fold", **told).fit(windows(8), y) for y in (None, labels(8)))
    assert state(one.encoder_) == state(two.encoder_)


# Features.


@pytest.mark.parametrize(("n_blocks", "width"), [(1, 32), (2, 64), (3, 128)])
def test_features_are_of_as_many_blocks_as_are_asked_for(n_blocks, width) -> None:
    fitted, x = PretrainedEncoder(n_blocks=n_blocks).fit(windows()), torch.from_numpy(windows())
    found = fitted.transform(windows())
    assert found.shape == (12, width) and found.dtype == np.float32
    with torch.no_grad():
        expected = fitted.encoder_.maps(x)[n_blocks - 1].amax(-1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many windows each pass through an encoder has had."""
    passes, plain = [], PretrainedEncoder._encoded

    def counted(self: PretrainedEncoder, X: np.ndarray) -> np.ndarray:
        passes.append(len(X))
        return plain(self, X)

    monkeypatch.setattr(PretrainedEncoder, "_encoded", counted)
    return passes


def test_what_was_encoded_before_is_the_same_as_made_anew(encoded, monkeypatch) -> None:
    fitted, X = PretrainedEncoder().fit(windows()), windows(70)
    first = fitted.transform(X)
    assert encoded == [64, 6]
    assert np.array_equal(fitted.transform(X), first) and len(encoded) == 2
    order = np.random.default_rng(0).permutation(70)[:30]
    again = PretrainedEncoder().fit(windows()).transform(X[order])
    assert np.array_equal(again, first[order]) and len(encoded) == 2, "an equal encoder, too"
    both = fitted.transform(np.concatenate([windows(2, seed=9), X[:3]]))
    assert encoded[2:] == [2] and np.array_equal(both[2:], first[:3])
    monkeypatch.setattr(encoders, "_MEMO", OrderedDict())
    assert np.array_equal(fitted.transform(X), first)
    monkeypatch.setattr(encoders, "_MEMO", OrderedDict())
    np.testing.assert_allclose(fitted.transform(X[order]), first[order], atol=1e-6)


def test_changed_features_are_not_remembered() -> None:
    fitted = PretrainedEncoder().fit(windows())
    first = fitted.transform(windows())
    fitted.transform(windows())[:] = 0
    changed = windows()
    changed[3, 0, 5] += 1
    assert np.array_equal(fitted.transform(windows()), first)
    apart = (fitted.transform(changed) != first).any(1)
    assert apart.tolist() == [window == 3 for window in range(12)]


def test_each_encoder_has_features_of_its_own(encoded) -> None:
    mean = (("pooling", "mean"),)
    several = [{"seed": 1}, {"seed": 2}, {"seed": 1, "n_blocks": 2}, {"seed": 1, "options": mean},
               {"seed": 1, "options": (("activation", "relu"),)}]  # fmt: skip
    found = [PretrainedEncoder(**one).fit(windows()).transform(windows()) for one in several]
    assert len({one.tobytes() for one in found}) == len(several) == len(encoded)
    assert len(encoders._MEMO) == 4, "of the last ones only"
    for one, expected in zip(several[1:], found[1:], strict=True):
        again = PretrainedEncoder(**one).fit(windows()).transform(windows())
        assert np.array_equal(again, expected)
    assert len(encoded) == len(several)


def test_other_weights_in_the_same_encoder_are_another_one() -> None:
    fitted = PretrainedEncoder(options=(("batch_norm", True),)).fit(windows())
    first = fitted.transform(windows())
    fitted.encoder_.blocks[0][2].running_mean += 1  # a buffer, no weight
    assert not np.array_equal(fitted.transform(windows()), first)


# A classifier on top.


def test_frozen_the_encoder_stays_as_it_was_released(encoded) -> None:
    release()
    model = net(source(), max_epochs=5, lr=0.1).fit(windows(), labels())
    assert state(model.fitted_encoder_.encoder_) == state(an_encoder())
    assert {name.split(".")[0] for name, _ in model.module_.named_parameters()} == {"layers"}
    features = source().fit(windows()).transform(windows())
    with torch.no_grad():
        expected = model.module_.eval()(torch.from_numpy(features)[:, None]).numpy()
    np.testing.assert_allclose(model.predict_proba(windows()), expected, atol=1e-6)
    assert np.array_equal(model.predict(windows()), expected.argmax(1))
    assert encoded == [12], "once, for training and every prediction"
    assert len(model.history) == 5 and model.history_frame()["valid_loss"].isna().all()


def test_frozen_a_linear_head_learns_what_the_features_tell() -> None:
    y = labels(40)
    X = windows(40) * np.where(y, 3, 1)[:, None, None].astype(np.float32)
    model = net(PretrainedEncoder(), max_epochs=40, lr=0.05).fit(X[:20], y[:20])
    assert (model.predict(X[20:]) == y[20:]).mean() > 0.9


def test_fine_tuned_it_starts_from_the_pretrained_weights_and_leaves_them() -> None:
    release()
    start = net(source(), finetune=True, lr=0.0).fit(windows(), labels())
    assert state(start.module_.encoder) == state(an_encoder())
    model = net(source(), finetune=True, lr=0.01).fit(windows(), labels())
    moved = state(model.module_.encoder)
    assert all(moved[name] != value for name, value in state(an_encoder()).items())
    assert state(model.fitted_encoder_.encoder_) == state(an_encoder())
    assert model.pretrained_subjects_ == ("S1",)
    assert model.predict_proba(windows(5)).shape == (5, 2)


def test_from_scratch_it_starts_from_its_seed() -> None:
    release()
    one, same, other = (net(None, finetune=True, seed=seed).fit(windows(), labels())
                        for seed in (1, 1, 2))  # fmt: skip
    assert state(one.module_) == state(same.module_) != state(other.module_)
    assert one.fitted_encoder_ is None and one.pretrained_subjects_ == ()
    start = net(None, finetune=True, lr=0.0).fit(windows(), labels())
    assert state(start.module_.encoder) != state(an_encoder())


def test_without_an_encoder_there_is_nothing_to_freeze() -> None:
    with pytest.raises(ParameterError, match="without an encoder the network is trained"):
        net(None).fit(windows(), labels())


def test_fitting_again_starts_anew() -> None:
    release()
    model = net(source(), finetune=True, max_epochs=2)
    first = model.fit(windows(), labels()).predict_proba(windows())
    assert np.array_equal(model.fit(windows(), labels()).predict_proba(windows()), first)


def test_it_is_a_scikit_learn_estimator() -> None:
    model = net(PretrainedEncoder(seed=1, pretext=Contrastive()), seed=1)
    told = model.get_params()
    assert told["encoder__seed"] == 1 and told["encoder__pretext__temperature"] == 0.1
    copy = clone(model).set_params(encoder__seed=5, encoder__pretext__temperature=0.7, lr=0.5)
    assert copy.encoder is not model.encoder and copy.encoder.seed == 5
    assert copy.encoder.pretext.temperature == 0.7 and copy.lr == 0.5
    assert model.encoder.seed == 1 and model.encoder.pretext.temperature == 0.1
    sown = evaluate.seeded(model, 7)
    assert sown.seed == sown.encoder.seed == 7 and model.encoder.seed == 1
    changed = clone(model).set_params(encoder=PretrainedEncoder(), encoder__n_blocks=2)
    assert changed.encoder.n_blocks == 2 and changed.encoder.pretext is None
    assert not hasattr(model.fit(windows(), labels()).encoder, "encoder_"), "it stays unfitted"
    with pytest.raises(ValueError, match="parameter"):
        model.set_params(encoder__sede=1)


def test_a_fitted_classifier_survives_pickling() -> None:
    model = net(PretrainedEncoder()).fit(windows(), labels())
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(windows()), model.predict_proba(windows()))


# What an evaluation lets through.


Found = tuple[np.ndarray, np.ndarray, pd.DataFrame]


@pytest.fixture
def found() -> Found:
    """Four subjects with two trials of each class and a window of each."""
    y, meta = windows_of((f"S{s}", f"{c}-{t}", c, 1) for s in range(4) for c in (0, 1)
                         for t in (0, 1))  # fmt: skip
    return windows(len(y)), y, meta


def evaluated(found: Found, encoder: PretrainedEncoder, protocol: str, **given: object):
    split = protocols.get(protocol, n_splits=2)
    return evaluate.evaluate(net(encoder), *found, split, seed=1, **given)


def test_an_encoder_that_saw_a_test_subject_is_an_error(found) -> None:
    release(subjects=("eegmat/open/S1", "eegmat/open/S9"))
    with pytest.raises(AuditError, match="test subjects seen in pretraining: 1"):
        evaluated(found, source(), HONEST)
    done = evaluated(found, source(), TRANSDUCTIVE)
    assert sorted(done.audits["pretrained_subjects"]) == [0, 1], "S1 is tested in one fold"
    assert sorted(evaluated(found, source(), SHUFFLED).audits["pretrained_subjects"]) == [1, 1]


@pytest.mark.parametrize("elsewhere", [{"tier": "simulated"}, {"dataset": "drivedb"}])
def test_an_encoder_that_saw_namesakes_elsewhere_is_none(found, elsewhere) -> None:
    release(subjects=("eegmat/open/S1",))
    done = evaluated(found, source(**elsewhere), HONEST)
    assert done.audits["pretrained_subjects"].tolist() == [0, 0]


@pytest.mark.parametrize("protocol", [HONEST, SHUFFLED])
def test_pretraining_on_all_windows_is_refused_where_the_name_does_not_say_so(
    found, protocol, monkeypatch
) -> None:
    monkeypatch.setattr(pretrain, "pretrain", pytest.fail)
    with pytest.raises(AuditError, match=f"only the protocol {TRANSDUCTIVE} allows it"):
        evaluated(found, PretrainedEncoder("transductive"), protocol)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[set[bytes]]]:
    """Return the windows that each pretraining was given, which trains nothing."""
    seen = []

    def spy(network: torch.nn.Module, pretext: object, X: np.ndarray, **_: object) -> None:
        seen.append({window.tobytes() for window in X})

    monkeypatch.setattr(pretrain, "pretrain", spy)
    return seen


@pytest.mark.parametrize(
    ("place", "protocol"),
    [("fold", HONEST), ("fold", TRANSDUCTIVE), ("fold", SHUFFLED), ("transductive", TRANSDUCTIVE)],
)
def test_pretraining_in_the_fold_gets_its_training_windows_and_no_other(
    found, shown, place, protocol
) -> None:
    X, y, meta = found
    done = evaluated(found, PretrainedEncoder(place), protocol)
    splits = list(protocols.get(protocol, n_splits=2).split(y, meta))
    assert len(shown) == len(splits) == 2
    for (train, test), seen in zip(splits, shown, strict=True):
        of_test = {X[i].tobytes() for i in test}
        everything = place == "transductive"
        assert seen == {X[i].tobytes() for i in (range(len(X)) if everything else train)}
        assert bool(seen & of_test) == everything
    own = [meta["subject"].iloc[test].nunique() for _, test in splits]
    assert done.audits["pretrained_subjects"].tolist() == (
        own if place == "transductive" else [0, 0]
    )


def test_each_fold_has_an_encoder_of_its_own_seed(found) -> None:
    looks = []
    encoder = PretrainedEncoder("fold", pretext=Transformations(("noise",)), batch_size=8)
    evaluated(found, encoder, HONEST, look=lambda fold, model, X: looks.append(
        (model.encoder.seed, model.seed, state(model.fitted_encoder_.encoder_)["blocks.0.1.bias"])
    ))  # fmt: skip
    assert [one[:2] for one in looks] == [(evaluate.fold_seed(1, fold),) * 2 for fold in (0, 1)]
    assert looks[0][2] != looks[1][2]


def test_an_evaluation_repeats_to_the_bit(found) -> None:
    encoder = PretrainedEncoder("fold", pretext=Contrastive(), batch_size=8)
    one, two = (evaluated(found, encoder, HONEST) for _ in range(2))
    pd.testing.assert_frame_equal(one.predictions, two.predictions, check_exact=True)
    pd.testing.assert_frame_equal(one.histories, two.histories, check_exact=True)


# The loss of the emotion network.


def test_two_classes_are_two_sigmoids() -> None:
    logits, y = np.random.default_rng(0).standard_normal((6, 2)), labels(6)
    said, truth = 1 / (1 + np.exp(-logits)), np.eye(2)[y]
    expected = -(truth * np.log(said) + (1 - truth) * np.log(1 - said)).mean()
    found = PublishedLoss()(torch.tensor(logits), torch.tensor(y))
    assert found.item() == pytest.approx(expected)
    assert found.item() != pytest.approx(torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(y)).item())  # fmt: skip


@pytest.mark.parametrize("n_outputs", [3, 4])
def test_more_classes_are_a_softmax(n_outputs) -> None:
    logits, y = np.random.default_rng(0).standard_normal((8, n_outputs)), labels(8, n_outputs)
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = PublishedLoss()(torch.tensor(logits), torch.tensor(y))
    assert found.item() == pytest.approx(-np.log(share[np.arange(8), y]).mean())


def test_three_classes_are_learnt_and_answered() -> None:
    y = labels(30, 3)
    X = windows(30) * np.array([0.3, 1, 4])[y][:, None, None].astype(np.float32)
    model = net(PretrainedEncoder(), n_outputs=3, max_epochs=40, lr=0.1).fit(X, y)
    assert model.predict_proba(X).shape == (30, 3) and (model.predict(X) == y).mean() > 0.8
