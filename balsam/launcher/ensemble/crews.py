"""The mpiruns of one ensemble: started, watched, started again in other groups, ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from balsam.errors import LaunchError
from balsam.launcher.ensemble import wire
from balsam.launcher.ensemble.crew import Crew
from balsam.launcher.ensemble.protocol import names
from balsam.launcher.ensemble.search import Pace, Wave, split
from balsam.platform.process import RunSpec

logger = logging.getLogger(__name__)

#: So many mpiruns that never ran, and no other that did: it will not run at all.
HOPELESS = 3
#: How often in a row the same node is tried, and how often before its tasks' time is over.
_TRIES = 3
_SURE_TRIES = 2
#: How many mpiruns may be starting at a time.
_MOST_STARTING = 64
#: An mpirun that ended sooner was not started again for the first time, perhaps.
_SETTLED_SECONDS = 10.0
#: An mpirun has so long to end by itself after one of its ranks could not start.
_END_SECONDS = 5.0
#: How long to wait when mpirun does not take what it is sent.
_AGAIN_SECONDS = 0.02
_PAUSE_SECONDS = 0.25
_MOST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class _Waiting:
    """Nodes to be started at some time, and how often that has failed."""

    when: float
    nodes: tuple[str, ...]
    tries: int
    wave: Wave


class Crews:
    """``config`` is what rank 0 is told of each; times are monotonic."""

    def __init__(
        self,
        start: Callable[[Sequence[str]], RunSpec],
        config: Mapping[str, Any],
        start_seconds: float,
    ) -> None:
        self.living: list[Crew] = []
        #: How many were started in all; how many of them never ran.
        self.launches = self.failures = 0
        self._start = start
        self._config = config
        self._mute_seconds = max(3 * config["beat"], min(5.0, config["silence"] / 2))
        self._start_seconds = start_seconds
        self._pace = Pace(start_seconds, config["orphan"])
        self._again: list[_Waiting] = []

    def fds(self) -> list[int]:
        """What to watch."""
        return [crew.fd for crew in self.living if crew.open]

    def due(self) -> list[float]:
        """When there is something to do."""
        times = [] if self._crowded() else [entry.when for entry in self._again]
        if any(crew.pending for crew in self.living):
            times.append(time.monotonic() + _AGAIN_SECONDS)
        return times

    def _crowded(self) -> bool:
        return sum(not crew.heard for crew in self.living) >= _MOST_STARTING

    def launch(self, nodes: Sequence[str], tries: int = 0, wave: Wave | None = None) -> None:
        """Start an mpirun over some nodes. Raises LaunchError."""
        crew = Crew(nodes, self._start(nodes), wave or Wave(), tries)
        self.launches += 1
        self.living.append(crew)
        config = {**self._config, "nodes": crew.nodes, "generation": self.launches}
        crew.tell(wire.control(config=config))
        logger.info("mpirun %d over %s", crew.pid, names(nodes))

    def launch_due(self, moment: float, gone: Callable[[str], bool]) -> None:
        """Start what is to be started again by now, but for nodes that are gone."""
        for entry in [entry for entry in self._again if moment >= entry.when]:
            if self._crowded():
                break
            self._again.remove(entry)
            nodes = tuple(name for name in entry.nodes if not gone(name))
            if not nodes:
                continue
            try:
                self.launch(nodes, entry.tries, entry.wave)
            except LaunchError as error:
                # It could be started before, so it is processes or memory that are short.
                logger.warning("%s", error)
                later = moment + _MOST_PAUSE_SECONDS
                self._again.append(replace(entry, when=later, nodes=nodes))

    def heard(self, crew: Crew, moment: float) -> None:
        """Rank 0 of an mpirun said something: all its ranks have started."""
        if not crew.heard:
            self._pace.reported(crew.wave, len(crew.nodes), moment - crew.began)
        crew.heard = moment

    def listened(self, moment: float, gap: float) -> None:
        """It was the launcher who did not listen, for so many seconds."""
        for crew in self.living:
            if crew.heard:
                crew.heard = moment
            else:
                crew.began = min(moment, crew.began + gap)

    def someone_ended(self) -> bool:
        """Whether an mpirun has ended, or can say nothing any more."""
        return any(not crew.open or crew.over() for crew in self.living)

    def watch(self, moment: float) -> list[Crew]:
        """KILL those that are mute or slow; those that have ended."""
        ended = [crew for crew in self.living if crew.over()]
        for crew in self.living:
            if crew in ended:
                continue
            allowed = self._pace.allowed(crew.wave, len(crew.nodes), crew.tries)
            if not crew.heard and moment - crew.began > allowed:
                crew.kill(f"mpirun had not started it after {allowed:.0f} s")
            elif not crew.heard and self._broken(crew, moment):
                crew.kill("mpirun did not end although one of its processes could not start")
            elif crew.heard and moment - crew.heard > self._mute_seconds:
                crew.mute = True
                crew.kill("mpirun did not answer any more")
            elif not crew.open:
                crew.kill()
        return ended

    def _broken(self, crew: Crew, moment: float) -> bool:
        """Whether an mpirun can not start any more, and hangs: a node of it is out of reach.

        Several share a log, so that this is known of the first alone; the others have a pace.
        """
        if len(self.living) > 1:
            return False
        if not crew.broken and crew.gave_up():
            crew.broken = moment
        return bool(crew.broken) and moment - crew.broken > _END_SECONDS

    def late(self, moment: float) -> list[Crew]:
        """Those whose nodes had time enough to report in."""
        return [
            crew for crew in self.living if crew.heard and moment - crew.began > self._start_seconds
        ]

    def remove(self, crew: Crew) -> None:
        """Forget one that has ended."""
        crew.shut()
        self.living.remove(crew)

    def regroup(
        self, crew: Crew, good: list[str], bad: list[str], was_up: bool, moment: float
    ) -> list[str]:
        """Start the nodes of an mpirun that ended again: the suspects apart from the rest.

        Where there are none, or all are, in groups. Those that were tried often enough: not again.
        """
        lived = moment - crew.began
        tries = 0 if was_up and lived > _SETTLED_SECONDS else crew.tries + 1
        pause = min(_MOST_PAUSE_SECONDS, _PAUSE_SECONDS * 2**tries)
        everyone = [*good, *bad]
        if len(crew.nodes) == 1:
            if tries > _TRIES and not was_up:
                return everyone
            self._again += [
                _Waiting(moment + pause, (name,), tries, crew.wave) for name in everyone
            ]
            return []
        known = was_up or bool(crew.verdict)
        groups = [tuple(good), *split(bad)] if good and bad else split(everyone)
        wave = Wave()
        when = moment if known else moment + pause
        self._again += [_Waiting(when, group, 0, wave) for group in groups if group]
        return []

    def searched(self) -> set[str]:
        """The nodes that may well report in again, for they were not tried alone and often."""
        found = {name for crew in self.living if self._open(crew) for name in crew.nodes}
        for entry in self._again:
            if len(entry.nodes) > 1 or entry.tries < _SURE_TRIES:
                found.update(entry.nodes)
        return found

    @staticmethod
    def _open(crew: Crew) -> bool:
        return not crew.heard and (len(crew.nodes) > 1 or crew.tries < _SURE_TRIES)

    def give_up(self) -> None:
        """KILL all, and start none again."""
        self._again = []
        for crew in self.living:
            crew.kill()

    def close(self, grace_seconds: float) -> None:
        """Have all nodes end everything; KILL the mpiruns that have not ended after the grace."""
        self._again = []
        for crew in self.living:
            crew.tell(wire.control(quit=min(1.0, grace_seconds / 2)))
        self._await(grace_seconds)
        self.give_up()
        self._await(1.0)
        for crew in list(self.living):
            self.remove(crew)

    def _await(self, seconds: float) -> None:
        """Hear what is said, also what nobody wants to know any more: nobody is to wait for us."""
        deadline = time.monotonic() + seconds
        pause = 0.001
        while self.living and time.monotonic() < deadline:
            for crew in list(self.living):
                crew.hear()
                if crew.over():
                    self.remove(crew)
            time.sleep(pause)
            pause = min(0.02, 2 * pause)
