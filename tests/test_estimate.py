"""What a run says before it trains: counted, timed, and without a trace in what is trained."""

from __future__ import annotations

import ast
import random
import re
import shlex
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from builders import windows_of
from hypothesis import given
from hypothesis import strategies as st
from skorch.callbacks import Callback
from tiny_project import ROOT
from torch import nn

from affectbook import datasets, estimate, notebook, progress
from affectbook.estimate import Estimate
from affectbook.evaluate import evaluate, fold_seed
from affectbook.experiments import Data, Setting, protocol_of
from affectbook.models import reference
from affectbook.models.network import WindowNet
from affectbook.papers import hcmnet

PUBLISHED = "shuffled_windows_as_published"


class Tiny(nn.Module):
    """As small as a network with dropout and batch norm can be; counts its steps."""

    trained = looked = 0

    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(n_chans), nn.Dropout(0.2)
        self.last = nn.Linear(n_chans * n_times, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Tiny.trained += self.training
        Tiny.looked += not self.training
        return self.last(self.drop(self.norm(x)).flatten(1))


@pytest.fixture
def setting() -> Setting:
    return replace(hcmnet.setting(hcmnet.Params(scale="smoke")), n_splits=3, epochs=4, batch_size=5)


@pytest.fixture
def data(setting: Setting) -> Data:
    """Seven subjects with two trials of unequal length."""
    trials = [(f"S{s}", f"T{label}", label, 3 + s % 3) for s in range(7) for label in (0, 1)]
    y, meta = windows_of(trials)
    X = np.random.default_rng(0).standard_normal((len(y), 1, 8)).astype(np.float32)
    card = datasets.card("wesad")
    return Data(X, y, meta, card, card.label_rules[0], "simulated", ROOT, 128.0)


def net(setting: Setting, **options: object) -> WindowNet:
    shape = {"module__n_chans": 1, "module__n_times": 8, "module__n_outputs": 2}
    options = {"max_epochs": setting.epochs, "batch_size": setting.batch_size} | options
    return WindowNet(Tiny, **shape | options)


def draws() -> tuple:
    return (
        random.random(),
        np.random.random(),  # noqa: NPY002
        torch.rand(3).tolist(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
    )


def test_it_leaves_no_trace_in_what_is_trained_or_drawn_afterwards(setting, data) -> None:
    def train(with_estimate: bool) -> tuple[pd.DataFrame, tuple]:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)
        model = net(setting)
        before = repr(model.get_params(deep=False))
        if with_estimate:
            estimate.of(model, data, setting.protocol, setting)
            assert repr(model.get_params(deep=False)) == before and not model.initialized_
        splitter = protocol_of(setting)
        done = evaluate(model, data.X, data.y, data.meta, splitter, seed=setting.seed)
        return done.predictions.merge(done.histories, on="fold"), draws()

    (plain, drawn), (after, drawn_after) = train(False), train(True)
    pd.testing.assert_frame_equal(plain, after, check_exact=True)
    assert drawn == drawn_after


def test_a_network_that_was_trained_keeps_its_weights(setting, data) -> None:
    model = net(setting).fit(data.X, data.y)
    weights = {name: value.clone() for name, value in model.module_.state_dict().items()}
    history = model.history_frame()
    estimate.of(model, data, setting.protocol, setting)
    assert all(torch.equal(weights[n], v) for n, v in model.module_.state_dict().items())
    pd.testing.assert_frame_equal(model.history_frame(), history)


@pytest.mark.parametrize("protocol", ["group_kfold_subject", PUBLISHED, "leave_one_subject_out"])
def test_steps_are_counted_as_training_takes_them(protocol, setting, data, monkeypatch) -> None:
    """With a second for each step and a thousandth for each look, seconds are counts."""
    monkeypatch.setattr(estimate, "_timed", lambda *_: (1.0, 1e-3))
    model = net(setting, patience=None)
    told = estimate.of(model, data, protocol, setting)
    Tiny.trained = Tiny.looked = 0
    splitter = protocol_of(setting, protocol)
    evaluate(model, data.X, data.y, data.meta, splitter, seed=setting.seed)
    assert told.seconds == pytest.approx(Tiny.trained + Tiny.looked / 1000, rel=0.3)
    splits = list(splitter.split(data.y, data.meta))
    fitted = [
        len(splitter.inner(data.y, data.meta, train, fold_seed(0, fold))[0])
        for fold, (train, _) in enumerate(splits)
    ]
    assert told.n_folds == len(splits) and told.epochs == setting.epochs
    assert told.n_windows == pytest.approx(np.mean(fitted), abs=1)
    assert estimate.of(model, data, protocol, setting, trainings=3).seconds == 3 * told.seconds


def test_a_real_step_is_timed(setting, data) -> None:
    Tiny.trained = Tiny.looked = 0
    found = estimate.of(net(setting), data, setting.protocol, setting)
    assert Tiny.trained == Tiny.looked > 1, "one to warm up, and one or more that are timed"
    assert 0 < found.seconds_per_batch <= found.seconds and found.batch_size == 5
    assert found.hours == found.seconds / 3600


def test_callbacks_of_the_reader_do_not_run(setting, data, tmp_path) -> None:
    class Writes(Callback):
        def on_train_end(self, net: WindowNet, **kwargs: object) -> None:
            (tmp_path / "written").touch()

    model = net(setting, callbacks=[Writes()])
    estimate.of(model, data, setting.protocol, setting)
    assert not (tmp_path / "written").exists()
    model.fit(data.X, data.y)
    assert (tmp_path / "written").exists()


def test_what_is_no_network_is_not_timed(setting, data) -> None:
    found = estimate.of(reference.majority(), data, setting.protocol, setting, trainings=2)
    assert found.seconds is None and found.hours is None and found.epochs is None
    assert str(found) == f"2 trainings of 3 folds x {found.n_windows} windows: not timed"
    assert estimate.smaller("hcmnet", {}, setting, found) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 second"), (31, "31 seconds"), (118, "2 minutes"), (5000, "83 minutes"),
     (7300, "2 hours"), (9000, "2.5 hours"), (360_000, "4 days")],
)  # fmt: skip
def test_it_is_one_sentence(seconds, words) -> None:
    told = Estimate(80, 3, 5, 4, 0.3123, seconds, 16)
    assert str(told) == (
        f"4 trainings of 3 folds x 80 windows x 5 epochs: at most about {words} on this machine "
        "(a batch of 16: 0.31 s)"
    )
    one = str(Estimate(1, 1, 1, 1, 0.3, seconds, 1))
    assert one.startswith("1 training of 1 fold x 1 window x 1 epoch: ")


