"""The flavours of mpirun as data: command lines, variables, and how each says a launch failed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_NOT_FOUND = r"(?:No such file or directory|Permission denied|Exec format error|Not a directory)"
#: A launcher that can not even load: its libraries or its other programs are missing.
_BROKEN_INSTALLATION = (
    r"^\S*(?:mpirun|mpiexec|mpiexec\.hydra|hydra_\w+|prterun|prted|orted): "
    r"(?:error while loading shared libraries|(?:line )?\d+: \S+: not found)"
)


@dataclass(frozen=True)
class Flavour:
    """One family of mpirun. Options are templates of {ranks} {ranks_per_node} {threads} {hosts}."""

    name: str
    label: str
    #: Options on this node alone, and those on named nodes.
    one_node: tuple[tuple[str, ...], ...]
    many_nodes: tuple[tuple[str, ...], ...]
    #: How one entry of {hosts} is written.
    host: str
    #: Messages that a program can not be run; each names the ``program``.
    missing: tuple[re.Pattern[str], ...]
    #: Messages that the ranks could not be started.
    refused: re.Pattern[str]
    #: Messages that prove that the ranks did start, so that the failure is the program's own.
    ran: re.Pattern[str]
    #: The exit codes of a launch that failed; none means that it may be any.
    failure_codes: frozenset[int] = frozenset()
    environment: Mapping[str, str] = field(default_factory=dict)
    root_environment: Mapping[str, str] = field(default_factory=dict)

    def command(
        self,
        mpirun: str,
        argv: Sequence[str],
        ranks: int,
        ranks_per_node: int,
        hosts: Sequence[str] = (),
        threads_per_rank: int = 1,
        flags: Sequence[str] = (),
    ) -> list[str]:
        """The line that runs ``argv`` on ``ranks`` unbound ranks, more than cores if need be.

        Without ``hosts`` all ranks run on this node. ``flags`` are the user's; an option given
        there replaces Balsam's own of that name, for launchers refuse to be told twice.
        """
        entries = (self.host.format(host=host, ranks_per_node=ranks_per_node) for host in hosts)
        values = {
            "ranks": ranks,
            "ranks_per_node": ranks_per_node,
            "threads": threads_per_rank,
            "hosts": ",".join(entries),
        }
        given = {_option_name(flag) for flag in flags if flag.startswith("-")}
        line = [mpirun]
        for option in self.many_nodes if hosts else self.one_node:
            if _option_name(option[0]) not in given:
                line += [part.format(**values) for part in option]
        return [*line, *flags, *argv]

    def environ(self) -> dict[str, str]:
        """Variables the launcher needs beside the job's; those the user has set go before them."""
        return {**self.environment, **(self.root_environment if os.geteuid() == 0 else {})}


def _option_name(option: str) -> str:
    name = option.lstrip("-").partition("=")[0]
    return {"np": "n", "host": "hosts", "H": "hosts", "perhost": "ppn"}.get(name, name)


def _any_of(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{text})" for text in alternatives), re.MULTILINE)


_HYDRA_MISSING = _any_of(
    rf"^\[proxy:[^\]\n]*\] .*execvp error on file (?P<program>.+) \({_NOT_FOUND}\)$"
)
_HYDRA_REFUSED = _any_of(
    r"^\[mpiexec@[^\]\n]+\] .*(?:unrecognized argument|duplicate setting|Missing executable"
    r"|error parsing parameters|process count should be|Launch proxy failed"
    r"|Unable to run bstrap_proxy|Error setting up the bootstrap proxies"
    r"|unable to get host address|unable to connect)",
    r"^\[proxy:[^\]\n]*\] .*execvp error on file ",
    _BROKEN_INSTALLATION,
)
_HYDRA_RAN = _any_of("BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES")
#: 255 is Hydra's own; 127 comes from a shell script around it, or from the dynamic linker.
_HYDRA_CODES = frozenset({127, 255})

