"""Hold a folder against the card of its data set: one screen of what is missing or wrong."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
from tqdm import tqdm

from affectbook import artefacts, cache, datasets, features
from affectbook.datasets import _folders, _licence, _plausible, _published, _registry
from affectbook.datasets.card import Card, LabelRule, RatingRule
from affectbook.datasets.recording import Recording
from affectbook.errors import DataError, DataFileError, shown

BEATS_PER_MINUTE = (35.0, 180.0)
"""Lowest and highest heart rate of a subject that is believed, the median of the trials."""
BEATS_OF_ALL = (48.0, 115.0)
"""The same for the median of three subjects or more, who sat: twice or half the true sampling rate
falls outside, which the rate of one person does not tell."""
HEART_S = 60.0
"""So many seconds from the middle of each trial are searched for beats."""
MOST_LINES = 8
TOLERANCE = 0.1
"""Share by which a trial may be shorter or longer than the card says."""


@dataclass
class Seen:
    """What was read of one subject, or of all.

    Attributes
    ----------
    trials : dict of str to int
        By kind of channels.
    lengths_s, rates, heart_rates : list of float
        Of each trial: seconds, Hz, and beats a minute where the kind is ECG.
    amplitudes : dict of str to list of numpy.ndarray
        Peak to peak of blocks, by kind and unit.
    classes : collections.Counter
        Trials by class of the card's first label rule; None: left out by it.
    still_s : collections.Counter
        Seconds in which a channel of the first kind stands still, by class.
    """

    trials: Counter = field(default_factory=Counter)
    lengths_s: list[float] = field(default_factory=list)
    rates: dict[str, set[float]] = field(default_factory=dict)
    heart_rates: list[float] = field(default_factory=list)
    amplitudes: dict[str, list[np.ndarray]] = field(default_factory=dict)
    classes: Counter = field(default_factory=Counter)
    still_s: Counter = field(default_factory=Counter)

    def add(self, recording: Recording, kind: str, rule: LabelRule | RatingRule | None) -> None:
        """Take in one recording, with a rule if its kind is the one that is read by default."""
        signal, sfreq = recording.signal, recording.sfreq
        self.trials[kind] += 1
        self.rates.setdefault(kind, set()).add(round(sfreq, 3))
        blocks = _plausible.amplitudes(signal, sfreq)
        self.amplitudes.setdefault(f"{kind}, {recording.unit}", []).append(blocks)
        if rule is not None:
            self.lengths_s.append(recording.duration_s)
            label = rule.label(recording)
            name = None if label is None else rule.classes[label]
            self.classes[name] += 1
            self.still_s[name] += artefacts.still(signal, sfreq).any(axis=0).sum() / sfreq
        if kind == "ecg":
            self.heart_rates.append(_heart_rate(signal[0], sfreq))

    def join(self, other: Seen) -> None:
        """Take in what was read of another subject."""
        self.trials += other.trials
        self.lengths_s += other.lengths_s
        self.heart_rates += other.heart_rates
        self.classes += other.classes
        self.still_s += other.still_s
        for kind, rates in other.rates.items():
            self.rates.setdefault(kind, set()).update(rates)
        for key, blocks in other.amplitudes.items():
            self.amplitudes.setdefault(key, []).extend(blocks)


def _heart_rate(ecg: np.ndarray, sfreq: float) -> float:
    """Return beats a minute in the middle of a trial, NaN where none are found."""
    size, middle = round(HEART_S * sfreq), len(ecg) // 2
    peaks = features.r_peaks(ecg[max(0, middle - size // 2) : middle + size // 2], sfreq)
    return 60.0 / float(np.median(np.diff(peaks))) * sfreq if len(peaks) > 2 else np.nan


def check(name: str, root: str | Path | None = None, echo: Callable[[str], None] = print) -> str:
    """Read every subject of a folder, print what was found, and return the last line.

    Parameters
    ----------
    name
        The data set.
    root
        Where it is; None searches.
    echo
        Takes the lines of the report.

    Raises
    ------
    DataNotFoundError
        If there are no files of the set.
    DataFileError
        After the report, if something is missing or not what the card says.
    """
    card, folder = datasets.card(name), datasets.find_root(name, root)
    twin = _folders.twin_of(folder)
    echo(f"{card.title}: {'simulated twin' if twin else card.tier} data in {folder}")
    wrong, missing = _files(name, folder, twin, echo)
    notes = _Notes()
    logging.getLogger("affectbook").addHandler(notes)
    try:
        seen, of_subjects, faulty = _subjects(name, folder, twin)
    finally:
        logging.getLogger("affectbook").removeHandler(notes)
    _tell(seen, card.label_rules[0], echo)
    for line in notes.lines[:MOST_LINES]:
        echo(f"  note         {line}")
    wrong += of_subjects
    if not wrong:
        return f"{card.title}: everything that can be checked is as the card says."
    echo("Missing or wrong:")
    for line in wrong[:MOST_LINES]:
        echo(f"  {line}")
    if len(wrong) > MOST_LINES:
        echo(f"  and {len(wrong) - MOST_LINES} more")
    left = set(_registry.module(name).subjects_in(folder)) - faulty
    raise _summary(card, folder, wrong, {*missing, *faulty} if left else set())


def _summary(card: Card, folder: Path, wrong: list[str], without: Collection[str]) -> DataFileError:
    """Return the one message for what is missing or wrong, and which subjects to do without."""
    again = f"`make data DATASET={card.name}`"
    do = f"{again} fetches what is missing or wrong" if card.tier == "open" else \
        f"get these files again from the publisher ({again} says how)"  # fmt: skip
    if without:
        named = [subject for subject in card.subjects if subject in without]
        named += sorted(set(without) - set(named))
        do += f", or do without subjects: -p allow_missing {','.join(named)}"
    return DataFileError(
        f"{card.title}: the folder is not what its card says",
        file=folder,
        field="files and what is in them",
        found=f"{len(wrong)} faults, listed above" if len(wrong) > 1 else "one fault, listed above",
        expected="no fault",
        do=do,
    )


def _files(
    name: str, folder: Path, twin: dict | None, echo: Callable[[str], None]
) -> tuple[list[str], list[str]]:
    """Print which subjects and files are there; return what is wrong, and who is missing."""
    module, wrong = _registry.module(name), []
    there = module.subjects_in(folder)
    expected = tuple(twin["subjects"]) if twin else module.expected_in(folder)
    missing = [subject for subject in expected if subject not in there]
    echo(f"  subjects     {len(there)} of {len(module.CARD.subjects)}"
         + (f", {len(expected)} of them are read by default" if len(expected) < len(there) else "")
         )  # fmt: skip
    if missing:
        wrong.append(f"{', '.join(missing)}: no files")
    sums = {} if twin else _published.accepted(name, folder)
    if sums:
        found = {file: cache.sha256(folder / file) for file in sums if (folder / file).is_file()}
        other = [file for file, digest in found.items() if digest not in sums[file]]
        echo(f"  sums         {len(found) - len(other)} of {len(found)} files are as listed, "
             f"{len(sums) - len(found)} of the list are not here. {_published.source(name)}"
             )  # fmt: skip
        wrong += [f"{file}: not the listed SHA-256" for file in other]
        read = {path for subject in there for path in module.files_of(folder, subject)}
        alone = sorted(path.name for path in read if path.name not in sums)
        if alone:
            echo(f"  without sum  {_some(alone)}: read, but in no list; damage is seen, other "
                 "content is not")  # fmt: skip
    if strays := _folders.strays(name, folder):
        echo(f"  ignored      {len(strays)} files that are no part of it: "
             f"{', '.join(map(shown, strays[:5]))}")  # fmt: skip
    if module.CARD.tier == "licensed" and not twin:
        known = _licence.confirmed(name, folder)
        echo(f"  licence      {'accepted' if known else 'not accepted yet; a run asks for it'}")
    return wrong, missing


def _subjects(name: str, folder: Path, twin: dict | None) -> tuple[Seen, list[str], set[str]]:
    """Read every subject that is there; return what was seen, what is wrong, and with whom."""
    all_, wrong, hearts = Seen(), {}, []
    module, failed = _registry.module(name), {}
    there = module.subjects_in(folder)
    for subject in tqdm(there, name, unit="subject", disable=not sys.stderr.isatty()):
        # One file may hold everybody: where nothing can be read of it, once is enough.
        files = _files_of(module, folder, subject)
        seen, faults = failed.get(files) or _subject(name, folder, subject, real=twin is None)
        if files and faults and not seen.trials:
            failed[files] = seen, faults
        for fault in faults:
            wrong.setdefault(fault, []).append(subject)
        all_.join(seen)
        hearts += (
            [float(np.nanmedian(seen.heart_rates))] if np.isfinite(seen.heart_rates).any() else []
        )
    lines = [f"{_some(who)}: {fault}" for fault, who in wrong.items()]
    if len(hearts) >= 3 and not wrong:
        lines += [f"all together: {fault}" for fault in _beating(hearts, BEATS_OF_ALL)]
    return all_, lines, {subject for who in wrong.values() for subject in who}


def _files_of(module: ModuleType, folder: Path, subject: str) -> tuple[Path, ...]:
    """Return the files of a subject, none where the reader will say what is wrong with them."""
    try:
        return module.files_of(folder, subject)
    except DataError:
        return ()


def _subject(name: str, folder: Path, subject: str, real: bool) -> tuple[Seen, list[str]]:
    """Return what was seen of one subject, and what is wrong with it."""
    module, seen = _registry.module(name), Seen()
    kinds, rule = list(module.CHANNELS), module.CARD.label_rules[0]
    try:
        for kind in kinds:
            for recording in datasets.load(name, folder, [subject], channels=kind):
                seen.add(recording, kind, rule if kind == kinds[0] else None)
    except DataError as error:
        return seen, [_short(error)]
    return seen, list(_faults(module.CARD, seen, kinds[0], real))


def _some(names: list[str]) -> str:
    return ", ".join(names[:MOST_LINES]) + (" ..." if len(names) > MOST_LINES else "")


def _short(error: DataError) -> str:
    """Return what is wrong in one line, without what can be done about it."""
    where = f"{Path(str(error.file)).name}, " if error.file else ""
    told = f"{error.what} ({where}{error.field}: found {error.found}, expected {error.expected})"
    return shown(told)


def _faults(card: Card, seen: Seen, kind: str, real: bool) -> Iterable[str]:
    """Yield what the readers do not look at: counts, lengths and heart rates of one subject."""
    n_trials = seen.trials[kind]
    if card.trials and n_trials < card.trials and set(seen.classes) != {None}:
        yield f"fewer trials than the card says (found {n_trials}, expected {card.trials})"
    if card.seconds and real and seen.lengths_s:
        low, high = card.seconds
        shortest, longest = min(seen.lengths_s), max(seen.lengths_s)
        if shortest < low * (1 - TOLERANCE) or longest > high * (1 + TOLERANCE):
            yield (f"trials last {shortest:.0f} to {longest:.0f} s (expected {low:g} to {high:g} "
                   "s): is the sampling rate the published one?")  # fmt: skip
    yield from _beating(seen.heart_rates, BEATS_PER_MINUTE)


def _beating(heart_rates: list[float], believed: tuple[float, float]) -> Iterable[str]:
    """Yield what is wrong with the median of heart rates, if there are any."""
    found = [rate for rate in heart_rates if np.isfinite(rate)]
    low, high = believed
    if heart_rates and not found:
        yield "no heart beats were found in what should be an ECG"
    elif found and not low <= float(np.median(found)) <= high:
        yield (
            f"a heart rate of {np.median(found):.0f} a minute (expected {low:g} to {high:g}): is "
            "it an ECG, and the sampling rate the published one?"
        )


def _tell(seen: Seen, rule: LabelRule | RatingRule, echo: Callable[[str], None]) -> None:
    """Print what was read of all subjects."""
    echo("  trials       " + ", ".join(f"{kind} {n}" for kind, n in seen.trials.items()))
    each = (f"{name} {count}" for name, count in seen.classes.items() if name is not None)
    left_out = f", in no class {seen.classes[None]}" if seen.classes[None] else ""
    echo(f"  {rule.name[:40]}: {', '.join(each)}{left_out}")
    if seen.lengths_s:
        echo(f"  lengths      {min(seen.lengths_s):.1f} to {max(seen.lengths_s):.1f} s")
    for kind, rates in seen.rates.items():
        echo(f"  rate         {kind} {', '.join(f'{rate:g}' for rate in sorted(rates))} Hz")
    for key, pieces in seen.amplitudes.items():
        kind, unit = key.split(", ")
        medians = [float(np.median(piece)) for piece in pieces if len(piece)]
        if medians:
            echo(f"  amplitude    {kind} {min(medians):.3g} to {max(medians):.3g} {unit} peak to "
                 "peak in 2 s, the median of a trial")  # fmt: skip
    rates = np.array([rate for rate in seen.heart_rates if np.isfinite(rate)])
    if len(rates):
        echo(f"  heart rate   {rates.min():.0f} to {rates.max():.0f} a minute, by trial")
    if seen.still_s.total():
        each = (f"{name or 'in no class'} {s:.1f} s" for name, s in seen.still_s.items() if s)
        echo(
            f"  still        a channel stands still: {', '.join(each)}; windows there are left out"
        )


class _Notes(logging.Handler):
    """Keeps what readers warn of, each line once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = shown(record.getMessage())
        if line not in self.lines and "no part of it are ignored" not in line:
            self.lines.append(line)
