"""Values have one spelling on their way between databases, and come out as they went in."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.care import cells
from balsam.core.care.cells import CANONICAL, FROM_SQLITE, NULL, Unfit, to_sqlite

#: All that both databases hold as text.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(TEXTS)
def test_texts_survive_and_stay_on_a_line(text: str) -> None:
    cell = cells.escape(text)
    assert not set(cell) & set("\t\n\r\b\f\v")
    assert cells.unescape(cell) == text


@given(st.lists(st.none() | TEXTS, min_size=1))
def test_texts_and_nothing_are_told_apart(values: list[str | None]) -> None:
    made = FROM_SQLITE["text"](values)
    assert list(to_sqlite("text", made)) == values
    assert [cell == NULL for cell in made] == [value is None for value in values]


@given(st.lists(st.none() | st.floats(allow_nan=False), min_size=1))
def test_floats_survive(values: list[float | None]) -> None:
    assert to_sqlite("real", CANONICAL["real"](FROM_SQLITE["real"](values))) == values


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_numbers_of_one_value_have_one_spelling(number: Decimal) -> None:
    short = cells.canonical_number(str(number))
    assert cells.canonical_number(f"{number:f}") == short
    mantissa, _, power = short.partition("e")
    assert Fraction(int(mantissa)) * Fraction(10) ** int(power or 0) == Fraction(number)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(JSON, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_of_one_meaning_has_one_spelling(value: Any, plain: bool, indent: Any) -> None:
    compact = json.dumps(value, separators=(",", ":"))
    other = json.dumps(value, ensure_ascii=plain, indent=indent, sort_keys=True)
    assert cells.canonical_json(compact) == cells.canonical_json(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", '"1"'), ("1", "true"), ("0", "false"), ("null", "{}"), ("1e0", '"1e0"'), ("[]", "{}"),
     ('{"a":1}', '{"a":2}'), ("0.1", "0.10000000000000001"), ('""', "null")],
)  # fmt: skip
def test_json_of_another_meaning_has_another(one: str, other: str) -> None:
    assert cells.canonical_json(one) != cells.canonical_json(other)


def test_times_have_one_spelling() -> None:
    spelled = [
        "2026-01-02 03:04:05", "2026-01-02 03:04:05.000000", "2026-01-02T03:04:05",
        "2026-01-02 03:04:05.123456", None,
    ]  # fmt: skip
    assert FROM_SQLITE["time"](spelled) == [*["2026-01-02 03:04:05"] * 3, spelled[3], NULL]
    assert CANONICAL["time"](["2026-01-02 03:04:05.000000"]) == ["2026-01-02 03:04:05"]


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("text", "a\0b", "NUL"),
        ("text", b"blob", "holds no text"),
        ("text", 5, "holds no text"),
        ("time", "yesterday", "holds no time"),
        ("time", 5, "holds no time"),
    ],
)
def test_what_does_not_fit_is_named(kind: str, value: Any, words: str) -> None:
    with pytest.raises(Unfit, match=words) as caught:
        FROM_SQLITE[kind]([None, value])
    assert caught.value.position == 1


def test_json_that_can_not_be_read_is_named() -> None:
    with pytest.raises(Unfit, match="JSON"):
        CANONICAL["json"](["{}", "[" * 100_000])
