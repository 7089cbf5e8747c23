"""What ``make bench`` measured, for its page: ratios, goals beside them, growth. Measures nothing.

A ratio is the time of an alternative divided by ours, so that 4 means that ours takes a quarter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from affectbook import figures
from affectbook.files import project_root, write_atomic

OURS = "ours"
TRANSFORMERS = "transformers, chunk 64"
LOOP = "transformers, loop"
WINDOW_BY_WINDOW = "transformers, window by window"
ONE_BY_ONE = "ours, window by window"
IN_NUMPY = "NumPy, window by window"
THROUGH = "through the backbone"
ADAPTERS = "with adapters"
ALL_WEIGHTS = "with all weights trained"
TRAINED = "trained_parameters"
BOTH = "forward+backward"
MALLOC = {"default": "default malloc", "reuse": "malloc keeps memory"}
NOT_RUN = "*not run*"
NOT_YET = "not measured yet"
SHAPES = {
    "mamba2": ["batch", "length"],
    "mamba": ["batch", "channels", "length"],
    "hcmnet_step": ["batch", "samples"],
    "ms_imamba_step": ["batch", "channels", "samples"],
    "nmoe_step": ["gate", "batch", "samples"],
    "nmoe_tuning": ["batch", "samples"],
    "transformations": ["version", "batch", "samples"],
    "growth": ["layer", "vary", "batch", "length", "states"],
    "recordings": ["file_mb"],
    "runs": ["what"],
}
"""The scripts of ``bench/``, with the columns that name a shape."""
LAYERS = {"mamba": "scan of Mamba", "mamba2": "layer of Mamba-2"}

Parts = list[str | pd.DataFrame]


def rows(name: str) -> pd.DataFrame:
    """Return the rows that the script `name` kept; none if it has not been run."""
    path = project_root() / "results" / "bench" / f"{name}.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def parts(folder: Path) -> dict[str, Parts]:
    """Return what each fragment of the page is made of: sentences and tables, figures in `folder`.

    A script without rows has one sentence, which says so and how to run it.
    """
    found: dict[str, Parts] = {"bench_goals.md": [goals()]}
    for name in SHAPES:
        measured = rows(name)
        if measured.empty:
            found[f"bench_{name}.md"] = [f"Not measured yet: `make bench BENCH={name}`.\n"]
        elif name == "growth":
            found["bench_growth.md"] = [made_by(measured), _picture(measured, folder)]
            found["bench_growth.md"].append(growth(measured))
        elif name == "recordings":
            found["bench_recordings.md"] = [recordings(measured)]
        elif name == "runs":
            found["bench_runs.md"] = [runs(measured)]
        else:
            found[f"bench_{name}.md"] = [made_by(measured), ratios(measured, SHAPES[name])]
        if TRAINED in measured:
            found[f"bench_{name}.md"].append(trained(measured))
        if name.endswith("_step") and len(measured):
            found[f"bench_{name}.md"].append(windows_per_second(measured))
    return found


def made_by(measured: pd.DataFrame) -> str:
    """Return date, machine and versions of the rows, one sentence per device and threads."""
    lines = []
    for _, part in measured.groupby(["device", "threads"], sort=False):
        one = part.iloc[0]
        where = one["cpu"] if one["device"] == "cpu" else one["gpu"]
        if one["device"] == "cpu" and pd.notna(one["cpu_family"]):
            where += f" (family {one['cpu_family']:.0f}, model {one['cpu_model']:.0f}, "
            where += f"{one['vectors']})"
        names = [name for name in ("torch", "transformers", "mambapy") if pd.notna(one[name])]
        versions = ", ".join(f"{name} {one[name]}" for name in names)
        lines.append(
            f"{one['date']}, {where}, {one['threads']} thread(s) of {one['cores']} cores; "
            f"{versions}; fastest float32 matrix product "
            f"{part['gemm_gflop_per_s'].max():.0f} GFLOP/s; the rounds of a candidate lie "
            f"{part['spread'].median():.0%} apart (at most {part['spread'].max():.0%})."
        )
    return "Measured " + " And ".join(lines) + "\n"


def ratios(measured: pd.DataFrame, shape: list[str]) -> pd.DataFrame:
    """Return how many times as long as ours each alternative takes, one line per shape and pass."""
    lines = []
    keys = [*shape, "pass", "candidate"]
    for key, part in measured.groupby(keys, sort=False):
        *sizes, what, candidate = key
        if candidate == OURS:
            continue
        line = {" x ".join(shape): " x ".join(map(str, sizes)), "pass": what, "beside": candidate}
        for mode, label in MALLOC.items():
            own = _on(part, "cpu")
            line[label] = _times(own[own["malloc"] == mode]["ratio"])
        line["peak memory"] = _times(
            _memory(_on(measured, "cpu"), dict(zip(keys, key, strict=True)))
        )
        line["GPU"] = _times(_on(part, "gpu")["ratio"], NOT_RUN)
        lines.append(line)
    table = pd.DataFrame(lines)
    return table.drop(columns="peak memory") if (table["peak memory"] == "").all() else table


def trained(measured: pd.DataFrame) -> pd.DataFrame:
    """Return how many parameters each way trains, as a part of the most as well."""
    counts = measured.drop_duplicates("candidate").set_index("candidate")[TRAINED]
    shares = [f"{count / counts.max():.1%}" for count in counts]
    numbers = [f"{count:,}" for count in counts]
    return pd.DataFrame({"way": counts.index, "trained parameters": numbers, "share": shares})


def windows_per_second(measured: pd.DataFrame) -> pd.DataFrame:
    """Return how many windows each network trains on in a second."""
    lines = []
    keys = [key for key in ("samples", "candidate", "gate") if key in measured]
    for (samples, *who), part in measured.groupby(keys, sort=False):
        line = {"windows per second": ", ".join([*who, f"{samples} samples"])}
        speeds = part.assign(speed=part["batch"] / part["seconds"])
        for mode, label in MALLOC.items():
            own = _where(_on(speeds, "cpu"), malloc=mode)["speed"]
            line[label] = f"{own.iloc[0]:.1f}" if len(own) else ""
        on_gpu = _on(speeds, "gpu")["speed"]
        line["GPU"] = f"{on_gpu.iloc[0]:.1f}" if len(on_gpu) else NOT_RUN
        lines.append(line)
    return pd.DataFrame(lines)


def recordings(measured: pd.DataFrame) -> pd.DataFrame:
    """Return what each way from a subject's file to its windows takes, ours first."""
    own = _on(measured, "cpu").dropna(subset="file_mb")
    shares = own["peak_mb"] / own["file_mb"]
    return pd.DataFrame(
        {
            "way": own["candidate"],
            "time, ours = 1": [f"{ratio:.2g}" for ratio in own["ratio"]],
            "CPU seconds": [f"{seconds:.2g}" for seconds in own["seconds"]],
            "peak memory": [f"{peak:.0f} MB" for peak in own["peak_mb"]],
            "rounds apart": [f"{spread:.0%}" for spread in own["spread"]],
            "memory / size of the file": [f"{share:.2g} x" for share in shares],
        }
    )


