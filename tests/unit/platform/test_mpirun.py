from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam import states
from balsam.platform import flavours
from balsam.platform.flavours import FLAVOURS, Launch
from balsam.platform.launch_state import scrub
from balsam.platform.mpirun import launch_failure

SAID = Path(__file__).parents[2] / "fakes" / "launchers"
PROGRAM = ["./simulate", "--in", "a b.dat"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mpich", "-n 4 -ppn 4"),
        ("intel", "-n 4 -ppn 4 -hosts localhost"),
        ("openmpi4", "-n 4 --oversubscribe --bind-to none"),
        ("openmpi5", "-n 4 --map-by :OVERSUBSCRIBE --bind-to none"),
    ],
)
def test_command_on_this_node(name: str, options: str) -> None:
    command = FLAVOURS[name].run("/opt/mpi/bin/mpirun", PROGRAM, Launch(4, 4, threads_per_rank=2))
    assert command == ["/opt/mpi/bin/mpirun", *options.split(), *PROGRAM]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mpich", "-n 4 -ppn 2 -hosts a,b"),
        ("intel", "-n 4 -ppn 2 -hosts a,b"),
        ("openmpi4", "-n 4 --oversubscribe --map-by ppr:2:node --bind-to none --host a:2,b:2"),
        ("openmpi5", "-n 4 --map-by ppr:2:node:OVERSUBSCRIBE --bind-to none --host a:2,b:2"),
    ],
)
def test_command_on_named_nodes(name: str, options: str) -> None:
    command = FLAVOURS[name].run("mpirun", PROGRAM, Launch(4, 2, ["a", "b"]))
    assert command == ["mpirun", *options.split(), *PROGRAM]


@pytest.mark.parametrize(
    ("name", "flags", "options"),
    [
        ("mpich", "-bind-to core", "-n 4 -ppn 4 -bind-to core"),
        ("mpich", "-ppn 1", "-n 4 -ppn 1"),
        ("openmpi4", "--bind-to core", "-n 4 --oversubscribe --bind-to core"),
        ("openmpi5", "--bind-to=core", "-n 4 --map-by :OVERSUBSCRIBE --bind-to=core"),
        ("openmpi5", "-np 2", "--map-by :OVERSUBSCRIBE --bind-to none -np 2"),
        ("openmpi5", "--mca btl self,sm", "-n 4 --map-by :OVERSUBSCRIBE --bind-to none "
                                          "--mca btl self,sm"),
    ],
)  # fmt: skip
def test_a_flag_of_the_user_replaces_the_option_of_that_name(
    name: str, flags: str, options: str
) -> None:
    command = FLAVOURS[name].run("mpirun", PROGRAM, Launch(4, 4, flags=flags.split()))
    assert command == ["mpirun", *options.split(), *PROGRAM]


def test_environ() -> None:
    root = os.geteuid() == 0
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    assert flavours.MPICH.environ() == {}
    assert flavours.INTEL.environ() == {"I_MPI_PIN": "0"}
    assert flavours.OPEN_MPI_4.environ() == (allowed if root else {})
    assert flavours.OPEN_MPI_5.environ() == (allowed if root else {})


MISSING = {
    "missing": "/no/such/prog",
    "missing-on-path": "nosuchprog",
    "not-executable": "./noexec.txt",
    "bad-interpreter": "./badinterp.sh",
}
REFUSED = [
    "as-root",
    "binding",
    "no-gpus",
    "no-listener",
    "no-mpi-plugin",
    "unreachable",
    "no-program",
    "no-ranks",
    "no-slots",
    "option-twice",
    "unknown-host",
    "unknown-option",
]
RAN = ["abort", "exit-3", "exit-127", "killed-9", "killed-11"]


def recorded(names: list[str]) -> list[tuple[str, str]]:
    """(flavour, name) of every recorded message of these names; each flavour has its own set."""
    files = [(file.parent.name, file.stem) for file in sorted(SAID.glob("*/*.txt"))]
    assert {flavour for flavour, _ in files} <= set(FLAVOURS)
    return [(flavour, name) for flavour, name in files if name in names]


