"""Ensembles with a real MPI, whose processes are killed one after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from balsam import states
from balsam.errors import LaunchError, MpiUnavailable
from balsam.launcher.ensemble.ensemble import Ensemble, rank_command
from balsam.launcher.ensemble.nodetasks import ASKED
from balsam.launcher.ensemble.protocol import Ended, NodeLost, Started
from balsam.platform import process
from balsam.platform.process import RunSpec
from tests.machine.ensembles import PYTHONS, Driver, as_json, environ, mpirun_of, written

pytestmark = pytest.mark.mpi
Make = Callable[..., Driver]
FOREVER = ("/bin/sleep", "600")


@pytest.fixture(params=PYTHONS, ids=lambda path: Path(path).parents[1].name)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes ensembles; nothing is left of them."""
    try:
        mpirun_of(request.param)
    except MpiUnavailable as error:
        pytest.skip(str(error))
    made: list[Driver] = []

    def new(nodes: int = 4, **options: object) -> Driver:
        made.append(Driver(tmp_path, nodes, request.param, **options))  # type: ignore[arg-type]
        return made[-1]

    yield new
    for driver in made:
        driver.clean()


def test_tasks_run_on_all_nodes_and_are_told_of_in_order(make: Make) -> None:
    driver = make()
    tokens = []
    for number in range(40):
        node = driver.nodes[number % 4]
        tokens.append(f"{number}:1")
        after = tokens[-5] if number >= 4 else ""
        driver.start(tokens[-1], node, "/bin/sh", "-c", f"exit {number % 3}", after=after)
    ends = driver.ended(*tokens)
    assert [end.end.returncode for end in ends] == [number % 3 for number in range(40)]
    for number, token in enumerate(tokens):
        kinds = [type(event) for event in driver.events if getattr(event, "token", "") == token]
        assert kinds == [Started, Ended]
        if number >= 4:
            order = [event.token for event in driver.events if isinstance(event, Ended | Started)]
            assert order.index(tokens[number - 4]) < order.index(token)
    assert not driver.lost()


def test_a_task_gets_what_it_was_given_and_nothing_of_the_mpi(make: Make) -> None:
    ours = sorted(os.sched_getaffinity(0))
    # Those of the launcher's node have other numbers.
    driver = make(2, cpus=[cpu + 1000 for cpu in ours])
    code = (
        "import json, os, sys; sys.stdout.write(json.dumps(dict(env=dict(os.environ), "
        "cwd=os.getcwd(), fds=os.listdir('/proc/self/fd'), group=os.getpgrp() == os.getpid(), "
        "cpus=sorted(os.sched_getaffinity(0)))))"
    )
    one = ours[-1]
    spec = driver.spec(sys.executable, "-c", code, GREETING="hällo \udcff")
    confined = RunSpec(**{**vars(spec), "cpus": (one + 1000,), "output": f"{spec.output}.2"})
    driver.ensemble.start("1:1", "n1", spec)
    driver.ensemble.start("2:1", "n1", confined)
    driver.ended("1:1", "2:1")
    said = as_json(spec)
    given = dict(said["env"])  # type: ignore[arg-type]
    assert given.pop("BALSAM_KEEPER") == f"{driver.session}@n1"
    given.pop("LC_CTYPE", None)
    assert given == dict(spec.env)
    assert said["cwd"] == str(driver.directory)
    assert len(said["fds"]) == 4
    assert said["group"] is True
    assert len(said["cpus"]) == len(ours)
    assert as_json(confined)["cpus"] == [one]  # type: ignore[comparison-overlap]


def test_what_can_not_start_is_refused_with_a_cause(make: Make) -> None:
    driver = make(2)
    driver.start("1:1", "n0", "/no/such/program")
    driver.start("2:1", "n0", "/bin/true", after="1:1")
    assert driver.refused("1:1").cause == states.PROGRAM_MISSING
    assert driver.ended("2:1")[0].end.returncode == 0
    spec = RunSpec(["/bin/true"], "/no/such/place", driver.env, "/dev/null")
    driver.ensemble.start("3:1", "n1", spec)
    refused = driver.refused("3:1")
    assert refused.cause == states.STAGING
    assert "/no/such/place" in refused.message


