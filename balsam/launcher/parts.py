"""The parts of a launcher, made after its project's settings and the options it was given."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Mapping, Sequence

from balsam.conf.machines import AUTO
from balsam.conf.project import Project
from balsam.conf.settings import Mpi as MpiSettings
from balsam.core.lease import Scope
from balsam.launcher import doubts, recovery, runs
from balsam.launcher.attempts import Attempts, Bounds
from balsam.launcher.ensemble.ensemble import Ensemble, keeper_command, rank_command
from balsam.launcher.ensemble.protocol import Hands
from balsam.launcher.mpi import MpiFinder
from balsam.launcher.node_pool import NodePool
from balsam.launcher.onlookers import Onlookers
from balsam.launcher.options import SERIAL, LauncherOptions
from balsam.launcher.preparing import Ground, Preparer
from balsam.launcher.resources import Resources, Starts, has_this_node, names_of_this_node
from balsam.launcher.steps import Steps
from balsam.launcher.tasks import Mpi
from balsam.platform import allocation as allocations
from balsam.platform.flavours import FLAVOURS, Launch
from balsam.platform.process import RunSpec
from balsam.transitions.pool import StepPool

#: What finds this Python and its libraries on other nodes.
_FOR_WORKERS = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")


def node_pool(given: Resources, job_mode: str) -> NodePool:
    """Its nodes, to be shared out.

    What keeps jobs from sharing a node is that each has a launch of its own there; workers that
    run serial jobs only are all of one launch.
    """
    pack = given.pack or job_mode == SERIAL
    return NodePool(given.nodes, given.shape, given.max_ranks, pack)


def finder(starts: Starts) -> MpiFinder:
    """What finds out which MPI it is that starts ranks."""
    config = MpiSettings(mpirun=starts.program, flavour=starts.flavour, flags=starts.flags)
    return MpiFinder(config, os.environ, starts.said_by)


def by_slurm(given: Resources, found: Mpi, environ: Mapping[str, str]) -> Mpi | None:
    """srun in place of an mpirun that would end with the first node that dies; None elsewhere.

    Slurm ends whatever belongs to a step together with it, so the workers are better off in a step
    that goes on without a node. Programs of MPICH and Intel MPI find each other there by PMI-2.
    """
    program = shutil.which("srun", path=environ.get("PATH"))
    hydra = found.flavour in (FLAVOURS["mpich"], FLAVOURS["intel"])
    if given.scheduler != allocations.SLURM or given.workers.program != AUTO:
        return None
    if program is None or not hydra:
        return None
    flags = () if environ.get("SLURM_MPI_TYPE") else ("--mpi=pmi2",)
    return Mpi(program, FLAVOURS["srun"], flags)


def is_here(given: Resources) -> bool:
    """Whether there is no node but this one, so that no worker is needed on any."""
    return len(given.nodes) == 1 and has_this_node(given.nodes)


def marks(
    project: Project, options: LauncherOptions, given: Resources, session: int
) -> dict[str, str]:
    """What the environment of each of its processes says of it."""
    return {
        recovery.SESSION_MARK: recovery.mark(project.id, session),
        "BALSAM_DB_PATH": str(project.path),
        "BALSAM_SITE_PATH": str(project.path),
        "BALSAM_LAUNCHER_NODES": str(len(given.nodes)),
        "BALSAM_JOB_MODE": options.job_mode,
    }


def attempts(
    project: Project,
    options: LauncherOptions,
    given: Resources,
    nodes: NodePool,
    mpi: MpiFinder,
    marks: dict[str, str],
    hands: Hands | None,
    onlookers: Onlookers | None,
) -> Attempts:
    """What will run its tasks."""
    environ = runs.own_environ(dict(os.environ), marks)
    ground = Ground(
        names_of_this_node(),
        given.shape.cpus,
        given.alike,
        given.gpu_masks,
        given.gpu_environ or {},
        bool(given.shape.gpus),
    )
    left = given.seconds_left(time.time())
    bounds = Bounds(
        given.max_concurrent_mpiruns,
        given.max_launches,
        None if left is None else time.monotonic() + left,
        doubts.DOUBT_SECONDS if given.scheduler else 0.0,
    )
    preparer = Preparer(project.data, environ, marks[recovery.SESSION_MARK], ground)
    config = project.settings().launcher
    return Attempts(nodes, preparer, config, mpi, options.job_mode, bounds, hands, onlookers)


def hands(
    project: Project, given: Resources, workers: Mpi, session: int, marks: dict[str, str]
) -> Hands:
    """Workers on all its nodes, which run serial tasks and look after ranks."""
    environ = runs.own_environ(dict(os.environ), marks)
    log = str(project.log / f"ensemble-{session}.log")
    variables = [name for name in _FOR_WORKERS if name in environ]
    numbers = itertools.count(1)

    def start(nodes: Sequence[str]) -> RunSpec:
        flavour, program = workers.flavour, workers.program
        hosts = str(project.log / f"ensemble-{session}-{next(numbers)}.hosts")
        argv = flavour.workers(program, nodes, rank_command(), variables, workers.flags, hosts)
        env = {**flavour.environ(Launch(len(nodes), 1, nodes)), **environ}
        return RunSpec(tuple(argv), "/", env, log, append=True)

    config = project.settings().launcher
    session_mark = marks[recovery.SESSION_MARK]
    keepers = None
    if workers.flavour is FLAVOURS["srun"]:
        argv = workers.flavour.workers(
            workers.program, given.nodes, keeper_command(session_mark), flags=("--mpi=none",)
        )
        keepers = RunSpec(tuple(argv), "/", environ, log, append=True)
    return Ensemble(
        given.nodes,
        start,
        session_mark,
        environ,
        tail_lines=config.error_tail_lines,
        lease_seconds=config.lease_seconds,
        cpus=sorted(set(itertools.chain.from_iterable(given.shape.cpus))),
        keepers=keepers,
    )


def steps(
    project: Project,
    options: LauncherOptions,
    session: int,
    scope: Scope,
    marks: dict[str, str],
    worker_log: str | None,
) -> Steps:
    """What will do the steps before and after them."""
    config = project.settings().transitions
    number = options.num_transition_threads
    return Steps(
        StepPool(
            config.num_workers if number is None else max(1, number),
            config.worker_crash_limit,
            log=worker_log,
        ),
        session,
        scope,
        project.data,
        marks,
        config.hook_time_limit_seconds,
    )
