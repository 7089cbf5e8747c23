"""Personalisation measured: the score on a new subject against labelled signal and training steps.

A network is trained on other subjects, then adapted to a few labelled windows of a new one. The
control is the placebo: on coins tossed per trial there is no state to learn, so that whatever an
adapted network gains there is recognition of the recording.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.base import clone

from affectbook import results
from affectbook.audit import audit, placebo_labels, require
from affectbook.errors import AuditError, ParameterError
from affectbook.evaluate import PREDICTION_COLUMNS, fold_seed, seeded
from affectbook.experiments import Experiment, protocol_of
from affectbook.models import scaling
from affectbook.protocols import LATER
from affectbook.windows import TRIAL

if TYPE_CHECKING:
    from torch import Tensor, nn

    from affectbook.models.network import WindowNet

METHODS = ("fine_tuned", "head_only", "batch_norm", "from_scratch")
CHOICES = ("prefix", "random")
LR = 1e-4
"""Learning rate of `fine_tuned` and `head_only`; ours, the paper's recipe was not found."""
LR_FROM_SCRATCH = 1e-3

_BASE_PROTOCOL = "group_kfold_subject"
_PREFIX = "personalised_"
_VARIANT = r"^(?P<base>.*)\+(?P<windows>\d+)_windows\+(?P<steps>\d+)_steps$"
_CURVE_KEYS = ["estimator", "choice", "placebo", "windows", "steps"]
_CURVE_VALUES = ["seconds_per_trial", "value", "low", "high", "n_subjects", "n_seeds"]
# Scores that differ in one of these are different experiments: a curve through both means nothing.
_ONE_EXPERIMENT = [
    "paper", "base", "scale", "dataset", "tier", "effect", "target", "label_rule", "seconds",
    "overlap",
]  # fmt: skip

Pair = tuple[np.ndarray, np.ndarray]


