"""A finished run of HCMNet as `running` leaves it, from scores that a test wants to have."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from builders import CONTEXT, like_everyone, predictions_of, scores_of

from affectbook import files, params, results
from affectbook.papers import hcmnet

SHUFFLED = "shuffled_windows_as_published"


def rows_of(right: dict[str, float], *, people: int = 12, **context: object) -> pd.DataFrame:
    """Return score rows under both protocols: so often right on new people, always on shuffled.

    Parameters
    ----------
    right
        Share by estimator.
    people
        How many subjects.
    """
    same = {"tier": "simulated", "dataset": "wesad", "scale": "teaching"} | context
    parts = []
    for estimator, share in right.items():
        own = {"variant": "pool_strides_8_8_2"} if estimator == "hcmnet" else {"variant": ""}
        own |= {"estimator": estimator} | {k: v for k, v in same.items() if k != "variant"}
        own |= {"variant": same["variant"]} if estimator == "hcmnet" and "variant" in same else {}
        parts.append(scores_of(like_everyone(people, share), **own))
        shuffled = own | {"protocol": SHUFFLED}
        parts.append(scores_of(like_everyone(people, 1.0), **shuffled))
        parts.append(scores_of(like_everyone(people, 1.0), **shuffled, placebo=True))
    return pd.concat(parts, ignore_index=True)


def finish(
    folder: Path, rows: pd.DataFrame, given: dict[str, object] | None = None, **told: object
) -> Path:
    """Write scores, predictions and provenance of a run with these parameters into a folder."""
    parsed = params.parse(hcmnet.Params, given or {})
    setting = asdict(hcmnet.setting(parsed))
    results.write_rows(rows.assign(run_key=folder.name), folder / "scores.csv")
    predictions = predictions_of(like_everyone(2, 0.5))
    results.write_rows(predictions, folder / "predictions.csv")
    (folder / "notebook.ipynb").write_text("{}")
    (folder / "weights.safetensors").write_text("no")
    made = {
        "paper": "hcmnet", "run_key": folder.name, "parameters": asdict(parsed),
        "setting": setting, "seed": parsed.seed, "finished": "2026-01-02T03:04:05+00:00",
        "seconds": 180.0, "git": {"commit": "0123456789abcdef", "dirty": False},
        "machine": {"cpu": "Some CPU w/ Graphics", "cores": 2, "gpu": None, "torch_threads": 2,
                    "python": "3.11.7", "system": "Linux x86_64"},
        "scan": "torch", "packages": {"torch": "2.13.0", "numpy": "2.4.6"},
        "data": {"dataset": parsed.dataset, "tier": parsed.tier, "sha256": "0" * 64,
                 "windows": [36, 1, 640]},
        "code": {}, "attempts": [{"seconds": 180.0}],
        "files": {name: files.sha256(folder / name) for name in ("scores.csv", "predictions.csv")},
    }  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps(made | told, indent=1))
    return folder


__all__ = ["CONTEXT", "SHUFFLED", "finish", "rows_of"]
