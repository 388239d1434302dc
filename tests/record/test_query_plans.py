"""Query plans: the statements that launchers and people make all the time use their indexes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from balsam import states
from balsam.core import bookkeeping, graph, lease, listing, misfits, progress, sessions, waiting
from balsam.core.advance import Move, advance, advance_set
from balsam.core.care.invariants import RULES
from balsam.core.events import Hop
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob, EventLog
from balsam.core.selection import Selection
from balsam.core.standing import Watched

pytestmark = pytest.mark.usefixtures("project")
#: How a table read from end to end is shown, by SQLite and by Postgres. So is an index of all its
#: rows by SQLite, but not one of the few that are runnable or leased.
PARTIAL = "(?:runnable|runnable_workflow|session|queued_launch)"
WHOLE = re.compile(
    rf"SCAN (?P<sqlite>\w+)(?! USING (?:COVERING )?INDEX balsam_job_{PARTIAL}\b)(?!\w)"
    r"|Seq Scan on (?P<postgres>\w+)"
)
#: Other names that statements give to tables.
ALIASES = {
    "job": "balsam_job",
    "parent": "balsam_job",
    "event": "balsam_event",
    "edge": "balsam_dependency",
    "link": "balsam_dependency",
}
JOBS, EVENTS, EDGES = "balsam_job", "balsam_event", "balsam_dependency"
STATE, WORKFLOW = "balsam_job_state", "balsam_job_workflow"
RUNNABLE, SESSION = "balsam_job_runnable", "balsam_job_session"
Action = Callable[[], object]
Statement = tuple[str, Any]


class Record:
    """A small campaign: a parent that runs, its children, finished jobs, and a session."""

    def __init__(self) -> None:
        def life(kind: str) -> int:
            return sessions.open_session(sessions.Life(kind, "host", "machine", 1, 1))

        self.session, self.other = life("launcher"), life("launcher")
        jobs = BalsamJob.objects
        jobs.bulk_create({"name": f"w{index}", "workflow": "w"} for index in range(8))
        self.keys = list(jobs.order_by("id").values_list("id", flat=True))
        bookkeeping.pass_jobs(self.keys, 10)
        self.running = [row[0] for row in lease.lease_runnable(self.session, Scope(), 3)]
        started = [Hop(states.RUNNING)]
        advance(
            Move(job, states.PREPROCESSED, started, 0, self.session, keep_lease=True,
                 next_attempt=1)
            for job in self.running
        )  # fmt: skip
        self.child = jobs.create(name="child", workflow="w", parents=self.running, input_files="")
        self.new = jobs.create(name="new", workflow="w")
        bookkeeping.pass_jobs([self.child.pk], 10)
        self.job = jobs.get(pk=self.keys[-1])


@pytest.fixture
def record(project: object) -> Iterator[Record]:
    made = Record()
    if connection.vendor == "sqlite":
        yield made
        return
    with connection.cursor() as cursor:  # on few rows it would rightly read them all
        cursor.execute("ANALYZE")
        cursor.execute("SET enable_seqscan = off")
    yield made
    with connection.cursor() as cursor:
        cursor.execute("RESET enable_seqscan")


def statements(action: Action) -> list[Statement]:
    """The statements about jobs, events and edges that ``action`` makes, with their parameters."""
    made: list[Statement] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        word = sql.split(None, 1)[0].upper()
        if word in ("SELECT", "UPDATE", "DELETE", "WITH") and not many:
            made.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        action()
    return [one for one in made if any(table in one[0] for table in (JOBS, EVENTS, EDGES))]


def plan(statement: Statement) -> str:
    """How the database would go about it, without doing it."""
    explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    with connection.cursor() as cursor:
        cursor.execute(explain + statement[0], statement[1])
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def read_whole(text: str, statement: str) -> set[str]:
    """The tables that a plan reads from end to end."""
    found = set()
    for match in WHOLE.finditer(text):
        name = match["sqlite"] or match["postgres"]
        if name.startswith("U") and name[1:].isdigit():  # Django's names in subqueries
            given = re.search(rf'"?(balsam_\w+)"? "?{name}"?\b', statement)
            name = given[1] if given else name
        found.add(ALIASES.get(name, name))
    return found & {JOBS, EVENTS, EDGES}


def plans(action: Action, *, of_state: bool = False) -> str:
    """All plans of what ``action`` makes; none of them reads a table from end to end.

    Nor, without ``of_state``, all the jobs that are in some state, however many that may be.
    """
    made = statements(action)
    assert made
    texts = []
    for statement in made:
        text = plan(statement)
        assert not read_whole(text, statement[0]), f"{statement}\n{text}"
        # Of few rows Postgres may take any index; SQLite's choice does not depend on how many.
        if connection.vendor == "sqlite" and not of_state:
            assert f"{STATE} (state=?)" not in text, f"{statement}\n{text}"
        texts.append(text)
    return "\n".join(texts)


def undone(action: Action) -> Action:
    """``action`` in a transaction that is rolled back."""

    def act() -> None:
        with transaction.atomic():
            action()
            transaction.set_rollback(True)

    return act


# -- what launchers do ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "index"),
    [
        (Scope(), RUNNABLE),
        (Scope("w"), "balsam_job_runnable_workflow"),
        (Scope("w*"), RUNNABLE),
        (Scope(tags=(("a", "b"),)), RUNNABLE),
        (Scope("w", tags=(("a", "b"),)), "balsam_job_runnable_workflow"),
        (Scope(job=1), ""),
    ],
)
def test_leasing_runnable_jobs(record: Record, scope: Scope, index: str) -> None:
    text = plans(lambda: lease.lease_runnable(record.session, scope, 10))
    assert index in text
    if connection.vendor == "sqlite":
        assert "TEMP B-TREE" not in text


def test_leasing_for_steps(record: Record) -> None:
    wanted = (states.READY, states.STAGED_IN)
    text = plans(lambda: lease.lease_for_steps(record.session, Scope(), wanted, 10), of_state=True)
    assert STATE in text


def test_what_a_session_holds(record: Record) -> None:
    assert SESSION in plans(lambda: lease.held(record.session))
    assert SESSION in plans(undone(lambda: sessions.close_session(record.session)))


def test_giving_leases_back(record: Record) -> None:
    plans(lambda: lease.release(record.session, record.running))


def test_a_job_that_ends_and_what_follows(record: Record) -> None:
    def end() -> None:
        for job in record.running:
            hop = Hop(states.RUN_DONE, "", {"cause": states.OK})
            advance([Move(job, states.RUNNING, [hop], 1, record.session)])
        bookkeeping.pass_jobs(record.running, 10)

    text = plans(undone(end))
    assert "balsam_dependency" in text  # the children are looked for


@pytest.mark.parametrize("end", [states.JOB_FINISHED, states.FAILED])
def test_moving_many(record: Record, end: str) -> None:
    way = [Hop(states.RUNNING), Hop(states.RUN_DONE), Hop(states.POSTPROCESSED), Hop(end)]
    plans(undone(lambda: advance_set(record.keys, states.PREPROCESSED, way)))


def test_children_of_jobs_that_ended(record: Record) -> None:
    plans(lambda: waiting.release_children(record.running))
    plans(undone(lambda: waiting.fail_children(record.running)))
    plans(lambda: waiting.settle([record.child.pk]))
    plans(lambda: graph.descendants(record.running))
    plans(lambda: graph.parents_of([record.child.pk]))


def test_events_since_the_last_look(record: Record) -> None:
    plans(lambda: bookkeeping.changed_since(3, 10))
    plans(bookkeeping.last_event)


def test_a_page_of_the_work_at_hand(record: Record) -> None:
    assert STATE in plans(lambda: bookkeeping.backlog(states.CREATED, 0, 10), of_state=True)


def test_passing_new_jobs_on(record: Record) -> None:
    plans(undone(lambda: bookkeeping.pass_jobs([record.new.pk, record.child.pk], 10)))


def test_what_can_never_run(record: Record) -> None:
    plans(lambda: misfits.beyond(misfits.Limits(1, 8, 0), record.keys, Scope()))


# -- what people ask ------------------------------------------------------------------------------


def covering(action: Action, *indexes: str) -> None:
    """Counts of everything have to read it, but (one of these) an index of it, not the rows."""
    for statement in statements(action):
        text = plan(statement)
        assert not indexes or any(name in text for name in indexes), f"{statement}\n{text}"
        assert not re.search(r"SCAN \w+$|Seq Scan on balsam_(job|event|dep)", text, re.M), text


def test_counts_read_an_index(record: Record) -> None:
    jobs = BalsamJob.objects
    covering(jobs.counts_by_state, STATE, WORKFLOW)
    covering(lambda: lease.counts(Scope()), STATE, WORKFLOW)
    covering(jobs.workflows, WORKFLOW)
    covering(jobs.count)


def test_counts_of_one_workflow(record: Record) -> None:
    BalsamJob.objects.bulk_create({"workflow": f"other{index}"} for index in range(2000))
    with connection.cursor() as cursor:  # of a few rows the server may take any index
        cursor.execute("ANALYZE")
    jobs = BalsamJob.objects.filter(workflow="w")
    assert WORKFLOW in plans(jobs.counts_by_state)
    assert WORKFLOW in plans(lambda: lease.counts(Scope("w")))
    assert WORKFLOW in plans(Watched(Selection(workflows=("w",))).standing)


def test_the_newest_events_of_a_job(record: Record) -> None:
    events = record.job.events.order_by("-id")
    assert "balsam_event_job_id" in plans(lambda: list(events[:5]))
    assert "balsam_event_job_id" in plans(lambda: record.job.state_history)
    assert "balsam_event_job_id" in plans(lambda: listing.histories(record.keys))


@pytest.mark.parametrize(
    "selection",
    [
        Selection(states=(states.FAILED,)),
        Selection(states=(states.RUNNING, states.FAILED)),
        Selection(workflows=("w",)),
        Selection(workflows=("w",), states=(states.RUNNING,)),
        Selection(parents=("1",)),
        Selection(ids=("1",)),
        Selection(words=("last",)),
    ],
    ids=str,
)
def test_jobs_that_are_selected(record: Record, selection: Selection) -> None:
    jobs = BalsamJob.objects.matching(selection)
    plans(
        lambda: list(listing.tuples(listing.ordered(jobs, ()), ("id", "name"), 100)),
        of_state=bool(selection.states),
    )


def test_the_first_page_of_everything_is_read_by_key(record: Record) -> None:
    jobs = listing.ordered(BalsamJob.objects.all(), ())
    for statement in statements(lambda: list(listing.tuples(jobs, ("id", "name"), 100))):
        text = plan(statement)
        assert "TEMP B-TREE" not in text and "Sort" not in text, text


def test_a_job_by_its_uuid(record: Record) -> None:
    text = str(record.job.job_id)
    plans(lambda: BalsamJob.objects.find(text))
    plans(lambda: BalsamJob.objects.find(text[:30]))
    plans(lambda: BalsamJob.objects.keys_of([text]))


def test_a_look_at_the_progress_reads_no_rows_but_those_it_shows(record: Record) -> None:
    for statement in statements(progress.look):
        text = plan(statement)
        whole = read_whole(text, statement[0])
        assert not whole or "USING COVERING INDEX" in text, f"{statement}\n{text}"


def test_pages_of_jobs_and_edges(record: Record) -> None:
    plans(lambda: graph.children_of(record.keys))
    plans(lambda: list(listing.roots(BalsamJob.objects.filter(workflow="w").order_by("id"))))
    plans(lambda: BalsamJob.objects.by_key(record.keys))
    plans(undone(lambda: BalsamJob.objects.filter(workflow="w").delete()))


def test_events_by_number_are_read_by_key(record: Record) -> None:
    plans(lambda: list(EventLog.objects.filter(id__gte=3).order_by("id")[:10]))


@pytest.mark.sqlite
def test_no_rule_of_fsck_pairs_all_jobs_of_one_state_with_all_of_another(record: Record) -> None:
    for rule in RULES:
        text = plan((rule.statement, ()))
        assert text.count(f"{STATE} (state=?)") <= 1, f"{rule.statement}\n{text}"


# -- what a server of Postgres takes tables for ---------------------------------------------------


@pytest.mark.postgres
def test_edges_are_read_by_job_though_one_had_them_all_when_they_were_counted(
    record: Record,
) -> None:
    jobs = BalsamJob.objects
    jobs.bulk_create({"name": f"many{index}", "workflow": "v"} for index in range(3000))
    many = list(jobs.filter(workflow="v"))
    jobs.create(name="of-all", workflow="w", parents=many, input_files="")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("RESET enable_seqscan")
    passed = statements(undone(lambda: bookkeeping.pass_jobs([many[0].pk], 10)))
    text = "\n".join(map(plan, passed))
    assert "Index Cond: (child_id = job.id)" in text, text
    assert "Filter: (child_id = job.id)" not in text, text


@pytest.mark.postgres
def test_the_newest_event_of_each_job_is_not_looked_for_among_all(record: Record) -> None:
    (rule,) = (rule for rule in RULES if rule.check == "state-of-events")
    text = plan((rule.statement, ()))
    assert re.search(
        r"Aggregate.*\n.*balsam_event_job_id.*\n.*Index Cond: \(job_id = job.id\)", text
    ), text
