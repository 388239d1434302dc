"""Launchers that would run jobs on the same nodes."""

from __future__ import annotations

from collections.abc import Iterator

from balsam.core import sessions
from balsam.core.models import Session
from balsam.core.models.session import LIVE
from balsam.core.offer import Offer, count
from balsam.core.why.situation import LAUNCHER, is_dead
from balsam.errors import AllocationError
from balsam.platform import nodelist

_SHOWN = 3


def look(session: int, offer: Offer, lease_seconds: float, machine: str) -> str:
    """In a clause, what to know of another living launcher that has one of the nodes; or ''.

    ``session`` is open already: of two that begin together, the second one sees the first. One
    that died (no heartbeat for ``lease_seconds``, or its process is gone from this ``machine``)
    holds no nodes. In a batch job each has nodes of its own: raises AllocationError. Elsewhere
    they are shared as people like.
    """
    for other, both in _others(session, offer):
        if is_dead(other, lease_seconds, machine):
            continue
        if not offer.batch_id:
            return (
                f"Launcher {other.pid} runs jobs on {other.host} as well, and neither knows which "
                "cores the other uses"
            )
        names = nodelist.compress(sorted(both)[:_SHOWN])
        more = f" and {len(both) - _SHOWN} more" if len(both) > _SHOWN else ""
        raise AllocationError(
            f"Launcher {other.pid} on {other.host} runs jobs on {count(len(both), 'node')} of "
            f"this one in the same batch job ({names}{more}): give each launcher nodes of its "
            "own with --offset-nodes and --limit-nodes, or let one start both with --part."
        )
    return ""


def _others(session: int, offer: Offer) -> Iterator[tuple[Session, set[str]]]:
    """Earlier launchers of the same batch job, or also of none, with the nodes in common."""
    if not offer.node_names:
        return
    mine = set(nodelist.expand(offer.node_names))
    for other in sessions.others(session):
        theirs = Offer.from_dict(other.offer)
        if (
            other.pk < session
            and other.kind == LAUNCHER
            and other.state == LIVE
            and (theirs.scheduler, theirs.batch_id) == (offer.scheduler, offer.batch_id)
            and (both := mine.intersection(nodelist.expand(theirs.node_names)))
        ):
            yield other, both
