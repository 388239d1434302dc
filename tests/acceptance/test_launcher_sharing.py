"""Work shared: cores among jobs, jobs among launchers, and who may run what."""

from __future__ import annotations

import shlex
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from django.db import connection, transaction

from balsam import states
from balsam.core.changes import Changes
from balsam.core.models import ApplicationDefinition, BalsamJob, Session

from .conftest import PROGRAMS, Site

#: Adds itself to $RUNS, with its launcher.
COUNT = 'echo "$BALSAM_JOB_ID $PPID" >> "$RUNS"'


def span(cores: int, seconds: float = 0.2) -> str:
    return shlex.join(["/bin/sh", str(PROGRAMS / "span.sh"), str(cores), str(seconds)])


def most_cores(site: Site) -> float:
    """The most cores that were held at one time, by the tasks' own records."""
    changes: list[tuple[float, float]] = []
    for line in site.ran():
        cores, begin, end = map(float, line.split())
        changes += [(begin, cores), (end, -cores)]
    most = now = 0.0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def test_jobs_of_one_core_fill_the_node(site: Site) -> None:
    site.settings(cores_per_node=4)
    for number in range(10):
        site.job(f"n{number}", span(1))
    site.launch()
    site.all_finished()
    assert most_cores(site) == 4


def test_mixed_jobs_never_take_more_cores_than_there_are(site: Site) -> None:
    site.settings(cores_per_node=4)
    for number, threads in enumerate((1, 2, 3, 4, 1, 1, 2, 3, 1, 8)):
        site.job(f"n{number}", span(min(threads, 4), 0.1), threads_per_rank=threads)
    site.launch()
    site.all_finished()
    assert 3 <= most_cores(site) <= 4


def test_jobs_that_say_how_many_fill_a_node(site: Site) -> None:
    site.settings(cores_per_node=2)
    for number in range(8):
        site.job(f"n{number}", span(1), node_packing_count=6)
    site.launch()
    site.all_finished()
    # Six at once on two cores, for that is what they asked for.
    assert most_cores(site) == 6


def test_two_launchers_share_the_work_and_run_nothing_twice(site: Site) -> None:
    # Longer than one needs to begin after the other.
    site.shells([f"n{number}" for number in range(200)], f"{COUNT}; sleep 0.05")
    both = [site.start(), site.start()]
    for launcher in both:
        launcher.wait()
    site.all_finished()
    lines = [line.split() for line in site.ran()]
    assert len(lines) == len({job for job, _ in lines}) == 200
    assert set(Counter(by for _, by in lines)) == {str(one.process.pid) for one in both}
    site.check_clean()


def test_a_filter_is_a_name_or_a_glob(site: Site) -> None:
    for workflow in ("scan", "scan2", "other"):
        site.job(workflow, workflow=workflow)
    site.launch("--wf-filter", "scan")
    assert [site.state(name) == states.JOB_FINISHED for name in ("scan", "scan2", "other")] == [
        True, False, False,
    ]  # fmt: skip
    site.launch("--wf-filter", "scan*")
    assert site.state("scan2") == states.JOB_FINISHED
    assert site.state("other") != states.JOB_FINISHED
    assert "scan, scan2" in site.launch("--wf-filter", "sca")
    site.check_clean()


def test_what_no_job_matches_is_said(site: Site) -> None:
    site.job("late", workflow="w", not_before=datetime.now(timezone.utc) + timedelta(days=1))
    nothing = "No job matches the "
    assert f"{nothing}workflow 'zz*' and the tag a=b; 'balsam ls" in site.launch(
        "--wf-filter", "zz*", "--tag", "a=b"
    )
    for words in (("--wf-filter", "zz"), ("--tag", "a=b")):
        said = site.launch(*words)
        assert nothing in said and "Why jobs wait" not in said
    said = site.launch("--wf-filter", "w")
    hint = "Why jobs wait: balsam ls --by-reason --wf=w"
    assert nothing not in said and said.splitlines()[-1] == hint
    site.balsam("ls --by-reason --wf=w")


def test_serial_mode_leaves_mpi_jobs_alone(site: Site) -> None:
    site.job("serial", "/bin/true")
    site.job("mpi", "/bin/true", ranks_per_node=2)
    site.job("wide", "/bin/true", num_nodes=2)
    said = site.launch("--consume-all", "--job-mode", "serial")
    why = "several ranks, and this launcher runs serial jobs only."
    assert f"2 jobs were not run: they have {why}" in said
    assert site.state("serial") == states.JOB_FINISHED
    assert site.state("mpi") == site.state("wide") == states.PREPROCESSED
    site.named("wide").delete()
    said = site.launch("--consume-all", "--part", "serial:1")
    assert f"[serial 0] 1 job was not run: it has {why}" in said
    site.check_clean()


