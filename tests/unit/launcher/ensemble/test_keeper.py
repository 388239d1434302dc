"""A keeper as a process of its own, talked to over its socket as a rank does."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from balsam.errors import LaunchError
from balsam.launcher.ensemble import meeting, wire
from balsam.launcher.ensemble.keeper import Keeper
from balsam.launcher.ensemble.link import Link
from balsam.launcher.ensemble.nodetasks import ENDED, STARTED
from balsam.launcher.ensemble.strays import KEEPER_MARK, mark_of
from balsam.launcher.ensemble.vigil import now
from balsam.platform import node as machine
from balsam.platform import process
from balsam.platform.process import RunSpec

ROOT = Path(__file__).parents[4]


class Guest:
    """A rank and the launcher behind it."""

    def __init__(
        self, node: Node, link: Link, generation: int, silence: float, launcher: int
    ) -> None:
        met = meeting.connect(node.directory)
        assert met
        self.talk, self.pid = met
        self.talk.setblocking(True)
        self.talk.settimeout(20)
        self.link = link
        self.splitter = wire.Splitter()
        self.beats: list[float] = []
        self.control: list[Any] = []
        self.news: list[Any] = []
        self.closed = False
        config: dict[str, Any] = {
            "generation": generation,
            "beat": 0.05,
            "silence": silence,
            "tail_lines": 3,
            "cpus": [],
        }
        config["launcher"] = [machine.identity(), launcher, machine.start_time(launcher)]
        self.say(wire.control(config={**config, "environ": {"PATH": "/bin:/usr/bin"}}))

    def say(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.talk.sendall(data)

    def hear(self) -> None:
        data = b""
        with contextlib.suppress(ConnectionError):
            data = self.talk.recv(65536)
        self.closed = not data
        for address, body in self.splitter.frames(data):
            if address == wire.CONTROL and "beat" in body:
                self.beats.append(body["beat"])
            elif address == wire.CONTROL:
                self.control.append(body)
            elif isinstance(body, dict):
                self.link.peer = body["hello"]
                self.link.resume(body["got"])
            else:
                self.news += self.link.receive(body)

    def until(self, condition: Any) -> None:
        deadline = time.monotonic() + 20
        while not condition() and not self.closed:
            assert time.monotonic() < deadline, self.news
            packet = self.link.packet() if self.link.peer else None
            if packet:
                self.say(wire.frame("n0", packet))
            if select.select([self.talk], [], [], 0.05)[0]:
                self.hear()
            if self.beats:
                self.say(wire.control(alive=self.beats[-1]))

    def start(self, token: str, *argv: str) -> None:
        spec = RunSpec(argv, "/", {"PATH": "/bin:/usr/bin"}, "/dev/null")
        self.link.send(["start", token, "", wire.pack(spec, {"PATH": "/bin:/usr/bin"})])

    def kinds(self, token: str) -> list[str]:
        return [message[0] for message in self.news if message[1] == token]


class Node:
    """A node with a keeper."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.guests: list[Guest] = []
        self.directory = meeting.directory_of(session, "n0")
        self.words = [sys.executable, "-m", "balsam.launcher.ensemble.keeper"]
        self.begin()

    def begin(self, starter: int = 0, inherited: Sequence[int] = ()) -> None:
        rank = starter or os.getpid()
        me = [str(rank), str(machine.start_time(rank))]
        words = [*self.words, str(self.directory), "n0", self.session, *me]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(words, env=env, cwd="/", check=True, timeout=20, pass_fds=inherited)
        self.until(lambda: meeting.connect(self.directory))

    def until(self, condition: Any) -> None:
        deadline = time.monotonic() + 20
        while True:
            found = condition()
            if found:
                if isinstance(found, tuple):
                    found[0].close()
                return
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> bool:
        """TERM the keeper that is there; whether there is one."""
        met = meeting.connect(self.directory)
        if met:
            with contextlib.suppress(ProcessLookupError):
                os.kill(met[1], signal.SIGTERM)
            met[0].close()
        return bool(met)

    def guest(self, link: Link, generation: int, silence: float = 30.0, launcher: int = 0) -> Guest:
        self.guests.append(Guest(self, link, generation, silence, launcher or os.getpid()))
        return self.guests[-1]

    def tasks(self) -> list[int]:
        return process.marked_processes(KEEPER_MARK, mark_of(self.session, "n0"))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(f"{tmp_path}-{os.getpid()}")
    yield made
    if not made.end():
        meeting.leave(made.directory)
    for guest in made.guests:
        guest.talk.close()
    # One that was slow to start may have come after the one that was ended.
    made.until(lambda: not made.end() and not made.directory.exists())
    assert not made.tasks()


