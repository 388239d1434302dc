"""Launchers of one batch job that would run jobs on the same nodes."""

from __future__ import annotations

from balsam.core import sessions
from balsam.core.models.session import LIVE
from balsam.core.offer import Offer, count
from balsam.core.why.situation import LAUNCHER, is_dead
from balsam.errors import AllocationError
from balsam.platform import nodelist

_SHOWN = 3


def refuse(session: int, offer: Offer, lease_seconds: float, machine: str) -> None:
    """Raise AllocationError if another living launcher of the same batch job has one of the nodes.

    ``session`` is open already: of two that begin together, the second one sees the first. One
    that died (no heartbeat for ``lease_seconds``, or its process is gone from this ``machine``)
    holds no nodes, nor does one outside of a batch job, where nodes are shared as people like.
    """
    if not (offer.batch_id and offer.node_names):
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
            and not is_dead(other, lease_seconds, machine)
        ):
            names = nodelist.compress(sorted(both)[:_SHOWN])
            more = f" and {len(both) - _SHOWN} more" if len(both) > _SHOWN else ""
            raise AllocationError(
                f"Launcher {other.pid} on {other.host} runs jobs on {count(len(both), 'node')} of "
                f"this one in the same batch job ({names}{more}): give each launcher nodes of its "
                "own with --offset-nodes and --limit-nodes, or let one start both with --part."
            )
