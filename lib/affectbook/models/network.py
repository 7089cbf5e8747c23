"""The one way a network becomes a scikit-learn estimator: :class:`WindowNet`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from skorch.utils import is_dataset
from torch import Tensor, nn
from tqdm import tqdm

from affectbook.errors import DataError, ParameterError

CLIP_NORM = 1.0
PLATEAU = {"factor": 0.1, "patience": 15}
HISTORY = ["epoch", "train_loss", "valid_loss", "valid_acc", "lr"]


class WindowNet(NeuralNetClassifier):
    """A network for windows as a scikit-learn classifier, trained as HCMNet's authors describe.

    AdamW, cross-entropy, gradients clipped at norm 1; with validation windows also a learning
    rate that drops by ten after 15 epochs without progress, and early stopping.

    Parameters
    ----------
    module
        Class of the network, called with ``n_chans, n_times, n_outputs`` and whatever else is
        given as ``module__<name>``.
    lr, weight_decay, max_epochs, batch_size
        Of the training; the defaults are the published ones.
    patience
        Epochs without a better validation loss before training stops; None: never.
    checkpoint
        Weights kept when there are validation windows: ``"best"``, those of the lowest
        validation loss, or ``"last"``. Without validation windows the last ones are kept.
    scaler
        Unfitted transformer of windows ``(n, c, t)``, such as
        :class:`affectbook.models.scaling.WindowScaler`, or None. Fitted on training windows only.
    seed
        Seed of initial weights, dropout and shuffling. The caller's random state is left alone.
    progress
        Show a bar of the epochs, if standard error is a terminal.
    **kwargs
        Whatever :class:`skorch.NeuralNetClassifier` takes.
    """

    def __init__(
        self,
        module: type[nn.Module],
        *,
        criterion: type[nn.Module] = nn.CrossEntropyLoss,
        optimizer: type[torch.optim.Optimizer] = torch.optim.AdamW,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        max_epochs: int = 500,
        batch_size: int = 256,
        patience: int | None = 50,
        checkpoint: str = "best",
        scaler: Any = None,
        seed: int = 0,
        progress: bool = False,
        train_split: Any = None,
        iterator_train__shuffle: bool = True,
        verbose: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            max_epochs=max_epochs,
            batch_size=batch_size,
            train_split=train_split,
            iterator_train__shuffle=iterator_train__shuffle,
            verbose=verbose,
            **kwargs,
        )
        self.weight_decay = weight_decay
        self.patience = patience
        self.checkpoint = checkpoint
        self.scaler = scaler
        self.seed = seed
        self.progress = progress

    @property
    def classes_(self) -> np.ndarray:
        """The labels ``0 .. n_outputs - 1``, also those that no training window has."""
        return np.arange(self._module_param("n_outputs"))

    def fit(
        self, X: np.ndarray, y: np.ndarray, valid: tuple[np.ndarray, np.ndarray] | None = None
    ) -> WindowNet:
        """Train a new network; whatever was learned before is dropped.

        Parameters
        ----------
        X, y
            Training windows ``(n, n_chans, n_times)`` and labels ``(n,)`` in
            ``0 .. n_outputs - 1``.
        valid
            Windows and labels for the learning rate, for stopping and for the choice of weights.
            They are never trained on, and the scaler does not see them.

        Raises
        ------
        ParameterError
            If windows or labels do not fit ``n_chans``, ``n_times``, ``n_outputs``.
        DataError
            If a window holds values that are not finite.
        """
        self._check_settings()
        self._check_windows(X, y)
        if valid is not None:
            self._check_windows(*valid)
        self.scaler_ = None if self.scaler is None else clone(self.scaler).fit(X)
        # skorch takes names without the last underscore for parameters, which a clone would copy.
        self.valid_, self.interrupted_ = valid, False
        try:
            with _seeded(self.seed):
                super().fit(X, y)
        finally:
            self.valid_ = None
        if self.interrupted_:
            raise KeyboardInterrupt
        return self

    def set_params(self, **kwargs: Any) -> WindowNet:
        """Set parameters by name; ``scaler__<name>`` reaches into the scaler."""
        of_scaler = {name: kwargs.pop(name) for name in list(kwargs) if name.startswith("scaler__")}
        super().set_params(**kwargs)
        if of_scaler:
            self.scaler.set_params(**{k.removeprefix("scaler__"): v for k, v in of_scaler.items()})
        return self

    def history_frame(self) -> pd.DataFrame:
        """Return one row per epoch: epoch, train_loss, valid_loss, valid_acc, lr."""
        rows = [{name: row.get(name, np.nan) for name in HISTORY} for row in self.history]
        return pd.DataFrame(rows, columns=HISTORY)

    def get_dataset(self, X: np.ndarray | Dataset, y: np.ndarray | None = None) -> Dataset:
        """Check and scale windows: every array on its way into the network passes here, once."""
        if is_dataset(X):
            return X
        self._check_windows(X, y)
        scaler = getattr(self, "scaler_", None)
        X = X if scaler is None else scaler.transform(X)
        y = None if y is None else np.asarray(y, dtype=np.int64)
        return super().get_dataset(np.asarray(X, dtype=np.float32), y)

    def get_split_datasets(
        self, X: np.ndarray, y: np.ndarray | None = None, **fit_params: Any
    ) -> tuple[Dataset, Dataset | None]:
        """Return training and validation data; the latter is what `fit` was given."""
        if self._validates:
            return predefined_split(self.get_dataset(*self.valid_))(self.get_dataset(X, y))
        return super().get_split_datasets(X, y, **fit_params)

    def get_params_for_optimizer(self, prefix: str, named_parameters: Any) -> tuple[tuple, dict]:
        """Add the weight decay to what skorch hands to the optimiser."""
        args, kwargs = super().get_params_for_optimizer(prefix, named_parameters)
        return args, {"weight_decay": self.weight_decay} | kwargs

    def get_loss(self, y_pred: Tensor, y_true: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Refuse a network with another number of outputs than it was asked for."""
        expected = self._module_param("n_outputs")
        if y_pred.shape[-1] != expected:
            raise ParameterError(
                f"{self.module.__name__} has {y_pred.shape[-1]} outputs, n_outputs is {expected}"
            )
        return super().get_loss(y_pred, y_true, *args, **kwargs)

    def fit_loop(self, *args: Any, **kwargs: Any) -> WindowNet:
        """Train, and remember whether it was the reader who interrupted, not early stopping.

        skorch takes both for the normal end of training.
        """
        try:
            return super().fit_loop(*args, **kwargs)
        except KeyboardInterrupt:
            stopping = dict(self.callbacks_).get("early_stopping")
            self.interrupted_ = stopping is None or stopping.misses_ < stopping.patience
            raise

    @property
    def _validates(self) -> bool:
        return getattr(self, "valid_", None) is not None

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        callbacks = [
            *super()._default_callbacks,
            ("lr", _RecordLr()),
            ("clip", GradientNormClipping(CLIP_NORM)),
        ]
        if self._validates:
            plateau = LRScheduler(
                torch.optim.lr_scheduler.ReduceLROnPlateau, monitor="valid_loss", **PLATEAU
            )
            stopping = EarlyStopping(
                patience=np.inf if self.patience is None else self.patience,
                threshold=0,
                load_best=self.checkpoint == "best",
            )
            callbacks += [("plateau", plateau), ("early_stopping", stopping)]
        return callbacks + ([("bar", _Bar())] if self.progress else [])

    def _module_param(self, name: str) -> int:
        """Return the value of ``module__<name>``."""
        try:
            return self.get_params_for("module")[name]
        except KeyError:
            raise ParameterError(f"WindowNet needs module__{name}") from None

    def _check_settings(self) -> None:
        """Refuse what would go wrong without anyone noticing."""
        if self.checkpoint not in ("best", "last"):
            raise ParameterError(f"checkpoint must be 'best' or 'last', not {self.checkpoint!r}")
        if isinstance(self.module, nn.Module):
            raise ParameterError(
                "module must be a class: a network that is already built would keep its weights "
                "from one fold to the next"
            )

    def _check_windows(self, X: np.ndarray, y: np.ndarray | None = None) -> None:
        """Raise one clear error if windows or labels do not fit the network."""
        expected = (self._module_param("n_chans"), self._module_param("n_times"))
        found = np.shape(X)
        if len(found) != 3 or found[0] == 0 or found[1:] != expected:
            raise ParameterError(
                f"windows have the shape {found}; the network takes (n_windows, n_chans, n_times) "
                f"= (1 or more, {expected[0]}, {expected[1]})"
            )
        if not np.isfinite(X).all():
            bad = np.unique(np.nonzero(~np.isfinite(X))[0])
            raise DataError("a window holds values that are not finite", found=f"windows {bad}")
        if y is None:
            return
        if np.shape(y) != found[:1]:
            raise ParameterError(f"{found[0]} windows, but labels of the shape {np.shape(y)}")
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ParameterError(
                f"labels {unknown.tolist()} are outside 0..{len(self.classes_) - 1} "
                f"(n_outputs is {len(self.classes_)})"
            )


class _RecordLr(Callback):
    """Write the learning rate an epoch was trained with into the history."""

    def on_epoch_begin(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        net.history.record("lr", net.optimizer_.param_groups[0]["lr"])


class _Bar(Callback):
    """A bar over the epochs; tqdm leaves it out where standard error is no terminal."""

    def on_train_begin(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        self.bar_ = tqdm(total=net.max_epochs, unit="epoch", leave=False, disable=None)

    def on_epoch_end(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        losses = {name: net.history[-1].get(name) for name in ("train_loss", "valid_loss")}
        self.bar_.set_postfix({name: f"{loss:.3f}" for name, loss in losses.items() if loss})
        self.bar_.update()

    def on_train_end(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        self.bar_.close()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed Python, NumPy and torch, and put their former states back afterwards."""
    # NPY002 asks for a Generator, but it is the global state that libraries draw from.
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
