"""A paper without torch, its project and its faults: runs that are killed, and go on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
from tiny_project import ROOT, TinyProject

INJECTED = Path(__file__).with_name("injected")
N_FOLDS = 7
"""Four subjects left out one by one, and three parts of all windows."""
PAPER = '''"""A paper that guesses."""

from __future__ import annotations

from dataclasses import dataclass, field

TITLE = "Guessing"


@dataclass(frozen=True)
class Params:
    """What can be set."""

    seed: int = field(default=0, metadata={"help": "of the guesses", "low": 0})


def setting(params: Params) -> Params:
    """Return the parameters."""
    return params
'''
GUESS = '''"""An estimator that guesses from a seed and from what it was trained on."""

from __future__ import annotations

import os
import zlib

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin


class Guess(ClassifierMixin, BaseEstimator):
    """Guesses; each training is a line in a file."""

    def __init__(self, epochs: int = 3, seed: int = 0) -> None:
        self.epochs, self.seed = epochs, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> Guess:
        """Take a sum of the windows for a seed."""
        self.classes_ = np.unique(y)
        self.start_ = [self.seed, zlib.crc32(X.tobytes()), zlib.crc32(y.tobytes())]
        told = "-".join(map(str, self.start_))
        self._note("begun", told)
        self.learn()
        self._note("done", told)
        return self

    def learn(self) -> None:
        """Draw a curve."""
        self.curve_ = np.random.default_rng(self.start_).random(self.epochs)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Guess, by window and seed."""
        rng = np.random.default_rng([*self.start_, zlib.crc32(X.tobytes())])
        return rng.choice(self.classes_, len(X))

    def history_frame(self) -> pd.DataFrame:
        """Return the curve, which ends with what is not a number."""
        epochs = np.arange(self.epochs)
        frame = pd.DataFrame({"epoch": epochs, "train_loss": self.curve_})
        return frame.assign(valid_loss=np.where(epochs == epochs[-1], np.nan, self.curve_ / 3))

    def _note(self, what: str, told: str) -> None:
        with open(os.environ["STUB_LOG"], "a") as log:
            log.write(f"{what} {told} {os.getpid()}\\n")
