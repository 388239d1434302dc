"""kill -9 at every commit point: nothing is lost, and what was journalled is not run again."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from balsam import states
from balsam.core import lease, sessions
from balsam.core.models import BalsamJob, EventLog, Session
from balsam.launcher import journal
from tests import databases

from .conftest import PROGRAMS, Launcher, Site, gone

PILOT = "balsam.launcher.pilot:"
STOPPING = "balsam.launcher.stopping:"
LEDGER = "balsam.launcher.ledger:"
RECOVERY = "balsam.launcher.recovery:"
#: Where a launcher passes from one durable state to the next: (target, when, call).
POINTS = [
    ("balsam.launcher.source:lease.lease_runnable", "after", 1),
    ("balsam.launcher.runs:process.spawn", "before", 2),
    ("balsam.launcher.runs:process.spawn", "after", 1),
    ("balsam.launcher.runs:process.spawn", "after", 5),
    (LEDGER + "Ledger.write", "before", 9),
    (LEDGER + "Ledger.write", "after", 6),
    ("balsam.launcher.journal:Journal.append", "before", 2),
    ("balsam.launcher.journal:Journal.append", "after", 1),
    ("balsam.launcher.journal:Journal.append", "after", 4),
    ("balsam.launcher.journal:os.write", "torn", 1),
    ("balsam.launcher.journal:os.write", "torn", 3),
    (LEDGER + "advance", "before", 1),
    (LEDGER + "advance", "after", 1),
    (LEDGER + "advance", "after", 3),
    (LEDGER + "bookkeeping.pass_jobs", "before", 4),
    (LEDGER + "bookkeeping.pass_jobs", "after", 4),
    (LEDGER + "Ledger.commit", "before", 2),
    (LEDGER + "Ledger.commit", "after", 2),
    (LEDGER + "Ledger.commit", "after", 5),
    ("balsam.launcher.steps:lease.lease_for_steps", "after", 1),
    ("balsam.launcher.steps:StepPool.submit", "after", 1),
    (STOPPING + "sessions.close_session", "before", 1),
    (STOPPING + "sessions.close_session", "after", 1),
    (PILOT + "sessions.open_session", "after", 1),
]
RECOVERY_POINTS = [
    (RECOVERY + "sessions.claim", "after", 1),
    (RECOVERY + "journal.read", "after", 1),
    (RECOVERY + "advance", "before", 1),
    (RECOVERY + "advance", "after", 1),
    (RECOVERY + "sessions.close_session", "after", 1),
    (RECOVERY + "bookkeeping.pass_jobs", "after", 1),
]


def add_campaign(site: Site) -> None:
    """Jobs with and without hooks, children, files and a second attempt; each run is in $RUNS."""
    note = 'echo "$NAME $BALSAM_ATTEMPT" >> "$RUNS"'

    def add(name: str, script: str = "", **fields: object) -> BalsamJob:
        return site.shell(name, f"{note}; {script or ':'}", environ_vars={"NAME": name}, **fields)

    for number in range(4):
        add(f"plain{number}", "sleep 0.02")
    add("hooked", preprocess="/bin/true", postprocess="/bin/true")
    source = add("source", "echo data > data.txt")
    add("sink", "cat data.txt", parents=[source], postprocess="/bin/true")
    add("again", "[ $BALSAM_ATTEMPT != 1 ] || exec sleep 60", time_limit_minutes=0.005)


def settled_runs(site: Site) -> set[str]:
    """Runs (as in $RUNS) whose end is in the record or in a journal: these are not repeated."""
    settled = {
        f"{event.job.name} {event.data['attempt']}"
        for event in EventLog.objects.filter(from_state=states.RUNNING).select_related("job")
        if event.data.get("cause") != states.LAUNCHER_LOST
    }
    names = dict(BalsamJob.objects.values_list("id", "name"))
    for path in (site.path / "log" / "outcomes").glob("*"):
        for entry in journal.read(path):
            if entry["kind"] == journal.END:
                settled.add(f"{names[entry['job']]} {entry['attempt']}")
    return settled


def check_recovered(site: Site, settled: set[str], before: Counter[str]) -> None:
    site.all_finished()
    site.check_clean()
    after = Counter(site.ran())
    repeated = {run: (before[run], after[run]) for run in settled if after[run] != before[run]}
    assert not repeated, f"run again although journalled: {repeated}\n{site.diagnosis()}"
    for name in BalsamJob.objects.values_list("name", flat=True):
        ends = [event.data["cause"] for event in site.ends(name)]
        assert ends.count(states.OK) == 1, f"{name}: {ends}"


def died(site: Site, launcher: Launcher) -> None:
    launcher.wait(-signal.SIGKILL)


@pytest.mark.parametrize(("target", "when", "number"), POINTS)
def test_a_launcher_killed_anywhere_loses_nothing(
    site: Site, target: str, when: str, number: int
) -> None:
    add_campaign(site)
    died(site, site.drill(target, when, number))
    settled, before = settled_runs(site), Counter(site.ran())
    site.launch()
    check_recovered(site, settled, before)


def test_a_recovery_that_is_killed_at_each_of_its_steps(site: Site) -> None:
    add_campaign(site)
    died(site, site.drill("balsam.launcher.journal:Journal.append", "after", 3))
    settled, before = settled_runs(site), Counter(site.ran())
    for target, when, number in RECOVERY_POINTS:
        died(site, site.drill(target, when, number))
    site.launch()
    check_recovered(site, settled, before)


def test_launchers_killed_again_and_again(site: Site) -> None:
    """Each recovers the one before it, works, and is killed somewhere else."""
    add_campaign(site)
    settled: dict[str, int] = {}
    for round_, (target, when, number) in enumerate(POINTS[1::3]):
        site.shells([f"r{round_}"], 'echo "$NAME $BALSAM_ATTEMPT" >> "$RUNS"; sleep 0.02',
                    environ_vars={"NAME": f"r{round_}"})  # fmt: skip
        launcher = site.drill(target, when, number)
        site.until(lambda one=launcher: not one.running, "it is killed or done")  # type: ignore[misc]
        now = Counter(site.ran())
        for run in settled_runs(site):
            settled.setdefault(run, now[run])
    site.launch()
    check_recovered(site, set(settled), Counter(settled))


@pytest.mark.parametrize("seed", [1, 2])
def test_two_launchers_killed_at_any_moment(site: Site, seed: int) -> None:
    """As many runs into a busy campaign as the dice say, one of two launchers is killed."""
    dice = random.Random(seed)
    note = 'echo "$NAME $BALSAM_ATTEMPT" >> "$RUNS"'
    for number in range(200):
        name = f"n{number}"
        hook = {"postprocess": "/bin/true"} if number % 10 == 0 else {}
        site.shell(name, note, environ_vars={"NAME": name}, **hook)
    settled: dict[str, int] = {}
    for _ in range(4):
        both = [site.start(), site.start()]
        wanted = len(site.ran()) + dice.randrange(1, 40)
        site.until(lambda n=wanted: len(site.ran()) >= n, "they work")  # type: ignore[misc]
        victim, other = dice.sample(both, 2)
        victim.signal(signal.SIGKILL)
        victim.process.wait()
        # That one may not even have begun to listen; then it just ends.
        other.signal(signal.SIGTERM)
        site.until(lambda one=other: not one.running, "it stops")  # type: ignore[misc]
        assert other.process.returncode in (0, -signal.SIGTERM)
        now = Counter(site.ran())
        for run in settled_runs(site):
            settled.setdefault(run, now[run])
    site.launch()
    check_recovered(site, set(settled), Counter(settled))


@pytest.mark.parametrize("moment", ["preprocess", "postprocess"])
def test_a_launcher_killed_while_hooks_run(site: Site, moment: str) -> None:
    hook = f"/bin/sh {PROGRAMS}/family.sh"
    site.shell("job", 'echo ran >> "$RUNS"', **{moment: hook})
    launcher = site.start()
    site.family("job")
    launcher.signal(signal.SIGKILL)
    died(site, launcher)
    app = BalsamJob.objects.get(name="job")
    setattr(app, moment, "/bin/true")
    app.save()
    site.launch()
    site.all_finished()
    assert site.ran() == ["ran"]
    site.check_clean()


def test_tasks_of_a_dead_launcher_are_ended_before_they_are_run_again(site: Site) -> None:
    script = f'[ "$BALSAM_ATTEMPT" != 1 ] || exec /bin/sh {PROGRAMS}/family.sh'
    site.shell("job", script)
    launcher = site.start()
    members = site.family("job")
    launcher.signal(signal.SIGKILL)
    died(site, launcher)
    assert not gone(members)
    site.launch()
    assert gone(members)
    site.all_finished()
    assert [event.data["cause"] for event in site.ends("job")] == [
        states.LAUNCHER_LOST, states.OK,
    ]  # fmt: skip
    assert site.named("job").lost_attempts == 1
    site.check_clean()


def test_a_job_that_takes_its_launcher_down_again_and_again_is_stopped(site: Site) -> None:
    site.settings(crash_limit=2)
    site.shell("bomb", "touch here$BALSAM_ATTEMPT; exec sleep 600", max_attempts=1)
    site.job("other")
    for attempt in (1, 2):
        launcher = site.start()
        here = Path(site.named("bomb").working_directory, f"here{attempt}")
        site.until(here.exists, f"attempt {attempt} runs")
        site.until(lambda: site.state("bomb") == states.RUNNING, "that is committed")
        launcher.signal(signal.SIGKILL)
        died(site, launcher)
    site.launch()
    assert site.state("bomb") == states.FAILED
    assert "2 times" in site.named("bomb").state_history
    assert site.end("bomb").data["cause"] == states.LAUNCHER_LOST
    assert site.state("other") == states.JOB_FINISHED
    site.check_clean()


def test_a_living_launcher_recovers_a_dead_one(site: Site) -> None:
    site.settings(heartbeat_seconds=0.6, cores_per_node=1)
    site.shell("one", '[ "$BALSAM_ATTEMPT" != 1 ] || exec sleep 600', priority=1)
    first = site.start()
    site.until_state("one", states.RUNNING)
    second = site.start("--consume-all", "--persistent")
    site.until(lambda: Session.objects.filter(state="live").count() == 2, "both live")
    first.signal(signal.SIGKILL)
    died(site, first)
    site.until_state("one", states.JOB_FINISHED)
    second.process.terminate()
    second.wait()
    site.check_clean()


def test_a_launcher_suspended_past_its_lease_commits_nothing(site: Site) -> None:
    site.settings(heartbeat_seconds=0.4, lease_seconds=1)
    site.shell("running", '[ "$BALSAM_ATTEMPT" != 1 ] || exec sleep 600')
    site.shell("hooked", ":", preprocess="/bin/sh -c '[ -f been ] || { touch been; sleep 600; }'")
    site.shells([f"n{number}" for number in range(50)], 'echo ran >> "$RUNS"; sleep 0.05')
    first = site.start()
    site.until_state("running", states.RUNNING)
    site.until(Path(site.named("hooked").working_directory, "been").exists, "the hook runs")
    site.suspend(first)
    site.launch()
    finished = site.counts()
    assert finished == {states.JOB_FINISHED: 52}, site.diagnosis()
    site.shells(["late"], 'echo late >> "$RUNS"')
    events = EventLog.objects.count()
    first.signal(signal.SIGCONT)
    said = first.wait(1)
    assert "lease has run out" in said
    assert EventLog.objects.exclude(job__name="late").count() == events - 1
    # Bookkeeping of free jobs needs no lease; running does.
    assert site.path_of("late")[-1] in (states.CREATED, states.PREPROCESSED)
    assert not site.processes()
    site.launch()
    site.all_finished()
    site.check_clean()


def test_a_dead_session_leases_nothing(site: Site) -> None:
    site.job("job")
    site.job("hooked", preprocess="/bin/true")
    BalsamJob.objects.get(name="job").update_state(states.PREPROCESSED)
    BalsamJob.objects.get(name="hooked").update_state(states.STAGED_IN)
    session = sessions.open_session(sessions.Life("launcher", "host", "machine", 1, 1))
    sessions.close_session(session)
    assert lease.lease_runnable(session, lease.Scope(), 10) == []
    assert lease.lease_for_steps(session, lease.Scope(), [states.STAGED_IN], 10) == []


def test_a_step_that_a_user_asked_for_again_is_not_replayed(site: Site) -> None:
    """What a journal says of a job is over once it is committed."""
    again = '[ ! -f again ] || { touch here; exec sleep 600; }; echo hook >> "$RUNS"'
    site.job("job", preprocess=f"/bin/sh -c {shlex.quote(again)}")
    launcher = site.start("--consume-all", "--persistent")
    site.until_state("job", states.JOB_FINISHED)
    work = Path(site.named("job").working_directory)
    (work / "again").touch()
    site.named("job").update_state(states.STAGED_IN)
    site.until((work / "here").exists, "the hook runs again")
    launcher.signal(signal.SIGKILL)
    died(site, launcher)
    (work / "again").unlink()
    site.launch()
    site.all_finished()
    assert site.ran() == ["hook", "hook"]
    site.check_clean()


def test_a_locked_database_loses_nothing(site: Site) -> None:
    site.settings(database={"busy_timeout_seconds": 0.2})
    gate = site.home / "gate"
    site.shells(
        [f"n{number}" for number in range(20)],
        f'echo "$BALSAM_JOB_ID" >> "$RUNS"; while [ ! -f {gate} ]; do sleep 0.02; done',
    )
    launcher = site.start()
    site.until(lambda: site.counts().get(states.RUNNING) == 2, "two run")
    with databases.held(site.path):
        gate.touch()
        site.until(lambda: "does not answer" in launcher.said, "it says that it is locked out")
    launcher.wait()
    site.all_finished()
    assert max(Counter(site.ran()).values()) == 1
    site.check_clean()


def test_a_database_that_stays_locked_does_not_hold_a_second_signal(site: Site) -> None:
    site.settings(database={"busy_timeout_seconds": 0.2})
    site.shell("job", 'echo ran >> "$RUNS"; touch here; cat fifo', workflow="w")
    site.shell("next", ":", parents=[site.named("job")])
    work = Path(site.named("job").working_directory)
    work.mkdir(parents=True)
    os.mkfifo(work / "fifo")
    launcher = site.start()
    site.until_state("job", states.RUNNING)
    with databases.held(site.path):
        site.until((work / "here").exists, "the task has come far enough")
        (work / "fifo").open("w").close()
        site.until(lambda: b'"end"' in outcomes(site), "its end is journalled")
        launcher.signal(signal.SIGTERM)
        site.until(lambda: "asked to stop" in launcher.said, "it heard")
        launcher.signal(signal.SIGTERM)
        launcher.wait(0, 10)
    assert site.state("job") == states.RUNNING
    site.launch()
    site.all_finished()
    assert site.ran() == ["ran"]
    site.check_clean()


def outcomes(site: Site) -> bytes:
    return b"".join(path.read_bytes() for path in (site.path / "log" / "outcomes").glob("*"))


# -- disks ---------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(site: Site) -> Iterator[Path]:
    """The journal directory on a file system of its own, full but for a few pages."""
    directory = site.path / "log" / "outcomes"
    directory.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    yield directory
    site.close()
    subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_under_the_journal_loses_nothing(site: Site, small_disk: Path) -> None:
    """Outcomes are then committed without it; when there is room again, it goes on."""
    ballast = small_disk / "ballast"
    gate = site.home / "gate"
    note = 'echo "$BALSAM_JOB_ID" >> "$RUNS"'
    wait = f"{note}; while [ ! -f {gate} ]; do sleep 0.02; done"
    site.shells(["wait0", "wait1"], wait, priority=1)
    site.shells([f"n{number}" for number in range(40)], f"{note}; seq 100")
    launcher = site.start()
    site.until(lambda: site.counts().get(states.RUNNING) == 2, "two run")
    with pytest.raises(OSError, match="No space"), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    gate.touch()
    launcher.wait()
    assert "can not be written" in launcher.said
    ballast.unlink()
    site.all_finished()
    assert max(Counter(site.ran()).values()) == 1
    site.check_clean()


@pytest.mark.sqlite
def test_a_database_that_can_not_be_written_is_told_in_a_sentence(site: Site) -> None:
    site.job("job")
    connection.close()
    directory = site.path / "balsamdb"
    bind = ["mount", "--bind", "-o", "ro", str(directory), str(directory)]
    if os.geteuid() or subprocess.run(bind, capture_output=True).returncode:
        pytest.skip("only root can make a directory read-only for root")
    try:
        said = site.balsam("launcher --consume-all", code=1)
    finally:
        subprocess.run(["umount", str(directory)], check=True)
    assert len(said.splitlines()) == 2, said
    assert "you may not write there" in said or "can not be opened" in said
    site.launch()
    site.all_finished()