_OPEN_MPI_MISSING = (
    _any_of(
        r"was unable to (?:find the specified executable file|launch the specified application"
        r" as it)[\s\S]*?^ *Executable: +(?P<program>.+?) *$"
    ),
    _any_of(
        r'tried to fork a new process via the "execve"[\s\S]*?'
        rf"^ *Application name: +(?P<program>.+?) *\s+Error: .*(?:{_NOT_FOUND}|bad interpreter)"
    ),
)
_OPEN_MPI_REFUSED = _any_of(
    "not enough slots available|number of available slots when deciding the number of processes",
    "An unrecognized option was included on the|Error: unknown option",
    "command line option was listed more than once",
    "No executable was specified on the|has detected an attempt to run as root",
    "A daemon failed to report back after being spawned",
    "(?:ORTE|PRTE) was unable to reliably start one or more daemons",
    "(?:ORTE|PRTE|PRRTE) daemon has unexpectedly failed after launch",
    "was unable to find the specified executable file",
    "was unable to (?:start|launch) the specified application",
    'tried to fork a new process via the "execve"',
    "All nodes which are allocated for this job are already filled",
    r"A request was made to bind (?:to )?that would (?:result in binding|require binding)",
    _BROKEN_INSTALLATION,
)
_OPEN_MPI_RAN = _any_of(
    "Primary job +terminated normally",
    "detected that one or more processes exited with non-zero status",
    r"noticed that process rank \d+ with PID \d+ on node \S+ exited on",
    "MPI_ABORT was invoked on rank",
)
_OPEN_MPI_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

MPICH = Flavour(
    name="mpich",
    label="MPICH (Hydra)",
    one_node=(("-n", "{ranks}"), ("-ppn", "{ranks_per_node}")),
    many_nodes=(("-n", "{ranks}"), ("-ppn", "{ranks_per_node}"), ("-hosts", "{hosts}")),
    host="{host}",
    missing=(_HYDRA_MISSING,),
    refused=_HYDRA_REFUSED,
    ran=_HYDRA_RAN,
    failure_codes=_HYDRA_CODES,
)
INTEL = Flavour(
    name="intel",
    label="Intel MPI (Hydra)",
    one_node=MPICH.one_node,
    many_nodes=MPICH.many_nodes,
    host="{host}",
    missing=(_HYDRA_MISSING,),
    refused=_HYDRA_REFUSED,
    ran=_HYDRA_RAN,
    failure_codes=_HYDRA_CODES,
    # It binds every run to the first cores, so runs that share a node would share those.
    environment={"I_MPI_PIN": "0"},
)
OPEN_MPI_4 = Flavour(
    name="openmpi4",
    label="Open MPI 4 (ORTE)",
    one_node=(("-n", "{ranks}"), ("--oversubscribe",), ("--bind-to", "none")),
    many_nodes=(
        ("-n", "{ranks}"),
        ("--oversubscribe",),
        ("--map-by", "ppr:{ranks_per_node}:node"),
        ("--bind-to", "none"),
        ("--host", "{hosts}"),
    ),
    host="{host}:{ranks_per_node}",
    missing=_OPEN_MPI_MISSING,
    refused=_OPEN_MPI_REFUSED,
    ran=_OPEN_MPI_RAN,
    root_environment=_OPEN_MPI_ROOT,
)
OPEN_MPI_5 = Flavour(
    name="openmpi5",
    label="Open MPI 5 (PRRTE)",
    one_node=(("-n", "{ranks}"), ("--map-by", ":OVERSUBSCRIBE"), ("--bind-to", "none")),
    many_nodes=(
        ("-n", "{ranks}"),
        ("--map-by", "ppr:{ranks_per_node}:node:OVERSUBSCRIBE"),
        ("--bind-to", "none"),
        ("--host", "{hosts}"),
    ),
    host="{host}:{ranks_per_node}",
    missing=_OPEN_MPI_MISSING,
    refused=_OPEN_MPI_REFUSED,
    ran=_OPEN_MPI_RAN,
    root_environment=_OPEN_MPI_ROOT,
)

FLAVOURS = {flavour.name: flavour for flavour in (MPICH, INTEL, OPEN_MPI_4, OPEN_MPI_5)}
