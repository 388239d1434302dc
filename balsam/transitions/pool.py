"""The step pool: a few worker processes, and the promise that each step gets its outcome."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import sys
import time
from collections import deque
from typing import Any

from balsam import states
from balsam.errors import LaunchError
from balsam.outcomes import Outcome
from balsam.platform import process
from balsam.transitions.member import Member
from balsam.transitions.spec import HOOKS, STEP_VARIABLE, StepSpec

#: How long a cancelled worker may take to end its hook before it is killed.
CANCEL_SECONDS = 2.0
#: Between two tries to start a worker when the machine refuses.
RETRY_SECONDS = 1.0
_QUEUE = 1

Finished = list[tuple[StepSpec, Outcome]]


class StepPool:
    """Runs steps in up to ``size`` worker processes, for a single-threaded event loop.

    ``submit`` while ``capacity`` is not 0; call ``poll`` when ``fileno`` is readable and when
    ``deadline`` has passed. Every step that was submitted comes back from ``poll`` once, with its
    outcome. A worker that dies is replaced and its step, after what is left of its hook has been
    ended, starts again; if that happens ``crash_limit`` times, the step ends in FAILED. Workers are
    started when they are first needed; what they write to stderr goes to the file ``log``. Only
    the workers' own process ids are waited for.
    """

    def __init__(
        self,
        size: int,
        crash_limit: int,
        python: str = sys.executable,
        log: str | os.PathLike[str] | None = None,
    ) -> None:
        self._size = max(1, size)
        self._crash_limit = max(1, crash_limit)
        self._python = python
        self._log = log
        self._workers: list[Member] = []
        self._queue: deque[StepSpec] = deque()
        self._finished: Finished = []
        self._crashes: dict[str, int] = {}
        self._retry_at = 0.0
        self._closing = False
        self._selector = selectors.DefaultSelector()

    @property
    def capacity(self) -> int:
        """How many more steps may be submitted now."""
        return max(0, self._size + _QUEUE - len(self.pending()))

    @property
    def deadline(self) -> float | None:
        """When (``time.monotonic()``) ``poll`` has something to do even if nothing arrives."""
        if self._finished:
            return time.monotonic()
        times = [worker.kill_at for worker in self._workers if worker.cancelled]
        if self._queue and self._retry_at:
            times.append(self._retry_at)
        return min(times, default=None)

    def fileno(self) -> int:
        """One descriptor for the life of the pool, readable when ``poll`` has something to do."""
        return self._selector.fileno()

    def fds(self) -> list[int]:
        """What to watch for readability: ``fileno``."""
        return [self.fileno()]

    def pending(self) -> list[StepSpec]:
        """The steps that were submitted and have not come back from ``poll``."""
        busy = [worker.spec for worker in self._workers if worker.spec is not None]
        return [*busy, *self._queue, *(spec for spec, _ in self._finished)]

    def submit(self, spec: StepSpec) -> None:
        """Take on a step.

        :raises LaunchError: if ``capacity`` is 0.
        """
        if not self.capacity:
            raise LaunchError(f"the step pool is full ({self._size} workers); poll it first")
        self._queue.append(spec)
        self._dispatch()

    def poll(self) -> Finished:
        """The steps that have ended since the last call, with their outcomes.

        Does not block, but for the moment it takes to see off a dead worker and its hook.
        """
        for key, events in self._selector.select(0):
            worker: Member = key.data
            if worker not in self._workers:
                continue
            if events & selectors.EVENT_WRITE and key.fd == worker.orders and worker.flush():
                self._selector.unregister(worker.orders)
            if events & selectors.EVENT_READ and key.fd == worker.replies:
                self._receive(worker)
        for worker in self._workers:
            if time.monotonic() >= worker.kill_at:
                worker.process.kill()
        self._dispatch()
        finished, self._finished = self._finished, []
        return finished

    def cancel(self, job_id: int) -> bool:
        """End the steps of a job, hooks included; whether there was one.

        Each comes back from ``poll`` as FAILED with the cause ``killed``, unless it had just ended.
        """
        found = False
        for spec in [spec for spec in self._queue if spec.job_id == job_id]:
            self._queue.remove(spec)
            self._finish(spec, _cancelled(spec))
            found = True
        for worker in self._workers:
            if worker.spec is not None and worker.spec.job_id == job_id:
                worker.cancelled = found = True
                worker.kill_at = time.monotonic() + CANCEL_SECONDS
                worker.process.terminate()
        return found

    def close(self, grace: float) -> Finished:
        """Stop all workers and hooks, by force after ``grace`` seconds.

        Returns the steps that ended in time. Those that were interrupted have no outcome, and the
        pool can not be used again.
        """
        self._closing = True
        self._queue.clear()
        deadline = time.monotonic() + grace
        for worker in self._workers:
            worker.kill_at = deadline
            worker.process.terminate()
        while self._workers and (left := deadline - time.monotonic()) > 0:
            for key, events in self._selector.select(left):
                if key.data in self._workers and events & selectors.EVENT_READ:
                    self._receive(key.data)
        for worker in list(self._workers):
            self._lost(worker)
        self._selector.close()
        return self._finished

    def _dispatch(self) -> None:
        """Give queued steps to idle workers, starting workers while there may be more."""
        while self._queue:
            worker = self._idle() or self._new_worker()
            if worker is None:
                return
            if not worker.give(self._queue.popleft()):
                self._selector.register(worker.orders, selectors.EVENT_WRITE, worker)

    def _idle(self) -> Member | None:
        return next((worker for worker in self._workers if worker.spec is None), None)

    def _new_worker(self) -> Member | None:
        if len(self._workers) >= self._size or time.monotonic() < self._retry_at:
            return None
        self._retry_at = 0.0
        try:
            worker = Member(self._python, self._log)
        except OSError as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            if not self._workers:
                self._crashed(self._queue.popleft(), f"it can not be started: {error}")
            return None
        self._workers.append(worker)
        self._selector.register(worker.replies, selectors.EVENT_READ, worker)
        return worker

    def _receive(self, worker: Member) -> None:
        lines, alive = worker.receive()
        for line in lines:
            reply = _parsed(line)
            if worker.spec is None or reply is None or reply.get("token") != worker.spec.token:
                alive = False
                break
            spec, worker.spec = worker.spec, None
            self._finish(spec, Outcome(reply["state"], reply["message"], reply["data"]))
            # It was told to end, if too late for this step; it must not get another.
            alive = alive and not worker.cancelled
        if not alive:
            self._lost(worker)

    def _lost(self, worker: Member) -> None:
        """A worker is dead or talks nonsense: take leave of it and look after its step."""
        for descriptor in (worker.orders, worker.replies):
            with contextlib.suppress(KeyError):
                self._selector.unregister(descriptor)
        self._workers.remove(worker)
        ending = worker.bury()
        spec = worker.spec
        if spec is None:
            return
        if spec.kind in HOOKS:
            _end_hook(spec.token)
        if worker.cancelled:
            self._finish(spec, _cancelled(spec))
        elif not self._closing:
            self._crashed(spec, ending)

    def _crashed(self, spec: StepSpec, ending: str) -> None:
        count = self._crashes[spec.token] = self._crashes.get(spec.token, 0) + 1
        if count < self._crash_limit:
            self._queue.appendleft(spec)
            return
        cause = states.HOOK if spec.kind in HOOKS else states.STAGING
        message = f"the worker process of the {spec.kind} step ended {count} times ({ending})"
        if self._log is not None:
            message += f"; see '{os.fspath(self._log)}'"
        self._finish(spec, Outcome(states.FAILED, message, {"cause": cause, "crashes": count}))

    def _finish(self, spec: StepSpec, outcome: Outcome) -> None:
        self._crashes.pop(spec.token, None)
        self._finished.append((spec, outcome))


def _end_hook(token: str) -> None:
    """End what a dead worker's hook left running, and what that started in the meantime."""
    for _ in range(3):
        if not (pids := process.marked_processes(STEP_VARIABLE, token)):
            return
        process.end_processes(pids, 0.0)


def _cancelled(spec: StepSpec) -> Outcome:
    return Outcome(states.FAILED, f"{spec.kind} step stopped: killed", {"cause": states.KILLED})


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        reply = json.loads(line)
    except ValueError:
        return None
    return reply if isinstance(reply, dict) else None
