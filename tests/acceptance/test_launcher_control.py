"""Stopping: single jobs, and launchers, gently and at once."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path

import pytest

from balsam import states
from balsam.core.models import BalsamJob
from balsam.launcher import dag
from balsam.platform.process import signal_all

from .conftest import BALSAM, PROGRAMS, Site, gone

FAMILY = f"/bin/sh {PROGRAMS}/family.sh"


def test_a_kill_ends_all_processes_of_a_running_job_within_a_second(site: Site) -> None:
    job = site.job("job", FAMILY)
    site.job("child", parents=[job])
    site.job("other")
    launcher = site.start("--consume-all", "--persistent")
    members = site.family("job")
    assert len(members) == 4
    dag.kill(site.named("job"))
    assert site.until(lambda: gone(members), "all processes end") < 1.0
    launcher.process.terminate()
    launcher.wait()
    assert site.counts() == {states.USER_KILLED: 2, states.JOB_FINISHED: 1}
    end = site.end("job")
    assert (end.data["cause"], end.data["attempt"]) == (states.KILLED, 1)
    site.check_clean()


def test_deleting_a_running_job_ends_it(site: Site) -> None:
    site.job("job", FAMILY)
    site.job("other")
    launcher = site.start()
    members = site.family("job")
    site.named("job").delete()
    site.until(lambda: gone(members), "all processes end", 5)
    launcher.wait()
    assert site.counts() == {states.JOB_FINISHED: 1}
    site.check_clean()


def test_a_job_killed_before_it_starts_never_runs(site: Site) -> None:
    job = site.shell("job", 'echo ran >> "$RUNS"')
    site.job("child", parents=[job])
    site.job("spared", parents=[job], on_parent_failure="ignore")
    assert dag.kill(job, recursive=False) == 1
    site.launch()
    assert site.ran() == []
    assert [site.state(name) for name in ("job", "child", "spared")] == [
        states.USER_KILLED, states.FAILED, states.JOB_FINISHED,
    ]  # fmt: skip
    assert site.end("child").data["cause"] == states.PARENT_FAILED


#: Saves its work when it is asked to end, and says that all is well.
CHECKPOINT = "trap 'echo saved; exit 0' TERM; touch here; sleep 600 & wait"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_launcher_cleanly(site: Site, number: int) -> None:
    site.settings(cores_per_node=3, stop_grace_seconds=0.3)
    site.job("stubborn", FAMILY, priority=3)
    site.shell("obedient", "touch here; exec sleep 600", priority=2)
    saver = site.shell("saver", CHECKPOINT, priority=1)
    site.job("heir", parents=[saver])
    site.shells([f"n{number}" for number in range(5)], 'echo ran >> "$RUNS"')
    site.job("hooked", preprocess="/bin/sh -c 'touch here; exec sleep 600'")
    launcher = site.start()
    members = site.family("stubborn")
    for name in ("obedient", "saver", "hooked"):
        site.until(Path(site.named(name).working_directory, "here").exists, f"{name} runs")
    launcher.signal(number)
    said = launcher.wait(0)
    assert "it was asked to stop" in said
    assert gone(members)
    for name in ("stubborn", "obedient", "saver"):
        assert site.state(name) == states.RESTART_READY, site.diagnosis()
        assert site.path_of(name)[-3:] == [
            states.RUNNING, states.RUN_TIMEOUT, states.RESTART_READY,
        ]  # fmt: skip
        assert site.end(name).data["cause"] == states.BATCH_TIME_LIMIT
    assert site.output("saver") == "saved\n"
    assert site.state("heir") == states.AWAITING_PARENTS
    assert site.state("hooked") == states.STAGED_IN
    assert site.ran() == []
    site.check_clean()


def test_a_hangup_that_nohup_ignores_stops_nothing(site: Site) -> None:
    gate = site.home / "go"
    site.shell("job", f"touch here; while [ ! -f {gate} ]; do sleep 0.02; done")
    launcher = site.start(program=("nohup", *BALSAM))
    site.until(Path(site.named("job").working_directory, "here").exists, "it runs")
    launcher.signal(signal.SIGHUP)
    gate.touch()
    assert "asked to stop" not in launcher.wait(0)
    assert site.state("job") == states.JOB_FINISHED


def test_a_checkpoint_at_the_jobs_own_time_limit_is_no_result(site: Site) -> None:
    site.shell("job", f"[ $BALSAM_ATTEMPT != 1 ] || {{ {CHECKPOINT}; }}", time_limit_minutes=0.01)
    site.launch()
    site.all_finished()
    ends = [(end.data["cause"], end.data["returncode"]) for end in site.ends("job")]
    assert ends == [(states.JOB_TIME_LIMIT, 0), (states.OK, 0)]
    assert site.output("job", ".1") == "saved\n"


def test_a_checkpoint_of_an_mpi_job_is_no_result(site: Site) -> None:
    site.settings(mpirun=PROGRAMS.parents[1] / "fakes" / "mpirun")
    script = f"[ $BALSAM_ATTEMPT != 1 ] || {{ {CHECKPOINT}; }}"
    site.shell("job", script, ranks_per_node=2)
    launcher = site.start()
    site.until(Path(site.named("job").working_directory, "here").exists, "it runs")
    launcher.signal(signal.SIGTERM)
    launcher.wait()
    assert site.state("job") == states.RESTART_READY
    assert site.end("job").data["cause"] == states.BATCH_TIME_LIMIT
    site.launch()
    site.all_finished()


def test_a_scheduler_that_signals_the_tasks_too(site: Site) -> None:
    site.settings(cores_per_node=8)
    names = [f"n{number}" for number in range(8)]
    site.shells(names[::2], "touch here; exec sleep 600")
    site.shells(names[1::2], "trap 'exit 0' TERM; touch here; while :; do sleep 0.01; done")
    launcher = site.start()
    for name in names:
        site.until(Path(site.named(name).working_directory, "here").exists, f"{name} runs")
    tasks = site.processes()
    launcher.signal(signal.SIGTERM)
    signal_all(tasks, signal.SIGTERM)
    launcher.wait()
    assert site.counts() == {states.RESTART_READY: 8}, site.diagnosis()
    site.check_clean()


def test_a_second_signal_is_immediate(site: Site) -> None:
    site.settings(stop_grace_seconds=600)
    site.job("job", FAMILY)
    launcher = site.start()
    members = site.family("job")
    launcher.signal(signal.SIGTERM)
    site.until(lambda: "asked to stop" in launcher.said, "it heard")
    assert launcher.running
    launcher.signal(signal.SIGINT)
    launcher.wait(0, 10)
    assert gone(members)
    assert site.state("job") == states.RESTART_READY
    site.check_clean()


def test_the_time_limit_of_a_launcher(site: Site) -> None:
    site.shell("job", "touch here; [ $BALSAM_ATTEMPT = 2 ] || exec sleep 600")
    said = site.launch("--consume-all", "--time-limit-minutes", "0.02")
    assert "its time limit is reached" in said
    assert site.state("job") == states.RESTART_READY
    assert site.end("job").data["cause"] == states.BATCH_TIME_LIMIT
    site.launch()
    site.all_finished()
    assert site.named("job").attempt == 2
    site.check_clean()


#: Each rank saves its work when it is told that the end is near, and ends well.
SAVES = """\
import signal, time
from pathlib import Path
from mpi4py import MPI
rank = MPI.COMM_WORLD.rank
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(1))
while not told: time.sleep(0.05)
Path(f"saved{rank}").touch()
"""


@pytest.mark.mpi
def test_jobs_save_their_work_when_the_end_is_near(site: Site) -> None:
    """By a signal some time before it, which their mpirun hands on to all ranks."""
    site.settings(cores_per_node=4)
    program = site.home / "saves.py"
    program.write_text(SAVES)
    early = {"signal": "USR1", "signal_before_min": 9.7}
    command = shlex.join([sys.executable, str(program)])
    site.job("wide", command, ranks_per_node=2, **early)
    site.shell("narrow", "trap 'touch saved0; exit 0' USR1; while :; do sleep 0.05; done", **early)
    again = "[ $BALSAM_ATTEMPT = 2 ] || exec sleep 600"
    site.shell("again", again, max_attempts=1, retry="signal=0", **early)
    said = site.launch("--consume-all", "--time-limit-minutes", "10")
    assert "its time limit is reached" not in said
    site.all_finished()
    for name, number in (("wide", 2), ("narrow", 1)):
        work = Path(site.named(name).working_directory)
        assert sorted(path.name for path in work.glob("saved*")) == [
            f"saved{rank}" for rank in range(number)
        ]
        assert site.end(name).data["cause"] == states.OK
    first, second = site.ends("again")
    assert (first.to_state, first.data["cause"]) == (states.RUN_TIMEOUT, states.BATCH_TIME_LIMIT)
    assert "signal 10 (SIGUSR1) after it was warned by SIGUSR1" in first.message
    assert second.data["cause"] == states.OK and "warned" not in second.data
    site.check_clean()


def test_stopped_attempts_use_up_neither_attempts_nor_the_crash_limit(site: Site) -> None:
    site.settings(crash_limit=2)
    script = "[ $BALSAM_ATTEMPT = 5 ] || { touch here$BALSAM_ATTEMPT; exec sleep 600; }"
    site.shell("job", script, max_attempts=1)
    work = Path(site.named("job").working_directory)
    ways = (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
    for attempt, number in enumerate(ways, 1):
        launcher = site.start()
        site.until((work / f"here{attempt}").exists, f"attempt {attempt} runs")
        site.until_state("job", states.RUNNING)
        launcher.signal(number)
        launcher.wait(-number if number == signal.SIGKILL else 0)
    site.launch()
    site.all_finished()
    assert (site.named("job").attempt, site.named("job").lost_attempts) == (5, 4)
    site.check_clean()


def test_a_stopped_job_that_must_not_be_retried_fails(site: Site) -> None:
    site.shell("job", "exec sleep 600", auto_timeout_retry=False)
    site.launch("--consume-all", "--time-limit-minutes", "0.01")
    assert site.state("job") == states.FAILED
    site.check_clean()


def test_the_hint_at_failures_is_for_new_ones(site: Site) -> None:
    site.shell("job", "exit 1")
    hint = "Why jobs failed"
    assert hint in site.launch()
    site.job("other")
    said = site.launch()
    assert hint not in said and "1 done, 1 failed" in said


def test_many_kills_at_once(site: Site) -> None:
    site.shells([f"n{number}" for number in range(30)], "exec sleep 600")
    launcher = site.start()
    site.until(lambda: site.counts().get(states.RUNNING) == 2, "two run")
    BalsamJob.objects.all().kill("enough")
    assert "0 failed, 30 killed, 0 waiting" in launcher.wait()
    assert site.counts() == {states.USER_KILLED: 30}
    site.check_clean()
