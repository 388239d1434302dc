"""Hydra: the mpirun of MPICH, and Intel's."""

from __future__ import annotations

from collections.abc import Sequence

from balsam.platform.flavours.flavour import Flavour, any_of, option
from balsam.platform.flavours.messages import BROKEN_INSTALLATION, NOT_FOUND

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
#: 255 is Hydra's own; 127 comes from a shell script around it, or from the dynamic linker.
_CODES = frozenset({127, 255})


def _user_list(ranks: Sequence[Sequence[int]]) -> str:
    """``user:0+4,1+5``."""
    return "user:" + ",".join("+".join(map(str, cpus)) for cpus in ranks)


_SIZE = (option("-n {ranks}"), option("-ppn {per_node}"), option("-hosts {hosts}", "hosts"))
_BINDING = (
    option("-bind-to {cpus}", "list"),
    option("-bind-to hwthread:{threads}", "depth"),
    option("-bind-to core:{cores}", "core"),
    option("-bind-to numa", "numa"),
    option("-bind-to {wish}", "wish"),
)
_ALIASES = {"np": "n", "host": "hosts", "H": "hosts", "perhost": "ppn"}

MPICH = Flavour(
    name="mpich",
    label="MPICH (Hydra)",
    line=(*_SIZE, *_BINDING),
    workers_line=_SIZE,
    params="dashes",
    cpu_list=_user_list,
    aliases=_ALIASES,
    missing=(_MISSING,),
    refused=_REFUSED,
    ran=_RAN,
    failure_codes=_CODES,
)


INTEL = Flavour(
    name="intel",
    label="Intel MPI (Hydra)",
    line=_SIZE,
    workers_line=_SIZE,
    aliases=_ALIASES,
    missing=(_MISSING,),
    refused=_REFUSED,
    ran=_RAN,
    failure_codes=_CODES,
    # It binds every run to the first cores, so runs that share a node would share those.
    environment={"I_MPI_PIN": "0"},
)
