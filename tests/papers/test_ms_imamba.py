"""MS-iMamba as the chapter has it: names of data and variants, claims, sweeps, real copies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from builders import like_everyone, scores_of, windows_of
from tiny_dreamer import empty_project
from tiny_project import ROOT

from affectbook import claims, datasets, experiments, params, protocols, results, sweeps
from affectbook.analyses import ANALYSES
from affectbook.datasets import _registry, deap, eegmat
from affectbook.errors import LicenceError, ParameterError, ProtocolError
from affectbook.experiments import Data, Experiment, Setting
from affectbook.papers import ms_imamba
from affectbook.papers.ms_imamba import Params
from affectbook.windows import make_windows

PAPERS_OWN = {"deap_accuracy": 94.86, "dreamer_accuracy": 94.94, "seed_accuracy": 91.36}
DEAP = "deap:Fp1,Fp2,AF3,AF4"
each_set = pytest.mark.parametrize("dataset", ms_imamba.SETS)
each_sweep = pytest.mark.parametrize("sweep", ms_imamba.SWEEPS)


def setting(**given: object) -> Setting:
    return ms_imamba.setting(Params(**given))


def tier(dataset: str) -> str:
    return datasets.card(dataset).tier


# What parameters become.


@each_set
@pytest.mark.parametrize("channels", ms_imamba.SETS["deap"])
def test_a_choice_of_electrodes_is_part_of_the_name_of_the_data(dataset, channels) -> None:
    chosen = setting(dataset=dataset, channels=channels).dataset
    assert chosen == f"{dataset}:{ms_imamba.SETS[dataset][channels]}"
    kind, names = _registry.kind_of(dataset, _registry.parse(chosen).channels)
    assert kind == "eeg" and len(set(names)) == len(names)
    expected = {"eight": 8, "all": {"deap": 32, "dreamer": 14, "seed": 62, "eegmat": 19}[dataset]}
    assert len(names) == expected.get(channels, 4)


def test_electrodes_by_name_keep_their_order() -> None:
    assert setting(channels="AF4,Fp1").dataset == "deap:AF4,Fp1"
    chosen = setting(channels="O2", allow_missing="s07, s09")
    assert chosen.dataset == "deap:O2 without s07,s09"
    assert setting(allow_missing="s07").dataset == f"{DEAP} without s07"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"channels": "Fp1,Fp9"}, "unknown channels of deap .*'Fp1,Fp9'"),
        ({"channels": "frontl"}, "unknown channels of deap .*'frontl'"),
        ({"channels": " "}, "channels is empty; name electrodes.* one of frontal, lateral"),
        ({"channels": "Fp1,GSR"}, "of several kinds"),
        ({"dataset": "dreamer", "channels": "Fp1,Fp2"}, "unknown channels of dreamer"),
        ({"dataset": "dreamer", "channels": "ECG1,F3"}, "of several kinds"),
        ({"variant": "declared+no_msbt"}, "did you mean no_mstb"),
        ({"channels": "posterior", "variant": "blinks_regressed"}, "needs Fp1 and Fp2, or AF3"),
        ({"dataset": "seed", "target": "valence"}, "seed has no label_rule"),
        ({"dataset": "eegmat", "tier": "licensed"}, "ask for tier='open'"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_clear_message(given, words) -> None:
    with pytest.raises(ParameterError, match=words) as error:
        setting(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dataset": "wesad"}, "dataset"), ({"embedding": "R4"}, "embedding"),
        ({"periods": "fixed"}, "periods"), ({"highpass": "0"}, "highpass"),
        ({"highpass": "64"}, "highpass"), ({"effect": "3.1"}, "effect"),
        ({"seconds": "0.1"}, "seconds"), ({"target": "dominance"}, "target"),
        ({"chanels": "all"}, "did you mean channels"),
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_refused(given, words) -> None:
    with pytest.raises(ParameterError, match=words):
        params.parse(Params, given)


@pytest.mark.parametrize(
    ("given", "variant"),
    [
        ({}, "declared"),
        ({"embedding": "R1"}, "declared+embedding_R1"),
        ({"periods": "batch"}, "declared+periods_batch"),
        ({"variant": "no_mstb", "embedding": "normal", "periods": "log_spaced"},
         "no_mstb+embedding_normal+periods_log_spaced"),
        ({"variant": "declared+embedding_R3", "embedding": "R3"}, "declared+embedding_R3"),
    ],
)  # fmt: skip
def test_embedding_and_periods_become_part_of_the_variant(given, variant) -> None:
    assert setting(**given).variant == variant
    options = ms_imamba.network_options(variant)
    for name, default in (("embedding", "R2"), ("periods", "sample")):
        assert options.get(name, default) == given.get(name, options.get(name, default))


def test_every_choice_of_embedding_and_periods_is_a_variant() -> None:
    for name in ("embedding", "periods"):
        (field,) = (one for one in Params.__dataclass_fields__.values() if one.name == name)
        for choice in field.metadata["choices"]:
            options = ms_imamba.network_options(setting(**{name: choice}).variant)
            assert options.get(name, field.default) == choice


@each_set
def test_windows_keep_the_rate_and_a_target_is_found(dataset) -> None:
    chosen = setting(dataset=dataset)
    assert chosen.sfreq == (200.0 if dataset == "seed" else 128.0)
    assert chosen.target == ms_imamba.TARGETS[dataset]
    rule = experiments.rule_of(datasets.card(dataset), chosen.label_rule, chosen.target)
    assert len(rule.classes) == (3 if dataset == "seed" else 2)
    assert setting(dataset="deap", target="valence").target == "valence"


# What a variant changes.


def test_what_each_variant_switches() -> None:
    assert ms_imamba.network_options("declared") == ms_imamba.training_options("declared") == {}
    both = "declared+no_mstb+scaler_window"
    assert ms_imamba.network_options(both) == {"mstb": 0}
    assert ms_imamba.training_options(both) == {"scaler": "window"}
    assert ms_imamba.training_options("blinks_regressed+last_checkpoint") == {
        "blinks": True, "checkpoint": "last",
    }  # fmt: skip
    assert len(ms_imamba.ORDERS) == len(set(ms_imamba.ORDERS)) == 24
    orders = {ms_imamba.network_options(f"order_{one}")["order"] for one in ms_imamba.ORDERS[1:]}
    assert len(orders) == 23 and (0, 1, 2, 3) not in orders


@pytest.mark.parametrize(
    ("dataset", "positions"),
    [
        (DEAP, (0, 1)), ("dreamer:AF3,AF4,F3,F4", (0, 1)), ("deap:O1,Fp2,O2,Fp1", (3, 1)),
        ("seed:FP1,FP2,AF3,AF4", (0, 1)), ("deap:eeg", (0, 16)), ("dreamer:eeg", (0, 13)),
        (f"{DEAP} without s01", (0, 1)),
    ],
)  # fmt: skip
def test_the_electrodes_next_to_the_eyes(dataset, positions) -> None:
    assert ms_imamba.blinking(dataset) == positions


@each_set
def test_blinks_are_taken_out_by_the_scaler(dataset) -> None:
    chosen = setting(dataset=dataset, variant="declared+blinks_regressed")
    scaler = ms_imamba.build(chosen, noise(chosen)).scaler
    assert scaler.blinks == (0, 1) and scaler.sfreq == chosen.sfreq
    assert ms_imamba.build(chosen, noise(chosen), "declared").scaler.blinks == ()


def noise(chosen: Setting, n: int = 4) -> Data:
    """Return windows of noise in the shape of a setting."""
    card = datasets.card(chosen.dataset)
    rule = experiments.rule_of(card, chosen.label_rule, chosen.target)
    y, meta = windows_of(((f"S{s}", f"t{s}", s % 2, 1) for s in range(n)), chosen.seconds)
    name, channels, _ = _registry.parse(chosen.dataset)
    n_chans = len(_registry.kind_of(name, channels)[1])
    shape = (n, n_chans, round(chosen.seconds * chosen.sfreq))
    X = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return Data(X, y, meta, card, rule, "noise", Path("nowhere"), chosen.sfreq)


@pytest.mark.parametrize(
    ("given", "n_weights"),
    [
        ({}, 324_698),
        ({"dataset": "seed"}, 334_427),
        ({"seconds": 3.0}, 357_466),
        ({"variant": "narrow"}, 207_706),
    ],
)
def test_the_declared_reading_has_as_many_weights_as_counted(given, n_weights) -> None:
    chosen = setting(**given)
    net = ms_imamba.build(chosen, noise(chosen)).initialize()
    assert sum(weight.numel() for weight in net.module_.parameters()) == n_weights
    assert net.optimizer is torch.optim.Adam and net.weight_decay == 1e-4 and net.lr == 1e-3


# A filter that cuts more.


def test_another_filter_is_told_in_score_rows_and_changes_the_windows() -> None:
    contexts, windows = {}, {}
    for highpass in (0.5, 8.0):
        chosen = setting(scale="smoke", subjects=4, highpass=highpass)
        data = experiments.load(chosen)
        contexts[highpass] = Experiment(chosen, data).context()
        windows[highpass] = data
    assert contexts[0.5]["dataset"] == DEAP
    assert contexts[8.0] == contexts[0.5] | {"dataset": f"{DEAP} above 8 Hz"}
    assert windows[0.5].meta.equals(windows[8.0].meta)
    assert windows[0.5].content_hash() != windows[8.0].content_hash()
    slow = {cut: _power_below(data, 5.0) for cut, data in windows.items()}
    assert slow[8.0] < 0.05 * slow[0.5], "hardly anything below 5 Hz is left"


def _power_below(data: Data, hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(data.X, axis=-1)) ** 2
    return float(spectrum[..., np.fft.rfftfreq(data.X.shape[-1], 1 / data.sfreq) < hz].mean())


# Claims and sweeps.


def test_the_numbers_are_those_of_the_abstract_with_their_source() -> None:
    found = {claim.name: claim for claim in ms_imamba.claims() if not claim.directional}
    assert {name: 100 * claim.number for name, claim in found.items()} == pytest.approx(PAPERS_OWN)
    for name, claim in found.items():
        assert claim.source.startswith(("abstract", "table", "page"))
        assert claim.protocol == "shuffled_windows_as_published" and claim.metric == "accuracy"
        assert claim.dataset == setting(dataset=name.removesuffix("_accuracy")).dataset
        assert claim.left == {"estimator": "ms_imamba", "variant": "declared"}


def test_claims_name_what_score_rows_will_have() -> None:
    known = {setting(dataset=name, channels=choice).dataset
             for name, choices in ms_imamba.SETS.items() for choice in choices}  # fmt: skip
    chosen = setting()
    estimators = {"ms_imamba", *ms_imamba.reference_models(chosen, noise(chosen))}
    for claim in ms_imamba.claims():
        assert set(claim.scales) <= set(ms_imamba.SCALES)
        for side in (claim.left, claim.right):
            if isinstance(side, str) or not side:
                continue
            own = side.get("dataset", ())
            assert {own} <= known if isinstance(own, str) else set(own) <= known, claim.name
            assert side["estimator"] in estimators
            assert side["estimator"] == "ms_imamba" or side["variant"] == "", "not of less data"


@each_sweep
def test_every_cell_of_a_sweep_resolves(sweep) -> None:
    cells = ms_imamba.SWEEPS[sweep]
    names = ms_imamba.reference_models(setting(), noise(setting()))
    identities = set()
    for cell in cells:
        parsed = params.parse(Params, cell.parameters)
        assert parsed == Params(**cell.parameters), "its values are among the choices"
        chosen = sweeps.setting_of("ms_imamba", cell)
        assert cell.analysis in ANALYSES
        assert set(cell.options.get("names", ())) <= set(names)
        assert protocols.get(chosen.protocol) and chosen.tier in ("simulated", tier("eegmat"))
        identities.add((cell.analysis, repr(chosen), repr(sorted(cell.options.items()))))
    assert len(identities) == len(cells), "no cell is made twice"


def test_no_cell_asks_for_trials_of_eegmat_held_out() -> None:
    for cells in ms_imamba.SWEEPS.values():
        for cell in cells:
            chosen = sweeps.setting_of("ms_imamba", cell)
            if chosen.dataset.startswith("eegmat"):
                assert protocols.get(chosen.protocol).generalises_to != protocols.TRIAL


@pytest.fixture(scope="module")
def two_recordings_each(tmp_path_factory) -> tuple:
    """Return labels and meta of windows of eegmat's twin: rest and arithmetic of four people."""
    folder = tmp_path_factory.mktemp("twin") / "eegmat"
    eegmat.make_twin(folder, subjects=4, effect=1.0, fingerprint=1.0, seed=0)
    recordings = datasets.load("eegmat", folder, channels=["Fp1", "Fp2"])
    rule = eegmat.CARD.label_rules[0]
    return make_windows(recordings, 1.0, 0, 128.0, label_rule=rule, per_trial=4)[1:]


