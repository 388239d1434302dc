"""Two launchers of one batch job never run jobs on the same node."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest
from django.db import connection, transaction

from balsam.conf.project import Project
from balsam.core import overlap, sessions
from balsam.core.offer import Offer
from balsam.core.sessions import Life
from balsam.errors import AllocationError
from balsam.launcher.options import LauncherOptions, Snapshot
from balsam.launcher.pilot import Launcher
from balsam.launcher.wakeup import Wakeup
from balsam.platform import node
from tests import databases

pytestmark = pytest.mark.usefixtures("project")
MACHINE = node.identity()
SECONDS = 120.0


def offer(nodes: str, batch_id: str = "7", scheduler: str = "slurm") -> Offer:
    return Offer(nodes=1, node_names=nodes, batch_id=batch_id, scheduler=scheduler)


def launcher(offer: Offer, kind: str = "launcher", alive: bool = True, here: bool = True) -> int:
    start = node.start_time(os.getpid()) if alive else 1
    life = Life(kind, "head", MACHINE if here else "elsewhere", os.getpid(), start)
    return sessions.open_session(life, offer)


def check(session: int, offer: Offer) -> str:
    return overlap.look(session, offer, SECONDS, MACHINE)


def test_the_second_one_is_refused_in_one_sentence() -> None:
    first, second = offer("n[1-8]"), offer("n[5-12]")
    one, two = launcher(first), launcher(second)
    check(one, first)
    with pytest.raises(AllocationError) as caught:
        check(two, second)
    message = str(caught.value)
    assert f"Launcher {os.getpid()} on head" in message
    assert "4 nodes" in message and "(n[5-7] and 1 more)" in message
    assert "--offset-nodes" in message and "\n" not in message


@pytest.mark.parametrize(
    ("theirs", "how"),
    [
        (offer("n[9-12]"), {}),
        (offer("n[1-8]", batch_id="8"), {}),
        (offer("n[1-8]", scheduler="pbs"), {}),
        (offer("n[1-8]", batch_id=""), {}),
        (offer(""), {}),
        (Offer(), {}),
        (offer("n[1-8]"), {"kind": "run"}),
        (offer("n[1-8]"), {"alive": False}),
    ],
)
def test_who_is_in_nobodys_way(theirs: Offer, how: dict[str, Any]) -> None:
    launcher(theirs, **how)
    mine = offer("n[1-8]")
    assert check(launcher(mine), mine) == ""


def test_without_a_batch_job_nodes_are_shared_and_that_is_told() -> None:
    mine = offer("n1", batch_id="", scheduler="")
    assert check(launcher(mine), mine) == ""
    told = check(launcher(mine), mine)
    assert told.startswith(f"Launcher {os.getpid()} runs jobs on head as well, and neither")


def test_one_that_ended_is_in_nobodys_way() -> None:
    mine = offer("n1")
    sessions.close_session(launcher(mine))
    check(launcher(mine), mine)


def test_one_elsewhere_lives_as_long_as_its_lease() -> None:
    mine = offer("n1")
    launcher(mine, here=False, alive=False)
    second = launcher(mine)
    with pytest.raises(AllocationError):
        check(second, mine)
    overlap.look(second, mine, 0.0, MACHINE)


@pytest.mark.postgres
def test_the_second_one_sees_the_first_however_slow_that_is_to_commit() -> None:
    mine, begun = offer("n1"), threading.Event()

    def begin_slowly() -> None:
        with transaction.atomic():
            launcher(mine)
            begun.set()
            time.sleep(0.3)
        connection.close()

    slow = threading.Thread(target=begin_slowly)
    slow.start()
    assert begun.wait(10)
    second = launcher(mine)
    with pytest.raises(AllocationError):
        check(second, mine)
    slow.join()


def test_an_offer_says_what_it_is_for() -> None:
    assert Offer(wf_filter="w*").what == "'w*'"
    assert Offer(wf_filter="w", tags=(("a", "b"),)).what == "'w' with the tag a=b"
    assert Offer(tags=(("a", "b"), ("c", "d"))).what == "jobs with the tags a=b, c=d"


@pytest.mark.parametrize("cores", [0, 1])
def test_a_second_launcher_tells_unless_the_cores_are_shared_out(
    project: Project, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    databases.write_settings(
        project, f"launcher: {{idle_exit_seconds: 0, cores_per_node: {cores}}}\n"
    )
    monkeypatch.chdir(".")
    told: list[Snapshot] = []
    with Wakeup() as wakeup:
        first = Launcher(Project(project.path), LauncherOptions(), wakeup)
        Launcher(Project(project.path), LauncherOptions(), wakeup, told.append).run()
        first.run()
    notices = [one.notice for one in told if "as well, and neither knows" in one.notice]
    assert len(notices) == (not cores)
    assert all("launcher.cores_per_node" in notice for notice in notices)
