"""The examination: every check in turn, each kept from ending the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

from balsam.conf.logs import close_log, open_log
from balsam.doctor import database, limits, machine, mpi, place, server, sessions
from balsam.doctor.finding import PROBLEM, Finding, problem
from balsam.doctor.patient import Patient
from balsam.errors import BalsamError

logger = logging.getLogger(__name__)

Look = Callable[[Patient], Iterable[Finding]]

#: What is looked at, in order: what a repair leads to is seen by the checks after it.
CHECKS: tuple[tuple[str, Look], ...] = (
    ("project", place.directories),
    ("settings", place.settings),
    ("permissions", place.permissions),
    ("leftovers", place.leftovers),
    ("server", server.server),
    ("database", database.file),
    ("locking", database.locking),
    ("journal mode", database.journal_mode),
    ("limits", limits.limits),
    ("sessions", sessions.dead),
    ("leases", sessions.stale_leases),
    ("outcomes", sessions.journals),
    ("clock", machine.clock),
    ("disk", machine.disk),
    ("mpi", mpi.ranks),
    ("scheduler", machine.schedulers),
    ("versions", machine.versions),
)


def examine(patient: Patient, *, fix: bool = False) -> Iterator[Finding]:
    """What each check finds, one after the other.

    With ``fix`` what is safe is repaired on the way; a finding with status ``fixed`` then says
    what was done, and so do a log file of the project and the events of the jobs it was done to.
    Nothing raises: a check that can not be made is a problem.
    """
    with ExitStack() as closing:
        logged = False
        for name, look in CHECKS:
            for finding in guarded(name, look, patient):
                if fix and finding.cure:
                    if not logged:
                        logged = True
                        _open_log(patient, closing)
                    finding = _cured(finding)
                yield finding


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether none of them is a problem."""
    return all(finding.status != PROBLEM for finding in findings)


def guarded(name: str, look: Look, patient: Patient) -> Iterator[Finding]:
    """What a check finds; its failure is a finding too."""
    try:
        yield from look(patient)
    except BalsamError as error:
        yield problem(name, str(error))
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        yield problem(
            name,
            f"the system refused{where}: {error.strerror or error}",
            "Check permissions, owner and disk there.",
        )
    except Exception as error:  # noqa: BLE001 (an examination goes on, whatever breaks in a check)
        yield problem(
            name,
            f"the check itself failed ({type(error).__name__}: {_line(error)})",
            "Please report that with 'balsam bug-report'.",
        )


def _cured(finding: Finding) -> Finding:
    assert finding.cure is not None
    try:
        done = finding.cure()
    except Exception as error:  # noqa: BLE001 (a repair that fails leaves the problem, in words)
        logger.exception("%s: %s: the repair failed", finding.check, finding.says)
        return problem(
            finding.check, f"{finding.says}; the repair failed ({_line(error)})", finding.repair
        )
    logger.warning("%s: %s: %s", finding.check, finding.says, done)
    return finding.fixed(done)


def _open_log(patient: Patient, closing: ExitStack) -> None:
    """What is repaired is logged in the project, as far as that can be written to."""
    if patient.project is None:
        return
    try:
        open_log(patient.project.log, "doctor", patient.settings.logging.level)
        closing.callback(close_log)
    except BalsamError as error:
        logger.warning("%s", error)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
