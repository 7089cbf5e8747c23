"""Pretraining without labels: one loop for any objective, and weights that say what they saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from affectbook.errors import CheckpointError, DataError, ParameterError
from affectbook.files import project_root
from affectbook.models import checkpoint

Objective = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
Watch = Callable[[nn.Module], Mapping[str, float]]
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
DECAY, EVERY = 0.9, 10_000


def pretrain(
    network: nn.Module,
    objective: Objective,
    X: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    lr: float = 1e-3,
    precision: str = "float32",
    device: str = "cpu",
    watch: Watch | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train a network on windows without labels, for a number of epochs that is fixed before.

    Adam, with a learning rate that falls to 0.9 of itself every 10,000 steps, as the authors of
    self-supervised ECG have it. Nothing is selected: the last weights stay.

    Parameters
    ----------
    network
        Trained in place.
    objective
        Called with the network, a batch ``(b, c, t)`` and a generator; returns the loss.
    X
        Windows ``(n_windows, n_chans, n_times)``, scaled.
    epochs, batch_size
        A batch is of windows before the objective makes several of each.
    seed
        Of order, transformations and dropout; the caller's random state is left alone.
    precision
        Of the products inside the network: ``"float32"``, or ``"bfloat16"``, about twice as fast
        where the processor has it.
    watch
        Called after each epoch; what it returns becomes columns of the history.
    progress
        Show a bar, if standard error is a terminal.

    Returns
    -------
    pandas.DataFrame
        One row per epoch: epoch, steps, loss, and what `watch` returned.

    Raises
    ------
    ParameterError
        If sizes are below 1 (a batch: 2), or there is no such precision.
    DataError
        If there are fewer than two windows, they hold values that are not finite, or the loss
        does.
    """
    if min(epochs, batch_size - 1) < 1 or precision not in PRECISIONS:
        raise ParameterError(
            f"pretraining with {epochs} epochs, batches of {batch_size} and {precision!r} cannot "
            f"be; it takes 1 epoch, 2 windows and one of {', '.join(PRECISIONS)}"
        )
    if len(X) < 2 or not np.isfinite(X).all():
        raise DataError("pretraining takes two windows or more of finite values", found=len(X))
    generator, rows, step = torch.Generator().manual_seed(seed), [], 0
    windows = torch.as_tensor(np.asarray(X, np.float32))
    optimizer = torch.optim.Adam(network.to(device).parameters(), lr=lr)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        for epoch in tqdm(range(1, epochs + 1), unit="epoch", leave=False,
                          disable=None if progress else True):  # fmt: skip
            network.train()
            losses = []
            for batch in _batches(len(windows), batch_size, generator):
                optimizer.param_groups[0]["lr"] = lr * DECAY ** (step // EVERY)
                losses.append(_step(network, objective, optimizer, windows[batch].to(device),
                                    generator, PRECISIONS[precision]))  # fmt: skip
                step += 1
            told = {} if watch is None else watch(network.eval())
            rows.append({"epoch": epoch, "steps": step, "loss": float(np.mean(losses)), **told})
    network.eval()
    return pd.DataFrame(rows)


def _batches(n_windows: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """Return all windows in random order; of two views one needs two windows, so none is alone."""
    parts = list(torch.randperm(n_windows, generator=generator).split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _step(
    network: nn.Module,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    batch: Tensor,
    generator: torch.Generator,
    precision: torch.dtype | None,
) -> float:
    optimizer.zero_grad()
    with torch.autocast(batch.device.type, precision, enabled=precision is not None):
        loss = objective(network, batch, generator)
    if not torch.isfinite(loss):
        raise DataError(
            "the loss of pretraining is not a number any more", found=loss.item(),
            do="take a smaller learning rate, or float32 in place of bfloat16",
        )  # fmt: skip
    loss.backward()
    optimizer.step()
    return loss.item()


def folder() -> Path:
    """Return where released weights lie: ``results/weights``."""
    return project_root() / "results" / "weights"


def path_of(name: str) -> Path:
    """Return where the weights of this name lie, or would lie."""
    return folder() / f"{name}{checkpoint.SUFFIX}"


def keep(
    encoder: nn.Module,
    path: Path,
    *,
    constructor: Mapping[str, object],
    subjects: Sequence[str],
    history: pd.DataFrame,
    made_by: Mapping[str, object],
) -> Path:
    """Keep weights with a card that names the subjects they have seen.

    Parameters
    ----------
    encoder, path, constructor
        As `checkpoint.save` takes them.
    subjects
        ``"dataset/tier/subject"`` of each subject with a window in pretraining.
    history
        As `pretrain` returns it: the curve of the loss.
    made_by
        What else made them: pretext, data, licences, settings, seed, machine, time.

    Raises
    ------
    CheckpointError
        If they cannot be written, or no subject is named.
    """
    if not len(subjects) or any(len(str(name).split("/")) != 3 for name in subjects):
        raise CheckpointError(f"{path}: subjects that pretraining saw are dataset/tier/subject")
    curve = history.round(6).to_dict("list")
    card = {**made_by, "subjects": sorted(set(map(str, subjects))), "history": curve}
    return checkpoint.save(encoder, path, card, constructor=constructor)


def subjects_seen(card: Mapping[str, object], dataset: str, tier: str) -> tuple[str, ...]:
    """Return the subjects of a data set that weights have seen, as `meta` names them.

    Parameters
    ----------
    card
        As `checkpoint.load` returns it.
    dataset, tier
        Of the windows at hand. Two twins of one data set count as the same people.

    Raises
    ------
    CheckpointError
        If the card does not say which subjects it has seen.
    """
    seen = card["made_by"].get("subjects")
    if not isinstance(seen, list) or not seen or any(str(one).count("/") != 2 for one in seen):
        raise CheckpointError("the card of the weights does not name the subjects they have seen")
    parts = [str(one).split("/") for one in seen]
    return tuple(subject for where, kind, subject in parts if (where, kind) == (dataset, tier))
