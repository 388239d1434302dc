"""Where a launcher's time goes, by what it calls."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

from tests.benchmarks.simulation.clock import Clock


class Phases:
    """Seconds by name, without those of the simulation, nor those of a phase within."""

    def __init__(self, clock: Clock) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._clock = clock
        self._inner = 0.0

    def watch(self, holder: Any, method: str, name: str) -> None:
        """Count the time of a method of one object under a name."""
        setattr(holder, method, self._timed(getattr(holder, method), name))

    def _timed(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        perf = time.perf_counter
        self.seconds[name] = self.calls[name] = 0

        def timed(*given: Any, **named: Any) -> Any:
            outer, self._inner = self._inner, 0.0
            begin = perf() - self._clock.excluded
            try:
                found = call(*given, **named)
                # What a generator does is done by whoever asks it.
                return list(found) if inspect.isgenerator(found) else found
            finally:
                took = perf() - self._clock.excluded - begin
                self.seconds[name] += took - self._inner
                self.calls[name] += 1
                self._inner = outer + took

        return timed


def watch_launcher(launcher: Any, clock: Clock) -> Phases:
    """The parts of a launcher that cost something."""
    phases = Phases(clock)
    for holder, method, name in (
        (launcher.source, "lease", "lease"),
        (launcher.source, "keep_books", "bookkeeping of new jobs"),
        (launcher.source, "changed", "look for changes"),
        (launcher.attempts, "start", "place, prepare, start"),
        (launcher.attempts, "reap", "take in ends"),
        (launcher.attempts, "timers", "timers"),
        (launcher.attempts, "due", "when to wake"),
        (launcher.attempts, "flush", "send to nodes"),
        (launcher.ledger, "write", "journal"),
        (launcher._committer, "commit", "commit"),
        (launcher._teller, "progress", "count and tell"),
        (launcher, "_recover", "look for dead sessions"),
        (launcher, "_beat", "heartbeat"),
        (launcher, "step", "the loop itself"),
    ):
        phases.watch(holder, method, name)
    return phases
