"""How long a training will take, said before it starts, and the command of a smaller one."""

from __future__ import annotations

import inspect
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, clone

from affectbook import again, papers, params, progress
from affectbook.evaluate import fold_seed
from affectbook.experiments import Data, Setting, protocol_of
from affectbook.protocols import Protocol

if TYPE_CHECKING:
    from affectbook.models.network import WindowNet

LIMIT_S = 2 * 60 * 60
SMALLER = "teaching"
# Where a step is short, a few are timed: a single one may be twice as long by chance.
_REPEATED, _SHORT_S = 5, 0.2
# Folds are alike; of hundreds, as when each trial is left out, not all need be split once more.
_LOOKED_AT = 20


@dataclass(frozen=True)
class Estimate:
    """What is to be trained, and how long that takes.

    Attributes
    ----------
    n_windows : int
        Windows that a fold trains on, mean of the folds; validation windows are not among them.
    n_folds : int
    epochs : int or None
        The most there can be of a fold: early stopping ends before. None where nothing is timed.
    trainings : int
        How many times all folds are trained.
    seconds_per_batch : float or None
        Of one step of training: forward, backward, optimiser.
    seconds : float or None
        Of everything, with validation after each epoch and the test of each fold.
    batch_size : int or None
        Windows of the batch that was timed.
    seconds_once : float
        The part of `seconds` that does not grow with the epochs.
    """

    n_windows: int
    n_folds: int
    epochs: int | None
    trainings: int
    seconds_per_batch: float | None = None
    seconds: float | None = None
    batch_size: int | None = None
    seconds_once: float = 0.0

    @property
    def hours(self) -> float | None:
        """The same in hours."""
        return None if self.seconds is None else self.seconds / 3600

    def within(self, limit_s: float) -> int:
        """Return the largest number of epochs that stays within so many seconds; perhaps 0."""
        if self.seconds is None or self.seconds <= limit_s:
            return self.epochs or 0
        each = (self.seconds - self.seconds_once) / self.epochs
        return max(0, math.floor((limit_s - self.seconds_once) / each))

    def __str__(self) -> str:
        what = f"{_count(self.trainings, 'training')} of {_count(self.n_folds, 'fold')}"
        what += f" x {_count(self.n_windows, 'window')}"
        if self.seconds is None:
            return f"{what}: not timed"
        return (
            f"{what} x {_count(self.epochs, 'epoch')}: at most about {_spoken(self.seconds)} on "
            f"this machine (a batch of {self.batch_size}: {self.seconds_per_batch:.2g} s)"
        )


def of(
    estimator: BaseEstimator,
    data: Data,
    protocol: Protocol | str,
    setting: Setting,
    *,
    trainings: int = 1,
) -> Estimate:
    """Count what a training has to do, and time one real step of it.

    The step is made by a fresh copy, on windows of the first fold. Neither the estimator nor the
    caller's random state is changed: what is trained afterwards has the same bits as without.

    Parameters
    ----------
    estimator
        A `WindowNet`; any other scikit-learn estimator is not timed.
    data, setting
        As the experiment has them.
    protocol
        The one that is trained under, or its name.
    trainings
        How many evaluations of this size there will be.

    Raises
    ------
    ProtocolError
        If the protocol cannot split these windows.
    """
    protocol = protocol_of(setting, protocol) if isinstance(protocol, str) else protocol
    splits = list(protocol.split(data.y, data.meta))
    sizes = [len(train) for train, _ in splits]
    if not _is_network(estimator):
        return Estimate(round(statistics.fmean(sizes)), len(splits), None, trainings)
    few = splits[0][0][: estimator.batch_size]
    step, look = _timed(estimator, data.X[few], data.y[few])
    share = 1.0
    if _chooses(estimator):
        looked_at = [train for train, _ in splits[:_LOOKED_AT]]
        share = _share_fitted(protocol, data, looked_at, setting.seed)

    def batches(n_windows: float) -> int:
        return math.ceil(round(n_windows, 6) / estimator.batch_size)

    epoch = once = 0.0
    for train, test in splits:
        epoch += step * batches(share * len(train)) + look * batches((1 - share) * len(train))
        once += look * batches(len(test))
    once += _before(estimator, data, few, sizes)
    return Estimate(
        n_windows=round(share * statistics.fmean(sizes)),
        n_folds=len(splits),
        epochs=estimator.max_epochs,
        trainings=trainings,
        seconds_per_batch=step,
        seconds=trainings * (once + estimator.max_epochs * epoch),
        batch_size=len(few),
        seconds_once=trainings * once,
    )


def smaller(
    paper: str,
    given: Mapping[str, object],
    setting: Setting,
    estimate: Estimate,
    limit_s: float = LIMIT_S,
) -> str | None:
    """Return the command of a smaller run, where the estimate is over a limit.

    Parameters
    ----------
    paper
        A module of ``affectbook.papers``.
    given
        Parameters of the run by name; those at their default need not be among them.
    setting
        What they resolve to.
    estimate, limit_s
        Seconds.

    Returns
    -------
    str or None
        With as many epochs as fit; where not even one does, at the scale ``teaching``, which brings
        its own number of epochs. None within the limit, or if nothing smaller can be named.
    """
    if estimate.seconds is None or estimate.seconds <= limit_s:
        return None
    module = papers.get(paper)
    if fitting := estimate.within(limit_s):
        changes = {"epochs": fitting}
    elif setting.scale != SMALLER:
        changes = {"scale": SMALLER, "epochs": None}
    elif estimate.epochs > 1:
        changes = {"epochs": 1}
    else:
        return None
    return _command(paper, module.Params, {**given, **changes})


