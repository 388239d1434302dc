"""One rank of an ensemble, with letters that come from a test."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from typing import Any

import pytest

from balsam.errors import LaunchError
from balsam.launcher.ensemble import meeting, rank, strays, wire
from balsam.launcher.ensemble.rank import LETTERS, Rank
from balsam.launcher.ensemble.root import Root


class Mail:
    """Letters that wait, and those that were sent."""

    size = 1

    def __init__(self, number: int = 0) -> None:
        self.waiting = deque((0, b"%d" % letter) for letter in range(number))
        self.sent: list[bytes] = []

    def receive(self) -> tuple[int, bytes] | None:
        return self.waiting.popleft() if self.waiting else None

    def send(self, to: int, data: bytes) -> None:
        self.sent.append(data)


@pytest.mark.parametrize("number", [1, LETTERS - 1, LETTERS, LETTERS + 1, 3 * LETTERS + 7])
def test_every_letter_is_heard_however_many_wait(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    mail = Mail(number)
    one = Rank(mail)  # type: ignore[arg-type]
    heard: list[bytes] = []
    monkeypatch.setattr(one, "to_keeper", heard.append)
    steps = 0
    while mail.waiting:
        one.step()
        steps += 1
    assert heard == [b"%d" % letter for letter in range(number)]
    assert steps == -(-number // LETTERS), "other things are looked at in between"


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        (OSError(errno.EAGAIN, "no process"), False),
        (OSError(errno.EACCES, "not allowed"), True),
        (LaunchError("no place to meet"), True),
    ],
)
def test_a_rank_without_a_keeper_ends_what_the_last_one_left_before_it_gives_up(
    monkeypatch: pytest.MonkeyPatch, error: Exception, lasting: bool
) -> None:
    """What is reported lost is run elsewhere: nothing of it may run on here."""
    mail = Mail()
    one = Rank(mail)  # type: ignore[arg-type]
    one.config = {"session": "s", "node": "n0", "beat": 1.0, "silence": 60.0}
    said: list[Any] = []

    def connect(directory: object) -> None:
        raise error

    monkeypatch.setattr(meeting, "directory_of", lambda *names: None)
    monkeypatch.setattr(meeting, "connect", connect)
    monkeypatch.setattr(
        strays, "end_strays", lambda mark, looks: said.append((mark, list(mail.sent)))
    )
    one._wanted_since = 100.0
    one._meet(101.0)
    assert bool(mail.sent) == lasting
    assert said == ([("s@n0", [])] if lasting else [])
    if not lasting:
        one._meet(101.0 + rank.KEEPER_SECONDS)
    assert len(mail.sent) == 1 and said == [("s@n0", [])]


def test_rank_0_does_not_outlive_a_launcher_that_nobody_hears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the launcher's node was taken from under it, its end of the pipe may stay open."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    (stdin, launcher), (said, stdout) = os.pipe(), os.pipe()
    root = Root(Mail(), stdin, stdout)  # type: ignore[arg-type]
    root.begin()
    config = {
        "session": "s", "nodes": ["n0"], "by_rank": True, "launcher": ["elsewhere", 1, 1],
        "beat": 1.0, "silence": 10.0, "orphan": 5.0,
    }  # fmt: skip
    os.write(launcher, wire.control(config=config))
    root.readable(stdin)
    clock[0] = 119.0
    root.look(clock[0])
    os.write(launcher, wire.control(pong=1))
    root.readable(stdin)
    clock[0] = 138.0
    root.look(clock[0])
    assert not ended
    clock[0] = 140.0
    root.look(clock[0])
    assert ended == [1]
    os.write(launcher, wire.control(quit=60.0))
    root.readable(stdin)
    clock[0] = 190.0
    root.look(clock[0])
    assert ended == [1] and not root.over, "who was told to quit waits for the grace of all"
    ended.clear()
    root._leave_at, root.config = None, None
    root.look(300.0)
    assert ended == [1], "though its own node could not be used"
    for one in (stdin, launcher, said, stdout):
        os.close(one)


def test_a_node_that_said_that_it_is_unusable_is_not_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of one that is, what other mpiruns run there is ended."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    (stdin, launcher), (said, stdout) = os.pipe(), os.pipe()
    mail = Mail()
    mail.size = 3
    root = Root(mail, stdin, stdout)  # type: ignore[arg-type]
    config = {
        "session": "s", "nodes": ["n0", "n1", "n2"], "by_rank": True,
        "launcher": ["elsewhere", 1, 1], "beat": 1.0, "silence": 600.0, "orphan": 5.0,
    }  # fmt: skip
    os.write(launcher, wire.control(config=config))
    root.readable(stdin)
    for source in (1, 2):
        root.letter(source, wire.control(names=[f"n{source}"]))
    root.letter(1, wire.control(unusable="no memory"))
    clock[0] = 110.0
    root.look(clock[0])
    told = [wire.parse(line)[1] for line in wire.Splitter().lines(os.read(said, 1 << 16))]
    assert {"unusable": "n1", "why": "no memory"} in told
    assert [body["silent"] for body in told if "silent" in body] == ["n2"]
    for one in (stdin, launcher, said, stdout):
        os.close(one)
