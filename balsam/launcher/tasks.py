"""From a leased job to the process that runs it: directory, arguments, environment."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from balsam.core import ids
from balsam.core.lease import RUN_COLUMNS
from balsam.errors import LaunchError
from balsam.launcher.node_pool import Placement, Request, requested
from balsam.platform import commandline, mpirun, workdirs
from balsam.platform.flavours import Launch
from balsam.platform.process import RunSpec

#: The variable by which the processes of one attempt are found again.
RUN_MARK = "BALSAM_RUN"
_NO_COMMAND = "The job has no command: neither an application nor a direct_command."
#: Keys of ``launch_params``: a directory to run in, false for a program that is run once and
#: calls mpirun itself, and true for a job that wants its nodes to itself.
CWD = "cwd"
MPIRUN = "mpirun"
WHOLE_NODES = "whole_nodes"
CPU_AFFINITY = "cpu_affinity"
#: What a task learns of itself: an mpirun that passes variables one by one has to be told them.
_OWN_VARIABLES = (
    "BALSAM_JOB_ID",
    "BALSAM_PARENT_IDS",
    "BALSAM_ATTEMPT",
    "BALSAM_DB_PATH",
    "BALSAM_SITE_PATH",
    "BALSAM_LAUNCHER_NODES",
    "BALSAM_JOB_MODE",
    "BALSAM_SESSION",
    "OMP_NUM_THREADS",
    RUN_MARK,
)


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
    row: Sequence[Any], parents: Sequence[str] = (), seconds: float | None = None
) -> Task:
    """A task from the ``RUN_COLUMNS`` of a leased row; ``seconds`` is what it will take."""
    value = dict(zip(RUN_COLUMNS, row, strict=True))
    environ = value["environ_vars"]
    key = value["job_id"]
    params = _params(value["launch_params"])
    request = requested(
        value["num_nodes"],
        value["ranks_per_node"],
        value["threads_per_rank"],
        value["threads_per_core"],
        value["node_packing_count"],
        value["gpus_per_rank"],
        params.get(WHOLE_NODES) is True,
        str(params.get(CPU_AFFINITY) or value["cpu_affinity"]),
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
        cwd=str(params.get(CWD) or ""),
        mpirun=params.get(MPIRUN) is not False,
        params=params,
        signal=value["signal"],
        signal_before_min=value["signal_before_min"],
        seconds=seconds,
    )


def _params(value: Any) -> Mapping[str, Any]:
    """Launch parameters as the driver gives them: JSON text, or read already."""
    if isinstance(value, str):
        return dict(json.loads(value)) if value != "{}" else {}
    return dict(value or {})


@dataclass(frozen=True)
class Mpi:
    """The mpirun to use and how it wants to be spoken to."""

    program: str
    flavour: mpirun.Flavour
    flags: Sequence[str] = ()


@dataclass(frozen=True)
class Draft:
    """A task made ready for its next attempt, wherever that will run."""

    task: Task
    app: Application
    workdir: str
    #: Whether the work directory had to be made.
    new: bool
    cwd: str
    env: Mapping[str, str]
    argv: Sequence[str]
    #: When it was made, in seconds of the monotonic clock.
    made: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Ground:
    """What the nodes of a launcher are like; ``here`` are short names of this one."""

    here: frozenset[str] = frozenset()
    #: The hardware threads (numbers of the operating system) of each core.
    cpus: Sequence[Sequence[int]] = ()
    #: Variables that name the GPUs of a task, and others that belong to them.
    gpu_masks: Sequence[str] = ("CUDA_VISIBLE_DEVICES",)
    gpu_environ: Mapping[str, str] = field(
        default_factory=lambda: {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    )


@dataclass(frozen=True)
class Preparer:
    """Turns tasks into run specifications, for one launcher."""

    data: Path
    environ: Mapping[str, str]
    mark: str = ""
    ground: Ground = field(default_factory=Ground)
    _programs: commandline.Programs = field(default_factory=commandline.Programs)

    def directory(self, task: Task) -> tuple[str, bool]:
        """The task's work directory, and whether it had to be made.

        Raises LaunchError and InvalidValue.
        """
        if task.user_workdir:
            own = os.path.expanduser(task.user_workdir)
            if os.path.isdir(own):
                return os.path.abspath(own), False
        relative = task.workdir or workdirs.relative_workdir(
            task.workflow, task.name, ids.short_id(task.job_id)
        )
        path = str(workdirs.resolve(self.data, relative))
        try:
            return path, _make_directory(path)
        except OSError as error:
            raise LaunchError(
                f"The work directory {path} can not be made: {error.strerror}."
            ) from error

    def draft(self, task: Task, app: Application) -> Draft:
        """The part of :meth:`spec` that needs no placement: it can be done ahead.

        Raises LaunchError, ProgramMissing and InvalidValue with the reason.
        """
        workdir, new = self.directory(task)
        cwd = chosen_directory(task.cwd) or workdir
        env = self._environ(task, app)
        command = ("the command", task.direct_command or app.executable)
        words = commandline.words(command, ("the arguments", task.args), empty=_NO_COMMAND)
        # mpirun tells a missing program in a way of its own, so look before.
        argv = self._programs.ready(words, cwd, env, app.envscript)
        return Draft(task, app, workdir, new, cwd, env, argv)

    def spec(self, draft: Draft, placement: Placement, mpi: Mpi | None) -> RunSpec:
        """What to start for the task's next attempt.

        What has the name of its output (an earlier output, or a file that was staged in) is moved
        aside.

        Raises LaunchError and ProgramMissing with the reason.
        """
        task, argv = draft.task, draft.argv
        given = self._given(task, placement)
        given.update(draft.app.environ)
        given.update(task.environ)
        env = dict(draft.env)
        if mpi is not None:
            names = dict.fromkeys((*_OWN_VARIABLES, *given))
            told = [name for name in names if name in given or name in env]
            launch = self._launch(task, placement, mpi, told, given)
            argv = mpi.flavour.run(mpi.program, argv, launch)
            env = {**mpi.flavour.environ(launch), **env}
        env.update(given)
        output = f"{draft.workdir}/{workdirs.output_name(task.name)}.out"
        if not draft.new and (task.attempt or _holds_something(output)):
            try:
                workdirs.keep_earlier(Path(output), task.attempt)
            except OSError as error:
                raise LaunchError(
                    f"The earlier output {output} can not be moved aside: {error.strerror}."
                ) from error
        # MPICH's mpirun dies of SIGPIPE if ranks end while it starts them; ranks get the default.
        return RunSpec(
            tuple(argv), draft.cwd, env, output, sigpipe=mpi is None, cpus=placement.cpus
        )

    def _launch(
        self,
        task: Task,
        placement: Placement,
        mpi: Mpi,
        variables: Sequence[str],
        given: Mapping[str, str],
    ) -> Launch:
        request = task.request
        alone = len(placement.nodes) == 1 and short(placement.nodes[0]) in self.ground.here
        hosts = () if alone and not mpi.flavour.remote else placement.nodes
        return Launch(
            ranks=task.ranks,
            ranks_per_node=request.ranks_per_node,
            hosts=hosts,
            threads_per_rank=request.threads_per_rank,
            threads_per_core=request.threads_per_core,
            binding=request.affinity,
            cores=[self.ground.cpus[core] for core in placement.core_ids],
            gpus_per_rank=request.gpus_per_rank,
            gpus=placement.gpus,
            masks={name: given[name] for name in self.ground.gpu_masks if name in given},
            variables=variables,
            flags=(*mpi.flags, *commandline.split(task.mpi_flags, "mpi_flags")),
            params=task.params,
        )

    def _given(self, task: Task, placement: Placement) -> dict[str, str]:
        """The variables that say what the attempt was given."""
        given = {} if task.mpirun else _share(task, placement)
        if placement.gpus:
            given.update(self.ground.gpu_environ)
            mask = ",".join(str(gpu) for gpu in placement.gpus)
            given.update(dict.fromkeys(self.ground.gpu_masks, mask))
        return given

    def _environ(self, task: Task, app: Application) -> dict[str, str]:
        """The environment of an attempt, but for what depends on where it runs."""
        env = dict(self.environ)
        env["BALSAM_JOB_ID"] = str(task.job_id)
        env["BALSAM_PARENT_IDS"] = json.dumps(list(task.parents))
        env["BALSAM_ATTEMPT"] = str(task.attempt + 1)
        env[RUN_MARK] = f"{self.mark}:{task.id}:{task.attempt + 1}"
        if task.request.threads_per_rank > 1:
            env["OMP_NUM_THREADS"] = str(task.request.threads_per_rank)
        env.update(app.environ)
        env.update(task.environ)
        return env


def short(host: str) -> str:
    """A host's name without its domain, which not everybody knows it by."""
    return host.partition(".")[0]


def chosen_directory(cwd: str) -> str:
    """The full path of ``launch_params["cwd"]``, '' without one. Raises LaunchError."""
    path = os.path.expanduser(cwd)
    if path and not os.path.isabs(path):
        raise LaunchError(f"launch_params names the relative directory '{cwd}'; give a full path.")
    return path


def _share(task: Task, placement: Placement) -> dict[str, str]:
    """What a program that starts its own ranks got, also in the words of Cobalt."""
    nodes = str(task.request.num_nodes)
    return {
        "BALSAM_NUM_NODES": nodes,
        "BALSAM_RANKS_PER_NODE": str(task.request.ranks_per_node),
        "BALSAM_NODES": ",".join(placement.nodes),
        "BALSAM_CORES_PER_NODE": str(max(1, int(placement.cores))),
        "COBALT_JOBSIZE": nodes,
        "COBALT_PARTSIZE": nodes,
    }


def _holds_something(path: str) -> bool:
    try:
        return os.lstat(path).st_size > 0
    except OSError:
        return False


def _make_directory(path: str) -> bool:
    """Make a directory if there is none; whether there was none."""
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return False
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)
    return True
