"""What a network scores after each epoch, and epochs of as many windows as those of others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.metrics import confusion_matrix
from skorch import NeuralNet, NeuralNetClassifier
from skorch.callbacks import Callback
from torch.utils.data import DataLoader, Dataset, RandomSampler

from affectbook.scoring import balanced_accuracy


class Watch(Callback):
    """Score training and validation windows after each epoch; training goes on as if unwatched.

    Nothing is selected by these scores: the weights are those of the last epoch all the same.

    Parameters
    ----------
    X, y
        Validation windows ``(n, n_chans, n_times)`` and labels ``(n,)``.
    n_outputs
        Classes.

    Attributes
    ----------
    train_, valid_ : list of float
        Balanced accuracy (0 to 1) after each epoch, in evaluation mode.
    n_steps_ : int
        Gradient steps so far.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray, n_outputs: int) -> None:
        self.X, self.y, self.n_outputs = X, y, n_outputs

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Take the training windows as the network does, and the others likewise."""
        self.train_, self.valid_, self.n_steps_ = [], [], 0
        # A network on a frozen encoder is given embeddings here: made once, not after each epoch.
        taken = getattr(net, "_taken", lambda windows: windows)(self.X)
        self.sets_ = (self.train_, X, y), (self.valid_, taken, self.y)

    def on_batch_end(self, net: NeuralNet, training: bool = False, **kwargs: Any) -> None:
        """Count a gradient step."""
        self.n_steps_ += bool(training)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Score both."""
        # Else an iterator over batches would draw a number that shuffling waits for.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            for scores, X, y in self.sets_:
                said = NeuralNetClassifier.predict_proba(net, X).argmax(1)
                table = confusion_matrix(y, said, labels=range(self.n_outputs))
                scores.append(float(balanced_accuracy(table)))

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Let go of the windows."""
        del self.sets_


class DrawnEpochs(DataLoader):
    """Batches of an epoch of so many windows, drawn anew each time, however many there are.

    Parameters
    ----------
    dataset, batch_size
        As `DataLoader` takes them.
    n_windows, n_steps
        Of an epoch: what does not fit into so many batches is not drawn.
    shuffle, drop_last
        Not looked at: windows are drawn, and `n_steps` says where an epoch ends.
    **kwargs
        As `DataLoader` takes them.
    """

    def __init__(
        self, dataset: Dataset, *, n_windows: int, n_steps: int, batch_size: int,
        shuffle: bool = True, drop_last: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        n_drawn = min(n_windows, n_steps * batch_size)
        drawn = RandomSampler(range(len(dataset)), num_samples=n_drawn)
        super().__init__(dataset, batch_size=batch_size, sampler=drawn, **kwargs)
