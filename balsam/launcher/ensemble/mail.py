"""Bytes between ranks by MPI, without waiting. The MPI module is handed in."""

from __future__ import annotations

from typing import Any, Protocol

_TAG = 5


class Mail(Protocol):
    """Sends bytes to ranks, and receives theirs."""

    rank: int
    size: int

    def send(self, to: int, data: bytes) -> None:
        """Send; order is kept between two ranks."""
        ...

    def receive(self) -> tuple[int, bytes] | None:
        """A message and the rank it is from; None if there is none."""
        ...


class MpiMail:
    """By point-to-point messages, asked for with improbe: no MPI call waits for a message."""

    def __init__(self, mpi: Any) -> None:
        self._byte = mpi.BYTE
        self._any = mpi.ANY_SOURCE
        self._request = mpi.Request
        self._status = mpi.Status()
        self._comm = mpi.COMM_WORLD
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()
        self._sending: list[tuple[Any, bytes]] = []

    def send(self, to: int, data: bytes) -> None:
        """Send without waiting; what is sent is kept until MPI has it."""
        request = self._comm.Isend([data, len(data), self._byte], to, _TAG)
        if not request.Test():
            self._sending.append((request, data))

    def receive(self) -> tuple[int, bytes] | None:
        """The next message; lets MPI go on with what is being sent as well."""
        if self._sending:
            self._sending = [entry for entry in self._sending if not entry[0].Test()]
        message = self._comm.Improbe(self._any, _TAG, self._status)
        if message is None:
            return None
        data = bytearray(self._status.Get_count(self._byte))
        source: int = self._status.Get_source()
        message.Recv([data, len(data), self._byte])
        return source, bytes(data)
