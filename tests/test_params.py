"""Parameters are read strictly, and one message tells all that is wrong."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path

import papermill
import pytest
from hypothesis import given
from hypothesis import strategies as st
from papermill.exceptions import PapermillExecutionError
from tiny_project import ROOT

from affectbook import notebook, papers, params
from affectbook.errors import ParameterError


@dataclass(frozen=True)
class Params:
    """One field of each kind."""

    dataset: str = field(default="wesad", metadata={"help": "data", "choices": ("wesad", "eegmat")})
    seconds: float = field(default=10.0, metadata={"help": "of a window", "low": 1, "high": 60})
    epochs: int | None = field(default=None, metadata={"low": 1})
    rule: str | None = None
    placebo: bool = False
    seed: int = 0


CELL = """dataset: str = "wesad"  # data
seconds: float = 10.0
epochs = None  # type: int|None
rule = None
placebo = False
seed: int = 0
"""
FIRST = "from affectbook import params\nsetting = params.from_notebook(Params, globals())"
DEFAULTS = {one.name: one.default for one in fields(Params)}


ASCII = st.characters(codec="ascii")
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "dataset": st.sampled_from(["wesad", "eegmat"]),
        "seconds": st.floats(1, 60),
        "epochs": st.none() | st.integers(1, 10**9),
        "rule": st.none()
        | st.text(ASCII, min_size=1).filter(lambda text: text not in ("none", "None")),
        "placebo": st.booleans(),
        "seed": st.integers(),
    },
)


def spelt(value: object) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


@given(VALUES)
def test_values_and_their_spelling_give_the_same(values: dict) -> None:
    parsed = params.parse(Params, values)
    assert parsed == Params(**values)
    assert params.parse(Params, {name: spelt(value) for name, value in values.items()}) == parsed


@given(st.dictionaries(st.text(ASCII), st.text(ASCII) | st.floats() | st.integers() | st.none()))
def test_anything_else_is_refused_with_a_parameter_error(values: dict) -> None:
    try:
        parsed = params.parse(Params, values)
    except ParameterError:
        return
    assert type(parsed.seconds) is float
    assert type(parsed.seed) is int
    assert set(values) <= {one.name for one in fields(Params)}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("epohcs", "3", "did you mean epochs?"),
        ("Epochs", "3", "not a name"),
        ("import os", "3", "not a name"),
        ("seed", "3.5", "expected int, found '3.5'"),
        ("seed", 3.0, "expected int, found 3.0"),
        ("seed", True, "expected int, found True"),
        ("seed", "1_000", "expected int"),
        ("seed", "none", "expected int"),
        ("seed", None, "expected int"),
        ("epochs", "0", "at least 1"),
        ("epochs", "3.5", "expected int | none"),
        ("seconds", "nan", "expected float"),
        ("seconds", float("inf"), "expected float"),
        ("seconds", "90", "expected 1 to 60"),
        ("placebo", "yes", "expected bool"),
        ("placebo", 1, "expected bool"),
        ("dataset", "wesda", "did you mean wesad?"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: object, told: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(told)) as caught:
        params.parse(Params, {name: value})
    assert name in str(caught.value)


def test_one_message_lists_every_fault() -> None:
    with pytest.raises(ParameterError, match="3 parameters are wrong") as caught:
        params.parse(Params, {"sed": "1", "seconds": "x", "placebo": "maybe"})
    assert str(caught.value).count("\n") == 3


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, (3,), {3}, b"3", object()], ids=type)
@pytest.mark.parametrize("name", DEFAULTS)
def test_what_a_grid_may_hold_is_no_value(name: str, value: object) -> None:
    for read in (params.parse, lambda of, given: params.from_notebook(of, DEFAULTS | given)):
        with pytest.raises(ParameterError, match=f"^a parameter is wrong:\n  {name}: ") as caught:
            read(Params, {name: value})
        assert "expected" in str(caught.value) and str(caught.value).count("\n") == 1


def test_text_is_read_as_the_type_of_its_field() -> None:
    """YAML calls 1e-3 a text; a grid says it in numbers and a command line in text."""
    given = {"seconds": "1.5e1", "seed": 3, "placebo": "true", "epochs": "none"}
    assert params.parse(Params, given) == Params(seconds=15.0, seed=3, placebo=True)


@pytest.mark.parametrize(
    "name", ["seed = 0\nimport os", "__import__('os')", "a b", "", "é", 1, None]
)
def test_a_name_that_is_none_is_shown_on_one_line(name: object) -> None:
    with pytest.raises(ParameterError, match="not a name") as caught:
        params.parse(Params, {name: 1})
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("value", ["a\nb", "x" * 10_000, "\x1b[31mred", "\ud800"])
def test_a_value_that_is_refused_is_shown_on_one_line(value: str) -> None:
    with pytest.raises(ParameterError) as caught:
        params.parse(Params, {"seed": value})
    told = str(caught.value)
    assert told.count("\n") == 1 and len(told) < 200 and told.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", "1" * 5000), ("seconds", "1e999"), ("seconds", 10**400), ("epochs", -(10**5000))],
    ids=["text", "inf", "float", "int"],
)
def test_a_number_that_no_type_holds_is_refused(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=f"^a parameter is wrong:\n  {name}: expected"):
        params.parse(Params, {name: value})


def test_half_a_character_is_refused() -> None:
    """What a terminal hands over that is no text could not be written to any file of the run."""
    with pytest.raises(ParameterError, match="half a character"):
        params.parse(Params, {"rule": "\udc80"})


FIVE_WRONG_TYPES = [
    ("seed", "1", "expected int, found '1'; write it without quotes"),
    ("seconds", "1e1", "expected float, found '1e1'; write it without quotes"),
    ("placebo", "false", "expected bool, found 'false'; write it without quotes"),
    ("rule", 3, "expected str | none, found 3"),
    ("seconds", float("nan"), "expected float, found nan: not a finite number"),
    ("epochs", "none", "expected int | none, found 'none'; write None without quotes"),
    ("rule", "None", "expected str | none, found 'None'; write None without quotes"),
]


@pytest.mark.parametrize(("name", "value", "told"), FIVE_WRONG_TYPES)
def test_text_in_a_notebook_is_text(name: str, value: object, told: str) -> None:
    assert params.from_notebook(Params, DEFAULTS | {"np": object()}) == Params()
    with pytest.raises(ParameterError) as caught:
        params.from_notebook(Params, DEFAULTS | {name: value})
    assert str(caught.value) == f"a parameter is wrong:\n  {name}: {told}"


def test_a_notebook_sets_every_parameter() -> None:
    with pytest.raises(ParameterError, match="does not set: seed"):
        params.from_notebook(Params, {name: DEFAULTS[name] for name in DEFAULTS if name != "seed"})


def ran(*cells: str) -> Params:
    """Return what a notebook reads whose first cell runs after these."""
    return params.from_notebook(Params, DEFAULTS | {"In": ["", *cells, FIRST]})


@pytest.mark.parametrize(
    "cells",
    [
        (CELL, "# Parameters\nepocs = 3\n"),
        (CELL, "# Parameters\nseed = 3\nepocs = float('nan')\n"),
        (CELL, "# Parameters\nepocs = [1, -2]\n"),
        (CELL, "# Parameters\nepocs = 3; open('canary', 'w')\n"),
        (CELL.replace("epochs", "epocs"),),
        (CELL + "epocs = 3",),
        (CELL, "", "# a note", "# Parameters\nepocs = 3"),
        (CELL, FIRST, "seed = 1\nepocs = 3"),
        ("# Parameters\nepocs = 3",),
    ],
)
def test_a_misspelt_name_above_stops_the_first_cell(cells: tuple[str, ...]) -> None:
    told = "a parameter is wrong:\n  epocs: unknown; did you mean epochs?"
    for history in (["", *cells, FIRST], ["", *cells]):
        with pytest.raises(ParameterError) as caught:
            params.from_notebook(Params, DEFAULTS | {"In": history})
        assert str(caught.value) == told


@pytest.mark.parametrize(
    "cells",
    [
        (),
        (CELL,),
        (CELL, "# Parameters\nepochs = 3\n"),
        ("x = 3", CELL, "y = [1, 2]", "name: str = 'me'"),  # notes to oneself
        (CELL + "epocs = 3", CELL),  # mended
        (CELL.replace("epochs", "epocs"), FIRST, CELL),
        (CELL, "# Parameters\nepocs = 3", FIRST, "# Parameters\nepochs = 3"),
        (CELL, "# Parameters\nepocs = 3", "# Parameters\nepochs = 3"),
        (CELL, "seed = seed + 1\nmine = 2"),  # computes
        (CELL, "def f(:", "1 +", "!ls"),
        (CELL, FIRST, "draw(seed)", FIRST),
    ],
)
def test_what_else_ran_above_is_no_misspelt_name(cells: tuple[str, ...]) -> None:
    assert ran(*cells) == Params()


@pytest.mark.parametrize("history", [None, [], [""], "text", 3])
def test_no_history_is_no_fault(history: object) -> None:
    assert params.from_notebook(Params, DEFAULTS | {"In": history}) == Params()


@pytest.mark.parametrize("name", papers.names())
def test_cells_may_run_again_in_any_order(name: str) -> None:
    texts = [
        notebook.text(cell)
        for cell in notebook.code_cells(notebook.read(ROOT / "notebooks" / f"{name}.ipynb"))
    ]
    paper = papers.get(name).Params
    given = {one.name: one.default for one in fields(paper)}
    after_parameters = [(texts[0], text) for text in texts]
    for order in (*after_parameters, *zip(texts), texts, texts[::-1]):
        assert params.from_notebook(paper, given | {"In": ["", *order]}) == paper()


def test_papermill_with_a_misspelt_name_stops_at_the_first_cell(tmp_path: Path) -> None:
    paper = (
        "import sys\nsys.path.insert(0, '.')\nfrom affectbook import params\n"
        "from paper import Params\nparams.from_notebook(Params, globals())"
    )
    code = {"cell_type": "code", "execution_count": None, "outputs": [], "metadata": {}}
    cells = [
        code | {"id": "a", "source": "seed: int = 0", "metadata": {"tags": ["parameters"]}},
        code | {"id": "b", "source": paper},
        code | {"id": "c", "source": "open('canary', 'w')"},
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    whole = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "a.ipynb").write_text(json.dumps(whole))
    (tmp_path / "paper.py").write_text(
        "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Params:\n"
        "    seed: int = 0\n"
    )
    with pytest.raises(PapermillExecutionError, match="sed: unknown; did you mean seed?"):
        papermill.execute_notebook(
            tmp_path / "a.ipynb", tmp_path / "b.ipynb", {"sed": 3}, cwd=tmp_path,
            progress_bar=False, request_save_on_cell_execute=False,
        )  # fmt: skip
    assert not (tmp_path / "canary").exists()


def test_the_table_says_what_can_be_set() -> None:
    table = params.table(Params).set_index("name")
    assert list(table.columns) == ["type", "default", "allowed", "meaning"]
    assert table.loc["seconds"].tolist() == ["float", "10.0", "1 to 60", "of a window"]
    assert table.loc["epochs"].tolist() == ["int | none", "none", "at least 1", ""]
    assert table.loc["dataset", "allowed"] == "one of wesad, eegmat"
    assert table.loc["placebo"].tolist() == ["bool", "false", "true or false", ""]


@pytest.mark.parametrize("name", papers.names())
def test_help_fits_a_terminal_and_says_all(name: str) -> None:
    paper = papers.get(name)
    told = params.help_text(paper.TITLE, paper.Params)
    lines = told.splitlines()
    assert lines[0].startswith(paper.TITLE) and max(map(len, lines)) <= 100
    rows = params.table(paper.Params)
    starts = set()
    for row in rows.itertuples(index=False):
        (line,) = [line for line in lines if re.match(rf"  {row.name} ", line)]
        assert row.type in line and row.default in line
        starts.add(re.match(r".*\S {2,}(?=\S)", line).end())
    assert len(starts) == 1, "the meanings stand in one column"
    words = " ".join(told.split())
    assert all(word in words for text in rows["allowed"] for word in text.split())


def test_help_wraps_what_is_long() -> None:
    @dataclass(frozen=True)
    class Long:
        a_name_that_is_longer_than_a_column: str = field(
            default="x" * 200, metadata={"help": "y" * 300, "choices": ("z" * 150,)}
        )

    told = params.help_text("Long", Long)
    assert max(map(len, told.splitlines())) <= 100
    assert [told.count(letter) for letter in "xz"] == [200, 150] and told.count("y") >= 300
