"""ECG-EmotionNet from window to logits, so that its backbone can be trained as well.

`nmoe.NMoE` takes layers of a backbone that were computed before, which cannot be once the backbone
changes. Here a window passes through lead input, backbone, gate and head in every step, and three
ways of adapting the backbone can be compared: none, as the paper has it (N. Mansourian et al.,
arXiv 2503.01750); low-rank adapters (E. J. Hu et al., "LoRA: Low-Rank Adaptation of Large Language
Models", ICLR 2022, arXiv 2106.09685); or all of its weights. To which other adaptation the paper
compares its own was not found.

Letters: b windows, t samples, l layers, d hidden.
"""

from __future__ import annotations

import math
from pathlib import Path

from torch import Tensor, nn

from affectbook.errors import ParameterError
from affectbook.models.ecg_fm import ECGFM, SAMPLES_PER_TOKEN
from affectbook.models.leads import LEADS, TwelveLeads
from affectbook.models.nmoe import DROPOUT, WIDTHS, NMoE

FROZEN, LORA, FULL = "frozen", "lora", "full"
TUNINGS = (FROZEN, LORA, FULL)
ADAPTED = ("q_proj", "v_proj")
"""Queries and values, as in the paper on LoRA: of one budget of parameters, shared out over the
projections of attention in seven ways, it was spent best on these two, or on all four of them
(section 7.1)."""
RANK, ALPHA = 8, 8.0
"""Those of the paper on LoRA for RoBERTa base, which has the shape of ECG-FM: 12 layers of 768."""
_ADAPTER = "lora_"


