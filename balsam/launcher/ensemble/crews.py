"""The mpiruns of one ensemble: started, watched, started again in other groups, ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from balsam.errors import LaunchError
from balsam.launcher.ensemble import wire
from balsam.launcher.ensemble.crew import Crew
from balsam.launcher.ensemble.protocol import names
from balsam.platform.process import RunSpec

logger = logging.getLogger(__name__)

#: So many mpiruns that never ran, and no other that did: it will not run at all.
HOPELESS = 3
#: How often in a row the same nodes are tried.
_TRIES = 4
#: How long to wait when mpirun does not take what it is sent.
_AGAIN_SECONDS = 0.02
_PAUSE_SECONDS = 0.25
_MOST_PAUSE_SECONDS = 5.0


class Crews:
    """``config`` is what rank 0 is told of each; times are monotonic."""

    def __init__(
        self,
        start: Callable[[Sequence[str]], RunSpec],
        config: Mapping[str, Any],
        beat_seconds: float,
        start_seconds: float,
    ) -> None:
        self.living: list[Crew] = []
        #: How many never ran.
        self.failures = 0
        self._start = start
        self._config = config
        self._mute_seconds = max(5.0, 4 * beat_seconds)
        self._start_seconds = start_seconds
        self._generation = 0
        #: When to start which nodes, and how often that has failed.
        self._again: list[tuple[float, tuple[str, ...], int]] = []

    def fds(self) -> list[int]:
        """What to watch."""
        return [crew.fd for crew in self.living if crew.open]

    def due(self) -> list[float]:
        """When there is something to do."""
        times = [when for when, _, _ in self._again]
        if any(crew.pending for crew in self.living):
            times.append(time.monotonic() + _AGAIN_SECONDS)
        return times

    def launch(self, nodes: Sequence[str], tries: int = 0) -> None:
        """Start an mpirun over some nodes. Raises LaunchError."""
        self._generation += 1
        crew = Crew(nodes, self._start(nodes), self._generation, tries)
        self.living.append(crew)
        config = {**self._config, "nodes": crew.nodes, "generation": self._generation}
        crew.tell(wire.control(config=config))
        logger.info("mpirun %d over %s", crew.pid, names(nodes))

    def launch_due(self, moment: float, gone: Callable[[str], bool]) -> None:
        """Start what is to be started again by now, but for nodes that are gone."""
        for entry in [entry for entry in self._again if moment >= entry[0]]:
            self._again.remove(entry)
            nodes = tuple(name for name in entry[1] if not gone(name))
            if not nodes:
                continue
            try:
                self.launch(nodes, entry[2])
            except LaunchError as error:
                # It could be started before, so it is processes or memory that are short.
                logger.warning("%s", error)
                self._again.append((moment + _MOST_PAUSE_SECONDS, nodes, entry[2]))

    def listened(self, moment: float) -> None:
        """It was the launcher who did not listen."""
        for crew in self.living:
            crew.heard = crew.heard and moment

    def someone_ended(self) -> bool:
        """Whether an mpirun has ended, or can say nothing any more."""
        return any(not crew.open or crew.over() for crew in self.living)

    def watch(self, moment: float) -> list[Crew]:
        """KILL those that are mute; those that have ended."""
        ended = [crew for crew in self.living if crew.over()]
        for crew in self.living:
            if crew.heard:
                mute = moment - crew.heard > self._mute_seconds
            else:
                mute = moment - crew.began > self._start_seconds
            if crew not in ended and (mute or not crew.open):
                crew.kill()
        return ended

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
    ) -> bool:
        """Start the nodes of an mpirun that ended again: the suspects apart from the rest.

        Where there are none, and nothing ran, in halves. False if it was tried too often.
        """
        tries = 0 if was_up else crew.tries + 1
        if tries > _TRIES:
            return False
        groups = [good, bad]
        if not was_up and not bad and len(good) > 1:
            half = len(good) // 2
            groups, tries = [good[:half], good[half:]], crew.tries
        pause = 0.0 if was_up else min(_MOST_PAUSE_SECONDS, _PAUSE_SECONDS * 2**tries)
        self._again += [(moment + pause, tuple(group), tries) for group in groups if group]
        return True

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
