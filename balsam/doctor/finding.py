"""What an examination finds: one line of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

OK = "ok"
FIXED = "fixed"
WARNING = "warning"
PROBLEM = "problem"

#: Something wrong that can be put right without asking; returns what was done, in words.
Cure = Callable[[], str]


@dataclass(frozen=True)
class Finding:
    """One line: a status, what was looked at, what was seen, and what to do about it.

    ``cure`` is there if that may be done without asking: it can lose nothing, and touches nothing
    that a living process works on.
    """

    status: str
    check: str
    says: str
    repair: str = ""
    cure: Cure | None = None

    def fixed(self, done: str) -> Finding:
        """The same after its cure."""
        return replace(self, status=FIXED, says=f"{self.says}: {done}", repair="", cure=None)

    def to_dict(self) -> dict[str, str]:
        return {
            "check": self.check,
            "status": self.status,
            "says": self.says,
            "repair": self.repair,
        }


def ok(check: str, says: str) -> Finding:
    return Finding(OK, check, says)


def warning(check: str, says: str, repair: str = "", cure: Cure | None = None) -> Finding:
    return Finding(WARNING, check, says, repair, cure)


def problem(check: str, says: str, repair: str = "", cure: Cure | None = None) -> Finding:
    return Finding(PROBLEM, check, says, repair, cure)
