"""Ranges, lists and files as axes of a sweep."""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.sweeps import Rows
from balsam.core.sweeps.axes import LARGEST, Axis, Lines, Span, Table, Values
from balsam.errors import InvalidValue

numbers = st.integers(-50, 50)
#: Numbers with up to three decimals, as people type them.
decimals = st.integers(-5000, 5000).map(lambda number: Decimal(number).scaleb(-3))
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@contextmanager
def file_of(text: str | bytes) -> Iterator[str]:
    """A file with this content (hypothesis shares one ``tmp_path`` among all its examples)."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "given")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        yield str(path)


def flat(axis: Axis) -> list[object]:
    return [value for (value,) in axis]


# -- ranges ---------------------------------------------------------------------------------------


@given(numbers, numbers, numbers.filter(bool))
def test_whole_ranges_are_those_of_python(start: int, stop: int, step: int) -> None:
    points = list(range(start, stop, step))
    text = f"x={start}:{stop}:{step}"
    if not points:
        with pytest.raises(InvalidValue, match="no points"):
            Span(text)
        return
    axis = Span(text)
    assert axis.names == ("x",)
    assert (flat(axis), len(axis)) == (points, len(points))
    assert flat(axis) == points, "it can be gone through again"


@given(decimals, decimals, decimals.filter(bool))
def test_decimal_ranges_have_no_noise(start: Decimal, stop: Decimal, step: Decimal) -> None:
    count = max(0, math.ceil((stop - start) / step))
    if not count:
        with pytest.raises(InvalidValue, match="no points"):
            Span(f"x={start}:{stop}:{step}")
        return
    axis = Span(f"x={start}:{stop}:{step}")
    assert len(axis) == count
    for index, point in enumerate(itertools.islice(axis, 50)):
        exact = start + index * step
        assert Decimal(str(point[0])) == exact
        assert (exact < stop) if step > 0 else (exact > stop)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("x=0:1:0.25", [0.0, 0.25, 0.5, 0.75]),
        ("x=.1:.3:.1", [0.1, 0.2]),
        ("x=1e3:3e3:1e3", [1000, 2000]),
        ("x=3:0:-1", [3, 2, 1]),
        (" x = 0 : 2 ", [0, 1]),
    ],
)
def test_ranges_as_people_type_them(text: str, points: list[float]) -> None:
    assert list(map(str, flat(Span(text)))) == list(map(str, points))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", "has no name"),
        ("=0:3", "is no name"),
        ("2x=0:3", "is no name"),
        ("x=", "is no range"),
        ("x=3", "is no range"),
        ("x=0:3:1:1", "is no range"),
        ("x=a:b", "is no range"),
        ("x=0:inf", "is no range"),
        ("x=0:3:0", "step"),
        ("x=3:0", "no points"),
        (f"x=0:{LARGEST + 1}", "10,000,001 points"),
        ("x=0:1e99999", "is no range"),
        ("x=0:1e999:1", "too many digits"),
        ("x=0:1:1e-400", "too many digits"),
        ("x=0:1234567890123456.5:1e15", "more than 15 digits"),
    ],
)
def test_absurd_ranges_are_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        Span(text)


@pytest.mark.parametrize("kind", [Span, Values])
@given(text=st.text("x=:,.\"'0123456789e-+ \n\0", max_size=12))
def test_any_text_is_an_axis_or_one_sentence(kind: type[Axis], text: str) -> None:
    try:
        axis = kind(text)  # type: ignore[call-arg]
    except InvalidValue as error:
        assert str(error).endswith(".")
    else:
        assert sum(1 for _ in itertools.islice(axis, 5)) == min(5, len(axis))


# -- lists ----------------------------------------------------------------------------------------


@given(st.lists(words.map(str.strip).filter(bool), min_size=1))
def test_values_come_back_however_they_are_quoted(values: list[str]) -> None:
    spelled = io.StringIO()
    csv.writer(spelled, quoting=csv.QUOTE_ALL, lineterminator="").writerow(values)
    if any(mark in value for value in values for mark in "\r\n"):
        return  # a command line is one line
    assert flat(Values(f"x={spelled.getvalue()}")) == values


def test_values_as_people_type_them() -> None:
    assert flat(Values('m=a, b ,"c,d",')) == ["a", "b", "c,d", ""]
    for text, said in (("m", "has no name"), ("m=", "no values"), ('m="a', "told apart")):
        with pytest.raises(InvalidValue, match=said):
            Values(text)


# -- combinations ---------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_the_product_is_that_of_itertools(sizes: list[int]) -> None:
    axes = [Span(f"n{index}=0:{size}") for index, size in enumerate(sizes)]
    rows = Rows(axes)
    wanted = list(itertools.product(*map(range, sizes)))
    assert [tuple(row.values()) for row in rows] == wanted
    assert len(rows) == len(wanted)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_zipping_needs_equal_lengths(sizes: list[int]) -> None:
    axes = [Span(f"n{index}=0:{size}") for index, size in enumerate(sizes)]
    if len(set(sizes)) > 1:
        with pytest.raises(InvalidValue, match=f"n0 has {sizes[0]}"):
            Rows(axes, zipped=True)
        return
    rows = list(Rows(axes, zipped=True))
    assert [set(row.values()) for row in rows] == [{number} for number in range(sizes[0])]


def test_files_can_be_combined(tmp_path: Path) -> None:
    table, lines = tmp_path / "t.csv", tmp_path / "l.txt"
    table.write_text("a,b\n1,2\n3,4\n")
    lines.write_text("x\n\ny\n")
    rows = Rows([Lines(str(lines)), Table(str(table)), Span("n=0:2")])
    assert len(rows) == 8
    found = []
    for row in rows:
        found.append(row)
        line = 1 if row["line"] == "x" else 3
        assert rows.place.startswith(f"{lines}, line {line} and ")
    assert found[0] == {"line": "x", "a": "1", "b": "2", "n": 0}
    assert found[-1] == {"line": "y", "a": "3", "b": "4", "n": 1}


def test_combinations_that_make_no_sense() -> None:
    with pytest.raises(InvalidValue, match="'x' is given values twice"):
        Rows([Span("x=0:3"), Values("x=a")])
    with pytest.raises(InvalidValue, match="100,000,000 jobs"):
        Rows([Span("x=0:10000"), Span("y=0:10000")])


# -- files ----------------------------------------------------------------------------------------

rows_of_text = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(words, min_size=width, max_size=width), min_size=1, max_size=5)
)


@given(rows_of_text)
def test_a_table_comes_back_as_it_was_written(rows: list[list[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(f"c{index}" for index in range(len(rows[0])))
    writer.writerows(rows)
    with file_of(text.getvalue()) as path:
        table = Table(path)
        assert [list(row) for row in table] == rows == [list(row) for row in table]
        assert len(table) == len(rows)


@pytest.mark.parametrize("kind", [Lines, Table])
@given(content=st.one_of(st.binary(max_size=30), st.text("ab,;\"'\n\r\t \0é", max_size=30)))
def test_any_file_is_an_axis_or_one_sentence(
    kind: Callable[[str], Axis], content: str | bytes
) -> None:
    with file_of(content) as path:
        try:
            axis = kind(path)
        except InvalidValue as error:
            assert path in str(error)
            assert str(error).endswith(".")
        else:
            assert len(list(axis)) == len(axis) > 0


@given(st.lists(words.map(lambda word: word.replace("\n", "").replace("\r", "")), min_size=1))
def test_lines_are_lines_without_the_blank_ones(lines: list[str]) -> None:
    wanted = [line for line in lines if line.strip()]
    with file_of("\ufeff" + "\r\n".join(lines)) as path:
        if wanted:
            assert flat(Lines(path)) == wanted


def test_tables_as_spreadsheets_write_them() -> None:
    for text in (
        "wall-time, Ranks per node\n1, x y\n",
        "\ufeffwall time;Ranks_per node\r\n1;x y\r\n",
        "\n\nwall_time\tRanks per node\n\n1\tx y",
    ):
        with file_of(text) as path:
            table = Table(path)
            assert table.names == ("wall_time", "Ranks_per_node")
            assert list(table) == [("1", "x y")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("a,b\n", "no rows"),
        ("a,b\n1,2\n\n3\n", "line 4 has 1 values; the header names 2 columns"),
        ("\na,b\n1,2,3\n", "line 3 has 3 values"),
        ('a,b\n"1\n2",3\n4\n', "line 4 has 1 values"),
        ('a,b\n1,2\n"3,4\n', "line 3 is no CSV"),
        ("a,\n1,2\n", "column 2 has no name"),
        ("a b,a-b\n1,2\n", "two columns named 'a_b'"),
        ("a,b\n1,\0\n", "line 2 is not text"),
        (b"a,b\n1,\xff\n", "line 2 is not text in UTF-8"),
    ],
)
def test_malformed_tables_name_the_line(text: str, words: str) -> None:
    with file_of(text) as path, pytest.raises(InvalidValue, match=words):
        Table(path)


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"nope can not be read: No such file"):
        Lines(str(tmp_path / "nope"))
    with pytest.raises(InvalidValue, match=r"can not be read: Is a directory"):
        Lines(str(tmp_path))
    (tmp_path / "blank").write_text("\n \n")
    with pytest.raises(InvalidValue, match="no lines"):
        Lines(str(tmp_path / "blank"))


def test_a_pipe_is_kept_to_be_read_again(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"one\ntwo\n")
    os.close(writer)
    try:
        lines = Lines(f"/dev/fd/{reader}")
    finally:
        os.close(reader)
    assert flat(lines) == flat(lines) == ["one", "two"]
