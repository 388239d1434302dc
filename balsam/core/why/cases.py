"""One job whose condition is to be told, and the words for what it has to do with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from balsam import states
from balsam.core.why import conditions
from balsam.core.why.conditions import Facts
from balsam.core.why.situation import Member, Situation, span

#: How many launchers a text names.
SOME = 3
SCRIPTS = {states.STAGED_IN: "preprocess script", states.RUN_DONE: "postprocess script"}


@dataclass(frozen=True)
class Case:
    """A job, what its condition depends on, and who is there to run it."""

    job: Any
    facts: Facts
    situation: Situation

    @property
    def since(self) -> str:
        """Since when the job is in its state."""
        return self.when(self.job.state_timestamp)

    def when(self, time: datetime) -> str:
        """``2026-03-01 14:03:11 UTC (3 min 5 s ago)``."""
        ago = span((self.situation.now - time).total_seconds())
        return f"{time:%Y-%m-%d %H:%M:%S} UTC ({ago} ago)"

    @property
    def holder(self) -> Member | None:
        """The session that holds the job, unless it is unknown."""
        return self.situation.members.get(self.facts.session)

    @property
    def holder_named(self) -> str:
        """That session, since when it lives, and when it was last heard of."""
        member = self.holder
        if member is None:
            return f"session {self.facts.session}, which has ended"
        session = member.session
        heard = span((self.situation.now - session.heartbeat).total_seconds())
        started = f"{session.started:%Y-%m-%d %H:%M:%S} UTC"
        return f"{member.name} (session {session.pk}, since {started}, last heard of {heard} ago)"

    @property
    def launchers(self) -> list[Member]:
        """Those for its workflow that take jobs of its kind."""
        return [member for member in self.meant if member.offer.takes(self.job)]

    @property
    def meant(self) -> list[Member]:
        """Launchers for jobs of its workflow and tags."""
        return self.situation.meant_for(self.job.workflow, self.job.tags)

    @property
    def next_thing(self) -> str:
        """What a launcher would do with it."""
        need = self.facts.need
        if need == conditions.BACKOFF:
            _, need = conditions.STEPS.get(self.job.state, ("", ""))
        if need == conditions.STAGING:
            return "Its files are to be staged"
        if need == conditions.HOOK:
            return f"Its {SCRIPTS.get(self.job.state, 'handler')} is next"
        if self.job.state == states.RESTART_READY:
            return f"It is to be run again (attempt {self.job.attempt + 1})"
        return "It is ready to run" if self.job.state in states.RUNNABLE_STATES else "It can go on"


def called(job: Any) -> str:
    """``17 [name | 9a3c11f0]``."""
    return f"{job.pk} {job.cute_id}"


def retry(keys: Iterable[int]) -> str:
    """The command that lets jobs try again."""
    return f"balsam retry {' '.join(str(key) for key in keys)}"


def named(members: Sequence[Member], more: Callable[[Member], str] = lambda one: "") -> str:
    """Some of the members, each with ``more`` about it."""
    listed = ", ".join(f"{one.name}{more(one)}" for one in members[:SOME])
    return f"{listed}, ..." if len(members) > SOME else listed or "none"
