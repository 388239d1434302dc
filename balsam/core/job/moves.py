"""How a job's state is changed by hand; mixed into ``BalsamJob``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from balsam import states
from balsam.core import by_hand
from balsam.core.record import atomic
from balsam.errors import IllegalMove, InvalidValue, JobChanged, UsageError, nearest


class JobMoves:
    """The moves of the state machine that a user, a hook or a script may ask for."""

    if TYPE_CHECKING:
        _base_manager: Any
        objects: Any
        pk: Any
        refresh_from_db: Any
        source: Any
        state: str

        @property
        def cute_id(self) -> str: ...

    def update_state(
        self,
        new_state: str,
        message: str = "",
        release: bool = False,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Move the job, as a user or a hook may, with its event.

        What this process has leased by ``BalsamJob.source`` moves as Balsam may, too; ``release``
        gives the lease back. Raises IllegalMove, and JobChanged when the job is no longer in the
        state this object shows (killing is possible whatever it is now).
        """
        if new_state not in states.STATES:
            raise InvalidValue(
                f"There is no state '{new_state}'{nearest(new_state, states.STATES)}."
            )
        source = type(self).source
        with atomic():
            now = self._now()
            if new_state != states.USER_KILLED and now.state != self.state:
                shown = self.state
                self.refresh_from_db(fields=["state", "state_timestamp"])
                raise JobChanged(
                    f"{self.cute_id} is {now.state} by now, not {shown}; "
                    "call refresh_from_db() and decide again."
                )
            if now.state == states.USER_KILLED != new_state:
                raise IllegalMove(f"{self.cute_id} was killed: it stays {now.state}.")
            moved = by_hand.move([now], new_state, message, data, source.own_session)
            if release:
                source.give_back([now.job], moved)
            self.refresh_from_db(fields=["state", "state_timestamp", "session", "attempt"])

    def _now(self) -> by_hand.Now:
        if self.pk is None:
            raise UsageError(f"{self.cute_id} is not saved, or deleted: it has no state to change.")
        columns = ("id", "state", "session_id", "attempt")
        row = type(self)._base_manager.filter(pk=self.pk).select_for_update()
        found = row.values_list(*columns).first()
        if found is None:
            raise JobChanged(f"{self.cute_id} is no longer there: somebody deleted it.")
        return by_hand.Now(*found)

    @classmethod
    def batch_update_state(
        cls, pks: Iterable[Any], new_state: str, message: str = "", release: bool = False
    ) -> int:
        """Move many jobs as a user may; killed ones are skipped. Returns how many moved.

        ``release`` gives back the leases that this process holds on them.
        """
        jobs = cls.objects.all().among(cls.objects.keys_of(pks))
        return int(jobs.move(new_state, message, release))
