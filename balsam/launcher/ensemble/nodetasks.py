"""The attempts of one node: started, chained, signalled, and told of in messages when they end."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from balsam import states
from balsam.errors import LaunchError, ProgramMissing
from balsam.launcher.ensemble import strays, wire
from balsam.launcher.ensemble.protocol import RUN_MARK, Confinement
from balsam.launcher.ensemble.ranks import Ranks
from balsam.launcher.ensemble.strays import KEEPER_MARK
from balsam.platform import affinity, evidence, process
from balsam.platform.process import RunSpec

#: It was stopped because the launcher said so.
ASKED = "asked"
#: A scheduler sends TERM to tasks and keeper at once, but one hears of it before the other.
DOUBT_SECONDS = 0.5

STARTED = "started"
ENDED = "ended"
REFUSED = "refused"
MISLAID = "mislaid"
STRUCK = "struck"


@dataclass
class _Running:
    token: str
    spec: RunSpec
    pid: int
    began: float
    #: Who ended it, if it did not end by itself: ASKED, or the cause why all had to end.
    stopped: str = ""
    kill_at: float | None = None
    #: What is wrong with the CPUs it may use.
    note: str = ""


class NodeTasks:
    """Starts and reaps. ``mark`` goes into the environment of each; ``news`` is what to tell."""

    def __init__(self, mark: str, tail_lines: int = 16) -> None:
        self.mark = mark
        self.tail_lines = tail_lines
        #: What every task's environment differs from.
        self.base: Mapping[str, str] = {}
        #: All CPUs that tasks are given, in the launcher's numbers.
        self.cpus: Sequence[int] = ()
        self.news: list[list[Any]] = []
        self._by_pid: dict[int, _Running] = {}
        self._by_token: dict[str, _Running] = {}
        #: What has not begun: its specification, and the token it waits for.
        self._waiting: dict[str, tuple[list[Any], str]] = {}
        self._followers: dict[str, list[str]] = {}
        #: Tasks whose CPUs are to be looked at, and when (monotonic).
        self._unchecked: deque[tuple[float, _Running]] = deque()
        #: Those of mpiruns that have ranks here.
        self._ranks = Ranks()
        #: Of attempts of theirs that have failed: what is to be answered about this node's memory.
        self._questions: list[list[Any]] = []
        self._oom = evidence.OomWatch()
        #: Why nothing begins any more, '' while it does.
        self._closed = ""
        #: What ended by a TERM that nobody here sent, and until when (monotonic) that may yet be
        #: the end of all.
        self._doubtful: list[tuple[float, list[Any]]] = []

    def __len__(self) -> int:
        """How many processes there are."""
        return len(self._by_pid) + len(self._doubtful)

    # -- commands -------------------------------------------------------------------------------

    def obey(self, command: list[Any]) -> None:
        """Do what the launcher says: the name of a method, and its arguments."""
        name, *arguments = command
        if name == "start":
            self.start(*arguments)
        elif name == "signal":
            self.signal(*arguments)
        elif name == "stop":
            self.stop(*arguments)
        elif name == "withdraw":
            self.withdraw(*arguments)
        elif name == "kill_all":
            self.kill_all()
        elif name == "check":
            token, values = arguments
            self._ranks.check(token, Confinement(*values))
        elif name == "ask_memory":
            self._questions.append(arguments)

    def start(self, token: str, after: str, packed: list[Any]) -> None:
        """Start an attempt, or keep it until the one it comes ``after`` has ended."""
        if self._closed:
            self._withdrawn(token)
        elif after and (after in self._by_token or after in self._waiting):
            self._waiting[token] = packed, after
            self._followers.setdefault(after, []).append(token)
        elif not self._spawn(token, packed):
            self._begin_followers(token)

    def signal(self, token: str, number: int) -> None:
        """Send a signal to the group of an attempt."""
        run = self._by_token.get(token)
        if run:
            process.signal_group(run.pid, number)

    def stop(self, token: str, grace_seconds: float, why: str = ASKED) -> None:
        """TERM, and KILL after the grace; withdraw what has not begun."""
        self.withdraw(token)
        run = self._by_token.get(token)
        if run is None:
            return
        if not run.stopped:
            if process.ended(run.pid):
                return
            run.stopped = why
            process.signal_group(run.pid, signal.SIGTERM)
        when = time.monotonic() + grace_seconds
        run.kill_at = when if run.kill_at is None else min(run.kill_at, when)

    def withdraw(self, token: str) -> None:
        """Let an attempt not begin, if it has not yet.

        What waits for it waits for what it waited for.
        """
        if token not in self._waiting:
            return
        _, after = self._waiting.pop(token)
        self._followers[after].remove(token)
        for follower in self._followers.pop(token, []):
            packed, _ = self._waiting[follower]
            self._waiting[follower] = packed, after
            self._followers[after].append(follower)
        if not self._followers[after]:
            del self._followers[after]
        self._withdrawn(token)

    def stop_all(self, grace_seconds: float, cause: str) -> None:
        """Stop everything for a cause of ``states``, and begin nothing any more."""
        self._closed = self._closed or cause
        for _, message in self._doubtful:
            message[-1] = cause
        self._tell_doubtful(float("inf"))
        for token in list(self._waiting):
            self.withdraw(token)
        for token in list(self._by_token):
            self.stop(token, grace_seconds, cause)

    def kill_all(self) -> None:
        """KILL everything now, and withdraw the rest."""
        for token in list(self._waiting):
            self.withdraw(token)
        for token, run in list(self._by_token.items()):
            self.stop(token, 0.0)
            process.signal_group(run.pid, signal.SIGKILL)
        self.timers()

    # -- what happens ---------------------------------------------------------------------------

    def reap(self) -> None:
        """Take the processes that have ended, and begin what waited for them."""
        unclean = set()
        while True:
            try:
                ready = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ready is None:
                break
            run = self._by_pid.pop(ready.si_pid, None)
            end = process.reap(ready.si_pid)
            if run is None or end is None:
                continue
            wall = time.monotonic() - run.began
            del self._by_token[run.token]
            if run.stopped:
                unclean.add(run.spec.env.get(RUN_MARK, ""))
            oom = tail = None
            if end.returncode:
                killed = end.by(signal.SIGKILL)
                alone = end.signal == signal.SIGKILL
                oom = killed and self._oom.struck(run.pid if alone else 0, run.began)
                tail = evidence.tail(run.spec.output, self.tail_lines)
            message = [ENDED, run.token, vars(end), round(wall, 6), oom, tail or ""]
            message += [run.note, run.stopped]
            self._tell_end(message, end.by(signal.SIGTERM))
            if self._followers:
                self._begin_followers(run.token)
        if unclean:
            strays.end_leftovers(self.mark, unclean)

    def _tell_end(self, message: list[Any], by_term: bool) -> None:
        if by_term and not message[-1]:
            message[-1] = self._closed
            if not self._closed:
                self._doubtful.append((time.monotonic() + DOUBT_SECONDS, message))
                return
        self.news.append(message)

    def _tell_doubtful(self, now: float) -> None:
        while self._doubtful and self._doubtful[0][0] <= now:
            self.news.append(self._doubtful.pop(0)[1])

    @property
    def deadline(self) -> float | None:
        """When (monotonic) :meth:`timers` has something to do."""
        times = [run.kill_at for run in self._by_pid.values() if run.kill_at is not None]
        times += [until for until, _ in self._doubtful[:1]]
        look = self._ranks.deadline
        return min([*times, look] if look is not None else times, default=None)

    def timers(self) -> None:
        """KILL what did not heed its TERM, and tell what is in doubt no more."""
        now = time.monotonic()
        self._tell_doubtful(now)
        while self._unchecked and self._unchecked[0][0] <= now:
            _, run = self._unchecked.popleft()
            if self._by_pid.get(run.pid) is run:
                run.note = affinity.compare(run.spec.cpus, run.pid)
        self.news += [[MISLAID, token, note] for token, note in self._ranks.look(now)]
        # By now tasks of this node have been told what is theirs.
        for token, seconds, ranks in self._questions:
            self.news.append([STRUCK, token, self._oom.struck(0, now - seconds, ranks)])
        self._questions = []
        runs = self._by_pid.values()
        stubborn = [run for run in runs if run.kill_at is not None and now >= run.kill_at]
        if stubborn:
            everyone = process.family(*(run.pid for run in stubborn))
            for run in stubborn:
                run.kill_at = now + 1.0
                process.signal_group(run.pid, signal.SIGKILL)
            process.signal_all(everyone, signal.SIGKILL)

    def watch_memory(self) -> None:
        """Forget the out-of-memory kills of long ago; to be called now and then."""
        self._oom.refresh()

    # -- inside ---------------------------------------------------------------------------------

    def _spawn(self, token: str, packed: list[Any]) -> bool:
        spec = wire.unpack(packed, self.base)
        spec.env[KEEPER_MARK] = self.mark  # type: ignore[index]
        spec, note = self._confined(spec)
        try:
            pid = process.spawn(spec)
        except LaunchError as error:
            missing = isinstance(error, ProgramMissing)
            cause = states.PROGRAM_MISSING if missing else states.STAGING
            short, full = process.shortage(error), process.disk_is_full(error)
            self.news.append([REFUSED, token, cause, str(error), short, full])
            return False
        run = _Running(token, spec, pid, time.monotonic(), note=note)
        self._by_pid[pid] = self._by_token[token] = run
        if spec.cpus:
            self._unchecked.append((run.began + affinity.SETTLED_SECONDS, run))
        self.news.append([STARTED, token, pid, time.time()])
        return True

    def _confined(self, spec: RunSpec) -> tuple[RunSpec, str]:
        """A task with CPUs of this node; with none, and a note, if it has no such CPUs."""
        if not spec.cpus:
            return spec, ""
        allowed = os.sched_getaffinity(0)
        mine = affinity.counterparts(spec.cpus, self.cpus, allowed)
        note = "" if mine else affinity.astray(spec.cpus, allowed)
        return replace(spec, cpus=mine), note

    def _begin_followers(self, ended: str) -> None:
        todo = self._followers.pop(ended, [])
        while todo:
            token = todo.pop(0)
            packed, _ = self._waiting.pop(token)
            if not self._spawn(token, packed):
                todo += self._followers.pop(token, [])

    def _withdrawn(self, token: str) -> None:
        self.news.append([REFUSED, token, "", "It was stopped before it began.", False])
