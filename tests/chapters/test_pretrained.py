"""Figures and tables of encoders side by side: their numbers are those of `results`."""

from __future__ import annotations

import json
import re
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from builders import CONTEXT, like_everyone, predictions_of, scores_of, spread_out
from legible import assert_legible
from matplotlib.colors import to_hex

from affectbook import pretext_scores, results
from affectbook.chapters import pretrained, splits
from affectbook.errors import DataError, ParameterError
from affectbook.figures import Drawn, name_of
from affectbook.papers.ssl_ecg import SWEEPS
from affectbook.results import select
from affectbook.scoring import SCORE_COLUMNS

pytestmark = pytest.mark.usefixtures("drawing")
OWN = {"paper": "ssl_ecg", "estimator": "ssl_ecg"}
SUBJECT, SHUFFLED, LATER = (
    "group_kfold_subject", "shuffled_windows_as_published", "blocked_within_trial",
)  # fmt: skip
EMPTY = pd.DataFrame(columns=SCORE_COLUMNS)
VARIANTS = {
    "published": 0.58, "published+fine_tuned": 0.6, "published+contrastive+frozen": 0.62,
    "published+contrastive": 0.64, "published+from_scratch": 0.56,
    "published+random_encoder": 0.54,
}  # fmt: skip
REFERENCES = {"hrv_logistic": 0.66, "fingerprint": 0.52, "majority": 0.5}
SHARES = (0.01, 0.05, 0.1, 0.25, 0.5)


def of(name: str) -> dict[str, str]:
    """Return the columns that say whose rows these are."""
    if name in REFERENCES:
        return OWN | {"estimator": name, "variant": ""}
    return OWN | {"variant": name}


@cache
def recorded() -> pd.DataFrame:
    """Return all ways to an encoder on new people and on shuffled windows, some later in a trial.

    Rows of a pretext, and of a variant that is no way of its own, stand among them.
    """
    parts = []
    for name, right in (VARIANTS | REFERENCES).items():
        for protocol, more in ((SUBJECT, 0), (SHUFFLED, 0.22), (LATER, 0.2)):
            if protocol == LATER and name in ("published+from_scratch", "published+contrastive"):
                continue
            where = of(name) | {"protocol": protocol}
            table = spread_out(8, right + more - 0.1, right + more + 0.06, 40)
            parts += [scores_of(table, seed, **where) for seed in (0, 1)]
            if name != "published+fine_tuned":
                coins = like_everyone(8, 0.5 + more + 0.05 * (len(parts) % 3), 40)
                parts.append(scores_of(coins, placebo=True, **where))
    parts.append(scores_of(like_everyone(8, 0.9), **of("published+head_linear")))
    parts.append(scores_of(like_everyone(8, 0.9), **OWN | {"estimator": "pretext_noise"}))
    return pd.concat(parts, ignore_index=True)


