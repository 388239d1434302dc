"""From a leased job to the process that runs it: directory, arguments, environment."""

from __future__ import annotations

import json
import os
import re
import shlex
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from balsam.core import ids
from balsam.core.lease import RUN_COLUMNS
from balsam.errors import LaunchError, ProgramMissing
from balsam.launcher.node_pool import Placement, Request
from balsam.platform import mpirun, process, workdirs
from balsam.platform.process import RunSpec

#: The variable by which the processes of one attempt are found again.
MARK = "BALSAM_RUN"


@dataclass(frozen=True)
class Application:
    """What a launcher needs of an application."""

    executable: str = ""
    envscript: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A leased job, as read when it was leased."""

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

    @property
    def label(self) -> str:
        """``[name | 9a3c11f0]``."""
        short = ids.short_id(self.job_id)
        return f"[{self.name} | {short}]" if self.name else f"[{short}]"

    @property
    def ranks(self) -> int:
        """MPI ranks over all nodes."""
        return self.request.num_nodes * self.request.ranks_per_node


def from_row(row: Sequence[Any], parents: Sequence[str] = ()) -> Task:
    """A task from the ``RUN_COLUMNS`` of a leased row."""
    value = dict(zip(RUN_COLUMNS, row, strict=True))
    environ = value["environ_vars"]
    key = value["job_id"]
    request = Request(
        num_nodes=value["num_nodes"],
        ranks_per_node=value["ranks_per_node"],
        threads_per_rank=value["threads_per_rank"],
        threads_per_core=value["threads_per_core"],
        node_packing_count=value["node_packing_count"],
        gpus_per_rank=value["gpus_per_rank"],
    )
    return Task(
        id=value["id"],
        job_id=key if isinstance(key, uuid.UUID) else uuid.UUID(key),
        workflow=value["workflow"],
        name=value["name"],
        state=value["state"],
        attempt=value["attempt"],
        lost_attempts=value["lost_attempts"],
        app_id=value["app_id"],
        direct_command=value["direct_command"],
        args=value["args"],
        environ=json.loads(environ) if isinstance(environ, str) else environ,
        request=request,
        mpi_flags=value["mpi_flags"],
        wall_time_minutes=value["wall_time_minutes"],
        time_limit_minutes=value["time_limit_minutes"],
        workdir=value["workdir"],
        user_workdir=value["user_workdir"],
        parents=parents,
    )


@dataclass(frozen=True)
class Mpi:
    """The mpirun to use and how it wants to be spoken to."""

    program: str
    flavour: mpirun.Flavour
    flags: Sequence[str] = ()


@dataclass(frozen=True)
class Preparer:
    """Turns tasks into run specifications, for one launcher."""

    data: Path
    environ: Mapping[str, str]
    mark: str = ""
    _programs: dict[tuple[str, str], str] = field(default_factory=dict)

    def directory(self, task: Task) -> str:
        """The task's work directory, made if need be. Raises LaunchError and InvalidValue."""
        if task.user_workdir:
            own = os.path.expanduser(task.user_workdir)
            if os.path.isdir(own):
                return os.path.abspath(own)
        relative = task.workdir or workdirs.relative_workdir(
            task.workflow, task.name, ids.short_id(task.job_id)
        )
        path = str(workdirs.resolve(self.data, relative))
        try:
            _make_directory(path)
        except OSError as error:
            raise LaunchError(
                f"The work directory {path} can not be made: {error.strerror}."
            ) from error
        return path

    def spec(
        self, task: Task, app: Application, placement: Placement, mpi: Mpi | None
    ) -> RunSpec:
        """What to start for the task's next attempt; its earlier output is moved aside.

        Raises LaunchError, ProgramMissing and InvalidValue with the reason.
        """
        cwd = self.directory(task)
        env = self._environ(task, app, placement, mpi)
        argv = command(task.direct_command or app.executable, task.args)
        if app.envscript:
            script = os.path.expanduser(app.envscript)
            argv = ["/bin/sh", "-c", '. "$0" && exec "$@"', script, *argv]
        argv[0] = self._program(argv[0], cwd, env)
        if mpi is not None:
            argv = mpi.flavour.command(
                mpi.program,
                argv,
                ranks=task.ranks,
                ranks_per_node=task.request.ranks_per_node,
                threads_per_rank=task.request.threads_per_rank,
                flags=(*mpi.flags, *split(task.mpi_flags, "mpi_flags")),
            )
        output = f"{cwd}/{workdirs.output_name(task.name)}.out"
        if task.attempt or task.user_workdir or task.workdir:
            try:
                workdirs.keep_earlier(Path(output), task.attempt)
            except OSError as error:
                raise LaunchError(
                    f"The earlier output {output} can not be moved aside: {error.strerror}."
                ) from error
        # MPICH's mpirun dies of SIGPIPE if ranks end while it starts them; ranks get the default.
        return RunSpec(tuple(argv), cwd, env, output, sigpipe=mpi is None)

    def _program(self, program: str, cwd: str, env: Mapping[str, str]) -> str:
        """Where the program is. mpirun tells a missing one in a way of its own, so look before."""
        if os.sep not in program:
            known = self._programs.get((program, env["PATH"]))
            if known is None:
                known = process.find_program(program, env)
                self._programs[program, env["PATH"]] = known
            return known
        path = os.path.join(cwd, program)
        if not os.access(path, os.X_OK):
            reason = "it is not executable" if os.path.exists(path) else "it is not there"
            raise ProgramMissing(f"The program '{program}' can not be run: {reason}.")
        return program

    def _environ(
        self, task: Task, app: Application, placement: Placement, mpi: Mpi | None
    ) -> dict[str, str]:
        env = {**(mpi.flavour.environ() if mpi else {}), **self.environ}
        env["BALSAM_JOB_ID"] = str(task.job_id)
        env["BALSAM_PARENT_IDS"] = json.dumps(list(task.parents))
        env["BALSAM_ATTEMPT"] = str(task.attempt + 1)
        env[MARK] = f"{self.mark}:{task.id}:{task.attempt + 1}"
        if task.request.threads_per_rank > 1:
            env["OMP_NUM_THREADS"] = str(task.request.threads_per_rank)
        if placement.gpus:
            env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
            env["CUDA_VISIBLE_DEVICES"] = ",".join(str(gpu) for gpu in placement.gpus)
        env.update(app.environ)
        env.update(task.environ)
        return env


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)


_QUOTING = re.compile(r"""["'\\]""")


def command(program: str, args: str) -> list[str]:
    """The argument list of a job; ``~`` is expanded in each word. Raises LaunchError."""
    words = [*split(program, "the command"), *split(args, "the arguments")]
    if not words:
        raise LaunchError("The job has no command: neither an application nor a direct_command.")
    return [os.path.expanduser(word) if word.startswith("~") else word for word in words]


def split(text: str, what: str) -> list[str]:
    """Words of a command line, quotes taken into account. Raises LaunchError."""
    if not _QUOTING.search(text):
        return text.split()
    try:
        return shlex.split(text)
    except ValueError as error:
        raise LaunchError(
            f"{what.capitalize()} can not be split into words ({error}): {text}"
        ) from error
