"""Workers that are given no tasks: they look after the ranks that mpiruns have on their nodes."""

from __future__ import annotations

from collections.abc import Sequence

from balsam.errors import LaunchError
from balsam.launcher.ensemble.protocol import Hands, Mislaid, NodeLost, Struck

#: What it means for the jobs if there are none.
NOBODY_LOOKS = "Nobody looks at what ranks on other nodes than this one do."


class Onlookers:
    """The ``hands`` of a launcher of some ``nodes`` that starts every job by mpirun.

    No job depends on them. A node that never answered is used all the same; one that did is taken
    for silent, or lost, only if others answer: else it is the workers that have failed.
    """

    def __init__(self, hands: Hands, nodes: Sequence[str]) -> None:
        self.hands = hands
        self._nodes = frozenset(nodes)
        #: The nodes that may be given jobs.
        self.ready_nodes = self._nodes
        self._answering = self._seen = frozenset[str]()
        #: Nodes that are lost, unless it is the workers.
        self._doubted: dict[str, NodeLost] = {}
        self._over = False

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to call :meth:`hear` at the latest."""
        return None if self._over else self.hands.deadline

    def hear(self) -> list[NodeLost | Mislaid | Struck]:
        """What has happened since. Raises LaunchError if nothing will be heard any more, once."""
        if self._over:
            return []
        try:
            events = self.hands.poll()
        except LaunchError as error:
            raise self._ended(str(error)) from error
        self._look()
        found: list[NodeLost | Mislaid | Struck] = []
        for event in events:
            if isinstance(event, NodeLost) and event.gone:
                self._doubted[event.node] = event
            elif isinstance(event, Mislaid | Struck):
                found.append(event)
        if len(self._doubted) == len(self._nodes):
            why = next(iter(self._doubted.values())).why
            raise self._ended(f"The workers on all nodes are lost: {why}.")
        return found + self._losses()

    def _look(self) -> None:
        """See who answers."""
        if self.hands.ready_nodes is not self._answering:
            self._answering = self.hands.ready_nodes
            self._seen |= self._answering
            silent = self._seen - self._answering if self._answering else frozenset()
            self.ready_nodes = self._nodes - silent

    def _losses(self) -> list[NodeLost]:
        """Nodes that had answered and are lost, as the others that answer show."""
        if not self._answering:
            return []
        lost = [event for node, event in self._doubted.items() if node in self._seen]
        self._seen -= {event.node for event in lost}
        return lost

    def _ended(self, why: str) -> LaunchError:
        """End what is left of them; what to tell of that."""
        self._over = True
        self.ready_nodes = self._nodes
        self.hands.close(0.0)
        return LaunchError(f"{why} {NOBODY_LOOKS}")

    def suspect(self, nodes: Sequence[str]) -> None:
        """Somebody else lost one of these nodes."""
        self.hands.suspect(nodes)

    def close(self, grace_seconds: float) -> None:
        """End them; those that never answered are not waited for."""
        if not self._over:
            self._over = True
            self.hands.close(grace_seconds if self._answering else 0.0)
