"""The launcher's side of an ensemble: many nodes, one mpirun, no task lost with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from balsam.launcher.ensemble.protocol import Event
from balsam.platform.process import RunSpec


def rank_command() -> tuple[str, ...]:
    """What mpirun has to run, once on each node."""
    return (sys.executable, "-m", "balsam.launcher.ensemble")


class Ensemble:
    """Serial tasks on nodes that an mpirun reaches. See ``protocol.Hands`` for what it does."""

    def __init__(
        self,
        nodes: Sequence[str],
        start: Callable[[Sequence[str]], RunSpec],
        session: str,
        environ: Mapping[str, str],
        *,
        tail_lines: int = 16,
        beat_seconds: float = 5.0,
        lease_seconds: float = 120.0,
        start_seconds: float = 120.0,
        orphan_seconds: float = 15.0,
        by_rank: bool = False,
    ) -> None:
        raise NotImplementedError

    @property
    def ready_nodes(self) -> frozenset[str]:
        raise NotImplementedError

    @property
    def deadline(self) -> float | None:
        raise NotImplementedError

    def fds(self) -> list[int]:
        raise NotImplementedError

    def start(self, token: str, node: str, spec: RunSpec, after: str = "") -> None:
        raise NotImplementedError

    def signal(self, token: str, number: int) -> None:
        raise NotImplementedError

    def stop(self, token: str, grace_seconds: float) -> None:
        raise NotImplementedError

    def kill_all(self) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        raise NotImplementedError

    def poll(self) -> list[Event]:
        raise NotImplementedError

    def close(self, grace_seconds: float) -> None:
        raise NotImplementedError