def test_stopping_is_asking_then_force(make: Make) -> None:
    driver = make(2)
    stubborn = 'trap "" TERM; setsid sleep 600 & echo on; while :; do sleep 0.1; done'
    driver.start("1:1", "n1", *FOREVER)
    spec = driver.start("2:1", "n1", "/bin/sh", "-c", stubborn)
    driver.start("3:1", "n1", "/bin/true", after="2:1")
    driver.running("1:1", "2:1")
    driver.until(lambda: written(spec), "the trap is set")
    driver.ensemble.stop("1:1", 5.0)
    driver.ensemble.stop("3:1", 5.0)
    end = driver.ended("1:1")[0]
    assert (end.end.signal, end.stopped) == (signal.SIGTERM, ASKED)
    assert driver.refused("3:1").cause == ""
    driver.ensemble.stop("2:1", 0.2)
    end = driver.ended("2:1")[0]
    assert (end.end.signal, end.stopped) == (signal.SIGKILL, ASKED)
    driver.until(lambda: not driver.tasks(), "all ended, also what had left its group")


def test_killing_mpirun_disturbs_no_task(make: Make) -> None:
    driver = make()
    driver.ready()
    for number, node in enumerate(driver.nodes):
        driver.start(f"{number}:1", node, *FOREVER)
    pids = driver.running("0:1", "1:1", "2:1", "3:1")
    driver.start("9:1", "n2", "/bin/true", after="2:1")
    driver.turn()
    os.kill(driver.mpiruns()[0], signal.SIGKILL)
    driver.until(lambda: len(driver.started) > 1, "another mpirun")
    driver.ready()
    assert driver.ensemble.launches == len(driver.started)
    assert set(driver.tasks()) == set(pids.values())
    for number in range(4):
        driver.ensemble.stop(f"{number}:1", 5.0)
    driver.ended("0:1", "1:1", "2:1", "3:1", "9:1")
    assert not driver.lost()


@pytest.mark.parametrize("number", [0, 2])
def test_killing_a_rank_disturbs_no_task(make: Make, number: int) -> None:
    driver = make()
    driver.ready()
    for index, node in enumerate(driver.nodes):
        driver.start(f"{index}:1", node, *FOREVER)
    pids = driver.running("0:1", "1:1", "2:1", "3:1")
    os.kill(driver.ranks()[number], signal.SIGKILL)
    driver.until(lambda: len(driver.started) > 1, "another mpirun")
    driver.ready()
    assert set(driver.tasks()) == set(pids.values())
    tokens = []
    for index, node in enumerate(driver.nodes):
        tokens.append(f"{index}:2")
        driver.start(tokens[-1], node, "/bin/true")
    driver.ended(*tokens)
    assert not driver.lost()


def test_the_tasks_of_a_killed_keeper_die_and_its_node_goes_on(make: Make) -> None:
    driver = make()
    driver.ready()
    for index, node in enumerate(driver.nodes):
        driver.start(f"{index}:1", node, "/bin/sh", "-c", "setsid sleep 600 & sleep 600")
    pids = driver.running("0:1", "1:1", "2:1", "3:1")
    driver.start("9:1", "n1", "/bin/true", after="1:1")
    driver.turn()
    os.kill(driver.keepers()["n1"], signal.SIGKILL)
    driver.until(driver.lost, "a loss")
    [loss] = driver.lost()
    assert (loss.node, loss.tokens, loss.gone) == ("n1", ("1:1", "9:1"), False)
    assert pids["1:1"] not in driver.tasks()
    assert len(driver.tasks()) >= 6
    driver.ready()
    driver.start("1:2", "n1", "/bin/true")
    driver.ended("1:2")
    assert len(driver.started) == 1


