"""What a job's launch parameters change about how it is started."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from balsam.core.lease import RUN_COLUMNS
from balsam.errors import LaunchError
from balsam.launcher.node_pool import NodePool, Placement, Request
from balsam.launcher.preparing import Ground, Preparer
from balsam.launcher.tasks import Application, Mpi, Task, from_row
from balsam.platform.flavours import FLAVOURS
from balsam.platform.process import RunSpec
from balsam.platform.shape import uniform

ROW: dict[str, Any] = {
    "id": 1, "job_id": uuid.UUID(int=7).hex, "workflow": "w", "name": "n",
    "state": states.PREPROCESSED, "attempt": 0, "lost_attempts": 0, "app_id": None,
    "direct_command": "/bin/true", "args": "", "environ_vars": "{}", "num_nodes": 1,
    "ranks_per_node": 4, "threads_per_rank": 1, "threads_per_core": 1, "node_packing_count": 1,
    "gpus_per_rank": 0.0, "mpi_flags": "", "wall_time_minutes": 1, "time_limit_minutes": 0.0,
    "workdir": "", "user_workdir": "", "launch_params": "{}", "cpu_affinity": "none",
    "signal": "", "signal_before_min": 0.0,
}  # fmt: skip
PLACEMENT = Placement(("node7",), 3.0)


def task(params: Any) -> Task:
    return from_row([{**ROW, "launch_params": params}[name] for name in RUN_COLUMNS])


def made(preparer: Preparer, task: Task, app: Application | None = None) -> RunSpec:
    return preparer.spec(preparer.draft(task, app or Application()), PLACEMENT, None)


@pytest.mark.parametrize("params", ["{}", {}, None, '{"other": 1}', {"mpirun": True}])
def test_without_parameters_nothing_is_special(params: Any) -> None:
    found = task(params)
    assert (found.cwd, found.mpirun, found.request.whole_nodes) == ("", True, False)


@pytest.mark.parametrize("read", [json.dumps, dict])
def test_parameters_are_text_or_read_already(read: Any) -> None:
    found = task(read({"cwd": "/x", "mpirun": False, "whole_nodes": True}))
    assert (found.cwd, found.mpirun, found.request.whole_nodes) == ("/x", False, True)


def test_a_directory_to_run_in_leaves_the_output_in_the_work_directory(tmp_path: Path) -> None:
    data, here = tmp_path / "data", tmp_path / "here"
    here.mkdir()
    (here / "tool").write_text("#!/bin/sh\n")
    (here / "tool").chmod(0o755)
    preparer = Preparer(data, {"PATH": "/bin"})
    row = {**ROW, "launch_params": {"cwd": str(here)}, "direct_command": "./tool x"}
    spec = made(preparer, from_row([row[name] for name in RUN_COLUMNS]))
    assert (spec.cwd, list(spec.argv)) == (str(here), ["./tool", "x"])
    assert Path(spec.output) == data / "w" / "n_00000007" / "n.out"
    assert "BALSAM_NODES" not in spec.env


def test_a_relative_directory_is_refused(tmp_path: Path) -> None:
    preparer = Preparer(tmp_path, {"PATH": "/bin"})
    with pytest.raises(LaunchError, match="the relative directory 'x'; give a full path"):
        made(preparer, task({"cwd": "x"}))


def test_a_program_that_starts_its_own_ranks_is_told_what_it_got(tmp_path: Path) -> None:
    preparer = Preparer(tmp_path, {"PATH": "/bin"})
    spec = made(preparer, task({"mpirun": False}))
    told = {name: value for name, value in spec.env.items() if "NODE" in name or "COBALT" in name}
    assert told == {
        "BALSAM_NUM_NODES": "1",
        "BALSAM_NODES": "node7",
        "BALSAM_RANKS_PER_NODE": "4",
        "BALSAM_CORES_PER_NODE": "3",
        "COBALT_JOBSIZE": "1",
        "COBALT_PARTSIZE": "1",
    }


def test_nodes_too_many_for_a_variable_are_told_in_brackets(tmp_path: Path) -> None:
    nodes = tuple(f"a-rather-long-name-{number:05d}" for number in range(9_000))
    placement = Placement(nodes, 3.0)
    preparer = Preparer(tmp_path, {"PATH": "/bin"})
    spec = preparer.spec(preparer.draft(task({"mpirun": False}), Application()), placement, None)
    assert spec.env["BALSAM_NODES"] == "a-rather-long-name-[00000-08999]"


def test_what_the_user_sets_goes_before_what_balsam_says(tmp_path: Path) -> None:
    preparer = Preparer(tmp_path, {"PATH": "/bin"})
    app = Application(environ={"BALSAM_NODES": "app's", "COBALT_JOBSIZE": "app's"})
    found = replace(task({"mpirun": False}), environ={"COBALT_JOBSIZE": "job's"})
    spec = made(preparer, found, app)
    assert (spec.env["BALSAM_NODES"], spec.env["COBALT_JOBSIZE"]) == ("app's", "job's")
    assert spec.env["COBALT_PARTSIZE"] == "1"


@pytest.mark.parametrize(
    ("masks", "gpus", "expected"),
    [
        (("CUDA_VISIBLE_DEVICES",), ("3", "2"), {"CUDA_VISIBLE_DEVICES": "3,2", "ORDER": "PCI"}),
        (("ROCR_VISIBLE_DEVICES",), ("MIG-a",), {"ROCR_VISIBLE_DEVICES": "MIG-a", "ORDER": "PCI"}),
        (("ZE_AFFINITY_MASK",), ("0.1", "1.0"), {"ZE_AFFINITY_MASK": "0.1,1.0", "ORDER": "PCI"}),
        (("A", "B"), ("1",), {"A": "1", "B": "1", "ORDER": "PCI"}),
        (("CUDA_VISIBLE_DEVICES",), (), {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}),
    ],
)
def test_a_task_is_told_the_gpus_it_was_given(
    tmp_path: Path, masks: tuple[str, ...], gpus: tuple[str, ...], expected: dict[str, str]
) -> None:
    """In the variables of its machine; without any it has the launcher's."""
    environ = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    ground = Ground(gpu_masks=masks, gpu_environ={"ORDER": "PCI"})
    preparer = Preparer(tmp_path, environ, ground=ground)
    placement = PLACEMENT._replace(gpus=gpus)
    single = replace(task({}), request=Request())
    spec = preparer.spec(preparer.draft(single, Application()), placement, None)
    assert {name: spec.env.get(name) for name in expected} == expected
    assert ("ORDER" in spec.env) == bool(gpus)
    # What the job itself says goes before.
    own = replace(single, environ={masks[0]: "mine"})
    spec = preparer.spec(preparer.draft(own, Application()), placement, None)
    assert spec.env[masks[0]] == "mine"


