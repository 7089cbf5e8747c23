"""Released encoders of self-supervised ECG: what each was pretrained on, and how it is made again.

Those of real recordings leave out one data set, so that no subject of that set was seen: on it, a
released encoder is honest for every fold at once. Those of simulated people are for the twin of
DREAMER, whose people are none of them: pooled over three other twins, as the paper pools its sets,
and of one twin alone.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from torch import nn

from affectbook import pretrain, unlabelled
from affectbook.errors import ParameterError
from affectbook.files import sha256
from affectbook.models import checkpoint
from affectbook.models.pretexts import Contrastive, Transformations
from affectbook.models.ssl_ecg import TransformationRecognition
from affectbook.papers._ssl_ecg_variants import VARIANTS

_PRETEXTS = {"transformations": Transformations, "contrastive": Contrastive}
_ENCODER = ("activation", "batch_norm", "pooling")
_WATCHED = 64
WITH_HEADS = "_with_heads"
# Seven versions of a window take three times as long as two views; eegmat has 36 people, drivedb 3.
_SIZES = {
    ("transformations", "drivedb"): {"per_subject": 40, "batch_size": 8},
    ("transformations", "eegmat"): {"per_subject": 8, "batch_size": 8},
    ("contrastive", "drivedb"): {"per_subject": 120, "batch_size": 16},
    ("contrastive", "eegmat"): {"per_subject": 120, "batch_size": 16},
}
_TWINS = ("amigos_twin", "swell_twin", "wesad_twin")


@dataclass(frozen=True)
class Recipe:
    """How one set of weights is made.

    Attributes
    ----------
    pretext : str
        ``"transformations"`` or ``"contrastive"``.
    corpora : tuple of str
        As `unlabelled.windows` takes them.
    watched : str
        A corpus that is not among them, on which each epoch's pretext is scored. Nothing is
        selected by it.
    per_subject : int
        Windows of a subject, evenly spread.
    batch_size, epochs, seed : int
    precision : str
        As `pretrain.pretrain` takes it.
    heads : bool
        Keep the network with its heads, too, in a file beside the encoder.
    """

    pretext: str
    corpora: tuple[str, ...]
    watched: str
    per_subject: int
    batch_size: int
    epochs: int = 10
    seed: int = 0
    precision: str = "bfloat16"
    heads: bool = False

    @property
    def encoder(self) -> dict[str, object]:
        """Options of the encoder: published ones, or those described for the contrastive one."""
        change = VARIANTS["contrastive"] if self.pretext == "contrastive" else {}
        return {name: value for name, value in change.items() if name in _ENCODER}


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        f"ssl_ecg_{pretext}_without_{left_out}": Recipe(
            pretext, (kept, "plain"), left_out, **_SIZES[pretext, kept]
        )
        for pretext in _PRETEXTS
        for left_out, kept in (("eegmat", "drivedb"), ("drivedb", "eegmat"))
    }
    | {
        # About as many windows of one twin as of three.
        f"ssl_ecg_{pretext}_of_{name}": Recipe(pretext, corpora, "dreamer_twin", *sizes, heads=kept)
        for pretext, name, corpora, sizes, kept in (
            ("transformations", "twins", _TWINS, (12, 8), True),
            ("transformations", "wesad_twin", ("wesad_twin",), (28, 8), False),
            ("contrastive", "twins", _TWINS, (40, 16), False),
        )
    }
)


def make(name: str) -> Path:
    """Pretrain an encoder by its recipe, and keep it under ``results/weights``.

    Raises
    ------
    ParameterError
        If there is no such recipe.
    DataNotFoundError
        If a corpus is not there.
    """
    if name not in RECIPES:
        raise ParameterError(f"no recipe for weights {name!r}; there are {', '.join(RECIPES)}")
    recipe, started = RECIPES[name], time.monotonic()
    seconds, sfreq = 10.0, 256.0
    print(f"{name}: reading {', '.join(recipe.corpora)}; {recipe.watched} is watched", flush=True)
    X, subjects = unlabelled.windows(
        recipe.corpora, seconds=seconds, sfreq=sfreq, per_subject=recipe.per_subject
    )
    pretext = _PRETEXTS[recipe.pretext]()
    network = _started(pretext, recipe)
    print(f"{name}: {len(X)} windows of {len(set(subjects))} subjects, {recipe.epochs} epochs",
          flush=True)  # fmt: skip
    history = pretrain.pretrain(
        network, pretext, X, epochs=recipe.epochs, batch_size=recipe.batch_size, seed=recipe.seed,
        precision=recipe.precision, watch=_Scores(recipe, pretext, seconds, sfreq),
    )  # fmt: skip
    made_by = {
        "recipe": {**vars(recipe), "corpora": list(recipe.corpora)},
        "pretext": pretext.get_params(),
        "windows": {"number": len(X), "seconds": seconds, "sfreq": sfreq, "highpass": 0.5,
                    "scaling": "per subject, z-score, deviation of the central 95 %"},
        "licences": unlabelled.describe(recipe.corpora).to_dict("records"),
        "machine": {"processor": platform.processor() or platform.machine(),
                    "threads": os.environ.get("OMP_NUM_THREADS", "")},
        "minutes": round((time.monotonic() - started) / 60, 1),
    }  # fmt: skip
    told = {"subjects": list(subjects), "history": history, "made_by": made_by}
    if recipe.heads:
        path = pretrain.path_of(name + WITH_HEADS)
        pretrain.keep(network, path, constructor={"n_chans": 1, **recipe.encoder}, **told)
        print(f"{path.stem}: SHA-256 {sha256(path)}")
    return pretrain.keep(
        network.encoder, pretrain.path_of(name), constructor={"n_chans": 1, **recipe.encoder},
        **told,
    )  # fmt: skip


def with_heads(name: str, checked: str) -> TransformationRecognition:
    """Return the pretext network that `make` kept beside an encoder, to be scored.

    Raises
    ------
    CheckpointError
        If the weights are not there, damaged, or have another SHA-256 than `checked`.
    """
    path = pretrain.path_of(name)
    checkpoint.load_state(path, sha256=checked)
    network = TransformationRecognition(**checkpoint.read_card(path)["constructor"])
    checkpoint.load(network, path)
    return network.eval()


def table() -> pd.DataFrame:
    """Return what each recipe makes: weights, pretrained on, windows, epochs, minutes, size.

    Of weights that are here, the card tells windows and minutes (of training, on one core).

    Raises
    ------
    CheckpointError
        If a card is missing or damaged.
    """
    rows = []
    for name, recipe in RECIPES.items():
        path = pretrain.path_of(name)
        windows, minutes, size = f"up to {recipe.per_subject} of a subject", "", "not here"
        if path.is_file():
            made_by = checkpoint.read_card(path)["made_by"]
            windows = f"{made_by['windows']['number']} of {len(made_by['subjects'])} subjects"
            minutes, size = f"{made_by['minutes']:.0f}", f"{path.stat().st_size / 1e6:.1f} MB"
        rows.append(
            {
                "weights": name, "pretrained on": ", ".join(recipe.corpora), "windows": windows,
                "epochs": recipe.epochs, "minutes": minutes, "size": size,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _started(pretext: BaseEstimator, recipe: Recipe) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return pretext.network(1, **recipe.encoder)


class _Scores:
    """Scores the pretext after each epoch on windows of people it has not seen, and says so."""

    def __init__(self, recipe: Recipe, pretext: BaseEstimator, seconds: float, sfreq: float):
        found = unlabelled.windows((recipe.watched,), seconds=seconds, sfreq=sfreq, per_subject=60)
        some = np.linspace(0, len(found.X) - 1, _WATCHED).round().astype(int)
        self.X, self.pretext = found.X[some], pretext
        self.epoch, self.started = 0, time.monotonic()

    def __call__(self, network: nn.Module) -> dict[str, float]:
        self.epoch += 1
        table = self.pretext.scores(network, self.X)
        measure = "f1" if "f1" in table else "accuracy"
        told = {f"{measure} {row['head']}": row[measure] for _, row in table.iterrows()}
        minutes = (time.monotonic() - self.started) / 60
        line = ", ".join(f"{name} {value:.2f}" for name, value in told.items())
        print(f"epoch {self.epoch} after {minutes:.1f} min: {line}", flush=True)
        return told
