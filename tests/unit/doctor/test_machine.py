"""Checks of the machine, with little programs in the place of a scheduler's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from balsam.conf.project import Project
from balsam.doctor import machine
from balsam.doctor.finding import OK, PROBLEM, WARNING, Finding
from balsam.doctor.patient import Patient

NOBODY = Patient(None, "There is no project.")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    path = tmp_path / "bin"
    path.mkdir()
    return path


def put(directory: Path, name: str, script: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


def asked(programs: Path, seconds: float = 20.0) -> list[Finding]:
    return list(machine.schedulers(NOBODY, {"PATH": f"{programs}"}, seconds))


def test_no_scheduler_is_well(programs: Path) -> None:
    (only,) = asked(programs)
    assert only.status == OK
    assert "no scheduler" in only.says


def test_a_scheduler_that_answers(programs: Path) -> None:
    put(programs, "sbatch", "exit 1")
    put(programs, "squeue", 'test "$1 $2" = "--noheader --user"')
    (only,) = asked(programs)
    assert (only.status, only.says) == (OK, "Slurm answers (squeue), and sbatch is there")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo cannot connect to server >&2; exit 255", "code 255: cannot connect to server"),
        ("exec sleep 60", "did not answer within"),
    ],
)
def test_a_scheduler_that_does_not_answer(programs: Path, script: str, words: str) -> None:
    put(programs, "qsub", "exit 0")
    put(programs, "qstat", f"PATH=/usr/bin:/bin\n{script}")
    (only,) = asked(programs, 0.5)
    assert only.status == WARNING
    assert words in only.says
    assert only.repair


def test_half_a_scheduler_and_a_whole_one(programs: Path) -> None:
    put(programs, "bsub", "exit 0")
    put(programs, "sbatch", "exit 0")
    put(programs, "squeue", "exit 0")
    slurm, lsf = asked(programs)
    assert slurm.status == OK
    assert lsf.status == WARNING and "bqueues is not" in lsf.says


def test_room_on_a_disk(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert machine.room("x", tmp_path, 0, 0).status == OK
    assert machine.room("x", tmp_path, 0, free * 2).status == WARNING
    found = machine.room("x", tmp_path, free * 2, free * 2)
    assert found.status == PROBLEM and str(tmp_path) in found.repair


def test_the_clock_of_the_file_system_here_is_our_own(tmp_path: Path) -> None:
    assert machine.file_system_skew(tmp_path) == 0.0
    assert machine.file_system_skew(tmp_path / "missing") is None


def test_places_on_one_disk_are_one_line(tmp_path: Path) -> None:
    lines = list(machine.disk(Patient(Project(tmp_path))))
    devices = {os.stat(path).st_dev for path in (tmp_path, os.path.expanduser("~"), "/tmp")}
    assert len(lines) == len(devices)


def test_versions_of_what_is_there_and_of_what_is_not() -> None:
    found = machine.installed()
    assert set(found) >= {"balsam", "Python", "SQLite", "django", "mpi4py"}
    (line,) = machine.versions(NOBODY)
    assert line.status == OK and f"django {found['django']}" in line.says