class WholeNMoE(nn.Module):
    """Lead input, backbone, gate and head; which of them are trained is a choice.

    Lead input, gate and head always are, where they have parameters. All three ways of tuning begin
    with the same logits under the same seed: adapters begin as zero, and are drawn last.

    As an estimator: ``EncoderNet(WholeNMoE, encoder=None, finetune=True, module__n_chans=1,
    module__n_times=..., module__n_outputs=..., ...)``. Parts that take steps of their own are named
    in ``optimizer__param_groups`` by patterns, of which the first that fits counts: ``"leads*"``,
    ``"mixture.gate*"``, ``"mixture.head*"``, ``"backbone*"`` (with its adapters) and, before it,
    ``"*lora_*"`` (the adapters alone). What no pattern names has the learning rate ``lr``; the
    history shows the rate of the first pattern.

    Parameters
    ----------
    n_chans
        1: one lead becomes twelve here.
    n_times
        Samples of a window, 16 or more.
    n_outputs
        Classes.
    weights
        File that `ECGFM.from_checkpoint` reads; None: random weights, of the caller's seed.
    sha256
        Sum of this file.
    sizes
        Sizes of a random backbone as pairs of name and value, see `ECGFM`; none: as published.
    lead_input
        As `leads.TwelveLeads`. ``"learnt"`` is trained through the backbone also where that is
        frozen.
    gate, context, layers, widths, dropout
        As `NMoE`. A gate of tokens sees the tokens of each layer, the others their means.
    normalise
        None or ``"layer_norm"``, as `NMoE`.
    tuning
        ``"frozen"``: the backbone gets no gradient, and stays in evaluation mode. ``"lora"``: it
        does not change either, but next to each projection to queries and values there is a
        trained product of two matrices. ``"full"``: it is trained.
    rank
        Columns of the first, rows of the second of these matrices.
    alpha
        The product is scaled by ``alpha / rank``.

    Raises
    ------
    ParameterError
        If a choice is unknown or cannot be.
    CheckpointError
        If the weights cannot be used.
    """

    def __init__(
        self,
        *,
        n_times: int,
        n_outputs: int,
        n_chans: int = 1,
        weights: str | Path | None = None,
        sha256: str | None = None,
        sizes: tuple[tuple[str, int | float], ...] = (),
        lead_input: str = "lead_II",
        gate: str = "static",
        context: str = "last",
        layers: tuple[int, ...] | None = None,
        normalise: str | None = None,
        widths: tuple[int, ...] = WIDTHS,
        dropout: float = DROPOUT,
        tuning: str = FROZEN,
        rank: int = RANK,
        alpha: float = ALPHA,
    ) -> None:
        super().__init__()
        _check_windows(n_chans, n_times)
        _check_tuning(tuning, rank, alpha)
        if normalise == "zscore":
            raise ParameterError(
                "normalise 'zscore' takes mean and deviation of embeddings that are kept; through "
                "the backbone they would be those before training: take None or 'layer_norm'"
            )
        self.tuning = tuning
        self.leads = TwelveLeads(lead_input)
        self.backbone = _backbone(weights, sha256, sizes)
        built = self.backbone.sizes
        self.mixture = NMoE(
            n_outputs=n_outputs, n_layers=built["n_layers"], hidden=built["hidden"], gate=gate,
            context=context, layers=layers, normalise=normalise, widths=widths, dropout=dropout,
        )  # fmt: skip
        self.backbone.requires_grad_(tuning == FULL)
        if tuning == LORA:
            _add_adapters(self.backbone, rank, alpha)
        self.train()

    def train(self, mode: bool = True) -> WholeNMoE:
        """Set the mode of all but a frozen backbone, which stays as it was pretrained."""
        super().train(mode)
        if self.tuning == FROZEN:
            self.backbone.eval()
        return self

    def embeddings(self, x: Tensor) -> Tensor:
        """Return what the gate weighs, of windows ``(b, 1, t)``.

        For a gate of tokens the tokens of each layer ``(b, l, tokens, d)``, else their means
        ``(b, l, d)``.
        """
        x = self.leads(x)
        of_tokens = self.mixture.gate.kind == "token"
        found = self.backbone.layer_embeddings(x) if of_tokens else self.backbone.pooled(x)
        return found.transpose(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(b, n_outputs)`` of windows ``(b, 1, t)``.

        Raises
        ------
        ParameterError
            If windows have the wrong shape, or batch norm would be trained on a single one.
        """
        if self.training and len(x) == 1 and _has_batch_norm(self.mixture):
            raise ParameterError(
                "batch norm cannot be trained on a batch of one window: take another batch size, "
                "or leave out what is left over with iterator_train__drop_last=True"
            )
        return self.mixture(self.embeddings(x))

    def trainable(self) -> dict[str, int]:
        """Return how many parameters are trained: leads, backbone, adapters, gate, head."""
        adapters = _trained(self.backbone, _ADAPTER)
        return {
            "leads": _trained(self.leads),
            "backbone": _trained(self.backbone) - adapters,
            "adapters": adapters,
            "gate": _trained(self.mixture.gate),
            "head": _trained(self.mixture.head),
        }


def _check_windows(n_chans: int, n_times: int) -> None:
    if n_chans != 1 or n_times < SAMPLES_PER_TOKEN:
        raise ParameterError(
            f"windows of {n_chans} channels and {n_times} samples cannot be taken; expected one "
            f"lead, from which twelve are made, and {SAMPLES_PER_TOKEN} samples or more"
        )


def _check_tuning(tuning: str, rank: int, alpha: float) -> None:
    if tuning not in TUNINGS:
        raise ParameterError(f"no tuning {tuning!r}; there are {', '.join(TUNINGS)}")
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ParameterError(f"adapters have a rank of 1 or more, a whole number, not {rank!r}")
    if not (math.isfinite(alpha) and alpha > 0):
        raise ParameterError(f"adapters are scaled by an alpha above 0, not {alpha!r}")


def _backbone(
    weights: str | Path | None, sha256: str | None, sizes: tuple[tuple[str, int | float], ...]
) -> ECGFM:
    """Return the weights of a file, or random ones, as a backbone of twelve leads."""
    if weights is None:
        if sha256 is not None:
            raise ParameterError("sha256 is the sum of a file: name it with weights=...")
        try:
            found = ECGFM(**dict(sizes))
        except (TypeError, ValueError):
            raise ParameterError(
                f"sizes {sizes!r} are none of an ECG-FM; expected pairs such as ('hidden', 96)"
            ) from None
    elif sizes:
        raise ParameterError(f"{weights} says what its sizes are: leave out sizes={sizes!r}")
    else:
        found = ECGFM.from_checkpoint(weights, sha256)
    if found.sizes["n_chans"] != len(LEADS):
        raise ParameterError(
            f"the backbone takes {found.sizes['n_chans']} leads, and {len(LEADS)} are made of one"
        )
    return found


def _add_adapters(backbone: ECGFM, rank: int, alpha: float) -> None:
    """Put adapters beside the projections that get one; nothing else of the backbone is trained."""
    # Here, as only this way of tuning needs it.
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules=list(ADAPTED)
    )
    inject_adapter_in_model(config, backbone.network)


def _has_batch_norm(module: nn.Module) -> bool:
    return any(isinstance(part, nn.BatchNorm1d) for part in module.modules())


def _trained(module: nn.Module, named: str = "") -> int:
    """Return how many parameters are trained whose names contain `named`."""
    own = module.named_parameters()
    return sum(one.numel() for name, one in own if one.requires_grad and named in name)
