"""Where mpirun starts every job, workers look on: nothing may depend on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from balsam.conf.project import Project
from balsam.core.models import BalsamJob
from balsam.launcher.onlookers import NOBODY_LOOKS
from balsam.launcher.options import MPI, LauncherOptions, Snapshot
from balsam.launcher.pilot import Launcher
from balsam.launcher.single import Single
from balsam.launcher.wakeup import Wakeup
from tests import databases

#: Notes that workers were to be started, which fails.
FAILING = "echo no licence | tee -a {tried} >&2; exit 3"


class Workshop:
    """A launcher's allocation of two nodes that are not there, and an mpirun that runs all here."""

    def __init__(self, project: Project, directory: Path) -> None:
        self._project = project
        self._directory = directory
        self.tried = directory / "tried"
        #: There once it was told that nobody looks on.
        self.over = directory / "over"
        self._mpirun = self.program(
            "mpirun",
            '[ "$1" = --version ] && { echo HYDRA build details; exit 0; }\n'
            f'case "$*" in *balsam.launcher.ensemble*) {FAILING.format(tried=self.tried)};; esac\n'
            "for program; do :; done\n"
            'exec "$program"\n',
        )
        self.settings()

    def program(self, name: str, text: str, interpreter: str = "/bin/sh") -> Path:
        """One that can be run, if there is such an interpreter."""
        path = self._directory / name
        path.write_text(f"#!{interpreter}\n{text}\n")
        path.chmod(0o755)
        return path

    def settings(self, workers: str = "", **launcher: Any) -> None:
        """Have these settings, and a machine that starts workers by something else."""
        machine = self._directory / "machine.yml"
        machine.write_text(f"node: {{cores: 2}}\nmpi: {{mpirun: {self._mpirun}}}\n{workers}\n")
        launcher = {"machine": machine, "idle_exit_seconds": 0, **launcher}
        lines = "".join(f"  {name}: {value}\n" for name, value in launcher.items())
        databases.write_settings(self._project, f"launcher:\n{lines}")

    def wide(self, text: str = "") -> BalsamJob:
        """A job of both nodes, not saved yet."""
        command = str(self.program("program", text))
        return BalsamJob(name="wide", direct_command=command, num_nodes=2)

    def launch(self, how: Callable[..., Launcher], *more: Any, mode: str = MPI) -> list[str]:
        """What a launcher tells that runs all there is to a good end."""
        told: list[Snapshot] = []

        def report(snapshot: Snapshot) -> None:
            told.append(snapshot)
            if NOBODY_LOOKS in snapshot.notice:
                self.over.touch()

        with Wakeup() as wakeup:
            options = LauncherOptions(job_mode=mode)
            launcher = how(Project(self._project.path), options, wakeup, report, *more)
            code = launcher.run()
        assert code == 0, told
        assert BalsamJob.objects.get().state == states.JOB_FINISHED, told
        return [one.notice for one in told if one.notice]


@pytest.fixture
def workshop(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    nodes = tmp_path / "nodes"
    nodes.write_text("n1\nn2\n")
    monkeypatch.setenv("PBS_NODEFILE", str(nodes))
    monkeypatch.chdir(".")
    return Workshop(project, tmp_path)


def test_workers_that_can_not_start_hold_nothing_up(workshop: Workshop) -> None:
    # It runs until all is over with them, or as if they were never told of.
    workshop.wide(
        f"for i in $(seq 1200); do [ -e {workshop.over} ] && exit; sleep 0.1; done; exit 1"
    ).save()
    # It depends on what is seen first, that it ended or that it is mute, how that is told.
    assert any(
        notice.startswith("The workers can not be started: mpirun ")
        and notice.endswith(f": no licence. {NOBODY_LOOKS}")
        for notice in workshop.launch(Launcher)
    )


def test_workers_whose_program_is_missing_are_told_and_missed_by_nobody(
    workshop: Workshop,
) -> None:
    workshop.settings("workers: {mpirun: /no/such/mpirun}")
    workshop.wide().save()
    assert any(
        "/no/such/mpirun" in notice and notice.endswith(NOBODY_LOOKS)
        for notice in workshop.launch(Launcher)
    )


def test_workers_whose_program_can_not_be_run_are_told_and_missed_by_nobody(
    workshop: Workshop,
) -> None:
    program = workshop.program("workers", "", interpreter="/no/such/shell")
    workshop.settings(f"workers: {{mpirun: {program}, flavour: mpich}}")
    workshop.wide().save()
    assert any(
        f"'{program}'" in notice and notice.endswith(NOBODY_LOOKS)
        for notice in workshop.launch(Launcher)
    )


@pytest.mark.parametrize("setting", [{"max_launches": 1}, {"watch_ranks": "false"}])
def test_there_are_none_where_launches_are_counted_or_nobody_wants_them(
    workshop: Workshop, setting: dict[str, Any]
) -> None:
    workshop.settings(**setting)
    workshop.wide().save()
    workshop.launch(Launcher)
    assert not workshop.tried.exists()


def test_there_are_none_for_one_job_that_was_asked_for_by_name(workshop: Workshop) -> None:
    workshop.launch(Single, None, workshop.wide(), lambda: False, mode="auto")
    assert not workshop.tried.exists()
