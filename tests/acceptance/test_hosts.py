"""Launchers on several hosts with names and networks of their own, by the MPI beside this Python.

The allocation is that of a PBS node file; mpirun reaches the other hosts by ssh.
"""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from balsam.core.models import BalsamJob, Session
from tests import databases
from tests.tools.hosts import Hosts

from . import histories
from .conftest import BALSAM, PATIENCE_SECONDS, Site, words
from .histories import alive, bound_mpi, running, signs, traced, traced_mpi
from .test_launcher_causes import tight

__all__ = ["tight"]

pytestmark = [pytest.mark.vnodes, pytest.mark.mpi]
CORES = 2
#: How soon a launcher has to know that a host no longer answers.
LOSS_SECONDS = 60.0
#: How often a sign of life goes around, where a lease is 40 s.
BEAT_SECONDS = 2.5
#: Where every job is started by mpirun, the workers have to look on all the same.
AUTO, MPI = ("--consume-all",), ("--consume-all", "--job-mode", "mpi")


@pytest.fixture
def site(site: Site) -> Site:
    """A project whose tasks leave traces."""
    histories.traces(site)
    site.settings(cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=20)
    return site


class Allocation:
    """A launcher on the first of some hosts, which are its allocation, in a batch job."""

    def __init__(
        self, site: Site, hosts: Hosts, names: list[str], *arguments: str, batch_id: str = ""
    ) -> None:
        self._site = site
        self._hosts = hosts
        self.names = names
        number = len(list(site.home.glob("nodefile-*")))
        nodefile = site.home / f"nodefile-{number}"
        # PBS names a host once for each of its slots.
        nodefile.write_text("".join(f"{name}\n" for name in names for _ in range(CORES)))
        self.screen = site.home / f"host-screen-{number}.txt"
        environ = {
            **site.env, **hosts.mpi_environ(),
            "PBS_NODEFILE": str(nodefile), "PBS_JOBID": batch_id or f"{number}.pbs",
        }  # fmt: skip
        command = [*BALSAM, "launcher", *(arguments or ("--consume-all",))]
        with open(self.screen, "wb") as screen:
            self.process = subprocess.Popen(
                hosts.inside(names[0], *command, directory=site.path),
                env=environ, stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        site.adopt(self)

    def close(self) -> None:
        """Leave no launcher behind; what it started on hosts ends with them."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid or self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.screen.read_text()

    @property
    def log(self) -> str:
        """What launchers of the project have written down."""
        logs = sorted((self._site.path / "log").glob("launcher_*.log"))
        return "".join(log.read_text() for log in logs)

    @property
    def pid(self) -> int:
        """The launcher's own pid, seen from outside: nsenter has it as a child."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        children = path.read_text().split()
        return int(children[0]) if children else 0

    def signal(self, number: int) -> None:
        """Send it a signal if it runs; nsenter, its parent, stops and goes on with it."""
        pid = self.pid
        if pid:  # to 0 would be to everybody
            os.kill(pid, number)
        if number == signal.SIGCONT:
            os.kill(self.process.pid, number)

    def until(
        self, condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Wait for a condition; where it does not come, all there is to know."""
        try:
            self._site.until(condition, what, seconds)
        except pytest.fail.Exception as failure:
            pytest.fail(f"{failure}\n{self.diagnosis()}")

    def wait(self, code: int = 0, seconds: float = 2 * PATIENCE_SECONDS) -> str:
        """What it printed, once it has ended with ``code``."""
        try:
            found = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the launcher did not end in {seconds:g} s\n{self.diagnosis()}")
        if found != code:
            pytest.fail(f"the launcher ended with {found}, not {code}\n{self.diagnosis()}")
        return self.said

    def has_worker(self, name: str) -> bool:
        """Whether what keeps the tasks of a host has started."""
        return any(role(pid) == "keeper" for pid in self._hosts.machine(name).pids())

    def diagnosis(self) -> str:
        """What it and the hosts have to say."""
        return f"--- screen:\n{self.said}\n{self._site.diagnosis()}\n{self._hosts.diagnosis()}"


def done(site: Site, **given: object) -> None:
    """All jobs are finished, as the tasks saw it too, and nothing is left."""
    site.all_finished()
    histories.check(site, **given)  # type: ignore[arg-type]
    site.check_clean()


def add_mixture(site: Site, gate: Path, serial: int = 18) -> None:
    """Serial jobs that run until the gate is there, and MPI jobs of two hosts."""
    for number in range(serial):
        if number % 6 == 0:
            add_wide(site, f"wide{number}", 3, num_nodes=2, ranks_per_node=1 + number % 4)
        site.job(f"n{number}", traced(3, gate))


def add_wide(site: Site, name: str, *arguments: Any, **fields: Any) -> None:
    """An MPI job that leaves traces: Open MPI tells other hosts only variables of the job's own."""
    told = {"TRACES": site.env["TRACES"]}
    site.job(name, traced_mpi(*arguments), environ_vars=told, **fields)


def gated(site: Site, number: int, gate: Path) -> list[str]:
    """Serial jobs that run until the gate is there, in their first attempts; their names."""
    names = [f"g{index}" for index in range(number)]
    for name in names:
        site.job(name, traced(1, gate, 1))
    return names


def test_a_mixture_fills_three_hosts(site: Site, hosts: Hosts) -> None:
    gate = site.home / "gate"
    add_mixture(site, gate)
    allocation = Allocation(site, hosts, hosts.names)
    # The first worker that is there could do all serial ones before the others have started.
    allocation.until(lambda: serial_nodes(site) == set(hosts.names), "serial tasks on all hosts")
    gate.touch()
    allocation.wait()
    done(site)
    wide = [sign for sign in signs(site) if sign.job.startswith("wide")]
    assert Counter(sign.job for sign in wide) == {"wide0": 2, "wide6": 6, "wide12": 2}
    assert set(BalsamJob.objects.values_list("attempt", flat=True)) == {1}


def serial_nodes(site: Site) -> set[str]:
    """Where serial tasks have left traces."""
    return {sign.node for sign in signs(site) if sign.size == 1}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one CPU")
@pytest.mark.parametrize("mode", [AUTO, MPI], ids=["auto", "mpi"])
def test_ranks_on_other_cpus_than_they_were_given_are_reported(
    site: Site, hosts: Hosts, mode: tuple[str, ...]
) -> None:
    """On whatever host: each is looked at by the worker there."""
    given = {"ranks_per_node": 2, "cpu_affinity": "core"}
    site.job("right", bound_mpi(), num_nodes=2, **given)
    site.job("crowd", bound_mpi("0"), num_nodes=2, priority=-1, **given)
    # Each has one of the two cores of a host.
    for number in range(4):
        strays = {"threads_per_core": 2, "priority": -2}
        site.job(f"stray{number}", bound_mpi("0,1"), **strays, **given)
    allocation = Allocation(site, hosts, hosts.names[:2], *mode)
    said = allocation.wait()
    site.all_finished()
    ends = {job.name: site.end(job.name).data for job in BalsamJob.objects.all()}
    assert "affinity" not in ends.pop("right"), allocation.diagnosis()
    crowd = ends.pop("crowd")
    assert (
        crowd["affinity"].endswith("share the CPUs 0; they were given 2.")
        and crowd["affinity"] in said
    )
    assert {node for end in ends.values() for node in end["nodes"]} == {*hosts.names[:2]}
    for end in ends.values():
        assert end["affinity"].startswith("It was to be confined to the CPUs "), end
        assert end["affinity"].endswith(", but may use 0-1."), end
        assert len(end["affinity"].split(" CPUs ")[1].split(",")[0]) == 1, "one of them"


#: Each rank wants more memory than some have, once it may.
GREEDY = """\
import os, sys, time
from mpi4py import MPI
while not os.path.exists(sys.argv[1]): time.sleep(0.05)
x = bytearray(100 * 2**20)
MPI.COMM_WORLD.barrier()
"""


@pytest.mark.parametrize("mode", [AUTO, MPI], ids=["auto", "mpi"])
def test_a_rank_on_another_host_that_was_killed_for_want_of_memory(
    site: Site, hosts: Hosts, tight: Path, mode: tuple[str, ...]
) -> None:
    site.settings(cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=20, level="DEBUG")
    gate, program = (site.home / name for name in ("gate", "greedy.py"))
    program.write_text(GREEDY)
    greedy = [sys.executable, str(program), str(gate)]
    site.job("greedy", shlex.join(greedy), num_nodes=2, retry="oom=0")
    site.job("faulty", "sh -c 'exit 3'", num_nodes=2, priority=-1, max_attempts=1)
    allocation = Allocation(site, hosts, hosts.names[:2], *mode)
    # A worker knows of what was killed since it began.
    allocation.until(lambda: "2 nodes answer" in allocation.log, "there is a worker on each host")

    def ranks() -> list[int]:
        there = hosts.machine(hosts.names[1]).pids()
        return [pid for pid in there if words(pid) == greedy]

    allocation.until(ranks, "there is a rank on the other host")
    for pid in ranks():
        (tight / "cgroup.procs").write_text(str(pid))
    gate.touch()
    allocation.wait()
    causes = {name: site.end(name).data["cause"] for name in ("greedy", "faulty")}
    wanted = {"greedy": states.OOM, "faulty": states.EXIT}
    assert causes == wanted, allocation.diagnosis()
    site.check_clean()


@pytest.mark.parametrize("how", ["killed", "cut off"])
def test_a_host_that_is_lost(site: Site, hosts: Hosts, how: str) -> None:
    """Its attempts are lost and run again; those on others go on, whatever mpirun does."""
    gate = site.home / "gate"
    site.settings(cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=10)
    names = gated(site, 3 * CORES, gate)
    allocation = Allocation(site, hosts, hosts.names)
    allocation.until(lambda: running(site, names), "tasks fill all hosts")
    far = hosts.names[-1]
    lost = [name for name in names if {s.node for s in alive(site, name)} == {far}]
    assert len(lost) == CORES, allocation.diagnosis()
    hosts.kill(far) if how == "killed" else hosts.cut_off(far)
    for name in lost:
        allocation.until(lambda n=name: site.ends(n), "the loss is recorded", LOSS_SECONDS)  # type: ignore[misc]
        assert site.ends(name)[0].data["cause"] == states.NODE_LOST, allocation.diagnosis()
    gate.touch()
    allocation.wait()
    # On a host that is cut off, tasks end once nobody has been heard of for long enough: before
    # that, they may have been given out again.
    unseen = frozenset({states.NODE_LOST} if how == "cut off" else ())
    allocation.until(lambda: is_quiet(site, far), "no task runs on the lost host", LOSS_SECONDS)
    # Only its scheduler could end what else is there.
    hosts.kill(far)
    done(site, unseen=unseen)
    for name in names:
        assert site.named(name).attempt == 1 + (name in lost), allocation.diagnosis()
        assert signs(site, name)[-1].node != far or name not in lost


@pytest.mark.parametrize(
    ("how", "mode"),
    [
        pytest.param("killed", AUTO, id="killed"),
        pytest.param("cut off", AUTO, id="cut off"),
        pytest.param("cut off", MPI, id="cut off, by mpirun"),
    ],
)
def test_a_host_is_lost_under_an_mpi_job(
    site: Site, hosts: Hosts, how: str, mode: tuple[str, ...]
) -> None:
    """Where the network is gone, mpirun may never return: it is ended, and the job runs again."""
    gate = site.home / "gate"
    site.settings(cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=10, level="DEBUG")
    add_wide(site, "wide", 1, gate, 1, num_nodes=3, priority=1)
    allocation = Allocation(site, hosts, hosts.names, *mode)
    allocation.until(lambda: len(alive(site, "wide")) == 3, "it runs")
    site.until_state("wide", states.RUNNING)
    # The first mpirun of the workers has two minutes, whatever happens; later ones have a pace.
    allocation.until(lambda: all(map(allocation.has_worker, hosts.names)), "workers are there")
    if mode is MPI:
        # Of a node that was never heard nobody knows whether it is lost.
        allocation.until(lambda: "3 nodes answer" in allocation.log, "all were heard")
    far = hosts.names[1]
    hosts.kill(far) if how == "killed" else hosts.cut_off(far)
    allocation.until(lambda: site.ends("wide"), "the loss is recorded", LOSS_SECONDS)
    assert site.ends("wide")[0].data["cause"] == states.NODE_LOST, allocation.diagnosis()
    gate.touch()
    # It needs three hosts, and there are two.
    allocation.until(lambda: is_quiet(site, hosts.names[0]), "its ranks end")
    allocation.signal(signal.SIGTERM)
    allocation.wait()
    hosts.join(far)
    allocation.until(lambda: is_quiet(site, far), "its rank there ends", LOSS_SECONDS)
    hosts.refresh()
    Allocation(site, hosts, hosts.names).wait()
    done(site, unseen=frozenset({states.NODE_LOST} if how == "cut off" else ()))


def is_quiet(site: Site, host: str) -> bool:
    """Whether no task has given a sign of life on a host for a while."""
    return all(time.time() - sign.last > 2.0 for sign in signs(site) if sign.node == host)


@pytest.mark.parametrize("victim", ["rank", "keeper", "starter"])
@pytest.mark.parametrize("seed", range(2))
def test_what_holds_the_workers_is_killed(site: Site, hosts: Hosts, seed: int, victim: str) -> None:
    """A worker, the process that keeps its tasks, or the mpirun that started all workers."""
    dice = random.Random(seed)
    far, delay = dice.choice(hosts.names), dice.uniform(0.0, BEAT_SECONDS)
    if victim == "starter":
        far = hosts.names[0]
    gate = site.home / "gate"
    # Long enough for a busy machine to start the workers anew before theirs take us for gone.
    site.settings(cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=40)
    names = gated(site, 3 * CORES, gate)
    later = [site.job(f"n{number}", traced(1), priority=-1).name for number in range(3 * CORES)]
    allocation = Allocation(site, hosts, hosts.names)
    allocation.until(lambda: running(site, names), "tasks fill all hosts")
    time.sleep(delay)  # anywhere between two beats
    chosen = [pid for pid in hosts.machine(far).pids() if role(pid) == victim]
    assert chosen, allocation.diagnosis()
    hit = [name for name in names if {s.node for s in signs(site, name)} == {far}]
    for pid in chosen:
        os.kill(pid, signal.SIGKILL)
    if victim == "keeper":
        for name in hit:
            allocation.until(lambda n=name: site.ends(n), "the loss is recorded", LOSS_SECONDS)  # type: ignore[misc]
    gate.touch()
    allocation.wait()
    done(site, unseen=frozenset())
    for name in names + later:
        # Tasks outlive the MPI that their orders came by.
        spared = victim != "keeper" or name not in hit
        assert (site.named(name).attempt == 1) == spared, allocation.diagnosis()


def test_a_database_that_is_locked_for_half_a_lease_costs_no_task(site: Site, hosts: Hosts) -> None:
    """The settings let it wait for others until long after its nodes would miss it."""
    gate = site.home / "gate"
    site.settings(
        cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=16,
        database={"busy_timeout_seconds": 60},
    )  # fmt: skip
    names = gated(site, 3 * CORES, gate)
    allocation = Allocation(site, hosts, hosts.names)
    allocation.until(lambda: running(site, names), "tasks fill all hosts")
    with databases.held(site.path):
        time.sleep(12)  # half a lease is 8 s, and nothing is to happen
    gate.touch()
    allocation.wait()
    done(site, unseen=frozenset())
    assert {site.named(name).attempt for name in names} == {1}, allocation.diagnosis()


def role(pid: int) -> str:
    """What a process is for the workers of a launcher, '' if nothing."""
    command = words(pid)
    ensemble = [word for word in command if word.startswith("balsam.launcher.ensemble")]
    if not ensemble:
        return ""
    if "python" not in Path(command[0]).name:
        return "starter" if Path(command[0]).name.startswith(("mpi", "prte", "orte")) else ""
    return "keeper" if ensemble[0].endswith("keeper") else "rank"


def test_a_launcher_that_is_killed_takes_its_tasks_everywhere_with_it(
    site: Site, hosts: Hosts
) -> None:
    gate = site.home / "gate"
    names = gated(site, 3 * CORES, gate)
    first = Allocation(site, hosts, hosts.names)
    first.until(lambda: running(site, names), "tasks fill all hosts")
    os.kill(first.pid, signal.SIGKILL)
    first.process.wait()
    gate.touch()
    Allocation(site, hosts, hosts.names).wait()
    done(site, unseen=frozenset(), unrecorded=True)
    assert {site.named(name).attempt for name in names} == {2}


def test_a_launcher_is_suspended_and_another_host_takes_over(site: Site, hosts: Hosts) -> None:
    """It can not see the other's processes: what ends them is that nobody is heard of."""
    gate = site.home / "gate"
    site.settings(cores_per_node=CORES, heartbeat_seconds=0.5, lease_seconds=4)
    names = gated(site, 2 * CORES, gate)
    first = Allocation(site, hosts, hosts.names[:2])
    first.until(lambda: running(site, names), "tasks run on two hosts")
    for name in names:
        site.until_state(name, states.RUNNING)
    site.suspend(first)
    second = Allocation(site, hosts, hosts.names[2:], "--consume-all", "--persistent")
    second.until(
        lambda: all(site.named(name).attempt == 2 for name in names[:CORES]),
        "the other has taken them over",
        LOSS_SECONDS,
    )
    gate.touch()
    left = BalsamJob.objects.exclude(state__in=states.END_STATES)
    second.until(lambda: not left.all().exists(), "all are done", LOSS_SECONDS)
    first.signal(signal.SIGCONT)
    assert "lease has run out" in first.wait(1)
    second.signal(signal.SIGTERM)
    second.wait()
    # Those beside the suspended launcher may have gone on; those on its other host may not.
    done(site)
    for name in names:
        mine, *_ = signs(site, name)
        if mine.node == hosts.names[1]:
            assert mine.last < signs(site, name)[1].begin, second.diagnosis()


def test_of_two_launchers_with_a_host_in_common_the_second_gives_up(
    site: Site, hosts: Hosts
) -> None:
    """It says so in one sentence, and what the first one runs is none of its business."""
    gate = site.home / "gate"
    names = gated(site, 2 * CORES, gate)
    add_wide(site, "wide", 1, num_nodes=2, priority=-1)
    first = Allocation(site, hosts, hosts.names[:2], batch_id="7.pbs")
    first.until(lambda: running(site, names), "tasks run on two hosts")
    pid = Session.objects.get().pid
    said = Allocation(site, hosts, hosts.names[:0:-1], batch_id="7.pbs").wait(1)
    _, sentence = said.splitlines()
    theirs = f"Launcher {pid} on {hosts.names[0]} runs jobs on 1 node of this one"
    assert sentence.startswith(f"{theirs} in the same batch job ({hosts.names[1]}): "), said
    gate.touch()
    first.wait()
    done(site)
    assert set(BalsamJob.objects.values_list("attempt", flat=True)) == {1}


#: Saves its work when it is told that the end is near, and ends well.
SAVES = "trap 'hostname > saved; exit 0' USR1; while :; do sleep 0.05; done"


def test_tasks_on_all_hosts_are_told_that_the_end_is_near(site: Site, hosts: Hosts) -> None:
    """Before the time limit, by the worker there; who did not ask for it is left alone."""
    gate = site.home / "gate"
    early = {"signal": "USR1", "signal_before_min": 9.75}
    names = [f"n{number}" for number in range(2 * CORES - 1)]
    for name in names:
        site.shell(name, SAVES, priority=1, **early)
    gated(site, 1, gate)
    limit = ("--consume-all", "--time-limit-minutes", "10")
    allocation = Allocation(site, hosts, hosts.names[:2], *limit)
    for name in names:
        allocation.until(lambda n=name: site.ends(n), "the signal comes")  # type: ignore[misc]
    assert running(site, ["g0"]), allocation.diagnosis()
    gate.touch()
    assert "its time limit is reached" not in allocation.wait()
    done(site)
    saved = {name: Path(site.named(name).working_directory, "saved") for name in names}
    where = {name: [path.read_text().strip()] for name, path in saved.items() if path.exists()}
    assert where == {name: site.end(name).data["nodes"] for name in names}, allocation.diagnosis()
    assert {node for nodes in where.values() for node in nodes} == {*hosts.names[:2]}


def test_a_node_file_that_can_not_be_used_is_told_in_a_sentence(site: Site) -> None:
    site.job("job", traced(1))
    nodefile = site.home / "nodes"
    for text in (None, "", "\n\n"):
        if text is not None:
            nodefile.write_text(text)
        environ = {**site.env, "PBS_NODEFILE": str(nodefile), "PBS_JOBID": "1.pbs"}
        told = subprocess.run(
            [*BALSAM, "launcher", "--consume-all"], env=environ, cwd=site.path,
            capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        said = (told.stdout + told.stderr).splitlines()
        assert told.returncode == 1
        assert str(nodefile) in said[-1] and "Traceback" not in told.stderr, said
    assert site.named("job").attempt == 0
    site.check_clean()
