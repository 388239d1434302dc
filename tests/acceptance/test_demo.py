"""``balsam demo``: the whole of it, and what it says on machines where it can not run."""

from __future__ import annotations

import re
import sysconfig
import venv
from pathlib import Path

import pytest

from balsam import states
from balsam.core.models import BalsamJob, EventLog
from balsam.demo import verdict
from tests.acceptance.terminal import ROOT, Terminal

HOW = "pip install 'balsam[demo]'"


@pytest.mark.mpi
def test_the_demo_runs_shows_and_checks_its_campaign(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    said = terminal.type("balsam demo")
    site = terminal.cwd / "balsam-demo"
    assert re.search(r"\nmake       \[make \| \w{8}\] JOB_FINISHED\n\|     reduce ", said)
    assert re.search(r"\n +JOB_FINISHED  7\n +FAILED  1\n", said)
    assert "lopsided.npy is not symmetric" in said
    assert "RESTART_READY] too few iterations: again with 300" in said
    assert re.search(r"\nThe result, balsam-demo/data/demo/reduce_\w{8}/results.dat, agrees", said)
    assert "\nWhat to try next:\n  cd balsam-demo\n  balsam ls " in said
    with terminal.record(site):
        failed = BalsamJob.objects.get(state=states.FAILED)
        end = EventLog.objects.filter(job=failed).order_by("id").last()
        assert end is not None
        assert (failed.name, end.message) == ("lopsided", "No error handler: run failed")
        for number in range(4):
            eigen = BalsamJob.objects.get(name=f"eigen{number}")
            printed = eigen.read_file_in_workdir(f"eigen{number}.out")
            assert sorted(re.findall(r"rank (\d) of (\d)", printed)) == [("0", "2"), ("1", "2")]
        assert verdict.problems() == []
        result = verdict.result_file()
        right = result.read_text()
        result.write_text(right.replace("highest     ", "highest     1"))
        (trouble,) = verdict.problems()
        assert trouble.startswith(f"{result}: 'highest' should be [")
        result.write_text(right)

    # What it says to try next works too.
    terminal.cwd = site
    for line in re.findall(r"^  (balsam .*)$", said, re.MULTILINE):
        terminal.type(line)
    assert re.search(r" JOB_FINISHED  18\n +FAILED  2\n", terminal.type("balsam ls --by-states"))


@pytest.mark.mpi
def test_a_project_named_elsewhere_is_left_alone(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.type("balsam init mine")
    terminal.env["BALSAM_DB_PATH"] = str(terminal.cwd / "mine")
    said = terminal.type("balsam demo elsewhere")
    assert f"  export BALSAM_DB_PATH={terminal.cwd}/elsewhere\n" in said
    assert terminal.type("balsam ls") == "No jobs found matching query\n"


def test_a_filled_directory_is_refused(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    (terminal.cwd / "kept").touch()
    assert terminal.type("balsam demo .", code=1) == (
        ". is not empty; give the demo a directory of its own: balsam demo DIR.\n"
    )
    assert [path.name for path in terminal.cwd.iterdir()] == ["kept"]


@pytest.fixture
def bare(tmp_path: Path) -> Terminal:
    """A Python with what Balsam needs, but without numpy, mpi4py and mpirun."""
    venv.create(tmp_path / "venv", symlinks=True)
    packages = tmp_path / "packages"
    packages.mkdir()
    for kind in ("purelib", "platlib"):
        for path in Path(sysconfig.get_path(kind)).iterdir():
            link = packages / path.name
            if not path.name.startswith(("numpy", "mpi")) and not link.exists():
                link.symlink_to(path)
    terminal = Terminal(tmp_path / "home", str(tmp_path / "venv" / "bin" / "python"))
    terminal.env["PATH"] = str(tmp_path / "home" / "bin")
    terminal.env["PYTHONPATH"] = f"{ROOT}:{packages}"
    return terminal


def test_what_is_missing_is_named_with_what_to_type(bare: Terminal) -> None:
    for module, rest in [("numpy", "computes with numpy"), ("mpi4py", "runs MPI through mpi4py")]:
        assert bare.type("balsam demo", code=1) == (
            f"The demo {rest}, which this Python does not have: type {HOW}.\n"
        )
        installed = Path(sysconfig.get_path("platlib")) / module
        if not installed.is_dir():
            pytest.skip(f"{module} is not installed here either")
        (Path(bare.env["PYTHONPATH"].split(":")[1]) / module).symlink_to(installed)
    said = bare.type("balsam demo", code=1)
    assert said.startswith("The demo's main step is an MPI program, and there is no MPI to run it:")
    assert f"type {HOW}" in said and len(said.splitlines()) == 1
    assert not list(bare.cwd.iterdir())


def test_ranks_that_do_not_find_each_other_are_noticed(tmp_path: Path, bare: Terminal) -> None:
    """As when mpi4py was built for another MPI than the one whose mpirun comes first."""
    for module in ("numpy", "mpi4py"):
        installed = Path(sysconfig.get_path("platlib")) / module
        if not installed.is_dir():
            pytest.skip(f"{module} is not installed here")
        (Path(bare.env["PYTHONPATH"].split(":")[1]) / module).symlink_to(installed)
    mpirun = Path(bare.env["PATH"]) / "mpirun"
    mpirun.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo HYDRA build details:; exit; fi\n'
        "echo '<1>'; echo '<1>'\n"
    )
    mpirun.chmod(0o755)
    said = bare.type("balsam demo", code=1)
    assert f"the 2 ranks that {mpirun} starts do not find each other" in said
    assert HOW in said and not list(bare.cwd.iterdir())