def cause_of(flavour: str, name: str, argv0: str, returncode: int = 255) -> str | None:
    text = (SAID / flavour / f"{name}.txt").read_text()
    return launch_failure(FLAVOURS[flavour], f"Setting up\n{text}", returncode, argv0)


@pytest.mark.parametrize(("flavour", "name"), recorded(list(MISSING)))
def test_a_missing_program_is_told_apart(flavour: str, name: str) -> None:
    assert cause_of(flavour, name, MISSING[name]) == states.PROGRAM_MISSING


#: srun names the interpreter, not the program.
NAMED = [pair for pair in recorded(list(MISSING)) if pair != ("srun", "bad-interpreter")]


@pytest.mark.parametrize(("flavour", "name"), NAMED)
def test_a_program_that_missed_another_did_run(flavour: str, name: str) -> None:
    assert cause_of(flavour, name, "./driver.sh") is None


@pytest.mark.parametrize(("flavour", "name"), recorded(REFUSED))
def test_a_refused_launch_is_told_apart(flavour: str, name: str) -> None:
    assert cause_of(flavour, name, "true") == states.MPI_LAUNCH_FAILED


@pytest.mark.parametrize(("flavour", "name"), recorded(RAN))
@pytest.mark.parametrize("returncode", [3, 127, 255])
def test_the_failure_of_the_program_is_its_own(flavour: str, name: str, returncode: int) -> None:
    assert cause_of(flavour, name, "./exit3.sh", returncode) is None


@pytest.mark.parametrize(("flavour", "name"), recorded([*MISSING, *REFUSED]))
@pytest.mark.parametrize("returncode", [0, -9, -15])
def test_success_and_signals_are_no_failed_launch(flavour: str, name: str, returncode: int) -> None:
    assert cause_of(flavour, name, MISSING.get(name, "true"), returncode) is None


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_broken_installation_is_a_failed_launch(flavour: str) -> None:
    output = "/opt/mpi/bin/mpirun: error while loading shared libraries: libhwloc.so.15: cannot"
    assert launch_failure(FLAVOURS[flavour], output, 127, "a") == states.MPI_LAUNCH_FAILED


def test_a_daemon_whose_connection_ends_was_there() -> None:
    """Its node died under the job: that is no failed launch, whatever prterun says of it."""
    assert cause_of("openmpi5", "node-lost-by-ssh", "true") is None
    text = (SAID / "openmpi5" / "node-lost-by-ssh.txt").read_text()
    assert FLAVOURS["openmpi5"].lost_node(text) == "nid0002"


def test_hydra_itself_ends_with_255_only() -> None:
    assert cause_of("mpich", "unknown-host", "true", returncode=1) is None


