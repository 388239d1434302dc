"""Futures over jobs, after ``concurrent.futures``: callbacks, results, and waiting for many.

A future never asks the database more often than the waiting needs: ``wait`` looks at all of them in
one query, and again only when the database has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from balsam import states
from balsam.core.changes import Changes
from balsam.core.models import BalsamJob
from balsam.errors import InvalidValue, TaskFailed, UsageError

__all__ = ["FutureTask", "TaskFailed", "WaitResult", "wait"]

ANY_COMPLETED = "ANY_COMPLETED"
ALL_COMPLETED = "ALL_COMPLETED"


class WaitResult(NamedTuple):
    """Futures by how far they are."""

    active: list[FutureTask]
    done: list[FutureTask]
    failed: list[FutureTask]
    cancelled: list[FutureTask]


class FutureTask:
    """The future of a job.

    ``done_callback(job, *args, **kwargs)`` is called once, for a job that finished, and its value
    is the result; ``fail_callback`` likewise for one that failed.
    """

    def __init__(
        self,
        balsam_job: BalsamJob,
        done_callback: Callable[..., Any],
        fail_callback: Callable[..., Any] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if not isinstance(balsam_job, BalsamJob):
            raise InvalidValue(f"A future is of a BalsamJob, not of {balsam_job!r}.")
        for callback in (done_callback, fail_callback):
            if callback is not None and not callable(callback):
                raise InvalidValue(f"A callback is a function, not {callback!r}.")
        if balsam_job.pk is None:
            raise UsageError(f"The job {balsam_job.cute_id} is not saved yet; call save() first.")
        self.key = balsam_job.pk
        self.job_id = balsam_job.job_id
        self.cute_id = balsam_job.cute_id
        self._done_callback = done_callback
        self._fail_callback = fail_callback
        self._args = args
        self._kwargs = kwargs
        self._state = balsam_job.state
        self._called = False
        self._result: Any = None
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<FutureTask {self.cute_id} {self._state}>"

    # -- how far it is --------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether the job finished."""
        return self._poll() == states.JOB_FINISHED

    @property
    def failed(self) -> bool:
        """Whether the job failed."""
        return self._poll() == states.FAILED

    @property
    def cancelled(self) -> bool:
        """Whether the job was killed, or deleted."""
        return self._poll() == states.USER_KILLED

    @property
    def active(self) -> bool:
        """Whether the job has not ended."""
        return self._poll() not in states.END_STATES

    def _poll(self) -> str:
        if self._state not in states.END_STATES:
            _refresh([self])
        return self._state

    # -- what comes of it -----------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> Any:
        """The callback's value, once the job has ended; None if it was cancelled.

        Waits ``timeout`` seconds at most, then raises TimeoutError. Raises TaskFailed for a job
        that failed when there is no ``fail_callback``, and whatever the callback raised.
        """
        wait([self], timeout, ALL_COMPLETED)
        if self._state == states.USER_KILLED:
            return None
        if not self._called:
            self._called = True
            try:
                self._result = self._call()
            except Exception as error:  # noqa: BLE001 - the caller gets it, every time
                self._error = error
        if self._error is not None:
            raise self._error
        return self._result

    def _call(self) -> Any:
        job = BalsamJob.objects.get(pk=self.key)
        if self._state == states.JOB_FINISHED:
            return self._done_callback(job, *self._args, **self._kwargs)
        if self._fail_callback is None:
            raise TaskFailed(f"{self.cute_id} failed: {job.get_recent_state_str()}")
        return self._fail_callback(job, *self._args, **self._kwargs)

    def cancel(self) -> None:
        """Kill the job and everything below it."""
        BalsamJob.objects.filter(pk=self.key).kill("killed by user", recursive=True)
        _refresh([self])


def wait(
    futures: Iterable[FutureTask],
    timeout: float | None = None,
    return_when: str = ANY_COMPLETED,
    poll_period: float = 1.0,
) -> WaitResult:
    """Wait until any, or all, of the futures have ended (finished, failed or cancelled).

    Futures that had ended before count. ``timeout`` is in seconds; TimeoutError if it passes first.
    ``poll_period`` (seconds) bounds how long a change can go unnoticed. No futures are all
    completed at once.
    """
    futures = list(futures)
    if return_when not in (ANY_COMPLETED, ALL_COMPLETED):
        raise InvalidValue(
            f"return_when is {ANY_COMPLETED} or {ALL_COMPLETED}, not {return_when!r}."
        )
    enough = any if return_when == ANY_COMPLETED else all
    deadline = None if timeout is None else time.monotonic() + timeout
    changes = Changes() if futures else None
    while True:
        _refresh(futures)
        ended = [future._state in states.END_STATES for future in futures]
        if changes is None or enough(ended):
            return _sorted(futures)
        left = poll_period if deadline is None else deadline - time.monotonic()
        changes.wait(min(poll_period, left))
        if deadline is not None and time.monotonic() >= deadline:
            _refresh(futures)
            if enough(future._state in states.END_STATES for future in futures):
                return _sorted(futures)
            raise TimeoutError(
                f"{ended.count(False)} of {len(futures)} futures were still active "
                f"after {timeout} seconds"
            )


def _refresh(futures: Iterable[FutureTask]) -> None:
    """Read the states of all that are still active, in one query; deleted jobs are cancelled."""
    active = {future.key: future for future in futures if future._state not in states.END_STATES}
    if not active:
        return
    found = BalsamJob.objects.states_of(active)
    for future in futures:
        if future.key in active:
            future._state = found.get(future.key, states.USER_KILLED)


def _sorted(futures: list[FutureTask]) -> WaitResult:
    result = WaitResult([], [], [], [])
    for future in futures:
        if future._state == states.JOB_FINISHED:
            result.done.append(future)
        elif future._state == states.FAILED:
            result.failed.append(future)
        elif future._state == states.USER_KILLED:
            result.cancelled.append(future)
        else:
            result.active.append(future)
    return result
