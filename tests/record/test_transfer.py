"""A record moves between SQLite and Postgres with all that is in it, or not at all."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balsam import states
from balsam.conf.new_project import SQLITE, Engine
from balsam.conf.postgres import address, binaries, fitness
from balsam.conf.postgres.url import parse
from balsam.conf.project import Project
from balsam.core import bookkeeping, schema, sessions
from balsam.core.care import (
    backup,
    database_file,
    database_server,
    fsck,
    questions,
    record,
    streams,
    tables,
)
from balsam.core.care.move import move
from balsam.core.care.restore import restore
from balsam.core.care.tables import Column
from balsam.core.models import ApplicationDefinition, BalsamJob, BatchJob, EventLog, Session
from balsam.core.models.dependency import Dependency
from balsam.core.sessions import Life
from balsam.errors import BalsamError, DatabaseUnavailable, InvalidValue, ProjectExists

from .. import databases
from ..unit.core.test_cells import JSON, TEXTS

pytestmark = pytest.mark.server

MODELS = (ApplicationDefinition, BalsamJob, BatchJob, Dependency, EventLog, Session)
NASTY = "it's \"quoted\"\\ \\N \\. \t\r\n\x0b\x08 é ☃ 😀 \x01 ''"
LIFE = Life("launcher", "host", "machine", 1, 1)


def rows_of_all() -> dict[str, list[dict[str, Any]]]:
    """All that the record holds, as Python has it."""
    connection.close()
    found = {model.__name__: list(model._base_manager.order_by("id").values()) for model in MODELS}
    connection.close()
    return found


def forget_settings(project: Project) -> Project:
    """The project as a new process sees it."""
    from balsam.conf import current

    connection.close()
    current.forget()
    return Project(project.path)


@pytest.fixture
def filled(project: Project) -> Project:
    """A project with something in every table, and some of it hard to carry."""
    app = ApplicationDefinition.register(
        name=NASTY.strip(), executable="/bin/echo", environ_vars={"A": NASTY, "B": ""}
    )
    batch = BatchJob.objects.create(filter_tags={"t": [1, {"u": None}]}, start_time=moment(0))
    jobs = BalsamJob.objects.bulk_create(
        [BalsamJob(name=f"n{number}", app=app, data={"n": number}) for number in range(30)]
    )
    hard = BalsamJob(
        name=NASTY,
        workflow="",
        description="x" * 100_000,
        data={"big": 10**40, "small": 5e-324, "text": NASTY, "none": None, "deep": [[[{}]]]},
        tags={"": "", NASTY: NASTY},
        gpus_per_rank=0.1 + 0.2,
        time_limit_minutes=1 / 3,
        priority=-(2**30),
        direct_command="true",
    )
    hard.save()
    hard.set_parents(jobs[:3])
    gone = BalsamJob.objects.create(name="gone", direct_command="true")
    gone.delete()
    session = sessions.open_session(LIFE)
    bookkeeping.pass_jobs([jobs[5].id, jobs[6].id], 10)
    BalsamJob._base_manager.filter(id=jobs[5].id).update(
        session_id=session, queued_launch=batch, return_code=-9, state_timestamp=moment(0)
    )
    jobs[7].update_state(states.FAILED, NASTY)
    connection.close()
    return project


def moment(microsecond: int) -> datetime:
    return datetime(2026, 1, 2, 3, 4, 5, microsecond, tzinfo=timezone.utc)


def other_engine(project: Project) -> Engine:
    """A database of the other kind."""
    return SQLITE if record.is_postgres(project) else databases.on_server()


def test_a_record_moves_there_and_back(filled: Project) -> None:
    before, text = rows_of_all(), filled.settings_file.read_text()
    engine = filled.settings().database.engine
    there = forget_settings(filled)
    moved = move(there, other_engine(there))
    there = forget_settings(filled)
    assert moved.jobs == 31 and there.settings().database.engine != engine
    assert rows_of_all() == before
    assert fsck.check_project(there).sound
    job = BalsamJob.objects.create(name="later", direct_command="true")
    assert job.id == 33  # 32 was given out once
    assert EventLog.objects.filter(job=job).count() == 1
    connection.close()
    before = rows_of_all()
    move(there, databases.on_server() if engine == "postgres" else SQLITE)
    again = forget_settings(filled)
    assert again.settings().database.engine == engine
    assert rows_of_all() == before
    assert fsck.check_project(again).sound
    comments = [line for line in text.splitlines() if line.strip().startswith("#")]
    assert [
        line for line in again.settings_file.read_text().splitlines()
        if line.strip().startswith("#")
    ] == comments  # fmt: skip


def test_the_old_database_is_kept(filled: Project) -> None:
    before = rows_of_all()
    now = forget_settings(filled)
    moved = move(now, other_engine(now))
    if now.settings().database.engine == "sqlite":
        assert not now.database_file.exists()
        assert backup.inspect(Path(moved.kept)).jobs == 31
    else:
        place = now.settings().database.url
        assert moved.kept.endswith(f" of {place}") and moved.kept.startswith("the schema balsam_")
        with database_server.reading(now) as server:
            assert database_server.tables(server) == []  # nobody goes on with them by mistake
            server.execute(f"SET search_path = {moved.kept.split()[2]}")
            assert questions.number_of_jobs(server) == 31
            server.execute("SET search_path = public")
        back = Engine("postgres", place, now.settings().database.password_file)
        move(forget_settings(filled), back)
        now = forget_settings(filled)
        assert now.settings().database.url == place
    assert rows_of_all() == before


def test_a_copy_of_either_database_is_the_same(filled: Project, tmp_path: Path) -> None:
    one, other = tmp_path / "one.sqlite3", tmp_path / "other.sqlite3"
    backup.back_up(filled, one)
    now = forget_settings(filled)
    move(now, other_engine(now))
    now = forget_settings(filled)
    made = backup.back_up(now, other)
    assert made.jobs == 31 and made.belongs_to(now)
    assert backup.inspect(other).belongs_to(now)
    with opened(one) as first, opened(other) as second:
        assert contents(first) == contents(second)
        assert columns(first) == columns(second)
    assert fsck.check(other).sound


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with database_file.reading(path, untouched=True) as database:
        yield database


def columns(database: sqlite3.Connection) -> list[Any]:
    """Tables and indexes, but for the label."""
    found = database.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    return [row for row in found if "balsam_backup" not in row[0]]


def contents(database: sqlite3.Connection) -> dict[str, list[Any]]:
    """All rows, JSON as what it says; and the numbers given out."""
    found: dict[str, list[Any]] = {}
    for table in [*tables.names_in_file(database), "sqlite_sequence"]:
        if table == "balsam_backup":
            continue
        rows = database.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
        found[table] = [tuple(map(plain, row)) for row in rows]
    return found


def plain(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "{[":
        with contextlib.suppress(ValueError):
            return json.loads(value)
    return value


def test_a_copy_is_restored_in_place_of_what_is_there(filled: Project, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    backup.back_up(filled, copy)
    before = rows_of_all()
    BalsamJob.objects.all().delete()
    BalsamJob.objects.create(name="only", direct_command="true")
    connection.close()
    kept = restore(filled, copy)
    assert rows_of_all() == before
    assert fsck.check_project(filled).sound
    assert kept is not None and backup.inspect(kept).jobs == 1
    # 33 was given out: a process that lives on may still go by it, as a launcher by its session.
    assert BalsamJob.objects.create(name="next", direct_command="true").id == 34
    connection.close()
    restore(filled, kept)
    assert [job["name"] for job in rows_of_all()["BalsamJob"]] == ["only"]
    assert fsck.check_project(filled).sound


# -- values --------------------------------------------------------------------------------------

LAYOUT = [
    Column("id", "int"), Column("words", "text"), Column("doc", "json"), Column("flag", "bool"),
    Column("number", "real"), Column("key", "uuid"), Column("at", "time"), Column("big", "int"),
]  # fmt: skip
ROWS = st.lists(
    st.tuples(
        st.none() | TEXTS,
        JSON,
        st.none() | st.booleans(),
        st.none() | st.floats(allow_nan=False),
        st.none() | st.uuids(),
        st.none() | st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),
        st.none() | st.integers(-(2**63), 2**63 - 1),
    ),
    min_size=1,
    max_size=30,
)


@pytest.fixture(scope="module")
def server() -> Iterator[psycopg.Connection]:
    """A connection to an empty database, with a table of one column of each kind."""
    engine = databases.on_server()
    words = {**parse(engine.url).parameters(), "password": Path(engine.password_file).read_text()}
    with psycopg.connect(**words, autocommit=True) as connected:
        database_server.prepare(connected, 60)
        connected.execute(
            """CREATE TABLE t (id bigint, words text, doc jsonb, flag boolean,
               number double precision, key uuid, at timestamptz, big bigint)"""
        )
        yield connected


@given(ROWS)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_values_survive_the_way_there_and_back(
    server: psycopg.Connection, rows: list[tuple[Any, ...]]
) -> None:
    given = [
        (number, words, escaped(doc), flag, real, key and key.hex, at and str(at), big)
        for number, (words, doc, flag, real, key, at, big) in enumerate(rows)
    ]
    server.execute("TRUNCATE t")
    with contextlib.closing(table()) as first, contextlib.closing(table()) as second:
        first.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?)", given)
        streams.to_server(server, "t", LAYOUT, streams.from_file(first, "t", LAYOUT))
        streams.to_file(second, "t", LAYOUT, streams.from_server(server, "t", LAYOUT))
        found = second.execute("SELECT * FROM t ORDER BY id").fetchall()
        sums = {
            streams.sum_of("t", LAYOUT, chunks)
            for chunks in (
                streams.from_file(first, "t", LAYOUT),
                streams.from_server(server, "t", LAYOUT),
                streams.from_file(second, "t", LAYOUT),
            )
        }
    assert len(sums) == 1 and sums.pop()[0] == len(rows)
    for before, after in zip(given, found, strict=True):
        assert [*before[:2], *before[3:]] == [*after[:2], *after[3:]]
        assert same_json(json.loads(before[2]), json.loads(after[2]))


def escaped(value: Any) -> str:
    """JSON as SQLite has it; without NUL, which Postgres can not hold, nor half characters."""
    return json.dumps(without(value))


def without(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "0").encode(errors="replace").decode()
    if isinstance(value, list):
        return [without(one) for one in value]
    if isinstance(value, dict):
        return {without(name): without(one) for name, one in value.items()}
    return value


def same_json(one: Any, other: Any) -> bool:
    """Postgres keeps a number's value, not whether it was written as 1e22."""
    if isinstance(one, float) and isinstance(other, int | float) and not isinstance(other, bool):
        return one == float(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


def table() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:")
    made.execute(
        """CREATE TABLE t (id integer, words text, doc text, flag bool, number real, key char(32),
           at datetime, big bigint)"""
    )
    return made


def test_a_session_number_is_given_out_once(filled: Project, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    backup.back_up(filled, copy)
    living = sessions.open_session(LIFE)
    connection.close()
    restore(filled, copy)
    assert sessions.open_session(LIFE) == living + 1
    connection.close()


# -- servers that do not fit ---------------------------------------------------------------------


def test_a_server_that_is_too_old(
    on_sqlite: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "OLDEST", 99)
    with pytest.raises(DatabaseUnavailable, match="Balsam needs 99 or newer; choose another"):
        move(on_sqlite, databases.on_server())
    path = tmp_path / "new"
    with pytest.raises(DatabaseUnavailable, match="Balsam needs 99") as caught:
        schema.create_project(path, databases.on_server())
    assert str(path) not in str(caught.value) and not path.exists()


def test_connections_that_share_a_process_of_the_server() -> None:
    where = databases.on_server()
    given = parse(where.url).parameters()
    password = Path(where.password_file).read_text()
    with (
        psycopg.connect(**given, password=password, autocommit=True) as one,
        psycopg.connect(**given, password=password, autocommit=True) as other,
    ):
        assert not fitness.shares_processes(one, other)
        # Two clients of a pooler that serves both by this connection look like this.
        assert fitness.shares_processes(one, one)


# -- what can not be -----------------------------------------------------------------------------


@pytest.fixture
def on_sqlite(project: Project) -> Project:
    """A project on SQLite, whatever the tests run on."""
    if record.is_postgres(project):
        BalsamJob.objects.create(name="first", direct_command="true")
        connection.close()
        move(forget_settings(project), SQLITE)
        return forget_settings(project)
    BalsamJob.objects.create(name="first", direct_command="true")
    connection.close()
    return project


@pytest.fixture
def on_postgres(filled: Project) -> Project:
    """A project on Postgres with something in it, whatever the tests run on."""
    if record.is_postgres(filled):
        return filled
    move(forget_settings(filled), databases.on_server())
    return forget_settings(filled)


def plant(project: Project, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(project.database_file)) as database:
        database.execute(statement)
        database.commit()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("name", "char(97, 0, 98)", "balsam_job.name of row 1 holds a NUL character"),
        ("name", "x'00ff'", "balsam_job.name of row 1 holds no text"),
        ("priority", "3000000000", "out of range"),
        ("data", """'{"a": "\\u0000"}'""", "can not hold a value"),
        ("data", """'{"a": "\\ud800"}'""", "can not hold a value"),
        ("data", "'{\"a\": 1e999999}'", "can not hold a value"),
        ("state_timestamp", "'never'", "balsam_job.state_timestamp of row 1 holds no time"),
        ("name", "CAST(x'ff' AS TEXT)", "decode"),
    ],
)
def test_what_postgres_can_not_hold_stays_where_it_is(
    on_sqlite: Project, column: str, value: str, words: str
) -> None:
    plant(on_sqlite, f"UPDATE balsam_job SET {column} = {value}")
    engine = databases.on_server()
    with pytest.raises(BalsamError, match=words) as caught:
        move(on_sqlite, engine)
    assert len(str(caught.value).splitlines()) == 1
    now = forget_settings(on_sqlite)
    assert now.settings().database.engine == "sqlite" and now.database_file.exists()
    with psycopg.connect(**where(engine)) as server:
        assert database_server.tables(server) == []


