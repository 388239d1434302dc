"""The shapes of what is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.cli import output


def test_a_table_has_headers_to_the_right_and_values_to_the_left() -> None:
    lines = list(output.table(("job_id", "name"), [(1, "first"), (2, None)]))
    assert lines == ["job_id |  name", "--------------", "1      | first", "2      |"]


@given(st.lists(st.tuples(st.text(), st.text())))
def test_a_table_has_one_line_for_each_row(rows: list[tuple[str, str]]) -> None:
    lines = list(output.table(("a", "b"), rows))
    assert len(lines) == 2 + len(rows)
    assert all(line.isprintable() for line in lines)


def test_programs_lose_their_directories() -> None:
    assert output.program("/usr/bin/python /home/me/x.py") == "python x.py"


def test_a_record_is_padded_to_its_labels() -> None:
    lines = list(output.job_record("ID", [("name", "x"), ("args", "")], "echo x", "/w"))
    assert lines == [
        "BalsamJob ID",
        "-" * 46,
        "name:                           x",
        "args:",
        "  *** Executed command:         echo x",
        "  *** Working directory:        /w",
    ]


def test_counts_are_aligned() -> None:
    assert list(output.state_counts({"READY": 3, "AWAITING_PARENTS": 12})) == [
        "           READY  3",
        "AWAITING_PARENTS  12",
    ]


def test_tree_lines_show_their_depth() -> None:
    assert output.tree_line(0, "a", "[a | 1]", "READY") == "a          [a | 1] READY"
    assert output.tree_line(2, "a", "[a | 1]", "READY").startswith("||" + " " * 10 + "a ")


@given(st.lists(st.dictionaries(st.text(), st.none() | st.integers() | st.text())))
def test_json_is_json(records: list[dict[str, object]]) -> None:
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as out:
        output.print_json(records)
    assert json.loads(out.getvalue()) == records


def test_csv_spells_out_what_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    when = datetime(2026, 1, 2, tzinfo=timezone.utc)
    key = uuid.UUID(int=1)
    output.print_csv(("a", "b", "c", "d"), [{"a": when, "b": key, "c": {"x": 1}, "d": None}])
    assert capsys.readouterr().out.splitlines() == [
        "a,b,c,d",
        f'2026-01-02T00:00:00+00:00,{key},"{{""x"": 1}}",',
    ]


#: The environment of a user.
_BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_what_is_said_beside_a_result_comes_after_it(tmp_path: Path) -> None:
    both = tmp_path / "both.txt"
    code = "from balsam.cli import output; output.emit(['result']); output.note('beside')"
    with open(both, "wb") as file:
        subprocess.run(
            [sys.executable, "-c", code], stdout=file, stderr=file, env=_BUFFERED, check=True
        )
    assert both.read_text() == "result\nbeside\n"


def test_a_result_that_can_not_be_written_is_an_error_though_something_is_said() -> None:
    code = "from balsam.cli import output; output.emit(['x' * 6000]); output.note('beside')"
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, env=_BUFFERED
        )
    assert done.returncode != 0 and b"beside" in done.stderr


def test_what_is_said_of_a_name_can_not_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    output.note("Job [\x1b[2J | 1]\nwas killed.")
    assert capsys.readouterr().err == "Job [\\x1b[2J | 1]\nwas killed.\n"
