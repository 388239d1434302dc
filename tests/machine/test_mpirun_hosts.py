"""mpirun over several emulated hosts: ranks where they belong, variables, workers, a host's death.

BALSAM_TEST_MPIRUNS names more mpirun programs than the one beside this Python, separated by colons;
each with the Python beside it, which has mpi4py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from balsam import states
from balsam.errors import MpiUnavailable
from balsam.platform import mpirun
from balsam.platform.commands import Completed, run
from balsam.platform.flavours import Launch
from tests.tools import hosts as host_tools
from tests.tools.hosts import Hosts

pytestmark = pytest.mark.vnodes
RANK = """
import os, socket
from mpi4py import MPI
names = MPI.COMM_WORLD.gather((socket.gethostname()[-1], os.environ.get("GIVEN")))
if not MPI.COMM_WORLD.rank: print(sorted(names))
"""
WORKER = """
import os, sys, time
from mpi4py import MPI
if MPI.COMM_WORLD.rank: time.sleep(600)
print("size", MPI.COMM_WORLD.size, flush=True)
for line in sys.stdin: print("got", line.strip(), flush=True)
os._exit(0)
"""


#: Beside what is found here, which may be the system's: a Python beside that has no mpi4py.
NAMED = [*filter(None, os.environ.get("BALSAM_TEST_MPIRUNS", "").split(":"))]


def programs() -> list[str]:
    """The mpirun programs to test."""
    try:
        return [mpirun.find_mpirun(), *NAMED]
    except MpiUnavailable:
        return NAMED


@pytest.fixture(params=programs())
def mpi(request: pytest.FixtureRequest) -> tuple[str, mpirun.Flavour, str]:
    """A program, what it is, and the Python that belongs to it."""
    program = str(request.param)
    beside = Path(program).with_name("python")
    own = program in NAMED and beside.exists()
    return program, mpirun.detect(program), str(beside) if own else sys.executable


def environ(hosts: Hosts, flavour: mpirun.Flavour, launch: Launch) -> dict[str, str]:
    return {
        **flavour.environ(launch), **mpirun.scrub(os.environ), **hosts.mpi_environ(), "GIVEN": "yes"
    }  # fmt: skip


def launch_on(
    hosts: Hosts, mpi: tuple[str, mpirun.Flavour, str], argv: list[str], launch: Launch
) -> Completed:
    """The launch, made on the first host."""
    line = mpi[1].run(mpi[0], argv, launch)
    return run(hosts.inside(hosts.names[0], *line), 120, environ(hosts, mpi[1], launch))


@pytest.mark.parametrize("filed", [False, True])
def test_ranks_are_on_the_hosts_placed(
    hosts: Hosts,
    mpi: tuple[str, mpirun.Flavour, str],
    filed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launch = Launch(4, 2, hosts.names[1:], variables=("GIVEN",))
    if filed:
        monkeypatch.setattr("balsam.platform.flavours.flavour.LONGEST_LIST", 0)
        launch = mpi[1].filed(launch, str(tmp_path / "hosts"))
        assert launch.hosts_file
    done = launch_on(hosts, mpi, [mpi[2], "-c", RANK], launch)
    expected = [("2", "yes"), ("2", "yes"), ("3", "yes"), ("3", "yes")]
    assert done.stdout.strip() == str(expected), done


#: Whether a rank can be told from what starts ranks, and how many others can on its host.
OTHERS = """
import os, time
from balsam.platform import process
time.sleep(2)
sign = b"{variable}="
marked = [found for _, found in process.environments() if b"GIVEN=yes" in found]
others = {{text for found in marked for text in found if text.startswith(sign)}}
print("{variable}" in os.environ, len(others))
time.sleep(2)
"""


def test_ranks_are_told_from_what_starts_them(
    hosts: Hosts, mpi: tuple[str, mpirun.Flavour, str]
) -> None:
    code = OTHERS.format(variable=mpi[1].rank_variable)
    launch = Launch(4, 2, hosts.names[1:], variables=("GIVEN",))
    done = launch_on(hosts, mpi, [sys.executable, "-c", code], launch)
    assert done.stdout.splitlines() == 4 * ["True 1"], done


def test_failures_on_hosts_are_told_apart(
    hosts: Hosts, mpi: tuple[str, mpirun.Flavour, str]
) -> None:
    def cause(argv: list[str], names: list[str]) -> str | None:
        done = launch_on(hosts, mpi, argv, Launch(2, 1, names))
        assert done.returncode > 0
        said = done.stdout + done.stderr
        return mpirun.launch_failure(mpi[1], said, done.returncode, argv[0])

    assert cause(["/no/such/program"], hosts.names[1:]) == states.PROGRAM_MISSING
    assert cause(["true"], [hosts.names[0], "nosuchhost"]) == states.MPI_LAUNCH_FAILED
    assert cause(["sh", "-c", "exit 3"], hosts.names[1:]) is None


@pytest.mark.parametrize("binding", ["depth", "core", "list"])
def test_ranks_are_confined_to_what_they_hold(
    binding: str, hosts: Hosts, mpi: tuple[str, mpirun.Flavour, str]
) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("there is one CPU only")
    launch = Launch(2, 2, hosts.names[1:2], binding=binding)
    if binding == "list":
        launch = Launch(1, 1, hosts.names[1:2], binding="core", cores=((cpus[1],),))
    code = "import os; print(*os.sched_getaffinity(0))"
    done = launch_on(hosts, mpi, [sys.executable, "-c", code], launch)
    expected = cpus[1:2] if binding == "list" else cpus[:2]
    assert sorted(map(int, done.stdout.split())) == expected, done


def test_workers_of_all_hosts(hosts: Hosts, mpi: tuple[str, mpirun.Flavour, str]) -> None:
    program, flavour, python = mpi
    line = flavour.workers(program, hosts.names, [python, "-c", WORKER])
    with subprocess.Popen(
        hosts.inside(hosts.names[0], *line),
        env=environ(hosts, flavour, Launch(3, 1, hosts.names)),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        bufsize=1,
    ) as workers:  # fmt: skip
        assert workers.stdin and workers.stdout and workers.stderr
        assert workers.stdout.readline() == "size 3\n"
        workers.stdin.write("a word\n")
        assert workers.stdout.readline() == "got a word\n"
        hosts.kill(hosts.names[2])
        said = ""
        while flavour.lost_node(said) is None:
            more = workers.stderr.readline()
            assert more, said
            said += more
        assert flavour.lost_node(said) in (hosts.names[2], "")
        # By the agent, not by mpirun: some of them wait for the ranks that are left.
        for name in hosts.names[:2]:
            hosts.kill(name)
        workers.kill()


def test_hosts_that_are_made_at_once_have_networks_of_their_own(hosts: Hosts) -> None:
    """Tests that run beside one another may all look for free names at the same moment."""
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: host_tools.claim(), range(8)))
    try:
        assert len({network for _, network in claimed}) == 8
        assert hosts.names[0][:4] not in {prefix for prefix, _ in claimed}
    finally:
        for prefix, _ in claimed:
            subprocess.run(["ip", "link", "del", f"{prefix}-br"], check=True)
