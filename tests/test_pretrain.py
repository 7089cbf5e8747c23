"""Pretraining: epochs fixed before, seeds, batches, refusals; weights name whom they saw."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from affectbook import pretrain
from affectbook.errors import CheckpointError, DataError, ParameterError
from affectbook.models import checkpoint


class Tiny(nn.Module):
    """As small as a network with dropout can be."""

    def __init__(self, n_times: int = 6) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(0.3), nn.Linear(n_times, n_times))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def denoise(network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
    """Return a loss that draws from the generator and, by dropout, from the global state."""
    noise = torch.randn(x.shape, generator=generator)
    return (network(x + noise) - x).square().mean()


def fresh() -> Tiny:
    torch.manual_seed(5)
    return Tiny()


def windows(n: int = 12) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 1, 6)).astype(np.float32)


def trained(seed: int = 0, **given: object) -> tuple[dict[str, bytes], pd.DataFrame]:
    """Return the bytes of the weights after training, and the history."""
    network = fresh()
    settings_ = {"epochs": 2, "batch_size": 4, "seed": seed} | given
    history = pretrain.pretrain(network, denoise, windows(), **settings_)
    return weights(network), history


def weights(network: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}


class Rates(torch.optim.Adam):
    """Adam that remembers the learning rate of each step."""

    seen: list[float] = []

    def step(self, *args: object, **kwargs: object) -> None:
        self.seen.append(self.param_groups[0]["lr"])
        return super().step(*args, **kwargs)


# The loop.


def test_same_seed_same_bytes_another_seed_differs() -> None:
    first, history = trained(seed=1)
    torch.manual_seed(99)
    again, same = trained(seed=1)
    assert first == again
    pd.testing.assert_frame_equal(history, same, check_exact=True)
    other, differs = trained(seed=2)
    assert other != first and not differs["loss"].equals(history["loss"])


def test_what_the_caller_draws_next_is_left_alone() -> None:
    def reseed() -> None:
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)

    def draws() -> tuple[float, ...]:
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

    network = fresh()
    reseed()
    expected = draws()
    reseed()
    pretrain.pretrain(network, denoise, windows(), epochs=1, batch_size=4, seed=3)
    assert draws() == expected


def test_the_state_of_the_caller_makes_no_difference() -> None:
    found = []
    for state in (1, 2):
        network = fresh()
        torch.manual_seed(state)
        pretrain.pretrain(network, denoise, windows(), epochs=1, batch_size=4, seed=3)
        found.append(weights(network))
    assert found[0] == found[1]


def test_the_rate_falls_by_a_tenth_every_so_many_steps(monkeypatch) -> None:
    monkeypatch.setattr(torch.optim, "Adam", Rates)
    monkeypatch.setattr(Rates, "seen", [])
    trained(epochs=1)
    assert Rates.seen == [1e-3] * 3 and pretrain.EVERY == 10_000, "as the authors have it"
    monkeypatch.setattr(pretrain, "EVERY", 2)
    Rates.seen.clear()
    trained(epochs=2, lr=0.5)
    assert Rates.seen == pytest.approx([0.5, 0.5, 0.45, 0.45, 0.405, 0.405])


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 40), size=st.integers(2, 45))
def test_each_epoch_shows_every_window_once_and_none_alone(n: int, size: int) -> None:
    batches: list[list[int]] = []

    def objective(network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        batches.append(x[:, 0, 0].int().tolist())
        return network(x).mean()

    X = np.arange(n, dtype=np.float32)[:, None, None] * np.ones((1, 1, 6), np.float32)
    history = pretrain.pretrain(fresh(), objective, X, epochs=2, batch_size=size, seed=0)
    per_epoch = int(history["steps"].iloc[0])
    assert history["steps"].tolist() == [per_epoch, 2 * per_epoch] == [per_epoch, len(batches)]
    for epoch in (batches[:per_epoch], batches[per_epoch:]):
        assert sorted(sum(epoch, [])) == list(range(n))
        assert all(len(batch) == size for batch in epoch[:-1])
        assert 2 <= len(epoch[-1]) <= size + 1
    if n > 10:
        assert sum(batches[:per_epoch], []) != sum(batches[per_epoch:], []), "another order"


def test_nothing_is_selected_the_last_weights_stay() -> None:
    def worse(network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        calls.append(1)
        return network(x).square().mean() * (-1.0 if len(calls) > 3 else 1.0)

    calls, kept = [], []
    network = fresh()
    pretrain.pretrain(
        network, worse, windows(), epochs=3, batch_size=4, seed=0, lr=0.1,
        watch=lambda now: kept.append(weights(now)) or {},
    )  # fmt: skip
    assert len(kept) == 3 and weights(network) == kept[-1] != kept[0]


def test_history_has_the_mean_loss_and_what_watch_told() -> None:
    losses, modes = [], []

    def objective(network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        assert network.training
        loss = denoise(network, x, generator)
        losses.append(loss.item())
        return loss

    def watch(network: nn.Module) -> dict[str, float]:
        modes.append(network.training)
        return {"f1 noise": len(modes) / 10}

    network = fresh()
    history = pretrain.pretrain(
        network, objective, windows(), epochs=3, batch_size=4, seed=0, watch=watch
    )
    assert list(history.columns) == ["epoch", "steps", "loss", "f1 noise"]
    assert history["epoch"].tolist() == [1, 2, 3] and history["steps"].tolist() == [3, 6, 9]
    assert history["loss"].tolist() == pytest.approx(np.reshape(losses, (3, 3)).mean(1))
    assert history["f1 noise"].tolist() == [0.1, 0.2, 0.3]
    assert modes == [False] * 3 and not network.training
    assert list(trained()[1].columns) == ["epoch", "steps", "loss"]


def test_watching_changes_no_weight() -> None:
    assert trained(watch=lambda network: {"draw": torch.rand(0).sum().item()})[0] == trained()[0]


def test_training_makes_the_loss_smaller() -> None:
    history = trained(epochs=30, lr=0.03)[1]
    assert history["loss"].iloc[-3:].mean() < 0.8 * history["loss"].iloc[0]


def test_products_may_be_of_half_the_precision_but_no_weight_is() -> None:
    kinds = []

    def objective(network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        made = network(x)
        kinds.append(made.dtype)
        return made.float().square().mean()

    for precision, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        network = fresh()
        pretrain.pretrain(
            network, objective, windows(), epochs=1, batch_size=12, seed=0, precision=precision
        )
        assert kinds[-1] is kind
        assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    assert trained(precision="bfloat16")[0] == trained(precision="bfloat16")[0] != trained()[0]


def test_the_bar_is_silent_without_a_terminal(capfd) -> None:
    trained(progress=True)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize(
    "given",
    [{"epochs": 0}, {"batch_size": 1}, {"batch_size": 0}, {"precision": "float16"}],
)
def test_settings_that_cannot_be_are_refused(given) -> None:
    network = fresh()
    before = weights(network)
    with pytest.raises(ParameterError, match="1 epoch, 2 windows and one of float32") as error:
        pretrain.pretrain(
            network, denoise, windows(), **({"epochs": 1, "batch_size": 4, "seed": 0} | given)
        )
    assert "\n" not in str(error.value) and weights(network) == before


@pytest.mark.parametrize("value", [None, np.nan, np.inf])
def test_windows_that_cannot_be_are_refused(value) -> None:
    network, X = fresh(), windows(1 if value is None else 5)
    if value is not None:
        X[3, 0, 2] = value
    before = weights(network)
    with pytest.raises(DataError, match="two windows or more of finite values"):
        pretrain.pretrain(network, denoise, X, epochs=1, batch_size=4, seed=0)
    assert weights(network) == before


# What is kept.


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pretrain, "project_root", lambda: tmp_path)
    return tmp_path


SUBJECTS = ("drivedb/open/drive05", "eegmat/open/S01", "eegmat/simulated/S02", "eegmat/open/S03")
HISTORY = pd.DataFrame({"epoch": [1, 2], "steps": [3, 6], "loss": [0.123456789, 0.1]})


def kept(network: nn.Module, subjects: object = SUBJECTS, **given: object) -> Path:
    told = {"constructor": {"n_times": 6}, "history": HISTORY, "made_by": {"seed": 0}} | given
    return pretrain.keep(network, pretrain.path_of("tiny"), subjects=subjects, **told)


def test_weights_lie_where_their_name_says(project) -> None:
    assert pretrain.folder() == project / "results" / "weights"
    assert pretrain.path_of("tiny") == project / "results" / "weights" / "tiny.safetensors"
    assert kept(fresh()) == pretrain.path_of("tiny")
    assert {path.name for path in pretrain.folder().iterdir()} == {"tiny.safetensors", "tiny.json"}


def test_what_was_kept_comes_back_with_its_card(project) -> None:
    network = fresh()
    path = kept(network, np.array([*SUBJECTS[::-1], SUBJECTS[0]]))
    again = Tiny(**checkpoint.read_card(path)["constructor"])
    card = checkpoint.load(again, path)
    assert weights(again) == weights(network)
    assert card["made_by"]["subjects"] == sorted(SUBJECTS)
    assert card["made_by"]["seed"] == 0
    assert card["made_by"]["history"] == {
        "epoch": [1, 2], "steps": [3, 6], "loss": [0.123457, 0.1],
    }  # fmt: skip


@pytest.mark.parametrize(
    "subjects", [(), ("S01",), ("eegmat/S01",), ("eegmat/open/S01", "S02"), ("a/b/c/d",), ("",)]
)
def test_weights_that_do_not_say_whom_they_saw_are_not_kept(project, subjects) -> None:
    with pytest.raises(CheckpointError, match="dataset/tier/subject") as error:
        kept(fresh(), subjects)
    assert "tiny.safetensors" in str(error.value) and "\n" not in str(error.value)
    assert not pretrain.folder().exists()


def card(project: Path) -> dict[str, object]:
    path = kept(fresh())
    return checkpoint.load(Tiny(), path)


def test_subjects_of_a_twin_are_not_those_of_the_real_set(project) -> None:
    seen = card(project)
    assert pretrain.subjects_seen(seen, "eegmat", "open") == ("S01", "S03")
    assert pretrain.subjects_seen(seen, "eegmat", "simulated") == ("S02",)
    assert pretrain.subjects_seen(seen, "drivedb", "open") == ("drive05",)
    assert pretrain.subjects_seen(seen, "drivedb", "simulated") == ()
    assert pretrain.subjects_seen(seen, "dreamer", "licensed") == ()


@pytest.mark.parametrize("subjects", [None, [], "eegmat/open/S01", {"S01": 1}])
def test_a_card_that_names_nobody_is_refused(project, subjects) -> None:
    wrong = deepcopy(card(project))
    if subjects is None:
        del wrong["made_by"]["subjects"]
    else:
        wrong["made_by"]["subjects"] = subjects
    with pytest.raises(CheckpointError, match="does not name the subjects"):
        pretrain.subjects_seen(wrong, "eegmat", "open")


def test_a_card_from_which_a_subject_was_taken_is_refused(project) -> None:
    path = kept(fresh())
    beside = checkpoint.card_of(path)
    told = json.loads(beside.read_text())
    told["made_by"]["subjects"].remove("eegmat/open/S01")
    beside.write_text(json.dumps(told, indent=1) + "\n")
    with pytest.raises(CheckpointError, match="damaged card"):
        checkpoint.load(Tiny(), path)