def test_outcomes_are_kept_until_somebody_has_them(node: Node) -> None:
    link = Link()
    first = node.guest(link, 1)
    first.start("1:1", "/bin/sleep", "0.3")
    first.until(lambda: first.kinds("1:1") == [STARTED])
    first.talk.close()
    node.until(lambda: not node.tasks())
    second = node.guest(link, 2)
    second.until(lambda: second.news)
    assert second.kinds("1:1") == [ENDED]
    assert link.got == 2
    second.talk.close()


def test_a_later_rank_takes_the_place_of_an_earlier_one(node: Node) -> None:
    first, link = node.guest(Link(), 2), Link()
    first.until(lambda: first.beats)
    early = node.guest(Link(), 1)
    early.until(lambda: early.control)
    assert early.control == [{"refused": "there is a later rank"}]
    second = node.guest(link, 3)
    second.until(lambda: second.beats)
    first.until(lambda: first.control)
    assert first.control == [{"refused": "a later rank came"}]
    second.start("1:1", "/bin/true")
    second.until(lambda: ENDED in second.kinds("1:1"))


def test_a_rank_that_is_refused_and_has_gone_already_disturbs_nobody(tmp_path: Path) -> None:
    """An mpirun was killed while its ranks connected, and the next one's rank was faster."""
    config = {"beat": 1.0, "silence": 30.0, "tail_lines": 3, "environ": {}, "cpus": []}
    config["launcher"] = ["", 0, 0]
    directory = meeting.directory_of(str(tmp_path), "n0", (str(tmp_path),))
    with meeting.listen(directory) as listening, contextlib.ExitStack() as stack:
        keeper = Keeper(directory, "n0", str(tmp_path), listening)
        stack.enter_context(keeper._reader)
        stack.enter_context(keeper._writer)
        guests = []
        for generation in (5, 4):
            met = meeting.connect(directory)
            assert met
            guests.append(stack.enter_context(met[0]))
            keeper.step()
            met[0].setblocking(True)
            met[0].sendall(wire.control(config={**config, "generation": generation}))
            if generation == 4:
                met[0].close()
            keeper.step()
        assert not keeper.over and len(keeper._guests) == 1
        keeper.tasks.news.append(["still", "there"])
        keeper.step()
        guests[0].setblocking(False)
        said = wire.Splitter().frames(guests[0].recv(65536))
        assert [body for address, body in said if address == "n0"][0]["hello"] == keeper.name
        guests[0].close()
        keeper.step()
        assert not keeper._guests


def test_it_keeps_no_connection_of_the_rank_open(node: Node) -> None:
    """Open MPI connects ranks as late as they talk; those of a rank that dies have to end."""
    met = meeting.connect(node.directory)
    assert met
    with met[0]:
        os.kill(met[1], signal.SIGTERM)
    node.until(lambda: not node.directory.exists())
    meeting.directory_of(node.session, "n0")
    ours, ranks = socket.socketpair()
    with ours, ranks:
        node.begin(inherited=[ranks.fileno()])
        ranks.close()
        ours.settimeout(20)
        assert ours.recv(1) == b""


def test_silence_ends_the_tasks_and_the_keeper(node: Node) -> None:
    guest = node.guest(Link(), 1, silence=1.5)
    guest.start("1:1", "/bin/sleep", "600")
    guest.until(lambda: guest.kinds("1:1"))
    begin = now()
    while not guest.closed:
        guest.hear()
    assert 1.0 < now() - begin < 15
    assert "silent for" in guest.control[-1]["bye"]
    assert guest.kinds("1:1") == [STARTED, ENDED]
    assert guest.news[-1][-1] == states.NODE_LOST
    assert not node.tasks()