@given(
    epochs=st.integers(2, 500),
    each=st.floats(0.01, 1e5),
    once=st.floats(0, 1e4),
    limit=st.floats(1, 1e5),
)
def test_the_largest_number_of_epochs_that_fits(epochs, each, once, limit) -> None:
    told = Estimate(80, 3, epochs, 1, 0.1, once + epochs * each, 16, once)
    fits = told.within(limit)
    assert 0 <= fits <= epochs
    slack = 1e-6 * told.seconds
    assert fits == 0 or once + fits * each <= limit + slack
    assert fits == epochs or once + (fits + 1) * each > limit - slack


def parameters_in(command: str) -> dict[str, str]:
    """Return what a command hands to the driver, as a shell and make would."""
    assert command.startswith("make run PAPER=hcmnet ARGS=")
    (arguments,) = [part[5:] for part in shlex.split(command) if part.startswith("ARGS=")]
    words = shlex.split(arguments)
    assert words[::3] == ["-p"] * (len(words) // 3)
    return dict(zip(words[1::3], words[2::3], strict=True))


def over(hours: float, epochs: int = 500) -> Estimate:
    return Estimate(80, 3, epochs, 4, 0.3, 3600 * hours, 16)


def test_fewer_epochs_where_that_is_enough() -> None:
    chosen = {"dataset": "mci", "variant": "published", "scale": "paper", "seed": 3}
    setting = hcmnet.setting(hcmnet.Params(**chosen))
    command = estimate.smaller("hcmnet", chosen, setting, over(20))
    assert parameters_in(command) == {key: str(value) for key, value in chosen.items()} | {
        "epochs": "50"
    }
    everything = vars(hcmnet.Params(**chosen))
    assert estimate.smaller("hcmnet", everything, setting, over(20)) == command
    assert estimate.smaller("hcmnet", chosen, setting, over(2)) is None


def test_the_scale_teaching_where_one_epoch_is_too_long() -> None:
    chosen = {"dataset": "mci", "scale": "paper", "epochs": 400}
    setting = hcmnet.setting(hcmnet.Params(**chosen))
    command = estimate.smaller("hcmnet", chosen, setting, over(2000))
    # The scale is the default, so is its number of epochs.
    assert parameters_in(command) == {"dataset": "mci"}
    smallest = hcmnet.setting(hcmnet.Params(epochs=3))
    assert "-p epochs 1" in estimate.smaller("hcmnet", {"epochs": 3}, smallest, over(9e3, 3))
    assert estimate.smaller("hcmnet", {"epochs": 1}, smallest, over(9e3, 1)) is None


def test_it_is_said_in_the_notebook_and_by_the_driver(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("AFFECTBOOK_RUN_DIR", str(tmp_path))
    setting = hcmnet.setting(hcmnet.Params(scale="paper"))
    estimate.tell("hcmnet", {"scale": "paper"}, setting, over(1))
    estimate.tell("hcmnet", {"scale": "paper"}, setting, over(40), besides="")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("; reference models come on top.")
    assert printed[1].endswith("(a batch of 16: 0.3 s).")
    command = 'make run PAPER=hcmnet ARGS="-p scale paper -p epochs 25"'
    assert printed[2] == f"That is over 2 hours. A smaller run: {command}"
    assert [text for shown, text in progress.lines(tmp_path)[0] if shown] == printed


def test_the_chapter_counts_all_of_its_trainings() -> None:
    """Every place that trains HCMNet stands in the plan of the cell that estimates."""
    cells = {cell["id"]: notebook.text(cell) for cell in
             notebook.code_cells(notebook.read(ROOT / "notebooks" / "hcmnet.ipynb"))}  # fmt: skip
    trains = re.compile(r"\.add\(\s*\"hcmnet\"")
    places = [name for name, text in cells.items() for _ in trains.findall(text)]
    (plan,) = [text for text in cells.values() if "estimate.tell(" in text]
    assert plan.index("estimate.tell(") < trains.search(plan).start()
    (counted,) = [
        line.value for line in ast.parse(plan).body
        if isinstance(line, ast.Assign) and line.targets[0].id == "planned"
    ]  # fmt: skip
    assert len(counted.keys) == len(places)
