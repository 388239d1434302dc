"""Run in a project: ask what people and scripts ask of a large campaign, printed: REPEAT."""

from __future__ import annotations

import sys
from typing import Any

from django.db import connection
from django.db.models import Count
from django.db.models.functions import TruncHour

from balsam import states
from balsam.core import progress, reports
from balsam.core.models import BalsamJob, EventLog
from balsam.core.selection import Selection
from balsam.core.sql import rows
from balsam.core.standing import Watched
from tests.benchmarks.stopwatch import Stopwatch

#: Once each, because they read every event.
_HOURS = {
    "sqlite": "substr(timestamp, 1, 13)",
    "postgresql": "date_trunc('hour', timestamp)",
}
_SECONDS = {
    "sqlite": "(julianday(timestamp) - julianday(entered)) * 86400",
    "postgresql": "extract(epoch FROM timestamp - entered)",
}


def main(repeat: int) -> None:
    """Listings and counts as often as ``repeat`` says, analytics once."""
    watch = Stopwatch()
    for _ in range(repeat):
        _counts(watch)
        _jobs(watch)
    _analytics(watch)
    watch.tell()


def _counts(watch: Stopwatch) -> None:
    jobs = BalsamJob.objects
    with watch("counts by state"):
        jobs.counts_by_state()
    with watch("workflows with their counts"):
        jobs.workflows()
    with watch("counts by state of one workflow"):
        jobs.filter(workflow="campaign-0000").counts_by_state()
    with watch("is anything left to do"):
        jobs.unended().exists()
    with watch("progress of a workflow that somebody waits for"):
        Watched(Selection(workflows=("campaign-0001",))).standing()
    with watch("what 'balsam watch' shows"):
        progress.look()


def _jobs(watch: Stopwatch) -> None:
    jobs = BalsamJob.objects
    one = jobs.order_by("-id")[1000]
    with watch("1,000 failed jobs as objects"):
        list(jobs.filter(state=states.FAILED).order_by("id")[:1000])
    with watch("a job by its name"):
        list(jobs.filter(name=one.name))
    with watch("a job by the beginning of its UUID"):
        jobs.find(str(one.job_id)[:23])
    with watch("a job by the end of its UUID"):
        jobs.find(one.job_id.hex[-8:])
    with watch("the history of a job"):
        str(one.state_history)
    with watch("jobs with a tag, counted"):
        jobs.filter(tags__group="3").count()
    with watch("jobs that changed in the last hour, counted"):
        jobs.filter(state_timestamp__gte=progress.observe().now - progress.WINDOW * 60).count()


def _analytics(watch: Stopwatch) -> None:
    finished = EventLog.objects.filter(to_state=states.JOB_FINISHED)
    with watch("throughput per hour, by the ORM"):
        hours = finished.annotate(hour=TruncHour("timestamp")).values("hour")
        list(hours.annotate(number=Count("*")).order_by("hour"))
    with watch("throughput per hour, by SQL"):
        _ask(f"""SELECT {_HOURS[connection.vendor]} AS hour, count(*) FROM balsam_event
                 WHERE to_state = '{states.JOB_FINISHED}' GROUP BY hour ORDER BY hour""")
    with watch("mean seconds in each state, by SQL"):
        _ask(f"""SELECT from_state, count(*), avg({_SECONDS[connection.vendor]}) FROM (
                    SELECT from_state, timestamp,
                        lag(timestamp) OVER (PARTITION BY job_id ORDER BY id) AS entered
                    FROM balsam_event) spell GROUP BY from_state""")
    with watch("mean seconds of the runs of each application, by SQL"):
        wall = {"sqlite": "CAST(event.data ->> '$.wall_seconds' AS REAL)"}
        seconds = wall.get(connection.vendor, "(event.data ->> 'wall_seconds')::float8")
        _ask(f"""SELECT job.app_id, count(*), avg({seconds}) FROM balsam_event event
                 JOIN balsam_job job ON job.id = event.job_id
                 WHERE event.to_state = '{states.RUN_DONE}' GROUP BY job.app_id""")
    workflow = BalsamJob.objects.filter(workflow="campaign-0001")
    with watch("utilisation and throughput reports of a workflow"):
        times = reports.process_job_times(workflow)
        reports.utilization_report(times)
        reports.throughput_report(times)
    with watch("utilisation over time of everything, by SQL"):
        _ask(f"""SELECT count(*), max(running) FROM (
                    SELECT sum(CASE to_state WHEN '{states.RUNNING}' THEN 1 ELSE -1 END)
                        OVER (ORDER BY timestamp, id) AS running FROM balsam_event
                    WHERE from_state <> to_state
                    AND '{states.RUNNING}' IN (from_state, to_state)) level""")
    with watch("utilisation report of everything, in Python"):
        reports.utilization_report()


def _ask(statement: str) -> Any:
    return rows(statement)


if __name__ == "__main__":
    main(int(sys.argv[1]))
