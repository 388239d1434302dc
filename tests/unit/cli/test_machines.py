"""``balsam machines``: which of them is starred, and what is said of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam.cli.machines import command
from balsam.conf.project import MARKER, Project
from balsam.launcher.options import LauncherOptions
from balsam.launcher.resources import find

FILE = """
node: {cores: 4, numa_domains: 2, max_ranks: 8}
gpus: {ids: [a, b], numa: [1, 0], masks: [M], environ: {ORDER: pci, FLAT: "1"}}
mpi: {mpirun: srun, flavour: srun}
workers: {mpirun: mine, flavour: mpich, flags: -v}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project, and no batch job."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BALSAM_DB_PATH", str(tmp_path))
    for name in ("SLURM_JOB_ID", "SLURM_JOB_NODELIST", "PBS_NODEFILE", "PBS_JOBID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / MARKER).write_text('{"name": "here", "id": "1"}')
    (tmp_path / "settings.yml").write_text("")
    (tmp_path / "machines").mkdir()
    return Project(tmp_path)


def starred(capsys: pytest.CaptureFixture[str]) -> list[str]:
    command.main([], standalone_mode=False)
    firsts = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    return [first.rstrip("*") for first in firsts if first.endswith("*")]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "laptop"),
        ({"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "cc[087-089]"}, "cooley"),
        ({"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "n[1-2]"}, "slurm"),
    ],
)
def test_the_star_is_on_the_machine_that_a_launcher_would_use(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    environ: dict[str, str], expected: str,
) -> None:  # fmt: skip
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert starred(capsys) == [expected] == [find(project, LauncherOptions(), environ).machine]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("SLURM_JOB_NODELIST", "cc[", "slurm"), ("PBS_NODEFILE", "/no/such/file", "pbs")],
)
def test_a_node_list_that_can_not_be_used_is_no_matter_here(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    name: str, value: str, expected: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(name, value)
    assert starred(capsys) == [expected]


def test_what_is_said_of_a_machine(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (project.path / "machines" / "mine.yml").write_text(FILE)
    command.main(["mine", "theta"], standalone_mode=False)
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "most ranks on a node: 8",
        "NUMA domain of each GPU: 1, 0",
        "other GPU variables: ORDER=pci, FLAT=1",
        "MPI: srun (srun)",
        "workers: mine (mpich) -v",
    ):
        assert line in said
    for line in ("most ranks on a node:", "NUMA domain of each GPU:", "workers: aprun (aprun)"):
        assert line in said