def where(engine: Engine) -> dict[str, Any]:
    password = Path(engine.password_file).read_text()
    return {**parse(engine.url).parameters(), "password": password}


def test_a_database_that_holds_something_is_left_alone(on_sqlite: Project) -> None:
    engine = databases.on_server()
    with psycopg.connect(**where(engine), autocommit=True) as server:
        server.execute("CREATE TABLE mine (id integer)")
        with pytest.raises(ProjectExists, match="holds tables already"):
            move(on_sqlite, engine)
        assert database_server.tables(server) == ["mine"]
    assert BalsamJob.objects.count() == 1


def test_where_it_is_already(filled: Project) -> None:
    database = filled.settings().database
    engine = Engine(database.engine, database.url, database.password_file)
    with pytest.raises(InvalidValue, match="already"):
        move(filled, engine)


def test_a_wrong_password_is_told_without_it(on_sqlite: Project, tmp_path: Path) -> None:
    engine = databases.on_server()
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-password")
    wrong.chmod(0o600)
    with pytest.raises(DatabaseUnavailable, match="password") as caught:
        move(on_sqlite, Engine("postgres", engine.url, str(wrong)))
    assert "not-the-password" not in str(caught.value)
    assert BalsamJob.objects.count() == 1


def test_nothing_moves_under_another_process(on_sqlite: Project) -> None:
    with contextlib.closing(sqlite3.connect(on_sqlite.database_file)) as other:
        other.execute("SELECT count(*) FROM balsam_job").fetchone()
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="in use"):
            move(on_sqlite, databases.on_server())
    assert BalsamJob.objects.count() == 1


