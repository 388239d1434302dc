"""How sweeps are typed and shown."""

from __future__ import annotations

import io
import sys

import click
import pytest

from balsam.cli.limits import COUNT
from balsam.cli.sweeping import (
    is_sweep,
    join_templates,
    preview,
    progress_bar,
    refuse_templates,
    templated,
)

NOTHING = {
    "each_line": None, "from_csv": None, "ranges": (), "values": (),
    "zipped": False, "product": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-x {{ x }}"], "-x {{ x }}"),
        (["-x", "{{", "x", "}}", "y z"], "-x '{{ x }}' 'y z'"),
        (["a={{", "x", "*", "2", "}}b", "c"], "'a={{ x * 2 }}b' c"),
        (["-n", "5"], "-n 5"),
        (["{{", "x"], "{{ x"),
    ],
)
def test_braces_hold_words_together(words: list[str], text: str) -> None:
    assert join_templates(words).strip("'") == text.strip("'")


def test_numbers_may_be_filled_in() -> None:
    kind = templated(COUNT)
    assert kind("3") == 3
    assert kind("{{ n }}") == "{{ n }}"
    with pytest.raises(click.BadParameter, match="not from 1"):
        kind("0")
    refuse_templates({"num_nodes": 1}, ["num_nodes"])
    with pytest.raises(click.UsageError, match="Nothing fills in --num-nodes"):
        refuse_templates({"num_nodes": "{{ n }}"}, ["num_nodes"])


def test_what_makes_a_sweep() -> None:
    assert not is_sweep(NOTHING)
    assert is_sweep({**NOTHING, "ranges": ("x=0:3",), "product": True})
    for wrong in ({"zipped": True}, {"zipped": True, "product": True}):
        with pytest.raises(click.UsageError):
            is_sweep({**NOTHING, **wrong})


def test_a_preview_has_columns_for_what_differs() -> None:
    jobs = [
        {"name": f"j{n}", "workflow": "w", "num_nodes": 2, "priority": n, "job_id": n}
        for n in range(2)
    ]
    assert list(preview(jobs, 7)) == [
        "name | workflow | application | args | priority",
        "-----------------------------------------------",
        "j0   | w        |             |      | 0",
        "j1   | w        |             |      | 1",
        "(5 more jobs not shown...)",
        "num_nodes:                      2",
    ]
    assert "num_nodes" in list(preview(jobs[:1], 1))[-2]


def test_without_a_terminal_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar(3) as progress:
        assert progress is None
