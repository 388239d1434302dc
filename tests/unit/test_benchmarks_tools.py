"""The tables of the benchmarks: which rows meet their bar, and how they are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.benchmarks.table import Table, interleave, merged, number, page, ratios


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0123, "0.012"), (0.5, "0.50"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_numbers_have_three_digits_that_matter(value: float, text: str) -> None:
    assert number(value) == text


def test_the_median_decides_whether_a_bar_is_met() -> None:
    table = Table("Rates")
    fast = table.add("fast", "/s", [1, 100, 120], least=90)
    slow = table.add("slow", "ms", [1, 100, 120], most=90)
    plain = table.add("plain", "/s", [3])
    assert (fast.met, slow.met, plain.met) == (True, False, None)
    assert fast.cells() == ("fast", "100 /s", "1.00 .. 120", "at least 90.0 /s", "yes")
    assert plain.cells() == ("plain", "3.00 /s", "", "", "")


def test_contenders_take_turns() -> None:
    calls: list[str] = []

    def contender(name: str, value: float) -> Callable[[], float]:
        def measure() -> float:
            calls.append(name)
            return value * len(calls)

        return measure

    found = interleave({"a": contender("a", 2.0), "b": contender("b", 1.0)}, 2)
    assert calls == ["a", "b", "a", "b"]
    assert found == {"a": [2.0, 6.0], "b": [2.0, 4.0]}
    assert ratios(found["a"], found["b"]) == [1.0, 1.5]


def test_a_page_has_the_machine_and_a_section_for_each_table() -> None:
    table = Table("Rates", "How it was done.")
    table.add("one", "/s", [2.0, 3.0], least=1)
    text = page([("memory", "8 GB")], [table])
    assert ":memory: 8 GB" in text
    assert "Rates\n-----\n\nHow it was done.\n\n.. list-table::" in text
    assert "   * - one\n     - 2.50 /s\n     - 2.00 .. 3.00\n     - at least 1.00 /s\n" in text


def test_what_is_measured_again_takes_the_place_of_what_was() -> None:
    def written(fact: str, **medians: float) -> str:
        tables = [Table(f"Table {name}", "A note -\n----") for name in medians]
        for table, median in zip(tables, medians.values(), strict=True):
            table.add("what", "s", [median])
        return page([("fact", fact)], tables)

    old = written("old", one=1, two=2, three=3)
    assert merged("", old) == merged(old, old) == old
    assert merged(old, written("new", two=22, four=4)) == written(
        "new", one=1, two=22, three=3, four=4
    )
