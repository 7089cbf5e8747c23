"""The data card: what a data set is, and how its labels are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from affectbook.datasets.recording import Recording


@dataclass(frozen=True)
class LabelRule:
    """How the condition of a recording becomes a class.

    Attributes
    ----------
    name : str
        As the parameter `label_rule` spells it.
    classes : tuple of str
        Class names; a class id is a position in this tuple.
    conditions : mapping of str to str
        Condition to class name; a condition that is not listed is left out.
    meaning : str
        One line for the page.
    """

    name: str
    classes: tuple[str, ...]
    conditions: Mapping[str, str]
    meaning: str
    target: str = "condition"

    def label(self, recording: Recording) -> int | None:
        """Return the class id of a recording, or None where the rule leaves it out."""
        name = self.conditions.get(recording.condition or "")
        return None if name is None else self.classes.index(name)


@dataclass(frozen=True)
class Card:
    """What a data set is: counts that a reader can check, licence, traps.

    Attributes
    ----------
    name, title : str
        Registry name (the module's name) and the name people use.
    tier : str
        ``"open"`` or ``"licensed"``.
    subjects : tuple of str
        Every subject that the published set holds.
    trials_per_subject : str
        In words, as it may differ between subjects.
    channels : tuple of str
    sfreq : str
        In Hz, in words where it differs between files.
    unit : str
    label_rules : tuple of LabelRule
        The first one is the default.
    licence, size, obtain, citation : str
        `citation` is a key of ``book/references.bib``.
    pitfalls : tuple of str
    """

    name: str
    title: str
    tier: str
    subjects: tuple[str, ...]
    trials_per_subject: str
    channels: tuple[str, ...]
    sfreq: str
    unit: str
    label_rules: tuple[LabelRule, ...]
    licence: str
    size: str
    obtain: str
    citation: str
    pitfalls: tuple[str, ...]