def folded(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows in which the eight subjects, a trial each, are tested in four folds."""
    folds = rows["fold"] != "all"
    kept = rows[~folds | rows["fold"].isin(list("0123"))]
    each = kept["fold"] != "all"
    return kept.assign(n_test_trials=kept["n_test_trials"].where(~each, 2))


@cache
def fewer() -> pd.DataFrame:
    """Return shares of the trials of five models, two seeds; from scratch without the smallest."""
    parts = []
    for name, right in (VARIANTS | REFERENCES).items():
        for share in SHARES:
            if name == "published+from_scratch" and share < 0.1:
                continue
            where = of(name)
            where["variant"] = f"{where['variant']}+{share:g}_of_trials".removeprefix("+")
            least = 0.5 + (right - 0.5) * share
            parts += [scores_of(spread_out(8, least - 0.1, least + 0.05 + 0.1 * seed, 40), seed,
                                **where) for seed in (0, 1)]  # fmt: skip
    return folded(pd.concat([*parts, recorded()], ignore_index=True))


@cache
def probed() -> pd.DataFrame:
    """Return how often eight subjects are recognised from three encoders, two seeds each."""
    told = CONTEXT | OWN | {"estimator": "probe_subject", "protocol": LATER, "fold": "all",
                            "metric": "accuracy", "n_test_windows": 2, "n_test_trials": 16,
                            "run_key": ""}  # fmt: skip
    rows = [
        told | {"variant": variant, "seed": seed, "subject": subject, "value": right + 0.02 * seed}
        for variant, right in (("published", 0.8), ("published+random_encoder", 0.7),
                               ("published+contrastive+frozen", 0.9))
        for seed in (0, 1)
        for subject in [*(f"S{i:02d}" for i in range(8)), "all"]
    ]  # fmt: skip
    return pd.DataFrame(rows)[SCORE_COLUMNS]


DRAW = {
    "arms": lambda: pretrained.arms(recorded(), "Ways to an encoder"),
    "budget": lambda: pretrained.budget(fewer(), "Few labels"),
}
every = pytest.mark.parametrize("name", DRAW)


@cache
def drawn(name: str) -> Drawn:
    """Return a figure and its words, drawn once for all tests."""
    return DRAW[name]()


@every
def test_each_can_be_read_and_says_what_it_is_of(name, tmp_path) -> None:
    fig, alt = drawn(name)
    assert "\n" not in alt and alt.endswith(".") and "nan" not in alt
    assert "eegmat (real, open), scale recorded, 2 seeds" in alt
    assert "chance 50 %" in alt.lower()
    assert round(100 * fig.get_size_inches()[0]) == 720
    assert_legible(fig)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.savefig(tmp_path / "figure.png")


def test_every_public_function_that_draws_is_tested() -> None:
    drawing = {name for name, value in vars(pretrained).items()
               if getattr(value, "__module__", "") == pretrained.__name__
               and getattr(value, "__annotations__", {}).get("return") == "Drawn"}  # fmt: skip
    assert drawing == set(DRAW) and drawing <= set(pretrained.__all__)


def test_simulated_scores_are_called_so() -> None:
    _, alt = pretrained.arms(recorded().assign(tier="simulated", dataset="dreamer:ECG1"), "x")
    assert "dreamer:ECG1 (simulated), scale" in alt and "real" not in alt


def test_the_ways_are_those_that_are_recorded_and_have_names() -> None:
    cells = [*SWEEPS["recorded"], *SWEEPS["drives"], *SWEEPS["twin"]]
    variants = {cell.parameters.get("variant", "published") for cell in cells
                if cell.analysis == "network"}  # fmt: skip
    names = {name for cell in cells for name in cell.options.get("names", ())}
    assert {pretrained.model_of(one) for one in variants} | names == set(pretrained.ARMS)
    assert set(pretrained.BUDGETED) < set(pretrained.ARMS)
    assert not any(":" in name_of(one) for one in pretrained.ARMS)
    assert len({name_of(one) for one in pretrained.ARMS}) == len(pretrained.ARMS)


def test_variants_become_models_and_only_the_share_stays_a_variant() -> None:
    rows = pretrained.as_models(fewer())
    names = {"published+contrastive+frozen": "ssl_ecg:published+contrastive+frozen",
             "hrv_logistic": "hrv_logistic"}  # fmt: skip
    for name, model in names.items():
        own = select(rows, estimator=model)
        assert set(own["variant"]) == {"", *(f"{share:g}_of_trials" for share in SHARES)}
        where = of(name) | {"placebo": False}
        left, right = (
            results.interval(part) for part in (
                select(own, variant="", placebo=False), select(fewer(), **where)
            )
        )  # fmt: skip
        assert left == right
    assert set(select(rows, estimator="pretext_noise")["variant"]) == {"published"}
    assert "ssl_ecg" not in set(rows["estimator"]) and len(rows) == len(fewer())
    assert pretrained.as_models(EMPTY).empty
    assert pretrained.as_models(pd.DataFrame()).empty
    pd.testing.assert_frame_equal(pretrained.as_models(rows), rows)


def test_bars_say_scores_and_coins_under_each_protocol() -> None:
    fig, alt = drawn("arms")
    parts = re.split(r"(?=(?:Shuffled windows|Later in the trial|New subjects)[^:]*: )", alt)
    told = dict(zip((SHUFFLED, LATER, SUBJECT), parts[1:], strict=True))
    for name in VARIANTS | REFERENCES:
        where = of(name)
        called = name_of(name if name in REFERENCES else pretrained.model_of(name))
        for protocol, text in told.items():
            own = select(recorded(), protocol=protocol, **where)
            if own.empty:
                assert called not in text
                continue
            score, coins = (results.interval(select(own, placebo=kind)) for kind in (False, True))
            text_of_it = f" {called} {score}"
            text_of_it += "" if np.isnan(coins.value) else f", coin flips {100 * coins.value:.1f} %"
            assert text_of_it in text
    assert "90.0 %" not in alt and "pretext" not in alt  # neither a head nor another variant
    assert len(fig.axes[0].containers) >= 9


def test_marks_of_coins_and_chance_are_drawn_and_what_leaks_is_red() -> None:
    fig, _ = drawn("arms")
    ax = fig.axes[0]
    coins = [y for line in ax.lines if line.get_marker() == "D" for y in line.get_ydata()
             if not np.isnan(y)]  # fmt: skip
    models = pretrained.as_models(recorded())
    table = splits.protocol_scores(models[models["estimator"].isin(pretrained.ARMS)],
                                   pd.DataFrame(), pretrained.ARMS)  # fmt: skip
    assert sorted(coins) == pytest.approx(sorted(100 * table["coins"].dropna()))
    (chance,) = [line for line in ax.lines if line.get_label() == "chance"]
    assert chance.get_ydata()[0] == 50
    red = [
        text.get_text() for text in ax.get_xticklabels() if to_hex(text.get_color()) == "#b3261e"
    ]
    assert red == ["shuffled\nwindows\n(as published)"]


def test_luck_is_drawn_of_predictions() -> None:
    made = predictions_of(spread_out(8, 0.48, 0.64))
    trial = made["y_true"].astype(str) + "-" + (made["window"] % 5).astype(str)
    keys = {"variant": "published", "estimator": "ssl_ecg", "protocol": SUBJECT, "placebo": False}
    guesses = made.assign(trial=trial, run_key="a", **keys)
    low, high = results.permutation_band(guesses)
    _, alt = pretrained.arms(recorded(), "x", predictions=guesses)
    assert f", luck {100 * low:.1f} to {100 * high:.1f} %" in alt and alt.count("luck") == 1


def test_another_metric_can_be_drawn() -> None:
    _, alt = pretrained.arms(recorded(), "x", "macro_f1")
    own = select(recorded(), protocol=SUBJECT, placebo=False, **of("published"))
    assert f"transformations, frozen {results.interval(own, 'macro_f1')}" in alt
    assert "bars of macro f1" in alt


def test_labels_go_from_few_to_all_of_the_same_experiment() -> None:
    other = scores_of(like_everyone(8, 0.97), **of("published") | {"scale": "paper"})
    fig, alt = pretrained.budget(pd.concat([fewer(), other]), "Few labels")
    for name in ("published", "published+contrastive+frozen", "published+random_encoder",
                 "hrv_logistic"):  # fmt: skip
        where = of(name) | {"placebo": False}
        own = select(fewer(), protocol=SUBJECT, **where)
        least = where | {"variant": f"{where['variant']}+0.01_of_trials".removeprefix("+")}
        few = select(fewer(), **least)
        each = [100 * results.interval(select(few, seed=seed)).value for seed in (0, 1)]
        called = name_of(name if name in REFERENCES else pretrained.model_of(name))
        told = f"1 %: {results.interval(few)}, seeds {min(each):.1f} to {max(each):.1f} %"
        assert f"{called[0].upper()}{called[1:]}: {told}" in alt
        assert f"100 %: {results.interval(own)}, seeds " in alt
    assert "97.0" not in alt and "majority" not in alt.lower() and "ine-tuned" not in alt
    assert "From scratch, with labels: 10 %: " in alt
    ax = fig.axes[0]
    assert ax.get_xscale() == "log"
    assert list(ax.get_xticks()) == pytest.approx([1, 5, 10, 25, 50, 100])
    dots = sum(len(line.get_xdata()) for line in ax.lines
               if line.get_marker() == "o" and line.get_markersize() == 4)  # fmt: skip
    assert dots == 2 * (4 * 6 + 4)
    (chance,) = [line for line in ax.lines if line.get_label() == "chance"]
    assert chance.get_ydata()[0] == 50


def test_shares_are_counted_where_trials_are_held_out_whole() -> None:
    rows = pretrained._budgeted(fewer(), "x")
    # Eight trials of two classes, two of them tested in each fold: three of a class to train on.
    assert pretrained.trials_kept(rows) == {0.01: 1, 0.05: 1, 0.1: 1, 0.25: 1, 0.5: 2, 1.0: 3}
    shared = rows.assign(n_test_trials=8)
    assert pretrained.trials_kept(shared) == {}
    _, alt = drawn("budget")
    assert "1 (1), 5 (1), 10 (1), 25 (1), 50 (2), 100 (3) (in brackets: how many of each" in alt
    _, alt = pretrained.budget(fewer().assign(n_test_trials=8), "x")
    assert "in per cent: 1, 5, 10, 25, 50, 100. Chance" in alt and "brackets" not in alt


def test_shares_of_two_experiments_are_refused() -> None:
    other = of("published+0.1_of_trials") | {"dataset": "another"}
    rows = pd.concat([fewer(), scores_of(like_everyone(8, 0.5), **other)])
    with pytest.raises(ParameterError, match=r"shares of trials differ in .*dataset"):
        pretrained.budget(rows, "x")
    with pytest.raises(ParameterError, match="dataset"):
        pretrained.arms(pd.concat([recorded(), recorded().assign(dataset="another")]), "x")


def test_who_is_recognised_stands_beside_what_is() -> None:
    coins = scores_of(like_everyone(8, 0.99), placebo=True, **of("published"))
    table = pretrained.subject_probe_table(pd.concat([probed(), recorded(), coins]))
    assert list(table) == [
        "encoder", "subject, later in the trial: accuracy", "chance of 8",
        "condition, new subjects: balanced accuracy", "chance",
    ]  # fmt: skip
    assert list(table["encoder"]) == ["transformations, frozen", "random encoder, frozen",
                                      "contrastive, frozen"]  # fmt: skip
    own = select(recorded(), protocol=SUBJECT, placebo=False, **of("published+random_encoder"))
    assert list(table.iloc[1, 1:]) == [
        "71.0 %; seeds 70.0 to 72.0 %", "12.5 %", str(results.interval(own)), "50.0 %",
    ]  # fmt: skip
    alone = pretrained.subject_probe_table(select(probed(), seed=0))
    assert list(alone.iloc[0, 1:]) == ["80.0 %", "12.5 %", "–", "–"]


def test_the_probe_is_called_as_its_rows_are() -> None:
    assert set(probed()["estimator"]) == {pretext_scores.PROBE}
    assert set(probed()["protocol"]) == {pretext_scores.PROBED_UNDER}


def test_who_is_recognised_is_of_one_experiment() -> None:
    rows = pd.concat([probed(), probed().assign(dataset="another")])
    with pytest.raises(ParameterError, match="recognised subjects differ in .*dataset"):
        pretrained.subject_probe_table(rows)


@pytest.mark.parametrize(
    ("make", "sweep"),
    [
        (lambda: pretrained.arms(EMPTY, "x"), "recorded"),
        (lambda: pretrained.arms(probed(), "x", sweep="twin"), "twin"),
        (lambda: pretrained.budget(EMPTY, "x"), "budget"),
        (lambda: pretrained.budget(recorded(), "x"), "budget"),
        (lambda: pretrained.subject_probe_table(recorded()), "frozen"),
    ],
)
def test_without_scores_one_message_says_what_makes_them(make, sweep) -> None:
    with pytest.raises(DataError, match=f"do: make sweep PAPER=ssl_ecg SWEEP={sweep}]"):
        make()


def card(pretext: str, **history: list[float]) -> dict:
    """Return a card with weights of 32 x 32 x 4 numbers and a counter."""
    told = [("drivedb", "ODC-By 1.0"), ("neurokit", "MIT"), ("scipy_ecg", "ODC-By 1.0")]
    return {
        "made_by": {
            "subjects": ["drivedb/open/drive05", "neurokit/open/a", "scipy_ecg/open/208"],
            "history": {"epoch": [1, 2], "steps": [55, 110], "loss": [2.0, 1.0], **history},
            "recipe": {"pretext": pretext, "corpora": ["drivedb", "plain"], "watched": "eegmat",
                       "epochs": 2, "precision": "bfloat16"},
            "windows": {"number": 1234, "seconds": 10.0},
            "licences": [{"corpus": one, "licence": licence} for one, licence in told],
            "minutes": 13.6,
        },
        "tensors": {"a.weight": {"shape": [32, 32, 4], "dtype": "float32"},
                    "a.count": {"shape": [], "dtype": "int64"}},
    }  # fmt: skip


def test_weights_say_what_they_have_learnt_from() -> None:
    heads = {"f1 noise": [0.1, 0.5], "f1 scaling": [0.9, 0.7]}
    cards = {"one": card("transformations", **heads),
             "two": card("contrastive", **{"accuracy other_view": [0.3, 0.65]})}  # fmt: skip
    table = pretrained.weights_table(cards).set_index("weights")
    assert table.loc["one"].to_dict() == {
        "pretext": "transformations", "corpora": "drivedb, plain", "subjects": "3",
        "windows": "1,234", "epochs": "2", "precision": "bfloat16",
        "pretext after the last epoch": "mean F1 0.60, on eegmat", "minutes": "13.6",
        "size": "0.02 MB", "licences": "ODC-By 1.0: drivedb, scipy_ecg; MIT: neurokit",
    }  # fmt: skip
    assert table.loc["two", "pretext after the last epoch"] == "accuracy 0.65, on eegmat"
    assert pretrained.weights_table({"x": card("transformations")}).iloc[0, 7] == "–, on eegmat"


def test_a_card_that_does_not_say_it_is_named() -> None:
    broken = card("contrastive")
    del broken["made_by"]["minutes"]
    with pytest.raises(DataError, match="card of the weights x does not.*field: minutes"):
        pretrained.weights_table({"x": broken})


def test_cards_of_the_released_weights_can_be_shown(root) -> None:
    places = sorted((root / "results" / "weights").glob("ssl_ecg_*.json"))
    cards = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in places}
    table = pretrained.weights_table(cards)
    assert len(table) == len(cards) > 0
    # What an encoder weighs is what lies on the disc, but for the header of the file.
    for path, size in zip(places, table["size"], strict=True):
        weights = path.with_suffix(".safetensors").stat().st_size / 1e6
        assert float(size.removesuffix(" MB")) == pytest.approx(weights, abs=0.012)
