"""The parts of a launcher, made after its project's settings and the options it was given."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

from balsam.conf.project import Project
from balsam.conf.settings import Launcher as LauncherSettings
from balsam.core import history
from balsam.core.lease import Scope
from balsam.core.offer import Offer
from balsam.core.sessions import Life
from balsam.launcher import recovery, runs
from balsam.launcher.attempts import Attempts
from balsam.launcher.mpi import MpiFinder
from balsam.launcher.node_pool import NodePool
from balsam.launcher.options import LauncherOptions
from balsam.launcher.recovery import Recovery
from balsam.launcher.steps import Steps
from balsam.launcher.tasks import Preparer
from balsam.platform import node
from balsam.platform.shape import this_node, uniform
from balsam.transitions.pool import StepPool


def node_pool(config: LauncherSettings, options: LauncherOptions) -> NodePool:
    """This node, with the cores and GPUs that it has or is said to have."""
    machine = node.this_node()
    gpus = config.gpus_per_node if options.gpus_per_node is None else options.gpus_per_node
    names = tuple(map(str, range(gpus)))
    if config.cores_per_node:
        shape = uniform(config.cores_per_node, gpus=names)
    else:
        shape = replace(this_node(separate_threads=True), gpus=names)
    ranks = options.max_ranks_per_node or config.max_ranks_per_node
    return NodePool((machine.hostname,), shape, ranks)


def life(kind: str) -> Life:
    """This process, as others see it in the record."""
    hostname = node.this_node().hostname
    return Life(kind, hostname, node.identity(), os.getpid(), node.start_time(os.getpid()))


def recovery_by(project: Project, own: Life) -> Recovery:
    """What this process does for sessions that died."""
    settings = project.settings()
    return Recovery(
        project.id,
        project.journal_dir,
        own,
        lease_seconds=settings.launcher.lease_seconds,
        crash_limit=settings.launcher.crash_limit,
        max_attempts=settings.jobs.max_attempts,
        grace_seconds=settings.launcher.kill_grace_seconds,
    )


def offer(options: LauncherOptions, nodes: NodePool) -> Offer:
    """What it tells others that it can run."""
    limit = limit_seconds(options)
    return Offer(
        nodes=1,
        cores_per_node=nodes.cores,
        gpus_per_node=nodes.gpus,
        max_ranks_per_node=nodes.max_ranks,
        wf_filter=options.wf_filter,
        job_mode=options.job_mode,
        ends=history.now() + timedelta(seconds=limit) if limit else None,
    )


def limit_seconds(options: LauncherOptions) -> float | None:
    """Its time, None without a limit."""
    minutes = options.time_limit_minutes
    return minutes * 60 if minutes else None


def marks(project: Project, options: LauncherOptions, session: int) -> dict[str, str]:
    """What the environment of each of its processes says of it."""
    return {
        recovery.SESSION_MARK: recovery.mark(project.id, session),
        "BALSAM_DB_PATH": str(project.path),
        "BALSAM_SITE_PATH": str(project.path),
        "BALSAM_LAUNCHER_NODES": "1",
        "BALSAM_JOB_MODE": options.job_mode,
    }


def attempts(
    project: Project,
    options: LauncherOptions,
    nodes: NodePool,
    mpi: MpiFinder,
    marks: dict[str, str],
) -> Attempts:
    """What will run its tasks."""
    environ = runs.own_environ(dict(os.environ), marks)
    preparer = Preparer(project.data, environ, marks[recovery.SESSION_MARK])
    return Attempts(nodes, preparer, project.settings().launcher, mpi, options.job_mode)


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
