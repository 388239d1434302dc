"""What a launcher has: options go before settings, and those before the machine file."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.conf import machines
from balsam.conf.machines import Machine
from balsam.conf.project import Project
from balsam.conf.settings import Launcher, Mpi
from balsam.core.offer import Offer
from balsam.errors import AllocationError, SettingsError
from balsam.launcher import parts
from balsam.launcher.node_pool import Request
from balsam.launcher.options import MPI, SERIAL, LauncherOptions
from balsam.launcher.resources import Resources, Starts, find, offer, resolve
from balsam.platform.allocation import Allocation
from balsam.platform.allotment import Gpus
from balsam.platform.shape import NodeShape, uniform

NOW = 1_700_000_000.0
POLARIS = machines.load("polaris")
LAPTOP = machines.load("laptop")
TWO = Allocation(("a", "b"), "pbs", "7.pbs", NOW + 6000)


def resolved(
    machine: Machine = POLARIS,
    settings: Launcher | None = None,
    mpi: Mpi | None = None,
    allocation: Allocation = TWO,
    on_node: bool = True,
    **options: Any,
) -> Resources:
    return resolve(
        machine,
        settings or Launcher(),
        mpi or Mpi(),
        LauncherOptions(**options),
        allocation,
        NOW,
        ask=lambda separate: uniform(4, 1 if separate else 2),
        on_node=on_node,
    )


def test_the_machine_says_what_there_is() -> None:
    found = resolved()
    assert (found.machine, found.nodes) == ("polaris", ("a", "b"))
    assert (found.scheduler, found.batch_id) == ("pbs", "7.pbs")
    assert found.shape == POLARIS.shape
    assert found.mpi == found.workers == Starts("mpiexec", "pals")
    assert (found.gpu_masks, found.gpu_environ) == (
        ("CUDA_VISIBLE_DEVICES",), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
    )  # fmt: skip
    assert found.pack and found.max_concurrent_mpiruns == 1000 and not found.max_launches


def test_a_node_is_asked_where_the_machine_does_not_say() -> None:
    assert resolved(LAPTOP).shape == uniform(4, 1)
    assert resolved(machines.load("slurm")).shape == uniform(4, 2)


@pytest.mark.parametrize("name", ["theta", "summit"])
def test_serial_jobs_share_nodes_where_launches_do_not(name: str) -> None:
    """Their workers are one launch, however many jobs they run."""
    found = resolved(machines.load(name), allocation=Allocation(("a", "b")))
    for mode, shared in ((SERIAL, True), (MPI, False)):
        pool = parts.node_pool(found, mode)
        nodes = {pool.place(Request(node_packing_count=16)) for _ in range(2)}
        assert len({one.nodes for one in nodes if one}) == (1 if shared else 2)


def test_a_share_of_the_nodes() -> None:
    assert resolved(limit_nodes=1).nodes == ("a",)
    assert resolved(offset_nodes=1).nodes == ("b",)
    with pytest.raises(AllocationError, match="--offset-nodes 2"):
        resolved(offset_nodes=2)


@pytest.mark.parametrize(
    ("left", "limit", "margin", "expected"),
    [
        (None, 0, 60, None),
        (None, 2, 60, 120),
        (6000, 0, 60, 5940),
        (6000, 2, 60, 120),
        (6000, 1000, 60, 5940),
        (100, 0, 60, 90),
        (6000, 0, 0, 6000),
        (-5, 0, 60, 0),
    ],
)
def test_its_time(left: float | None, limit: float, margin: float, expected: float | None) -> None:
    ends = None if left is None else NOW + left
    found = resolved(
        settings=Launcher(margin_seconds=margin),
        allocation=replace(TWO, ends=ends),
        time_limit_minutes=limit,
    )
    assert found.seconds_left(NOW) == (None if expected is None else pytest.approx(expected))
    assert expected is None or found.seconds_left(NOW + 1e6) == 0


@pytest.mark.parametrize(
    ("option", "setting", "expected"),
    [
        (None, 0, ("3", "2", "1", "0")),
        (None, 2, ("3", "2")),
        (1, 2, ("3",)),
        (0, 2, ()),
        (6, 0, ("3", "2", "1", "0", "4", "5")),
    ],
)
def test_gpus(option: int | None, setting: int, expected: tuple[str, ...]) -> None:
    found = resolved(settings=Launcher(gpus_per_node=setting), gpus_per_node=option)
    assert found.shape.gpus == expected
    assert len(found.shape.gpu_numa) in (0, len(expected))


def test_gpus_of_a_machine_that_says_nothing_of_them() -> None:
    found = resolved(LAPTOP, gpus_per_node=2)
    assert found.shape.gpus == ("0", "1")
    assert (found.gpu_masks, found.gpu_environ) == (
        ("CUDA_VISIBLE_DEVICES",), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
    )  # fmt: skip


MASKED = replace(TWO, gpus=Gpus(("2", "5"), ("ROCR_VISIBLE_DEVICES",)))
ROCR_FILE = "gpus: {ids: [7], masks: [ROCR_VISIBLE_DEVICES]}"


@pytest.mark.parametrize(
    ("option", "setting", "expected"),
    [(None, 0, ("2", "5")), (1, 0, ("2",)), (None, 1, ("2",)), (3, 0, ("2", "5", "0"))],
)
def test_gpus_that_were_given_by_a_mask_are_handed_on_by_it(
    option: int | None, setting: int, expected: tuple[str, ...]
) -> None:
    """In the order of whoever set it: nothing else says what its numbers mean."""
    config = Launcher(gpus_per_node=setting)
    found = resolved(LAPTOP, config, allocation=MASKED, gpus_per_node=option)
    assert (found.shape.gpus, found.shape.gpu_numa) == (expected, ())
    assert (found.gpu_masks, found.gpu_environ) == (("ROCR_VISIBLE_DEVICES",), {})


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (("1", "3"), ("3", "1")),  # in the order of the machine
        (("0", "1", "2", "3"), ("3", "2", "1", "0")),
        (("GPU-4711", "GPU-4712"), ("GPU-4711", "GPU-4712")),  # other names for some of them
        ((), ()),
    ],
)
def test_of_the_gpus_of_a_machine_those_count_that_the_batch_job_was_given(
    ids: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    for masks in (("CUDA_VISIBLE_DEVICES",), ()):
        found = resolved(allocation=replace(TWO, gpus=Gpus(ids, masks)))
        assert found.shape.gpus == expected
        assert len(found.shape.gpu_numa) == (len(expected) if set(ids) & set("0123") else 0)
        assert found.gpu_masks == POLARIS.gpu_masks
    assert resolved(allocation=MASKED).shape == POLARIS.shape  # that is for another make of GPUs
    found = resolved(machines.parse(ROCR_FILE, Path("m.yml")), allocation=MASKED)
    assert (found.shape.gpus, found.gpu_masks) == (("2", "5"), ("ROCR_VISIBLE_DEVICES",))


def test_gpus_that_a_scheduler_counts_are_told_to_jobs_as_ever() -> None:
    found = resolved(machines.load("slurm"), allocation=replace(TWO, gpus=Gpus(("2", "3"))))
    assert found.shape.gpus == ("2", "3")
    assert (found.gpu_masks, found.gpu_environ) == (
        ("CUDA_VISIBLE_DEVICES",), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scheduler", "cpus", "expected"),
    [
        ("slurm", (8, 8), 4),  # hardware threads, and all of them
        ("slurm", (4, 4), 4),  # it counts cores
        ("slurm", (8, 4), 2),
        ("slurm", (6, 8), 3),
        ("slurm", (1, 1), 1),
        ("slurm", (64, 64), 4),  # this node is not one of them
        ("lsf", (3, 2), 2),
        ("lsf", (), 4),
    ],
)
def test_cores_that_a_batch_job_was_given(
    scheduler: str, cpus: tuple[int, ...], expected: int
) -> None:
    """A node that is asked has 4 cores of 2 threads."""
    generic = machines.load(scheduler)
    allocation = Allocation(("a", "b"), scheduler, "7", cpus=cpus)
    found = resolved(generic, allocation=allocation)
    assert found.shape.cpus == uniform(4, 2).cpus[:expected]
    assert resolved(generic, Launcher(cores_per_node=3), allocation=allocation).shape.cores == 3
    # Of a machine that says what a node has, too: which cores they are, only a node can tell.
    part = resolved(allocation=allocation).shape
    if cpus:
        assert (part.cpus, part.gpus) == (found.shape.cpus, POLARIS.gpus)
    else:
        assert part == POLARIS.shape
    part = resolved(allocation=allocation, on_node=False).shape
    told = min(cpus, default=0) // (2 if scheduler == "slurm" else 1)
    assert part.cpus == POLARIS.shape.cpus[: max(1, told) if cpus and told < 32 else 32]


@pytest.mark.parametrize(
    ("scheduler", "cpus", "wanted", "expected"),
    [
        ("slurm", (64, 64), 0, uniform(64)),
        ("slurm", (2, 3), 0, uniform(2)),
        ("lsf", (42, 40), 0, uniform(40)),
        ("slurm", (), 0, uniform(4, 2)),  # nobody tells
        ("slurm", (64, 64), 4, uniform(4, 2)),
    ],
)
def test_a_host_that_is_none_of_the_nodes_is_not_asked_for_their_cores(
    scheduler: str, cpus: tuple[int, ...], wanted: int, expected: NodeShape
) -> None:
    allocation = Allocation(("a", "b"), scheduler, "7", cpus=cpus)
    config = Launcher(cores_per_node=wanted)
    generic = machines.load(scheduler)
    found = resolved(generic, config, allocation=allocation, on_node=False)
    assert found.shape == expected
    assert found.notice.startswith("Nobody told how many cores") == (not cpus and not wanted)
    with_gpus = machines.parse("gpus: {ids: [a, b], masks: [X]}", Path("m.yml"))
    found = resolved(with_gpus, config, allocation=allocation, on_node=False)
    assert found.shape == replace(expected, gpus=("a", "b"))


@pytest.mark.parametrize(
    ("cpus", "allowed", "nodes", "alike"),
    [
        ((8, 8), 4, 2, True),  # all of both nodes
        ((4, 4), 2, 2, False),
        ((4, 4), 2, 1, True),  # one node
        ((8, 4), 4, 2, False),
        ((), 2, 2, True),  # it is the launcher that is confined, for what is known
    ],
)
@pytest.mark.parametrize("machine", [machines.load("slurm"), Machine("m", shape=uniform(4, 2))])
def test_parts_of_several_nodes_may_be_other_cpus_on_each(
    machine: Machine, cpus: tuple[int, ...], allowed: int, nodes: int, alike: bool
) -> None:
    def ask(separate: bool) -> NodeShape:
        return replace(uniform(allowed, 2), part=allowed < 4)

    allocation = Allocation(("a", "b")[:nodes], "slurm", "7", cpus=cpus[:nodes])
    found = resolve(machine, Launcher(), Mpi(), LauncherOptions(), allocation, NOW, ask)
    assert found.alike == alike


def test_only_the_nodes_of_this_launcher_count() -> None:
    allocation = Allocation(("a", "b"), "slurm", "7", cpus=(8, 4))
    found = resolved(machines.load("slurm"), allocation=allocation, limit_nodes=1)
    assert found.shape.cores == 4


@given(st.integers(1, 8), st.integers(1, 3), st.integers(1, 4), st.integers(1, 20))
def test_cores(cores: int, threads: int, domains: int, wanted: int) -> None:
    shape = uniform(cores, threads, min(domains, cores), ("0",))
    found = resolved(Machine("m", shape=shape), Launcher(cores_per_node=wanted)).shape
    assert found.cores == wanted == len(found.cpus)
    assert set(found.cpus) <= set(shape.cpus)
    if found.numa:
        assert sorted(core for domain in found.numa for core in domain) == list(range(wanted))
    if found.gpu_numa:
        assert max(found.gpu_numa) < len(found.numa)
    if wanted <= cores:
        assert found.cpus == shape.cpus[:wanted]


def test_limits() -> None:
    machine = Machine("m", max_concurrent_mpiruns=50, max_launches=9, max_ranks_per_node=8)
    found = resolved(machine)
    assert (found.max_concurrent_mpiruns, found.max_launches, found.max_ranks) == (50, 9, 8)
    mine = Launcher(max_concurrent_mpiruns=20, max_launches=5, max_ranks_per_node=4)
    found = resolved(machine, mine)
    assert (found.max_concurrent_mpiruns, found.max_launches, found.max_ranks) == (20, 5, 4)
    assert resolved(machine, mine, max_ranks_per_node=2).max_ranks == 2
    found = resolved(machine, Launcher(max_concurrent_mpiruns=60, max_launches=10))
    assert (found.max_concurrent_mpiruns, found.max_launches) == (50, 9)
    one_of_ten = resolved(machine, in_partition=10, limit_nodes=1)
    assert (one_of_ten.max_concurrent_mpiruns, one_of_ten.max_launches) == (5, 1)
    serial = resolved(machine, in_partition=1, serial_parts=1, job_mode=SERIAL)
    assert (serial.max_concurrent_mpiruns, serial.max_launches) == (5, 1)


@pytest.mark.parametrize(
    ("mpi", "starts", "workers"),
    [
        (Mpi(), Starts("srun", "srun", "-K"), Starts("own", "mpich")),
        (Mpi(flags="-v"), Starts("srun", "srun", "-K -v"), Starts("own", "mpich")),
        (Mpi(flavour="pals"), Starts("srun", "pals", "-K"), Starts("own", "mpich")),
        (Mpi(mpirun="/opt/mpirun"), Starts("/opt/mpirun"), Starts("own", "mpich")),
    ],
)
def test_what_starts_ranks(mpi: Mpi, starts: Starts, workers: Starts) -> None:
    text = "mpi: {mpirun: srun, flavour: srun, flags: -K}\nworkers: {mpirun: own, flavour: mpich}"
    found = resolved(machines.parse(text, Path("m.yml")), mpi=mpi)
    assert (found.mpi, found.workers) == (starts, workers)
    one = machines.parse(text.splitlines()[0], Path("m.yml"))
    assert resolved(one, mpi=mpi).workers == starts


def test_a_file_may_name_gpus_and_leave_cores_to_the_node() -> None:
    text = "gpus: {ids: [a, b], masks: [ROCR_VISIBLE_DEVICES]%s}"
    found = resolved(machines.parse(text % "", Path("m.yml")))
    assert found.shape == NodeShape(4, uniform(4, 2).cpus, (), ("a", "b"))
    assert (found.gpu_masks, found.gpu_environ) == (("ROCR_VISIBLE_DEVICES",), {})
    machine = machines.parse(text % ", numa: [0, 1]", Path("m.yml"))
    assert resolved(machine).shape.gpu_numa == ()
    asked = uniform(4, 1, 2)
    whole = resolve(machine, Launcher(), Mpi(), LauncherOptions(), TWO, NOW, lambda _: asked)
    assert whole.shape == replace(asked, gpus=("a", "b"), gpu_numa=(0, 1))


def test_what_others_are_told() -> None:
    options = LauncherOptions(wf_filter="w", job_mode="mpi", tags=(("a", "b"),))
    told = offer(resolved(), options)
    assert told == Offer(
        nodes=2, cores_per_node=32, gpus_per_node=4, wf_filter="w", job_mode="mpi",
        ends=datetime.fromtimestamp(NOW + 5940, timezone.utc), tags=(("a", "b"),),
        scheduler="pbs", batch_id="7.pbs", node_names="a,b",
    )  # fmt: skip
    assert offer(resolved(allocation=Allocation(("a",))), LauncherOptions()).ends is None


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("soon", LauncherOptions(), True),
        ("1", LauncherOptions(), True),
        ("", LauncherOptions(), False),
        ("soon", LauncherOptions(time_limit_minutes=5), False),
        (str(time.time() + 600), LauncherOptions(), False),
    ],
)
def test_an_end_that_is_no_time_is_told(
    tmp_path: Path, text: str, options: LauncherOptions, told: bool
) -> None:
    """Else a launcher would go on until the scheduler kills its tasks, and nobody knew why."""
    (tmp_path / "settings.yml").touch()
    environ = {"SLURM_JOB_ID": "5", "PATH": "", "SLURM_JOB_END_TIME": text}
    notice = find(Project(tmp_path), options, environ).notice
    assert (f"SLURM_JOB_END_TIME is '{text}', which is no end" in notice) == told


def test_components_that_are_left_out_are_told_beside_all_else(tmp_path: Path) -> None:
    (tmp_path / "settings.yml").touch()
    environ = {
        "SLURM_JOB_ID": "5", "PATH": "", "SLURM_JOB_NODELIST": "n1",
        "SLURM_JOB_NODELIST_HET_GROUP_0": "n1", "SLURM_JOB_NODELIST_HET_GROUP_1": "n[2-3]",
        "SLURM_JOB_END_TIME": "soon",
    }  # fmt: skip
    notice = find(Project(tmp_path), LauncherOptions(), environ).notice
    assert notice.startswith("This batch job has 2 components") and "(n[2-3])" in notice
    assert "Nobody told how many cores" in notice and "SLURM_JOB_END_TIME is 'soon'" in notice


def test_what_is_found_here(tmp_path: Path) -> None:
    (tmp_path / "settings.yml").write_text("launcher: {machine: mine, cores_per_node: 3}\n")
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "mine.yml").write_text("node: {cores: 8}\n")
    project = Project(tmp_path)
    environ = {
        "SLURM_JOB_ID": "5", "SLURM_JOB_NODELIST": "n[1-4]", "PATH": "",
        "SLURM_JOB_END_TIME": "4e9",
    }  # fmt: skip
    found = find(project, LauncherOptions(limit_nodes=3, offset_nodes=1), environ)
    assert (found.machine, found.nodes, found.batch_id) == ("mine", ("n2", "n3", "n4"), "5")
    assert found.shape.cores == 3
    assert find(project, LauncherOptions(machine="polaris"), environ).machine == "polaris"
    with pytest.raises(SettingsError, match="no machine 'mne'; did you mean 'mine'"):
        find(project, LauncherOptions(machine="mne"), environ)
