"""Runs that are killed: the same command goes on, and ends with the bytes of a run that was not.

Kernel or driver gets a signal at one of its points, from a file that Python reads as it starts
(`injected/sitecustomize.py`); then the same command is given once more.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest
from faults.injected.sitecustomize import POINTS
from faults.stub_paper import N_FOLDS, StubProject, gone_within

pytestmark = pytest.mark.faults
# Nine where a run is killed, and what is tried once the run has its name.
WHERE = [point for point in POINTS if point != "before a fold is written"]
SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL")
NAMED = "when the run has its name"
# Folds that are kept when the point is reached.
KEPT = {
    "before the kernel runs anything": 0, "in the first fold": 0, "in a later fold": 4,
    "a fold half written": 1, "a fold written": 2,
}  # fmt: skip


class Case(NamedTuple):
    """Where the signal comes, which, and whether to the process that is there."""

    point: str
    signal: str
    to: str = "self"

    @property
    def of_kernel(self) -> bool:
        """Whether the kernel gets it."""
        return POINTS[self.point][0] == (self.to == "self")


class Outcome(NamedTuple):
    """What the two commands did, and what was there between them."""

    status: int
    said: str
    named: list[str]
    kept: int
    trained: list[str]
    kernel_gone: bool
    again: int
    said_again: str
    project: StubProject


TO_THE_OTHER = ("before the kernel runs anything", "in the first fold")
CASES = [
    *(Case(point, one) for point in WHERE for one in SIGNALS),
    *(Case(point, one, "other") for point in TO_THE_OTHER for one in SIGNALS),
]


def carry_out(case: Case, project: StubProject) -> Outcome:
    """Run until the signal comes, look at what is left, and run again."""
    stay = "3" if case.to == "other" else "0"
    first = project.run(at=case.point, how=case.signal, to=case.to, stay=stay)
    assert project.mark.exists(), f"the point was not reached: {first.stdout} {first.stderr}"
    at_point = int(project.mark.read_text())
    named = [path.name for path in project.runs_folder.glob("[!.]*")]
    kept, trained = project.kept(), project.trainings()
    kernel_gone = not POINTS[case.point][0] or gone_within(at_point, 10)
    again = project.run(at=case.point, how=case.signal)
    return Outcome(
        first.returncode, first.stdout + first.stderr, named, kept, trained, kernel_gone,
        again.returncode, again.stdout + again.stderr, project,
    )  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, whole: StubProject, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Case, Future]]:
    """Carry out the cases that were asked for, two at a time, each in a copy of its own."""
    wanted = [item.callspec.params["case"] for item in request.session.items
              if "outcomes" in getattr(item, "fixturenames", ())]  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        copies = (whole.copy(tmp_path_factory.mktemp("killed") / "project") for _ in wanted)
        yield {case: pool.submit(carry_out, case, copy)
               for case, copy in zip(wanted, copies, strict=True)}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: ", ".join(case))
def test_the_same_command_goes_on(case: Case, outcomes: dict[Case, Future], whole: StubProject):
    """Same bytes as without the signal; nothing is trained twice, and nothing is left over."""
    done = outcomes[case].result()
    assert done.named == [whole.finished().name] * (case.point == NAMED or done.status == 0)
    assert "Traceback" not in done.said + done.said_again
    assert done.again == 0, done.said_again
    assert done.project.scores() == whole.scores()
    assert done.project.finished().name == whole.finished().name
    assert done.project.left() == []
    require_end(case, done)
    require_no_training_twice(case, done)
    assert len(done.project.attempts()) >= 1 + (done.kept > 0 and case.point != NAMED)


def require_end(case: Case, done: Outcome) -> None:
    """Check status and message of the run that got the signal, and that its kernel is gone."""
    assert done.kernel_gone, f"process {done.project.mark.read_text()} still lives"
    if not case.of_kernel:
        own = {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -signal.SIGKILL}
        assert done.status == own[case.signal], done.said
    elif case.signal == "SIGINT":
        # A kernel that is idle or starts ignores it.
        assert done.status in (0, 1), done.said
        assert done.status == 0 or "Interrupt" in done.said
    else:
        assert done.status == 1 and "kernel" in done.said, done.said


def require_no_training_twice(case: Case, done: Outcome) -> None:
    """Check that what was kept is not trained again: at most the fold it was in is."""
    trained = done.project.trainings()
    assert len(set(trained)) == N_FOLDS
    assert done.kept == KEPT.get(case.point, N_FOLDS) or case.point == NAMED or done.status == 0
    twice = len(trained) - N_FOLDS
    assert twice <= (case.point == "a fold half written")
    assert trained[: len(done.trained)] == done.trained
