"""The gates and the head of ECG-EmotionNet: the layers of a frozen backbone, mixed and classified.

N. Mansourian, A. Mohammadi, M. O. Ahmad and M. N. S. Swamy, "ECG-EmotionNet: Nested Mixture of
Expert (NMoE) Adaptation of ECG-Foundation Model for Driver Emotion Recognition", arXiv 2503.01750,
2025. At hand were the abstract and a public summary; authors' code was not found. They say that
all 12 layers are mixed with trainable weights, pooled by their average, and classified by dense
layers with batch norm and dropout. The equation of the gate, widths, dropout and activation were
not found: each reading of the gate is a kind of `Gate`, and the sizes of the head are ours.

"Nested" is meant of the experts: each contains the one before, as all are depths of one stack.

Letters: b windows, l layers, t tokens, h features of a token, n outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectbook.errors import ParameterError

N_LAYERS, HIDDEN = 12, 768
GATES = ("last", "uniform", "static", "raw", "dynamic", "token")
CONTEXTS = ("last", "all")
NORMALISED = (None, "layer_norm", "zscore")
WIDTHS, DROPOUT = (256, 64), 0.2
_AT_ONCE = 256


class Gate(nn.Module):
    """Weights of the layers; all kinds but ``"token"`` commute with the mean over tokens.

    A gate that learns starts as the uniform mean: the softmax of zeros, or 1/l where there is no
    softmax. What it has become after training is then what training made of it.

    Parameters
    ----------
    kind
        ``"last"``: the last layer alone, the linear probe. ``"uniform"``: their mean.
        ``"static"``: the softmax of one number per layer, as ELMo mixes its layers; our main
        reading. ``"raw"``: one number per layer, which may grow, shrink and change sign.
        ``"dynamic"``: the softmax of a linear map of the window's pooled embedding. ``"token"``:
        the same map, of each token by itself.
    n_layers, hidden
        Layers l to weigh, and features h of a token.
    context
        What a map sees, of a window or token: ``"last"`` layer or ``"all"`` of them side by side;
        of 12 layers with 768 features that is 9,228 or 110,604 parameters.

    Raises
    ------
    ParameterError
        If the kind or the context is unknown.
    """

    def __init__(
        self, kind: str = "static", *, n_layers: int = N_LAYERS, hidden: int = HIDDEN,
        context: str = "last",
    ) -> None:  # fmt: skip
        super().__init__()
        if kind not in GATES or context not in CONTEXTS:
            raise ParameterError(
                f"no gate {kind!r} that sees {context!r}; there are {', '.join(GATES)}, and for "
                f"the last two {' or '.join(CONTEXTS)}"
            )
        self.kind, self.context = kind, context
        uniform = torch.full((n_layers,), 1 / n_layers)
        if kind == "last":
            self.register_buffer("fixed", F.one_hot(torch.tensor(n_layers - 1), n_layers).float())
        elif kind == "uniform":
            self.register_buffer("fixed", uniform)
        elif kind == "static":
            self.scores = nn.Parameter(torch.zeros(n_layers))
        elif kind == "raw":
            self.scores = nn.Parameter(uniform)
        else:
            self.map = nn.Linear(hidden * (n_layers if context == "all" else 1), n_layers)
            nn.init.zeros_(self.map.weight)
            nn.init.zeros_(self.map.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return weights ``(b, l)``, for ``"token"`` ``(b, l, t)``.

        Parameters
        ----------
        x
            Tokens ``(b, l, t, h)``, or their means ``(b, l, h)``.

        Raises
        ------
        ParameterError
            If weights per token are asked for where there are no tokens.
        """
        if self.kind == "token":
            if x.ndim != 4:
                raise ParameterError(
                    "the gate token weighs each token: it takes (b, l, t, h), and cannot work on "
                    f"pooled embeddings {tuple(x.shape)}"
                )
            return self.map(self._seen(x.transpose(1, 2))).softmax(-1).transpose(1, 2)
        if self.kind == "dynamic":
            return self.map(self._seen(x.mean(2) if x.ndim == 4 else x)).softmax(-1)
        weights = self.fixed if self.kind in ("last", "uniform") else self.scores
        weights = weights.softmax(0) if self.kind == "static" else weights
        return weights.expand(len(x), -1)

    def _seen(self, x: Tensor) -> Tensor:
        """Return what the map sees of ``(..., l, h)``."""
        return x[..., -1, :] if self.context == "last" else x.flatten(-2)


