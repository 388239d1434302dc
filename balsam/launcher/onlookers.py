"""Workers that are given no tasks: they look after the ranks that mpiruns have on their nodes."""

from __future__ import annotations

from balsam.errors import LaunchError
from balsam.launcher.ensemble.protocol import Hands, Mislaid, NodeLost, Struck


class Onlookers:
    """What the ``hands`` of a launcher see that starts every job by mpirun.

    Nothing depends on them: a node from which nothing was ever heard is used all the same.
    """

    def __init__(self, hands: Hands) -> None:
        self.hands = hands
        self._ready = hands.ready_nodes
        self._seen = set(self._ready)

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to call :meth:`hear` at the latest."""
        return self.hands.deadline

    def hear(self) -> list[NodeLost | Mislaid | Struck]:
        """What has happened since: of nodes, only those are lost that had answered before.

        Raises LaunchError if nothing will ever be heard, once.
        """
        try:
            events = self.hands.poll()
        except LaunchError as error:
            raise LaunchError(
                f"{error} Nobody looks at what ranks on other nodes than this one do."
            ) from error
        found: list[NodeLost | Mislaid | Struck] = []
        for event in events:
            if isinstance(event, NodeLost):
                if event.gone and event.node in self._seen:
                    found.append(event)
            elif isinstance(event, Mislaid | Struck):
                found.append(event)
        if self.hands.ready_nodes is not self._ready:
            self._ready = self.hands.ready_nodes
            self._seen |= self._ready
        return found
