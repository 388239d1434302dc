"""Launchers in batch jobs of a real Slurm, over several emulated nodes, some of which die."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from balsam import states
from balsam.core import history
from balsam.core.models import BalsamJob, Session
from tests.tools.fixtures import MANY, MANY_NODES, NODES, TOGETHER
from tests.tools.slurm import Cluster

from . import histories
from .conftest import Site
from .histories import alive, bound_mpi, running, signs, starts, traced, traced_mpi
from .machines import BALSAM_COMMAND, SLURM_SECONDS, BatchJob

pytestmark = pytest.mark.slurm
CORES = 2
LEASE_SECONDS = 5.0
#: Slots for serial jobs on the whole cluster.
SLOTS = NODES * CORES


@pytest.fixture
def site(site: Site) -> Site:
    """A project whose tasks leave traces."""
    histories.traces(site)
    site.settings(cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=20)
    return site


def add_mixture(site: Site, serial: int = 24, wide: int = 4, tenths: int = 3) -> None:
    """Serial jobs, and MPI jobs of two nodes, some with hooks and children, in turn."""
    per_wide = max(1, serial // wide)
    for number in range(serial):
        if number % per_wide == 0:
            ranks = 1 + number // per_wide % 2
            site.job(f"wide{number}", traced_mpi(tenths), num_nodes=2, ranks_per_node=ranks)
        hooks = {"postprocess": "/bin/true"} if number % 8 == 0 else {}
        one = site.job(f"n{number}", traced(tenths), **hooks)
        if number % 8 == 1:
            site.job(f"child{number}", traced(1), parents=[one])


def done(site: Site, **given: object) -> None:
    """All jobs are finished, as the tasks saw it too, and nothing is left."""
    site.all_finished()
    histories.check(site, **given)  # type: ignore[arg-type]
    site.check_clean()


def placed(site: Site, name: str) -> set[str]:
    """The nodes on which a job is by its own account."""
    return {sign.node for sign in alive(site, name)}


def on_record(site: Site, node: str) -> list[str]:
    """Jobs that began on a node just now, and that is in the record."""
    since = time.time() - 1.0
    here = {sign.job for sign in signs(site) if sign.node == node and sign.begin > since}
    return [name for name in here if site.state(name) == states.RUNNING]


def gated(site: Site, number: int, gate: Path, attempts: int = 1000) -> list[str]:
    """Serial jobs that run until the gate is there (in their first attempts); their names."""
    names = [f"g{index}" for index in range(number)]
    for name in names:
        site.job(name, traced(1, gate, attempts))
    return names


@pytest.mark.parametrize("slurm", ["apart", TOGETHER], indirect=True)
def test_a_mixture_fills_four_nodes(site: Site, slurm: Cluster) -> None:
    add_mixture(site)
    batch = BatchJob(site, slurm)
    batch.wait()
    done(site)
    nodes = Counter(sign.node for sign in signs(site) if sign.size == 1)
    assert set(nodes) == set(slurm.names), batch.diagnosis()
    wide = [sign for sign in signs(site) if sign.job.startswith("wide")]
    assert len(wide) == 12
    assert all(starts(job)[0].data["attempt"] == 1 for job in BalsamJob.objects.all())


def test_srun_runs_mpi_jobs_beside_serial_ones(site: Site, slurm: Cluster) -> None:
    """Each is a step of the batch job, beside the one that has a worker on every node."""
    site.settings(cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=20, mpirun="srun")
    gate = site.home / "gate"
    names = gated(site, SLOTS // 2, gate)
    BalsamJob.objects.update(priority=1)
    add_mixture(site, serial=12)
    batch = BatchJob(site, slurm)
    batch.until(lambda: site.ends("wide0") and running(site, names), "both are at work")
    gate.touch()
    assert "Slurm (srun)" in batch.wait()
    done(site)
    wide = Counter(sign.job for sign in signs(site) if sign.job.startswith("wide"))
    assert wide == {"wide0": 2, "wide3": 4, "wide6": 2, "wide9": 4}, batch.diagnosis()
    assert set(BalsamJob.objects.values_list("attempt", flat=True)) == {1}


def test_a_node_that_dies_takes_only_its_own_attempts(site: Site, slurm: Cluster) -> None:
    """Serial tasks on all nodes; those elsewhere do not even notice."""
    gate = site.home / "gate"
    # Long enough for a busy machine to start the workers anew before theirs take us for gone.
    site.settings(cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=40)
    names = gated(site, SLOTS, gate, attempts=1)
    batch = BatchJob(site, slurm)
    batch.until(lambda: running(site, names), "tasks fill all nodes")
    where = {name: placed(site, name) for name in names}
    lost = [name for name in names if where[name] == {"n3"}]
    assert len(lost) == CORES, batch.diagnosis()
    slurm.kill_node("n3")
    for name in lost:
        batch.until(lambda one=name: site.ends(one), "the loss is recorded", SLURM_SECONDS)  # type: ignore[misc]
        assert site.ends(name)[0].data["cause"] == states.NODE_LOST, batch.diagnosis()
        assert site.ends(name)[0].data["nodes"] == ["n3"]
    # There is no place for them until others end.
    gate.touch()
    batch.wait()
    done(site)
    for name in names:
        found = signs(site, name)
        assert len(found) == 1 + (name in lost), f"{name}: {found}\n{batch.diagnosis()}"
        assert found[-1].node != "n3"
    assert {site.named(name).lost_attempts for name in lost} == {1}
    again = BatchJob(site, slurm, nodes=NODES - 1)
    again.wait()


@pytest.mark.parametrize("mpirun", ["auto", "srun"])
def test_a_node_dies_under_an_mpi_job(site: Site, slurm: Cluster, mpirun: str) -> None:
    """The job loses its attempt and runs again on nodes that live; another goes on."""
    site.settings(cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=20, mpirun=mpirun)
    gate = site.home / "gate"
    site.job("one", traced_mpi(1, gate, 1), num_nodes=2)
    site.job("other", traced_mpi(1, gate, 1), num_nodes=2)
    batch = BatchJob(site, slurm)
    for name in ("one", "other"):
        batch.until(lambda n=name: len(alive(site, n)) == 2, f"{name} runs")  # type: ignore[misc]
    batch.until(lambda: running(site, ("one", "other")), "both are on record")
    where = {name: placed(site, name) for name in ("one", "other")}
    assert where["one"].isdisjoint(where["other"]), where
    # Not the node of the batch script: with that the batch job ends.
    victim = "one" if "n1" not in where["one"] else "other"
    slurm.kill_node(max(where[victim]))
    batch.until(lambda: site.ends(victim), "the loss is recorded", SLURM_SECONDS)
    assert site.ends(victim)[0].data["cause"] == states.NODE_LOST, batch.diagnosis()
    gate.touch()
    batch.wait()
    done(site)
    spared = ({"one", "other"} - {victim}).pop()
    assert site.named(spared).attempt == 1
    assert site.named(victim).attempt == 2


@pytest.mark.parametrize("seed", range(2))
def test_a_node_dies_in_the_middle_of_a_mixture(site: Site, slurm: Cluster, seed: int) -> None:
    """One of those without the launcher, whatever it runs at that moment."""
    dice = random.Random(seed)
    victim = dice.choice(slurm.names[1:])
    site.settings(cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=10)
    add_mixture(site, serial=40, tenths=20)
    batch = BatchJob(site, slurm)
    begun = dice.randrange(1, 25)
    batch.until(lambda: len(signs(site)) >= begun, "the work is on its way")
    batch.until(lambda: on_record(site, victim), "the node runs what is on record")
    time.sleep(dice.uniform(0.0, 0.5))  # anywhere in a task, not always at its begin
    slurm.kill_node(victim)
    batch.wait()
    done(site)
    lost = [end for job in BalsamJob.objects.all() for end in site.ends(job.name)[:-1]]
    assert lost, batch.diagnosis()
    for job in BalsamJob.objects.all():
        causes = [end.data["cause"] for end in site.ends(job.name)]
        assert set(causes[:-1]) <= {states.NODE_LOST}, f"{job.name}: {causes}"


@pytest.mark.parametrize("slurm", [MANY], indirect=True)
def test_a_mixture_fills_sixteen_nodes(site: Site, slurm: Cluster) -> None:
    """Serial tasks on all of them at a time, then a job over all of them, then a mixture."""
    gate = site.home / "gate"
    names = gated(site, MANY_NODES * CORES, gate)
    BalsamJob.objects.update(priority=2)
    site.job("all", traced_mpi(1), num_nodes=MANY_NODES, priority=1)
    add_mixture(site, serial=32)
    batch = BatchJob(site, slurm, nodes=MANY_NODES)
    batch.until(lambda: running(site, names), "tasks fill all nodes")
    nodes = Counter(node for name in names for node in placed(site, name))
    assert nodes == dict.fromkeys(slurm.names, CORES), batch.diagnosis()
    assert not signs(site, "all")
    gate.touch()
    batch.wait()
    done(site)
    assert set(BalsamJob.objects.values_list("attempt", flat=True)) == {1}
    assert {sign.node for sign in signs(site, "all")} == set(slurm.names)
    for job in BalsamJob.objects.filter(num_nodes=2):
        assert len({sign.node for sign in signs(site, job.name)}) == 2, batch.diagnosis()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one CPU")
@pytest.mark.parametrize("mode", ["", " --job-mode mpi"], ids=["auto", "mpi"])
def test_only_ranks_on_the_wrong_cpus_are_reported(site: Site, slurm: Cluster, mode: str) -> None:
    """What starts them on their nodes are steps of Slurm, bound to nothing."""
    given = {"num_nodes": 2, "ranks_per_node": 2, "cpu_affinity": "core"}
    site.job("right", bound_mpi(), **given)
    site.job("wrong", bound_mpi("0"), **given)
    batch = BatchJob(site, slurm, launcher=f"--consume-all{mode}")
    said = batch.wait()
    site.all_finished()
    assert "affinity" not in site.end("right").data, batch.diagnosis()
    assert site.end("wrong").data["affinity"].endswith("share the CPUs 0; they were given 2."), (
        batch.diagnosis()
    )
    assert said.count("share the CPUs 0; they were given 2.") == 1
    site.check_clean()


@pytest.mark.parametrize("slurm", [MANY], indirect=True)
def test_one_of_sixteen_nodes_dies_in_the_middle_of_a_mixture(site: Site, slurm: Cluster) -> None:
    """It takes its own attempts with it, and nothing else."""
    dice = random.Random(16)
    # Two cores need a while to start fifteen workers anew.
    site.settings(cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=60)
    gate = site.home / "gate"
    names = gated(site, MANY_NODES, gate, attempts=1)
    BalsamJob.objects.update(priority=1)
    add_mixture(site, serial=32, tenths=10)
    batch = BatchJob(site, slurm, nodes=MANY_NODES)
    batch.until(lambda: running(site, names), "some tasks run for long")
    where = {name: placed(site, name) for name in names}
    victim = dice.choice(sorted(set().union(*where.values()) - {"n1"}))
    lost = {name for name in names if where[name] == {victim}}
    time.sleep(dice.uniform(0.0, 2.0))
    slurm.kill_node(victim)
    given_up = "its tasks are given up"
    batch.until(lambda: any(site.ends(name) for name in lost), given_up, 2 * SLURM_SECONDS)
    gate.touch()
    # Steps of nodes that pass on the messages of the dead one take Slurm another minute to forget.
    batch.wait("COMPLETED", "COMPLETING")
    done(site)
    ends = {job.name: site.ends(job.name)[:-1] for job in BalsamJob.objects.all()}
    assert lost <= {name for name, found in ends.items() if found}, batch.diagnosis()
    told = [end.data for found in ends.values() for end in found]
    assert {end["cause"] for end in told} == {states.NODE_LOST}, batch.diagnosis()
    assert all(victim in end["nodes"] for end in told), batch.diagnosis()


@pytest.mark.parametrize("seed", range(2))
def test_a_node_daemon_that_is_killed(site: Site, slurm: Cluster, seed: int) -> None:
    """Slurm takes the node for dead; whatever becomes of its tasks, the record is true."""
    dice = random.Random(seed)
    begun, victim = dice.randrange(1, 2 * SLOTS + 1), dice.choice(slurm.names[1:])
    gate = site.home / "gate"
    gated(site, SLOTS, gate, attempts=1)
    # As many that begin before those as after them.
    for number in range(2 * SLOTS):
        site.job(f"n{number}", traced(5), priority=number % 2 or -1)
    batch = BatchJob(site, slurm)
    batch.until(lambda: len(signs(site)) >= begun, "the work is on its way")
    time.sleep(dice.uniform(0.0, 0.5))  # anywhere in a task, not always at its begin
    slurm.kill_daemon(victim)
    down = "Slurm calls it down"
    batch.until(lambda: f"{victim} down" in slurm.node_states(), down, SLURM_SECONDS)
    gate.touch()
    batch.wait()
    done(site)
    for job in BalsamJob.objects.all():
        for end in site.ends(job.name)[:-1]:
            assert end.data["cause"] == states.NODE_LOST, batch.diagnosis()
            assert victim in end.data["nodes"], batch.diagnosis()


def test_the_node_of_the_launcher_dies(site: Site, slurm: Cluster) -> None:
    """With its batch job; tasks elsewhere are ended before anybody runs them again."""
    gate = site.home / "gate"
    names = gated(site, SLOTS, gate, attempts=1)
    site.settings(cores_per_node=CORES, heartbeat_seconds=1, lease_seconds=LEASE_SECONDS)
    batch = BatchJob(site, slurm)
    batch.until(lambda: running(site, names), "tasks fill all nodes")
    slurm.kill_node("n1")
    # It was to go on without a node that dies, and now goes on without its script.
    slurm.cancel(batch.id)
    batch.wait("NODE_FAIL", "FAILED", "CANCELLED")
    slurm.start_node("n1")
    slurm.await_idle()
    # From then on the next launcher does not end before it has looked after the dead one.
    heard = Session.objects.latest("id").heartbeat
    late = "the lease has run out"
    batch.until(lambda: (history.now() - heard).total_seconds() > LEASE_SECONDS, late)
    BatchJob(site, slurm).wait()
    # Those of the dead launcher's node ended with it, the others soon after.
    done(site, unseen=frozenset(), unrecorded=True)
    assert {site.ends(name)[0].data["cause"] for name in names} == {states.LAUNCHER_LOST}


def test_a_launcher_that_is_killed_takes_its_tasks_everywhere_with_it(
    site: Site, slurm: Cluster
) -> None:
    gate = site.home / "gate"
    names = gated(site, SLOTS, gate, attempts=1)
    site.job("wide", traced_mpi(1, gate, 1), num_nodes=2, priority=1)
    batch = BatchJob(site, slurm, lines=f"{BALSAM_COMMAND} launcher --consume-all; sleep 60")
    batch.until(lambda: len(signs(site)) == SLOTS - 2 * CORES + 2, "all nodes are busy")
    begun = {sign.job for sign in signs(site)}
    batch.until(lambda: running(site, begun), "that is on record")
    for session in Session.objects.all():
        slurm.signal("n1", session.pid, signal.SIGKILL)
    slurm.cancel(batch.id)
    batch.wait("CANCELLED", "FAILED")
    gate.touch()
    BatchJob(site, slurm).wait()
    done(site, unseen=frozenset(), unrecorded=True)
    assert {site.named(name).attempt for name in begun} == {2}
    assert len(names) + 1 == BalsamJob.objects.count()


def test_the_time_limit_strikes(site: Site, slurm: Cluster) -> None:
    """Slurm's TERM: what runs is stopped and recorded, and goes on in the next batch job."""
    gate = site.home / "gate"
    names = [*gated(site, SLOTS - 2 * CORES, gate, attempts=1), "wide"]
    site.job("wide", traced_mpi(1, gate, 1), num_nodes=2, priority=1)
    waiting = [f"w{number}" for number in range(6)]
    for name in waiting:
        site.job(name, traced(1), priority=-1)
    batch = BatchJob(site, slurm)
    batch.until(lambda: running(site, names), "all nodes are busy")
    slurm.expire(batch.id)
    # In time: there is no KILL in its screen, and its session is closed in order.
    batch.wait("TIMEOUT", "COMPLETED")
    assert {site.state(name) for name in waiting} == {states.PREPROCESSED}, batch.diagnosis()
    for name in names:
        assert site.end(name).data["cause"] == states.BATCH_TIME_LIMIT, batch.diagnosis()
    assert {site.state(name) for name in names} <= {states.RUN_TIMEOUT, states.RESTART_READY}
    site.check_clean()
    BatchJob(site, slurm).wait()
    done(site, unseen=frozenset())
    assert {site.named(name).attempt for name in names} == {2}
    assert {site.named(name).attempt for name in waiting} == {1}


