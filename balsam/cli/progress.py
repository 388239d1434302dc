"""How a running launcher looks: a live view on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import datetime
import os
import shlex
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from balsam.launcher.options import Snapshot

#: A terminal is redrawn at most this often, however fast snapshots come.
REDRAW_SECONDS = 0.1


def line(snapshot: Snapshot) -> str:
    """A snapshot in words."""
    parts = [
        f"{snapshot.running} running",
        f"{snapshot.done} done",
        f"{snapshot.failed} failed",
        *([f"{snapshot.killed} killed"] if snapshot.killed else []),
        f"{snapshot.waiting} waiting",
        f"{snapshot.rate_per_s:.1f} jobs/s",
    ]
    if snapshot.seconds_left is not None and not snapshot.final:
        parts.append(f"{_clock(snapshot.seconds_left)} left")
    return f"[{_clock(snapshot.elapsed)}] {', '.join(parts)}"


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=max(0, round(seconds))))


class Progress:
    """A callable for the launcher's snapshots. It never raises: a lost terminal ends the view.

    No thread of its own: what is shown changes when a snapshot comes. ``chosen`` are the options of
    a listing of the launcher's jobs.
    """

    def __init__(
        self, period_seconds: float, terminal: bool | None = None, chosen: Sequence[str] = ()
    ) -> None:
        if terminal is None:
            terminal = sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
        self.terminal = terminal
        self.period = REDRAW_SECONDS if terminal else period_seconds
        self._chosen = chosen
        self._next = 0.0
        self._live: Any = None
        self._lost = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def __call__(self, snapshot: Snapshot) -> None:
        now = time.monotonic()
        urgent = snapshot.final or snapshot.notice
        if self._lost or (now < self._next and not urgent):
            return
        self._next = now + self.period
        try:
            self._show(snapshot)
        except (OSError, ValueError):
            self._lost = True  # nobody reads any more; the work goes on

    def _show(self, snapshot: Snapshot) -> None:
        if snapshot.notice:
            self._print(snapshot.notice)
        if self.terminal:
            self._redraw(snapshot)
        else:
            self._print(line(snapshot))
        if snapshot.final:
            self._close()
            if snapshot.newly_failed:
                self._print("Why jobs failed: balsam ls --state FAILED --history")
            if snapshot.waiting:
                listing = shlex.join(["balsam", "ls", "--by-reason", *self._chosen])
                self._print(f"Why jobs wait: {listing}")

    def _print(self, text: str) -> None:
        """A line of its own, above the live view if there is one."""
        if self._live is None:
            print(text, flush=True)
        else:
            self._live.console.print(text, markup=False, highlight=False)

    def _redraw(self, snapshot: Snapshot) -> None:
        from rich.live import Live
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        ended = snapshot.done + snapshot.failed + snapshot.killed
        total = ended + snapshot.running + snapshot.waiting
        view = Table.grid()
        view.add_row(ProgressBar(total=max(total, 1), completed=ended, width=60))
        view.add_row(Text(line(snapshot), no_wrap=True, overflow="ellipsis"))
        if self._live is None:
            self._live = Live(view, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        self._live.update(view, refresh=True)

    def _close(self) -> None:
        live, self._live = self._live, None
        if live is None:
            return
        try:
            live.stop()
        except OSError:
            self._lost = True
