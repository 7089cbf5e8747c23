from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback
from torch import nn

from affectbook.errors import DataError, ParameterError
from affectbook.models.network import HISTORY, WindowNet
from affectbook.models.scaling import WindowScaler


class Tiny(nn.Module):
    """As small as a network with dropout can be."""

    def __init__(self, n_chans: int, n_times: int, n_outputs: int, extra_outputs: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(n_chans * n_times, n_outputs + extra_outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def net(**kwargs) -> WindowNet:
    settings = {"max_epochs": 3, "batch_size": 8, "lr": 0.01}
    shape = {"module__n_chans": 2, "module__n_times": 6, "module__n_outputs": 3}
    return WindowNet(Tiny, **settings | shape | kwargs)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    """Forty windows whose level tells the class."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 3
    X = rng.standard_normal((40, 2, 6)) + y[:, None, None]
    return X.astype(np.float32), y


def test_same_seed_same_bits_other_seed_differs(data) -> None:
    X, y = data
    first = net(seed=1).fit(X, y).predict_proba(X)
    assert np.array_equal(first, net(seed=1).fit(X, y).predict_proba(X))
    assert not np.array_equal(first, net(seed=2).fit(X, y).predict_proba(X))


def test_fitting_again_starts_anew(data) -> None:
    X, y = data
    model = net()
    first = model.fit(X, y).predict_proba(X)
    assert np.array_equal(first, model.fit(X, y).predict_proba(X))
    assert len(model.history) == 3


def test_fit_leaves_the_random_state_of_the_caller_alone(data) -> None:
    def reseed() -> None:
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)

    def draws() -> tuple[float, ...]:
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

    reseed()
    expected = draws()
    reseed()
    net().fit(*data)
    assert draws() == expected


@pytest.mark.parametrize("kind", ["per_index", "global"])
def test_scaler_knows_training_windows_only(data, kind) -> None:
    X, y = data
    model = net(scaler=WindowScaler(kind)).fit(X[:30], y[:30], valid=(X[30:] + 1000, y[30:]))
    alone = WindowScaler(kind).fit(X[:30])
    np.testing.assert_array_equal(model.scaler_.center_, alone.center_)
    np.testing.assert_array_equal(model.scaler_.scale_, alone.scale_)
    assert not hasattr(model.scaler, "center_"), "the scaler that was passed in stays unfitted"


def test_validation_and_prediction_use_the_scaler_once(data) -> None:
    X, y = data
    model = net(scaler=WindowScaler("global"), checkpoint="last", patience=None)
    model.fit(100 * X[:30] + 7, y[:30], valid=(100 * X[30:] + 7, y[30:]))
    by_hand = WindowScaler("global").fit(100 * X[:30] + 7)
    plain = net(checkpoint="last", patience=None).fit(
        by_hand.transform(100 * X[:30] + 7),
        y[:30],
        valid=(by_hand.transform(100 * X[30:] + 7), y[30:]),
    )
    found, expected = model.history_frame(), plain.history_frame()
    np.testing.assert_allclose(found["valid_loss"], expected["valid_loss"])
    np.testing.assert_allclose(
        model.predict_proba(100 * X + 7), plain.predict_proba(by_hand.transform(100 * X + 7))
    )


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_checkpoint_is_the_epoch_it_says(data, checkpoint) -> None:
    # Every fourth validation label contradicts training: the loss falls at first, then rises.
    X, y = data
    valid = X, np.where(np.arange(40) % 4 == 0, (y + 1) % 3, y)
    model = net(max_epochs=40, lr=0.03, patience=None, checkpoint=checkpoint).fit(X, y, valid)
    losses = model.history_frame()["valid_loss"]
    assert 0 < losses.idxmin() < 30 and losses.iloc[-1] > losses.min() + 1e-3
    expected = losses.min() if checkpoint == "best" else losses.iloc[-1]
    likelihood = model.predict_proba(X)[np.arange(40), valid[1]]
    assert -np.log(likelihood).mean() == pytest.approx(expected, rel=1e-5)


def test_patience_ends_training_and_the_plateau_lowers_the_rate(data) -> None:
    X, y = data
    valid = X, (y + 1) % 3
    history = net(max_epochs=80, patience=20).fit(X, y, valid).history_frame()
    best = history["valid_loss"].idxmin()
    assert len(history) == best + 1 + 20
    assert history["lr"].iloc[0] == 0.01
    assert history["lr"].iloc[-1] == pytest.approx(0.001)


def test_without_validation_windows_nothing_is_chosen(data) -> None:
    model = net().fit(*data)
    history = model.history_frame()
    assert list(history.columns) == HISTORY
    assert list(history["epoch"]) == [1, 2, 3]
    assert history[["valid_loss", "valid_acc"]].isna().all(axis=None)
    assert history[["train_loss", "lr"]].notna().all(axis=None)
    names = dict(model.callbacks_)
    assert "plateau" not in names and "early_stopping" not in names


def test_training_is_the_published_one(data) -> None:
    defaults = WindowNet(Tiny)
    assert (defaults.lr, defaults.weight_decay) == (1e-3, 0.01)
    assert (defaults.max_epochs, defaults.batch_size, defaults.patience) == (500, 256, 50)
    model = net(weight_decay=0.5).fit(*data)
    assert type(model.optimizer_) is torch.optim.AdamW
    assert model.optimizer_.param_groups[0]["weight_decay"] == 0.5
    assert dict(model.callbacks_)["clip"].gradient_clip_value == 1.0


def test_it_is_a_scikit_learn_estimator(data) -> None:
    X, y = data
    model = net(scaler=WindowScaler("global")).fit(X, y, valid=(X, y))
    copy = clone(model)
    assert not copy.initialized_
    assert np.array_equal(copy.fit(X, y, valid=(X, y)).predict(X), model.predict(X))
    copy.set_params(module__n_outputs=4, lr=0.5, seed=9, scaler__kind="none")
    params = copy.get_params()
    assert (params["module__n_outputs"], params["lr"], params["seed"]) == (4, 0.5, 9)
    assert copy.scaler.kind == "none" and model.scaler.kind == "global"
    assert cross_val_score(net(max_epochs=30, lr=0.1), X, y, cv=2).mean() > 0.6


def test_a_fitted_network_survives_pickling(data) -> None:
    X, y = data
    model = net(scaler=WindowScaler("global")).fit(X, y, valid=(X, y))
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


def test_a_class_that_training_lacks_keeps_its_column(data) -> None:
    X, y = data
    model = net().fit(X[y < 2], y[y < 2])
    assert model.predict_proba(X).shape == (40, 3)
    assert list(model.classes_) == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X, y + 1), r"labels \[3\] are outside 0..2"),
        (lambda X, y: (X, y - 1), r"labels \[-1\] are outside 0..2"),
        (lambda X, y: (X, y + 0.5), "outside"),
        (lambda X, y: (X, y[:-1]), "40 windows, but labels"),
        (lambda X, y: (X[:, :1], y), r"shape \(40, 1, 6\)"),
        (lambda X, y: (X[:, :, :5], y), r"shape \(40, 2, 5\)"),
        (lambda X, y: (X[:, 0], y), r"shape \(40, 6\)"),
        (lambda X, y: (X[:0], y[:0]), r"1 or more"),
    ],
)
def test_windows_and_labels_must_fit(data, change, message) -> None:
    with pytest.raises(ParameterError, match=message):
        net().fit(*change(*data))
    with pytest.raises(ParameterError, match=message):
        net().fit(*data, valid=change(*data))


def test_prediction_checks_windows_too(data) -> None:
    X, y = data
    with pytest.raises(ParameterError, match="shape"):
        net().fit(X, y).predict(X[:, :, :5])


def test_values_that_are_not_finite_are_refused(data) -> None:
    X, y = data
    X[7, 0, 3] = np.nan
    with pytest.raises(DataError, match=r"not finite.*\[7\]"):
        net().fit(X, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"module__extra_outputs": 1}, "4 outputs, n_outputs is 3"),
        ({"checkpoint": "first"}, "checkpoint"),
    ],
)
def test_settings_must_fit(data, change, message) -> None:
    with pytest.raises(ParameterError, match=message):
        net().set_params(**change).fit(*data)


def test_a_network_that_is_already_built_is_refused(data) -> None:
    with pytest.raises(ParameterError, match="must be a class"):
        WindowNet(Tiny(2, 6, 3), module__n_chans=2, module__n_times=6, module__n_outputs=3).fit(
            *data
        )


def test_missing_n_outputs_is_named(data) -> None:
    with pytest.raises(ParameterError, match="module__n_outputs"):
        WindowNet(Tiny, module__n_chans=2, module__n_times=6).fit(*data)


@pytest.mark.parametrize("patience", [None, 50])
def test_an_interrupt_is_not_taken_for_the_end_of_training(data, patience) -> None:
    class Interrupt(Callback):
        def on_epoch_end(self, net: WindowNet, **kwargs) -> None:
            raise KeyboardInterrupt

    model = net(callbacks=[Interrupt()], patience=patience)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data, valid=data)


def test_the_bar_is_silent_without_a_terminal(data, capfd) -> None:
    net(progress=True).fit(*data)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
