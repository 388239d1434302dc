"""How near a project on SQLite is to what SQLite can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone

from balsam.conf import filesystem
from balsam.core.care import questions, record
from balsam.core.care.questions import Span
from balsam.doctor.database import LOCK_SECONDS, usable
from balsam.doctor.finding import Finding, ok, warning
from balsam.doctor.patient import Patient

#: Launchers at once that a write-ahead log serves well. Measured (docs/concepts/two-databases.rst):
#: of eight processes that write without a pause one waits for 4 s at worst, of sixteen for 5 s, for
#: SQLite hands out no turns. Launchers pause.
WAL_LAUNCHERS = 8
#: The same with a rollback journal: of two such writers one waits for 8 s at worst, and of eight
#: one gets nothing done.
JOURNAL_LAUNCHERS = 2
#: Hosts that may write at once to a file on a shared file system: its locks are the slowest, and
#: not all such file systems keep them well.
SHARED_HOSTS = 1
#: A file of this size takes minutes to check, to copy and to upgrade, and others wait.
LARGE_BYTES = 8 * 1000**3
#: How far back launchers that ran at the same time are looked for.
DAYS = 7

_MOVE = "Postgres has no such limit: balsam db copy --to postgres"


def limits(patient: Patient) -> Iterator[Finding]:
    """A project on SQLite is used as SQLite can be used."""
    project = patient.project
    if project is None or record.is_postgres(project) or not usable(project):
        return
    with record.reading(project, timeout_seconds=LOCK_SECONDS) as database:
        spans = questions.newest_spans(database)
    oldest = datetime.now(timezone.utc) - timedelta(days=DAYS)
    launchers, hosts = busiest(span for span in spans if span.end > oldest)
    size = project.database_file.stat().st_size
    kind = filesystem.kind(project.database_dir)
    journal = patient.settings.database.journal_mode
    most = WAL_LAUNCHERS if journal == "wal" else JOURNAL_LAUNCHERS
    near = False
    if filesystem.is_shared(kind) and hosts > SHARED_HOSTS:
        near = True
        yield warning(
            "limits",
            f"launchers of {hosts} hosts wrote to SQLite's file at once, on a shared file system "
            f"({kind})",
            _MOVE,
        )
    if launchers > most:
        near = True
        yield warning(
            "limits",
            f"{launchers} launchers were at work at once; SQLite serves {most} well (journal mode "
            f"{journal})",
            _MOVE,
        )
    if size > LARGE_BYTES:
        near = True
        yield warning(
            "limits",
            f"the file has {size / 1e9:.1f} GB; up to {LARGE_BYTES / 1e9:.0f} GB are kept well",
            _MOVE,
        )
    if not near:
        yield ok(
            "limits",
            f"{launchers} launcher(s) at once in {DAYS} days, {size / 1e9:.1f} GB: well within "
            "SQLite's limits",
        )


def busiest(spans: Iterable[Span]) -> tuple[int, int]:
    """How many sessions lived at the same time at most, and on how many hosts at most."""
    living: list[Span] = []
    most_sessions = most_hosts = 0
    for span in sorted(spans, key=lambda span: span.start):
        living = [one for one in living if one.end > span.start] + [span]
        most_sessions = max(most_sessions, len(living))
        most_hosts = max(most_hosts, len({one.host for one in living}))
    return most_sessions, most_hosts
