"""The networks of self-supervised ECG: an encoder, seven pretext heads, and emotion heads.

P. Sarkar and A. Etemad, "Self-Supervised ECG Representation Learning for Emotion Recognition",
IEEE Transactions on Affective Computing 13(3), 2022, doi 10.1109/TAFFC.2020.3014842. Shapes and
sizes follow the authors' released code and graph, re-implemented; where the text differs, the
docstring says so.

Letters: b windows, c channels, t samples, f features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from affectbook.augment import NAMES
from affectbook.errors import ParameterError

N_FEATURES = 128
# Filters and kernel of the two convolutions in each block.
BLOCKS = ((32, 32), (64, 16), (128, 8))
_POOL = (8, 2)
_SLOPE = 0.2
ACTIVATIONS = {"leaky_relu": lambda: nn.LeakyReLU(_SLOPE), "relu": nn.ReLU}
POOLINGS = ("max", "mean")
# Layers, units, activation and dropout of the emotion heads.
HEADS: dict[str, tuple[int, int, type[nn.Module], float]] = {
    "dense_512x2": (2, 512, nn.ReLU, 0.0),
    "dense_512x3": (3, 512, nn.ReLU, 0.2),
    "dense_64x2": (2, 64, nn.Sigmoid, 0.0),
    "linear": (0, 0, nn.Identity, 0.0),
}


class Encoder(nn.Module):
    """Six convolutions in three blocks, and the maximum over time.

    TensorFlow's "same" padding of an even kernel k puts k/2 - 1 zeros on the left and k/2 on the
    right. Text and figure of the paper say ReLU; the released graph holds leaky ReLU with slope
    0.2, and no batch norm.

    Parameters
    ----------
    n_chans
        Leads; 1 as published.
    activation
        ``"leaky_relu"`` (released) or ``"relu"`` (text).
    batch_norm
        Normalise after each convolution, as the later description has it; never in the release.
    pooling
        Over time at the end: ``"max"`` (released) or ``"mean"``.
    n_blocks
        How many of the three blocks are used, for features of earlier depth.

    Raises
    ------
    ParameterError
        If a choice is unknown.
    """

    def __init__(
        self,
        n_chans: int = 1,
        *,
        activation: str = "leaky_relu",
        batch_norm: bool = False,
        pooling: str = "max",
        n_blocks: int = 3,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS or pooling not in POOLINGS or n_blocks not in (1, 2, 3):
            raise ParameterError(
                f"no encoder with activation {activation!r}, pooling {pooling!r} and {n_blocks} "
                f"blocks; there are {', '.join(ACTIVATIONS)}; {', '.join(POOLINGS)}; 1 to 3 blocks"
            )
        self.pooling = pooling
        self.n_features = BLOCKS[n_blocks - 1][0]
        self.blocks, n_in = nn.ModuleList(), n_chans
        for n_out, kernel in BLOCKS[:n_blocks]:
            layers = [nn.MaxPool1d(*_POOL)] if self.blocks else []
            for wide in (n_in, n_out):
                layers += [_same(kernel), nn.Conv1d(wide, n_out, kernel)]
                layers += [nn.BatchNorm1d(n_out)] if batch_norm else []
                layers += [ACTIVATIONS[activation]()]
            self.blocks.append(nn.Sequential(*layers))
            n_in = n_out
        self.apply(start)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return what each block gives: ``(b, 32, t)``, ``(b, 64, t')``, ``(b, 128, t'')``."""
        found = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found

    def pooled(self, x: Tensor) -> Tensor:
        """Return a map ``(b, f, t)`` without its time axis."""
        return x.amax(-1) if self.pooling == "max" else x.mean(-1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature ``(b, 128)`` of windows ``(b, c, t)``."""
        return self.pooled(self.maps(x)[-1])


class TransformationRecognition(nn.Module):
    """The pretext network: the encoder, and one head for each version of a window.

    561,223 parameters with one lead and seven heads, 329,152 of them in the convolutions.

    Parameters
    ----------
    n_chans
        Leads.
    tasks
        Versions that have a head, a part of `augment.NAMES`.
    single_head
        One head with a softmax over the versions in place of one sigmoid each.
    **encoder
        Passed on to `Encoder`.

    Raises
    ------
    ParameterError
        If a task or a choice of the encoder is unknown, or there is no task.
    """

    def __init__(
        self,
        n_chans: int = 1,
        *,
        tasks: tuple[str, ...] = NAMES,
        single_head: bool = False,
        **encoder: object,
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        if not self.tasks or not set(self.tasks) <= set(NAMES):
            found = ", ".join(map(repr, self.tasks)) or "no task"
            raise ParameterError(f"no heads for {found}; there are {', '.join(NAMES)}")
        self.encoder = Encoder(n_chans, **encoder)
        n_heads, n_logits = (1, len(self.tasks)) if single_head else (len(self.tasks), 1)
        width = self.encoder.n_features
        self.heads = nn.ModuleList(_pretext_head(width, n_logits) for _ in range(n_heads))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(b, n_tasks)`` of windows ``(b, c, t)``."""
        feature = self.encoder(x)
        return torch.cat([head(feature) for head in self.heads], 1)

    def kernels(self) -> list[nn.Parameter]:
        """Return what the L2 penalty is on: the weights of all layers, none of the biases."""
        return [
            layer.weight
            for layer in self.modules()
            if isinstance(layer, nn.Conv1d | nn.Linear)
        ]


class EmotionHead(nn.Module):
    """The emotion head on the frozen feature.

    Parameters
    ----------
    n_chans, n_times
        One row of features is a window of one channel: 1 and 128.
    n_outputs
        Classes.
    head
        ``"dense_512x2"`` (released for SWELL and WESAD), ``"dense_512x3"`` (DREAMER and AMIGOS),
        ``"dense_64x2"`` (a report on the ICASSP paper) or ``"linear"`` (the contrastive
        description).
    dropout
        After each layer; None: as released, 0.2 for three layers and none for two.

    Raises
    ------
    ParameterError
        If there is no such head.
    """

    def __init__(
        self, n_chans: int, n_times: int, n_outputs: int, *, head: str = "dense_512x3",
        dropout: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if head not in HEADS:
            raise ParameterError(f"no head {head!r}; there are {', '.join(HEADS)}")
        n_layers, units, activation, released = HEADS[head]
        n_in, layers = n_chans * n_times, []
        share = released if dropout is None else dropout
        for _ in range(n_layers):
            layers += [nn.Linear(n_in, units), activation()]
            layers += [nn.Dropout(share)] if share else []
            n_in = units
        self.layers = nn.Sequential(nn.Flatten(), *layers, nn.Linear(n_in, n_outputs))
        self.apply(start)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(b, n_outputs)`` of features ``(b, 1, f)``."""
        return self.layers(x)


class EmotionNet(nn.Module):
    """Encoder and emotion head in one piece, for training from scratch and for fine-tuning.

    Parameters
    ----------
    n_chans, n_times, n_outputs
        Leads, samples, classes. The encoder takes any number of samples it can pool twice.
    head, dropout
        As `EmotionHead`.
    **encoder
        Passed on to `Encoder`.

    Raises
    ------
    ParameterError
        If a choice is unknown, or windows are too short to be pooled.
    """

    def __init__(
        self, n_chans: int, n_times: int, n_outputs: int, *, head: str = "dense_512x3",
        dropout: float | None = None, **encoder: object,
    ) -> None:  # fmt: skip
        super().__init__()
        if n_times < 22:
            raise ParameterError(
                f"windows of {n_times} samples are too short: they are pooled over 8 twice, "
                "which takes 22"
            )
        self.encoder = Encoder(n_chans, **encoder)
        self.head = EmotionHead(1, self.encoder.n_features, n_outputs, head=head, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(b, n_outputs)`` of windows ``(b, c, t)``."""
        return self.head(self.encoder(x)[:, None])


def start(layer: nn.Module) -> None:
    """Give a layer the initial weights of the released code: Glorot uniform, zero biases."""
    if isinstance(layer, nn.Conv1d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)


def _same(kernel: int) -> nn.Module:
    return nn.ConstantPad1d((kernel // 2 - 1, kernel // 2), 0.0)


def _pretext_head(width: int, n_logits: int) -> nn.Sequential:
    layers, n_in = [], width
    for _ in range(2):
        layers += [nn.Linear(n_in, N_FEATURES), nn.LeakyReLU(_SLOPE), nn.Dropout(0.6)]
        n_in = N_FEATURES
    head = nn.Sequential(*layers, nn.Linear(n_in, n_logits))
    return head.apply(start)
