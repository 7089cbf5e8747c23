"""What shuffling is worth, and tables of electrodes and code: their numbers are computed."""

from __future__ import annotations

import inspect

import pandas as pd
import pytest
from builders import like_everyone, scores_of

from affectbook import results
from affectbook.chapters import ms_imamba as drawings
from affectbook.chapters.eeg_leak import NEW, SHUFFLED
from affectbook.errors import DataError
from affectbook.models import periods
from affectbook.papers import ms_imamba

pytestmark = pytest.mark.usefixtures("drawing")
FOUR, EIGHT = (ms_imamba.named("eegmat", name) for name in ("frontal", "eight"))


def rows_of() -> pd.DataFrame:
    parts = []
    for i, dataset in enumerate((FOUR, EIGHT)):
        for j, seconds in enumerate((1.0, 3.0)):
            for protocol, placebo, right in ((SHUFFLED, True, 0.6), (SHUFFLED, False, 0.7),
                                             (NEW, False, 0.5)):  # fmt: skip
                where = {"dataset": dataset, "seconds": seconds, "protocol": protocol}
                told = {"estimator": "fingerprint", "variant": "", "placebo": placebo}
                table = like_everyone(6, right + 0.1 * i + 0.06 * j)
                parts.append(scores_of(table, paper="ms_imamba", **where, **told))
    return pd.concat(parts, ignore_index=True)


def test_the_growth_of_the_leak_is_read_from_its_rows() -> None:
    fig, alt = drawings.leak_growth(rows_of(), "real EEG")
    assert "4 electrodes 60 % at 1 s, 66 % at 3 s" in alt
    assert "8 electrodes 80 % at 1 s, 86 % at 3 s" in alt
    assert "new people, labels: 4 electrodes 50 % at 1 s" in alt
    assert len(fig.axes) == 3 and fig.axes[0].get_ylabel().endswith("(%)")


def test_without_rows_the_sweep_is_named() -> None:
    with pytest.raises(DataError, match="SWEEP=leak"):
        drawings.leak_growth(rows_of().iloc[:0], "real EEG")
    with pytest.raises(DataError, match="SWEEP=channels"):
        drawings.channel_table(rows_of().iloc[:0])


def test_each_choice_of_electrodes_is_a_line_with_its_interval() -> None:
    rows = results.select(rows_of(), protocol=NEW, seconds=1.0)
    filtered = rows[rows["dataset"] == FOUR].assign(dataset=f"{FOUR} above 8 Hz")
    blinks = rows[rows["dataset"] == FOUR].assign(
        estimator="ms_imamba", variant="declared+blinks_regressed"
    )
    table = drawings.channel_table(pd.concat([rows, filtered, blinks]))
    assert table["electrodes"].tolist() == [
        "Fp1 Fp2 F3 F4", "Fp1 Fp2 F3 F4", "Fp1 Fp2 F3 F4 C3 C4 O1 O2",
        "Fp1 Fp2 F3 F4 above 8 Hz",
    ]  # fmt: skip
    assert table["model"].str.contains("blinks regressed").sum() == 1
    expected = str(results.interval(results.select(rows, dataset=EIGHT)))
    assert table.iloc[2, 2] == expected


def test_code_is_found_where_it_stands() -> None:
    (line,) = drawings.code_table({"(3)": periods.fold}).to_dict("records")
    number = inspect.getsourcelines(periods.fold)[1]
    assert (line["file"], line["line"]) == ("lib/affectbook/models/periods.py", number)
    assert line["code"] == "fold"