def tell(
    paper: str,
    given: Mapping[str, object],
    setting: Setting,
    estimate: Estimate,
    *,
    besides: str = "reference models",
    limit_s: float = LIMIT_S,
) -> None:
    """Say what will be trained and how long that takes; over the limit also what is smaller.

    Parameters
    ----------
    paper, given, setting, estimate, limit_s
        As `smaller` takes them.
    besides
        What the estimate leaves out.
    """
    progress.say(f"{estimate}; {besides} come on top." if besides else f"{estimate}.")
    if estimate.seconds is not None and estimate.seconds > limit_s:
        command = smaller(paper, given, setting, estimate, limit_s)
        instead = f" A smaller run: {command}" if command else ""
        progress.say(f"That is over {_spoken(limit_s)}.{instead}")


def _timed(estimator: WindowNet, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the seconds of one step of training and of one look at a batch.

    `fit` seeds itself and puts the caller's random state back, so a short training is timed. It
    goes without the callbacks that came with the estimator, which may write files.
    """
    from skorch.callbacks import Callback

    class Clock(Callback):
        def on_batch_begin(self, net: WindowNet, **kwargs: object) -> None:
            _wait_for(net.device)
            self.started_ = perf_counter()

        def on_batch_end(self, net: WindowNet, training: bool = False, **kwargs: object) -> None:
            _wait_for(net.device)
            spent[training].append(perf_counter() - self.started_)

    for steps in (1, _REPEATED):
        spent: dict[bool, list[float]] = {True: [], False: []}
        short = clone(estimator).set_params(
            max_epochs=1 + steps, callbacks=[Clock()], verbose=0, progress=False, patience=None
        )
        short.fit(X, y, **({"valid": (X, y)} if _chooses(estimator) else {}))
        # The first batch is warmer than none: libraries load, kernels are chosen.
        step = statistics.median(spent[True][1:])
        look = statistics.median(spent[False][1:]) if _chooses(estimator) else 0.0
        if step > _SHORT_S:
            break
    return step, look


def _before(
    estimator: WindowNet, data: Data, few: np.ndarray, sizes: Sequence[int]
) -> float:
    """Return the seconds that a pretrained encoder takes: its pretraining, and its features."""
    from affectbook.encoders import FOLD, TRANSDUCTIVE

    encoder = getattr(estimator, "encoder", None)
    if encoder is None:
        return 0.0
    # Windows that no encoder has seen: features of others may be kept.
    X, batches = 1.001 * data.X[few[: encoder.batch_size]], 0
    if getattr(encoder, "source", "") in (FOLD, TRANSDUCTIVE):
        batches = sum(math.ceil(size / encoder.batch_size) for size in sizes) * encoder.epochs
    started = perf_counter()
    once = {"epochs": 1} if "epochs" in encoder.get_params() else {}
    short = clone(encoder).set_params(**once).fit(np.asarray(X, np.float32))
    begun = perf_counter()
    short.transform(X)
    each = (perf_counter() - begun) / len(X)
    return (begun - started) * max(1, batches) + (0 if estimator.finetune else each * len(data.X))


def _chooses(estimator: BaseEstimator) -> bool:
    """Return whether an estimator holds windows back, to choose by."""
    return "valid" in inspect.signature(estimator.fit).parameters


def _share_fitted(
    protocol: Protocol, data: Data, trains: Sequence[np.ndarray], seed: int
) -> float:
    """Return the share of the training windows that is trained on; the rest is to choose by."""
    fitted = []
    for fold, train in enumerate(trains):
        inner = protocol.inner(data.y, data.meta, train, fold_seed(seed, fold))
        fitted.append(len(train if inner is None else inner[0]))
    return sum(fitted) / sum(map(len, trains))


def _is_network(estimator: BaseEstimator) -> bool:
    from affectbook.models.network import WindowNet

    return isinstance(estimator, WindowNet)


def _wait_for(device: object) -> None:
    """Wait until a GPU has done what it was asked."""
    import torch

    if str(device).startswith("cuda"):
        torch.cuda.synchronize(device)


def _command(paper: str, of_paper: type, given: Mapping[str, object]) -> str:
    """Return what makes a run with these parameters, without those at their default."""
    parsed = params.parse(of_paper, given)
    changed = {
        field.name: value
        for field in fields(of_paper)
        if (value := getattr(parsed, field.name)) != field.default
    }
    return again.make_command(paper, changed) or again.runs_command(paper, changed)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _spoken(seconds: float) -> str:
    """Return a duration as one says it: "40 seconds", "2 minutes", "3.5 hours", "4 days"."""
    if seconds < 60:
        return _count(max(1, round(seconds)), "second")
    if seconds < 90 * 60:
        return _count(round(seconds / 60), "minute")
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.2g} hours"
    return _count(round(seconds / 86400), "day")
