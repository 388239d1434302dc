"""Fields of a job set from their written form; mixed into ``BalsamJob``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from balsam import states
from balsam.core.written import field_of, value_of
from balsam.errors import IllegalMove


class JobEdits:
    """Changes of a job as a person writes them."""

    if TYPE_CHECKING:
        save: Any
        state: str
        update_state: Callable[[str, str], None]

    def modify(self, name: str, text: str) -> Any:
        """Set one field from its written form, as ``balsam modify`` does; returns the new value.

        ``state`` moves through :meth:`update_state`. Raises UnknownName, InvalidValue, IllegalMove.
        """
        if name == "state":
            if self.state == states.USER_KILLED:
                raise IllegalMove("Cannot mutate state of a killed job")
            self.update_state(text, "User mutated state from command line")
            return self.state
        value = value_of(type(self), name, text)
        real = field_of(type(self), name)
        setattr(self, real, value)
        self.save()
        return getattr(self, real)
