"""Every job has one reason to be where it is, said for one job and counted for all alike."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, models, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balsam import states
from balsam.core import exits, history, sessions, why
from balsam.core.models import ApplicationDefinition, BalsamJob, EventLog, Session
from balsam.core.models.session import RECOVERING
from balsam.core.offer import Offer
from balsam.core.sessions import Life
from balsam.core.why import conditions, endings
from balsam.errors import NoSuchJob
from balsam.platform import node

pytestmark = pytest.mark.usefixtures("project")


def session(kind: str = "launcher", alive: bool = True, **offer: Any) -> int:
    """Open a session of this process, or of one that is gone."""
    pid = os.getpid()
    start = node.start_time(pid) if alive else 1
    life = Life(kind, "n1", node.identity(), pid, start)
    return sessions.open_session(life, Offer(**{"nodes": 1, "cores_per_node": 2, **offer}))


def job(state: str = states.CREATED, **fields: Any) -> BalsamJob:
    """A job that is, behind the back of the record, in this state."""
    hidden = {name: fields.pop(name) for name in ("session_id", "attempt") if name in fields}
    made = BalsamJob.objects.create(**{"name": "a", "workflow": "w", "input_files": "", **fields})
    BalsamJob._base_manager.filter(pk=made.pk).update(state=state, **hidden)
    made.refresh_from_db()
    return made


def edge(child: BalsamJob, parent: BalsamJob) -> None:
    """A dependency of which nobody has drawn the consequences yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO balsam_dependency (child_id, parent_id) VALUES (%s, %s)",
            (child.pk, parent.pk),
        )


def event(of: BalsamJob, to: str, message: str = "", old: str = "", **data: Any) -> None:
    EventLog.objects.create(
        job=of, timestamp=history.now(), from_state=old, to_state=to, message=message, data=data
    )


def told(about: BalsamJob, code: str, *words: str) -> why.Reason:
    """The reason of a job, which counting agrees with; all ``words`` are in its text."""
    reason = why.reason(about)
    assert reason.code == code, reason
    for word in words:
        assert word in reason.text, reason
    ((counted, _, number),) = why.count(BalsamJob.objects.filter(pk=about.pk))
    assert (counted, number) == (code, 1)
    return reason


# -- before the run -----------------------------------------------------------------------------


def test_without_a_launcher_nothing_goes_on() -> None:
    for state, words in [
        (states.CREATED, "can go on"),
        (states.AWAITING_PARENTS, "can go on"),
        (states.READY, "can go on"),
        (states.PREPROCESSED, "ready to run"),
        (states.RESTART_READY, "run again (attempt 3)"),
        (states.RUN_ERROR, "can go on"),
    ]:
        reason = told(job(state, attempt=2), "no_launcher", words, "no launcher is alive")
        assert reason.command == "balsam launcher --consume-all"


def test_a_launcher_that_died_is_named() -> None:
    session(alive=False)
    told(job(states.PREPROCESSED), "no_launcher", f"launcher {os.getpid()} on n1 died")


def test_with_a_launcher_bookkeeping_goes_on_by_itself() -> None:
    session()
    for state in (states.CREATED, states.READY, states.RUN_DONE, states.RUN_TIMEOUT):
        assert told(job(state), "bookkeeping", "launcher moves it on").command == ""


def test_parents_are_followed_to_the_root() -> None:
    top = job(states.PREPROCESSED, name="top")
    done = job(states.JOB_FINISHED, name="done")
    middle = job(name="middle", parents=[top])
    child = job(states.AWAITING_PARENTS, name="child", parents=[done, middle])
    reason = told(
        child, "parents", "1 of its 2 parents", f"first is {middle.pk} {middle.cute_id}",
        f"root of it, {top.pk} {top.cute_id}", "no launcher is alive",
    )  # fmt: skip
    assert reason.command == "balsam launcher --consume-all"
    told(middle, "parents", f"waits for its parent {top.pk}", "no launcher is alive")


