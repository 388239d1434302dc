"""Checks of what processes have leased: sessions that died, and what they left behind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from balsam.conf.project import Project
from balsam.core import events, sessions
from balsam.core.care import questions, record, strays
from balsam.core.care.questions import SessionRow
from balsam.core.models import Session
from balsam.doctor.database import LOCK_SECONDS, usable
from balsam.doctor.finding import Cure, Finding, ok, problem, warning
from balsam.doctor.patient import Patient
from balsam.doctor.watch import KIND
from balsam.launcher import journal
from balsam.launcher.recovery import Recovery
from balsam.platform import node
from balsam.platform.process import reason

_JOURNAL = re.compile(r"session-(\d+)\.jsonl")
_FIX = "balsam doctor --fix, or start a launcher: it does the same first."
_LEFT = "Its owner runs balsam doctor --fix, or starts a launcher."


def dead(patient: Patient) -> Iterator[Finding]:
    """Every session that has not ended is that of a living process."""
    project = patient.project
    if project is None or not usable(project):
        return
    # All are suspected before the first is recovered: so they are looked at over the same time.
    yield from list(_not_ended(patient, project))


def _not_ended(patient: Patient, project: Project) -> Iterator[Finding]:
    living: list[str] = []
    for row in _open_sessions(project):
        if alive(row, patient):
            living.append(_named(row))
        elif frozen(row):
            yield warning(
                "sessions",
                f"{_named(row)} has given no sign of life for {_age(row):.0f} s, but its process "
                "is still there",
                f"If it is not to go on, end it: kill {row.pid}. The next launcher takes its jobs.",
            )
        elif left := _left(project, row.id):
            kind = problem if row.jobs else warning
            yield kind("sessions", f"{_named(row)} is dead, and {left}", _LEFT)
        else:
            kind = problem if row.jobs or journal.read(_journal_of(project, row.id)) else warning
            yield kind("sessions", f"{_named(row)} is dead", _FIX, _recovering(patient, row.id))
    says = f"{len(living)} alive: {'; '.join(living[:4])}" if living else "none alive"
    yield ok("sessions", says)


def alive(row: SessionRow, patient: Patient) -> bool:
    """Whether its process runs, or (where one can not look) its heartbeat is recent."""
    if _age(row) > patient.settings.launcher.lease_seconds:
        return False
    return not _is_here(row) or node.process_alive(row.pid, row.pid_start)


def frozen(row: SessionRow) -> bool:
    """Whether its process is there all the same: stopped, perhaps, or unable to write."""
    return _is_here(row) and node.process_alive(row.pid, row.pid_start)


def stale_leases(patient: Patient) -> Iterator[Finding]:
    """No job is leased by, or running in, a session that is over."""
    project = patient.project
    if project is None or not usable(project):
        return
    with record.reading(project, timeout_seconds=LOCK_SECONDS) as database:
        stale = questions.stale_leases(database)
        homeless = questions.running_without_lease(database)
    for session, jobs in stale:
        says = f"{jobs} job(s) are leased by session {session}, which has ended"
        if left := _left(project, session):
            yield problem("leases", f"{says}, and is {left}", _LEFT)
        else:
            yield problem("leases", says, "balsam doctor --fix", _freeing(patient, session))
    if homeless:
        yield problem(
            "leases",
            f"{homeless} job(s) run according to the record, but no session has them",
            "balsam doctor --fix, when no launcher runs",
            _adopting(patient) if not _open_sessions(project) else None,
        )
    if not stale and not homeless:
        yield ok("leases", "every lease is of a session that has not ended")


def journals(patient: Patient) -> Iterator[Finding]:
    """No outcome waits in the journal of a session that is over."""
    project = patient.project
    if project is None or not project.journal_dir.is_dir():
        return
    readable = usable(project)
    rows = {row.id: row for row in _open_sessions(project)} if readable else {}
    owed, left, useless = 0, False, []
    for path in sorted(project.journal_dir.glob("session-*.jsonl")):
        name = _JOURNAL.fullmatch(path.name)
        row = rows.get(int(name[1])) if name else None
        if not readable:
            owed += 0 if journal.refusal(path) else len(journal.read(path))
        elif row is None:
            useless.append(path)
        elif alive(row, patient):
            continue
        elif journal.refusal(path):
            left = True
        elif entries := journal.read(path):
            owed += len(entries)
            cure = None if frozen(row) else _recovering(patient, row.id)
            yield problem(
                "outcomes",
                f"{path.name} holds {len(entries)} entries that session {row.id} could not commit",
                _FIX,
                cure,
            )
    if not readable and owed:
        yield warning(
            "outcomes",
            f"{owed} entries of journals wait for the database",
            "Repair the database first, and keep the files in log/outcomes.",
        )
    if useless:
        yield warning(
            "outcomes",
            f"{len(useless)} journal(s) in {project.journal_dir} are of sessions that have ended",
            "balsam doctor --fix removes them, as the next launcher does.",
            _tidying(patient),
        )
    if not owed and not useless:
        which = "no journal that can be read" if left else "no journal"
        yield ok("outcomes", f"{which} waits to be replayed")


# -- repairs ------------------------------------------------------------------------------------


def _recovering(patient: Patient, session: int) -> Cure | None:
    """Recover a dead session with the launcher's own code; others may have done so meanwhile."""
    if patient.settings_error:
        return None

    patient.watch.suspect(session)

    def cure() -> str:
        row = patient.watch.dead(session)
        if row is not None and patient.watch.recovery.take(row):
            return _recovered(patient.watch.recovery, row)
        return "it was recovered by somebody else, or came back to life"

    return cure


