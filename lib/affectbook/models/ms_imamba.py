"""MS-iMamba: multi-scale foldings of EEG, then a state-space scan over four electrodes.

Source: X. Zhou, D. Huang, X. Peng and L. Yin, "miMamba: EEG-based Emotion Recognition with
Multi-scale Inverted Mamba Models", IEEE Transactions on Affective Computing, 2025 (arXiv
2409.07589, v1 under another title). No code of the authors was found, nor any hyperparameter: the
defaults are a *declared reading*, one choice among those that the text allows, and every switch is
another one.

Letters of the shapes::

    b  windows of a batch           l  tokens of a window: with R1 and R2 its electrodes
    c  channels (electrodes)        d  features of a token
    t  samples of a window
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from affectbook.errors import ParameterError
from affectbook.models.periods import MSTB
from affectbook.models.ssm import Mamba

EMBEDDINGS = ("R1", "R2", "R3", "normal")
MIXERS = ("mamba", "attention", "mlp", "identity")
DIRECTIONS = ("forward", "backward", "both")


class MSiMamba(nn.Module):
    """MS-iMamba in the declared reading by default; every keyword is a switch.

    With four channels, 128 samples and two classes it has 324,698 weights: 73,432 in the MSTB,
    16,512 in the embedding, 233,472 in the two layers with their norms, 256 and 1,026 in the head.

    Parameters
    ----------
    n_chans, n_times, n_outputs
        Electrodes, samples per window, classes. The weights depend on all three.
    mstb
        Number of multi-scale temporal blocks; the declared reading has one, 0 leaves them out.
    k, periods, weights, rounding, hidden
        Of these blocks: see :class:`~affectbook.models.periods.MSTB`.
    tsfb
        Whether there is a temporal-spatial fusion block; without it the samples of all electrodes
        are flattened and classified.
    embedding
        What a token is. ``"R2"``: the whole window of one electrode, mapped to `d_model` features;
        ``"R1"``: the same, taken as it is, so that `d_model` is `n_times`; ``"R3"``: patches of
        `patch` samples of one electrode, electrode by electrode; ``"normal"``: one time step of all
        electrodes, as in a network that is not inverted.
    mixer
        What joins the tokens: ``"mamba"``; ``"attention"``, with four heads; ``"mlp"``, one hidden
        layer over all tokens at once with about as many weights as the Mamba; ``"identity"``,
        nothing before the head.
    direction
        Of the scan over the tokens: ``"forward"``, ``"backward"``, or ``"both"``, two scans added
        up.
    order
        Electrodes in the order in which they are scanned, as positions in `n_chans`; None: as they
        come.
    d_model, n_layers, d_state, d_conv, expand
        Of the layers: see :class:`~affectbook.models.ssm.Mamba`.
    patch
        Samples of a patch with ``"R3"``; the last one is filled with zeros.

    Raises
    ------
    ParameterError
        If a switch has an unknown value, `order` is no permutation, or a size is below 1.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        *,
        mstb: int = 1,
        k: int = 3,
        periods: str = "sample",
        weights: str = "softmax",
        rounding: str = "ceil",
        hidden: int = 32,
        tsfb: bool = True,
        embedding: str = "R2",
        mixer: str = "mamba",
        direction: str = "forward",
        order: Sequence[int] | None = None,
        d_model: int = 128,
        n_layers: int = 2,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        patch: int = 16,
    ) -> None:
        super().__init__()
        if n_times < 2 * k:
            raise ParameterError(
                f"n_times {n_times} is too short for {k} periods: the minimum is {2 * k} samples"
            )
        scales = {"k": k, "periods": periods, "weights": weights, "rounding": rounding}
        self.mstb = nn.Sequential(*(MSTB(n_chans, hidden=hidden, **scales) for _ in range(mstb)))
        self.tsfb = None
        n_features = n_chans * n_times
        if tsfb:
            tokens = Embedding(n_chans, n_times, d_model, embedding, patch=patch, order=order)
            sizes = {"d_state": d_state, "d_conv": d_conv, "expand": expand}
            layers = [
                Layer(tokens.n_tokens, tokens.d_model, mixer, direction, **sizes)
                for _ in range(n_layers)
            ]
            self.tsfb = nn.Sequential()
            self.tsfb.add_module("embedding", tokens)
            self.tsfb.add_module("layers", nn.Sequential(*layers))
            self.tsfb.add_module("norm", nn.LayerNorm(tokens.d_model))
            n_features = tokens.n_tokens * tokens.d_model
        self.head = nn.Linear(n_features, n_outputs)

    def tokens(self, x: Tensor) -> Tensor:
        """Return what reaches the head ``(b, l, d)`` of windows ``(b, c, t)``."""
        x = self.mstb(x)  # b c t
        return x if self.tsfb is None else self.tsfb(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(b, n_outputs)`` of windows ``(b, n_chans, t)``."""
        return self.head(self.tokens(x).flatten(1))


class Embedding(nn.Module):
    """What a token is: windows ``(b, c, t)`` to tokens ``(b, l, d_model)``.

    Parameters
    ----------
    n_chans, n_times, d_model
        `d_model` is `n_times` with ``"R1"``, whatever is given.
    kind, patch, order
        As of :class:`MSiMamba`.

    Raises
    ------
    ParameterError
        If `kind` is unknown, `order` is no permutation, or a size is below 1.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        d_model: int,
        kind: str = "R2",
        *,
        patch: int = 16,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if kind not in EMBEDDINGS:
            raise ParameterError(f"embedding must be one of {EMBEDDINGS}, not {kind!r}")
        if order is not None and sorted(order) != list(range(n_chans)):
            raise ParameterError(f"order {tuple(order)} is no permutation of 0 to {n_chans - 1}")
        if min(d_model, patch) < 1:
            raise ParameterError(f"d_model {d_model} and patch {patch} must be 1 or more")
        self.kind, self.order = kind, None if order is None else list(order)
        self.d_model = n_times if kind == "R1" else d_model
        self.patch, n_patches = patch, -(-n_times // patch)
        self.padding = n_patches * patch - n_times
        self.n_tokens = {"R3": n_chans * n_patches, "normal": n_times}.get(kind, n_chans)
        width = {"R3": patch, "normal": n_chans}.get(kind, n_times)
        self.linear = nn.Identity() if kind == "R1" else nn.Linear(width, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens ``(b, l, d_model)``."""
        x = x if self.order is None else x[:, self.order]  # b c t
        if self.kind == "normal":
            x = x.transpose(1, 2)  # b t c
        elif self.kind == "R3":
            patches = nn.functional.pad(x, (0, self.padding)).unflatten(-1, (-1, self.patch))
            x = patches.flatten(1, 2)  # b (c patches) patch
        return self.linear(x)


class Layer(nn.Module):
    """Norm, mixer, residual: tokens ``(b, l, d)`` to tokens.

    Where norm and residual stand was not found in the paper; this is the order of the published
    Mamba.
    """

    def __init__(
        self, n_tokens: int, d_model: int, mixer: str, direction: str = "forward", **sizes: int
    ) -> None:
        super().__init__()
        if mixer not in MIXERS:
            raise ParameterError(f"mixer must be one of {MIXERS}, not {mixer!r}")
        self.norm = nn.LayerNorm(d_model)
        if mixer == "mamba":
            self.mixer = Scan(d_model, direction, **sizes)
        elif mixer == "attention":
            self.mixer = Attention(d_model)
        elif mixer == "mlp":
            self.mixer = TokenMixer(n_tokens, d_model)
        else:
            self.mixer = None

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens ``(b, l, d)``."""
        return x if self.mixer is None else x + self.mixer(self.norm(x))


class Scan(nn.Module):
    """A Mamba over the tokens, forwards, backwards, or two of them added up.

    A forward scan is causal: a token's output depends on itself and on the tokens before it.
    """

    def __init__(self, d_model: int, direction: str = "forward", **sizes: int) -> None:
        super().__init__()
        if direction not in DIRECTIONS:
            raise ParameterError(f"direction must be one of {DIRECTIONS}, not {direction!r}")
        self.forwards = None if direction == "backward" else Mamba(d_model, **sizes)
        self.backwards = None if direction == "forward" else Mamba(d_model, **sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens ``(b, l, d)``."""
        found = []
        if self.forwards is not None:
            found.append(self.forwards(x))
        if self.backwards is not None:
            found.append(self.backwards(x.flip(1)).flip(1))
        return torch.stack(found).sum(0) if len(found) > 1 else found[0]


class Attention(nn.Module):
    """Self-attention over the tokens with four heads, or one where four do not divide `d_model`."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        heads = 1 if d_model % 4 else 4
        self.attention = nn.MultiheadAttention(d_model, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens ``(b, l, d)``."""
        return self.attention(x, x, x, need_weights=False)[0]


class TokenMixer(nn.Module):
    """One hidden layer over all tokens at once, with about as many weights as a Mamba layer."""

    def __init__(self, n_tokens: int, d_model: int) -> None:
        super().__init__()
        width = n_tokens * d_model
        wanted = sum(weight.numel() for weight in Mamba(d_model).parameters())
        hidden = max(1, round((wanted - width) / (2 * width + 1)))
        self.hidden, self.out = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens ``(b, l, d)``."""
        mixed = self.out(nn.functional.gelu(self.hidden(x.flatten(1))))
        return mixed.unflatten(1, x.shape[1:])