'''
CELLS = (
    "seed: int = 0",
    "import sys\nfrom pathlib import Path\nfrom types import SimpleNamespace\nimport numpy as np\n"
    "import pandas as pd\nfrom affectbook import datasets, experiments, params\n"
    "from affectbook.guess import Guess\nfrom affectbook.papers import tiny",
    "params.from_notebook(tiny.Params, globals())\n"
    "card = datasets.card('wesad')\nrule = card.label_rules[0]\n"
    "rng, n_classes = np.random.default_rng(seed), len(rule.classes)\n"
    "meta = pd.DataFrame([dict(subject=f'S{s}', session='1', trial=f't{t}', window=w,\n"
    "                          start_s=float(w), stop_s=w + 1.0)\n"
    "                     for s in range(4) for t in range(2 * n_classes) for w in range(4)])\n"
    "X = rng.standard_normal((len(meta), 1, 16)).astype(np.float32)\n"
    "y = meta['trial'].str[1:].astype(int).to_numpy() % n_classes",
    "setting = experiments.Setting(\n"
    "    paper='tiny', dataset='wesad', tier='simulated', target=rule.target, label_rule=None,\n"
    "    protocol='leave_one_subject_out', subjects=4, seconds=1.0, overlap=0.0, effect=1.0,\n"
    "    fingerprint=1.0, variant='', scale='smoke', sfreq=16.0, per_trial=None, n_splits=3,\n"
    "    epochs=3, batch_size=1, patience=1, seed=seed, device='cpu')\n"
    "data = experiments.Data(X, y, meta, card, rule, 'by hand', Path(), setting.sfreq)\n"
    "experiment = experiments.Experiment(setting, data)",
    "experiment.add('guess', Guess())\n"
    "_ = experiment.add('guess', Guess(), 'shuffled_windows_as_published')",
    "experiments.datasets = SimpleNamespace(content_hash=lambda *_: data.content_hash())\n"
    "_ = experiment.save()\nprint('torch' in sys.modules)",
)  # fmt: skip


class StubProject(TinyProject):
    """A checkout with the whole package and one paper; faults can be asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        lib = root / "lib" / "affectbook"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "lib" / "affectbook", lib, dirs_exist_ok=True, ignore=ignored)
        (lib / "papers" / "tiny.py").write_text(PAPER)
        (lib / "guess.py").write_text(GUESS)
        self.write_notebook(CELLS)
        self._name()

    def _name(self) -> None:
        self.log, self.mark = self.root / "trainings.log", self.root / "fault.mark"
        self.runs_folder = self.root / "build" / "runs" / "tiny"

    def copy(self, to: Path) -> StubProject:
        """Return a copy without anything that was made, but with what Python has compiled."""
        twin = object.__new__(StubProject)
        twin.__dict__.update(self.__dict__)
        for name in ("lib", "notebooks", "pyproject.toml", "requirements.in", "constraints.txt"):
            one = self.root / name
            (shutil.copytree if one.is_dir() else shutil.copy2)(one, _below(to, name))
        twin.root, twin.notebook = to, to / "notebooks" / "tiny.ipynb"
        twin._name()
        return twin

    def start(
        self, *arguments: str, limit: int | None = None, **fault: str
    ) -> subprocess.Popen[str]:
        """Start a command; `fault` is what the injected file reads, less its prefix.

        `limit` is the size that no file may grow beyond, in bytes.
        """
        given = {f"FAULT_{name.upper()}".removesuffix("_HOW"): one for name, one in fault.items()}
        keep = {name: one for name, one in os.environ.items() if not name.startswith("AFFECTBOOK")}
        command = [sys.executable, "-m", "affectbook.runs", *arguments]
        if limit is not None:
            command = ["prlimit", f"--fsize={limit}", *command]
        return subprocess.Popen(
            command, cwd=self.root, env=keep | self.environment() | given, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Return what the processes of this project need to know."""
        places = os.pathsep.join([str(self.root / "lib"), str(INJECTED)])
        return {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "STUB_LOG": str(self.log),
                "FAULT_MARK": str(self.mark)}  # fmt: skip

    def run(self, *more: str, **fault: object) -> subprocess.CompletedProcess[str]:
        """Run the paper to the end of the driver, whatever becomes of its kernel."""
        started = self.start("run", "tiny", *more, **fault)
        said, told = started.communicate(timeout=300)
        return subprocess.CompletedProcess(started.args, started.returncode, said, told)

    def trainings(self, what: str = "done") -> list[str]:
        """Return what was trained, in order: seed and sums of windows and labels."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split()[1] for line in lines if line.split()[0] == what]

    def finished(self) -> Path:
        """Return the folder of the only finished run; nothing else may be beside it."""
        (folder,) = self.runs_folder.iterdir()
        assert not folder.name.startswith("."), folder
        return folder

    def scores(self) -> dict[str, str]:
        """Return sums of the tables of the finished run."""
        folder = self.finished()
        return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
                for name in ("scores.csv", "predictions.csv")}  # fmt: skip

    def kept(self) -> int:
        """Return how many folds of an unfinished run are kept."""
        return len(list(self.runs_folder.glob(".unfinished-*/folds/*/fold-*.json")))

    def left(self) -> list[str]:
        """Return what should not be left under build: hidden, temporary, of a failure."""
        build = self.root / "build"
        found = [path for path in build.rglob("*") if path.name.startswith(".")]
        found += [path for name in ("folds", "progress.log", "attempts.json")
                  for path in build.rglob(name)]  # fmt: skip
        found += list((build / "failed").glob("*"))
        return sorted(path.relative_to(build).as_posix() for path in found)

    def attempts(self) -> list[Mapping]:
        """Return the attempts of the finished run."""
        return json.loads((self.finished() / "provenance.json").read_text())["attempts"]


def _below(to: Path, name: str) -> Path:
    to.mkdir(parents=True, exist_ok=True)
    return to / name


def gone_within(pid: int, seconds: float) -> bool:
    """Return whether a process has ended before so many seconds are over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


def wait_for(path: Path, seconds: float = 120) -> None:
    """Wait until a file is there."""
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} was not made"
        time.sleep(0.05)