def calibration(
    meta: pd.DataFrame, y: np.ndarray, own: np.ndarray, windows_per_trial: int, choice: str,
    seed: int,
) -> Pair:  # fmt: skip
    """Choose the windows of one subject to calibrate on, and those to test on.

    Half of each trial's windows are for testing, of an odd number the greater half. They are the
    same for every `windows_per_trial`, and few calibration windows are always among more of them.

    Parameters
    ----------
    meta, y
        All windows, as `windows.make_windows` gives them; `y` may be a placebo.
    own, windows_per_trial
        Indices of the subject's windows, and how many of each trial calibrate.
    choice
        ``"prefix"``: the first windows of each trial, tested on its later half. ``"random"``: both
        drawn at random over the trial, so that test windows have calibration windows as neighbours.
    seed
        Of the draw.

    Returns
    -------
    tuple of numpy.ndarray
        ``(calibration, test)`` indices into all windows, sorted.

    Raises
    ------
    ParameterError
        If `choice` is unknown, `own` is not one subject's, or a trial has too few windows that
        overlap none of its test windows.
    AuditError
        If calibration and test windows have samples in common, or a class is missing.
    """
    own, start = np.asarray(own), meta["start_s"].to_numpy()
    subjects = meta["subject"].iloc[own].unique()
    if choice not in CHOICES or windows_per_trial < 1 or len(subjects) != 1:
        raise ParameterError(
            f"choice must be one of {', '.join(CHOICES)}, with 1 or more windows of each trial of "
            f"one subject; not {choice!r}, {windows_per_trial} and {len(subjects)} subjects"
        )
    # Seeded by name, so that the draw does not depend on who else was loaded.
    rng = np.random.default_rng([seed, *str(subjects[0]).encode()])
    chosen, tested = [], []
    for trial, inside in meta.iloc[own].groupby(TRIAL).indices.items():
        windows = own[inside][np.argsort(start[own[inside]], kind="stable")]
        order = windows if choice == "prefix" else rng.permutation(windows)
        candidates, held = np.split(order, [len(order) // 2])
        free = candidates[~_meet(meta, candidates, held)]
        if len(free) < windows_per_trial:
            raise ParameterError(
                f"{windows_per_trial} calibration windows of each trial are too many: half of the "
                f"{len(windows)} windows of subject {subjects[0]}, trial {trial[-1]} is for "
                f"testing, and {len(free)} of the others share no sample with it; ask for fewer"
            )
        chosen.append(free[:windows_per_trial])
        tested.append(held)
    pair = np.sort(np.concatenate(chosen)), np.sort(np.concatenate(tested))
    problems = audit(*pair, meta, y).problems(LATER)
    if problems:
        raise AuditError(f"{_PREFIX}{choice}: subject {subjects[0]} has " + "; ".join(problems))
    return pair


def _meet(meta: pd.DataFrame, some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which windows of a trial have samples in common with one of the others."""
    start, stop = meta["start_s"].to_numpy(), meta["stop_s"].to_numpy()
    eps = 1e-6
    begun = start[some][:, None] < stop[others] - eps
    return (begun & (stop[some][:, None] > start[others] + eps)).any(axis=1)


def personalise(
    experiment: Experiment, estimator: WindowNet, *, variant: str, choice: str = "prefix",
    budgets: Sequence[int] = (1, 2, 3), steps: Sequence[int] = (1, 2, 5, 10, 20),
    methods: Sequence[str] = METHODS, placebo: bool = False, folds: int | None = None,
    lr: float = LR,
) -> None:  # fmt: skip
    """Adapt a network to each subject that it was not trained on, and keep the scores.

    One network is trained for each fold of ``group_kfold_subject``, as `evaluate.evaluate` trains
    it, and adapted to every test subject on its own. The experiment gains score rows and
    predictions of ``<paper>_<method>`` for each budget and number of steps, with
    ``+<k>_windows+<s>_steps`` after the variant, and of ``<paper>_unadapted``, all on the same
    test windows under the protocol ``personalised_<choice>``.

    Parameters
    ----------
    experiment, estimator, variant
        Windows to use, the untrained network, and what score rows call it.
    choice, budgets
        Which windows calibrate, and how many of each trial: `calibration`.
    methods, steps, lr
        How to adapt, after how many gradient steps of one adaptation to predict, and their learning
        rate, which is ours (the paper's recipe was not found): `adapt`.
    placebo
        Replace the labels by coins tossed per trial, with both sides in each subject, for the
        training as well as for the calibration.
    folds
        Run only the first so many folds.

    Raises
    ------
    ParameterError
        Before any training: if an argument cannot be used, or a trial is too short for a budget.
    AuditError
        If a fold leaks, or a placebo cannot have both sides in each subject.
    """
    _check(estimator, methods, budgets=budgets, steps=steps, folds=[1 if folds is None else folds])
    data, seed = experiment.data, experiment.setting.seed
    meta, y, n_outputs = data.meta, data.y, data.n_outputs
    if placebo:
        y, n_outputs = placebo_labels(meta, seed, per_subject=1), 2
    splits = protocol_of(experiment.setting, _BASE_PROTOCOL).split(y, meta)
    subjects = meta["subject"].to_numpy()
    plans = [
        (split, [
            {k: calibration(meta, y, own, k, choice, seed) for k in sorted(set(budgets))}
            for _, own in pd.Series(split[1]).groupby(subjects[split[1]])
        ])
        for split in islice(splits, folds)
    ]  # fmt: skip
    estimator = clone(estimator).set_params(module__n_outputs=n_outputs)
    found = defaultdict(list)
    for fold, (split, pairs_of_subjects) in enumerate(plans):
        how = {"steps": steps, "lr": lr, "seed": fold_seed(seed, fold)}
        net = _base(experiment, seeded(estimator, how["seed"]), y, split, fold)
        for pairs in pairs_of_subjects:
            for method, ending, test, predicted in _answers(net, data.X, y, pairs, methods, how):
                rows = meta.iloc[test].assign(fold=fold, y_true=y[test], y_pred=predicted)
                found[method, variant + ending].append(rows[PREDICTION_COLUMNS])
    for (method, name), frames in found.items():
        keys = {
            "estimator": f"{experiment.setting.paper}_{method}", "variant": name,
            "protocol": _PREFIX + choice, "placebo": placebo,
        }  # fmt: skip
        table, context = pd.concat(frames, ignore_index=True), experiment.context() | keys
        experiment.rows.append(results.score_rows(table, context, n_outputs=n_outputs, seed=seed))
        experiment.predictions.append(table.assign(**keys))


def _check(estimator: object, methods: Sequence[str], **numbers: Sequence[int]) -> None:
    """Refuse what would fail only after a network has been trained."""
    from affectbook.models.network import WindowNet

    if not isinstance(estimator, WindowNet):
        raise ParameterError(f"only a WindowNet can be adapted, not {type(estimator).__name__}")
    if scaling.by_subject(estimator):
        raise ParameterError("a per_subject scaler would see the test windows; take another kind")
    if not methods or not set(methods) <= set(METHODS):
        raise ParameterError(f"methods must be some of {', '.join(METHODS)}, not {list(methods)}")
    for name, values in numbers.items():
        if min(values, default=0) < 1:
            raise ParameterError(f"{name} must be 1 or more, not {list(values)}")


def _base(
    experiment: Experiment, net: WindowNet, y: np.ndarray, split: Pair, fold: int
) -> WindowNet:
    """Train on the other subjects, with the inner split and the audit of `evaluate.evaluate`."""
    X, meta, (train, test) = experiment.data.X, experiment.data.meta, split
    protocol = protocol_of(experiment.setting, _BASE_PROTOCOL)
    seed = fold_seed(experiment.setting.seed, fold)
    fit, valid = protocol.inner(y, meta, train, seed) or (train, None)
    report = audit(train, test, meta, y, fitted_on=fit, selected_on=valid)
    require(report, protocol, fold)
    return net.fit(X[fit], y[fit], valid=None if valid is None else (X[valid], y[valid]))


def _answers(
    net: WindowNet, X: np.ndarray, y: np.ndarray, pairs: dict[int, Pair], methods: Sequence[str],
    how: dict[str, object],
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:  # fmt: skip
    """Yield method, ending of the variant, test windows and predictions, for one subject."""
    test = next(iter(pairs.values()))[1]
    yield "unadapted", "", test, net.predict(X[test])
    for budget, (chosen, _) in pairs.items():
        for method in methods:
            _, predictions = adapt(net, method, X[chosen], y[chosen], X[test], **how)
            for taken, predicted in predictions.items():
                yield method, f"+{budget}_windows+{taken}_steps", test, predicted


def adapt(
    net: WindowNet, method: str, X: np.ndarray, y: np.ndarray, X_test: np.ndarray, *,
    steps: Sequence[int], lr: float = LR, seed: int = 0,
) -> tuple[nn.Module, dict[int, np.ndarray]]:  # fmt: skip
    """Adapt a copy of a trained network to a few windows, and predict others.

    Steps are full-batch steps of AdamW. Loss, weight decay, clipping, dropout and scaler are those
    of the training, the scaler also ``from_scratch``: a handful of windows has no quartiles.

    Parameters
    ----------
    net
        A trained network; it is not changed.
    method
        ``"fine_tuned"``: all weights are trained. Normalisation keeps the statistics of the
        training subjects, which a handful of neighbouring windows would replace by its own.
        ``"head_only"``: only ``module.head`` is trained, on features that are computed once.
        ``"batch_norm"``: the statistics of normalisation are taken from the calibration windows
        in one pass, no label is used and no weight changes. ``"from_scratch"``: a new network is
        trained at 1e-3; having no statistics of its own, it takes those of its windows.
    X, y, X_test
        Calibration windows ``(n, n_chans, n_times)`` with labels ``(n,)``, and windows to predict.
    steps
        Numbers of steps to predict after; ``"batch_norm"`` predicts once, after 0 steps.
    lr
        Rate of ``"fine_tuned"`` and ``"head_only"``. It is ours: the paper's recipe was not found.
    seed
        Of initial weights and dropout. The caller's random state is left alone.

    Returns
    -------
    tuple of torch.nn.Module and dict
        The network after the last step, and class ids ``(n_test,)`` after each number of steps.

    Raises
    ------
    ParameterError
        If the method is unknown, or the network has no part that it adapts.
    """
    import torch

    both = [torch.as_tensor(net.get_dataset(x).X, device=net.device) for x in (X, X_test)]
    labels = torch.as_tensor(np.asarray(y), dtype=torch.int64)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        if method == "from_scratch":
            module = net.module(**net.get_params_for("module")).to(net.device)
            return module, _train(net, module, both, labels, steps, LR_FROM_SCRATCH, own_norms=True)
        module = copy.deepcopy(net.module_).eval()
        _check_parts(module, method)
        if method == "batch_norm":
            _estimate_norms(module, both[0])
            return module, {0: _predict(net, module, both[1])}
        trained = module
        if method == "head_only":
            both = [_in_batches(module.embed, windows, net.batch_size) for windows in both]
            trained = module.head
        return module, _train(net, trained, both, labels, steps, lr)


def _check_parts(module: nn.Module, method: str) -> None:
    """Refuse a method that would quietly change nothing, or cannot find what it changes."""
    if method not in METHODS:
        raise ParameterError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    if method == "batch_norm" and not _norms(module):
        raise ParameterError(f"batch_norm needs batch normalisation; {type(module).__name__}: none")
    if method == "head_only" and not (hasattr(module, "embed") and hasattr(module, "head")):
        raise ParameterError(f"head_only needs embed and head; {type(module).__name__}: not both")


def _train(
    net: WindowNet, part: nn.Module, both: list[Tensor], labels: Tensor, steps: Sequence[int],
    lr: float, own_norms: bool = False,
) -> dict[int, np.ndarray]:  # fmt: skip
    """Train a network, or a part of it on its features; predict after each number of steps."""
    import torch

    from affectbook.models.network import CLIP_NORM

    optimiser = torch.optim.AdamW(part.parameters(), lr=lr, weight_decay=net.weight_decay)
    (inputs, tested), found = both, {}
    for step in range(1, max(steps) + 1):
        part.train()
        for layer in () if own_norms else _norms(part):
            layer.eval()
        optimiser.zero_grad()
        net.get_loss(part(inputs), labels).backward()
        torch.nn.utils.clip_grad_norm_(part.parameters(), CLIP_NORM)
        optimiser.step()
        if step in steps:
            if own_norms:
                # Averages over the steps would lag behind weights that have just begun to move.
                _estimate_norms(part, inputs)
            found[step] = _predict(net, part, tested)
    return found


def _norms(module: nn.Module) -> list[nn.Module]:
    """Return the layers that keep running statistics of their batches."""
    return [layer for layer in module.modules() if hasattr(layer, "reset_running_stats")]


def _estimate_norms(module: nn.Module, inputs: Tensor) -> None:
    """Replace the running statistics by those of these windows, without labels."""
    module.eval()
    for layer in _norms(module):
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches since the reset
        layer.train()
    _in_batches(module, inputs, len(inputs))
    module.eval()


def _in_batches(function: Callable[[Tensor], Tensor], inputs: Tensor, size: int) -> Tensor:
    """Return what a network or a part of it gives for windows, without gradients."""
    import torch

    with torch.no_grad():
        return torch.cat([function(batch) for batch in inputs.split(size)])


def _predict(net: WindowNet, part: nn.Module, tested: Tensor) -> np.ndarray:
    """Return class ids ``(n_test,)``."""
    return _in_batches(part.eval(), tested, net.batch_size).argmax(-1).cpu().numpy()


def curves(rows: pd.DataFrame, metric: str = "balanced_accuracy") -> pd.DataFrame:
    """Read the scores of `personalise` back as curves.

    Parameters
    ----------
    rows, metric
        Score rows of one experiment with any number of seeds, and a key of `results.METRICS`. Rows
        under other protocols are left out.

    Returns
    -------
    pandas.DataFrame
        One row per estimator, choice, placebo, windows and steps: value, and low and high of its
        interval over subjects, n_subjects, n_seeds, and seconds_per_trial, the labelled signal
        that each trial gave (with overlap, at most). Unadapted: 0 windows, 0 steps.

    Raises
    ------
    ParameterError
        If the rows are of several experiments.
    """
    rows = rows[rows["protocol"].str.startswith(_PREFIX)]
    names = rows["variant"].str.extract(_VARIANT)
    numbers = names[["windows", "steps"]].fillna("0").astype(int)
    choice, base = rows["protocol"].str.removeprefix(_PREFIX), names["base"].fillna(rows["variant"])
    rows = rows.assign(choice=choice, base=base, **numbers)
    mixed = [name for name in _ONE_EXPERIMENT if rows[name].nunique() > 1]
    if mixed:
        raise ParameterError(f"curves are of one experiment; these rows differ in {mixed}")
    lines = []
    for key, part in rows.groupby(_CURVE_KEYS):
        line = dict(zip(_CURVE_KEYS, key, strict=True))
        seconds = {"seconds_per_trial": line["windows"] * part["seconds"].iloc[0]}
        score = results.interval(part, metric)._asdict()
        lines.append(line | seconds | score | {"n_seeds": part["seed"].nunique()})
    return pd.DataFrame(lines, columns=[*_CURVE_KEYS, *_CURVE_VALUES])
