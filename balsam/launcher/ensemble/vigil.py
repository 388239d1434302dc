"""Whether the keeper of a node still has a launcher, or has to end its tasks and itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from balsam import states
from balsam.platform import node as machine

#: How long a keeper that nobody has greeted waits.
FIRST_SECONDS = 60.0
#: How long tasks have after their TERM when the launcher is gone.
FENCE_GRACE_SECONDS = 3.0
#: How often a keeper without a rank looks for a launcher on its own host, or who started it.
_LOOK_SECONDS = 0.5


def now() -> float:
    """Seconds by a clock that nobody sets, and that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def launcher_alive(config: Any) -> bool | None:
    """Whether the launcher that ranks are told of runs; None where it can not be seen from here."""
    identity, pid, started = config["launcher"]
    return machine.process_alive(pid, started) if identity == machine.identity() else None


class Verdict(NamedTuple):
    """Why it has to end, what that means for its tasks, and how long they have."""

    why: str
    cause: str = states.NODE_LOST
    grace_seconds: float = FENCE_GRACE_SECONDS


class Vigil:
    """What is known of the launcher. ``starter``: the rank, as pid and start time, to greet it."""

    def __init__(
        self, starter: tuple[int, int] | None = None, clock: Callable[[], float] = now
    ) -> None:
        self._starter = starter
        self._clock = clock
        self._config: Any = None
        self._heard = clock()
        self._silence_seconds = FIRST_SECONDS
        self._orphan_at: float | None = None
        self._next_look = 0.0
        self._terminated = False

    def greeted(self, config: Any) -> None:
        """A rank came, and said how long its launcher may be silent, and who that is."""
        if self._config is None:
            # Before that there was nobody to hear from, and there is no task yet.
            self._heard = self._clock()
        self._config = config
        self._silence_seconds = config["silence"]
        self._orphan_at = None

    def heard(self, moment: float) -> None:
        """The launcher was alive at a moment of :func:`now`."""
        self._heard = max(self._heard, moment)
        self._orphan_at = None

    def orphaned(self, seconds: float) -> None:
        """The launcher has not been heard of elsewhere; it has so long to show up."""
        self._orphan_at = self._clock() + seconds

    def terminated(self) -> None:
        """There was a TERM; may be called in its handler."""
        self._terminated = True

    def verdict(self, *, alone: bool) -> Verdict | None:
        """Why the end has come, None while it has not. ``alone``: there is no rank to hear from."""
        moment = self._clock()
        if self._terminated:
            return Verdict("it got SIGTERM", states.BATCH_TIME_LIMIT)
        if self._orphan_at is not None and moment >= self._orphan_at:
            return Verdict("its launcher is gone")
        if moment >= self._heard + self._silence_seconds:
            return Verdict(f"its launcher has been silent for {moment - self._heard:.0f} s")
        if alone and moment >= self._next_look:
            self._next_look = moment + _LOOK_SECONDS
            return self._look_for_others()
        return None

    def _look_for_others(self) -> Verdict | None:
        """Not to wait for those who are dead."""
        if self._config:
            # Who kills the launcher may kill mpirun and rank 0 before that can say anything.
            gone = launcher_alive(self._config) is False
            return Verdict("its launcher is gone") if gone else None
        if self._starter and not machine.process_alive(*self._starter):
            return Verdict("its rank is gone", grace_seconds=0.0)
        return None

    def due(self, *, alone: bool) -> float:
        """Seconds until :meth:`verdict` has to be asked again."""
        times = [self._heard + self._silence_seconds]
        if self._orphan_at is not None:
            times.append(self._orphan_at)
        if alone and (self._config or self._starter):
            times.append(self._next_look)
        return min(times) - self._clock()
