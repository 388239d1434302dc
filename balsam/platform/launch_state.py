"""What an MPI launch leaves in the environment of its ranks, for another one to trip over."""

from __future__ import annotations

from collections.abc import Mapping

#: What launchers tell their ranks, by measurement, and what is the user's own among it: tuning
#: (OMPI_MCA_btl, HYDRA_LAUNCHER, MPIR_CVAR_...) that the next mpirun should see too.
_LAUNCH_STATE = (
    ("PMI_", "PMIX_", "OMPI_", "PRTE_", "HYDRA_", "HYDI_", "MPI_LOCAL", "MPIR_")
    + ("I_MPI_HYDRA_UUID", "I_MPI_HYDRA_TOPOLIB", "I_MPI_INFO_", "I_MPI_INTERNAL_")
    + ("I_MPI_MPIRUN", "I_MPI_PIN_INFO", "I_MPI_PIN_MAPPING")
    + ("I_MPI_BIND_WIN_ALLOCATE", "I_MPI_RETURN_WIN_MEM_NUMA")
    + ("PALS_", "ALPS_APP_", "JSM_")
    # What Slurm says of a step, or of the ranks of the batch job; an srun inside takes it for its
    # options. What it says of the allocation is kept: every mpirun inside reads that.
    + ("SLURM_STEP", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_GTIDS")
    + ("SLURM_TASK_PID", "SLURM_LAUNCH_NODE_IPADDR", "SLURM_SRUN_COMM_", "SLURM_PMI")
    + ("SLURM_CPU_BIND", "SLURM_DISTRIBUTION", "SLURM_NTASKS", "SLURM_NPROCS")
    # What the batch job asks for each of its tasks would confine or refuse every step inside.
    + ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_PER_GPU", "SLURM_TRES_PER_TASK", "SLURM_GPUS_PER_TASK")
    + ("SLURM_GPU_BIND", "SLURM_TRES_BIND", "SLURM_THREADS_PER_CORE", "SLURM_MEM_BIND")
    + ("SRUN_CPUS_PER_TASK",)
)
_TUNING = (
    ("OMPI_ALLOW_", "OMPI_MCA_", "PRTE_MCA_", "PMIX_MCA_", "MPIR_CVAR_", "PMI_NO_")
    + ("HYDRA_LAUNCHER", "HYDRA_RMK", "HYDRA_IFACE", "HYDRA_HOST_FILE")
    + ("PALS_PING_", "PALS_RPC_", "PALS_PMI")
)
_NO_TUNING = (
    ("OMPI_MCA_ess", "OMPI_MCA_orte_", "OMPI_MCA_pmix", "OMPI_MCA_initial_wdir")
    + ("OMPI_MCA_num_procs", "OMPI_MCA_cpu_type", "OMPI_MCA_PREFIXES")
    + ("OMPI_MCA_mpi_oversubscribe", "OMPI_MCA_shmem_RUNTIME_QUERY_hint")
    + ("PRTE_MCA_ess", "PRTE_MCA_prte_", "PMIX_MCA_mca_base_component_show_load_errors")
)
#: Where Open MPI's daemons have their directories: no launch tells its ranks, only users do.
_PLACES = "_tmpdir_base"


def scrub(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` without the traces of an MPI launch around this process.

    A task that inherits them dies or hangs when it uses MPI itself. What a user sets to tune an
    MPI is kept as far as its name tells it apart.
    """
    return {name: value for name, value in environ.items() if not _is_launch_state(name)}


def _is_launch_state(name: str) -> bool:
    if not name.startswith(_LAUNCH_STATE):
        return False
    if name.startswith(_NO_TUNING) and not name.endswith(_PLACES):
        return True
    return not name.startswith(_TUNING)
