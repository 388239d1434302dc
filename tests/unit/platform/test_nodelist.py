"""Lists of nodes: what schedulers write is unfolded, what is folded unfolds again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.platform import nodelist

letters = st.text("abcx.-_", max_size=4)
numbers = st.integers(0, 1200).flatmap(
    lambda number: st.integers(1, 5).map(lambda width: f"{number:0{width}d}")
)
names = st.builds("".join, st.tuples(st.sampled_from("anx"), letters, numbers, letters, numbers))
ranges = st.tuples(st.integers(0, 300), st.integers(0, 12), st.integers(1, 4))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("login1", ["login1"]),
        ("nid[00001-00003]", ["nid00001", "nid00002", "nid00003"]),
        ("nid[000001,000007-000008]", ["nid000001", "nid000007", "nid000008"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("n[099-101]", ["n099", "n100", "n101"]),
        ("r[1-2]n[01-02]", ["r1n01", "r1n02", "r2n01", "r2n02"]),
        ("x[1-2].hsn.cm", ["x1.hsn.cm", "x2.hsn.cm"]),
        ("a[1-2],b3,c[4,6]d", ["a1", "a2", "b3", "c4d", "c6d"]),
        ("a1 a2\na1,", ["a1", "a2"]),
        ("a[1, 2]", ["a1", "a2"]),
    ],
)
def test_what_schedulers_write(text: str, expected: list[str]) -> None:
    assert nodelist.expand(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("n[1-", "bracket"),
        ("n1-2]", "bracket"),
        ("n[[1]]", "bracket"),
        ("n[]", "no number"),
        ("n[a-b]", "no number"),
        ("n[1-2-3]", "no number"),
        ("n[5-2]", "before it begins"),
        ("n[1-99999999999]", "more than"),
        ("n[1-5000]x[1-5000]", "more than"),
    ],
)
def test_what_is_no_list(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        nodelist.expand(text)


@given(st.text("an[]0123456789-, "))
def test_nothing_else_is_raised(text: str) -> None:
    try:
        found = nodelist.expand(text)
    except ValueError:
        return
    assert len(found) == len(set(found)) and all(found)


@given(st.lists(names, max_size=30))
def test_folded_lists_unfold_to_the_same_nodes(nodes: list[str]) -> None:
    text = nodelist.compress(nodes)
    assert sorted(nodelist.expand(text)) == sorted(set(nodes))


@given(letters, letters, st.lists(ranges, min_size=1, max_size=4))
def test_a_list_as_slurm_writes_it(
    before: str, after: str, parts: list[tuple[int, int, int]]
) -> None:
    written, wanted = [], []
    for first, more, width in parts:
        written.append(f"{first:0{width}d}-{first + more:0{width}d}")
        wanted += [f"n{before}{first + step:0{len(written[-1].split('-')[0])}d}{after}"
                   for step in range(more + 1)]  # fmt: skip
    text = f"n{before}[{','.join(written)}]{after}"
    assert nodelist.expand(text) == list(dict.fromkeys(wanted))


def test_many_nodes_are_few_words() -> None:
    cray = [f"nid{number:05d}" for number in range(1, 8193)]
    assert nodelist.compress(cray) == "nid[00001-08192]"
    shasta = [
        f"x{rack}c0s{slot}b{board}n{node}.hsn.cm"
        for rack in range(3001, 3009)
        for slot in range(8)
        for board in (0, 1)
        for node in (0, 1)
    ]
    assert nodelist.compress(shasta) == "x[3001-3008]c0s[0-7]b[0-1]n[0-1].hsn.cm"
    assert nodelist.expand(nodelist.compress(shasta)) == shasta


def test_numbers() -> None:
    assert nodelist.numbers("0-3,8\n") == [0, 1, 2, 3, 8]
    assert nodelist.numbers(" ") == []
    with pytest.raises(ValueError, match="no number"):
        nodelist.numbers("0-3,x")
