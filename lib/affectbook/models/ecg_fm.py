"""ECG-FM, the frozen backbone of ECG-EmotionNet: a wav2vec 2.0 encoder of twelve leads.

K. McKeen et al., "ECG-FM: An Open Electrocardiogram Foundation Model", JAMIA Open, 2025, arXiv
2408.05178; its use for emotions: N. Mansourian et al., arXiv 2503.01750. The network is
`Wav2Vec2Model` of transformers with a first convolution of twelve leads, in the sizes of the public
checkpoint: *Base*, not the *Large* model of the first version of the paper, whose sizes the
``.yaml`` beside the checkpoint still has.

Letters: b windows, c leads, t samples, l tokens (16 samples each), d hidden, n layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model
from transformers.models.wav2vec2.modeling_wav2vec2 import (
    Wav2Vec2FeatureEncoder,
    Wav2Vec2GumbelVectorQuantizer,
)

from affectbook.errors import CheckpointError, ParameterError
from affectbook.models import _ecg_fm_checkpoint, checkpoint

N_CONVS, KERNEL = 4, 2
SAMPLES_PER_TOKEN = KERNEL**N_CONVS
POSITIONS, POSITION_GROUPS = 128, 16
GROUPS, CODES = 2, 320


class ECGFM(nn.Module):
    """The encoder of ECG-FM: twelve leads of 500 Hz to the tokens of each layer.

    Four convolutions of kernel and stride 2, group norm per channel after the first; layer norm and
    projection; a convolution over 128 tokens in the place of positions; layers with the norm after
    the residual, and none after the last. As published 90,373,248 parameters. Nothing is masked and
    no layer is skipped. It begins in evaluation mode, and with the random weights of wav2vec 2.0;
    without dropout, training mode computes the same.

    Parameters
    ----------
    hidden, n_layers, n_heads, ffn, conv
        Width of the tokens, layers, attention heads, width of the feed-forward part, channels of
        the convolutions. 96, 12, 4, 384, 64 (1.45 M parameters) and 128, 12, 4, 512, 64 (2.55 M)
        are sizes that can be trained on a CPU; they are not ECG-FM.
    n_chans
        Leads; in the order of `leads.LEADS` for the published weights.
    dropout
        Of tokens, attention and projection, in training mode. The pretraining had 0.1.

    Raises
    ------
    ParameterError
        If a size is below 1, or heads or 16 groups do not divide `hidden`.
    """

    def __init__(
        self,
        hidden: int = 768,
        n_layers: int = 12,
        n_heads: int = 12,
        ffn: int = 3072,
        conv: int = 256,
        n_chans: int = 12,
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.sizes = {
            "hidden": hidden, "n_layers": n_layers, "n_heads": n_heads, "ffn": ffn, "conv": conv,
            "n_chans": n_chans,
        }  # fmt: skip
        if min(self.sizes.values()) < 1 or hidden % n_heads or hidden % POSITION_GROUPS:
            told = ", ".join(f"{name} {size}" for name, size in self.sizes.items())
            raise ParameterError(
                f"no ECG-FM with {told}: each must be 1 or more, and hidden a multiple of n_heads "
                f"and of {POSITION_GROUPS}"
            )
        self.network = _TwelveLeadWav2Vec2(_config(self.sizes, dropout), n_chans)
        self.eval()

    @classmethod
    def from_checkpoint(cls, path: str | Path, sha256: str | None = None) -> ECGFM:
        """Return the encoder with the weights of a file, in evaluation mode.

        Parameters
        ----------
        path
            A published file of fairseq-signals, pretrained or fine-tuned (``.pt``); or weights that
            `checkpoint.save` kept with ``constructor=model.sizes`` (``.safetensors`` and a card).
        sha256
            The sum of the file that is meant. It is compared before anything is parsed.

        Raises
        ------
        CheckpointError
            One message: the file is not there, has another sum, is cut or damaged, carries code,
            or its tensors are not exactly those of this encoder.
        """
        path = Path(path)
        if path.suffix == checkpoint.SUFFIX:
            return cls._kept(path, sha256)
        published = _ecg_fm_checkpoint.read(path, sha256)
        model = cls._on_meta(path, published.sizes)
        network = model.network
        network.load_state_dict(published.tensors_of(network.state_dict()), assign=True)
        return model

    @classmethod
    def _kept(cls, path: Path, sha256: str | None) -> ECGFM:
        if sha256 is not None:
            checkpoint.load_state(path, sha256=sha256)
        card = checkpoint.read_card(path)
        model = cls._on_meta(path, card["constructor"]).to_empty(device="cpu")
        # What is kept in half precision takes half the space; it is computed with in float32.
        halved = any(told["dtype"] == "float16" for told in card["tensors"].values())
        checkpoint.load(model.half() if halved else model, path)
        return model.float()

    @classmethod
    def _on_meta(cls, path: Path, sizes: dict[str, object] | None) -> ECGFM:
        """Return an encoder without values: those that it would begin with are not needed."""
        try:
            with torch.device("meta"):
                return cls(**sizes)
        except (ParameterError, TypeError) as error:
            raise CheckpointError(f"{path}: its sizes are none of an ECG-FM: {error}") from None

    def states(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the tokens ``(b, l, d)`` after each layer, one layer after the other.

        The input of the first layer is not among them.

        Parameters
        ----------
        x
            Windows ``(b, c, t)`` of at least 16 samples; t // 16 tokens: 156 of 2500 samples.

        Raises
        ------
        ParameterError
            If they have other leads or too few samples.
        """
        tokens, _ = self.network.feature_projection(self.features(x))  # b l d
        yield from self.layers(tokens)

    def features(self, x: Tensor) -> Tensor:
        """Return what the convolutions give ``(b, l, conv)`` of windows ``(b, c, t)``."""
        n_chans = self.sizes["n_chans"]
        if x.ndim != 3 or x.shape[1] != n_chans or x.shape[2] < SAMPLES_PER_TOKEN:
            raise ParameterError(
                f"windows (b, {n_chans}, t) with t of {SAMPLES_PER_TOKEN} or more expected, not "
                f"{(*x.shape,)}; leads.TwelveLeads makes twelve leads of one"
            )
        return self.network.feature_extractor(x).transpose(1, 2)

    def layers(self, tokens: Tensor) -> Iterator[Tensor]:
        """Yield tokens ``(b, l, d)`` after each layer, of projected features ``(b, l, d)``."""
        encoder = self.network.encoder
        tokens = tokens + encoder.pos_conv_embed(tokens)
        tokens = encoder.dropout(encoder.layer_norm(tokens))
        for layer in encoder.layers:
            tokens = layer(tokens)
            yield tokens

    def layer_embeddings(self, x: Tensor) -> Tensor:
        """Return the tokens of all layers ``(n, b, l, d)`` of windows ``(b, c, t)``.

        As published 5.75 MB for a window of 5 s; `pooled` is 156 times smaller.
        """
        return torch.stack(list(self.states(x)))

    def pooled(self, x: Tensor) -> Tensor:
        """Return the mean over time of each layer ``(n, b, d)`` of windows ``(b, c, t)``.

        Without gradients the tokens of a layer are let go once the next layer has read them.
        """
        return torch.stack([tokens.mean(1) for tokens in self.states(x)])

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens of the last layer ``(b, l, d)`` of windows ``(b, c, t)``."""
        for tokens in self.states(x):  # noqa: B007
            pass
        return tokens


class Masked(NamedTuple):
    """What pretraining compares.

    Attributes
    ----------
    context : torch.Tensor
        Last layer, projected, ``(b, l, conv)``.
    targets : torch.Tensor
        Quantised features that were not masked, projected, ``(b, l, conv)``.
    tokens : torch.Tensor
        Last layer ``(b, l, d)``.
    features : torch.Tensor
        What the convolutions give ``(b, l, conv)``.
    perplexity : torch.Tensor
        How many codes are in use, over masked tokens, summed over the groups; a scalar.
    """

    context: Tensor
    targets: Tensor
    tokens: Tensor
    features: Tensor
    perplexity: Tensor


class ECGFMPretraining(nn.Module):
    """The encoder with what only its pretraining needs; as published 90,883,072 parameters.

    A learnt token for masked places, a codebook of 2 groups of 320 entries, and two projections.
    No loss is among it, nor the factor 0.1 on the gradients of the convolutions.

    Parameters
    ----------
    encoder
        Is trained in place.
    """

    def __init__(self, encoder: ECGFM) -> None:
        super().__init__()
        self.encoder = encoder
        hidden, conv = encoder.sizes["hidden"], encoder.sizes["conv"]
        self.mask_emb = nn.Parameter(torch.rand(hidden))
        self.quantizer = Wav2Vec2GumbelVectorQuantizer(encoder.network.config)
        nn.init.uniform_(self.quantizer.codevectors)
        nn.init.normal_(self.quantizer.weight_proj.weight)
        nn.init.zeros_(self.quantizer.weight_proj.bias)
        self.project_q, self.final_proj = nn.Linear(conv, conv), nn.Linear(hidden, conv)

    def forward(self, x: Tensor, mask: Tensor) -> Masked:
        """Return context and targets of windows ``(b, c, t)``.

        Parameters
        ----------
        x
            Windows.
        mask
            Which tokens are masked ``(b, l)``, boolean.
        """
        features = self.encoder.features(x)
        tokens, normed = self.encoder.network.feature_projection(features)
        tokens = torch.where(mask[..., None], self.mask_emb, tokens)
        *_, tokens = self.encoder.layers(tokens)
        codes, perplexity = self.quantizer(normed, mask)
        context, targets = self.final_proj(tokens), self.project_q(codes)
        return Masked(context, targets, tokens, features, perplexity)


class _TwelveLeadFeatures(Wav2Vec2FeatureEncoder):
    """The convolutions of wav2vec 2.0 on windows that have a channel axis."""

    def __init__(self, config: Wav2Vec2Config, n_chans: int) -> None:
        super().__init__(config)
        first = self.conv_layers[0]
        first.conv = nn.Conv1d(n_chans, first.out_conv_dim, KERNEL, KERNEL, bias=False)
        for layer in self.conv_layers:
            nn.init.kaiming_normal_(layer.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(b, conv, l)`` of windows ``(b, c, t)``."""
        for layer in self.conv_layers:
            x = layer(x)
        return x


