"""Parameters are read strictly, and one message tells all that is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectbook import params
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


def test_text_in_a_notebook_is_text() -> None:
    named = {one.name: one.default for one in fields(Params)}
    assert params.from_notebook(Params, named | {"np": object()}) == Params()
    with pytest.raises(ParameterError, match="expected int, found '5'"):
        params.from_notebook(Params, named | {"seed": "5"})
    with pytest.raises(ParameterError, match="does not set: seed"):
        params.from_notebook(Params, {name: named[name] for name in named if name != "seed"})


def test_the_table_says_what_can_be_set() -> None:
    table = params.table(Params).set_index("name")
    assert list(table.columns) == ["type", "default", "meaning"]
    assert table.loc["seconds"].tolist() == ["float", "10.0", "of a window; 1 to 60"]
    assert table.loc["epochs", "type"] == "int | none"
    assert table.loc["dataset", "meaning"] == "data; one of wesad, eegmat"
