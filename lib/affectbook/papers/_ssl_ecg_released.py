"""Released encoders of self-supervised ECG, by name, with the SHA-256 of their weights."""

from __future__ import annotations

RELEASED: dict[str, str] = {
    "ssl_ecg_contrastive_without_drivedb":
        "21090f2f5a50cdb861ee4c6bdc6dd24bcbb12157cd2fcdf457bc547909cfc8a0",
    "ssl_ecg_contrastive_without_eegmat":
        "71946c7021e2eb25ac17b258f3b7a3f44ac38d14c9ae085fec3eb78aa4f085dd",
    "ssl_ecg_transformations_without_drivedb":
        "75957702208694fe01d156ae6292afab02927c90b8c726857320204d39ecb6bf",
    "ssl_ecg_transformations_without_eegmat":
        "edca582f23b0141f5ab6a631b27bafebe7275067976ea4bb49b91936932daaf0",
}  # fmt: skip


def released_for(pretext: str, dataset: str) -> str:
    """Return the name of the released weights that have not seen a data set.

    Simulated subjects are nobody's; for them it is the one without eegmat, too.
    """
    return f"ssl_ecg_{pretext}_without_{'drivedb' if dataset == 'drivedb' else 'eegmat'}"