class NMoE(nn.Module):
    """A gate over the layers of a frozen backbone, the mean over tokens, and a dense head.

    With 12 layers of 768 features and 5 outputs the head has 214,277 parameters. One layer and no
    widths make the linear probe of that layer.

    Parameters
    ----------
    n_outputs
        Classes.
    n_layers, hidden
        Layers of the backbone, and features of a token.
    gate, context
        As `Gate`.
    layers
        Those that are mixed, counted from 1 as in the paper and in ascending order; None: all.
    normalise
        What is done to each layer before it is mixed, since a layer of large numbers outweighs the
        others whatever its weight: None; ``"layer_norm"``: each embedding to mean 0 and deviation
        1 over its own features, which does not commute with the mean over tokens; ``"zscore"``:
        each feature of each layer to mean 0 and deviation 1 over the training windows, which
        `learn_scale` has to see first.
    widths
        Units of the dense layers before the last one.
    dropout
        After each of them.

    Raises
    ------
    ParameterError
        If a choice is unknown, or `layers` are none of the backbone's.
    """

    def __init__(
        self,
        *,
        n_outputs: int,
        n_layers: int = N_LAYERS,
        hidden: int = HIDDEN,
        gate: str = "static",
        context: str = "last",
        layers: tuple[int, ...] | None = None,
        normalise: str | None = None,
        widths: tuple[int, ...] = WIDTHS,
        dropout: float = DROPOUT,
    ) -> None:
        super().__init__()
        chosen = tuple(range(1, n_layers + 1)) if layers is None else tuple(layers)
        if not chosen or list(chosen) != sorted(set(chosen) & set(range(1, n_layers + 1))):
            raise ParameterError(
                f"layers {chosen} cannot be mixed; expected some of 1 to {n_layers}, ascending"
            )
        if normalise not in NORMALISED:
            known = ", ".join(map(str, NORMALISED))
            raise ParameterError(f"no normalisation {normalise!r}; there are {known}")
        self.n_layers, self.hidden, self.normalise = n_layers, hidden, normalise
        self.chosen = [layer - 1 for layer in chosen]
        if normalise == "zscore":
            unknown = torch.full((len(chosen), hidden), torch.nan)
            self.register_buffer("mean", unknown)
            self.register_buffer("deviation", unknown.clone())
        self.gate = Gate(gate, n_layers=len(chosen), hidden=hidden, context=context)
        self.head = _head(hidden, tuple(widths), n_outputs, dropout)

    @torch.no_grad()
    def learn_scale(self, x: Tensor) -> None:
        """Learn mean and deviation for ``"zscore"``; for the others there is nothing to learn.

        Parameters
        ----------
        x
            Embeddings of training windows ``(n, n_layers, h)`` or ``(n, n_layers, t, h)``.
        """
        if self.normalise != "zscore":
            return
        # Pooled embeddings are tokens, one a window. In parts, as they may be a memory map, in
        # float64; from the first token on, so that what is constant deviates by exactly 0.
        tokens = x if x.ndim == 4 else x[:, :, None]
        first = tokens[0, self.chosen, :1].double()
        total, squares = torch.zeros_like(first), torch.zeros_like(first)
        for part in tokens.split(max(1, _AT_ONCE // tokens.shape[2])):
            apart = part[:, self.chosen].double() - first
            total += apart.sum((0, 2))[:, None]
            squares += apart.square().sum((0, 2))[:, None]
        count = len(tokens) * tokens.shape[2]
        shift = total / count
        deviation = (squares / count - shift.square()).clamp_min(0).sqrt()
        self.mean.copy_((first + shift)[:, 0])
        self.deviation.copy_(torch.where(deviation > 0, deviation, 1.0)[:, 0])

    def weights(self, x: Tensor) -> Tensor:
        """Return the weight of each layer ``(b, n_layers)``, for ``"token"`` ``(b, n_layers, t)``.

        Layers that are not mixed have the weight 0. `x` is as `forward` takes it.
        """
        chosen = self.gate(self._scaled(x))
        found = chosen.new_zeros(len(chosen), self.n_layers, *chosen.shape[2:])
        found[:, self.chosen] = chosen
        return found

    def mixed(self, x: Tensor) -> Tensor:
        """Return the mixture of the layers: ``(b, h)`` of ``(b, l, h)``, else ``(b, t, h)``."""
        x = self._scaled(x)
        weights = self.gate(x)
        if weights.ndim == 3:
            return torch.einsum("blt,blth->bth", weights, x)
        return torch.einsum("bl,bl...->b...", weights, x)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(b, n_outputs)``.

        Parameters
        ----------
        x
            The tokens of all layers ``(b, n_layers, t, h)``, or their means ``(b, n_layers, h)``:
            the same to every gate but ``"token"``, unless layers are normalised by
            ``"layer_norm"``.

        Raises
        ------
        ParameterError
            If the shape is another one, the gate weighs tokens and there are none, or
            ``"zscore"`` has no mean and deviation yet.
        """
        mixture = self.mixed(x)
        return self.head(mixture.mean(1) if mixture.ndim == 3 else mixture)

    def _scaled(self, x: Tensor) -> Tensor:
        """Return the layers that are mixed, normalised."""
        if x.ndim not in (3, 4) or (x.shape[1], x.shape[-1]) != (self.n_layers, self.hidden):
            raise ParameterError(
                f"embeddings have the shape {tuple(x.shape)}; expected (b, {self.n_layers}, "
                f"{self.hidden}), or (b, {self.n_layers}, tokens, {self.hidden})"
            )
        x = x if len(self.chosen) == self.n_layers else x[:, self.chosen]
        if self.normalise == "layer_norm":
            return F.layer_norm(x, x.shape[-1:])
        if self.normalise == "zscore":
            if self.deviation[0, 0].isnan():
                raise ParameterError("zscore has seen no embedding yet: call learn_scale before")
            mean, deviation = self.mean, self.deviation
            if x.ndim == 4:
                mean, deviation = mean[:, None], deviation[:, None]
            return (x - mean) / deviation
        return x


def _head(hidden: int, widths: tuple[int, ...], n_outputs: int, dropout: float) -> nn.Sequential:
    layers, n_in = [], hidden
    for units in widths:
        layers += [nn.Linear(n_in, units), nn.BatchNorm1d(units), nn.ReLU(), nn.Dropout(dropout)]
        n_in = units
    return nn.Sequential(*layers, nn.Linear(n_in, n_outputs))
