"""Messages between launcher and keeper that arrive once and in order, whatever carries them."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any


class Link:
    """One end: what it sends is numbered, and kept until the other end has acknowledged it.

    A connection delivers packets in order or not at all. After a new connection both ends
    ``resume`` with what the other one has got, and send the rest again. ``peer`` is the name of the
    keeper at one of the ends: a packet that was meant for an earlier one is ignored.
    """

    def __init__(self, peer: str = "") -> None:
        self.peer = peer
        #: The number of the last message received.
        self.got = 0
        self._kept: deque[Any] = deque()
        self._acknowledged = 0
        self._sent = 0
        self._owes = False

    def __len__(self) -> int:
        """How many messages are not acknowledged yet."""
        return len(self._kept)

    def send(self, message: Any) -> None:
        """Add a message to the next packet."""
        self._kept.append(message)

    def packet(self) -> list[Any] | None:
        """What is to be sent now; None if there is nothing to say."""
        skip = self._sent - self._acknowledged
        messages = list(islice(self._kept, skip, None)) if skip else list(self._kept)
        if not messages and not self._owes:
            return None
        self._owes = False
        first = self._sent + 1
        self._sent += len(messages)
        return [self.peer, first, self.got, messages]

    def receive(self, packet: list[Any]) -> list[Any]:
        """The new messages of a packet. What has come before, or leaves a gap, is left out."""
        peer, first, acknowledged, messages = packet
        if peer != self.peer:
            return []
        self._forget(acknowledged)
        known = self.got + 1 - first
        if not messages or known < 0:
            return []
        self._owes = True
        new = messages[known:]
        self.got += len(new)
        return new

    def resume(self, got: int) -> None:
        """Begin a new connection to an other end that has received ``got`` messages so far."""
        self._forget(got)
        self._sent = self._acknowledged
        self._owes = True

    def _forget(self, acknowledged: int) -> None:
        while self._acknowledged < acknowledged and self._kept:
            self._kept.popleft()
            self._acknowledged += 1
        self._sent = max(self._sent, self._acknowledged)
