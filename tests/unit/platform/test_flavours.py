"""The command lines of the flavours, beside those of the two earlier Balsams."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.errors import LaunchError
from balsam.platform import nodelist
from balsam.platform.flavours import FLAVOURS, Launch, deal

SAID = Path(__file__).parents[2] / "fakes" / "launchers"
PROGRAM = ["./simulate", "--in", "a b.dat"]
#: Four ranks of two threads on two nodes.
TWO_NODES = Launch(4, 2, ("nid00001", "nid00020"), threads_per_rank=2)
#: Two ranks on two cores of a node, with both hardware threads of each.
PACKED = Launch(
    2, 2, ("nid00001",), 2, threads_per_core=2, binding="core", cores=((0, 32), (1, 33))
)
WITH_GPUS = replace(TWO_NODES, gpus_per_rank=1, gpus=("3", "2"))

UNBOUND = "ranks are bound when the job asks for it (cpu_affinity), and by nothing else"
STEPS = "steps share their nodes with others, and a rank may use every core"
INHERITED = "it passes the environment by itself, so nothing is quoted into the line"
PLACES = "it places ranks by itself; the hosts are not told"


@pytest.mark.parametrize(
    ("name", "launch", "was", "line", "because"),
    [
        # reference/v2.md 5.6
        ("mpich", TWO_NODES, "mpiexec -n 4 --ppn 2 --env A=\"B\" --hosts nid00001,nid00020",
         "-n 4 -ppn 2 -hosts nid00001,nid00020", INHERITED),
        ("openmpi4", replace(TWO_NODES, variables=("A", "BALSAM_JOB_ID")),
         "mpiexec -n 4 --map-by ppr:2:node -x A -x BALSAM_JOB_ID -H nid00001,nid00020",
         "-n 4 --oversubscribe --map-by ppr:2:node --bind-to none "
         "--host nid00001:2,nid00020:2 -x A -x BALSAM_JOB_ID",
         f"{UNBOUND}; more ranks than cores or slots are no error"),
        ("openmpi5", replace(TWO_NODES, variables=("A",)),
         "mpiexec -n 4 --map-by ppr:2:node -x A -H nid00001,nid00020",
         "-n 4 --map-by ppr:2:node:OVERSUBSCRIBE --bind-to none "
         "--host nid00001:2,nid00020:2 -x A", UNBOUND),
        ("srun", TWO_NODES,
         "srun -n 4 --ntasks-per-node 2 --nodelist nid00001,nid00020 --nodes 2 --cpus-per-task 2",
         "-n 4 --ntasks-per-node 2 --nodelist nid00001,nid00020 --nodes 2 --overcommit "
         "--cpu-bind=none --overlap", f"{UNBOUND}; {STEPS}"),
        ("srun", replace(TWO_NODES, gpus_per_rank=1, params={"constraint": "gpu"}),
         "srun -n 4 --ntasks-per-node 2 --gpus-per-task 1 --nodelist nid00001,nid00020 --nodes 2 "
         "--cpus-per-task 2 --constraint gpu --overlap",
         "-n 4 --ntasks-per-node 2 --gpus-per-task 1 --nodelist nid00001,nid00020 --nodes 2 "
         "--overcommit --cpu-bind=none --overlap --constraint gpu", f"{UNBOUND}; {STEPS}"),
        ("srun", replace(TWO_NODES, binding="depth"),
         "srun -n 4 --ntasks-per-node 2 --nodelist nid00001,nid00020 --nodes 2 --cpus-per-task 2 "
         "--overlap",
         "-n 4 --ntasks-per-node 2 --nodelist nid00001,nid00020 --nodes 2 --cpus-per-task 2 "
         "--threads-per-core 1 --cpu-bind=threads --overlap",
         "the binding is said too, and that one hardware thread of each core is used"),
        ("srun", Launch(1, 1, ("nid00001",)),
         "srun --gres=craynetwork:0 -n 1 --ntasks-per-node 1 --nodelist nid00001 --nodes 1 "
         "--cpus-per-task 1 --overlap",
         "-n 1 --ntasks-per-node 1 --nodelist nid00001 --nodes 1 --overcommit --cpu-bind=none "
         "--overlap", "that resource is Cori's; a machine that has it says so in its mpi_flags"),
        ("pals", replace(PACKED, ranks=2),
         "mpiexec -np 2 -ppn 2 --hosts nid00001 --cpu-bind list:0,32:1,33 -d 2",
         "-np 2 -ppn 2 --hosts nid00001 --cpu-bind list:0,32:1,33 -d 2 --envall",
         "the environment is asked for on Polaris as on Aurora"),
        ("pals", replace(TWO_NODES, params={"cpu_bind": "core", "x": "--label"}),
         "mpiexec -np 4 -ppn 2 --hosts nid00001,nid00020 --cpu-bind core -d 2 --label",
         "-np 4 -ppn 2 --hosts nid00001,nid00020 --cpu-bind core -d 2 --envall --label",
         "as above"),
        ("pals", TWO_NODES,
         "mpiexec -np 4 -ppn 2 --hosts nid00001,nid00020 --cpu-bind none -d 2 --envall",
         "-np 4 -ppn 2 --hosts nid00001,nid00020 --cpu-bind none -d 2 --envall", ""),
        ("aprun", TWO_NODES, "aprun -n 4 -N 2 -L 1,20 -cc none -d 2 -j 1",
         "-n 4 -N 2 -L 1,20 -cc none -d 2 -j 1", ""),
        ("aprun", replace(TWO_NODES, binding="depth", threads_per_core=2, params={"-r": 1}),
         "aprun -n 4 -N 2 -L 1,20 -cc depth -d 2 -j 2 -r 1",
         "-n 4 -N 2 -L 1,20 -cc depth -d 2 -j 2 -r 1", ""),
        ("openmpi4", replace(TWO_NODES, variables=("BALSAM_JOB_ID",)),
         "mpirun -hostfile $COBALT_NODEFILE --oversubscribe --bind-to none -n 4 -npernode 2 "
         "-x BALSAM_JOB_ID --host nid00001,nid00020",
         "-n 4 --oversubscribe --map-by ppr:2:node --bind-to none "
         "--host nid00001:2,nid00020:2 -x BALSAM_JOB_ID",
         "ThetaGPU's is any Open MPI 4: ppr is what -npernode became, and slots in --host make "
         "the file needless"),
        ("jsrun", replace(TWO_NODES, binding="numa", gpus_per_rank=1),
         "jsrun --nrs 4 --tasks_per_rs 1 --rs_per_host 2 --cpu_per_rs 2 --bind rs --gpu_per_rs 1",
         "--nrs 4 --tasks_per_rs 1 --rs_per_host 2 --cpu_per_rs 2 --bind rs --gpu_per_rs 1", ""),
        ("jsrun", TWO_NODES,
         "jsrun --nrs 4 --tasks_per_rs 1 --rs_per_host 2 --cpu_per_rs 2 --bind rs --gpu_per_rs 0",
         "--nrs 4 --tasks_per_rs 1 --rs_per_host 2 --cpu_per_rs 2 --bind none --gpu_per_rs 0",
         UNBOUND),
        # reference/classic.md 4.3
        ("aprun", replace(TWO_NODES, threads_per_rank=1), "aprun -n 4 -N 2 -L 1,20 -cc none",
         "-n 4 -N 2 -L 1,20 -cc none -d 1 -j 1", "both numbers have these defaults"),
        ("openmpi4", Launch(4, 4), "mpirun -n 4 -npernode 4",
         "-n 4 --oversubscribe --bind-to none", UNBOUND),
        ("mpich", Launch(4, 4), "mpirun -n 4 --ppn 4", "-n 4 -ppn 4", "one dash or two"),
        ("mpich", TWO_NODES, "mpirun -n 4 --ppn 2 --hosts nid00001,nid00020",
         "-n 4 -ppn 2 -hosts nid00001,nid00020", "one dash or two"),
        ("srun", TWO_NODES, "srun -n 4 --ntasks-per-node 2 --nodelist nid00001,nid00020 --nodes 2",
         "-n 4 --ntasks-per-node 2 --nodelist nid00001,nid00020 --nodes 2 --overcommit "
         "--cpu-bind=none --overlap", f"{UNBOUND}; {STEPS}"),
    ],
)  # fmt: skip
def test_the_line_is_that_of_earlier_versions_or_differs_for_a_reason(
    name: str, launch: Launch, was: str, line: str, because: str
) -> None:
    assert FLAVOURS[name].run("prog", PROGRAM, launch) == ["prog", *line.split(), *PROGRAM]
    assert bool(because) == (was.split()[1:] != line.split())


@pytest.mark.parametrize(
    ("name", "binding", "words"),
    [
        ("mpich", "depth", "-bind-to core:2"),
        ("mpich", "core", "-bind-to core:2"),
        ("mpich", "numa", "-bind-to numa"),
        ("openmpi4", "core", "--map-by ppr:2:node:PE=2 --bind-to core"),
        ("openmpi4", "numa", "--map-by ppr:2:node --bind-to numa:overload-allowed"),
        ("openmpi5", "numa", "--map-by ppr:2:node:OVERSUBSCRIBE --bind-to numa:overload-allowed"),
        ("openmpi5", "depth", "--map-by ppr:2:node:PE=2:OVERSUBSCRIBE --bind-to core"),
        ("srun", "core", "--cpus-per-task 2 --threads-per-core 1 --cpu-bind=cores"),
        ("srun", "numa", "--nodes 2 --overcommit --cpu-bind=ldoms"),
        ("pals", "depth", "--cpu-bind depth"),
        ("pals", "numa", "--cpu-bind numa"),
        ("aprun", "core", "-cc cpu"),
        ("aprun", "numa", "-cc numa_node"),
        ("jsrun", "depth", "--bind packed:2"),
    ],
)
def test_binding_of_whole_nodes(name: str, binding: str, words: str) -> None:
    line = " ".join(FLAVOURS[name].run("prog", PROGRAM, replace(TWO_NODES, binding=binding)))
    assert f" {words} " in line


@pytest.mark.parametrize(
    ("name", "binding", "line"),
    [
        ("openmpi4", "depth", "--oversubscribe --map-by ppr:2:node:PE=2 --bind-to core"),
        ("openmpi4", "numa", "--oversubscribe --bind-to numa:overload-allowed"),
        ("openmpi5", "core", "--map-by ppr:2:node:PE=2:OVERSUBSCRIBE --bind-to core"),
        ("openmpi5", "numa", "--map-by :OVERSUBSCRIBE --bind-to numa:overload-allowed"),
    ],
)
def test_open_mpi_binds_to_as_many_cores_on_its_own_node(
    name: str, binding: str, line: str
) -> None:
    launch = Launch(2, 2, threads_per_rank=2, binding=binding)
    command = FLAVOURS[name].run("prog", PROGRAM, launch)
    assert command == ["prog", "-n", "2", *line.split(), *PROGRAM]


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        (replace(TWO_NODES, threads_per_rank=4, binding="core"), "--cpu-bind core -d 2"),
        (replace(TWO_NODES, threads_per_rank=4, params={"cpu_bind": "core"}),
         "--cpu-bind core -d 2"),
        (replace(TWO_NODES, threads_per_rank=4, binding="depth"), "--cpu-bind depth -d 4"),
        (replace(PACKED, threads_per_rank=4), "--cpu-bind list:0,32:1,33 -d 4"),
        (replace(TWO_NODES, threads_per_rank=4), "--cpu-bind none -d 4"),
    ],
)  # fmt: skip
def test_pals_counts_cores_where_it_binds_to_cores(launch: Launch, words: str) -> None:
    line = " ".join(FLAVOURS["pals"].run("prog", PROGRAM, replace(launch, threads_per_core=2)))
    assert f" {words} " in line and line.count(" -d ") == 1


def test_srun_deals_all_hardware_threads_where_the_job_uses_them() -> None:
    launch = replace(TWO_NODES, threads_per_rank=4, threads_per_core=2, binding="depth")
    line = " ".join(FLAVOURS["srun"].run("srun", PROGRAM, launch))
    assert " --cpus-per-task 4 --cpu-bind=threads " in line


#: A node of four cores, each with two hardware threads.
FOUR_CORES = ((0, 4), (1, 5), (2, 6), (3, 7))


@pytest.mark.parametrize(
    ("ranks", "threads", "per_core", "binding", "bound", "own_cores"),
    [
        (4, 1, 1, "depth", "depth", True),
        (2, 2, 1, "core", "core", True),
        (2, 4, 2, "core", "core", True),
        (5, 1, 1, "depth", "none", False),
        (3, 2, 1, "core", "none", False),
        (1, 5, 1, "core", "none", False),
        (8, 1, 2, "depth", "depth", False),  # two on each core
        (9, 1, 2, "depth", "none", False),
        (1, 3, 1, "depth", "depth", False),  # more than one socket, perhaps
        (9, 1, 1, "numa", "numa", False),
        (9, 1, 1, "none", "none", False),
    ],
)
def test_ranks_are_bound_as_long_as_a_whole_node_suffices(
    ranks: int, threads: int, per_core: int, binding: str, bound: str, own_cores: bool
) -> None:
    launch = Launch(ranks, ranks, (), threads, per_core, binding, node_cpus=FOUR_CORES)
    assert (launch.bound, launch.has_own_cores) == (bound, own_cores)
    assert replace(launch, cores=FOUR_CORES).bound == ("none" if binding == "none" else "list")
    for name in ("openmpi4", "openmpi5"):
        line = " ".join(FLAVOURS[name].run("prog", PROGRAM, launch))
        assert ("PE=" in line) == ("--bind-to core" in line) == own_cores


@pytest.mark.parametrize(
    ("name", "hosts", "words"),
    [
        ("openmpi4", (), "--bind-to numa:overload-allowed"),
        ("openmpi5", ("a",), "--map-by ppr:5:node:OVERSUBSCRIBE --bind-to none"),
        ("srun", ("a",), "--overcommit --cpu-bind=ldoms"),
        ("mpich", ("a",), "-bind-to numa"),
    ],
)
def test_ranks_share_the_cores_of_domains(name: str, hosts: tuple[str, ...], words: str) -> None:
    launch = Launch(5, 5, hosts, threads_per_rank=3, binding="numa", node_cpus=FOUR_CORES)
    assert f" {words} " in " ".join(FLAVOURS[name].run("prog", PROGRAM, launch))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mpich", "-bind-to user:0+32,1+33"),
        ("openmpi4", "--bind-to none --host nid00001:2 taskset -c 0,32,1,33 ./simulate"),
        ("openmpi5", "--bind-to none --host nid00001:2 taskset -c 0,32,1,33 ./simulate"),
        ("srun", "--overcommit --cpu-bind=mask_cpu:0x100000001,0x200000002"),
        ("pals", "--cpu-bind list:0,32:1,33"),
        ("aprun", "-cc 0,32:1,33"),
        ("jsrun", "--bind rs"),
    ],
)
def test_binding_to_the_cores_of_a_share(name: str, words: str) -> None:
    assert f" {words} " in " ".join(FLAVOURS[name].run("prog", PROGRAM, PACKED))


@pytest.mark.parametrize(
    ("launch", "expected"),
    [
        (TWO_NODES, ("0", None)),
        (replace(TWO_NODES, binding="core"), ("1", "2:compact")),
        (replace(TWO_NODES, binding="depth", node_cpus=FOUR_CORES), ("1", "4:compact")),
        (replace(TWO_NODES, binding="core", threads_per_core=2, node_cpus=FOUR_CORES),
         ("1", "2:compact")),
        (replace(TWO_NODES, binding="numa"), ("1", "numa")),
        (PACKED, ("1", "[0x100000001,0x200000002]")),
    ],
)  # fmt: skip
def test_intel_mpi_is_bound_by_variables(launch: Launch, expected: tuple[str, str | None]) -> None:
    environ = FLAVOURS["intel"].environ(launch)
    assert (environ["I_MPI_PIN"], environ.get("I_MPI_PIN_DOMAIN")) == expected


@pytest.mark.parametrize("key", ["cpu_bind", "--cpu-bind"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pals", "--cpu-bind verbose,list:1:2"),
        ("srun", "--cpu-bind=verbose,list:1:2"),
        ("aprun", "-cc verbose,list:1:2"),
        ("mpich", "-bind-to verbose,list:1:2"),
    ],
)
def test_a_binding_in_the_launchers_own_words(name: str, words: str, key: str) -> None:
    launch = replace(PACKED, params={key: "verbose,list:1:2", "cwd": "/x", "mpirun": True})
    line = " ".join(FLAVOURS[name].run("prog", PROGRAM, launch))
    assert f" {words} " in line
    assert line.count("verbose") == 1
    assert "cwd" not in line


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("srun", {"hint": "nomultithread", "exact": True, "v": None, "k": 3, "-x": "a b"},
         ["--hint", "nomultithread", "--exact", "-k", "3", "-x", "a b"]),
        ("pals", {"anything": "--label", "number": 3, "yes": True, "no": False}, ["--label", "3"]),
        ("aprun", {"-r": 1, "ss": True}, ["-r", "1", "ss"]),
        ("mpich", {"prepend-rank": True}, ["--prepend-rank"]),
    ],
)  # fmt: skip
def test_launch_parameters(name: str, params: dict[str, Any], words: list[str]) -> None:
    line = FLAVOURS[name].run("prog", PROGRAM, replace(TWO_NODES, params=params, flags=["-q"]))
    assert line[-len(words) - len(PROGRAM) - 1 :] == [*words, "-q", *PROGRAM]


def test_a_launch_parameter_without_a_single_value() -> None:
    with pytest.raises(LaunchError, match="launch_params gives 'hint' no single value"):
        FLAVOURS["srun"].run("srun", PROGRAM, Launch(params={"hint": ["a"]}))


@pytest.mark.parametrize("name", FLAVOURS)
@pytest.mark.parametrize("binding", ["depth", "core", "numa", "list", "none"])
def test_whether_ranks_are_bound_as_a_launch_says(name: str, binding: str) -> None:
    flavour = FLAVOURS[name]
    launch = Launch(2, 2, ("a",), binding="core" if binding == "list" else binding)
    if binding == "list":
        launch = replace(launch, cores=((0,), (1,)))
    assert flavour.binds(launch, flavour.environ(launch)) == (binding != "none")
    wish = replace(launch, params={"cpu_bind": "--what-ever"})
    assert not flavour.binds(wish, flavour.environ(wish))


@pytest.mark.parametrize(
    "name, flag",
    [
        ("mpich", "-bind-to"),
        ("mpich", "--bind-to"),
        ("openmpi4", "--bind-to"),
        ("openmpi5", "--map-by"),
        ("srun", "--cpu-bind=none"),
        ("aprun", "-cc"),
        ("pals", "--cpu-bind"),
        ("jsrun", "-b"),
    ],
)
def test_a_flag_may_bind_in_another_way(name: str, flag: str) -> None:
    launch = Launch(2, 2, ("a",), binding="core")
    other = replace(launch, flags=("-x", "y"))
    assert FLAVOURS[name].binds(other, {})
    assert not FLAVOURS[name].binds(replace(launch, flags=(flag, "none")), {})


def test_a_variable_may_bind_in_another_way() -> None:
    launch = Launch(2, 2, ("a",), binding="core")
    told = FLAVOURS["intel"].environ(launch)
    assert FLAVOURS["intel"].binds(launch, told)
    assert not FLAVOURS["intel"].binds(launch, {**told, "I_MPI_PIN": "0"})


def test_an_affinity_nobody_knows() -> None:
    with pytest.raises(LaunchError, match="cpu_affinity is 'socket'; it may be none, depth, core,"):
        FLAVOURS["mpich"].run("mpirun", PROGRAM, Launch(binding="socket"))


@pytest.mark.parametrize(
    ("flags", "gone", "kept"),
    [
        ("-N 3", "--nodes", "--nodelist"),
        ("-c 4 --cpu-bind=cores", "--cpu-bind=none", "--overlap"),
        ("-w nid00009", "--nodelist", "--nodes"),
        ("--ntasks=3", "-n", "--nodes"),
    ],
)
def test_short_and_long_flags_are_the_same_option(flags: str, gone: str, kept: str) -> None:
    line = FLAVOURS["srun"].run("srun", PROGRAM, replace(TWO_NODES, flags=flags.split()))
    assert gone not in line
    assert kept in line


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        (replace(TWO_NODES, gpus_per_rank=2), "--gpus-per-task 2"),
        (WITH_GPUS, "--gpu-bind=mask_gpu:0x8,0x4"),
        (replace(WITH_GPUS, gpus_per_rank=2, gpus=("0", "1", "2", "3")),
         "--gpu-bind=mask_gpu:0x3,0xc"),
        (replace(WITH_GPUS, gpus_per_rank=0.5, gpus=("3",), masks={"CUDA_VISIBLE_DEVICES": "3"}),
         "--overlap env CUDA_VISIBLE_DEVICES=3"),
        (replace(WITH_GPUS, gpus_per_rank=1.5, gpus=("2", "1", "0"),
                 masks={"CUDA_VISIBLE_DEVICES": "2,1,0"}),
         "--overlap env CUDA_VISIBLE_DEVICES=2,1,0"),
        (replace(WITH_GPUS, gpus=("MIG-1", "MIG-2"), masks={"CUDA_VISIBLE_DEVICES": "MIG-1,MIG-2"}),
         "--overlap env CUDA_VISIBLE_DEVICES=MIG-1,MIG-2"),
    ],
)  # fmt: skip
def test_gpus_of_srun_which_sets_the_masks_itself(launch: Launch, words: str) -> None:
    line = " ".join(FLAVOURS["srun"].run("srun", PROGRAM, launch))
    assert f" {words} " in line
    assert line.count("gpu") == (2 if "mask_gpu" in words else "gpus-per-task" in words)


@pytest.mark.parametrize(
    ("ranks", "gpus", "words"),
    [
        (4, 0.5, "--nrs 4 --tasks_per_rs 2 --rs_per_host 2 --cpu_per_rs 4"),
        (4, 0.25, "--nrs 2 --tasks_per_rs 4 --rs_per_host 1 --cpu_per_rs 8"),
        (3, 0.33, "--nrs 2 --tasks_per_rs 3 --rs_per_host 1 --cpu_per_rs 6"),
        (2, 0.25, "--nrs 2 --tasks_per_rs 2 --rs_per_host 1 --cpu_per_rs 4"),
        (1, 0.5, "--nrs 2 --tasks_per_rs 1 --rs_per_host 1 --cpu_per_rs 2"),
    ],
)
def test_ranks_that_share_a_gpu_are_one_resource_set_of_jsrun(
    ranks: int, gpus: float, words: str
) -> None:
    launch = Launch(2 * ranks, ranks, ("a", "b"), 2, binding="depth", gpus_per_rank=gpus)
    line = FLAVOURS["jsrun"].run("jsrun", PROGRAM, launch)
    expected = ["jsrun", *words.split(), "--bind", "packed:2", "--gpu_per_rs", "1", *PROGRAM]
    assert line == expected


@pytest.mark.parametrize(("ranks", "gpus"), [(3, 0.5), (6, 0.25), (2, 1.5), (3, 0.67), (9, 0.3)])
def test_ranks_that_jsrun_can_not_share_gpus_out_to(ranks: int, gpus: float) -> None:
    launch = Launch(ranks, ranks, gpus_per_rank=gpus)
    with pytest.raises(LaunchError, match=f"jsrun can not give {gpus} GPUs to each of {ranks} "):
        FLAVOURS["jsrun"].run("jsrun", PROGRAM, launch)


@pytest.mark.parametrize("name", FLAVOURS)
def test_other_launchers_leave_masks_to_the_environment(name: str) -> None:
    launch = replace(WITH_GPUS, gpus_per_rank=0.5, masks={"CUDA_VISIBLE_DEVICES": "3"})
    line = FLAVOURS[name].run("prog", PROGRAM, launch)
    assert ("env" in line) == (name == "srun")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("mpich", "-n 2 -ppn 1 -hosts nid00001,nid00020"),
        ("intel", "-n 2 -ppn 1 -hosts nid00001,nid00020"),
        ("openmpi4", "-n 2 --oversubscribe --map-by ppr:1:node --bind-to none --enable-recovery "
         "--mca orte_abort_on_non_zero_status 0 --host nid00001:1,nid00020:1 -x PYTHONPATH"),
        ("openmpi5", "-n 2 --map-by ppr:1:node:OVERSUBSCRIBE --bind-to none "
         "--runtime-options continuous --host nid00001:1,nid00020:1 -x PYTHONPATH"),
        ("srun", "-n 2 --ntasks-per-node 1 --nodelist nid00001,nid00020 --nodes 2 "
         "--cpu-bind=none --overlap --input=0 --no-kill --kill-on-bad-exit=0 --wait=0"),
        ("pals", "-np 2 -ppn 1 --hosts nid00001,nid00020 --cpu-bind none --envall"),
        ("aprun", "-n 2 -N 1 -L 1,20 -cc none"),
        ("jsrun", "--nrs 2 --tasks_per_rs 1 --rs_per_host 1 --cpu_per_rs ALL_CPUS "
         "--gpu_per_rs ALL_GPUS --bind none"),
    ],
)  # fmt: skip
def test_one_worker_per_node(name: str, line: str) -> None:
    workers = FLAVOURS[name].workers("prog", TWO_NODES.hosts, ["python"], ["PYTHONPATH"], ["-v"])
    assert workers == ["prog", *line.split(), "-v", "python"]


@pytest.mark.parametrize("name", ["mpich", "intel", "openmpi4", "openmpi5"])
def test_local_ranks_ask_no_batch_system_and_remote_ones_do_not_wait_for_it(name: str) -> None:
    flavour = FLAVOURS[name]
    plain = flavour.environ()
    here, there = flavour.environ(Launch(2, 2)), flavour.environ(TWO_NODES)
    assert plain.items() <= here.items()
    assert here != plain or name == "intel"
    assert there.items() >= {"SLURM_OVERLAP": "1", "SLURM_CPU_BIND": "none"}.items()
    assert "SLURM_OVERLAP" not in here


def test_the_node_that_was_lost() -> None:
    files = sorted(SAID.glob("*/node-lost.txt"))
    assert {file.parent.name for file in files} == set(FLAVOURS) - {"jsrun"}
    for file in files:
        text = f"12\n{file.read_text()}"
        node = "3" if file.parent.name == "aprun" else "nid0003"
        assert FLAVOURS[file.parent.name].lost_node(text) == node, file
        assert FLAVOURS[file.parent.name].lost_node("a rank wrote this\n") is None


def test_hydra_that_names_no_node() -> None:
    text = (SAID / "mpich" / "node-lost.txt").read_text().partition("\n")[2]
    assert FLAVOURS["mpich"].lost_node(text) == ""


def test_deal() -> None:
    cores = [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert deal(cores, 4) == ((0,), (1,), (2,), (3,))
    assert deal(cores, 4, 2) == ((0, 4), (1, 5), (2, 6), (3, 7))
    assert deal(cores, 2) == ((0, 1), (2, 3))
    assert deal(cores, 8, 2) == ((0,), (4,), (1,), (5,), (2,), (6,), (3,), (7,))
    assert deal(cores, 3) == ((0,), (1,), (2, 3))
    assert deal([(5,)], 2) == ((5,), (5,))
    numa = Launch(2, 2, binding="numa", cores=((0, 4), (1, 5)))
    assert numa.rank_cpus == ((0, 4, 1, 5), (0, 4, 1, 5))
    assert replace(numa, binding="none").rank_cpus == ()


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 4), st.integers(1, 4))
def test_every_rank_gets_something_and_nothing_twice_without_need(
    cores: int, ranks: int, threads: int, used: int
) -> None:
    shape = [tuple(core + cores * thread for thread in range(threads)) for core in range(cores)]
    dealt = deal(shape, ranks, used)
    assert len(dealt) == ranks
    assert all(dealt)
    if ranks <= cores * min(threads, used):
        everything = [cpu for cpus in dealt for cpu in cpus]
        assert len(everything) == len(set(everything))
        assert len(everything) == cores * min(threads, used)


MANY = [f"x{number // 16:06d}c0s{number % 16}b0n0" for number in range(12_000)]
MOST_BYTES = 128 * 1024  # of an argument, with the byte that ends it


@pytest.mark.parametrize("name", FLAVOURS)
@pytest.mark.parametrize("what", ["ranks", "workers"])
def test_thousands_of_hosts_with_long_names(name: str, what: str, tmp_path: Path) -> None:
    flavour, file = FLAVOURS[name], tmp_path / "hosts"
    if what == "ranks":
        launch = flavour.filed(Launch(4 * len(MANY), 4, MANY), str(file))
        line = flavour.run("mpirun", PROGRAM, launch)
    else:
        line = flavour.workers("mpirun", MANY, PROGRAM, hosts_file=str(file))
    assert max(map(len, line)) < MOST_BYTES
    if name in ("mpich", "intel", "openmpi4", "openmpi5", "pals"):
        assert line[line.index(str(file)) - 1] in ("-f", "--hostfile")
        assert [entry.split()[0] for entry in file.read_text().splitlines()] == MANY
        slots = {entry.partition(" ")[2] for entry in file.read_text().splitlines()}
        each = "slots=4" if what == "ranks" else "slots=1"
        assert slots == ({each} if name.startswith("openmpi") else {""})
    else:
        assert not file.exists()
    if name == "srun":
        assert set(nodelist.expand(line[line.index("--nodelist") + 1])) == set(MANY)


def test_a_list_of_hosts_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="list of hosts .* can not be written"):
        FLAVOURS["mpich"].filed(Launch(len(MANY), 1, MANY), str(tmp_path))
    with pytest.raises(LaunchError):
        FLAVOURS["mpich"].workers("mpirun", MANY, PROGRAM, hosts_file=str(tmp_path))


@pytest.mark.parametrize("flag", ["-f", "-hosts", "--hostfile=mine"])
def test_a_list_of_hosts_of_the_users_own_goes_before_ours(flag: str, tmp_path: Path) -> None:
    launch = Launch(len(MANY), 1, MANY, flags=(flag,))
    launch = FLAVOURS["mpich"].filed(launch, str(tmp_path / "hosts"))
    assert str(tmp_path / "hosts") not in FLAVOURS["mpich"].run("mpirun", PROGRAM, launch)
