"""Which data sets there are: every public module of this package but card, labels, recording.

A data set is one module with:

- ``CARD``, its data card;
- ``CHANNELS``: names of the channels of each kind that can be read (``"ecg"``, ``"eeg"``), each
  kind at one rate; the first kind is the default;
- ``subjects_in(folder)``: the subjects whose files lie in a folder, in the card's order;
- ``expected_in(folder)``: the subjects that are read when none are named;
- ``files_of(folder, subject)``: the files that hold a subject;
- ``read(folder, subjects, ...)``: the recordings, one subject in memory at a time; what it takes
  by keyword only, `load` passes on; with more than one kind of channels also ``channels``;
- ``make_twin(folder, *, subjects, effect, fingerprint, seed)``: the simulated twin, in the set's
  official layout.

It has ``ALSO``, patterns of the files that lie in its folder though they are not read. It may have
``ABSENT``, a sentence by kind of channels that people look for and the set does not
have, such as ``{"ecg": "DEAP has no ECG"}``.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import NamedTuple

from affectbook.datasets.card import Card
from affectbook.errors import ParameterError

_PACKAGE = __name__.rpartition(".")[0]
_NO_DATA_SET = ("card", "labels", "recording")
WITHOUT = " without "
# Which chapter runs a set that has this kind of channels; the first that fits is named.
_CHAPTERS = {"ecg": "hcmnet", "eeg": "ms_imamba"}


def unknown(what: str, name: object, known: Iterable[str]) -> ParameterError:
    """Return the error for a name that does not exist, with the nearest one that does."""
    known = list(known)
    lower = {one.lower(): one for one in reversed(known)}
    near = difflib.get_close_matches(str(name).lower(), lower, n=1)
    hint = f"did you mean {lower[near[0]]!r}? " if near else ""
    return ParameterError(f"unknown {what} {name!r}; {hint}known: {', '.join(known) or 'none'}")


@functools.cache
def names() -> tuple[str, ...]:
    """Return the names of the data sets that can be read."""
    folder = importlib.import_module(_PACKAGE).__path__
    found = (module.name for module in pkgutil.iter_modules(folder))
    return tuple(sorted(n for n in found if not n.startswith("_") and n not in _NO_DATA_SET))


def module(name: str) -> ModuleType:
    """Return the module of a data set.

    Raises
    ------
    ParameterError
        If there is no such data set.
    """
    if name not in names():
        raise unknown("data set", name, names())
    return importlib.import_module(f"{_PACKAGE}.{name}")


def card(name: str) -> Card:
    """Return the data card of a data set.

    Raises
    ------
    ParameterError
        If there is no such data set.
    """
    return module(name).CARD


def command(name: str, tier: str) -> str:
    """Return the command that runs a chapter on a data set of a tier."""
    kinds, target = module(name).CHANNELS, card(name).label_rules[0].target
    chapter = next(chapter for kind, chapter in _CHAPTERS.items() if kind in kinds)
    given = f"-p dataset {name} -p tier {tier}"
    given += "" if target == "condition" else f" -p target {target}"
    return f'make run PAPER={chapter} ARGS="{given}"'


class Spec(NamedTuple):
    """What the parameter `dataset` says: a set, and which channels and subjects of it."""

    name: str
    channels: str | tuple[str, ...] | None
    without: tuple[str, ...]


def parse(spec: str) -> Spec:
    """Return set, channels and subjects to do without, of what the parameter `dataset` names.

    After a colon may stand a kind of channels or their names: ``dreamer:eeg``, ``dreamer:ECG1``,
    ``deap:Fp1,Fp2,F3,F4``. At the end may stand subjects that are not read:
    ``wesad without S7,S9``.

    Raises
    ------
    ParameterError
        If there is no such data set, or it has no such channels or subjects.
    """
    data, _, left_out = spec.partition(WITHOUT) if isinstance(spec, str) else (spec, "", "")
    name, colon, wanted = data.partition(":") if isinstance(data, str) else (data, "", "")
    known = card(name).subjects
    without = tuple(filter(None, map(str.strip, left_out.split(","))))
    for subject in without:
        if subject not in known:
            raise unknown(f"subject of {name}", subject, known)
    if not colon:
        return Spec(name, None, without)
    channels = wanted if wanted in module(name).CHANNELS else tuple(wanted.split(","))
    kind_of(name, channels)
    return Spec(name, channels, without)


def joined(data: str, without: str) -> str:
    """Return the name of a data set and of subjects to do without, as `parse` takes it."""
    return f"{data}{WITHOUT}{without}" if without else data


def kind_of(name: str, channels: str | Iterable[str] | None) -> tuple[str, tuple[str, ...]]:
    """Return the kind of channels, and the names of those wanted, in the order asked for.

    Raises
    ------
    ParameterError
        If the set has no kind with all of them; `ABSENT` of its module may say why.
    """
    there = module(name).CHANNELS
    if channels is None:
        return next(iter(there.items()))
    if isinstance(channels, str) and channels in there:
        return channels, there[channels]
    several = isinstance(channels, Iterable) and not isinstance(channels, str)
    wanted = tuple(channels) if several else (channels,)
    for kind, names_of_kind in there.items():
        if wanted and all(one in names_of_kind for one in wanted):
            return kind, wanted
    asked = ",".join(map(str, wanted))
    if why := getattr(module(name), "ABSENT", {}).get(asked.lower()):
        raise ParameterError(f"{why}; its kinds of channels: {', '.join(there)}")
    of_all = [one for names_of_kind in there.values() for one in names_of_kind]
    if wanted and all(one in of_all for one in wanted):
        raise ParameterError(
            f"channels {asked!r} of {name} are of several kinds; read one kind after the other: "
            + "; ".join(f"{kind}: {', '.join(names)}" for kind, names in there.items())
        )
    raise unknown(f"channels of {name} (all of one kind)", asked, dict.fromkeys([*there, *of_all]))


def check_options(name: str, options: Iterable[str]) -> None:
    """Refuse what the reader of a data set does not take by keyword.

    Raises
    ------
    ParameterError
        Naming the option and those that there are.
    """
    taken = inspect.signature(module(name).read).parameters.values()
    known = [parameter.name for parameter in taken if parameter.kind is parameter.KEYWORD_ONLY]
    known = [option for option in known if option != "channels"]
    for option in options:
        if option not in known:
            raise unknown(f"option of load({name!r})", option, known)
