"""What holds a job by itself, in words: everything that its relatives have no part in."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from math import inf
from typing import Any

from balsam import states
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob
from balsam.core.offer import SERIAL
from balsam.core.sql import column, quoted
from balsam.core.why import conditions, endings
from balsam.core.why.cases import SCRIPTS, SOME, Case, named, retry
from balsam.core.why.situation import Member, fits, span

ALL = "balsam launcher --consume-all"
REPAIR = "balsam doctor --fix"
_RUNNABLE = quoted(states.RUNNABLE_STATES)


# -- before a run -------------------------------------------------------------------------------


def _no_launcher(case: Case) -> tuple[str, str]:
    lost = [member for member in case.situation.members.values() if member.dead]
    words = f"{case.next_thing}, but no launcher is alive"
    if lost:
        last = max(lost, key=lambda member: member.session.heartbeat)
        words += f" ({last.name} died: last heard of {case.when(last.session.heartbeat)})"
    return f"{words}.", ALL


def _backoff(case: Case) -> tuple[str, str]:
    job = case.job
    if job.not_before is None:
        return bookkeeping(case)
    left = span((job.not_before - case.situation.now).total_seconds())
    words = f"{case.next_thing}, but not before {job.not_before:%Y-%m-%d %H:%M:%S} UTC (in {left})"
    event = endings.latest(job)
    why = f": {event.message}" if event and "not before" in event.message else ""
    if not case.situation.launchers:
        why += ". No launcher is alive" if why else ", and no launcher is alive"
    return f"{words}{why}.", f"balsam modify {job.pk} not_before now"


def _other_workflow(case: Case) -> tuple[str, str]:
    them = named(case.situation.launchers, lambda one: f" runs {one.offer.what}")
    name = case.job.workflow
    words = f"of the workflow '{name}'" if name else "without a workflow"
    if any(one.offer.covers(name, dict(one.offer.tags)) for one in case.situation.launchers):
        words += " with its tags"
    command = f"balsam launcher --wf-filter {shlex.quote(name)}" if name else ALL
    return f"{case.next_thing}, but no launcher runs jobs {words}: {them}.", command


def _job_mode(case: Case) -> tuple[str, str]:
    them = named(case.meant)
    ranks = case.job.num_ranks
    return f"It has {ranks} ranks, and only {SERIAL} launchers are there: {them}.", ALL


def _resources(case: Case) -> tuple[str, str]:
    there = [(one, lack) for one in case.launchers if (lack := one.offer.lacks(case.job))]
    if not there:
        return bookkeeping(case)
    best = min((lack for _, lack in there), key=lambda lack: lack.wanted - lack.there)
    them = ", ".join(f"{one.name} has {lack.there}" for one, lack in there[:SOME])
    command = f"balsam modify {case.job.pk} {best.field} {best.there}"
    if best.field == "ranks_per_node":
        command = f"{ALL} --max-ranks-per-node {best.wanted}"
    elif best.field == "gpus_per_rank":
        command = f"{ALL} --gpus-per-node {best.wanted}"
    return f"It asks for {best.words}: {them}.", command


def _time_left(case: Case) -> tuple[str, str]:
    job = case.job
    minutes = min(job.wall_time_minutes, job.time_limit_minutes or inf)

    def left(one: Member) -> str:
        return f" ends in {span(one.offer.seconds_left(case.situation.now) or 0)}"

    them = named(fits(case.launchers, case.job), left)
    words = f"It asks for {minutes:g} min of wall time, which no launcher has left: {them}"
    return f"{words}. What a launcher cuts short is run anew by the next.", ALL


def _in_line(case: Case) -> tuple[str, str]:
    lines = [(_ahead(case.job, one), one) for one in fits(case.launchers, case.job)[:SOME]]
    if not lines:
        return bookkeeping(case)
    ahead, member = min(lines, key=lambda line: line[0])
    busy = BalsamJob.objects.filter(session=member.session, state=states.RUNNING).count()
    number = f"{ahead:,} jobs are" if ahead != 1 else "1 job is"
    words = f"{number} ahead of it" if ahead else "It is the first in line"
    again = f"{case.next_thing}. " if case.job.state == states.RESTART_READY else ""
    return f"{again}{words}, and {member.name} is full: it runs {busy} now.", ""


def _ahead(job: Any, member: Member) -> int:
    """Runnable jobs that a launcher will take before this one."""
    scope = Scope(member.offer.wf_filter, tags=member.offer.tags)
    where, parameters = scope.sql()
    if member.offer.job_mode == SERIAL:
        where += " AND num_nodes = 1 AND ranks_per_node = 1"
    place = (-job.priority, -job.num_nodes, -job.wall_time_minutes, job.pk)
    return int(
        column(
            f"""SELECT count(*) FROM balsam_job {scope.index} WHERE state IN ({_RUNNABLE})
                AND session_id IS NULL AND {where}
                AND (-priority, -num_nodes, -wall_time_minutes, id) < (%s, %s, %s, %s)""",
            (*parameters, *place),
        )[0]
    )


def _starting(case: Case) -> tuple[str, str]:
    held = case.holder_named
    return f"{held} has taken it, and starts it when its share of the node is free.", ""


# -- between runs -------------------------------------------------------------------------------


def bookkeeping(case: Case) -> tuple[str, str]:
    """Nothing that could be named."""
    return "Nothing holds it: a launcher moves it on within a second or so.", ""


def _step_waits(case: Case) -> tuple[str, str]:
    same = BalsamJob.objects.filter(
        state=case.job.state, session__isnull=True, pk__lt=case.job.pk
    ).count()
    them = named(case.meant)
    words = f"{case.next_thing}, and waits for a worker of {them}"
    more = f"; {same:,} jobs in the same state are ahead" if same > 1 else ""
    return f"{words}{more}. In this state since {case.since}.", ""


def _step_runs(case: Case) -> tuple[str, str]:
    what = "Its files are being staged" if case.facts.need == conditions.STAGING else (
        f"Its {SCRIPTS.get(case.job.state, 'handler')} is with a worker"
    )  # fmt: skip
    return f"{what} of {case.holder_named}. In this state since {case.since}.", ""


# -- a run, and who holds it --------------------------------------------------------------------


def _running(case: Case) -> tuple[str, str]:
    begun = endings.start(case.job)
    how, pid = (begun.message, begun.data.get("pid")) if begun else ("Running", None)
    process = f", process {pid}" if pid else ""
    words = f"{how} since {case.since}: attempt {case.job.attempt}{process}"
    return f"{words}, under {case.holder_named}.", f"balsam logs {case.job.pk} -f"


def _held(case: Case) -> tuple[str, str]:
    return f"{case.holder_named} holds it, until it ends or gives it back.", ""


def _dead_lease(case: Case) -> tuple[str, str]:
    helper = "the next launcher, or this command,"
    if case.situation.launchers:
        helper = "a launcher that is alive will find that out and"
    return f"It is held by {case.holder_named}, which is dead; {helper} recovers it.", REPAIR


def _recovery(case: Case) -> tuple[str, str]:
    return f"{case.holder_named} is recovering it from a session that died.", ""


def _lost(case: Case) -> tuple[str, str]:
    return f"It is {states.RUNNING} since {case.since}, but no session holds it.", REPAIR


# -- after the end ------------------------------------------------------------------------------


def _finished(case: Case) -> tuple[str, str]:
    return endings.finished(case.job, case.since), ""


def _killed(case: Case) -> tuple[str, str]:
    words = endings.killed(case.job, case.since)
    if case.facts.session or case.job.session_id:
        words += " Its processes are being ended."
    return words, retry([case.job.pk])


#: Code of a condition -> the sentences and the command for a case of it.
TELL: dict[str, Callable[[Case], tuple[str, str]]] = {
    conditions.BACKOFF: _backoff,
    conditions.NO_LAUNCHER: _no_launcher,
    conditions.OTHER_WORKFLOW: _other_workflow,
    conditions.JOB_MODE: _job_mode,
    conditions.RESOURCES: _resources,
    conditions.TIME_LEFT: _time_left,
    conditions.DEAD_LEASE: _dead_lease,
    conditions.RECOVERY: _recovery,
    conditions.LOST: _lost,
    conditions.HELD: _held,
    conditions.BOOKKEEPING: bookkeeping,
    conditions.STAGING: _step_waits,
    conditions.STAGING_RUNS: _step_runs,
    conditions.HOOK: _step_waits,
    conditions.HOOK_RUNS: _step_runs,
    conditions.IN_LINE: _in_line,
    conditions.STARTING: _starting,
    conditions.RUNNING: _running,
    conditions.KILLED: _killed,
    conditions.FINISHED: _finished,
}
