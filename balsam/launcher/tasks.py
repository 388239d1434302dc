"""Leased jobs, as a launcher reads them."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from balsam.core import ids
from balsam.core.lease import RUN_COLUMNS
from balsam.launcher.node_pool import Request, requested
from balsam.platform import mpirun
from balsam.platform.launch_params import CPU_AFFINITY, CWD, MPIRUN, WHOLE_NODES

#: Most jobs have none: one object for all of them.
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Application:
    """What a launcher needs of an application."""

    executable: str = ""
    envscript: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """A leased job, as read when it was leased. There are as many as run, so it is kept small."""

    id: int
    job_id: uuid.UUID
    workflow: str
    name: str
    state: str
    attempt: int
    lost_attempts: int
    app_id: int | None
    direct_command: str
    args: str
    environ: Mapping[str, str]
    request: Request
    mpi_flags: str
    wall_time_minutes: int
    time_limit_minutes: float
    workdir: str
    user_workdir: str
    parents: Sequence[str] = ()
    #: Where to run, if not in the work directory, which keeps the output.
    cwd: str = ""
    #: Whether more than one rank means mpirun; False runs the program once, in all it asks for.
    mpirun: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)
    #: The signal to send so many minutes before the launcher's end, '' for none.
    signal: str = ""
    signal_before_min: float = 0.0
    #: How long it will take, None where nobody knows.
    seconds: float | None = None

    @property
    def label(self) -> str:
        """``[name | 9a3c11f0]``."""
        return ids.label(self.name, self.job_id)

    @property
    def ranks(self) -> int:
        """MPI ranks over all nodes."""
        return self.request.num_nodes * self.request.ranks_per_node


def from_row(
    row: Sequence[Any],
    parents: Sequence[str] = (),
    seconds: float | None = None,
    *,
    alone: bool = False,
) -> Task:
    """A task from the ``RUN_COLUMNS`` of a leased row; ``seconds`` is what it will take.

    One that is to be ``alone`` gets nodes of its own, whatever it asks for.
    """
    value = dict(zip(RUN_COLUMNS, row, strict=True))
    key = value["job_id"]
    params = _mapping(value["launch_params"])
    request = requested(
        value["num_nodes"],
        value["ranks_per_node"],
        value["threads_per_rank"],
        value["threads_per_core"],
        value["node_packing_count"],
        value["gpus_per_rank"],
        alone or params.get(WHOLE_NODES) is True,
        str(params.get(CPU_AFFINITY) or value["cpu_affinity"]),
    )
    return Task(
        id=value["id"],
        job_id=key if isinstance(key, uuid.UUID) else uuid.UUID(key),
        workflow=sys.intern(value["workflow"]),
        name=value["name"],
        state=sys.intern(value["state"]),
        attempt=value["attempt"],
        lost_attempts=value["lost_attempts"],
        app_id=value["app_id"],
        direct_command=value["direct_command"],
        args=value["args"],
        environ=_mapping(value["environ_vars"]),
        request=request,
        mpi_flags=value["mpi_flags"],
        wall_time_minutes=value["wall_time_minutes"],
        time_limit_minutes=value["time_limit_minutes"],
        workdir=value["workdir"],
        user_workdir=value["user_workdir"],
        parents=parents,
        cwd=str(params.get(CWD) or ""),
        mpirun=params.get(MPIRUN) is not False,
        params=params,
        signal=value["signal"],
        signal_before_min=value["signal_before_min"],
        seconds=seconds,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    """A mapping as the driver gives it: JSON text, or read already."""
    if isinstance(value, str):
        return dict(json.loads(value)) if value != "{}" else _NOTHING
    return value or _NOTHING


@dataclass(frozen=True)
class Mpi:
    """The mpirun to use and how it wants to be spoken to."""

    program: str
    flavour: mpirun.Flavour
    flags: Sequence[str] = ()


def short(host: str) -> str:
    """A host's name without its domain, which not everybody knows it by."""
    return host.partition(".")[0]