def test_a_job_that_can_never_fit_fails_although_the_node_is_full(site: Site) -> None:
    """Found at the start, added later, and become runnable when its parent ended."""
    site.settings(cores_per_node=1)
    gates = [site.home / name for name in ("first", "second")]
    wait = "while [ ! -f {} ]; do sleep 0.02; done"
    site.job("there", num_nodes=3)
    BalsamJob.objects.filter(name="there").move(states.PREPROCESSED)
    first = site.shell("first", wait.format(gates[0]), priority=9)
    site.shell("second", wait.format(gates[1]), priority=8)
    site.job("child", gpus_per_rank=1, parents=[first])
    launcher = site.start("--consume-all", "--persistent")
    site.until_state("first", states.RUNNING)
    site.until_state("there", states.FAILED)
    added = site.job("added", num_nodes=2)
    site.job("heir", parents=[added])
    site.until_state("heir", states.FAILED)
    assert site.state("child") == states.AWAITING_PARENTS
    gates[0].touch()
    site.until_state("child", states.FAILED)
    site.until_state("second", states.RUNNING)
    with transaction.atomic():  # before the launcher sees it, and moves it by itself
        site.job("by_hand", num_nodes=4).update_state(states.PREPROCESSED)
    site.until_state("by_hand", states.FAILED)
    assert site.state("second") == states.RUNNING
    gates[1].touch()
    site.until_state("second", states.JOB_FINISHED)
    launcher.process.terminate()
    launcher.wait()
    reasons = {name: site.end(name) for name in ("there", "added", "child", "by_hand")}
    assert {end.data["cause"] for end in reasons.values()} == {states.UNSATISFIABLE}
    assert "asks for 3 nodes; this launcher has 1" in reasons["there"].message
    assert "asks for 1 GPU per node; the node has 0 (if there" in reasons["child"].message
    site.check_clean()


def test_jobs_and_edits_of_applications_are_seen_at_once(site: Site) -> None:
    site.app("echo", "echo one")
    site.job("first", application="echo")
    launcher = site.start("--consume-all", "--persistent")
    site.until_state("first", states.JOB_FINISHED)
    ApplicationDefinition.objects.get(name="echo").modify("executable", "echo two")
    site.job("second", application="echo")
    site.until_state("second", states.JOB_FINISHED)
    child = site.job("third", application="echo", parents=[site.named("second")])
    site.until_state("third", states.JOB_FINISHED)
    said = [site.output(name) for name in ("first", "second", "third")]
    assert said == ["one\n", "two\n", "two\n"]
    assert child.get_parents().count() == 1
    assert launcher.running
    launcher.process.terminate()
    launcher.wait()
    site.check_clean()


@pytest.mark.postgres
def test_launchers_with_nothing_to_do_leave_each_other_in_peace(site: Site) -> None:
    launchers = [site.start("--consume-all", "--persistent") for _ in range(2)]
    site.until(lambda: Session.objects.count() == 2, "both have begun")
    site.shells([f"n{number}" for number in range(20)], COUNT)
    site.until(lambda: site.counts() == {states.JOB_FINISHED: 20}, "they have run all jobs")
    changes = Changes()
    site.until(lambda: not changes.wait(2.0), "nobody changes the record any more")
    before = _commits()
    assert not changes.wait(4.0)
    assert _commits() - before < 300, "they look now and then, and see to their sessions"
    for launcher in launchers:
        launcher.process.terminate()
        launcher.wait()
    site.check_clean()


def _commits() -> int:
    """Transactions of all that are at work on the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        )
        return int(cursor.fetchone()[0])


def test_a_launcher_with_nothing_to_do_ends(site: Site) -> None:
    assert "0 done, 0 failed, 0 waiting" in site.launch()


def test_jobs_moved_by_hand_while_they_wait_are_let_go(site: Site) -> None:
    """A user's moves reach jobs that a busy launcher has leased ahead."""
    site.settings(cores_per_node=1)
    hold = site.home / "go"
    site.shell("first", f"while [ ! -f {shlex.quote(str(hold))} ]; do sleep 0.02; done", priority=9)
    site.shells([f"n{number}" for number in range(20)], COUNT)
    launcher = site.start()
    site.until_state("first", states.RUNNING)
    site.until_state("n19", states.PREPROCESSED)
    moved = list(BalsamJob.objects.filter(name__startswith="n1").order_by("id"))
    for job in moved:
        job.update_state(states.CREATED)
    BalsamJob.objects.filter(name="n0").kill()
    Path(hold).touch()
    launcher.wait()
    assert site.counts() == {states.JOB_FINISHED: 20, states.USER_KILLED: 1}, site.diagnosis()
    assert len(site.ran()) == 19
    site.check_clean()