def runs(measured: pd.DataFrame) -> pd.DataFrame:
    """Return what a run takes beside a script, and a sweep with two workers beside one."""
    own = _on(measured, "cpu")
    return pd.DataFrame(
        {
            "what": own["what"],
            "how": own["candidate"],
            "runs": own["runs"],
            "wall time": [f"{seconds:.1f} s" for seconds in own["seconds"]],
            "CPU time": [f"{seconds:.1f} s" for seconds in own["cpu_seconds"]],
            "beside the first": [f"{ratio:.2f} x" for ratio in own["ratio"]],
            "rounds apart": [f"{spread:.0%}" for spread in own["spread"]],
            "measured": own["date"] + ", " + own["cpu"],
        }
    )


def _on(measured: pd.DataFrame, device: str) -> pd.DataFrame:
    """Return the rows of one CPU thread, or those of any GPU."""
    on_cpu = measured["device"] == "cpu"
    return measured[on_cpu & (measured["threads"] == 1) if device == "cpu" else ~on_cpu]


def _times(values: pd.Series | list[float], missing: str = "") -> str:
    """Return the first of the ratios as text."""
    return f"{list(values)[0]:.1f} x" if len(values) else missing


def _memory(measured: pd.DataFrame, key: dict[str, object]) -> list[float]:
    """Return how many times the memory of ours one alternative needs at its peak."""
    found = {}
    for candidate in (OURS, key["candidate"]):
        own = _where(measured, **key | {"candidate": candidate})
        found[candidate] = own["peak_mb"].dropna().to_numpy()
    ours, theirs = found[OURS], found[key["candidate"]]
    return [theirs[0] / ours[0]] if len(ours) and len(theirs) else []


