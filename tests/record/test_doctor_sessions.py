"""What the doctor does about sessions that died, by a clock that stands still."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections

from balsam import states
from balsam.core import history, lease, sessions
from balsam.core.models import BalsamJob, Session
from balsam.core.models.session import ENDED, LIVE
from balsam.core.offer import Offer
from balsam.core.sessions import Life
from balsam.doctor import sessions as looks
from balsam.doctor.finding import PROBLEM
from balsam.doctor.patient import Patient
from balsam.launcher import journal
from balsam.platform import node

ELSEWHERE = Life("launcher", "node17", "another machine", 4242, 1)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept, while only that makes time go on; the database has always been up."""
    found: list[float] = []
    begin = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: begin + sum(found))
    monkeypatch.setattr(time, "sleep", found.append)
    monkeypatch.setattr(type(connections["default"]), "up_since", lambda self: None)
    return found


def silent(life: Life, offer: Offer | None = None) -> int:
    """A session that has not been heard of for an hour."""
    key = sessions.open_session(life, offer)
    Session.objects.filter(pk=key).update(heartbeat=history.now() - timedelta(hours=1))
    return key


def cured(patient: Patient) -> list[str]:
    """What was done about each session that is not alive."""
    return [finding.cure() for finding in looks.dead(patient) if finding.cure]


def test_all_that_may_be_dead_are_looked_at_over_the_same_time(
    project: Any, slept: list[float]
) -> None:
    gone = Life("launcher", node.this_node().hostname, node.identity(), 4242, 1)
    keys = [silent(ELSEWHERE), silent(ELSEWHERE), silent(gone, Offer(2, node_names="n3,n4"))]
    told: list[str] = []
    done = cured(Patient(project, tell=lambda sentence: told.append(f"{sum(slept):g}: {sentence}")))
    assert done == [f"recovered session {key}, which held 0 job(s)" for key in keys]
    assert told == [
        "0: Waiting until it is plain whether 3 launchers are dead, with all that ran on other "
        "nodes: 69 s at most."
    ]
    assert 67 <= sum(slept) <= 69
    assert not Session.objects.exclude(state=ENDED).exists()


def test_nobody_is_told_of_a_wait_where_there_is_none(project: Any, slept: list[float]) -> None:
    silent(Life("launcher", node.this_node().hostname, node.identity(), 4242, 1))
    told: list[str] = []
    assert len(cured(Patient(project, tell=told.append))) == 1
    assert told == slept == []


@pytest.mark.parametrize("ended", [False, True], ids=["dead", "ended with leases"])
def test_what_somebody_else_has_still_to_commit_is_left_to_them(project: Any, ended: bool) -> None:
    job = BalsamJob.objects.create(name="job")
    job.update_state(states.PREPROCESSED)
    key = silent(Life("launcher", node.this_node().hostname, node.identity(), 4242, 1))
    assert lease.take(key, job.pk)
    if ended:
        Session.objects.filter(pk=key).update(state=ENDED)
    other = silent(ELSEWHERE)
    # Root may read every file; this is none that anybody may.
    path = journal.path_of(project.journal_dir, key)
    path.mkdir(parents=True)
    connection.close()
    patient = Patient(project)
    found = [*looks.dead(patient), *looks.stale_leases(patient), *looks.journals(patient)]
    (left,) = [one for one in found if "left to its owner" in one.says]
    assert (left.status, left.cure) == (PROBLEM, None)
    assert left.says.endswith(f"left to its owner: {path} can not be read (Is a directory)")
    # The other is none the worse for it.
    assert [one for one in found if f"launcher {other} on" in one.says and one.cure]
    job.refresh_from_db()
    assert job.session_id == key


def test_a_journal_that_can_not_be_read_any_more_is_left_too(project: Any) -> None:
    key = silent(Life("launcher", node.this_node().hostname, node.identity(), 4242, 1))
    (finding, *_) = looks.dead(Patient(project))
    journal.path_of(project.journal_dir, key).mkdir(parents=True)
    assert finding.cure is not None and "recovered session" not in finding.cure()
    assert Session.objects.get(pk=key).state == LIVE