def test_a_deep_line_of_parents_is_followed_in_one_question() -> None:
    made = [job(states.RUNNING, name="root")]
    with transaction.atomic():
        for number in range(400):
            made.append(BalsamJob(name=f"j{number}", workflow="w", parents=[made[-1]]))
            made[-1].save()
    told(made[-1], "parents", f"root of it, {made[0].pk} [root")


def test_a_failed_parent() -> None:
    first = job(states.FAILED, name="first")
    event(first, states.RUN_ERROR, "RETURN CODE 7: it broke", cause="exit", returncode=7)
    second = job(name="second", input_files="")
    third = job(states.AWAITING_PARENTS, name="third")
    for child, parent in ((second, first), (third, second)):
        edge(child, parent)
    told(second, "parent_broken", f"parent {first.pk} {first.cute_id} is FAILED")
    reason = told(third, "parents", "RETURN CODE 7: it broke")
    assert reason.command == f"balsam retry {first.pk}"
    for child in (second, third):
        BalsamJob._base_manager.filter(pk=child.pk).update(state=states.FAILED)
        event(child, states.FAILED, "One or more parent jobs failed", cause="parent_failed")
    reason = told(third, "failed", "because its parent", "first was", "RETURN CODE 7: it broke")
    assert reason.command == f"balsam retry {first.pk} {second.pk} {third.pk}"


def test_a_child_that_runs_all_the_same_does_not_wait() -> None:
    session()
    broken = job(states.USER_KILLED)
    child = job(on_parent_failure="ignore")
    edge(child, broken)
    told(child, "bookkeeping")


def test_the_scope_of_the_launchers() -> None:
    session(wf_filter="other*")
    reason = told(
        job(states.PREPROCESSED, workflow="my work"), "other_workflow", "'my work'", "'other*'"
    )
    assert reason.command == "balsam launcher --wf-filter 'my work'"
    session(job_mode="serial")
    told(job(states.PREPROCESSED, ranks_per_node=4), "job_mode", "4 ranks", "serial")


def test_the_tags_that_launchers_go_by() -> None:
    session(tags=(("step", "fit"),))
    mine = job(states.PREPROCESSED, tags={"step": "fit", "of": "w"})
    told(job(states.PREPROCESSED), "other_workflow", "with its tags", "jobs with the tag step=fit")
    told(mine, "in_line")
    told(job(states.PREPROCESSED, tags={"step": "plot"}), "other_workflow")


@pytest.mark.parametrize(
    ("asked", "words", "command"),
    [
        ({"num_nodes": 2}, "2 nodes", "balsam modify {} num_nodes 1"),
        (
            {"ranks_per_node": 9},
            "9 ranks per node",
            "balsam launcher --consume-all --max-ranks-per-node 9",
        ),
        (
            {"gpus_per_rank": 2},
            "2 GPUs per node",
            "balsam launcher --consume-all --gpus-per-node 2",
        ),
    ],
)
def test_resources_that_no_launcher_has(asked: dict[str, Any], words: str, command: str) -> None:
    session(max_ranks_per_node=4)
    made = job(states.PREPROCESSED, **asked)
    assert told(made, "resources", words, "n1 has").command == command.format(made.pk)


def test_too_little_time_left() -> None:
    session(ends=history.now() + timedelta(minutes=20, seconds=30))
    told(job(states.PREPROCESSED, wall_time_minutes=60), "time_left", "60 min", "ends in 20 min")
    told(job(states.PREPROCESSED, wall_time_minutes=20), "in_line")
    limited = job(states.PREPROCESSED, wall_time_minutes=60, time_limit_minutes=30.5)
    told(limited, "time_left", "30.5 min", "ends in 20 min")
    told(job(states.PREPROCESSED, wall_time_minutes=60, time_limit_minutes=20), "in_line")


def test_the_place_in_line() -> None:
    mine = session()
    job(states.RUNNING, session_id=mine)
    wide = job(states.PREPROCESSED, wall_time_minutes=9)
    urgent = job(states.RESTART_READY, priority=1)
    job(states.PREPROCESSED, session_id=mine)
    last = job(states.PREPROCESSED)
    told(urgent, "in_line", "run again (attempt 1)", "first in line", "it runs 1 now")
    told(wide, "in_line", "1 job is ahead of it")
    told(last, "in_line", "2 jobs are ahead of it", f"launcher {os.getpid()} on n1 is full")


