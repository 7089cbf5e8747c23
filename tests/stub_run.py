"""A run without a notebook: scores of its parameters in a moment, or the end that they ask for."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

COLUMNS = (
    "paper", "estimator", "variant", "scale", "dataset", "tier", "effect", "placebo", "target",
    "label_rule", "seconds", "overlap", "protocol", "fold", "seed", "subject", "metric", "value",
    "n_test_windows", "n_test_trials", "run_key",
)  # fmt: skip
COMMAND = ("{python}", str(Path(__file__).resolve()), "{paper}", "{parameters}")
SUBJECTS = 6


def main(paper: str, file: str) -> int:
    """Write the files of a run; its parameter `mode` may ask for something else."""
    given, key = json.loads(Path(file).read_text()), os.environ["AFFECTBOOK_EXPECTED_KEY"]
    mode, folder = given.get("mode", "good"), Path("build", "runs", paper, key)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "runs.log").open("a") as log:
        log.write(f"{key} {os.getpid()} {os.environ['OMP_NUM_THREADS']}\n")
    if mode == "killed" or (mode == "killed once" and not (folder / "once").exists()):
        (folder / "once").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "waits":
        time.sleep(600)
    if mode == "fails":
        print("a cell of the test fails", file=sys.stderr)
        return 1
    write(folder, paper, "another" if mode == "another key" else key, given)
    return 0


def write(folder: Path, paper: str, key: str, given: dict) -> None:
    """Write what a finished run has; seed and epochs decide its scores."""
    right = min(9, 4 + given.get("seed", 0) + (given.get("epochs") or 1))
    row = dict.fromkeys(COLUMNS, "") | {
        "paper": paper, "estimator": "hcmnet", "scale": "smoke", "dataset": "wesad",
        "tier": "simulated", "placebo": False, "protocol": "group_kfold_subject", "fold": "all",
        "seed": given.get("seed", 0), "n_test_windows": 20, "run_key": key,
    }  # fmt: skip
    rows = []
    for subject in range(SUBJECTS):
        hits = max(0, min(10, right + subject % 3 - 1))
        cells = {"[0,0]": 10, "[0,1]": 0, "[1,0]": 10 - hits, "[1,1]": hits}
        rows += [row | {"subject": f"S{subject}", "metric": f"confusion{name}", "value": count}
                 for name, count in cells.items()]  # fmt: skip
    for metric in ("accuracy", "balanced_accuracy"):
        rows.append(row | {"subject": "all", "metric": metric, "value": (10 + right) / 20})
    with (folder / "scores.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    for name in ("predictions.csv", "parameters.json", "page.html", "notebook.ipynb"):
        (folder / name).write_text(name)
    made = {"run_key": key, "notebook": "code", "seconds": 1.5, "cpu_seconds": 1.2,
            "peak_memory_mb": 80, "attempts": [{"seconds": 1.5}], "files": {
                name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
                for name in ("scores.csv", "predictions.csv")}}  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps(made))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