def test_an_orphan_waits_for_another_rank_for_a_while(node: Node) -> None:
    link = Link()
    guest = node.guest(link, 1)
    guest.start("1:1", "/bin/sleep", "600")
    guest.until(lambda: guest.kinds("1:1"))
    guest.say(wire.control(orphan=1.0))
    guest.talk.close()
    guest = node.guest(link, 2)
    guest.until(lambda: len(guest.beats) > 25)
    assert len(node.tasks()) == 1
    guest.say(wire.control(orphan=0.3))
    guest.talk.close()
    node.until(lambda: not node.tasks() and not node.directory.exists())


def test_without_a_rank_it_sees_itself_that_its_launcher_died(node: Node) -> None:
    with subprocess.Popen(["/bin/sleep", "600"]) as launcher:
        guest = node.guest(Link(), 1, launcher=launcher.pid)
        guest.start("1:1", "/bin/sleep", "600")
        guest.until(lambda: guest.kinds("1:1"))
        guest.talk.close()
        launcher.kill()
    node.until(lambda: not node.tasks() and not node.directory.exists())


def test_it_does_not_wait_for_the_greeting_of_a_dead_rank(node: Node) -> None:
    node.guest(Link(), 1).say(wire.control(quit=0.0))
    node.until(lambda: not node.directory.exists())
    meeting.directory_of(node.session, "n0")
    with subprocess.Popen(["/bin/sleep", "20"]) as rank:
        node.begin(rank.pid)
        time.sleep(1)
        node.until(lambda: meeting.connect(node.directory))
        rank.kill()
    begin = time.monotonic()
    node.until(lambda: not node.directory.exists())
    assert time.monotonic() - begin < 5


def test_quit_ends_everything(node: Node) -> None:
    guest = node.guest(Link(), 1)
    guest.start("1:1", "/bin/sh", "-c", "setsid sleep 600 & sleep 600")
    guest.until(lambda: guest.kinds("1:1"))
    guest.say(wire.control(quit=5.0, why="the test is over"))
    guest.until(lambda: guest.control)
    assert guest.control == [{"bye": "the test is over"}]
    assert guest.kinds("1:1") == [STARTED, ENDED]
    node.until(lambda: not node.tasks() and not node.directory.exists())


def test_a_second_keeper_leaves_at_once_and_a_later_one_ends_strays(node: Node) -> None:
    guest = node.guest(Link(), 1)
    node.begin()
    assert node.guest(Link(), 1).pid == guest.pid
    guest = node.guest(Link(), 2)
    guest.start("1:1", "/bin/sleep", "600")
    guest.until(lambda: guest.kinds("1:1"))
    os.kill(guest.pid, signal.SIGKILL)
    guest.until(lambda: guest.closed)
    node.until(lambda: len(node.tasks()) == 1)
    node.begin()
    assert not node.tasks()
    assert node.guest(Link(), 1).pid != guest.pid


def test_a_place_that_is_not_ours_alone_is_not_used(tmp_path: Path) -> None:
    session = str(tmp_path)
    places = (str(tmp_path / "none"), str(tmp_path))
    path = meeting.directory_of(session, "n0", places)
    assert path.parent == tmp_path
    assert path.stat().st_mode & 0o777 == 0o700
    assert meeting.directory_of(session, "n0", places) == path
    assert meeting.directory_of(session, "n1", places) != path
    assert len(str(path.relative_to(tmp_path))) < 40
    path.chmod(0o755)
    with pytest.raises(LaunchError, match="open to others"):
        meeting.directory_of(session, "n0", places)
    path.rmdir()
    path.symlink_to(tmp_path)
    with pytest.raises(LaunchError, match="belongs to somebody else"):
        meeting.directory_of(session, "n0", places)


def test_nobody_is_met_where_nobody_listens(tmp_path: Path) -> None:
    assert meeting.connect(tmp_path) is None
    one, other = socket.socketpair()
    with one, other:
        assert meeting.peer(one) == (os.getpid(), os.geteuid())


def test_a_keeper_that_takes_nobody_in_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "CONNECT_SECONDS", 0.05)
    with contextlib.ExitStack() as guests, meeting.listen(tmp_path):
        for _ in range(64):
            met = meeting.connect(tmp_path)
            if met is None:
                return
            guests.enter_context(met[0])
    pytest.fail("it has room for all")
