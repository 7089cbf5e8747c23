"""What a sweep can do with the windows of one setting: each analysis adds its score rows.

An analysis takes the module of a paper, an experiment and options, and is named in the paper's
``SWEEPS``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from affectbook.experiments import Experiment


def network(paper: ModuleType, experiment: Experiment, *, placebo: bool = False) -> None:
    """Evaluate the paper's network in the setting's variant under its protocol."""
    setting = experiment.setting
    estimator = paper.build(setting, experiment.data)
    experiment.add(setting.paper, estimator, variant=setting.variant, placebo=placebo)


def references(
    paper: ModuleType, experiment: Experiment, *, names: tuple[str, ...], placebo: bool = False
) -> None:
    """Evaluate reference models of these names."""
    models = paper.reference_models(experiment.setting, experiment.data)
    for name in names:
        experiment.add(name, models[name], placebo=placebo)


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


ANALYSES: dict[str, Callable[..., None]] = {
    "network": network,
    "references": references,
    "personalisation": personalisation,
    "probe": probe,
    "transfer": transfer,
}
