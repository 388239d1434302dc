"""From a leased job to the process that runs it: directory, arguments, environment."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from balsam.core import ids
from balsam.errors import BalsamError, LaunchError
from balsam.launcher.ensemble.protocol import RUN_MARK
from balsam.launcher.node_pool import Placement
from balsam.launcher.placement.request import NONE
from balsam.launcher.tasks import Application, Mpi, Task, short
from balsam.platform import commandline, nodelist, variables, workdirs
from balsam.platform.allotment import MASKS, NO_GPU
from balsam.platform.flavours import Launch
from balsam.platform.launch_params import chosen_directory
from balsam.platform.process import RunSpec, reason

_NO_COMMAND = (
    "The job has no command: neither an application with an executable nor a direct_command."
)
_NONE: Mapping[str, str] = {}
#: What was prepared longer ago than this is prepared anew: files and programs come and go.
DRAFT_SECONDS = 0.5
#: What a task learns of itself: an mpirun that passes variables one by one has to be told them.
_OWN_VARIABLES = (
    "BALSAM_JOB_ID",
    variables.PARENT_IDS,
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
    #: Whether these are their numbers on each node, or on this one alone.
    alike: bool = True
    #: Variables that name the GPUs of a task, and others that belong to them.
    gpu_masks: Sequence[str] = ()
    gpu_environ: Mapping[str, str] = field(default_factory=dict)
    #: Whether there are any to give out.
    has_gpus: bool = False


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
        path = workdirs.resolve_text(os.fspath(self.data), relative)
        try:
            return path, _make_directory(path)
        except (OSError, ValueError) as error:
            raise LaunchError(
                f"The work directory {path} can not be made: {reason(error)}."
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
        task, argv, program = draft.task, draft.argv, ""
        given = self._given(task, placement)
        given.update(draft.app.environ)
        given.update(task.environ)
        env = dict(draft.env)
        output = f"{draft.workdir}/{workdirs.output_name(task.name)}.out"
        if mpi is not None:
            names = dict.fromkeys((*_OWN_VARIABLES, *given))
            told = [name for name in names if name in given or name in env]
            launch = self.launch(task, placement, mpi, told, given)
            launch = mpi.flavour.filed(launch, f"{output}.hosts")
            program = argv[0]
            argv = mpi.flavour.run(mpi.program, argv, launch)
            env = {**mpi.flavour.environ(launch), **env}
        env.update(given)
        if not draft.new and (task.attempt or _holds_something(output)):
            try:
                workdirs.keep_earlier(Path(output), task.attempt)
            except (OSError, ValueError) as error:
                raise LaunchError(
                    f"The earlier output {output} can not be moved aside: {reason(error)}."
                ) from error
        # MPICH's mpirun dies of SIGPIPE if ranks end while it starts them; ranks get the default.
        return RunSpec(
            tuple(argv),
            draft.cwd,
            env,
            output,
            sigpipe=mpi is None,
            cpus=placement.cpus,
            program=program,
        )

    def is_here(self, nodes: Iterable[str]) -> bool:
        """Whether any of these is the node that this is."""
        return any(short(name) in self.ground.here for name in nodes)

    def launch(
        self,
        task: Task,
        placement: Placement,
        mpi: Mpi,
        variables: Sequence[str] = (),
        given: Mapping[str, str] = _NONE,
    ) -> Launch:
        """What an mpirun is to start for a task; ``variables`` it is to pass on, and masks of GPUs.

        Raises LaunchError.
        """
        request = task.request
        alone = len(placement.nodes) == 1 and self.is_here(placement.nodes)
        hosts = () if alone and not mpi.flavour.remote else placement.nodes
        cores = [self.ground.cpus[core] for core in placement.core_ids]
        binding = request.affinity
        if cores and not (self.ground.alike or self.is_here(placement.nodes)):
            # Which CPUs these are, only their node can tell.
            cores, binding = [], NONE
        return Launch(
            ranks=task.ranks,
            ranks_per_node=request.ranks_per_node,
            hosts=hosts,
            threads_per_rank=request.threads_per_rank,
            threads_per_core=request.threads_per_core,
            binding=binding,
            cores=cores,
            node_cpus=self.ground.cpus,
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
        ground = self.ground
        if placement.gpus:
            given.update(ground.gpu_environ)
            mask = ",".join(str(gpu) for gpu in placement.gpus)
            given.update(dict.fromkeys(ground.gpu_masks, mask))
        elif ground.has_gpus and placement.core_ids:
            # It has a part of a node: the GPUs are given to those that have the rest.
            given.update((name, NO_GPU) for name in ground.gpu_masks if name in MASKS)
        return given

    def _environ(self, task: Task, app: Application) -> dict[str, str]:
        """The environment of an attempt, but for what depends on where it runs."""
        env = dict(self.environ)
        env["BALSAM_JOB_ID"] = str(task.job_id)
        env.update(variables.listed(variables.PARENT_IDS, task.parents))
        env["BALSAM_ATTEMPT"] = str(task.attempt + 1)
        env[RUN_MARK] = f"{self.mark}:{task.id}:{task.attempt + 1}"
        if task.request.threads_per_rank > 1:
            env["OMP_NUM_THREADS"] = str(task.request.threads_per_rank)
        env.update(app.environ)
        env.update(task.environ)
        return env


class Drafts:
    """The next task that has to wait, made ready meanwhile."""

    def __init__(self, preparer: Preparer) -> None:
        self._preparer = preparer
        self._draft: Draft | None = None

    def prepare(self, task: Task, app: Application) -> None:
        """Do what can be done of a start that has to wait; what speaks against it is told then."""
        self._draft = self._fresh(task, app)
        if self._draft is None:
            with contextlib.suppress(BalsamError):
                self._draft = self._preparer.draft(task, app)

    def take(self, task: Task, app: Application) -> Draft:
        """What was made ready for a task, if it still holds; else it is done now."""
        draft, self._draft = self._fresh(task, app), None
        return draft or self._preparer.draft(task, app)

    def _fresh(self, task: Task, app: Application) -> Draft | None:
        draft = self._draft
        if draft is None or draft.task is not task or draft.app is not app:
            return None
        return draft if time.monotonic() < draft.made + DRAFT_SECONDS else None


def _share(task: Task, placement: Placement) -> dict[str, str]:
    """What a program that starts its own ranks got, also in the words of Cobalt."""
    nodes = str(task.request.num_nodes)
    return {
        "BALSAM_NUM_NODES": nodes,
        "BALSAM_RANKS_PER_NODE": str(task.request.ranks_per_node),
        "BALSAM_NODES": _listed(placement.nodes),
        "BALSAM_CORES_PER_NODE": str(max(1, int(placement.cores))),
        "COBALT_JOBSIZE": nodes,
        "COBALT_PARTSIZE": nodes,
    }


def _listed(nodes: Sequence[str]) -> str:
    """With commas; in bracket form where a variable could not hold that."""
    listed = ",".join(nodes)
    return listed if len(listed) <= variables.LONGEST_LIST else nodelist.compress(nodes)


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