class _TwelveLeadWav2Vec2(Wav2Vec2Model):
    def __init__(self, config: Wav2Vec2Config, n_chans: int) -> None:
        super().__init__(config)
        self.feature_extractor = _TwelveLeadFeatures(config, n_chans)
        # What transformers would begin with here does not get through the weight norm.
        position = self.encoder.pos_conv_embed.conv
        spread = 2 / math.sqrt(config.num_conv_pos_embeddings * config.hidden_size)
        position.weight = spread * torch.randn_like(position.weight)
        nn.init.zeros_(position.bias)


def _config(sizes: dict[str, int], dropout: float) -> Wav2Vec2Config:
    """Return what ECG-FM is, wherever transformers would have something else."""
    conv = sizes["conv"]
    return Wav2Vec2Config(
        hidden_size=sizes["hidden"],
        num_hidden_layers=sizes["n_layers"],
        num_attention_heads=sizes["n_heads"],
        intermediate_size=sizes["ffn"],
        hidden_act="gelu",
        feat_extract_norm="group",
        feat_extract_activation="gelu",
        conv_dim=(conv,) * N_CONVS,
        conv_kernel=(KERNEL,) * N_CONVS,
        conv_stride=(KERNEL,) * N_CONVS,
        conv_bias=False,
        num_conv_pos_embeddings=POSITIONS,
        num_conv_pos_embedding_groups=POSITION_GROUPS,
        do_stable_layer_norm=False,
        layer_norm_eps=1e-5,
        hidden_dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=0.0,
        feat_proj_dropout=dropout,
        layerdrop=0.0,
        mask_time_prob=0.0,
        mask_feature_prob=0.0,
        num_codevector_groups=GROUPS,
        num_codevectors_per_group=CODES,
        codevector_dim=conv,
        proj_codevector_dim=conv,
    )
