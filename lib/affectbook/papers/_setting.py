"""Parameters of a paper's notebook, and how they are resolved over the preset of a scale."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field, fields

from affectbook.experiments import Setting, checked
from affectbook.scales import Scale


def param(default: object, meaning: str, **limits: object) -> object:
    """Return a field of `Params` with its meaning and limits."""
    return field(default=default, metadata={"help": meaning, **limits})


def resolved(
    paper: str,
    params: object,
    scales: Mapping[str, Scale],
    leave_out: Collection[str] = (),
    **own: object,
) -> Setting:
    """Return the setting of parameters; what is None is taken from their scale's preset.

    Parameters
    ----------
    paper, params, scales
        Of the paper's module.
    leave_out
        Parameters that are no part of a setting by themselves.
    **own
        What the paper composes of several parameters, in place of theirs.

    Raises
    ------
    ParameterError
        If data set, tier, label rule and protocol do not go together.
    """
    preset = scales[params.scale]
    values = {f.name: getattr(preset, f.name) for f in fields(Scale) if f.name != "meaning"}
    given = {f.name: getattr(params, f.name) for f in fields(params) if f.name not in leave_out}
    values |= {
        name: value
        for name, value in (given | own).items()
        if value is not None or name not in values
    }
    return checked(Setting(paper=paper, **values))