MASKS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "OWN_MASK")


@pytest.mark.parametrize(
    ("gpus", "asked", "seen"),
    [
        (2, Request(), "1"),
        (1, Request(), "-1"),
        (2, Request(ranks_per_node=2), "-1"),
        (2, Request(node_packing_count=9), "1"),
        (1, Request(node_packing_count=9), "-1"),
        (0, Request(), "7"),
        (0, Request(ranks_per_node=2), "7"),
    ],
)
def test_nobody_sees_the_gpus_of_another(
    tmp_path: Path, gpus: int, asked: Request, seen: str
) -> None:
    """Beside a job that has a GPU; the launcher itself inherited a mask."""
    shape = uniform(4, gpus=[str(gpu) for gpu in range(gpus)])
    pool = NodePool(("n",), shape)
    assert pool.place(Request(gpus_per_rank=min(1, gpus)))
    placement = pool.place(asked)
    assert placement
    environ = {"PATH": "/bin", **dict.fromkeys(MASKS, "7")}
    ground = Ground(cpus=shape.cpus, gpu_masks=MASKS, has_gpus=bool(gpus))
    preparer = Preparer(tmp_path, environ, ground=ground)
    found = replace(task({}), request=asked)
    spec = preparer.spec(preparer.draft(found, Application()), placement, None)
    expected = dict.fromkeys(MASKS, seen)
    if seen == "-1":
        expected["OWN_MASK"] = "7"  # nobody knows its word for none
    assert {name: spec.env[name] for name in MASKS} == expected
    # What user and application say goes before, for ranks as well.
    own = replace(found, environ={MASKS[0]: "mine"})
    mpi = Mpi("/opt/srun", FLAVOURS["srun"])
    draft = preparer.draft(own, Application(environ={MASKS[1]: "app's"}))
    spec = preparer.spec(draft, placement, mpi)
    assert (spec.env[MASKS[0]], spec.env[MASKS[1]], spec.env[MASKS[2]]) == ("mine", "app's", seen)
    assert (f"{MASKS[2]}={seen}" in spec.argv) == bool(gpus)


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        (Request(ranks_per_node=4), None),
        (Request(ranks_per_node=9), None),
        (Request(ranks_per_node=2, whole_nodes=True), "0,1"),
        (Request(num_nodes=2, ranks_per_node=2), "0,1"),
    ],
)
def test_a_job_that_has_its_nodes_to_itself_sees_all_gpus(
    tmp_path: Path, asked: Request, seen: str | None
) -> None:
    shape = uniform(4, gpus=["0", "1"])
    placement = NodePool(("a", "b"), shape).place(asked)
    assert placement
    ground = Ground(cpus=shape.cpus, gpu_masks=MASKS, has_gpus=True)
    preparer = Preparer(tmp_path, {"PATH": "/bin"}, ground=ground)
    found = replace(task({}), request=asked)
    spec = preparer.spec(preparer.draft(found, Application()), placement, None)
    assert {name: spec.env.get(name) for name in MASKS} == dict.fromkeys(MASKS, seen)


@pytest.mark.parametrize(
    ("node", "local"), [("x1", True), ("x1.hsn.example", True), ("x2.hsn.example", False)]
)
def test_ranks_on_this_node_need_no_hosts_by_whatever_name(
    tmp_path: Path, node: str, local: bool
) -> None:
    preparer = Preparer(tmp_path, {"PATH": "/bin"}, ground=Ground(frozenset({"x1"})))
    draft = preparer.draft(task({}), Application())
    mpi = Mpi("/opt/mpirun", FLAVOURS["mpich"])
    spec = preparer.spec(draft, Placement((node,), 4.0), mpi)
    assert spec.argv[0] == "/opt/mpirun" and (node not in spec.argv) == local
    assert spec.program == draft.argv[0]
