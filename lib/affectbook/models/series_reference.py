"""Reference networks of forecasters, with a head for classes: DLinear, iTransformer, TimesNet.

Two of the papers forecast only, and none leaves a formula of how to classify. It is done here as is
usual in public libraries of such networks: the last features of the whole window are flattened, and
one linear map makes the logits. Normalising each series, as forecasts need it, is left out: windows
come scaled.

Letters of the shapes::

    b  windows of a batch           t  samples of a window
    c  channels (electrodes)        d  features of a token
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from affectbook.errors import ParameterError
from affectbook.models.eeg_reference import check_length
from affectbook.models.periods import MSTB


class DLinear(nn.Module):
    """A moving average and what it leaves, each through one linear map over time.

    A. Zeng, M. Chen, L. Zhang and Q. Xu, "Are Transformers Effective for Time Series
    Forecasting?", AAAI 2023, section 4: ends are repeated under the moving average, and all
    channels share the two maps. Here these keep the length of the window. There is no activation
    anywhere: the logits are a linear function of the window, over-parameterised.

    Parameters
    ----------
    n_chans, n_times, n_outputs
        Electrodes, samples per window, classes.
    width
        Samples of the moving average, odd.

    Raises
    ------
    ParameterError
        If `n_times` is under `width`, or `width` is even.
    """

    def __init__(self, n_chans: int, n_times: int, n_outputs: int, *, width: int = 25) -> None:
        super().__init__()
        if width < 1 or width % 2 == 0:
            raise ParameterError(f"width of a moving average must be odd, not {width}")
        check_length(f"DLinear with a moving average of {width}", n_times, width)
        self.width = width
        self.of_trend = nn.Linear(n_times, n_times)
        self.of_rest = nn.Linear(n_times, n_times)
        self.logits = nn.Linear(n_chans * n_times, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(b, n_outputs)`` of windows ``(b, n_chans, n_times)``."""
        padded = F.pad(x, (self.width // 2, self.width // 2), mode="replicate")
        trend = F.avg_pool1d(padded, self.width, stride=1)  # b c t
        x = self.of_trend(trend) + self.of_rest(x - trend)  # b c t
        return self.logits(x.flatten(1))


class ITransformer(nn.Module):
    """A Transformer whose tokens are channels: each token is the whole window of one electrode.

    Y. Liu et al., "iTransformer: Inverted Transformers Are Effective for Time Series Forecasting",
    ICLR 2024, section 3. Layer norm stands behind attention and feed-forward part. Nothing tells
    the tokens apart but the place that they have in the flattened features. Sizes depend on the
    data there; those here are ours.

    Parameters
    ----------
    n_chans, n_times, n_outputs
        Electrodes, samples per window, classes.
    d_model, d_ff, n_heads, n_layers, dropout
        Features of a token, hidden features of the feed-forward part, attention heads, encoder
        layers, rate everywhere.

    Raises
    ------
    ParameterError
        If `n_times` is under 1, or `n_heads` does not divide `d_model`.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        *,
        d_model: int = 128,
        d_ff: int = 128,
        n_heads: int = 4,
        n_layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_length("ITransformer", n_times, 1)
        if d_model % n_heads:
            raise ParameterError(f"n_heads {n_heads} does not divide d_model {d_model}")
        self.embedding = nn.Sequential(nn.Linear(n_times, d_model), nn.Dropout(dropout))
        self.encoder = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    d_model, n_heads, d_ff, dropout, activation="gelu", batch_first=True
                )
                for _ in range(n_layers)
            ),
            nn.LayerNorm(d_model),
        )
        self.head = nn.Sequential(
            nn.GELU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(n_chans * d_model, n_outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(b, n_outputs)`` of windows ``(b, n_chans, n_times)``."""
        x = self.embedding(x)  # b c d
        x = self.encoder(x)  # b c d
        return self.head(x)


class TimesNet(nn.Module):
    """Series folded by their strongest periods into images, and convolved there.

    H. Wu et al., "TimesNet: Temporal 2D-Variation Modeling for General Time Series Analysis", ICLR
    2023, section 3. Each block is an :class:`~affectbook.models.periods.MSTB`, which follows it
    step by step. Where the paper rounds periods up, the authors' published code rounds down, and
    uses one layer norm behind every block: both are done here, and initial
    kernels have the spread that they have there. Sizes depend on the data in the paper.

    The periods are those of the *mean spectrum of the batch*, as published. A prediction therefore
    depends on which windows stand beside it, in testing, too; ``periods="sample"`` repairs this.

    Parameters
    ----------
    n_chans, n_times, n_outputs
        Electrodes, samples per window (at least ``2 k``), classes.
    periods
        ``"batch"``, or ``"sample"``: each window by its own spectrum.
    d_model, d_ff
        Features of a time step, even; features between the two convolutions of a block.
    k, n_layers, dropout
        Periods of a window, blocks, rate behind embedding and blocks.

    Raises
    ------
    ParameterError
        If `n_times` is under ``2 k``, `d_model` is odd, or `periods` is unknown.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        *,
        periods: str = "batch",
        d_model: int = 16,
        d_ff: int = 32,
        k: int = 3,
        n_layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_length(f"TimesNet with {k} periods", n_times, 2 * k)
        if d_model % 2:
            raise ParameterError(f"d_model must be even, not {d_model}")
        if periods not in ("batch", "sample"):
            raise ParameterError(f"periods must be 'batch' or 'sample', not {periods!r}")
        self.embedding = nn.Conv1d(
            n_chans, d_model, 3, padding=1, padding_mode="circular", bias=False
        )
        self.register_buffer("positions", _sinusoids(n_times, d_model), persistent=False)
        self.blocks = nn.ModuleList(
            MSTB(d_model, hidden=d_ff, k=k, periods=periods, rounding="floor")
            for _ in range(n_layers)
        )
        for conv in (m for m in self.blocks.modules() if isinstance(m, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)
        self.norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(d_model * n_times, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(b, n_outputs)`` of windows ``(b, n_chans, n_times)``."""
        x = self.dropout(self.embedding(x) + self.positions)  # b d t
        for block in self.blocks:
            x = self.norm(block(x).mT).mT  # b d t
        return self.logits(self.dropout(F.gelu(x)).flatten(1))


def _sinusoids(n_times: int, d_model: int) -> Tensor:
    """Return the positions ``(d, t)`` of the first Transformer: sines and cosines by turns."""
    rates = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10_000) / d_model))
    angles = rates[:, None] * torch.arange(n_times)  # d/2 t
    return torch.stack([angles.sin(), angles.cos()], 1).flatten(0, 1)
