"""Released weights of mini-ECG-FM: what it was pretrained on, and how it is made again.

It has the twelve layers of ECG-FM and 1.6 % of its parameters, and is not ECG-FM. It has seen
simulated people of twelve leads and the short open recordings that are no data set of this book:
nobody of any test.
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
from sklearn.base import clone

from affectbook import pretrain, unlabelled
from affectbook.errors import ParameterError
from affectbook.files import sha256
from affectbook.models import checkpoint
from affectbook.models.masked_ecg import MaskedECG, MaskedNetwork
from affectbook.papers._nmoe_released import MINI
from affectbook.simulate.affect import EMOTIONS
from affectbook.simulate.leads import twelve_leads
from affectbook.unlabelled import _twelve

SECONDS, SFREQ = 10.0, 500.0
_PLAIN = ("plain",)
_EACH, _WATCHED = 4, 16
_SIMULATED = "twelve_leads/simulated"


@dataclass(frozen=True)
class Recipe:
    """How one set of weights is made.

    Attributes
    ----------
    cmsc, rlm : bool
        Which parts the pretraining has, beside the masked tokens.
    alone : int
        First epochs without CMSC. With it from the start, masked tokens were still at chance after
        three epochs.
    people : int
        Simulated ones, four windows of 10 s of each, every one in another state.
    per_subject : int
        Windows of a real recording's subject, evenly spread.
    batch_size, epochs, seed : int
    lr : float
    codes : int
        Entries in each group of the codebook.
    gumbel : tuple of float
        As `MaskedECG` takes it. It cools faster than published, since there are fewer steps.
    precision : str
        As `pretrain.pretrain` takes it.
    """

    cmsc: bool = True
    rlm: bool = True
    alone: int = 0
    people: int = 160
    per_subject: int = 12
    batch_size: int = 8
    epochs: int = 16
    seed: int = 0
    lr: float = 5e-4
    codes: int = 64
    gumbel: tuple[float, float, float] = (2.0, 0.5, 0.995)
    precision: str = "bfloat16"


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {"nmoe_mini": Recipe(alone=5), "nmoe_mini_without_cmsc": Recipe(cmsc=False)}
)


def make(name: str) -> Path:
    """Pretrain an encoder by its recipe, and keep it in half precision under ``results/weights``.

    Raises
    ------
    ParameterError
        If there is no such recipe.
    DataNotFoundError
        If a recording is not there.
    """
    if name not in RECIPES:
        raise ParameterError(f"no recipe for weights {name!r}; there are {', '.join(RECIPES)}")
    recipe, started = RECIPES[name], time.monotonic()
    X, subjects = _windows(recipe)
    print(f"{name}: {len(X)} windows of {len(set(subjects))} subjects, {recipe.epochs} epochs",
          flush=True)  # fmt: skip
    objective = MaskedECG(cmsc=recipe.cmsc, rlm=recipe.rlm, codes=recipe.codes,
                          gumbel=recipe.gumbel)  # fmt: skip
    network = _started(objective, recipe)
    history = _trained(network, objective, X, recipe)
    made_by = {
        "recipe": vars(recipe),
        "objective": objective.get_params(),
        "windows": {"number": len(X), "simulated": recipe.people * _EACH, "seconds": SECONDS,
                    "sfreq": SFREQ, "highpass": None,
                    "scaling": "z-score over the recording, each lead by itself"},
        "licences": unlabelled.describe(_PLAIN).to_dict("records"),
        "licence": "as this book's own data: CC BY 4.0",
        "machine": {"processor": platform.processor() or platform.machine(),
                    "threads": os.environ.get("OMP_NUM_THREADS", "")},
        "minutes": round((time.monotonic() - started) / 60, 1),
    }  # fmt: skip
    path = pretrain.keep(
        network.encoder.half(), pretrain.path_of(name), constructor=network.encoder.sizes,
        subjects=list(subjects), history=history, made_by=made_by,
    )  # fmt: skip
    print(f"{path.stem}: SHA-256 {sha256(path)}")
    return path


def table() -> pd.DataFrame:
    """Return what each recipe makes: weights, parts, windows, steps, minutes, size.

    Raises
    ------
    CheckpointError
        If a card is missing or damaged.
    """
    rows = []
    for name, recipe in RECIPES.items():
        path = pretrain.path_of(name)
        parts = ["masked tokens", *["CMSC"] * recipe.cmsc, *["lead masking"] * recipe.rlm]
        windows, steps, minutes, size = "", f"{recipe.epochs} epochs", "", "not here"
        if path.is_file():
            made_by = checkpoint.read_card(path)["made_by"]
            windows = f"{made_by['windows']['number']} of {len(made_by['subjects'])} subjects"
            steps = f"{made_by['history']['steps'][-1]:,}"
            minutes, size = f"{made_by['minutes']:.0f}", f"{path.stat().st_size / 1e6:.1f} MB"
        rows.append({"weights": name, "learns from": ", ".join(parts), "windows": windows,
                     "steps": steps, "minutes": minutes, "size": size})  # fmt: skip
    return pd.DataFrame(rows)


def simulated(first: int, people: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return windows ``(4 * people, 12, 5000)`` of simulated people, and whose each is.

    A window is a trial of its own, in a state that is drawn, and scaled over itself. These people
    are nobody of a twin: `twelve_leads` draws from streams of its own.
    """
    states, drawn = list(EMOTIONS.values()), np.random.default_rng(seed)
    X, subjects = [], []
    for who in range(first, first + people):
        plan = [(states[i], SECONDS) for i in drawn.choice(len(states), _EACH, replace=False)]
        signal, _ = twelve_leads(who, plan, sfreq=SFREQ, seed=seed)
        X += [_twelve.zscore(one[None].astype(np.float32))[0]
              for one in np.split(signal, _EACH, axis=1)]  # fmt: skip
        subjects += [f"{_SIMULATED}/{who}"] * _EACH
    return np.stack(X), subjects