def _where(measured: pd.DataFrame, **values: object) -> pd.DataFrame:
    for column, value in values.items():
        measured = measured[measured[column] == value]
    return measured


def exponent(sizes: np.ndarray, seconds: np.ndarray) -> float:
    """Return the slope of log time against log size, by least squares: 1 means in proportion."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def growth(measured: pd.DataFrame) -> pd.DataFrame:
    """Return the exponents: one line per layer, varied size and candidate."""
    lines = []
    for (layer, vary, candidate), part in measured.groupby(
        ["layer", "vary", "candidate"], sort=False
    ):
        sizes = part[vary]
        line = {"what": LAYERS[layer], "grows": f"{vary}, {sizes.min()} to {sizes.max()}"}
        line["who"] = candidate
        for mode, label in MALLOC.items():
            own = _where(_on(part, "cpu"), malloc=mode)
            line[f"exponent, {label}"] = _exponent(own, vary)
        last = _where(_on(part, "cpu"), malloc="default").sort_values(vary).tail(2)
        line["of the last doubling"] = _exponent(last, vary)
        line["GPU"] = _exponent(_on(part, "gpu"), vary) or NOT_RUN
        lines.append(line)
    return pd.DataFrame(lines)


def _exponent(points: pd.DataFrame, vary: str) -> str:
    if points[vary].nunique() < 2:
        return ""
    return f"{exponent(points[vary].to_numpy(), points['seconds'].to_numpy()):.2f}"


def _picture(measured: pd.DataFrame, folder: Path) -> str:
    """Draw growth with length into `folder` and return what shows it."""
    fig, alt = draw_growth(measured)
    write_atomic(folder / "growth.png", lambda path: fig.savefig(path, dpi=160, facecolor="white"))
    plt.close(fig)
    return f"```{{image}} ../build/generated/growth.png\n:alt: {alt}\n:width: 720px\n```\n"


def draw_growth(measured: pd.DataFrame) -> figures.Drawn:
    """Draw time against length, one panel per layer: dashed where malloc keeps memory."""
    figures.theme()
    own = _where(_on(measured, "cpu"), vary="length")
    names = list(own["candidate"].unique())
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 4.0))
    words = []
    for ax, (layer, title) in zip(axes, LAYERS.items(), strict=True):
        part = own[own["layer"] == layer]
        for (candidate, mode), points in part.groupby(["candidate", "malloc"], sort=False):
            number = names.index(candidate)
            dashed = mode != "default"
            look = {"color": f"C{number}", "marker": figures.MARKS[number], "ms": 6, "lw": 1.6}
            look |= {"ls": "--", "alpha": 0.7} if dashed else {"label": candidate}
            ax.plot(points["length"], points["seconds"], **look)
            if not dashed:
                words.append(f"{title}, {candidate}: exponent {_exponent(points, 'length')}")
        ax.set(xscale="log", yscale="log", xlabel="length (steps)", title=title)
        ticks = sorted(part["length"].unique())
        ax.set_xticks(ticks, map(str, ticks))
        ax.minorticks_off()
    axes[0].set_ylabel("forward and backward (CPU s)")
    axes[-1].plot([], [], "--", color="0.35", label=MALLOC["reuse"])
    shown = dict(
        entry[::-1] for ax in axes for entry in zip(*ax.get_legend_handles_labels(), strict=True)
    )
    fig.legend(shown.values(), shown, loc="outside lower center", ncols=2, fontsize=8)
    return fig, f"Time against length, both logarithmic. {'; '.join(words)}."


@dataclass(frozen=True)
class Goal:
    """What a script is meant to show, and how to read it off its rows.

    `measure` returns one number per shape the goal speaks of; the worst of them counts.
    """

    bench: str
    what: str
    measure: Callable[[pd.DataFrame], list[float]]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = " x"


def goals() -> pd.DataFrame:
    """Return every goal beside what was measured."""
    lines = []
    for goal in GOALS:
        limit = goal.at_least if goal.at_most is None else goal.at_most
        words = "at least" if goal.at_most is None else "at most"
        line = {"what": goal.what, "goal": f"{words} {limit:g}{goal.unit}"}
        measured = rows(goal.bench)
        on_cpu = _worst(goal, _on(measured, "cpu")) if len(measured) else None
        on_gpu = _worst(goal, _on(measured, "gpu")) if len(measured) else None
        line["measured"] = NOT_YET if on_cpu is None else f"{on_cpu:.3g}{goal.unit}"
        met = on_cpu is not None and (on_cpu >= limit if goal.at_most is None else on_cpu <= limit)
        line["met"] = "" if on_cpu is None else "yes" if met else "no"
        line["GPU"] = NOT_RUN if on_gpu is None else f"{on_gpu:.3g}{goal.unit}"
        lines.append(line)
    return pd.DataFrame(lines)


def _worst(goal: Goal, measured: pd.DataFrame) -> float | None:
    found = goal.measure(measured)
    if not found:
        return None
    return min(found) if goal.at_most is None else max(found)


def _ratio(
    measured: pd.DataFrame, beside: str, lengths: tuple[int, ...] = (), **where: object
) -> list[float]:
    """Return the ratios of one alternative, at these lengths if any are named."""
    own = _where(measured, **{"malloc": "default", "pass": BOTH, "candidate": beside} | where)
    return list(own[own["length"].isin(lengths)]["ratio"] if lengths else own["ratio"])


def _beside_all_weights(measured: pd.DataFrame, candidate: str) -> list[float]:
    """Return the time of a step as a multiple of one that trains all weights."""
    own = _where(measured, malloc="default").groupby("candidate")["seconds"].first()
    return [own[candidate] / own[ALL_WEIGHTS]] if {candidate, ALL_WEIGHTS} <= set(own.index) else []


def _share_of_memory(measured: pd.DataFrame) -> list[float]:
    key = {"batch": 32, "length": 1024, "pass": BOTH, "candidate": TRANSFORMERS}
    return [1 / times for times in _memory(measured, key)]


def _over_arithmetic(measured: pd.DataFrame) -> list[float]:
    """Return how many times as long as its arithmetic at the best speed our layer takes."""
    where = {"batch": 32, "length": 1024, "pass": BOTH, "malloc": "default", "candidate": OURS}
    own = _where(measured, **where)
    return list(own["seconds"] * own["gemm_gflop_per_s"] / own["gflop"])


def _windows_per_second(measured: pd.DataFrame) -> list[float]:
    own = _where(measured, candidate=OURS, malloc="default", batch=32, samples=1280)
    return list(own["batch"] / own["seconds"])


def _exponents(measured: pd.DataFrame, layer: str) -> list[float]:
    own = _where(measured, layer=layer, vary="length", candidate=OURS, malloc="default")
    return [exponent(own["length"].to_numpy(), own["seconds"].to_numpy())] if len(own) > 1 else []


def _recordings(measured: pd.DataFrame, candidate: str, over: str) -> list[float]:
    """Return seconds, or peak memory over the size of the file, of one way to read."""
    own = _where(measured, candidate=candidate)
    return list(own["seconds"] if over == "" else own["peak_mb"] / own[over])


def _more_than_script(measured: pd.DataFrame) -> list[float]:
    """Return how many seconds a run takes longer than the script of its notebook."""
    own = _where(measured, what="one notebook").set_index("candidate")["seconds"]
    return [own["make run"] - own["plain script"]] if len(own) > 1 else []


def _share_of_ideal(measured: pd.DataFrame) -> list[float]:
    """Return the time of one worker over that of several, for each of them."""
    own = _where(measured, what="a sweep")
    one, more = _where(own, workers=1)["seconds"], own[own["workers"] > 1]
    return list(one.iloc[0] / (more["workers"] * more["seconds"])) if len(one) else []


def _goals() -> Iterator[Goal]:
    def beside(who: str, *lengths: int, **where: object) -> Callable[[pd.DataFrame], list[float]]:
        return partial(_ratio, beside=who, lengths=lengths, **where)

    layer, scan, step = "Mamba-2 layer, 32 x ", "scan of Mamba, ", "training step of HCMNet, "
    theirs, kept = "beside transformers", "the same where malloc keeps memory"
    large, batch = partial(Goal, "mamba2"), {"batch": 32}
    yield large(layer + f"1024, {theirs}", beside(TRANSFORMERS, 1024, **batch), 5)
    yield large(layer + f"1024, {kept}", beside(TRANSFORMERS, 1024, malloc="reuse", **batch), 2.8)
    yield large(layer + f"256, {theirs}", beside(TRANSFORMERS, 256, **batch), 3)
    yield large(layer + f"1024, peak memory {theirs}'", _share_of_memory, at_most=0.33)
    yield large(layer + "1024, time over its arithmetic at best", _over_arithmetic, at_most=2.0)
    small = partial(Goal, "mamba")
    yield small(scan + f"4 steps, {theirs}' loop", beside(LOOP, 4), 1.7)
    yield small(scan + f"14 steps, {theirs}' loop", beside(LOOP, 14), 2.5)
    yield small(scan + f"32 and 62 steps, {theirs}' loop", beside(LOOP, 32, 62), 4)
    yield small(scan + "14 to 62 steps, beside mambapy", beside("mambapy", 14, 32, 62), 2)
    yield small(scan + "256 and 1024 steps, beside mambapy", beside("mambapy", 256, 1024), 3.5)
    whole = partial(Goal, "hcmnet_step")
    shape = {"pass": "step", "batch": 32, "samples": 1280}
    yield whole(
        step + "32 windows of 1280, beside published layers", beside(TRANSFORMERS, **shape), 4.5
    )
    yield whole(step + kept, beside(TRANSFORMERS, malloc="reuse", **shape), 2.2)
    yield whole(step + "windows per second", _windows_per_second, 15, unit="")
    shape = {"pass": "step", "batch": 128, "channels": 4, "samples": 128}
    yield Goal("ms_imamba_step",
               f"training step of MS-iMamba, 128 windows of 4 x 128, {theirs}, window by window",
               beside(WINDOW_BY_WINDOW, **shape), 3)  # fmt: skip
    shape = {"pass": "step", "batch": 32, "samples": 2500}
    yield Goal("nmoe_step", f"training step of NMoE's gates on kept layers, beside one {THROUGH}",
               beside(THROUGH, **shape), 50)  # fmt: skip
    for candidate, most in ((THROUGH, 0.4), (ADAPTERS, 0.8)):
        yield Goal("nmoe_tuning",
                   f"training step of NMoE {candidate}, beside one {ALL_WEIGHTS}",
                   partial(_beside_all_weights, candidate=candidate), at_most=most)  # fmt: skip
    shape = {"pass": "step", "version": "all seven", "batch": 128, "samples": 2560}
    for loop in (ONE_BY_ONE, IN_NUMPY):
        yield Goal("transformations", f"seven versions of 128 windows of 2560, beside {loop}",
                   beside(loop, **shape), 20)  # fmt: skip
    subject = "one WESAD subject, file to windows of 5 s, "
    for what, candidate, over, most, unit in (
        (subject + "CPU time", OURS, "", 2, " s"),
        (subject + "peak memory beside its file", OURS, "file_mb", 2, " x"),
        (subject + "where windows were kept", "ours, windows kept", "", 0.2, " s"),
        ("ECG of 30 people, 20 min, simulated", "ours, simulating", "", 2, " s"),
    ):
        how = partial(_recordings, candidate=candidate, over=over)
        yield Goal("recordings", what, how, at_most=most, unit=unit)
    yield Goal("runs", "a notebook as a run, time beyond its code in one script",
               _more_than_script, at_most=10, unit=" s")  # fmt: skip
    yield Goal("runs", "a sweep on two cores, two workers beside one", _share_of_ideal,
               at_least=0.9, unit=" of ideal")  # fmt: skip
    for name, words in LAYERS.items():
        exponent_of = partial(_exponents, layer=name)
        what = f"{words}, exponent of time with length"
        yield Goal("growth", what, exponent_of, at_most=1.1, unit="")


GOALS = tuple(_goals())
