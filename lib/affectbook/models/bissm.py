"""What joins the time steps in HCMNet: two Mamba-2 scans, or in an ablation an LSTM as large.

Source: the code that HCMNet's authors published. Letters of the shapes: ``b`` batch,
``c`` channels, ``l`` time steps, ``d`` model dimension of the scans.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from affectbook.errors import ParameterError
from affectbook.models.ssm import Mamba2

DIRECTIONS = ("both", "forward", "backward")
INITS = ("mamba_ssm", "rewritten")


class BiSSM(nn.Module):
    """A forward and a backward Mamba-2 scan with separate weights, summed.

    Parameters
    ----------
    channels
        Features before and after.
    directions
        ``"both"`` as published, ``"forward"`` or ``"backward"``.
    pad_first
        As published, zeros are appended before anything else, so the backward scan starts in them;
        ``False``: no zeros.
    init
        ``"mamba_ssm"``, as released, or ``"rewritten"``: the initial step sizes and decays of the
        authors' own scan (December 2025), which leaves D in uninitialised memory (zero here) and
        clips step sizes at 10 (not done here; they start near 0.007).

    Raises
    ------
    ParameterError
        If a switch has an unknown value.
    """

    pad_to = 64  # the published code pads the length to a multiple of its chunk size

    def __init__(
        self,
        channels: int = 128,
        *,
        directions: str = "both",
        pad_first: bool = True,
        init: str = "mamba_ssm",
    ) -> None:
        super().__init__()
        if directions not in DIRECTIONS:
            raise ParameterError(f"directions must be one of {DIRECTIONS}, not {directions!r}")
        if init not in INITS:
            raise ParameterError(f"init must be one of {INITS}, not {init!r}")
        d_model = 2 * channels

        def scan(direction: str) -> Mamba2 | None:
            return Mamba2(d_model, chunk_size=self.pad_to) if direction in wanted else None

        wanted = ("forward", "backward") if directions == "both" else (directions,)
        self.pad_first = pad_first
        self.enter = nn.Linear(channels, d_model, bias=False)
        self.forward_scan, self.backward_scan = scan("forward"), scan("backward")
        self.leave = nn.Linear(d_model, channels, bias=False)
        if init == "rewritten":
            for layer in filter(None, (self.forward_scan, self.backward_scan)):
                start_as_rewritten(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, c, l)`` to ``(b, c, l)``; no residual."""
        length = x.shape[-1]
        if self.pad_first:
            x = F.pad(x, (0, -length % self.pad_to))
        tokens = self.enter(x.transpose(1, 2))  # b l d
        y = 0.0
        if self.forward_scan is not None:
            y = self.forward_scan(tokens)
        if self.backward_scan is not None:
            # Flipped with its padding: the convolution has a bias, so the padded steps fill the
            # state before the first real step arrives.
            y = y + self.backward_scan(tokens.flip(1)).flip(1)
        return self.leave(y)[:, :length].transpose(1, 2)


def start_as_rewritten(scan: Mamba2) -> None:
    """Give a scan the initial step sizes, decays and skip of the authors' own rewrite."""
    nn.init.normal_(scan.dt_bias, -5.0, 0.1)
    nn.init.normal_(scan.A_log, 0.0, 0.1)
    nn.init.zeros_(scan.D)


class BiLSTM(nn.Module):
    """A bidirectional LSTM in place of the two scans, with as many weights (99.97 %).

    Parameters
    ----------
    channels
        Features before and after.
    hidden
        Units in each direction; 231 gives 995,576 weights beside the 995,888 of the scans.
    """

    def __init__(self, channels: int = 128, hidden: int = 231) -> None:
        super().__init__()
        self.enter = nn.Linear(channels, 2 * channels, bias=False)
        self.lstm = nn.LSTM(2 * channels, hidden, batch_first=True, bidirectional=True)
        self.leave = nn.Linear(2 * hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, c, l)`` to ``(b, c, l)``; no residual."""
        y, _ = self.lstm(self.enter(x.transpose(1, 2)))
        return self.leave(y).transpose(1, 2)
