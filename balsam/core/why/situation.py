"""Who is there to run jobs at this moment: the open sessions, and which of them are dead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from balsam.core import history, place, sessions
from balsam.core.models import Session
from balsam.core.models.session import LIVE
from balsam.core.offer import Offer, Shape
from balsam.platform import node

LAUNCHER = "launcher"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True)
class Member:
    """An open session. ``dead`` says that whoever comes next may take its jobs over."""

    session: Session
    dead: bool
    offer: Offer = field(default_factory=Offer)

    @property
    def name(self) -> str:
        """``launcher 1234 on node7``."""
        return f"{self.session.kind} {self.session.pid} on {self.session.host}"

    @property
    def works(self) -> bool:
        """Whether it is a launcher that can take on jobs."""
        here = self.session.kind == LAUNCHER and self.session.state == LIVE
        return here and not self.dead


@dataclass(frozen=True)
class Situation:
    """The sessions at ``now`` (UTC), by id."""

    now: datetime
    members: dict[int, Member]

    @property
    def launchers(self) -> list[Member]:
        """Those that can take on jobs."""
        return [member for member in self.members.values() if member.works]

    def meant_for(self, workflow: str, tags: Mapping[str, Any]) -> list[Member]:
        """Launchers for the jobs of this workflow with these tags."""
        return [member for member in self.launchers if member.offer.covers(workflow, tags)]

    @property
    def by_tags(self) -> bool:
        """Whether a job's tags tell which launchers are meant for it."""
        return any(member.offer.tags for member in self.launchers)

    def in_time(self, members: Sequence[Member], minutes: float) -> list[Member]:
        """Those of ``members`` that will be there for so many minutes more."""
        return [
            member
            for member in members
            if (left := member.offer.seconds_left(self.now)) is None or left >= 60 * minutes
        ]


def observe(now: datetime | None = None) -> Situation:
    """The situation as the record and this machine's processes show it."""
    seconds = place.current_project().settings().launcher.lease_seconds
    machine = node.identity()
    members = {
        int(session.pk): Member(
            session, is_dead(session, seconds, machine), Offer.from_dict(session.offer)
        )
        for session in sessions.others(None)
    }
    return Situation(now or history.now(), members)


def is_dead(session: Session, lease_seconds: float, machine: str) -> bool:
    """By its heartbeat, and by its process where that can be looked at."""
    if sessions.expired(session, lease_seconds):
        return True
    here = session.machine == machine
    return here and not node.process_alive(session.pid, session.pid_start)


def fits(members: Sequence[Member], shape: Shape) -> list[Member]:
    """Those of ``members`` that have what a job of this shape asks for."""
    return [member for member in members if member.offer.lacks(shape) is None]


def span(seconds: float) -> str:
    """A length of time in its two largest units: ``41 s``, ``3 min 5 s``, ``2 d 4 h``."""
    left = max(0, round(seconds))
    for index, (size, unit) in enumerate(_UNITS):
        if left >= size:
            whole, rest = divmod(left, size)
            if index + 1 == len(_UNITS):
                return f"{whole} {unit}"
            smaller, name = _UNITS[index + 1]
            more = f" {rest // smaller} {name}" if rest >= smaller else ""
            return f"{whole} {unit}{more}"
    return "0 s"
