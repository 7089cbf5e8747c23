"""The frozen backbones of the chapter on NMoE, by name; none is loaded before it is needed.

Three tiers: published weights, if their file is here; a small encoder that this book pretrained;
and random weights, which know nothing and are the control for both.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import nn

from affectbook import pretrain
from affectbook.errors import ParameterError
from affectbook.layer_embeddings import Backbone
from affectbook.models.ecg_fm import ECGFM
from affectbook.obtain import weights

PUBLISHED = "ecg_fm"
RANDOM = "random_"


class Lazy(Backbone):
    """A backbone that is loaded or made when something is first asked of it.

    Parameters
    ----------
    name
        ``"ecg_fm"``: the published weights, which `obtain.weights` finds. Of `released`: those.
        ``"random_<size>"``: fresh weights.
    sizes
        As `ECGFM` takes them, for random weights; None: as published.
    sha256
        Of released weights.
    seed
        Of random weights.

    Raises
    ------
    ParameterError
        If weights are neither published, nor released, nor random.
    """

    def __init__(
        self,
        name: str,
        *,
        sizes: Mapping[str, int] | None = None,
        sha256: str | None = None,
        seed: int = 0,
    ) -> None:
        if name != PUBLISHED and not name.startswith(RANDOM) and sha256 is None:
            raise ParameterError(f"backbone {name!r}: released weights come with their SHA-256")
        self.name, self.sizes, self.sha256, self.seed = name, dict(sizes or {}), sha256, seed
        # None of the corpora that the weights have seen is a data set of this book.
        self.subjects = ()
        self._known: tuple[object, str] = (None, "")

    def __repr__(self) -> str:
        told = f", seed {self.seed}" if self.name.startswith(RANDOM) else ""
        return f"<backbone {self.name}{told}>"

    @functools.cached_property
    def module(self) -> nn.Module:
        """The encoder, frozen.

        Raises
        ------
        DataNotFoundError
            If the published file is not here; the message says how to get it.
        CheckpointError
            If a file is damaged, or another one.
        """
        return self._made().eval().requires_grad_(False)

    def _made(self) -> ECGFM:
        if self.name == PUBLISHED:
            path = weights.find(PUBLISHED)
            return ECGFM.from_checkpoint(path, sha256=weights.PUBLISHED[PUBLISHED].sha256)
        if self.name.startswith(RANDOM):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                return ECGFM(**self.sizes)
        return ECGFM.from_checkpoint(pretrain.path_of(self.name), sha256=self.sha256)


@functools.lru_cache(maxsize=2)
def get(
    name: str, sizes: tuple[tuple[str, int], ...] = (), sha256: str | None = None, seed: int = 0
) -> Lazy:
    """Return a backbone; the last two are kept, since one of full size takes 360 MB.

    Parameters are those of `Lazy`, sizes as pairs.
    """
    return Lazy(name, sizes=dict(sizes), sha256=sha256, seed=seed)
