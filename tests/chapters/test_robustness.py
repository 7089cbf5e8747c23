"""Figures of robustness say what score rows, windows and peaks say."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from builders import scores_of, spread_out
from legible import assert_legible, texts_of

from affectbook import noise, results, rpeaks
from affectbook.chapters import robustness
from affectbook.datasets.recording import Recording
from affectbook.errors import DataError, ParameterError
from affectbook.scoring import SCORE_COLUMNS

pytestmark = pytest.mark.usefixtures("drawing")
SFREQ = 128.0
SNRS = (30, 0)
ARMS = {"gate": ("nmoe", "published"), "last layer": ("nmoe", "published+last_layer"),
        "HRV": ("hrv_logistic", "")}  # fmt: skip
OWN = {"paper": "nmoe"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw fewer samples for an interval: a hundred of them are in each table."""
    monkeypatch.setattr(results, "N_BOOT", 200)


def right(arm: str, kind: str, snr_db: float, filtered: bool) -> float:
    """Return a share right of the middle subject: each arm, kind and ratio has another one."""
    steep = 0.002 * (1 + list(ARMS).index(arm)) * (1 + noise.KINDS.index(kind))
    return 0.75 - steep * (30 - snr_db) * (0.5 if filtered else 1)


@cache
def rows(n_subjects: int = 8) -> pd.DataFrame:
    parts = []
    for arm, (estimator, variant) in ARMS.items():
        told = OWN | {"estimator": estimator}
        parts.append(scores_of(spread_out(n_subjects, 0.7, 0.9), variant=variant, **told))
        for kind in reversed(noise.KINDS):
            for snr_db in SNRS:
                for filtered in (False, True):
                    mean = right(arm, kind, snr_db, filtered)
                    name = noise.named(kind, snr_db, filtered)
                    tables = spread_out(n_subjects, mean - 0.1, mean + 0.1)
                    named = "+".join(filter(None, (variant, name)))
                    parts.append(scores_of(tables, variant=named, **told))
    coins = scores_of(spread_out(n_subjects, 0.2, 0.3), estimator="nmoe", placebo=True, **OWN)
    return pd.concat([*parts, coins])  # whose index counts nothing


def beating(trial: str = "t", sfreq: float = 256.0) -> Recording:
    time = np.arange(round(20 * sfreq)) / sfreq
    beat = (time + 0.4) % 0.8 - 0.4
    ecg = np.exp(-0.5 * (beat / 0.012) ** 2) + 0.25 * np.exp(-0.5 * ((beat - 0.25) / 0.04) ** 2)
    return Recording(signal=ecg[None].astype(np.float32), sfreq=sfreq, ch_names=("ECG",),
                     unit="mV", subject="S7", session="1", trial=trial)  # fmt: skip


def window() -> np.ndarray:
    return beating(sfreq=SFREQ).signal[:, : round(5 * SFREQ)]


# Scores.


@pytest.mark.parametrize("filtered", [False, True])
def test_the_table_has_each_arm_clean_and_in_each_noise(filtered) -> None:
    table = robustness.noise_table(rows(), ARMS, filtered=filtered)
    assert len(table) == 3 * 3 * 3 and list(dict.fromkeys(table["arm"])) == list(ARMS)
    for line in table.itertuples():
        if np.isinf(line.snr_db):
            assert line.value == pytest.approx(0.8, abs=0.01)
            assert line.lost == line.lost_low == line.lost_high == 0
            continue
        mean = right(line.arm, line.kind, line.snr_db, filtered)
        assert line.value == pytest.approx(mean, abs=0.01) and line.n_subjects == 8
        assert line.low < line.value < line.high
        assert line.lost == pytest.approx(mean - 0.8, abs=0.02)
    gate = results.select(rows(), estimator="nmoe", placebo=False)
    clean = results.select(gate, variant="published")
    own = results.select(gate, variant=f"published+{noise.named('muscle', 0, filtered)}")
    line = results.select(table, arm="gate", kind="muscle", snr_db=0.0).iloc[0]
    assert tuple(line[["value", "low", "high"]]) == results.interval(own)[:3]
    assert tuple(line[["lost", "lost_low", "lost_high"]]) == results.difference(own, clean)[:3]


def test_without_names_all_that_was_scored_in_noise_is_an_arm() -> None:
    found = robustness.arms_in(rows())
    assert list(found.values()) == list(ARMS.values()) and all(found)
    table = robustness.noise_table(rows())
    assert list(dict.fromkeys(table["arm"])) == list(found)


