"""The contract under fire on one node: after each fault, each job's history is true.

What is killed, and when, is up to seeded dice; what must hold afterwards is not.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from django.db import connection

from balsam import states
from balsam.core import history
from balsam.core.models import BalsamJob, EventLog, Session
from balsam.platform import process
from tests import databases
from tests.tools import clock
from tests.tools.clock import Clock

from . import histories
from .conftest import Launcher, Site, words
from .histories import alive, signs, starts, traced, traced_mpi

pytestmark = pytest.mark.drill
NOTHING: frozenset[str] = frozenset()
HOUR = 3600


@pytest.fixture
def site(site: Site) -> Site:
    """A project whose tasks leave traces."""
    histories.traces(site)
    return site


def add_campaign(site: Site, mpi: int = 3, serial: int = 30) -> None:
    """Serial and MPI jobs, some with hooks, children, or a first attempt that is too long."""
    for number in range(serial):
        hooks = {"preprocess": "/bin/true"} if number % 7 == 0 else {}
        one = site.job(f"n{number}", traced(1 + number % 3), **hooks)
        if number % 5 == 0:
            site.job(f"child{number}", traced(1), parents=[one], postprocess="/bin/true")
    for number in range(mpi):
        site.job(f"mpi{number}", traced_mpi(3), ranks_per_node=2, priority=number)
    never = site.home / "never"
    site.job("again", traced(1, never, 1), time_limit_minutes=0.01)


def done(site: Site, **given: object) -> None:
    """All jobs are finished, as the tasks saw it too, and nothing is left."""
    site.all_finished()
    histories.check(site, **given)  # type: ignore[arg-type]
    site.check_clean()


def runs_something(launcher: Launcher) -> bool:
    """Whether it runs a job, by the record."""
    holder = {"session__pid": launcher.process.pid, "state": states.RUNNING}
    return BalsamJob.objects.filter(**holder).exists()


def await_more(site: Site, launcher: Launcher, more: int) -> None:
    """Wait until it works, and so many more processes of tasks have begun (or it has ended)."""
    site.until(lambda: runs_something(launcher) or not launcher.running, "it works")
    wanted = len(signs(site)) + more
    site.until(lambda: len(signs(site)) >= wanted or not launcher.running, "tasks begin")


# -- processes ------------------------------------------------------------------------------------


@pytest.mark.mpi
@pytest.mark.parametrize("seed", range(3))
def test_launchers_killed_or_suspended_at_any_moment(site: Site, seed: int) -> None:
    """Killed; or stopped until another has taken over, then continued in its midst."""
    dice = random.Random(seed)
    site.settings(heartbeat_seconds=0.3, lease_seconds=1, cores_per_node=4)
    add_campaign(site)
    suspended: list[Launcher] = []
    for _ in range(4):
        launcher = site.start()
        await_more(site, launcher, dice.randrange(1, 6))
        if dice.random() < 0.5:
            launcher.signal(signal.SIGKILL)
            launcher.process.wait()
        elif launcher.running:
            # The last one: it also gives its name to sessions that it recovers. Before it is
            # stopped, for those who recover its own one give that theirs.
            mine = Session.objects.filter(pid=launcher.process.pid).latest("id")
            site.suspend(launcher)
            suspended.append(launcher)
            lapsed = "its lease runs out"
            site.until(lambda s=mine: age(s) > 1.2, lapsed)  # type: ignore[misc]
        if suspended and dice.random() < 0.5:
            suspended.pop(0).signal(signal.SIGCONT)
    last = site.start()
    await_more(site, last, 1)
    for launcher in suspended:
        launcher.signal(signal.SIGCONT)
        site.until(lambda one=launcher: not one.running, "it gives up")  # type: ignore[misc]
    last.wait()
    site.launch()
    # Whoever took over ended the tasks of the one before: no two attempts ran at a time.
    done(site, unseen=NOTHING, unrecorded=True)


def age(session: Session) -> float:
    """Seconds since a session has been heard of."""
    session.refresh_from_db()
    return float((history.now() - session.heartbeat).total_seconds())


@pytest.mark.mpi
@pytest.mark.parametrize("victim", ["mpirun", "rank"])
def test_what_an_mpi_job_is_made_of_is_killed(site: Site, victim: str) -> None:
    """The attempt fails and leaves nothing; its neighbours do not notice."""
    gate = site.home / "gate"
    site.settings(cores_per_node=6)
    site.job("mpi", traced_mpi(1, gate, 1), ranks_per_node=2)
    site.job("other", traced_mpi(1, gate), ranks_per_node=2)
    site.job("serial", traced(1, gate))
    launcher = site.start()
    for name, number in (("mpi", 2), ("other", 2), ("serial", 1)):
        site.until(lambda n=name, k=number: len(alive(site, n)) == k, f"{name} runs")  # type: ignore[misc]
    site.until_state("mpi", states.RUNNING)
    mpirun = starts(site.named("mpi"))[0].data["pid"]
    members = process.family(mpirun)
    rank = next(pid for pid in members if is_rank(pid))
    os.kill(mpirun if victim == "mpirun" else rank, signal.SIGKILL)
    site.until_state("mpi", states.FAILED)
    assert site.end("mpi").data["cause"] in (states.SIGNAL, states.EXIT), site.diagnosis()
    site.until(lambda: not any(map(words, members)), "nothing of it is left", 5)
    assert (len(alive(site, "other")), len(alive(site, "serial"))) == (2, 1)
    gate.touch()
    launcher.wait()
    site.named("mpi").update_state(states.RESTART_READY)
    site.launch()
    done(site)
    assert [site.named(name).attempt for name in ("mpi", "other", "serial")] == [2, 1, 1]


@pytest.mark.mpi
@pytest.mark.parametrize("seed", range(2))
def test_mpiruns_killed_at_any_moment(site: Site, seed: int) -> None:
    """While they start their ranks, while these run, or while they end them."""
    dice = random.Random(seed)
    site.settings(cores_per_node=4)
    add_campaign(site, mpi=8, serial=8)
    launcher = site.start()
    killed: set[str] = set()
    for _ in range(4):
        await_more(site, launcher, dice.randrange(1, 4))
        site.until(lambda: mpiruns(launcher) or not launcher.running, "an MPI job runs")
        time.sleep(dice.uniform(0.0, 0.4))  # anywhere in its life
        found = mpiruns(launcher)
        if found:
            name, pid = dice.choice(sorted(found.items()))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.add(name)
    launcher.wait()
    histories.check(site, finished=False)
    failed = set(BalsamJob.objects.filter(state=states.FAILED).values_list("name", flat=True))
    assert failed <= killed and killed, site.diagnosis()
    causes = {site.end(name).data["cause"] for name in failed}
    assert causes <= {states.SIGNAL}, site.diagnosis()
    finished = BalsamJob.objects.filter(state=states.JOB_FINISHED).count()
    assert finished == BalsamJob.objects.count() - len(failed)
    site.check_clean()


def mpiruns(launcher: Launcher) -> dict[str, int]:
    """The mpiruns of a launcher that live, by the jobs that they run."""
    found: dict[str, int] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(launcher.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if any(word.endswith("traced_mpi.py") for word in child.cmdline()):
                    job = BalsamJob.objects.get(job_id=child.environ()["BALSAM_JOB_ID"])
                    found[job.name] = child.pid
    return found


def is_rank(pid: int) -> bool:
    """Whether a process is one of ``traced_mpi.py``, not what started it."""
    return Path([*words(pid), "", ""][1]).name == "traced_mpi.py"


@pytest.mark.parametrize("seed", range(2))
def test_tasks_killed_at_random(site: Site, seed: int) -> None:
    """Each fails by its signal, and it alone."""
    dice = random.Random(seed)
    site.settings(cores_per_node=8)
    gate = site.home / "gate"
    names = [f"k{number}" for number in range(8)]
    for name in names:
        site.job(name, traced(1, gate, 1), priority=1)
    add_campaign(site, mpi=0, serial=10)
    launcher = site.start()
    site.until(lambda: histories.running(site, names), "they run")
    killed = {}
    for name in dice.sample(names, 5):
        killed[name] = dice.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
        os.kill(starts(site.named(name))[0].data["pid"], killed[name])
        site.until_state(name, states.FAILED)
        assert killed[name].name in site.end(name).message
    gate.touch()
    launcher.wait()
    histories.check(site, finished=False)
    failed = BalsamJob.objects.filter(state=states.FAILED).values_list("name", flat=True)
    assert set(failed) == set(killed)
    assert {site.end(name).data["cause"] for name in killed} == {states.SIGNAL}
    site.check_clean()


# -- the database ---------------------------------------------------------------------------------


@pytest.mark.mpi
@pytest.mark.postgres
@pytest.mark.parametrize("seed", range(3))
def test_connections_that_the_server_ends(site: Site, seed: int) -> None:
    """All of them, again and again; two launchers go on as if nothing had been."""
    dice = random.Random(seed)
    add_campaign(site)
    both = [site.start(), site.start()]
    for _ in range(8):
        goal = len(signs(site)) + dice.randrange(1, 6)
        over = [lambda: len(signs(site)) >= goal, lambda: not any(one.running for one in both)]  # noqa: B023
        site.until(lambda: any(one() for one in over), "tasks begin")  # noqa: B023
        connection.close()
        database = databases.database_of(site.path)
        databases.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{database}' AND pid <> pg_backend_pid()"
        )
    for launcher in both:
        launcher.wait()
    done(site, unseen=NOTHING)


@pytest.mark.sqlite
@pytest.mark.parametrize("seed", range(2))
def test_a_full_disk_under_the_database(site: Site, seed: int) -> None:
    """Whatever cannot be committed is journalled, and committed once there is room."""
    dice = random.Random(seed)
    site.settings(database={"busy_timeout_seconds": 0.5})
    add_campaign(site, mpi=0, serial=40)
    with small_disk(site, site.path / "balsamdb", "8m") as disk:
        launcher = site.start()
        await_more(site, launcher, dice.randrange(1, 12))
        fill(disk / "ballast")
        site.until(lambda: "disk" in launcher.said.lower(), "it says that the disk is full")
        (disk / "ballast").unlink()
        launcher.wait()
        done(site, unseen=NOTHING)


@pytest.mark.parametrize("seed", range(2))
def test_a_full_disk_under_all_logs(site: Site, seed: int) -> None:
    """No journal and no log file can be written; the work goes on, and so does its record."""
    dice = random.Random(seed)
    add_campaign(site, mpi=0, serial=40)
    with small_disk(site, site.path / "log", "256k") as disk:
        launcher = site.start()
        await_more(site, launcher, dice.randrange(1, 12))
        fill(disk / "ballast")
        await_more(site, launcher, 10)
        (disk / "ballast").unlink()
        launcher.wait()
        done(site, unseen=NOTHING)


def test_a_full_disk_under_the_work_directories(site: Site) -> None:
    """No job fails because there is no space for its directory or its output."""
    add_campaign(site, mpi=0, serial=40)
    with small_disk(site, site.path / "data", "8m,nr_inodes=40") as disk:
        launcher = site.start()
        site.until(lambda: "No space left" in launcher.said, "it says that the disk is full")
        assert "until there is space" in launcher.said
        subprocess.run(["mount", "-o", "remount,nr_inodes=4000", str(disk)], check=True)
        launcher.wait()
        done(site, unseen=NOTHING)


@contextlib.contextmanager
def small_disk(site: Site, directory: Path, size: str) -> Iterator[Path]:
    """What is in a directory, on a small file system of its own."""
    connection.close()
    aside = site.home / "aside"
    directory.rename(aside)
    directory.mkdir(0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", str(directory)], check=True)
        yield directory
    finally:
        site.close()
        connection.close()
        subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(ballast: Path) -> None:
    """Leave no room where ``ballast`` is."""
    with pytest.raises(OSError, match="No space"), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


# -- time -----------------------------------------------------------------------------------------


@pytest.fixture
def set_clock(site: Site, tmp_path: Path) -> Clock:
    """The clock of all launchers and tasks of the project."""
    reason = clock.missing()
    if reason:
        pytest.skip(reason)
    made = Clock(tmp_path)
    site.env.update(made.environ)
    return made


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_clock_that_jumps(site: Site, set_clock: Clock, jump: int) -> None:
    """An hour to and fro while tasks run: none is stopped for it, none runs twice."""
    site.settings(heartbeat_seconds=0.3, lease_seconds=20, cores_per_node=4)
    gate = site.home / "gate"
    for number in range(4):
        site.job(f"g{number}", traced(1, gate), priority=1, time_limit_minutes=10)
    add_campaign(site, mpi=0, serial=20)
    launcher = site.start("--consume-all", "--time-limit-minutes", "10")
    for number in range(4):
        site.until(lambda n=number: alive(site, f"g{n}"), f"g{number} runs")  # type: ignore[misc]
    set_clock.jump(jump)
    beats = EventLog.objects.count()
    gate.touch()
    site.until(lambda: EventLog.objects.count() > beats + 10, "the work goes on")
    set_clock.jump(0)
    launcher.wait()
    unmoved(site)


@pytest.mark.parametrize("seed", range(2))
def test_a_clock_that_jumps_again_and_again(site: Site, set_clock: Clock, seed: int) -> None:
    dice = random.Random(seed)
    site.settings(heartbeat_seconds=0.3, lease_seconds=20, cores_per_node=4)
    add_campaign(site, mpi=0, serial=40)
    launcher = site.start("--consume-all", "--time-limit-minutes", "10")
    for _ in range(5):
        await_more(site, launcher, dice.randrange(1, 8))
        set_clock.jump(dice.randrange(-HOUR, HOUR))
    launcher.wait()
    unmoved(site)


def unmoved(site: Site) -> None:
    """No task was stopped, and none ran twice, because of a clock."""
    site.all_finished()
    assert {job.attempt for job in BalsamJob.objects.exclude(name="again")} == {1}
    for event in EventLog.objects.filter(from_state=states.RUNNING):
        seconds = event.data["wall_seconds"]
        assert 0 < seconds < 60, f"{event.job.name} took {seconds} s\n{site.diagnosis()}"
    ran = Counter((sign.job, sign.attempt) for sign in signs(site))
    assert max(ran.values()) == 1 and len(ran) == BalsamJob.objects.count() + 1
    site.check_clean()


def test_a_clock_that_jumps_past_every_lease(site: Site, set_clock: Clock) -> None:
    """Launchers may take each other for dead; whoever loses commits nothing more."""
    site.settings(heartbeat_seconds=0.3, lease_seconds=2, cores_per_node=4)
    add_campaign(site, mpi=0, serial=60)
    both = [site.start(), site.start()]
    for launcher in both:
        await_more(site, launcher, 2)
    set_clock.jump(HOUR)
    for launcher in both:
        site.until(lambda one=launcher: not one.running, "it ends")  # type: ignore[misc]
        assert launcher.process.returncode in (0, 1), site.diagnosis()
    site.launch()
    done(site, unseen=NOTHING, unrecorded=True)
