"""The page on data: every set has its card, its rules and its figure with words."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from affectbook import data_page, datasets
from affectbook.files import project_root


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("generated")
    return data_page.fragment(folder), folder


@pytest.mark.parametrize("name", datasets.names())
def test_every_set_has_its_card_and_its_figure(text, name):
    page, folder = text
    card = datasets.card(name)
    part = page.split(f"### {card.title}\n")[1].split("\n### ")[0]
    assert f"`{name}`" in part and f"{{cite}}`{card.citation}`" in part
    for rule in card.label_rules:
        assert f"`{rule.name}`" in part
    assert part.count("\n- ") == len(card.pitfalls)
    assert (folder / f"data_{name}.png").stat().st_size > 5000
    (alt,) = re.findall(r":alt: (.*)\n", part)
    assert "(simulated)" in alt and "Hz" in alt and len(alt.split()) > 12


def test_the_overview_names_all_and_leads_to_them(text):
    page, _ = text
    table = page.split("\n\n")[0]
    anchors = re.findall(r"\(#([\w-]+)\)", table)
    targets = re.findall(r"^\(([\w-]+)\)=\n### ", page, flags=re.MULTILINE)
    assert anchors == targets == [f"data-{name}" for name in datasets.names()]
    assert "ECG 2, EEG 14" in table and "| deap |" not in table


def test_deap_is_drawn_without_an_ecg():
    fig, alt = data_page.draw(datasets.card("deap"))
    plt.close(fig)
    assert "eeg, uV, 128 Hz" in alt and "ecg" not in alt


def test_a_few_channels_stand_for_many():
    names = tuple(f"ch{i}" for i in range(62))
    shown = data_page._spread(names)
    assert len(shown) == data_page.MOST and (shown[0], shown[-1]) == ("ch0", "ch61")
    assert data_page._spread(("a", "b")) == ["a", "b"]


def test_the_code_on_the_page_runs(capsys):
    page = (project_root() / "book" / "data.md").read_text(encoding="utf-8")
    unlabelled, code = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    compile(unlabelled, "data.md", "exec")  # it reads real recordings, which need not be here
    exec(code, {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("(2, ") and "uV" in first
    assert re.match(r"\(\d+, 2, 256\) 0\.\d+ \['S01' 'S02'\]", second)


def test_contributors_are_shown_the_shortest_of_the_sets():
    folder = project_root() / "lib" / "affectbook" / "datasets"
    lines = {n: len((folder / f"{n}.py").read_text().splitlines()) for n in datasets.names()}
    text = (project_root() / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"The shortest of the ten.*?datasets/(\w+)\.py", text, flags=re.DOTALL)
    assert len(lines) == 10 and lines[named] == min(lines.values())