# -- steps --------------------------------------------------------------------------------------

STEPS: list[tuple[str, dict[str, Any], str, str]] = [
    (states.READY, {"stage_in_url": "/data"}, "staging", "files"),
    (states.STAGED_IN, {"preprocess": "x"}, "hook", "preprocess script"),
    (states.RUN_DONE, {"postprocess": "x"}, "hook", "postprocess script"),
    (states.RUN_ERROR, {"postprocess": "x", "post_error_handler": True}, "hook", "handler"),
    (states.RUN_TIMEOUT, {"postprocess": "x", "post_timeout_handler": True}, "hook", "handler"),
    (
        states.POSTPROCESSED,
        {"stage_out_url": "/data", "stage_out_files": "*"},
        "staging",
        "files",
    ),
]


@pytest.mark.parametrize(("state", "fields", "code", "words"), STEPS)
def test_steps_wait_for_a_launcher_then_a_worker_then_run(
    state: str, fields: dict[str, Any], code: str, words: str
) -> None:
    made = job(state, **fields)
    told(made, "no_launcher", words)
    mine = session()
    told(made, code, words, "waits for a worker", "since 20")
    BalsamJob._base_manager.filter(pk=made.pk).update(session_id=mine)
    told(made, f"{code}_runs", words, f"launcher {os.getpid()} on n1", "since 20")


# -- leases -------------------------------------------------------------------------------------


def test_a_running_job() -> None:
    made = job(states.RUNNING, session_id=session(), attempt=2)
    event(made, states.RUNNING, "Serial run on n1", attempt=2, pid=77)
    reason = told(made, "running", "Serial run on n1 since 20", "attempt 2, process 77")
    assert reason.command == f"balsam logs {made.pk} -f"


def test_a_job_that_is_about_to_start() -> None:
    told(job(states.PREPROCESSED, session_id=session()), "starting", "starts it when")


@pytest.mark.parametrize("state", [states.RUNNING, states.PREPROCESSED, states.RUN_DONE])
def test_a_lease_of_the_dead(state: str) -> None:
    made = job(state, session_id=session(alive=False))
    reason = told(made, "dead_lease", f"launcher {os.getpid()} on n1", "which is dead")
    assert reason.command == "balsam doctor --fix"


def test_a_heartbeat_that_is_too_old_is_death(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connections["default"]), "up_since", lambda self: None)
    mine = session()
    Session.objects.filter(pk=mine).update(
        heartbeat=history.now() - timedelta(hours=1),
        heartbeat_monotonic=models.F("heartbeat_monotonic") - 3600,
    )
    told(job(states.RUNNING, session_id=mine), "dead_lease", "last heard of 1 h ago")


def test_others_that_hold_jobs() -> None:
    told(job(states.READY, session_id=session("script")), "held", "script", "holds it")
    mine = session()
    Session.objects.filter(pk=mine).update(state=RECOVERING)
    told(job(states.RUNNING, session_id=mine), "recovery", "is recovering it")
    told(job(states.RUNNING), "lost", "no session holds it")


# -- the end ------------------------------------------------------------------------------------


def test_a_finished_job() -> None:
    made = job(states.JOB_FINISHED, attempt=2)
    event(made, states.RUN_DONE, cause="ok", wall_seconds=4.25)
    reason = told(made, "finished", "after 2 attempts, the last of which took 4.2 s")
    assert reason.command == ""
    told(job(states.JOB_FINISHED), "finished", "without being run")