def test_a_keeper_that_hangs_is_replaced(make: Make) -> None:
    driver = make(2)
    driver.ready()
    driver.start("1:1", "n1", *FOREVER)
    driver.running("1:1")
    os.kill(driver.keepers()["n1"], signal.SIGSTOP)
    driver.until(driver.lost, "a loss")
    assert driver.lost()[0].tokens == ("1:1",)
    driver.ready()
    assert not driver.tasks()


@pytest.mark.long
def test_a_rank_that_hangs_costs_its_node_only(make: Make) -> None:
    driver = make(3, lease_seconds=6.0)
    driver.ready()
    driver.start("1:1", "n1", *FOREVER)
    driver.start("2:1", "n2", *FOREVER)
    driver.running("1:1", "2:1")
    rank = driver.ranks()[1]
    os.kill(rank, signal.SIGSTOP)
    try:
        driver.until(lambda: "n1" not in driver.ensemble.ready_nodes, "known to be silent")
        driver.start("2:2", "n2", "/bin/true")
        driver.ended("2:2")
        driver.until(driver.lost, "a loss")
        [loss] = driver.lost()
        assert (loss.node, loss.tokens, loss.gone) == ("n1", ("1:1",), True)
        assert len(driver.tasks()) == 1
    finally:
        os.kill(rank, signal.SIGKILL)


RECOVERY = ("--mca", "orte_abort_on_non_zero_status", "0", "--enable-recovery")


def test_where_the_mpi_goes_on_a_dead_rank_costs_its_node_only(make: Make) -> None:
    """Open MPI 4 can; what keeps tasks there ends them in time, and they are lost."""
    if make(1).flavour != "openmpi4":
        return
    driver = make(3, flags=RECOVERY, lease_seconds=6.0)
    driver.ready()
    for index, node in enumerate(driver.nodes):
        driver.start(f"{index}:1", node, *FOREVER)
    driver.running("0:1", "1:1", "2:1")
    os.kill(driver.ranks()[2], signal.SIGKILL)
    driver.until(driver.lost, "a loss")
    [loss] = driver.lost()
    assert (loss.node, loss.tokens, loss.gone) == ("n2", ("2:1",), True)
    assert len(driver.tasks()) == 2
    driver.start("1:2", "n1", "/bin/true")
    driver.ended("1:2")
    assert len(driver.started) == 1


def test_an_ensemble_whose_launcher_is_silent_ends_its_tasks(make: Make) -> None:
    driver = make(2, lease_seconds=4.0)
    driver.ready()
    driver.start("1:1", "n1", *FOREVER)
    driver.running("1:1")
    deadline = time.monotonic() + 20
    while driver.tasks():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.until(lambda: driver.told().get("1:1"), "known")
    assert driver.lost() or driver.ended("1:1")[0].stopped
    # What is given to a keeper that is about to end is lost with it, and never began.
    for attempt in range(2, 100):
        driver.ready()
        driver.start(f"1:{attempt}", "n1", "/bin/true")
        driver.until(lambda: f"1:{attempt}" in driver.told(), "told of")  # noqa: B023
        if driver.told()[f"1:{attempt}"] is Ended:
            break


@pytest.mark.long
@pytest.mark.parametrize("victim", ["n2", "n0"])
def test_a_node_that_can_not_be_reached_costs_nothing_elsewhere(make: Make, victim: str) -> None:
    """What the dead node's death ends does not name it, and what is to start it hangs."""
    driver = make(4, lease_seconds=24.0, orphan_seconds=12.0)
    driver.ready()
    for index, node in enumerate(driver.nodes):
        driver.start(f"{index}:1", node, *FOREVER)
    pids = driver.running("0:1", "1:1", "2:1", "3:1")
    others = [node for node in driver.nodes if node != victim]
    driver.cut(victim)
    driver.until(lambda: not driver.ensemble.ready_nodes, "known to be dead")
    began = time.monotonic()
    driver.ready(others)
    assert time.monotonic() - began < 12.0, "before their keepers would end the tasks"
    own = f"{victim[1]}:1"
    pids.pop(own)
    assert set(driver.tasks()) == set(pids.values())
    for index, node in enumerate(others):
        driver.start(f"{index}:2", node, "/bin/true")
    driver.ended("0:2", "1:2", "2:2")
    # Where starting it there takes long, what ran there is lost first.
    driver.until(lambda: any(loss.gone for loss in driver.lost()), "a loss for good")
    losses = driver.lost()
    assert {loss.node for loss in losses} == {victim}
    assert [token for loss in losses for token in loss.tokens] == [own]
    assert set(driver.tasks()) == set(pids.values())
    assert driver.ensemble.ready_nodes == {*others}


