"""Listings: any columns in any order, a page at a time, whatever the size of a page."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from balsam import states
from balsam.cli import listings
from balsam.core import graph, history, listing
from balsam.core.models import ApplicationDefinition, BalsamJob, EventLog
from balsam.core.selection import Selection
from balsam.errors import UnknownName
from balsam.launcher import dag


@pytest.fixture(params=[2, 1000])
def jobs(
    request: pytest.FixtureRequest, app: ApplicationDefinition, monkeypatch: pytest.MonkeyPatch
) -> list[BalsamJob]:
    """Seven jobs, read two at a time or all at once."""
    monkeypatch.setattr(listing, "JOBS_PER_PAGE", request.param)
    monkeypatch.setattr(listing, "ROWS_PER_PAGE", request.param)
    return [dag.add_job(f"j{number}", "w", "echo", num_nodes=1 + number % 3) for number in range(7)]


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 7, 100])
@pytest.mark.parametrize("order", [(), ("-num_nodes", "name"), ("-id",)])
def test_every_form_lists_the_same_jobs_in_order(
    jobs: list[BalsamJob], limit: int | None, order: tuple[str, ...]
) -> None:
    def key(job: BalsamJob) -> object:
        return {"": job.id, "-num_nodes": (-job.num_nodes, job.name), "-id": -job.id}[
            order[0] if order else ""
        ]

    expected = [job.name for job in sorted(jobs, key=key)][:limit]  # type: ignore[arg-type]
    found = listing.ordered(BalsamJob.objects.all(), order)
    assert [name for name, _ in listing.tuples(found, ("name", "application"), limit)] == expected
    assert [name for _, name in listing.tuples(found, ("job_id", "name"), limit)] == expected
    assert [job.name for job in listing.objects(found, limit)] == expected
    assert [job.name for job, _ in listing.with_history(found, limit)] == expected
    assert [name for name, _, _ in listing.named_histories(found, limit)] == expected


def test_names_of_columns_are_checked_with_the_nearest() -> None:
    for text in ("num_node", "queued_launch__node", "-num_node"):
        with pytest.raises(UnknownName):
            listing.ordered(BalsamJob.objects.all(), [text])
    with pytest.raises(UnknownName, match="did you mean 'num_nodes'"):
        listing.tuples(BalsamJob.objects.order_by("id"), ["num_node"], None)


def test_uuids_are_text_as_they_are_written(jobs: list[BalsamJob]) -> None:
    found = listing.tuples(BalsamJob.objects.order_by("id"), ("id", "job_id", "state"), None)
    assert [tuple(row) for row in found] == [(job.id, str(job.job_id), job.state) for job in jobs]


def test_histories_are_written_as_the_job_writes_its_own(jobs: list[BalsamJob]) -> None:
    whole_second = datetime(2026, 3, 1, 14, 30, 5, tzinfo=timezone.utc)
    EventLog.objects.filter(job=jobs[0]).update(timestamp=whole_second)
    texts = listing.histories([job.id for job in jobs])
    assert texts == {job.id: job.state_history for job in jobs}
    assert history.get_time_string(whole_second) in texts[jobs[0].id]


def test_roots_and_children_of_a_selection(jobs: list[BalsamJob]) -> None:
    ids = [job.id for job in jobs]
    for parent, child in [(0, 1), (0, 2), (1, 3), (2, 3), (4, 5)]:
        dag.add_dependency(jobs[parent], jobs[child])
    everything = BalsamJob.objects.order_by("id")
    children = {1, 2, 3, 5}
    assert list(listing.roots(everything)) == [
        key for place, key in enumerate(ids) if place not in children
    ]
    some = everything.filter(id__in=[ids[place] for place in (1, 3, 5)])
    assert list(listing.roots(some)) == [ids[1], ids[5]]
    assert list(listing.roots(everything.filter(name="nothing"))) == []
    assert graph.children_of([ids[0], ids[2], ids[3]]) == {
        ids[0]: [ids[1], ids[2]], ids[2]: [ids[3]],
    }  # fmt: skip


@pytest.mark.parametrize("order", [(), ("-name",)])
@pytest.mark.parametrize(
    ("limit", "asked", "says"),
    [
        (1, ("j",), "(more than 3 more BalsamJobs not shown...)"),
        (4, ("j",), "(3 more BalsamJobs not shown...)"),
        (4, (), "(3 more BalsamJobs not shown...)"),
        (6, ("j",), "(1 more BalsamJobs not shown...)"),
        (7, ("j",), ""),
        (7, (), ""),
        (8, ("j5",), ""),
    ],
)
def test_what_a_limit_leaves_out_is_counted(
    jobs: list[BalsamJob],
    order: tuple[str, ...],
    limit: int,
    asked: tuple[str, ...],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(listings, "MOST_COUNTED", 3)
    expected = [job.name for job in jobs if not asked or asked[0] in job.name]
    if order:
        expected.reverse()
    selection = Selection(names=asked, parts=True)
    listings.jobs(selection, listings.Form(columns=("name",), order=order, limit=limit))
    _, _, *names = capsys.readouterr().out.splitlines()
    assert names == expected[:limit] + ([says] if says else [])
    listings.jobs(selection, listings.Form(history=True, order=order, limit=limit))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("Job ")] == expected[:limit]
    assert lines[-1] == says


def test_what_ceases_to_fit_while_it_is_listed_is_left_out(
    jobs: list[BalsamJob], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = listings._first

    def then(*given: Any) -> Any:
        found = first(*given)
        BalsamJob.objects.filter(pk=jobs[1].pk).update(state=states.FAILED)
        jobs[2].delete()
        return found

    monkeypatch.setattr(listings, "_first", then)
    form = listings.Form(columns=("name", "state"), limit=10)
    listings.jobs(Selection(states=(states.CREATED,)), form)
    _, _, *lines = capsys.readouterr().out.splitlines()
    left = [job.name for job in jobs if job.name not in ("j1", "j2")]
    assert [line.split(" | ") for line in lines] == [[f"{n:4}", "CREATED"] for n in left]