def test_a_failed_job() -> None:
    made = job(states.FAILED, attempt=1)
    event(
        made, states.RUN_ERROR, "RETURN CODE 7: attempt 1 ended with exit code 7\na\nb",
        cause="exit", returncode=7, attempt=1, tail="a\nb",
    )  # fmt: skip
    event(made, states.FAILED, "No error handler: run failed")
    reason = told(made, "failed", "cause exit", "RETURN CODE 7", "No error handler", "\na\nb")
    assert reason.command == f"balsam retry {made.pk}"
    assert f"balsam logs {made.pk}" in reason.text
    assert [one.text for one in why.count(BalsamJob.objects.all())] == ["failed: exit"]
    told(job(states.FAILED), "failed", "nothing more is known")


def test_what_a_script_decided_is_not_put_down_to_the_run() -> None:
    made = job(states.FAILED, attempt=2)
    event(made, states.RUN_ERROR, "RETURN CODE 7: attempt 1 ended", cause="exit", returncode=7)
    event(made, states.RUN_DONE, cause="ok", returncode=0)
    event(made, states.FAILED, "the energy is not converged")
    reason = told(made, "failed", ": the energy is not converged.")
    assert "cause" not in reason.text and "RETURN CODE" not in reason.text
    assert [one.text for one in why.count(BalsamJob.objects.all())] == ["failed"]
    assert endings.summary(made) == "the energy is not converged"
    assert exits.verdict(made).sentence.endswith(" failed: the energy is not converged.")


@pytest.mark.parametrize("attempt", [0, 1])
def test_all_of_the_output_of_a_hook_is_shown_by_another_option(attempt: int) -> None:
    made = job(states.FAILED, attempt=attempt)
    event(made, states.FAILED, "preprocess 'x' ended", cause="hook", returncode=3, tail="a\nb")
    words = f"The output ('balsam logs {made.pk} --hooks' shows all of it) ended with:\na\nb"
    told(made, "failed", words)


ASKS = "It asks for {}: it can never run here"
AGAIN: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("unsatisfiable", ASKS.format("2 nodes; this launcher has 1"), {"num_nodes": 2},
     " --set num_nodes=1", ""),
    ("unsatisfiable", ASKS.format("9 ranks per node; this launcher allows 4"),
     {"ranks_per_node": 9}, " --set ranks_per_node=4", ""),
    ("unsatisfiable", ASKS.format("6 GPUs per node; the node has 2"),
     {"ranks_per_node": 3, "gpus_per_rank": 2}, " --set gpus_per_rank=0.666", ""),
    ("unsatisfiable", ASKS.format("1 GPU per node; the node has 0 (if there are GPUs, ...)"),
     {"gpus_per_rank": 1}, "", "tell the launcher by --gpus-per-node or a machine file"),
    ("unsatisfiable", "It asks for too much", {"num_nodes": 2}, "", ""),
    ("job_time_limit", "Attempt 1 took longer than 1.5 minutes", {"time_limit_minutes": 1.5},
     " --set time_limit_minutes=3", ""),
    ("job_time_limit", "Attempt 1 took longer than 1.5 minutes", {}, "", ""),
    ("program_missing", "There is no x", {}, "", "Install the program or correct its path, then"),
    ("hook", "It broke", {}, "", "Correct the script, then"),
    ("oom", "No memory", {"node_packing_count": 2}, " --set node_packing_count=1", "more memory"),
]  # fmt: skip


@pytest.mark.parametrize(("cause", "message", "fields", "change", "words"), AGAIN)
def test_a_retry_that_has_a_chance(
    cause: str, message: str, fields: dict[str, Any], change: str, words: str
) -> None:
    made = job(states.FAILED, **fields)
    event(made, states.FAILED, message, cause=cause)
    assert told(made, "failed", words).command == f"balsam retry {made.pk}{change}"
    child = job(name="child")
    edge(child, made)
    command = f"balsam retry {made.pk}{change}"
    assert told(child, "parent_broken").command == command
    BalsamJob._base_manager.filter(pk=child.pk).update(state=states.FAILED)
    event(child, states.FAILED, "One or more parent jobs failed", cause="parent_failed")
    wanted = command if change else f"{command} {child.pk}"
    assert told(child, "failed", words).command == wanted


def test_a_killed_job() -> None:
    made = job()
    made.update_state(states.USER_KILLED, "not needed")
    assert told(made, "killed", "not needed").command == f"balsam retry {made.pk}"


