"""Released encoders of self-supervised ECG, by name, with the SHA-256 of their weights."""

from __future__ import annotations

RELEASED: dict[str, str] = {}


def released_for(pretext: str, dataset: str) -> str:
    """Return the name of the released weights that have not seen a data set.

    Simulated subjects are nobody's; for them it is the one without eegmat, too.
    """
    return f"ssl_ecg_{pretext}_without_{'drivedb' if dataset == 'drivedb' else 'eegmat'}"
