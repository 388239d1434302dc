"""Steps for leased jobs: described for the pool, and their outcomes taken into the ledger."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from balsam import states
from balsam.core import history, lease
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob
from balsam.core.record import TROUBLE
from balsam.errors import BalsamError
from balsam.launcher.due import Due
from balsam.launcher.entries import StepEnd
from balsam.outcomes import Outcome
from balsam.platform.launch_params import CWD, chosen_directory
from balsam.transitions.pool import StepPool
from balsam.transitions.spec import (
    POSTPROCESS,
    PREPROCESS,
    STAGE_IN,
    STAGE_OUT,
    ParentFiles,
    StepSpec,
)

#: Later states first: what is nearly done frees its children.
WANTED = (
    states.POSTPROCESSED,
    states.RUN_DONE,
    states.RUN_ERROR,
    states.RUN_TIMEOUT,
    states.STAGED_IN,
    states.READY,
)
_KIND = {
    states.READY: (STAGE_IN, states.STAGED_IN),
    states.STAGED_IN: (PREPROCESS, states.PREPROCESSED),
    states.RUN_DONE: (POSTPROCESS, states.POSTPROCESSED),
    states.RUN_ERROR: (POSTPROCESS, states.POSTPROCESSED),
    states.RUN_TIMEOUT: (POSTPROCESS, states.POSTPROCESSED),
    states.POSTPROCESSED: (STAGE_OUT, states.JOB_FINISHED),
}


def _needed(job: Any) -> bool:
    """Whether a job that is leased for a hook has one, or bookkeeping has yet to pass it on."""
    kind, _ = _KIND[job.state]
    if kind == PREPROCESS:
        return bool(job.preprocess)
    if kind != POSTPROCESS:
        return True
    wanted = {
        states.RUN_ERROR: job.post_error_handler,
        states.RUN_TIMEOUT: job.post_timeout_handler,
    }
    return bool(job.postprocess) and wanted.get(job.state, True)


@dataclass
class Steps:
    """The steps of one launcher's session."""

    pool: StepPool
    session: int
    scope: Scope
    data: Path
    environ: dict[str, str]
    time_limit_seconds: float
    #: Jobs that were leased for nothing, for they were moved or need no step: to be released.
    moved: set[int] = field(default_factory=set)
    _dirty: bool = True
    _due: Due = field(default_factory=Due)
    _held: dict[int, str] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)
    _closed: bool = False

    @property
    def dirty(self) -> bool:
        """Whether jobs may wait for a step that were not leased yet."""
        self._dirty |= self._due.passed()
        return self._dirty

    @dirty.setter
    def dirty(self, value: bool) -> None:
        self._dirty = value

    def fill(self) -> list[StepEnd]:
        """Lease jobs and hand their steps to workers; steps that could not even be described."""
        failed: list[StepEnd] = []
        while self.dirty and not self._closed and self.pool.capacity:
            since = history.now()
            waiting, self._held = self._held or self._lease(self.pool.capacity), {}
            self.dirty = bool(waiting)
            if not waiting:
                self._due.look(self.scope, since, WANTED)
                break
            for job in BalsamJob.objects.for_steps(waiting):
                if job.state != waiting[job.pk] or not _needed(job):
                    self.moved.add(job.pk)
                    continue
                try:
                    spec = self.describe(job)
                except TROUBLE:
                    raise  # what was leased for this is free again when it is over
                except (BalsamError, OSError, ValueError) as error:
                    ours = isinstance(error, BalsamError)
                    words = str(error) if ours else f"Its next step can not be prepared: {error}."
                    outcome = Outcome(states.FAILED, words, {"cause": states.STAGING})
                    failed.append(StepEnd(job.pk, job.state, job.attempt, outcome, time.time()))
                    continue
                self._attempts[spec.token] = job.attempt
                self.pool.submit(spec)
        return failed

    def _lease(self, number: int) -> dict[int, str]:
        return dict(lease.lease_for_steps(self.session, self.scope, WANTED, number))

    def hold(self) -> None:
        """Lease what waits for a step now; :meth:`fill` goes on with it."""
        self._held.update(self._lease(max(1, self.pool.capacity)))

    def let_go(self) -> None:
        """Forget what :meth:`hold` leased, for that was not committed."""
        self._held.clear()

    def poll(self) -> list[StepEnd]:
        """Outcomes that have arrived."""
        return [] if self._closed else self._ends(self.pool.poll())

    def _ends(self, finished: list[tuple[StepSpec, Outcome]]) -> list[StepEnd]:
        now = time.time()
        return [
            StepEnd(spec.job_id, spec.state, self._attempts.pop(spec.token, 0), outcome, now)
            for spec, outcome in finished
        ]

    def close(self, grace_seconds: float) -> list[StepEnd]:
        """End workers and hooks; what had an outcome by then. The rest will start again."""
        if self._closed:
            return []
        self._closed = True
        return self._ends(self.pool.close(grace_seconds))

    def fds(self) -> list[int]:
        """Descriptors that become readable when ``poll`` has something to return."""
        return [] if self._closed else self.pool.fds()

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to poll, or fill, even if nothing became readable."""
        if self._closed:
            return None
        # What is due already does not wait for the time.
        due = None if self.dirty else self._due.at
        times = (self.pool.deadline, due)
        return min((when for when in times if when is not None), default=None)

    def jobs(self) -> set[int]:
        """Jobs whose steps are with the pool."""
        return set() if self._closed else {*self._held, *(s.job_id for s in self.pool.pending())}

    def describe(self, job: Any) -> StepSpec:
        """The step that a job in one of the ``WANTED`` states waits for."""
        kind, done = _KIND[job.state]
        spec: dict[str, Any] = {
            "token": uuid.uuid4().hex,
            "job_id": job.pk,
            "kind": kind,
            "label": job.cute_id,
            "state": job.state,
            "done_state": done,
            "workdir": self._workdir(job),
            "data_dir": str(self.data),
            "time_limit": self.time_limit_seconds,
        }
        if kind == STAGE_IN:
            spec["url"] = job.stage_in_url
            spec["input_files"] = job.input_files
            if job.input_files:
                files = job.parents_files(self.data)
                spec["parents"] = tuple(ParentFiles(str(path), *names) for path, *names in files)
        elif kind == STAGE_OUT:
            spec["url"], spec["files"] = job.stage_out_url, job.stage_out_files
        else:
            self._describe_hook(job, kind, spec)
        return StepSpec(**spec)

    def _describe_hook(self, job: Any, kind: str, spec: dict[str, Any]) -> None:
        error, timeout = job.state == states.RUN_ERROR, job.state == states.RUN_TIMEOUT
        spec["command"] = job.preprocess if kind == PREPROCESS else job.postprocess
        spec["handler"] = error or timeout
        spec["envscript"] = job.envscript
        spec["env"] = {**self.environ, **job.get_envs(timeout=timeout, error=error)}
        if job.launch_params.get(CWD):
            self._run_elsewhere(job, kind, spec)

    def _run_elsewhere(self, job: Any, kind: str, spec: dict[str, Any]) -> None:
        """A hook runs where the job's program does; its log stays in the work directory."""
        spec["workdir"] = chosen_directory(job.launch_params[CWD])
        spec["log"] = str(job.working_path(self.data) / f"{kind.lower()}.log")

    def _workdir(self, job: Any) -> str:
        path = job.working_path(self.data)
        return str(path) if job.user_workdir else job.relative_workdir()