def test_nothing_moves_or_is_replaced_under_a_transaction(
    on_postgres: Project, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.sqlite3"
    backup.back_up(on_postgres, copy)
    with psycopg.connect(**address.parameters(on_postgres)) as other:
        other.execute("UPDATE balsam_job SET priority = 7")
        for attempt in (lambda: move(on_postgres, SQLITE), lambda: restore(on_postgres, copy)):
            with pytest.raises(DatabaseUnavailable, match="in use"):
                attempt()
    assert forget_settings(on_postgres).settings().database.engine == "postgres"
    assert BalsamJob.objects.count() == 31
    assert not on_postgres.database_file.exists()


def test_a_server_that_goes_away_in_the_middle_leaves_nothing(
    on_postgres: Project, tmp_path: Path
) -> None:
    BalsamJob.objects.bulk_create([{"name": "n" * 500} for _ in range(20_000)])
    connection.close()
    place = tmp_path / "copies"
    place.mkdir()
    with killer(on_postgres, "COPY (SELECT%"), pytest.raises(DatabaseUnavailable):
        backup.back_up(on_postgres, place / "copy.sqlite3")
    assert list(place.iterdir()) == []
    with killer(on_postgres, "COPY (SELECT%"), pytest.raises(DatabaseUnavailable):
        move(on_postgres, SQLITE)
    now = forget_settings(on_postgres)
    assert now.settings().database.engine == "postgres" and not now.database_file.exists()
    assert BalsamJob.objects.count() == 20_031


def test_a_server_that_goes_away_in_a_restore_keeps_what_it_had(
    on_postgres: Project, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.sqlite3"
    BalsamJob.objects.bulk_create([{"name": "n" * 500} for _ in range(20_000)])
    backup.back_up(on_postgres, copy)
    BalsamJob.objects.create(name="newest", direct_command="true")
    connection.close()
    files = sorted(on_postgres.database_dir.iterdir())
    with (
        killer(on_postgres, "COPY balsam_job%"),
        pytest.raises(DatabaseUnavailable, match="Nothing was changed"),
    ):
        restore(on_postgres, copy)
    assert BalsamJob.objects.count() == 20_032
    assert sorted(on_postgres.database_dir.iterdir()) == files


@contextlib.contextmanager
def killer(project: Project, statement: str) -> Iterator[None]:
    """Cut off whoever runs such a statement, as a server does that goes away."""
    stop = threading.Event()
    hit = threading.Event()

    def watch() -> None:
        with psycopg.connect(**address.parameters(project), autocommit=True) as server:
            while not (stop.is_set() or hit.is_set()):
                rows = server.execute(
                    """SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE %s
                       AND state = 'active' AND pid <> pg_backend_pid()""",
                    [statement],
                ).fetchall()
                if rows:
                    hit.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
    assert hit.is_set()


# -- other versions ------------------------------------------------------------------------------


def older(path: Path) -> None:
    """A record of the first schema, with one job, in a file."""
    tables.make_file(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as database:
        names = [row[1] for row in database.execute("PRAGMA table_info(balsam_event)")]
        assert "offer" not in {
            row[1] for row in database.execute("PRAGMA table_info(balsam_session)")
        }
        assert "data" in names
        database.execute(
            """INSERT INTO balsam_session (kind, state, lock, host, machine, pid, pid_start,
               started, heartbeat) VALUES ('launcher', 'ended', '', 'old', '', 1, 1,
               '2026-01-01 00:00:00', '2026-01-01 00:00:00')"""
        )
        database.commit()


def test_a_copy_of_an_older_balsam_is_brought_up_to_date(
    on_postgres: Project, tmp_path: Path
) -> None:
    copy = tmp_path / "old.sqlite3"
    older(copy)
    assert backup.inspect(copy).schema == 1
    restore(on_postgres, copy)
    assert fsck.check_project(on_postgres).sound
    assert list(Session.objects.values_list("host", "offer")) == [("old", {})]
    assert backup.inspect(copy).schema == 1  # and is as it was


def test_an_older_record_in_postgres_is_copied_as_it_is(
    on_postgres: Project, tmp_path: Path
) -> None:
    """As ``init --upgrade`` does before it changes anything."""
    connection.close()
    with tables.at(on_postgres) as there:
        tables.migrate(there, 1)
    kept = schema.upgrade_project(on_postgres)
    assert kept is not None and backup.inspect(kept).schema == 1
    assert backup.inspect(kept).jobs == 31
    assert fsck.check_project(on_postgres).sound
    assert BalsamJob.objects.count() == 31


# -- damage --------------------------------------------------------------------------------------

Plant = Callable[[str], None]


@pytest.mark.parametrize(
    ("statement", "check", "words"),
    [
        ("DROP INDEX balsam_job_runnable", "tables", "index balsam_job_runnable is missing"),
        ("DROP TRIGGER balsam_event_tell ON balsam_event", "tables", "tells launchers"),
        ("ALTER TABLE balsam_app DROP COLUMN envscript", "tables", "balsam_app.envscript"),
        ("UPDATE balsam_job SET state = 'READY' WHERE id = 9", "state-of-events", "job 9 is READY"),
        ("UPDATE balsam_job SET attempt = 4 WHERE id = 9", "attempts", "job 9 is at attempt 4"),
        ("SELECT setval('balsam_job_id_seq', 2)", "numbering", "balsam_job has a row 31, and has"),
        ("INSERT INTO balsam_dependency (child_id, parent_id) VALUES (3, 3)", "cycles", "job 3"),
        (
            "SET session_replication_role = replica; DELETE FROM balsam_job WHERE id = 2",
            "references",
            "names a balsam_job row",
        ),
        ("UPDATE balsam_session SET state = 'ended'", "leases", "job 6 is leased by session 1"),
        ("DELETE FROM django_migrations WHERE name LIKE '0005%'", "tables", "schema 4"),
    ],
)
def test_planted_damage_is_found_and_put_right(
    on_postgres: Project, tmp_path: Path, statement: str, check: str, words: str
) -> None:
    copy = tmp_path / "copy.sqlite3"
    backup.back_up(on_postgres, copy)
    connection.close()
    with psycopg.connect(**address.parameters(on_postgres), autocommit=True) as server:
        server.execute(statement)
    report = fsck.check_project(on_postgres)
    broken = {finding.check: finding for finding in report.findings if not finding.sound}
    assert check in broken, broken
    assert any(words in example for example in broken[check].examples), broken[check]
    with contextlib.suppress(DatabaseUnavailable):
        restore(on_postgres, copy)
    if check != "tables":
        assert fsck.check_project(on_postgres).sound


def test_tables_that_are_gone_are_put_back(on_postgres: Project, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    backup.back_up(on_postgres, copy)
    before = rows_of_all()
    with psycopg.connect(**address.parameters(on_postgres), autocommit=True) as server:
        tables.drop(server)
    assert restore(on_postgres, copy) is None
    assert fsck.check_project(on_postgres).sound
    assert rows_of_all() == before


def test_copies_are_consistent_while_others_write(on_postgres: Project, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(**address.parameters(on_postgres)) as server:
            while not stop.is_set():
                for table, column in (("balsam_job", "name"), ("balsam_app", "description")):
                    server.execute(f"UPDATE {table} SET {column} = {column} || 'x'")
                server.commit()

    with psycopg.connect(**address.parameters(on_postgres), autocommit=True) as server:
        server.execute("UPDATE balsam_job SET name = ''")
        server.execute("UPDATE balsam_app SET description = ''")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            copy = tmp_path / f"copy{number}.sqlite3"
            backup.back_up(on_postgres, copy)
            with opened(copy) as database:
                seen = {
                    row[0]
                    for row in database.execute(
                        "SELECT name FROM balsam_job UNION SELECT description FROM balsam_app"
                    )
                }
            assert len(seen) == 1
    finally:
        stop.set()
        writer.join()
