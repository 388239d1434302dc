"""How a finding of the doctor is printed."""

from __future__ import annotations

from balsam.cli.doctor import lines


def test_a_finding_is_a_line_and_its_repair_another() -> None:
    assert lines("ok", "disk", "1 GB free", "") == ["ok       disk          1 GB free"]
    first, second = lines("problem", "database", "it is\x1b damaged", "restore it")
    assert first == "problem  database      it is\\x1b damaged"
    assert second == " " * 23 + "-> restore it"
