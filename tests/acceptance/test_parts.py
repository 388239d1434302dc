"""Launchers of a part of the nodes, and of jobs with tags."""

from __future__ import annotations

import signal
import socket
import sys

from balsam import states

from .conftest import Site


def test_a_launcher_runs_only_jobs_with_its_tags(site: Site) -> None:
    site.job("fit", tags={"step": "fit", "run": "1"})
    site.job("other", tags={"step": "plot", "run": "1"})
    site.job("bare")
    site.launch("--tag", "step=fit", "--tag", "run=1")
    assert site.state("fit") == states.JOB_FINISHED
    assert states.JOB_FINISHED not in (site.state("other"), site.state("bare"))
    site.launch()
    site.all_finished()


def test_a_part_is_a_launcher_of_its_own(site: Site) -> None:
    site.shell("fit", 'echo "$BALSAM_JOB_MODE" >> "$RUNS"', tags={"step": "fit"})
    site.job("other")
    said = site.launch("--part", "serial:1:step=fit", "-t", "5")
    assert "[serial 0] Starting Balsam launcher" in said
    assert site.ran() == ["serial"]
    assert site.state("fit") == states.JOB_FINISHED != site.state("other")
    site.launch()
    site.check_clean()


def test_modules_of_a_campaign_are_none_of_a_part(site: Site) -> None:
    """The installed balsam has none in the current directory, and its parts have what it has."""
    for name in ("balsam", "click", "queue", "yaml"):
        (site.path / f"{name}.py").write_text("raise SystemExit('a module of the campaign')\n")
    installed = site.home / "bin" / "balsam"
    installed.parent.mkdir()
    installed.write_text("from balsam.cli import main\nmain()\n")
    site.job("a")
    program = (sys.executable, str(installed))
    site.start("--consume-all", "--part", "serial:1", program=program).wait()
    site.all_finished()


def test_asked_to_stop_the_parts_stop_in_order(site: Site) -> None:
    site.shell("long", "trap 'echo saved; exit 0' TERM; touch here; sleep 600 & wait")
    launcher = site.start("--consume-all", "--part", "auto:1")
    site.until_state("long", states.RUNNING)
    site.until(lambda: any((site.path / "data").glob("w/long_*/here")), "it runs")
    launcher.signal(signal.SIGTERM)
    launcher.wait()
    assert site.state("long") not in (states.FAILED, states.RUNNING)
    assert site.end("long").data["cause"] in (states.BATCH_TIME_LIMIT, states.OK)
    site.check_clean()


def test_parts_that_are_too_many(site: Site) -> None:
    said = site.launch("--consume-all", "--part", "mpi:2", "--part", "serial:1", code=1)
    assert "need 2 + 1 = 3 nodes, but only 1 is here" in said and said.count("\n") == 1
    assert site.balsam("launcher --consume-all --part mpi:x", code=1).startswith("A part is MODE")
    both = site.balsam("launcher --consume-all -j mpi --part mpi:1", code=2)
    assert "--job-mode does not go with --part" in both
    some = site.balsam("launcher --part mpi:1 --part mpi:1:a=b", code=2)
    assert "--consume-all" in some


def test_a_node_file_that_is_missing(site: Site) -> None:
    site.env["PBS_NODEFILE"] = str(site.home / "none")
    said = site.launch("--consume-all", "--part", "serial:1", code=1)
    assert "PBS_NODEFILE" in said and "can not be read" in said and said.count("\n") == 1
    (site.home / "none").write_text(f"{socket.gethostname()}\n" * 4)
    site.launch("--consume-all", "--part", "serial:1")