def _windows(recipe: Recipe) -> unlabelled.Unlabelled:
    """Return what is pretrained on: simulated people, then real recordings."""
    real = _twelve.windows(_PLAIN, seconds=SECONDS, sfreq=SFREQ, per_subject=recipe.per_subject)
    X, subjects = simulated(0, recipe.people, recipe.seed)
    return unlabelled.Unlabelled(
        np.concatenate([X, real.X]), np.array([*subjects, *real.subjects])
    )


def _started(objective: MaskedECG, recipe: Recipe) -> MaskedNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return objective.network(dropout=0.0, **MINI)


def _trained(
    network: MaskedNetwork, objective: MaskedECG, X: np.ndarray, recipe: Recipe
) -> pd.DataFrame:
    """Train in two parts, without and with CMSC; return the history of both."""
    watch, parts = _Scores(objective, recipe), []
    first = clone(objective).set_params(cmsc=False)
    plan = ((first, recipe.alone), (objective, recipe.epochs - recipe.alone))
    for part, (one, epochs) in enumerate(part for part in plan if part[1]):
        told = pretrain.pretrain(
            network, one, X, epochs=epochs, batch_size=recipe.batch_size, seed=recipe.seed + part,
            lr=recipe.lr, precision=recipe.precision, watch=watch,
        )  # fmt: skip
        before = parts[-1][["epoch", "steps"]].iloc[-1] if parts else 0
        told[["epoch", "steps"]] += before
        parts.append(told)
    return pd.concat(parts, ignore_index=True)


class _Scores:
    """Scores the objective after each epoch on simulated people it has not seen, and says so."""

    def __init__(self, objective: MaskedECG, recipe: Recipe) -> None:
        self.X, _ = simulated(recipe.people, _WATCHED, recipe.seed)
        self.objective, self.epoch, self.started = objective, 0, time.monotonic()

    def __call__(self, network: MaskedNetwork) -> dict[str, float]:
        self.epoch += 1
        found = self.objective.scores(network, self.X).set_index("head")["accuracy"].to_dict()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            terms = self.objective.terms(network, torch.as_tensor(self.X), generator)
        found |= {f"{name} loss": term.item() for name, term in terms.items()}
        minutes = (time.monotonic() - self.started) / 60
        line = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        print(f"epoch {self.epoch} after {minutes:.1f} min: {line}", flush=True)
        return found
