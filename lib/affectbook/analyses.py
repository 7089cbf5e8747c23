"""What a sweep can do with the windows of one setting: each analysis adds its score rows.

An analysis takes the module of a paper, an experiment and options, and is named in the paper's
``SWEEPS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

from affectbook.experiments import Experiment, protocol_of
from affectbook.protocols import Protocol, fewer


def network(
    paper: ModuleType, experiment: Experiment, *, placebo: bool = False, share: float = 1.0,
    of: str = "", session: str = "",
) -> None:  # fmt: skip
    """Evaluate the paper's network in the setting's variant under its protocol.

    Parameters
    ----------
    placebo
        Replace the labels by coins tossed per trial.
    share, of
        Train on this share of the training ``"subjects"`` or ``"trials"``; the variant of the score
        rows then ends in ``+0.25_of_subjects``.
    session
        Use the windows of one session; the data set of the score rows then ends in ``session 1``.
    """
    setting, part = experiment.setting, _of_session(experiment, session)
    estimator = paper.build(setting, part.data)
    protocol = _protocol(experiment, share, of)
    part.add(setting.paper, estimator, protocol, variant=setting.variant, placebo=placebo)


def references(
    paper: ModuleType, experiment: Experiment, *, names: tuple[str, ...], placebo: bool = False,
    share: float = 1.0, of: str = "", session: str = "",
) -> None:  # fmt: skip
    """Evaluate reference models of these names, otherwise as `network`."""
    part, protocol = _of_session(experiment, session), _protocol(experiment, share, of)
    models = paper.reference_models(experiment.setting, part.data)
    for name in names:
        part.add(name, models[name], protocol, placebo=placebo)


def _of_session(experiment: Experiment, session: str) -> Experiment:
    """Return an experiment on one session, whose score rows are those of the whole one."""
    if not session:
        return experiment
    setting = experiment.setting
    return replace(
        experiment,
        setting=replace(setting, dataset=f"{setting.dataset} session {session}"),
        data=experiment.data.only(session=session),
    )


def _protocol(experiment: Experiment, share: float, of: str) -> Protocol:
    protocol = protocol_of(experiment.setting)
    return protocol if share == 1 else fewer(protocol, share, of, experiment.setting.seed)


def personalisation(
    paper: ModuleType, experiment: Experiment, *, choice: str, placebo: bool = False
) -> None:
    """Adapt the network to each new subject with some windows of that subject."""
    from affectbook import personalise

    setting = experiment.setting
    estimator = paper.build(setting, experiment.data)
    personalise.personalise(
        experiment, estimator, variant=setting.variant, choice=choice, placebo=placebo
    )


def probe(paper: ModuleType, experiment: Experiment, *, trained: bool = True) -> None:
    """Ask simple models what they can read from the features inside the network."""
    from affectbook import probes

    setting = experiment.setting
    estimator = paper.build(setting, experiment.data)
    probes.probe(experiment, estimator, variant=setting.variant, trained=trained)


def transfer(paper: ModuleType, experiment: Experiment, **options: object) -> None:
    """Train on one population and test on another: `affectbook.transfer.transfer`."""
    from affectbook import transfer

    transfer.transfer(paper, experiment, **options)


def periods(paper: ModuleType, experiment: Experiment) -> None:
    """Count which periods the windows choose: `affectbook.chosen_periods.count`."""
    from affectbook import chosen_periods

    chosen_periods.count(experiment)


def pretext(paper: ModuleType, experiment: Experiment, **options: object) -> None:
    """Score a pretext that each fold pretrains, and what comes after: `pretext_scores`."""
    from affectbook import pretext_scores

    pretext_scores.score(paper, experiment, **options)


def subject_probe(paper: ModuleType, experiment: Experiment) -> None:
    """Ask a linear model whose windows the features are: `pretext_scores`."""
    from affectbook import pretext_scores

    pretext_scores.probe_subjects(paper, experiment)


def layers(paper: ModuleType, experiment: Experiment, **options: object) -> None:
    """Ask linear models what each layer of a frozen backbone knows: `layer_probes`."""
    from affectbook import layer_probes

    layer_probes.probe(paper, experiment, **options)


def gates(paper: ModuleType, experiment: Experiment, **options: object) -> None:
    """Evaluate a network with a gate, and keep its weights: `gate_scores`."""
    from affectbook import gate_scores

    gate_scores.weigh(paper, experiment, **options)


def overlap(paper: ModuleType, experiment: Experiment, **options: object) -> None:
    """Choose the overlap of windows on inner folds, score it on outer ones: `overlap_scores`."""
    from affectbook import overlap_scores

    overlap_scores.choose(paper, experiment, **options)


def noise(paper: ModuleType, experiment: Experiment, **options: object) -> None:
    """Train on clean windows, and test on noisy ones: `noise_scores`."""
    from affectbook import noise_scores

    noise_scores.score(paper, experiment, **options)


ANALYSES: dict[str, Callable[..., None]] = {
    "network": network,
    "references": references,
    "personalisation": personalisation,
    "probe": probe,
    "transfer": transfer,
    "periods": periods,
    "pretext": pretext,
    "subject_probe": subject_probe,
    "layers": layers,
    "gates": gates,
    "overlap": overlap,
    "noise": noise,
}