@pytest.mark.parametrize("name", ["group_kfold_trial", "leave_one_trial_out"])
def test_trials_of_eegmat_cannot_be_held_out(two_recordings_each, name) -> None:
    with pytest.raises(ProtocolError, match=r"has 1 trial of .*use group_kfold_subject") as error:
        next(protocols.get(name).split(*two_recordings_each))
    assert str(error.value).startswith(f"{name}: subject 0") and "\n" not in str(error.value)
    assert next(protocols.get("group_kfold_subject").split(*two_recordings_each))


# A copy of DEAP as its publisher gives it away.


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    """Return a folder in DEAP's official layout, full length, without the mark of a twin.

    Four of its 32 subjects, since each has 103 MB; noise where a brain would be.
    """
    folder = tmp_path_factory.mktemp("copies") / "deap"
    rng = np.random.default_rng()  # other data each time, so that no finished run is found
    there = deap.CARD.first(4)
    labels = [np.round(rng.uniform(1, 9, (40, 4)), 2) for _ in there]
    for subject, rated in zip(there, labels, strict=True):
        deap.write_subject(folder, subject, 10 * rng.standard_normal((40, 40, 8064)), rated)
    order, familiarity = np.arange(40), np.full(40, 3.0)
    deap.write_ratings(folder, there, labels, [order] * 4, [familiarity] * 4)
    return folder