NESTED = {
    "mpich": "HYDI_CONTROL_FD MPI_LOCALNRANKS MPI_LOCALRANKID PMI_FD PMI_HOSTNAME PMI_RANK",
    "openmpi4": (
        "OMPI_COMM_WORLD_RANK OMPI_MCA_ess OMPI_MCA_ess_base_jobid OMPI_MCA_orte_hnp_uri "
        "OMPI_MCA_pmix OMPI_MCA_orte_local_daemon_uri OMPI_UNIVERSE_SIZE PMIX_NAMESPACE PMIX_RANK "
        "PMIX_MCA_mca_base_component_show_load_errors"
    ),
    "openmpi5": (
        "OMPI_COMMAND OMPI_COMM_WORLD_SIZE OMPI_MCA_num_procs PMIX_SERVER_URI41 PMIX_VERSION "
        "PRTE_LAUNCHED PRTE_SHARED_FS"
    ),
    "intel": "HYDRA_BSTRAP_UPSTREAM_FD HYDRA_LAUNCH_TYPE I_MPI_HYDRA_UUID I_MPI_INFO_STATE PMI_FD",
}
NESTED["srun"] = (
    "SLURM_STEP_ID SLURM_STEPID SLURM_PROCID SLURM_LOCALID SLURM_NODEID SLURM_GTIDS SLURM_NTASKS "
    "SLURM_CPU_BIND_LIST SLURM_DISTRIBUTION SLURM_SRUN_COMM_PORT SLURM_TASK_PID PMI_RANK"
)
#: Of each of its tasks, by the batch job.
NESTED["sbatch"] = (
    "SLURM_CPUS_PER_TASK SLURM_CPUS_PER_GPU SLURM_TRES_PER_TASK SLURM_GPUS_PER_TASK SLURM_GPU_BIND "
    "SLURM_TRES_BIND SLURM_THREADS_PER_CORE SLURM_MEM_BIND SLURM_MEM_BIND_TYPE SRUN_CPUS_PER_TASK"
)
NESTED["pals"] = "PALS_RANKID PALS_LOCAL_RANKID PALS_APID PMI_RANK"
NESTED["aprun"] = "ALPS_APP_PE ALPS_APP_ID PMI_FORK_RANK"
NESTED["jsrun"] = "JSM_NAMESPACE_RANK PMIX_RANK OMPI_COMM_WORLD_RANK"
TUNING = [
    "SLURM_JOB_ID",
    "SLURM_JOBID",
    "SLURM_JOB_NODELIST",
    "SLURM_NODELIST",
    "SLURM_NNODES",
    "SLURM_TASKS_PER_NODE",
    "SLURM_JOB_CPUS_PER_NODE",
    "SLURM_JOB_GPUS",
    "SLURM_GPUS_ON_NODE",
    "SLURM_GPUS_PER_NODE",
    "SLURM_HINT",
    "SLURM_MPI_TYPE",
    "SLURM_CONF",
    "SLURMD_NODENAME",
    "OMPI_ALLOW_RUN_AS_ROOT",
    "OMPI_MCA_rmaps_base_oversubscribe",
    "OMPI_MCA_btl",
    "OMPI_MCA_plm_rsh_agent",
    "PRTE_MCA_rmaps_default_mapping_policy",
    "PRTE_MCA_plm_ssh_agent",
    "OMPI_MCA_orte_tmpdir_base",
    "PRTE_MCA_prte_tmpdir_base",
    "PRTE_MCA_prte_remote_tmpdir_base",
    "PMIX_MCA_gds",
    "PMIX_MCA_ptl_tcp_if_include",
    "PALS_PING_PERIOD",
    "PALS_RPC_TIMEOUT",
    "PALS_PMI",
    "MPIR_CVAR_CH4_NETMOD",
    "MPICH_ASYNC_PROGRESS",
    "I_MPI_PIN",
    "I_MPI_FABRICS",
    "I_MPI_HYDRA_BOOTSTRAP",
    "HYDRA_LAUNCHER_EXEC",
    "PMI_NO_FORK",
    "PATH",
    "MPI4PY_MPIABI",
    "OMP_NUM_THREADS",
]


@pytest.mark.parametrize("flavour", NESTED)
def test_scrub_removes_what_a_launch_leaves(flavour: str) -> None:
    assert scrub(dict.fromkeys([*NESTED[flavour].split(), "HOME"], "x")) == {"HOME": "x"}


def test_scrub_keeps_the_tuning_of_the_user() -> None:
    environ = dict.fromkeys(TUNING, "x")
    assert scrub(environ) == environ


FAMILIES = (
    *("PMI_", "PMIX_", "OMPI_", "PRTE_", "HYDRA_", "HYDI_", "MPI_LOCAL", "MPIR_", "I_MPI_"),
    *("SLURM_", "SRUN_", "PALS_", "ALPS_APP_", "JSM_"),
)
launch_names = st.sampled_from([name for names in NESTED.values() for name in names.split()])
names = st.one_of(
    st.text(min_size=1),
    launch_names,
    st.sampled_from(TUNING),
    st.builds(str.__add__, st.sampled_from(FAMILIES), st.text()),
)


@given(st.dictionaries(names, st.text()))
def test_scrub_only_ever_removes_launch_state(environ: dict[str, str]) -> None:
    before = dict(environ)
    left = scrub(environ)
    assert environ == before
    assert left.items() <= environ.items()
    assert scrub(left) == left
    gone = environ.keys() - left.keys()
    assert all(name.startswith(FAMILIES) for name in gone)
    assert not gone & set(TUNING)
    assert not left.keys() & {name for every in NESTED.values() for name in every.split()}
