"""The entry into a launcher: its log, its environment, and one run of it."""

from __future__ import annotations

import logging
import os

from balsam.conf.logs import close_log, open_log
from balsam.conf.project import Project
from balsam.core.record import go_first, lose_patience
from balsam.errors import BalsamError
from balsam.launcher.options import LauncherOptions, Report, Snapshot, silent
from balsam.launcher.pilot import Launcher
from balsam.launcher.wakeup import Wakeup
from balsam.platform import mpirun
from balsam.platform.turns import ask_for_short_turns

__all__ = ["Launcher", "LauncherOptions", "Snapshot", "run_launcher"]

#: What asks all of a batch job to stop reaches a launcher of a part itself, and once more from the
#: one that began it.
SETTLE_SECONDS = 2.0

logger = logging.getLogger(__name__)


def run_launcher(project: Project, options: LauncherOptions, report: Report = silent) -> int:
    """Run a launcher on this node until its work or its time is over; the exit code.

    Raises BalsamError for what keeps it from starting.
    """
    log = open_log(project.log, "launcher", project.settings().logging.level)
    logger.info("launcher %s in %s: %s", os.getpid(), project.path, options)
    leave_outer_mpi()
    ask_for_short_turns()
    go_first()
    is_part = options.in_partition is not None
    try:
        with Wakeup(settle_seconds=SETTLE_SECONDS if is_part else 0.0) as wakeup:
            launcher = Launcher(project, options, wakeup, report, worker_log=str(log))
            # Its nodes end what they run when they hear nothing of it for half a lease.
            lose_patience(launcher.settings.launcher.lease_seconds / 8)
            return launcher.run()
    except BalsamError:
        logger.exception("the launcher could not go on")
        raise
    finally:
        go_first(False)
        lose_patience(None)
        close_log()


def leave_outer_mpi() -> None:
    """Workers and their hooks inherit this environment: drop an enclosing mpirun's variables."""
    clean = mpirun.scrub(os.environ)
    for name in set(os.environ) - set(clean):
        del os.environ[name]
