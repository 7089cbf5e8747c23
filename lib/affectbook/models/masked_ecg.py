"""How ECG-FM is pretrained: find what was masked, and which two segments are of one recording.

Three parts, each with a switch. *W2V*: spans of tokens are masked, and the quantised features
behind them are to be told from those of other masked places (A. Baevski et al., "wav2vec 2.0",
NeurIPS 2020, arXiv 2006.11477). *CMSC*: two adjacent segments of a recording belong together
(D. Kiyasseh et al., "CLOCS", ICML 2021, arXiv 2005.13249). *RLM*: leads are zeroed at random (J. Oh
et al., "Lead-agnostic Self-supervised Learning for Local and Global Representations of
Electrocardiogram", CHIL 2022, arXiv 2203.06889). Masks, negatives, codebook and cosines are those
of transformers; constants are those of ECG-FM (K. McKeen et al., arXiv 2408.05178), read in the
released code, which is not copied here. What is trained with it here is small, and not ECG-FM.

Letters: b windows, s segments (two of each window), c leads, t samples, l tokens, m masked tokens,
k negatives, d hidden, v codebook width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Wav2Vec2ForPreTraining
from transformers.models.wav2vec2.modeling_wav2vec2 import (
    _compute_mask_indices,
    _sample_negative_indices,
)

from affectbook.errors import ParameterError
from affectbook.models.ecg_fm import ECGFM, SAMPLES_PER_TOKEN, ECGFMPretraining, Masked

_SPANS = 2  # the released code masks no fewer
_LENGTH = 1e-8


class MaskedNetwork(ECGFMPretraining):
    """The encoder with what its pretraining needs; only what is masked is quantised.

    Parameters
    ----------
    encoder
        Is trained in place.
    codes
        Entries in each of the two groups of the codebook, 320 as published; an entry is half as
        wide as the convolutions.
    temperature
        Of the Gumbel softmax at the first step.
    dropout_features
        Of the features that are quantised.

    Raises
    ------
    ParameterError
        If there are fewer than two entries.
    """

    def __init__(
        self,
        encoder: ECGFM,
        *,
        codes: int = 320,
        temperature: float = 2.0,
        dropout_features: float = 0.1,
    ) -> None:
        if codes < 2:
            raise ParameterError(f"a codebook of {codes} entries has nothing to choose from")
        encoder.network.config.num_codevectors_per_group = codes
        super().__init__(encoder)
        self.quantizer.temperature = temperature
        self.dropout_features = nn.Dropout(dropout_features)

    @property
    def n_codes(self) -> int:
        """Entries of all groups together."""
        return self.quantizer.num_groups * self.quantizer.num_vars

    def forward(self, x: Tensor, mask: Tensor) -> Masked:
        """Return context and targets ``(m, v)`` of the masked tokens of segments ``(s, c, t)``.

        Parameters
        ----------
        x
            Segments.
        mask
            Which tokens are masked ``(s, l)``, boolean.
        """
        features = self.encoder.features(x)
        tokens, normed = self.encoder.network.feature_projection(features)
        *_, tokens = self.encoder.layers(torch.where(mask[..., None], self.mask_emb, tokens))
        codes, perplexity = self.quantizer(self.dropout_features(normed[mask])[None])
        context, targets = self.final_proj(tokens[mask]), self.project_q(codes[0])
        return Masked(context, targets, tokens, features, perplexity)


class MaskedECG(BaseEstimator):
    """The objective of ECG-FM; a callable for `pretrain.pretrain`.

    A window is two adjacent segments: 10 s of 500 Hz are two of 5 s. Windows of one batch count as
    different recordings, also where they are of one. The loss is per masked token, as the released
    training divides its sums. Everything that is drawn comes from the generator that is passed:
    dropout and Gumbel noise, too; the random states of PyTorch and NumPy are left as they were.

    Two differences from the released code. In it all segments of a batch have as many masked tokens
    as the one with fewest; here nothing is unmasked again. And `pretrain.pretrain` has Adam with
    its defaults, (0.9, 0.999) and 1e-8, without weight decay; released are (0.9, 0.98), 1e-6, 0.01.

    Parameters
    ----------
    w2v, cmsc, rlm
        Which parts there are. Tokens are masked in any case.
    mask_prob, mask_length
        Spans of so many tokens begin until they would cover this share if none overlapped: 0.65
        and 10 mask 49 % of 156 tokens.
    n_negatives
        Other masked tokens of the same segment, drawn with replacement.
    temperature, cmsc_temperature
        By which cosines are divided.
    lead_prob
        Of a lead to be zeroed; each by itself, in each segment.
    diversity, penalty
        Weights of the share of the codebook that is not in use, and of the mean square of what the
        convolutions give.
    conv_gradient
        Factor on the gradients of the convolutions. Adam divides it out again, but for its epsilon.
    codes, gumbel
        Entries in each of two groups; temperature of the Gumbel softmax at the first step, at its
        lowest, and its factor from one step to the next.
    """

    def __init__(
        self,
        w2v: bool = True,
        cmsc: bool = True,
        rlm: bool = True,
        mask_prob: float = 0.65,
        mask_length: int = 10,
        n_negatives: int = 100,
        temperature: float = 0.1,
        cmsc_temperature: float = 0.1,
        lead_prob: float = 0.5,
        diversity: float = 0.1,
        penalty: float = 10.0,
        conv_gradient: float = 0.1,
        codes: int = 320,
        gumbel: tuple[float, float, float] = (2.0, 0.5, 0.999995),
    ) -> None:
        self.w2v = w2v
        self.cmsc = cmsc
        self.rlm = rlm
        self.mask_prob = mask_prob
        self.mask_length = mask_length
        self.n_negatives = n_negatives
        self.temperature = temperature
        self.cmsc_temperature = cmsc_temperature
        self.lead_prob = lead_prob
        self.diversity = diversity
        self.penalty = penalty
        self.conv_gradient = conv_gradient
        self.codes = codes
        self.gumbel = gumbel

    def network(self, n_chans: int = 12, *, dropout: float = 0.1, **sizes: int) -> MaskedNetwork:
        """Return an untrained network for this objective; ``.encoder`` is what is kept of it.

        Parameters
        ----------
        n_chans, dropout, **sizes
            As `ECGFM`.

        Raises
        ------
        ParameterError
            If nothing would be learnt, or a size is not possible.
        """
        if not (self.w2v or self.cmsc):
            raise ParameterError("without W2V and without CMSC there is nothing to be learnt")
        encoder = ECGFM(n_chans=n_chans, dropout=dropout, **sizes)
        return MaskedNetwork(
            encoder, codes=self.codes, temperature=self.gumbel[0], dropout_features=dropout
        )

    def __call__(self, network: MaskedNetwork, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss of windows ``(b, c, t)``: the sum of `terms` by their weights.

        Raises
        ------
        ParameterError
            If windows cannot be halved, or halves are too short to be masked.
        """
        weights = {"contrast": 1.0, "diversity": self.diversity, "penalty": self.penalty,
                   "cmsc": 1.0}  # fmt: skip
        terms = self.terms(network, x, generator)
        return sum(weights[name] * term for name, term in terms.items())

    def terms(
        self, network: MaskedNetwork, x: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the terms of the loss of windows ``(b, c, t)``, without their weights.

        Contrast, diversity and penalty, where there is W2V; cmsc, where there is CMSC. In training
        mode a step of the Gumbel softmax's temperature is made.

        Raises
        ------
        ParameterError
            As for calling.
        """
        seen, negatives = self._seen(network, x, generator)
        if seen.features.requires_grad:
            seen.features.register_hook(lambda gradient: self.conv_gradient * gradient)
        found = {}
        if self.w2v:
            found["contrast"] = info_nce(seen.context, seen.targets, negatives, self.temperature)
            found["diversity"] = 1 - seen.perplexity / network.n_codes
            found["penalty"] = seen.features.float().square().mean()
        if self.cmsc:
            found["cmsc"] = adjacent(seen.tokens.float().mean(1), self.cmsc_temperature)
        return found

    def _seen(
        self, network: MaskedNetwork, x: Tensor, generator: torch.Generator
    ) -> tuple[Masked, Tensor]:
        """Return what the network sees of windows, and negatives; all is drawn in any case."""
        x = halves(x)
        zeroed = torch.rand(x.shape[:2], generator=generator) < self.lead_prob
        seed, seed_inside = torch.randint(2**31, (2,), generator=generator).tolist()
        if self.rlm:
            x = x.masked_fill(zeroed[..., None].to(x.device), 0)
        mask = spans(len(x), x.shape[-1] // SAMPLES_PER_TOKEN, self.mask_prob, self.mask_length,
                     seed=seed)  # fmt: skip
        negatives = others(mask, self.n_negatives, seed=seed)
        if network.training:
            _, lowest, factor = self.gumbel
            codebook = network.quantizer
            codebook.temperature = max(lowest, factor * codebook.temperature)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed_inside)
            seen = network(x, torch.as_tensor(mask, device=x.device))
        return seen, torch.as_tensor(negatives, device=x.device)

    @torch.no_grad()
    def scores(self, network: MaskedNetwork, X: np.ndarray, seed: int = 0) -> pd.DataFrame:
        """Return how often the masked feature and the other segment are found, on windows.

        Leads are zeroed as in training. A negative that has the same entries of the codebook as
        the feature is a tie, which counts as not found: where few entries are in use, features
        cannot be told apart.

        Parameters
        ----------
        network
            Trained.
        X
            Windows ``(n_windows, n_chans, n_times)``, scaled as in training.
        seed
            Of masks, negatives and zeroed leads.

        Returns
        -------
        pandas.DataFrame
            One row each for ``masked`` and ``other_segment``: head, accuracy, chance; and for
            ``codes``, the share of the codebook in use (perplexity, mean over batches).
        """
        generator, found, pooled, used = torch.Generator().manual_seed(seed), [], [], []
        network.eval()
        device = next(network.parameters()).device
        for x in torch.as_tensor(np.asarray(X, np.float32)).split(32):
            seen, negatives = self._seen(network, x.to(device), generator)
            cosines, _ = _cosines(seen.context, seen.targets, negatives)
            found.append((cosines[0] > cosines[1:].amax(0)).float().cpu())
            pooled.append(seen.tokens.float().mean(1).unflatten(0, (2, -1)).cpu())
            used.append(seen.perplexity.item() / network.n_codes)
        one, two = F.normalize(torch.cat(pooled, 1), dim=-1)
        nearest = (one @ two.T).argmax(1) == torch.arange(len(one))
        rows = [
            ("masked", torch.cat(found).mean().item(), 1 / (1 + self.n_negatives)),
            ("other_segment", nearest.float().mean().item(), 1 / len(one)),
            ("codes", float(np.mean(used)), np.nan),
        ]
        return pd.DataFrame(rows, columns=["head", "accuracy", "chance"])


def halves(x: Tensor) -> Tensor:
    """Return segments ``(2 b, c, t / 2)`` of windows ``(b, c, t)``: first halves, then second ones.

    Raises
    ------
    ParameterError
        If they are no windows, or of an odd number of samples.
    """
    if x.ndim != 3 or x.shape[-1] % 2:
        raise ParameterError(
            f"windows (b, c, t) of two segments expected, t even, not {(*x.shape,)}; 10 s at "
            "500 Hz are 5000 samples"
        )
    return torch.cat(x.chunk(2, dim=-1))


def spans(
    n_segments: int, n_tokens: int, mask_prob: float, mask_length: int, *, seed: int
) -> np.ndarray:
    """Return which tokens are masked ``(s, l)``: spans of equal length, which may overlap.

    Raises
    ------
    ParameterError
        If a segment has no room for two spans, or the spans would cover nothing or everything.
    """
    if not (0 < mask_prob < 1 and 1 <= mask_length < n_tokens):
        raise ParameterError(
            f"spans of {mask_length} tokens that would cover {mask_prob:g} cannot be masked in "
            f"segments of {n_tokens} tokens, of {SAMPLES_PER_TOKEN} samples each"
        )
    with _numpy_from(seed):
        return _compute_mask_indices(
            (n_segments, n_tokens), mask_prob, mask_length, min_masks=_SPANS
        )


def others(mask: np.ndarray, n_negatives: int, *, seed: int) -> np.ndarray:
    """Return negatives ``(m, k)`` of each masked token: places among all m that are masked.

    Parameters
    ----------
    mask
        ``(s, l)``, two or more in each segment.
    n_negatives
        Drawn with replacement from the other masked tokens of the same segment.
    seed
        Of the draw.
    """
    with _numpy_from(seed):
        found = _sample_negative_indices(mask.shape, n_negatives, mask)
    place = mask.ravel().cumsum() - 1
    return place[found[mask]]


def info_nce(context: Tensor, targets: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of each masked token's own target among the negatives, the mean.

    Parameters
    ----------
    context, targets
        ``(m, v)``; cosines between them are divided by the temperature.
    negatives
        ``(m, k)`` places in `targets`. One that is equal to the own target is left out.
    """
    cosines, same = _cosines(context, targets, negatives)
    logits = cosines / temperature
    logits = torch.cat([logits[:1], logits[1:].masked_fill(same, -torch.inf)])
    own = torch.zeros(len(targets), dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits.T, own)


def _cosines(context: Tensor, targets: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines ``(1 + k, m)``, the own target first; which negatives are equal to it."""
    context, targets = context.float(), targets.float()
    wrong = targets[negatives.T]
    cosines = Wav2Vec2ForPreTraining.compute_contrastive_logits(targets[None], wrong, context, 1.0)
    return cosines, (wrong == targets).all(-1)


def adjacent(pooled: Tensor, temperature: float) -> Tensor:
    """Return the loss of finding the other segment among those of all windows, both ways.

    Vectors are divided by their lengths; of the lengths, as released, no gradient is taken, so that
    a step may also make them longer.

    Parameters
    ----------
    pooled
        ``(2 b, d)``: first segments of all windows, then second ones.
    temperature
        By which cosines are divided.

    Raises
    ------
    ParameterError
        If there are not two segments of two windows, or the temperature is not positive.
    """
    if len(pooled) < 4 or len(pooled) % 2 or temperature <= 0:
        raise ParameterError(f"CMSC of {len(pooled)} segments at {temperature} cannot be")
    length = pooled.detach().norm(dim=-1, keepdim=True).clamp(min=_LENGTH)
    one, two = (pooled / length).chunk(2)
    logits, own = one @ two.T / temperature, torch.arange(len(one), device=pooled.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


@contextmanager
def _numpy_from(seed: int) -> Iterator[None]:
    """Have NumPy's global state, which transformers draws from, begin at a seed; put it back."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
