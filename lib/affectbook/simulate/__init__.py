"""Simulated signals and labels with known answers; nothing here knows a file format.

Two dials: `effect` scales what a state does to everybody alike (0: nothing, there is nothing to
learn); `fingerprint` scales how recognisable a person and each single trial are, whatever the
state (0: all are drawn alike).
"""

from affectbook.simulate.affect import EMOTIONS, Affect, felt, self_report, stimuli
from affectbook.simulate.ecg import (
    CONDITIONS,
    GENERAL,
    IMPAIRED,
    MAX_DIAL,
    Population,
    ecg_subject,
    second_lead,
    session_plan,
)
from affectbook.simulate.eeg import eeg_subject

__all__ = [
    "CONDITIONS", "EMOTIONS", "GENERAL", "IMPAIRED", "MAX_DIAL", "Affect", "Population",
    "ecg_subject", "eeg_subject", "felt", "second_lead", "self_report", "session_plan", "stimuli",
]  # fmt: skip