REAL = {
    "dataset": "deap", "tier": "licensed", "scale": "smoke",
    "allow_missing": ",".join(deap.CARD.subjects[4:]),
}  # fmt: skip


@pytest.mark.slow
def test_a_real_copy_of_deap_becomes_windows_once_its_licence_is_confirmed(
    official, tmp_path, monkeypatch
) -> None:
    empty_project(tmp_path, monkeypatch)
    monkeypatch.setenv("AFFECTBOOK_DATA", str(official.parent))
    monkeypatch.delenv("AFFECTBOOK_ACCEPT_LICENCE", raising=False)
    chosen = setting(**REAL)
    with pytest.raises(LicenceError, match="AFFECTBOOK_ACCEPT_LICENCE=deap"):
        experiments.load(chosen)
    monkeypatch.setenv("AFFECTBOOK_ACCEPT_LICENCE", "deap")
    data = experiments.load(replace(chosen, per_trial=None))
    assert data.X.shape == (4 * 40 * 60, 4, 128), "2400 windows of 1 s of each person"
    assert set(data.meta["subject"]) == set(deap.CARD.first(4))
    assert data.where.startswith("tier: licensed | data: DEAP, 4 subjects (without s05,")
    assert "channels Fp1 Fp2 AF3 AF4" in data.where and "twin" not in data.where
    assert Experiment(chosen, data).context()["tier"] == "licensed"


