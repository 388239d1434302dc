"""``balsam wait``: until jobs have ended, and the exit code tells how."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from balsam.cli import output
from balsam.cli.commands import Command
from balsam.cli.live import Live
from balsam.cli.selector import require, selecting
from balsam.cli.times import seconds
from balsam.errors import NoSuchJob, TaskFailed

if TYPE_CHECKING:
    from balsam.core.selection import Selection
    from balsam.core.standing import Standing, Watched

#: The exit code when the time is over first.
TIME_OVER = 3
#: Jobs that did not finish are named up to so many.
SOME = 3
#: With no change seen, look again after so long; counting may take this share of the time.
PERIOD_SECONDS = 5.0
SHARE = 0.05
#: A launcher that is about to start should not be missed at once.
ALONE_SECONDS = 2.0


@click.command("wait", cls=Command)
@selecting()
@click.option("--timeout", type=seconds, metavar="TIME", help="Give up after 90s, 5m, 2h; exit 3.")
@click.option(
    "--for",
    "goal",
    type=click.Choice(["ended", "finished", "running"]),
    default="ended",
    help="Until they have ended, well or not; until they have finished, or one can not any more; "
    "until they have started to run.",
)
@click.option("--any", "any_one", is_flag=True, help="Until one of them has, not all.")
@click.pass_context
def command(
    ctx: click.Context, selection: Selection, timeout: float | None, goal: str, any_one: bool
) -> None:
    """Wait until jobs have ended.

    Exits with 0 if all have finished, 1 if some failed, were killed or removed, 3 if --timeout
    passed first. Jobs that are added meanwhile count if they match --name, --wf, --app or --tag.
    """
    require(selection, all_option=False)

    from balsam.core.standing import Watched

    watched = Watched(selection)
    standing = watched.standing()
    if not standing.total:
        raise NoSuchJob("No job matches, so there is nothing to wait for; 'balsam ls' lists jobs.")
    end = None if timeout is None else time.monotonic() + timeout
    standing = _wait(watched, standing, lambda now: now.reached(goal, any_one), end)
    if not standing.total:
        raise NoSuchJob("All jobs that were waited for have been removed.")
    if not standing.reached(goal, any_one):
        output.note(f"Not {goal} in {timeout:g} s: {_line(standing)}.")
        ctx.exit(TIME_OVER)
    if not standing.success(goal, any_one):
        raise TaskFailed(_failures(watched, standing))
    print(_line(standing))


def _wait(
    watched: Watched, standing: Standing, enough: Callable[[Standing], bool], end: float | None
) -> Standing:
    """How the jobs stand once that is ``enough``, none is left, or the time is over."""
    from balsam.core.changes import Changes
    from balsam.core.why.situation import observe

    changes, shown, alone_at = Changes(), "", time.monotonic() + ALONE_SECONDS
    told = False
    with Live(sys.stderr) as view:
        while True:
            begin = time.monotonic()
            standing = watched.standing()
            now = time.monotonic()
            if not standing.total or enough(standing) or (end is not None and now >= end):
                return standing
            if (line := _line(standing)) != shown:
                view.show(line)
                shown = line
            if not told and now >= alone_at:
                alone_at = now + PERIOD_SECONDS
                if told := not observe().launchers:
                    view.say(
                        "Note: no launcher is alive, so nothing will go on until one is started: "
                        "balsam launcher --consume-all"
                    )
            rest = (now - begin) / SHARE  # a change seen meanwhile is not lost
            limit = PERIOD_SECONDS if told else min(PERIOD_SECONDS, max(0.0, alone_at - now))
            if end is not None:
                rest, limit = min(rest, end - now), min(limit, end - now)
            time.sleep(max(0.0, rest))
            changes.wait(max(0.0, limit - rest))


def _line(standing: Standing) -> str:
    """``12 of 20 jobs ended; 4 running: 11 finished, 1 failed``."""
    from balsam import states

    parts = [
        (standing.finished, "finished"),
        (standing.number(states.FAILED), "failed"),
        (standing.number(states.USER_KILLED), "killed"),
        (standing.removed, "removed"),
    ]
    told = ", ".join(f"{number} {what}" for number, what in parts if number)
    running = standing.number(states.RUNNING)
    jobs = "1 job" if standing.total == 1 else f"{standing.total} jobs"
    words = f"{standing.ended} of {jobs} ended"
    words += f"; {running} running" if running else ""
    return f"{words}: {told}" if told else words


def _failures(watched: Watched, standing: Standing) -> str:
    from balsam import states

    broken: Any = watched.jobs().filter(state__in=states.BROKEN_STATES).order_by("id")
    first = [f"{job.pk} {job.cute_id} {job.state}" for job in broken[:SOME]]
    words = _line(standing)
    if not first:
        return words
    more = ", ..." if standing.number(*states.BROKEN_STATES) > SOME else ""
    return f"{words} ({', '.join(first)}{more}); 'balsam why {broken[0].pk}' says why"
