"""Open MPI: ORTE, which is mpirun up to version 4, and PRRTE since 5."""

from __future__ import annotations

from dataclasses import replace

from balsam.platform import families
from balsam.platform.flavours.flavour import INNER_SRUN, Flavour, any_of, option
from balsam.platform.flavours.messages import BROKEN_INSTALLATION, NOT_FOUND, SSH_LOST

_MISSING = (
    any_of(
        r"was unable to (?:find the specified executable file|launch the specified application"
        r" as it)[\s\S]*?^ *Executable: +(?P<program>.+?) *$"
    ),
    any_of(
        r'tried to fork a new process via the "execve"[\s\S]*?'
        rf"^ *Application name: +(?P<program>.+?) *\s+Error: .*(?:{NOT_FOUND}|bad interpreter)"
    ),
)
_REFUSED = any_of(
    "not enough slots available|number of available slots when deciding the number of processes",
    "An unrecognized option was included on the|Error: unknown option",
    "command line option was listed more than once",
    "No executable was specified on the|has detected an attempt to run as root",
    "A daemon failed to report back after being spawned",
    "The PMIx server's listener thread failed to start",
    "(?:ORTE|PRTE) was unable to reliably start one or more daemons",
    "(?:ORTE|PRTE|PRRTE) daemon has unexpectedly failed after launch",
    "was unable to find the specified executable file",
    "was unable to (?:start|launch) the specified application",
    'tried to fork a new process via the "execve"',
    "All nodes which are allocated for this job are already filled",
    r"A request was made to bind (?:to )?that would (?:result in binding|require binding)",
    BROKEN_INSTALLATION,
)
_RAN = any_of(
    "Primary job +terminated normally",
    "detected that one or more processes exited with non-zero status",
    r"noticed that process rank \d+ with PID \d+ on node \S+ exited on",
    "MPI_ABORT was invoked on rank",
    # Then a node died under a job; Open MPI 5 says now and then that its daemon did not start.
    SSH_LOST,
)
_LOST = any_of(
    r"(?:ORTE|PRTE|PRRTE) has lost communication with a remote daemon"
    r"[\s\S]*?^ *Remote daemon: .* on node (\S+)",
    r"A daemon failed to report back after being spawned[\s\S]*?^ *Remote host: +(\S+)",
    SSH_LOST,
)
_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
_ALIASES = {
    "np": "n",
    "H": "host",
    "hosts": "host",
    "hostfile": "host",
    "machinefile": "host",
}
#: It binds no rank to cores that others have, and version 5 none to cores of two sockets.
_BINDING = (
    option("--bind-to none", "none"),
    option("--bind-to core", "depth own_cores"),
    option("--bind-to core", "core own_cores"),
    option("--bind-to none", "depth !own_cores"),
    option("--bind-to none", "core !own_cores"),
    option("--bind-to none", "list"),
    option("--bind-to {wish}", "wish"),
)
#: Otherwise a domain takes no more ranks than it has cores.
_NUMA = "--bind-to numa:overload-allowed"
#: Its lists of CPUs want files, and their words change with each version.
_PREFIX = (option("taskset -c {held}", "list"),)
_HOSTS = (option("--host {hosts}", "listed"), option("--hostfile {hosts_file}", "filed"))

OPEN_MPI_4 = Flavour(
    name=families.OPEN_MPI_4,
    label="Open MPI 4 (ORTE)",
    rank_variable="OMPI_COMM_WORLD_RANK",
    line=(
        option("-n {ranks}"),
        option("--oversubscribe"),
        option("--map-by ppr:{per_node}:node", "hosts !own_cores"),
        option("--map-by ppr:{per_node}:node:PE={cores}", "depth own_cores"),
        option("--map-by ppr:{per_node}:node:PE={cores}", "core own_cores"),
        *_BINDING,
        option(_NUMA, "numa"),
        *_HOSTS,
    ),
    workers_line=(
        option("-n {ranks}"),
        option("--oversubscribe"),
        option("--map-by ppr:1:node"),
        option("--bind-to none"),
        option("--enable-recovery"),
        option("--mca orte_abort_on_non_zero_status 0"),
        *_HOSTS,
    ),
    prefix=_PREFIX,
    host="{host}:{per_node}",
    host_line="{host} slots={per_node}",
    variable="-x {name}",
    aliases=_ALIASES,
    missing=_MISSING,
    refused=_REFUSED,
    ran=_RAN,
    lost=_LOST,
    here_environment={"OMPI_MCA_ras": "^slurm,tm,lsf,alps,gridengine"},
    hosts_environment=INNER_SRUN,
    root_environment=_ROOT,
)
OPEN_MPI_5 = replace(
    OPEN_MPI_4,
    name=families.OPEN_MPI_5,
    label="Open MPI 5 (PRRTE)",
    line=(
        option("-n {ranks}"),
        option("--map-by :OVERSUBSCRIBE", "here !own_cores"),
        option("--map-by ppr:{per_node}:node:OVERSUBSCRIBE", "hosts !own_cores"),
        option("--map-by ppr:{per_node}:node:PE={cores}:OVERSUBSCRIBE", "depth own_cores"),
        option("--map-by ppr:{per_node}:node:PE={cores}:OVERSUBSCRIBE", "core own_cores"),
        *_BINDING,
        # It does not know of overload where it is told how many ranks a node gets.
        option(_NUMA, "numa !crowded"),
        option("--bind-to none", "numa crowded"),
        *_HOSTS,
    ),
    workers_line=(
        option("-n {ranks}"),
        option("--map-by ppr:1:node:OVERSUBSCRIBE"),
        option("--bind-to none"),
        option("--runtime-options continuous"),
        *_HOSTS,
    ),
    quiet_loss=True,
    here_environment={"PRTE_MCA_ras": "^slurm,pbs,tm,lsf,gridengine,alps,flux"},
)