def test_one_panel_for_each_kind_with_a_line_for_each_arm_and_chance() -> None:
    fig, alt = robustness.against_noise(rows(), "NMoE, simulated", ARMS)
    assert_legible(fig)
    assert [ax.get_title() for ax in fig.axes] == list(robustness.KINDS.values())
    table = robustness.noise_table(rows(), ARMS)
    for ax, kind in zip(fig.axes, robustness.KINDS, strict=True):
        assert [label.get_text() for label in ax.get_xticklabels()] == ["clean", "30", "0"]
        left, low = ax.get_xlim()
        assert left > low, "noise grows to the right"
        for arm, container in zip(ARMS, ax.containers, strict=True):
            own = results.select(table, kind=kind, arm=arm)
            drawn = container.lines[0]
            np.testing.assert_allclose(drawn.get_ydata(), 100 * own["value"])
            assert (np.diff(drawn.get_xdata()) < 0).all()
            ends = container.lines[2][0].get_segments()
            np.testing.assert_allclose([s[:, 1] for s in ends], 100 * own[["low", "high"]])
        assert [line for line in ax.lines if set(np.ravel(line.get_ydata())) == {50.0}]
    shown = [text.get_text() for text in texts_of(fig)]
    assert {*ARMS, "chance", "balanced accuracy (%)", "signal-to-noise ratio (dB)"} <= set(shown)
    for line in table.itertuples():
        said = "clean" if np.isinf(line.snr_db) else f"{line.snr_db:g} dB"
        assert f"{said} {100 * line.value:.1f} %" in alt
    assert "chance 50 %" in alt and "noise added after the high-pass, new subjects" in alt
    last = results.select(table, arm="HRV", kind="motion", snr_db=0.0).iloc[0]
    assert f"(from clean to 0 dB −{100 * abs(last['lost']):.1f} [−" in alt


def test_filtered_noise_is_a_figure_of_its_own() -> None:
    _, plain = robustness.against_noise(rows(), "NMoE", ARMS)
    _, alt = robustness.against_noise(rows(), "NMoE", ARMS, filtered=True)
    assert "noise before the high-pass" in alt and alt != plain


def test_with_few_subjects_there_is_no_interval() -> None:
    fig, alt = robustness.against_noise(rows(3), "NMoE", ARMS)
    assert "nan" not in alt and "[" not in alt and "points)" in alt
    assert_legible(fig)


def test_a_leaky_protocol_is_red() -> None:
    gate = {"gate": ARMS["gate"]}
    leaky = rows().assign(protocol="shuffled_windows_as_published")
    fig, _ = robustness.against_noise(leaky, "NMoE", gate)
    assert fig.get_suptitle() and fig._suptitle.get_color() == "#b3261e"
    fig, _ = robustness.against_noise(rows(), "NMoE", gate)
    assert fig._suptitle.get_color() != "#b3261e"


def test_one_kind_alone_is_drawn_alone() -> None:
    some = rows()[~rows()["variant"].str.contains("wander|motion")]
    fig, alt = robustness.against_noise(some, "NMoE", ARMS)
    assert [ax.get_title() for ax in fig.axes] == ["muscles"] and "Baseline" not in alt
    assert_legible(fig)


def test_scores_that_are_not_there_are_named() -> None:
    for table in (pd.DataFrame(columns=SCORE_COLUMNS), scores_of(spread_out(5, 0.5, 0.6))):
        with pytest.raises(DataError, match="no scores to draw"):
            robustness.against_noise(table, "NMoE")
    with pytest.raises(DataError, match="no scores to draw for 'forest"):
        robustness.against_noise(rows(), "NMoE", {"forest": ("forest", "")})
    noisy = rows()[rows()["variant"].str.contains("_db")]
    with pytest.raises(DataError, match="gate, clean"):
        robustness.against_noise(noisy, "NMoE", ARMS)


@pytest.mark.parametrize("column", ["dataset", "protocol", "target", "scale"])
def test_rows_of_several_experiments_are_refused(column) -> None:
    both = pd.concat([rows(), rows().assign(**{column: "other"})])
    with pytest.raises(ParameterError, match=column):
        robustness.against_noise(both, "NMoE", ARMS)


# Windows.


