"""``balsam watch``: how the campaign goes, from any terminal."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from balsam.cli import output
from balsam.cli.commands import Command
from balsam.cli.live import Live
from balsam.cli.selector import selecting

if TYPE_CHECKING:
    from balsam.core.progress import Launcher, Progress
    from balsam.core.selection import Selection

#: A terminal is redrawn at most this often, and looked at anew this often without a change.
REDRAW_SECONDS = 0.25
CLOCK_SECONDS = 1.0
#: Looking may take this share of the time.
SHARE = 0.1
#: Jobs and launchers of a kind that are named, where the screen has room for them.
MOST = 10
LEAST = 3
#: Lines of a screen that are neither jobs nor launchers.
FIXED_LINES = 8


@click.command("watch", cls=Command)
@selecting()
@click.option("--once", is_flag=True, help="Say how it stands, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --once: write JSON.")
def command(selection: Selection, once: bool, as_json: bool) -> None:
    """Follow all launchers: counts, rate, what runs where, and what failed.

    On a terminal it is a view that changes in place; elsewhere, a line now and then. Ctrl-C ends
    it; nothing else is ended by that. Jobs can be selected; launchers are all shown.
    """
    if as_json and not once:
        raise click.UsageError("--json writes one snapshot: say --once, too.")

    from balsam.core.standing import Watched

    watched = Watched(selection) if selection else None
    if as_json:
        print(json.dumps(dataclasses.asdict(_look(watched, MOST)), default=_text))
    elif once:
        output.emit(lines(_look(watched, MOST)))
    else:
        try:
            _follow(watched)
        except KeyboardInterrupt:
            return  # that is how one leaves


def _look(watched: Any, most: int) -> Progress:
    from balsam.core import progress

    return progress.look(watched.jobs() if watched else None, most)


def _text(value: Any) -> str:
    return str(value.isoformat())


def _follow(watched: Any) -> None:
    from balsam.core.changes import Changes

    with Live() as view:
        changes, shown = Changes(), ""
        period = CLOCK_SECONDS if view.terminal else _line_seconds()
        while True:
            begin = time.monotonic()
            most = max(LEAST, min(MOST, (view.height - FIXED_LINES) // 3)) if view.terminal else 1
            now = _look(watched, most)
            told = "\n".join(lines(now)) if view.terminal else line(now)
            if told != shown:
                shown = told
                if view.terminal:
                    view.show(told)
                else:
                    view.say(f"{now.time:%Y-%m-%d %H:%M:%S} UTC  {told}")
            took = time.monotonic() - begin
            pause = max(took / SHARE, REDRAW_SECONDS if view.terminal else period)
            time.sleep(pause)
            changes.wait(max(0.0, period - pause))


def _line_seconds() -> float:
    from balsam.conf import project as projects

    return projects.find().settings().launcher.progress_seconds


def line(now: Progress) -> str:
    """A snapshot in one line."""
    from balsam import states

    alive = sum(one.alive for one in now.launchers)
    running = now.counts.get(states.RUNNING, 0)
    broken = sum(now.counts.get(state, 0) for state in states.BROKEN_STATES)
    done = now.counts.get(states.JOB_FINISHED, 0)
    waiting = now.total - now.ended - running
    return (
        f"{running} running, {done} done, {broken} failed, {waiting} waiting, "
        f"{now.per_minute:.0f} per minute, {alive} {'launcher' if alive == 1 else 'launchers'}"
    )


def lines(now: Progress) -> Iterator[str]:
    """A snapshot: the counts, then launchers, jobs that run, and the newest failures."""
    from balsam.core.why.situation import span

    yield f"{now.ended:,} of {now.total:,} jobs ended, {now.per_minute:.0f} per minute"
    yield "  ".join(f"{state} {number:,}" for state, number in now.counts.items())
    yield "Launchers"
    if not now.launchers:
        yield "  none; start one with: balsam launcher --consume-all"
    for launcher in now.launchers[:MOST]:
        yield f"  {_launcher(launcher)}"
    if len(now.launchers) > MOST:
        yield f"  ... and {len(now.launchers) - MOST} more"
    if now.running:
        yield "Running longest"
    for job in now.running:
        where = f" on {output.cell(job.nodes)}" if job.nodes else ""
        yield f"  {span(job.seconds):>12}  {job.id} {output.cell(job.label)}{where}"
    if now.failures:
        yield "Failed last"
    for failure in now.failures:
        ago = f"{span(failure.seconds_ago)} ago"
        yield f"  {ago:>12}  {failure.id} {output.cell(failure.label)} {output.cell(failure.why)}"


def _launcher(one: Launcher) -> str:
    from balsam.core.why.situation import span

    heard = f"heard of {span(one.heartbeat_age)} ago"
    if not one.alive:
        return f"{one.host}, process {one.pid}: dead, {heard}; the next launcher recovers its jobs"
    what = f"workflow {output.cell(one.workflows)}" if one.workflows else "all workflows"
    left = f", {span(one.seconds_left)} left" if one.seconds_left is not None else ""
    return f"{one.host}, process {one.pid}: {one.running} running, {what}{left}, {heard}"
