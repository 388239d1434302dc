"""The check of MPI, with little programs that behave like a good or a bad mpirun."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from balsam.conf.project import Project
from balsam.doctor import mpi
from balsam.doctor.finding import OK, PROBLEM, WARNING, Finding
from balsam.doctor.patient import Patient

#: Runs what follows its options as often as -n says, without MPI.
STARTS = """
while [ "${1#-}" != "$1" ]; do [ "$1" = -n ] && ranks=$2; shift 2; done
while [ $ranks -gt 0 ]; do "$@" || exit 1; ranks=$((ranks - 1)); done
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "mpirun"


def asked(program: Path, script: str, seconds: float = 60.0) -> list[Finding]:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    settings = program.with_name("settings.yml")
    settings.write_text(f"mpi: {{mpirun: '{program}', flavour: mpich}}\n")
    environ = {"PATH": "/usr/bin:/bin"}
    return list(mpi.ranks(Patient(Project(program.parent)), environ, seconds))


def test_ranks_that_start_but_do_not_find_each_other(program: Path) -> None:
    pytest.importorskip("mpi4py")
    started, together = asked(program, STARTS)
    assert started.status == OK and "starts 2 ranks" in started.says
    assert together.status == WARNING and "mpi4py" in together.says


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no slots >&2; exit 7", "ended with code 7: no slots"),
        ('while [ "${1#-}" != "$1" ]; do shift 2; done; exec "$@"', "2 ranks, and 1 answered"),
        ("exec sleep 60", "did not answer within"),
    ],
)
def test_an_mpirun_that_does_not_start_two_ranks(program: Path, script: str, words: str) -> None:
    (only,) = asked(program, script, 2.0)
    assert only.status == PROBLEM
    assert words in only.says
    assert only.repair


def test_an_mpirun_that_is_set_and_not_there_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "settings.yml").write_text("mpi: {mpirun: /does/not/exist}\n")
    (only,) = mpi.ranks(Patient(Project(tmp_path)), {"PATH": ""})
    assert only.status == PROBLEM and "/does/not/exist" in only.says


def test_no_mpirun_at_all_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (only,) = mpi.ranks(Patient(None, "none"), {"PATH": str(tmp_path)})
    assert only.status == WARNING and "one rank" in only.repair
