"""The data card: what a data set is."""

from __future__ import annotations

from dataclasses import dataclass

from affectbook.datasets.labels import LabelRule, RatingRule
from affectbook.errors import ParameterError

__all__ = ["Card", "LabelRule", "RatingRule"]


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
    label_rules : tuple of LabelRule or RatingRule
        The first one for a target is the default.
    licence, size, obtain, citation : str
        `citation` is a key of ``book/references.bib``.
    pitfalls : tuple of str
    trials : int or None
        Trials of one subject that `load` yields by default, where it is the same for all.
    seconds : tuple of float or None
        Length of the shortest and the longest of these trials in the published set, where known.
    """

    name: str
    title: str
    tier: str
    subjects: tuple[str, ...]
    trials_per_subject: str
    channels: tuple[str, ...]
    sfreq: str
    unit: str
    label_rules: tuple[LabelRule | RatingRule, ...]
    licence: str
    size: str
    obtain: str
    citation: str
    pitfalls: tuple[str, ...]
    trials: int | None = None
    seconds: tuple[float, float] | None = None

    def first(self, subjects: int) -> tuple[str, ...]:
        """Return the first so many subjects, those of a twin.

        Raises
        ------
        ParameterError
            If the set has fewer, or none is asked for.
        """
        if not 1 <= subjects <= len(self.subjects):
            raise ParameterError(
                f"subjects = {subjects}, but {self.title} has 1 to {len(self.subjects)} to offer"
            )
        return self.subjects[:subjects]