@pytest.mark.long
def test_a_node_that_dies_with_rank_0_was_silent_though_nobody_could_say_so(make: Make) -> None:
    driver = make(3, lease_seconds=12.0)
    driver.ready()
    driver.cut_off.add("n0")
    keeper = driver.keepers()["n0"]
    # Its mpirun sees nothing of it.
    os.kill(driver.ranks()[0], signal.SIGSTOP)
    os.kill(keeper, signal.SIGKILL)
    driver.until(lambda: not driver.ensemble.ready_nodes, "known to be mute")
    driver.until(lambda: any(loss.gone for loss in driver.lost()), "a loss for good")
    [loss] = driver.lost()
    assert (loss.node, loss.silent) == ("n0", True)
    assert driver.ensemble.ready_nodes == {"n1", "n2"}


@pytest.mark.long
def test_a_node_that_can_not_be_reached_for_a_while(make: Make) -> None:
    """Its tasks do not even notice."""
    driver = make(3)
    driver.ready()
    driver.start("1:1", "n1", *FOREVER)
    pid = driver.running("1:1")["1:1"]
    driver.cut_off.add("n1")
    os.kill(driver.ranks()[1], signal.SIGKILL)
    driver.until(lambda: driver.ensemble.ready_nodes == {"n0", "n2"}, "the others are there")
    deadline = time.monotonic() + 3.0
    driver.until(lambda: time.monotonic() > deadline, "some time later")
    driver.cut_off.clear()
    driver.ready()
    assert driver.tasks() == [pid]
    assert not driver.lost()
    driver.ensemble.stop("1:1", 5.0)
    driver.ended("1:1")


LAUNCHER = """
import sys, time
from pathlib import Path
from tests.machine.ensembles import Driver
driver = Driver(Path(sys.argv[1]), 2, sys.argv[2])
driver.session_file = Path(sys.argv[1], "session")
driver.start("1:1", "n1", "/bin/sleep", "600")
driver.running("1:1")
driver.session_file.write_text(driver.session)
while True:
    driver.turn()
"""


def test_nothing_outlives_a_killed_launcher(make: Make, tmp_path: Path) -> None:
    looker = make(1)
    own = tmp_path / "own"
    own.mkdir()
    words = [sys.executable, "-c", LAUNCHER, str(own), looker._python]
    launcher = subprocess.Popen(words, cwd="/", env=environ())
    try:
        looker.until(lambda: (own / "session").exists(), "it runs")
    finally:
        launcher.kill()
        launcher.wait()
    looker.session = (own / "session").read_text()
    looker.nodes = ["n0", "n1"]
    looker.until(lambda: not looker.tasks() and not looker.keepers(), "all ended", 15.0)


STOPPED = """
import sys, time
from pathlib import Path
from tests.machine.ensembles import Driver
own = Path(sys.argv[1])
driver = Driver(own, 2, sys.argv[2], lease_seconds=4.0)
driver.start("1:1", "n1", "/bin/sleep", "600")
driver.running("1:1")
(own / "session").write_text(driver.session)
driver.until(lambda: driver.told().get("1:1"), "told of")
for attempt in range(2, 100):
    # What is given to a keeper that is about to end is lost with it.
    driver.ready()
    token = f"1:{attempt}"
    driver.start(token, "n1", "/bin/true")
    driver.until(lambda: token in driver.told(), "told of")
    if driver.told()[token].__name__ == "Ended":
        break
driver.clean()
(own / "fine").touch()
"""


