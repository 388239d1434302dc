"""The nodes of an ensemble as the launcher knows them, and what it may still believe of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from balsam.launcher.ensemble import nodetasks
from balsam.launcher.ensemble.crew import Crew
from balsam.launcher.ensemble.link import Link
from balsam.launcher.ensemble.protocol import (
    Ended,
    Event,
    Mislaid,
    NodeLost,
    Refused,
    Started,
    Struck,
)
from balsam.platform.process import Exit

logger = logging.getLogger(__name__)

#: What a keeper needs to end its tasks once its time is over, and the time between two looks.
FENCE_MARGIN_SECONDS = 5.0


@dataclass
class Node:
    """``lost_at`` is when its tasks are given up; ``fenced`` the keeper that ended them then."""

    name: str
    link: Link = field(default_factory=Link)
    keeper: str = ""
    fenced: str = ""
    tokens: dict[str, None] = field(default_factory=dict)
    crew: Crew | None = None
    ready: bool = False
    gone: bool = False
    silent: bool = False
    lost_at: float | None = None
    why: str = ""


class Roster:
    """Adds to ``events``. A keeper ends everything after ``silence_seconds``. Times: monotonic."""

    def __init__(self, names: Sequence[str], silence_seconds: float) -> None:
        self.nodes = {name: Node(name) for name in names}
        self.events: list[Event] = []
        #: Whether any node has ever reported in.
        self.succeeded = False
        self._silence_seconds = silence_seconds
        self._node_of: dict[str, Node] = {}
        self._ready: frozenset[str] | None = None

    @property
    def ready(self) -> frozenset[str]:
        """The nodes that have reported in, and answer."""
        if self._ready is None:
            self._ready = frozenset(node.name for node in self.nodes.values() if node.ready)
            logger.debug("%d nodes answer", len(self._ready))
        return self._ready

    @property
    def empty(self) -> bool:
        """Whether all nodes are gone."""
        return all(node.gone for node in self.nodes.values())

    def gone(self, name: str) -> bool:
        """Whether a node is out for good."""
        return self.nodes[name].gone

    def where(self, token: str) -> Node | None:
        """The node of an attempt that has not ended."""
        return self._node_of.get(token)

    def assign(self, token: str, name: str) -> Node | None:
        """Note where an attempt is; None if that node is gone."""
        node = self.nodes[name]
        if node.gone:
            self.events.append(NodeLost(name, node.why, (token,)))
            return None
        node.tokens[token] = None
        self._node_of[token] = node
        return node

    # -- what nodes say -------------------------------------------------------------------------

    def greeted(self, crew: Crew, node: Node, keeper: str, got: int) -> None:
        """A keeper says that it is there: the one we know, or another after it."""
        if keeper == node.fenced:
            return
        if node.keeper and node.keeper != keeper:
            self.lose(node, node.why or "the process that kept its tasks died", gone=False)
            node.link = Link()
        node.keeper = node.link.peer = keeper
        node.link.resume(got)
        node.crew = crew
        self.succeeded = True
        self._set_ready(node, True)

    def heard(self, crew: Crew, node: Node) -> None:
        """It was silent, and is not any more."""
        if node.crew is crew and node.keeper:
            self._set_ready(node, True)

    def silent(self, crew: Crew, node: Node, since: float) -> None:
        """Rank 0 hears nothing of it; its keeper may never have been heard."""
        if node.gone or (node.keeper and node.crew is not crew):
            return
        self.doubt(node, "it does not answer any more", since)
        node.silent = True
        if node.lost_at is None:
            node.lost_at = since + self._silence_seconds + FENCE_MARGIN_SECONDS

    def told(self, node: Node, message: list[Any]) -> None:
        """A message of a keeper becomes an event."""
        kind, token, *rest = message
        if kind == nodetasks.STARTED:
            self.events.append(Started(token, *rest))
            return
        if kind == nodetasks.MISLAID:
            self.events.append(Mislaid(token, *rest))
            return
        if kind == nodetasks.STRUCK:
            self.events.append(Struck(token, node.name, *rest))
            return
        node.tokens.pop(token, None)
        self._node_of.pop(token, None)
        if kind == nodetasks.REFUSED:
            self.events.append(Refused(token, *rest))
            return
        end, wall, oom, tail, note, stopped = rest
        self.events.append(Ended(token, Exit(**end), wall, bool(oom), tail, stopped, note))

    # -- what becomes of them -------------------------------------------------------------------

    def _set_ready(self, node: Node, ready: bool) -> None:
        if ready and not node.gone:
            node.lost_at = None
            node.why = ""
            node.silent = False
        if node.ready != ready:
            node.ready = ready
            self._ready = None

    def doubt(self, node: Node, why: str, since: float) -> None:
        """A node is silent: not to be used, and lost when its keeper has ended everything."""
        if node.gone:
            return
        self._set_ready(node, False)
        node.why = why
        if node.lost_at is None and node.keeper:
            node.lost_at = since + self._silence_seconds + FENCE_MARGIN_SECONDS

    def give_up(self, node: Node, why: str) -> None:
        """A node will never report in. What may run there is lost with its time only."""
        node.why = why
        if node.keeper:
            self.doubt(node, why, time.monotonic())
        else:
            self.lose(node, why, gone=True)

    def unusable(self, node: Node, why: str) -> None:
        """A node that lives says that it can keep no tasks."""
        self.give_up(node, why)
        node.silent = False

    def lose(self, node: Node, why: str, *, gone: bool) -> None:
        """Its attempts are over, and it is, if it is gone."""
        if node.gone:
            return
        tokens = tuple(node.tokens)
        for token in tokens:
            self._node_of.pop(token, None)
        node.tokens.clear()
        if gone:
            node.gone = True
            node.why = why
            self._set_ready(node, False)
        if gone or tokens:
            logger.warning("node %s: %s (%d attempts lost)", node.name, why, len(tokens))
            self.events.append(NodeLost(node.name, why, tokens, gone, node.silent))

    def look(self, moment: float, searched: Callable[[], set[str]]) -> None:
        """Lose what has been silent for too long: not for good where it may yet be found."""
        due = [
            node
            for node in self.nodes.values()
            if node.lost_at is not None and moment >= node.lost_at and not node.ready
        ]
        hopeful = searched() if due else set()
        for node in due:
            self.lose(node, node.why, gone=node.name not in hopeful)
            # The next keeper there has to begin from nothing.
            node.fenced, node.keeper, node.link, node.lost_at = node.keeper, "", Link(), None
