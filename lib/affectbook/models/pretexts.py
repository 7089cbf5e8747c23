"""Two pretexts for self-supervised ECG: which transformation it was, and which two belong together.

`Transformations` is the published one (P. Sarkar and A. Etemad, IEEE Transactions on Affective
Computing 13(3), 2022; loss weights as in the released code). `Contrastive` is what a later
description of that work by somebody else calls its pretext; the loss is NT-Xent (T. Chen et al.,
ICML 2020). Neither sees a label of the data.

Letters: b windows, c channels, t samples, k versions.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from affectbook import augment
from affectbook.augment import NAMES, ORIGINAL
from affectbook.errors import ParameterError
from affectbook.models.ssl_ecg import Encoder, TransformationRecognition, start

# Weight of each head's loss, which the released code divides up so that they sum to one.
ALPHA = {name: 0.0125 if name in ("negation", "inversion") else 0.195 for name in NAMES}
BETA = 1e-4


class _Pretext(BaseEstimator):
    """Strengths that both pretexts share; parameters as `augment.Strengths`."""

    @property
    def strengths(self) -> augment.Strengths:
        """Strengths of the transformations."""
        return augment.Strengths(
            self.snr_db, self.factor, self.pieces, self.warp_pieces, self.stretch
        )


class Transformations(_Pretext):
    """Recognise which version of a window it is: the published pretext.

    Parameters
    ----------
    tasks
        Versions with a head, of `augment.NAMES`. The original is always shown.
    alpha
        Weights of the heads' losses: ``"published"`` (0.0125 for negation and inversion, 0.195 for
        the others; of fewer heads, the same ratios) or ``"equal"``.
    single_head
        One softmax over the versions in place of a sigmoid for each.
    standardised
        Subtract the mean of each version and divide by its deviation: what a pipeline does that
        standardises whatever comes in. Scaled and original are then the same.
    snr_db, factor, pieces, warp_pieces, stretch
        As `augment.Strengths`.
    """

    def __init__(
        self,
        tasks: tuple[str, ...] = NAMES,
        alpha: str = "published",
        single_head: bool = False,
        standardised: bool = False,
        snr_db: float = 15.0,
        factor: float = 1.1,
        pieces: int = 20,
        warp_pieces: int = 9,
        stretch: float = 1.05,
    ) -> None:
        self.tasks = tasks
        self.alpha = alpha
        self.single_head = single_head
        self.standardised = standardised
        self.snr_db = snr_db
        self.factor = factor
        self.pieces = pieces
        self.warp_pieces = warp_pieces
        self.stretch = stretch

    def network(self, n_chans: int, **encoder: object) -> TransformationRecognition:
        """Return an untrained network for this pretext.

        Raises
        ------
        ParameterError
            If a task or `alpha` is unknown, or there is nothing to tell apart.
        """
        if not set(self.tasks) <= set(NAMES) or set(self.tasks) <= {ORIGINAL}:
            raise ParameterError(f"tasks {self.tasks} are not among {', '.join(NAMES)}")
        if self.alpha not in ("published", "equal"):
            raise ParameterError(f"alpha must be 'published' or 'equal', not {self.alpha!r}")
        return TransformationRecognition(
            n_chans, tasks=self.tasks, single_head=self.single_head, **encoder
        )

    @property
    def shown(self) -> tuple[str, ...]:
        """The versions of each window in a batch."""
        return tuple(name for name in NAMES if name in (ORIGINAL, *self.tasks))

    def versions(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return all versions of windows ``(k b, c, t)``, and their targets ``(k b, n_tasks)``."""
        made = [augment.transform(name, x, generator, self.strengths) for name in self.shown]
        if self.standardised:
            made = [_standardised(one) for one in made]
        target = torch.tensor(
            [[float(name == task) for task in self.tasks] for name in self.shown],
            device=x.device,
        )
        return torch.cat(made), target.repeat_interleave(len(x), 0)

    def __call__(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss: BCE of each head by its weight, and half the squared kernels."""
        made, target = self.versions(x, generator)
        logits = network(made).float()
        if self.single_head:
            loss = F.cross_entropy(logits, target)
        else:
            each = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(0)
            loss = (self._weights(x.device) * each).sum()
        return loss + BETA * sum(kernel.square().sum() / 2 for kernel in network.kernels())

    def _weights(self, device: torch.device) -> Tensor:
        equal = self.alpha == "equal"
        weights = [1.0 if equal else ALPHA[task] for task in self.tasks]
        return torch.tensor(weights, device=device) / sum(weights)

    @torch.no_grad()
    def scores(self, network: nn.Module, X: np.ndarray, seed: int = 0) -> pd.DataFrame:
        """Return how well each head tells its version from the others, on windows.

        Parameters
        ----------
        network
            Trained.
        X
            Windows ``(n_windows, n_chans, n_times)``, scaled as in training.
        seed
            Of the transformations.

        Returns
        -------
        pandas.DataFrame
            One row per head: head, f1 (of the positive class; 0 where nothing was called
            positive), balanced_accuracy, accuracy (6/7 for a head that always says no), auc.
        """
        generator, logits, targets = torch.Generator().manual_seed(seed), [], []
        network.eval()
        device = next(network.parameters()).device
        for x in torch.as_tensor(np.asarray(X, np.float32)).split(32):
            made, target = self.versions(x.to(device), generator)
            logits.append(network(made).float().cpu())
            targets.append(target.cpu())
        scores, truth = torch.cat(logits).numpy(), torch.cat(targets).numpy() > 0
        if self.single_head:
            said = scores == scores.max(1, keepdims=True)
        else:
            said = scores > 0
        rows = [_measures(*columns) for columns in zip(truth.T, said.T, scores.T, strict=True)]
        return pd.DataFrame(rows).assign(head=list(self.tasks)).set_index("head").reset_index()


def _standardised(x: Tensor) -> Tensor:
    """Return windows ``(b, c, t)`` with mean zero and deviation one, each by itself."""
    deviation = x.std(-1, correction=0, keepdim=True)
    return (x - x.mean(-1, keepdim=True)) / torch.where(deviation > 0, deviation, 1)


def _measures(truth: np.ndarray, said: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """Return the measures of one head."""
    hits, misses = int((truth & said).sum()), int((truth & ~said).sum())
    false, right = int((~truth & said).sum()), int((~truth & ~said).sum())
    return {
        "f1": 2 * hits / max(1, 2 * hits + misses + false),
        "balanced_accuracy": (hits / max(1, hits + misses) + right / max(1, right + false)) / 2,
        "accuracy": (hits + right) / len(truth),
        "auc": float(roc_auc_score(truth, score)),
    }


class ContrastiveNetwork(nn.Module):
    """The encoder and a projection on the unit sphere, which is dropped after pretraining.

    Parameters
    ----------
    n_chans
        Leads.
    projection
        Numbers of the projection.
    **encoder
        Passed on to `Encoder`.
    """

    def __init__(self, n_chans: int = 1, *, projection: int = 64, **encoder: object) -> None:
        super().__init__()
        self.encoder = Encoder(n_chans, **encoder)
        width = self.encoder.n_features
        self.projection = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection)
        ).apply(start)

    def forward(self, x: Tensor) -> Tensor:
        """Return unit vectors ``(b, projection)`` of windows ``(b, c, t)``."""
        return F.normalize(self.projection(self.encoder(x)).float(), dim=-1)


class Contrastive(_Pretext):
    """Find the other view of the same window among those of all windows: NT-Xent.

    A view is one of the six transformations, drawn for each window and view. The description that
    proposes this pretext gives neither temperature, projection nor batch; these are ours.

    Parameters
    ----------
    temperature
        Of the softmax over the batch.
    snr_db, factor, pieces, warp_pieces, stretch
        As `augment.Strengths`.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        snr_db: float = 15.0,
        factor: float = 1.1,
        pieces: int = 20,
        warp_pieces: int = 9,
        stretch: float = 1.05,
    ) -> None:
        self.temperature = temperature
        self.snr_db = snr_db
        self.factor = factor
        self.pieces = pieces
        self.warp_pieces = warp_pieces
        self.stretch = stretch

    def network(self, n_chans: int, **encoder: object) -> ContrastiveNetwork:
        """Return an untrained network for this pretext."""
        return ContrastiveNetwork(n_chans, **encoder)

    def views(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return two views of windows ``(2 b, c, t)``, those of one kind after the other."""
        made = []
        for _ in range(2):
            versions = augment.versions(x, generator, self.strengths)
            kind = torch.randint(1, len(NAMES), (len(x),), generator=generator)
            made.append(versions[kind.to(x.device), torch.arange(len(x), device=x.device)])
        return torch.cat(made)

    def __call__(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch of windows ``(b, c, t)``."""
        return nt_xent(network(self.views(x, generator)), self.temperature)

    @torch.no_grad()
    def scores(self, network: nn.Module, X: np.ndarray, seed: int = 0) -> pd.DataFrame:
        """Return how often the nearest of all views is the other view of the same window.

        Returns
        -------
        pandas.DataFrame
            One row: head ``other_view``, accuracy, chance (of one view among all others).
        """
        generator = torch.Generator().manual_seed(seed)
        network.eval()
        device = next(network.parameters()).device
        x = torch.as_tensor(np.asarray(X, np.float32))
        views = self.views(x, generator)
        z = torch.cat([network(part.to(device)).cpu() for part in views.split(64)])
        near = (z @ z.T).fill_diagonal_(-np.inf).argmax(1)
        found = (near == torch.arange(len(z)).roll(len(x))).float().mean().item()
        return pd.DataFrame(
            {"head": ["other_view"], "accuracy": [found], "chance": [1 / (len(z) - 1)]}
        )


def nt_xent(z: Tensor, temperature: float) -> Tensor:
    """Return the normalised, temperature-scaled cross-entropy of two views.

    Parameters
    ----------
    z
        Unit vectors ``(2 b, f)``: first views of all windows, then second ones.
    temperature
        By which cosines are divided.

    Raises
    ------
    ParameterError
        If there are not two views of two windows, or the temperature is not positive.
    """
    if len(z) < 4 or len(z) % 2 or temperature <= 0:
        raise ParameterError(f"NT-Xent of {len(z)} views at temperature {temperature} cannot be")
    cosines = z @ z.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    other = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    return F.cross_entropy(cosines.masked_fill(itself, -torch.inf), other)