def test_two_batch_jobs_on_one_project(site: Site, slurm: Cluster) -> None:
    add_mixture(site, serial=40)
    both = [BatchJob(site, slurm, nodes=2), BatchJob(site, slurm, nodes=2)]
    for batch in both:
        batch.wait()
    done(site)
    assert set(BalsamJob.objects.values_list("attempt", flat=True)) == {1}
    nodes = Counter(sign.node for sign in signs(site))
    assert set(nodes) == set(slurm.names), both[0].diagnosis()
    for job in BalsamJob.objects.filter(num_nodes=2):
        used = {sign.node for sign in signs(site, job.name)}
        assert used in ({"n1", "n2"}, {"n3", "n4"}), f"{job.name} ran on {used}"


def test_two_launchers_share_a_batch_job(site: Site, slurm: Cluster) -> None:
    """Each has its own half of the nodes."""
    add_mixture(site, serial=16)
    part = f"{BALSAM_COMMAND} launcher --consume-all --limit-nodes 2 --offset-nodes"
    batch = BatchJob(site, slurm, lines=f"{part} 0 & {part} 2 & wait")
    batch.wait()
    done(site)
    for job in BalsamJob.objects.filter(num_nodes=2):
        used = {sign.node for sign in signs(site, job.name)}
        assert used in ({"n1", "n2"}, {"n3", "n4"}), f"{job.name} ran on {used}"
    assert {sign.node for sign in signs(site)} == set(slurm.names)


def test_parts_of_a_batch_job_by_kind_of_job(site: Site, slurm: Cluster) -> None:
    """One part runs through mpirun what another leaves alone."""
    add_mixture(site, serial=12, wide=2)
    batch = BatchJob(site, slurm, launcher="--consume-all --part mpi:2 --part serial:2")
    batch.wait()
    done(site)
    wide = {sign.node for sign in signs(site) if sign.job.startswith("wide")}
    assert len(wide) == 2, batch.diagnosis()


def test_parts_that_ask_for_too_much_are_refused(site: Site, slurm: Cluster) -> None:
    site.job("job", traced(1))
    batch = BatchJob(site, slurm, nodes=2, launcher="--consume-all --part mpi:2 --part serial:2")
    said = batch.wait("FAILED")
    assert len([line for line in said.splitlines() if "node" in line]) == 1, said
    assert "Traceback" not in said
    assert site.named("job").attempt == 0
    site.check_clean()