def _freeing(patient: Patient, session: int) -> Cure | None:
    if patient.settings_error:
        return None

    def cure() -> str:
        recovery = patient.watch.recovery
        done = [_recovered(recovery, row) for row in strays.abandoned() if row.pk == session]
        return "; ".join(done) or "somebody else freed them"

    return cure


def _adopting(patient: Patient) -> Cure | None:
    """Take the jobs as a session of our own, and recover that like any dead one's."""
    if patient.settings_error:
        return None

    def cure() -> str:
        session = sessions.open_session(sessions.own_life(KIND))
        strays.adopt_running(session)
        return _recovered(patient.watch.recovery, strays.of([session])[0])

    return cure


def _recovered(recovery: Recovery, session: Session) -> str:
    key = int(session.pk)
    number = events.note_held(key, f"balsam doctor took back the lease of session {key}")
    recovery.recover(session)
    return f"recovered session {key}, which held {number} job(s)"


def _tidying(patient: Patient) -> Cure | None:
    if patient.settings_error:
        return None

    def cure() -> str:
        patient.watch.recovery.tidy()
        return "removed"

    return cure


# -- looking ------------------------------------------------------------------------------------


def _open_sessions(project: Project) -> Sequence[SessionRow]:
    with record.reading(project, timeout_seconds=LOCK_SECONDS) as database:
        return questions.open_sessions(database)


def living_sessions(patient: Patient) -> list[str]:
    """The sessions that may be at work, in words. Raises DatabaseUnavailable."""
    assert patient.project is not None
    rows = _open_sessions(patient.project)
    return [_named(row) for row in rows if alive(row, patient) or frozen(row)]


def _is_here(row: SessionRow) -> bool:
    return row.machine == node.identity()


def _age(row: SessionRow) -> float:
    return (datetime.now(timezone.utc) - row.heartbeat).total_seconds()


def _named(row: SessionRow) -> str:
    return f"{row.kind} {row.id} on {row.host} (pid {row.pid}, {row.jobs} jobs)"


def _left(project: Project, session: int) -> str:
    """That a dead session is left to its owner, as launchers leave it, and why; '' if it is not."""
    path = _journal_of(project, session)
    refused = journal.refusal(path)
    return f"left to its owner: {path} can not be read ({reason(refused)})" if refused else ""


def _journal_of(project: Project, session: int) -> Path:
    return journal.path_of(project.journal_dir, session)
