"""Released encoders of self-supervised ECG, by name, with the SHA-256 of their weights."""

from __future__ import annotations

HEADS = ("ssl_ecg_transformations_of_twins_with_heads",
         "64d28f447aa0a0236d91bc3c1a77a454371787ff40f234e642177d2665df6b7f")  # fmt: skip
"""The pretext network of simulated people, heads and all."""
RELEASED: dict[str, str] = {
    "ssl_ecg_contrastive_of_twins":
        "3fc38128aeb7131b8c0ee482ea89e836c483763f04aa872b59f8de6af40b41e1",
    "ssl_ecg_contrastive_without_drivedb":
        "21090f2f5a50cdb861ee4c6bdc6dd24bcbb12157cd2fcdf457bc547909cfc8a0",
    "ssl_ecg_contrastive_without_eegmat":
        "71946c7021e2eb25ac17b258f3b7a3f44ac38d14c9ae085fec3eb78aa4f085dd",
    "ssl_ecg_transformations_of_twins":
        "3e7d653060daf1b25e98be6b42c6579bd57aba6126a3644dcd794e0a673779b8",
    "ssl_ecg_transformations_of_wesad_twin":
        "d0c184fc15861dce2688ecee2a8db2680c163c194e2696f0e8118182e877ede6",
    "ssl_ecg_transformations_without_drivedb":
        "75957702208694fe01d156ae6292afab02927c90b8c726857320204d39ecb6bf",
    "ssl_ecg_transformations_without_eegmat":
        "edca582f23b0141f5ab6a631b27bafebe7275067976ea4bb49b91936932daaf0",
}  # fmt: skip


def released_for(pretext: str, dataset: str, tier: str, pooled: bool = True) -> str:
    """Return the name of the released weights that have not seen a data set.

    DREAMER's twin takes those of simulated people of three other twins, or of one of them. Other
    twins take real ones, as simulated subjects are nobody's: those without eegmat.
    """
    if (dataset, tier) == ("dreamer", "simulated"):
        return f"ssl_ecg_{pretext}_of_{'twins' if pooled else 'wesad_twin'}"
    return f"ssl_ecg_{pretext}_without_{'drivedb' if dataset == 'drivedb' else 'eegmat'}"