@pytest.mark.parametrize("highpass", [None, 0.5])
@pytest.mark.parametrize("unit", ["mV", "standard deviations"])
def test_a_window_is_drawn_clean_and_with_each_noise(unit, highpass) -> None:
    fig, alt = robustness.noisy_window(window(), SFREQ, unit, seed=3, highpass=highpass)
    assert_legible(fig)
    assert len(fig.axes) == 4 and fig.get_supylabel() == f"ECG ({unit})"
    np.testing.assert_allclose(fig.axes[0].lines[0].get_ydata(), window()[0])
    for ax, (kind, called) in zip(fig.axes[1:], robustness.KINDS.items(), strict=True):
        noisy = noise.added(window()[None].astype(float), kind, 10, SFREQ, seed=3,
                            highpass=highpass)[0, 0]  # fmt: skip
        np.testing.assert_allclose(ax.lines[1].get_ydata(), noisy)
        np.testing.assert_allclose(ax.lines[0].get_ydata(), window()[0])
        left = (noisy - window()[0]).std() / window().std()
        assert ax.get_title(loc="left").startswith(f"{called}: noise of {left:.2g} times")
        assert f"{called} {left:.2g}, correlation" in alt
    assert "at 10 dB" in alt and ("high-pass of 0.5 Hz" in alt) == (highpass is not None)
    assert fig.axes[-1].get_xlabel() == "time (s)" and fig.axes[-1].get_xlim() == (0, 5)


def test_a_flat_window_can_be_drawn() -> None:
    fig, alt = robustness.noisy_window(np.ones((1, 640)), SFREQ, "mV")
    assert_legible(fig)
    assert "nan" not in alt


@pytest.mark.parametrize("x", [np.ones(640), np.ones((2, 640)), np.full((1, 640), np.nan)])
def test_a_window_that_is_none_is_refused(x) -> None:
    with pytest.raises(DataError):
        robustness.noisy_window(x, SFREQ, "mV")


# Peaks.


def test_peaks_are_drawn_before_and_after_with_how_far_they_moved() -> None:
    recordings = [beating(), beating("u", 250.0)]
    found = rpeaks.survival(recordings)
    fig, alt = robustness.peaks_kept(recordings[1], found, "beats, simulated", start_s=4)
    assert_legible(fig)
    above, middle, below = fig.axes
    assert above.get_ylabel() == "ECG (mV)" and middle.get_ylabel() == "ECG (deviations)"
    for ax, times in ((above, found[1].before), (middle, found[1].after)):
        inside = times[(times >= 4) & (times < 12)]
        np.testing.assert_allclose(ax.lines[1].get_xdata(), inside)
        assert ax.get_legend().get_texts()[0].get_text() == f"{len(inside)} R-peaks"
        top = ax.lines[0].get_ydata().max()
        assert (ax.lines[1].get_ydata() > 0.8 * top).all(), "marks sit on the waves"
    assert middle.get_xlim() == (4, 12) and "ms" in below.get_xlabel()
    n_peaks = sum(len(one.before) for one in found)
    drawn = sum(bar.get_height() for bar in below.patches)
    assert drawn == pytest.approx(100) and f"{n_peaks} R-peaks of 2 recordings: 100.00 %" in alt
    moved = np.abs(np.concatenate([one.differences_ms for one in found]))
    assert f"{np.median(moved):.1f} ms in the median and by {moved.max():.1f} ms at most" in alt
    assert "trial u" in alt and f"{len(found[1].before)} before" in alt


def test_peaks_that_are_lost_are_counted() -> None:
    one = rpeaks.compared(beating())
    lost = np.array(one.differences_ms)
    lost[:5] = [np.inf, -300, 300, 25, -25]
    told = rpeaks.Survival(one.subject, one.trial, one.sfreq, one.seconds, one.before, one.after,
                           lost, one.extra_ms, one.tolerance_ms)  # fmt: skip
    fig, alt = robustness.peaks_kept(beating(), [told], "beats")
    n_peaks = len(one.before)
    assert "5 not found again, 0 new" in alt
    drawn = sum(bar.get_height() for bar in fig.axes[2].patches)
    assert drawn == pytest.approx(100 * (n_peaks - 5) / n_peaks)
    nothing = rpeaks.Survival(one.subject, one.trial, one.sfreq, one.seconds, one.before,
                              np.empty(0), np.full(n_peaks, np.inf), np.empty(0), 20.0)  # fmt: skip
    fig, alt = robustness.peaks_kept(beating(), [nothing], "beats")
    assert ": 0.00 % are found again" in alt and "nan" not in alt
    assert_legible(fig)


def test_a_recording_that_was_not_compared_is_refused() -> None:
    found = rpeaks.survival([beating()])
    with pytest.raises(DataError, match="was not compared"):
        robustness.peaks_kept(beating("other"), found, "beats")
    with pytest.raises(DataError, match="was not compared"):
        robustness.peaks_kept(beating(), [], "beats")