def test_a_removed_job() -> None:
    made = job()
    BalsamJob.objects.filter(pk=made.pk).delete()
    with pytest.raises(NoSuchJob):
        why.reason(made)


# -- all of them --------------------------------------------------------------------------------


def test_counting() -> None:
    parent = job(states.RUNNING, session_id=session())
    for number in range(3):
        job(states.AWAITING_PARENTS, name=f"c{number}", parents=[parent])
    for cause in ("exit", "oom", "exit"):
        event(job(states.FAILED), states.FAILED, cause=cause)
    expected = [
        ("parents", "waits for parents", 3),
        ("running", "running", 1),
        ("failed", "failed: exit", 2),
        ("failed", "failed: oom", 1),
    ]
    assert why.count(BalsamJob.objects.all()) == expected
    assert why.count(BalsamJob.objects.filter(name__startswith="c")) == expected[:1]
    assert why.count(BalsamJob.objects.filter(parents=parent).distinct()) == expected[:1]
    assert why.count(BalsamJob.objects.order_by("id")[:2]) == [
        ("parents", "waits for parents", 1), ("running", "running", 1)
    ]  # fmt: skip
    assert why.count(BalsamJob.objects.none()) == []


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_every_job_in_every_state_has_a_reason(app: ApplicationDefinition, data: Any) -> None:
    draw = data.draw
    flag = st.booleans()
    with transaction.atomic():
        sessions: list[int | None] = [None]
        for _ in range(draw(st.integers(0, 2))):
            opened = session(
                draw(st.sampled_from(["launcher", "script", "service"])),
                draw(flag),
                wf_filter=draw(st.sampled_from(["", "w", "v*"])),
                tags=draw(st.sampled_from([(), (), (("a", "b"),)])),
                job_mode=draw(st.sampled_from(["auto", "mpi", "serial"])),
                ends=draw(st.sampled_from([None, history.now(), history.now() + timedelta(1)])),
            )
            if draw(flag):
                Session.objects.filter(pk=opened).update(state=RECOVERING)
            if draw(flag):
                Session.objects.filter(pk=opened).update(offer={})
            sessions.append(opened)
        made: list[BalsamJob] = []
        for _ in range(draw(st.integers(1, 4))):
            fields: dict[str, Any] = {
                "application": draw(st.sampled_from(["", app.name])),
                "workflow": draw(st.sampled_from(["", "w", "vv"])),
                "preprocess": draw(st.sampled_from(["", "x"])),
                "postprocess": draw(st.sampled_from(["", "x"])),
                "post_error_handler": draw(flag),
                "post_timeout_handler": draw(flag),
                "stage_in_url": draw(st.sampled_from(["", "/x"])),
                "on_parent_failure": draw(st.sampled_from(["fail", "ignore"])),
                "wait_for_parents": draw(flag),
                "num_nodes": draw(st.integers(1, 2)),
                "gpus_per_rank": draw(st.sampled_from([0, 0.5, 3])),
                "session_id": draw(st.sampled_from(sessions)),
                "attempt": draw(st.integers(0, 2)),
            }
            child = job(draw(st.sampled_from(states.STATES)), **fields)
            for parent in made:
                if draw(flag):
                    edge(child, parent)
            if draw(flag):
                cause = draw(st.sampled_from(states.CAUSES))
                event(child, child.state, draw(st.sampled_from(["", "x.", "x\ny"])), cause=cause)
            made.append(child)
        counted: dict[str, int] = {}
        for code, text, number in why.count(BalsamJob.objects.all()):
            assert text.startswith(conditions.LABELS[code])
            counted[code] = counted.get(code, 0) + number
        for one in made:
            reason = why.reason(one)
            assert reason.text.strip().endswith((".", "y", ":")), reason
            counted[reason.code] -= 1
        assert set(counted.values()) == {0}
        transaction.set_rollback(True)


def test_every_code_is_told_and_named() -> None:
    assert set(why.TELL) == set(conditions.LABELS)