@pytest.mark.slow
def test_the_chapter_runs_on_a_real_copy_of_deap(official) -> None:
    given = [word for name, value in REAL.items() for word in ("-p", name, value)]
    command = [sys.executable, "-m", "affectbook.runs", "run", "ms_imamba", *given]
    where = {"AFFECTBOOK_DATA": str(official.parent), "AFFECTBOOK_ACCEPT_LICENCE": "deap"}
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    page = next(line.split()[-1] for line in done.stdout.splitlines() if line.startswith("Page:"))
    folder = (ROOT / page).parent
    try:
        rows = results.read_rows(folder / "scores.csv")
        assert set(rows["tier"]) == {"licensed"} and "ms_imamba" in set(rows["estimator"])
        assert set(rows["dataset"]) == {setting(**REAL).dataset}
        told = (folder / "page.html").read_text(encoding="utf-8")
        assert "tier: licensed | data: DEAP, 4 subjects" in told and str(official) not in told
    finally:
        shutil.rmtree(folder)
        folder.with_name(f".{folder.name}.lock").unlink(missing_ok=True)


def test_a_reference_model_that_trained_on_less_is_no_side_of_a_claim() -> None:
    (claim,) = [one for one in ms_imamba.claims() if one.name == ms_imamba.HEADLINE_CLAIM]
    shared = {"paper": "ms_imamba", "dataset": ms_imamba.named("eegmat"), "seconds": 1.0}
    rows = [
        scores_of(like_everyone(12, right), seed, estimator=who, variant=variant, **shared)
        for who, variant, right in (("ms_imamba", "declared", 0.6), ("de_svm", "", 0.7),
                                    ("de_svm", "0.1_of_subjects", 0.5))
        for seed in range(3)
    ]  # fmt: skip
    (verdict,) = claims.judge([claim], pd.concat(rows))
    assert verdict.word == "does not hold on" and verdict.score.value == pytest.approx(-0.1)
