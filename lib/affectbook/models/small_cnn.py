"""The small convolutional network that HCMNet's authors compare with (their ``cnn_base``)."""

from __future__ import annotations

from torch import Tensor, nn

from affectbook.errors import ParameterError


class SmallCNN(nn.Module):
    """Three blocks of convolution, batch norm, activation and max pool; then two linear layers.

    Parameters
    ----------
    n_chans, n_times, n_outputs
        Leads, samples per window (at least 8), classes. The weights do not depend on `n_times`.

    Raises
    ------
    ParameterError
        If `n_times` is under 8, which the three pools would reduce to nothing.
    """

    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        if n_times < 8:
            raise ParameterError(f"n_times {n_times} is too short for SmallCNN: the minimum is 8")
        self.cnn = nn.Sequential()
        c_in = n_chans
        for i, (c_out, act) in enumerate(((32, nn.ReLU), (64, nn.ReLU), (128, nn.LeakyReLU)), 1):
            self.cnn.add_module(f"conv{i}", nn.Conv1d(c_in, c_out, 3, padding=1))
            self.cnn.add_module(f"norm{i}", nn.BatchNorm1d(c_out))
            self.cnn.add_module(f"act{i}", act())
            self.cnn.add_module(f"pool{i}", nn.MaxPool1d(2))
            c_in = c_out
        self.head = nn.Sequential()
        self.head.add_module("hidden", nn.Linear(c_in, 256))
        self.head.add_module("logits", nn.Linear(256, n_outputs))

    def embed(self, x: Tensor) -> Tensor:
        """Return the 128 features of windows ``(b, n_chans, t)``: their maxima over time."""
        return self.cnn(x).amax(-1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(b, n_outputs)`` of windows ``(b, n_chans, t)``."""
        return self.head(self.embed(x))