def test_a_launcher_that_was_stopped_for_long_has_lost_its_tasks(
    make: Make, tmp_path: Path
) -> None:
    looker = make(1)
    own = tmp_path / "own"
    own.mkdir()
    words = [sys.executable, "-c", STOPPED, str(own), looker._python]
    launcher = subprocess.Popen(words, cwd="/", env=environ())
    try:
        looker.until(lambda: (own / "session").exists(), "it runs")
        looker.session = (own / "session").read_text()
        looker.nodes = ["n0", "n1"]
        assert looker.tasks()
        launcher.send_signal(signal.SIGSTOP)
        looker.until(lambda: not looker.tasks(), "all ended", 15.0)
        launcher.send_signal(signal.SIGCONT)
        assert launcher.wait(30) == 0
        assert (own / "fine").exists()
    finally:
        launcher.kill()
        launcher.wait()


@pytest.mark.long
def test_a_mute_mpirun_is_killed_and_started_again(make: Make) -> None:
    driver = make(2)
    driver.ready()
    driver.start("1:1", "n1", *FOREVER)
    pid = driver.running("1:1")["1:1"]
    os.kill(driver.ranks()[0], signal.SIGSTOP)
    driver.until(lambda: len(driver.started) > 1, "another mpirun")
    driver.ready()
    assert driver.tasks() == [pid]
    assert not driver.lost()


def test_an_mpi_that_can_not_start(tmp_path: Path) -> None:
    def start(argv: list[str]) -> Ensemble:
        spec = RunSpec(argv, "/", dict(os.environ), str(tmp_path / "log"))
        return Ensemble(["n0", "n1"], lambda nodes: spec, str(tmp_path), {}, beat_seconds=0.1)

    with pytest.raises(LaunchError, match="'/no/mpirun' can not be run: it is not there"):
        start(["/no/mpirun"])
    for argv, words in (
        (["/bin/sh", "-c", "echo no licence >&2; exit 3"], r"exit code 3: no licence\.$"),
        ([sys.executable, "-S", "-m", "balsam.launcher.ensemble"], "No module named"),
    ):
        ensemble = start(argv)
        deadline = time.monotonic() + 20
        with pytest.raises(MpiUnavailable, match=words):
            while time.monotonic() < deadline:
                ensemble.poll()
                time.sleep(0.01)
        lost = [event for event in ensemble.poll() if isinstance(event, NodeLost)]
        assert {event.node for event in lost} == {"n0", "n1"}
        ensemble.close(1.0)


def test_ranks_that_do_not_see_each_other(tmp_path: Path) -> None:
    spec = RunSpec(list(rank_command()), "/", environ(), str(tmp_path / "log"))
    ensemble = Ensemble(["n0", "n1"], lambda nodes: spec, str(tmp_path), {}, beat_seconds=0.1)
    deadline = time.monotonic() + 20
    with pytest.raises(MpiUnavailable, match="do not see each other: the mpi4py of .* another MPI"):
        while time.monotonic() < deadline:
            ensemble.poll()
            time.sleep(0.01)
    ensemble.close(1.0)


def test_a_node_that_no_rank_is_on_is_given_up(make: Make) -> None:
    driver = make(3)
    mpi = driver.mpirun

    def fewer(nodes: list[str]) -> RunSpec:
        return mpi(nodes[:2])

    driver.ensemble.close(5.0)
    driver.ensemble = Ensemble(
        driver.nodes, fewer, driver.session, driver.env, by_rank=True, beat_seconds=0.3
    )
    driver.start("1:1", "n2", "/bin/true")
    driver.until(driver.lost, "a loss")
    [loss] = driver.lost()
    assert (loss.node, loss.tokens, loss.gone) == ("n2", ("1:1",), True)
    driver.start("1:2", "n0", "/bin/true")
    driver.ended("1:2")
    driver.start("1:3", "n2", "/bin/true")
    driver.until(lambda: len(driver.lost()) == 2, "another loss")


def test_tools_find_the_ranks(make: Make) -> None:
    driver = make(2)
    driver.ready()
    assert set(driver.ranks()) == {0, 1}
    assert set(driver.keepers()) == {"n0", "n1"}
    assert process.family(driver.mpiruns()[0])
