"""Hydra: the mpirun of MPICH, and Intel's."""

from __future__ import annotations

from collections.abc import Sequence

from balsam.platform import families
from balsam.platform.flavours.flavour import INNER_SRUN, Flavour, any_of, mask, option
from balsam.platform.flavours.messages import BROKEN_INSTALLATION, NOT_FOUND, SSH_LOST

_MISSING = any_of(rf"^\[proxy:[^\]\n]*\] .*execvp error on file (?P<program>.+) \({NOT_FOUND}\)$")
_REFUSED = any_of(
    r"^\[mpiexec@[^\]\n]+\] .*(?:unrecognized argument|duplicate setting|Missing executable"
    r"|error parsing parameters|process count should be|Launch proxy failed"
    r"|Unable to run bstrap_proxy|Error setting up the bootstrap proxies"
    r"|unable to get host address|unable to connect)",
    r"^\[proxy:[^\]\n]*\] .*execvp error on file ",
    BROKEN_INSTALLATION,
)
_RAN = any_of("BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES")
#: MPICH names no node; its ssh, if it uses one, does.
_LOST = any_of(
    r"Downstream from host (\S+) (?:exited abnormally|was killed)",
    SSH_LOST,
    r"control_cb .*assert \(!closed\) failed",
)
#: 255 is Hydra's own; 127 comes from a shell script around it, or from the dynamic linker.
_CODES = frozenset({127, 255})


def _user_list(ranks: Sequence[Sequence[int]]) -> str:
    """``user:0+4,1+5``."""
    return "user:" + ",".join("+".join(map(str, cpus)) for cpus in ranks)


def _domains(ranks: Sequence[Sequence[int]]) -> str:
    """``[0x11,0x22]``."""
    return f"[{','.join(map(mask, ranks))}]"


def _pinned(domain: str) -> dict[str, str]:
    return {"I_MPI_PIN": "1", "I_MPI_PIN_DOMAIN": domain}


#: Of each rank on its node. srun gives PMI_RANK also to the proxies that it starts.
_RANK = "MPI_LOCALRANKID"
_SIZE = (
    option("-n {ranks}"),
    option("-ppn {per_node}"),
    option("-hosts {hosts}", "listed"),
    option("-f {hosts_file}", "filed"),
)
_BINDING = (
    option("-bind-to {cpus}", "list"),
    option("-bind-to core:{cores}", "depth"),
    option("-bind-to core:{cores}", "core"),
    option("-bind-to numa", "numa"),
    option("-bind-to {wish}", "wish"),
)
_ALIASES = {
    "np": "n",
    "host": "hosts",
    "H": "hosts",
    "f": "hosts",
    "hostfile": "hosts",
    "machinefile": "hosts",
    "perhost": "ppn",
}

MPICH = Flavour(
    name=families.MPICH,
    label="MPICH (Hydra)",
    rank_variable=_RANK,
    line=(*_SIZE, *_BINDING),
    workers_line=_SIZE,
    params="dashes",
    cpu_list=_user_list,
    here_environment={"HYDRA_LAUNCHER": "fork", "HYDRA_RMK": "user"},
    hosts_environment=INNER_SRUN,
    aliases=_ALIASES,
    missing=(_MISSING,),
    refused=_REFUSED,
    ran=_RAN,
    lost=_LOST,
    failure_codes=_CODES,
)


INTEL = Flavour(
    name=families.INTEL,
    label="Intel MPI (Hydra)",
    rank_variable=_RANK,
    # Nothing else keeps it from starting even local ranks as a step of a Slurm job.
    line=(*_SIZE, option("-hosts localhost", "here")),
    workers_line=_SIZE,
    aliases=_ALIASES,
    missing=(_MISSING,),
    refused=_REFUSED,
    ran=_RAN,
    lost=_LOST,
    failure_codes=_CODES,
    hosts_environment=INNER_SRUN,
    # It binds every run to the first cores, so runs that share a node would share those.
    environment={"I_MPI_PIN": "0"},
    cpu_list=_domains,
    # The size of a domain is in hardware threads.
    binding_environment={
        "depth": _pinned("{domain}:compact"),
        "core": _pinned("{domain}:compact"),
        "numa": _pinned("numa"),
        "list": _pinned("{cpus}"),
        "wish": _pinned("{wish}"),
    },
)
