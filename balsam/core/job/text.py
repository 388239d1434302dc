"""A job's derived values: ids, commands and times, as the older lines name them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import models

from balsam import states
from balsam.core import history, ids
from balsam.core.fields import parse_environ
from balsam.platform import variables

if TYPE_CHECKING:
    from balsam.core.models.app import ApplicationDefinition


class JobText:
    """Read-only views of a job; mixed into ``BalsamJob``."""

    if TYPE_CHECKING:
        app: Any
        app_id: Any
        _app_name: str | None
        _resolve_application: Callable[[], None]
        args: str
        attempt: int
        direct_command: str
        environ_vars: dict[str, str]
        events: Any
        get_parents_by_id: Callable[[], list[str]]
        get_children_by_id: Callable[[], list[str]]
        job_id: Any
        name: str
        num_nodes: int
        pk: Any
        postprocess_override: str
        preprocess_override: str
        ranks_per_node: int
        session: Any
        session_id: Any
        state: str
        state_timestamp: datetime
        threads_per_core: int
        threads_per_rank: int

    @property
    def cute_id(self) -> str:
        """``[name | 9a3c11f0]``, or ``[9a3c11f0]`` for a job without a name."""
        return ids.label(self.name, self.job_id)

    @property
    def application(self) -> str:
        """The name of the application, or ''."""
        if self._app_name is not None:
            return self._app_name
        return self.app.name if self.app_id else ""

    @application.setter
    def application(self, value: str | ApplicationDefinition) -> None:
        self._app_name = value if isinstance(value, str) else value.name

    @property
    def app_name(self) -> str:
        """The name of the application, or the program of a direct command."""
        return self.application or self.direct_command.split(" ", 1)[0]

    @property
    def app_cmd(self) -> str:
        """The command line, without mpirun: executable or direct command, then arguments."""
        program = self.direct_command or self._of_app("executable")
        return f"{program} {self.args}".strip()

    @property
    def envscript(self) -> str:
        """A shell file sourced before the run, from the application."""
        return self._of_app("envscript")

    @property
    def preprocess(self) -> str:
        """The preprocess command: the job's own, else the application's."""
        return self.preprocess_override or self._of_app("preprocess")

    @preprocess.setter
    def preprocess(self, command: str) -> None:
        self.preprocess_override = command

    @property
    def postprocess(self) -> str:
        """The postprocess command: the job's own, else the application's."""
        return self.postprocess_override or self._of_app("postprocess")

    @postprocess.setter
    def postprocess(self, command: str) -> None:
        self.postprocess_override = command

    def _of_app(self, name: str) -> Any:
        """A field of the application, '' without one; NoApplication if there is none so named."""
        self._resolve_application()
        return getattr(self.app, name) if self.app_id else ""

    @property
    def num_ranks(self) -> int:
        """MPI ranks over all nodes."""
        return self.num_nodes * self.ranks_per_node

    @property
    def required_num_cores(self) -> int:
        """Cores per node: ranks x threads, by the threads that share a core."""
        return max(1, self.ranks_per_node * self.threads_per_rank // self.threads_per_core)

    @property
    def lock(self) -> str:
        """``host:pid`` of the session that leased the job, or ''."""
        return self.session.lock if self.session_id else ""

    @property
    def tick(self) -> datetime | None:
        """The last heartbeat of that session (UTC), or None."""
        return self.session.heartbeat if self.session_id else None

    # -- the run's environment ------------------------------------------------------------------

    @staticmethod
    def parse_envstring(text: str) -> dict[str, str]:
        """``A=1:B=2`` as a dict; a colon inside a value is kept."""
        return parse_environ(text)

    def get_envs(self, *, timeout: bool = False, error: bool = False) -> dict[str, str]:
        """What Balsam adds to the environment of this job's task or hook.

        Parents or children that are too many for a variable are left out.
        """
        envs = {
            "BALSAM_JOB_ID": str(self.job_id),
            **variables.listed(variables.PARENT_IDS, self.get_parents_by_id()),
            **variables.listed(variables.CHILD_IDS, self.get_children_by_id()),
        }
        if self.threads_per_rank > 1:
            envs["OMP_NUM_THREADS"] = str(self.threads_per_rank)
        if timeout:
            envs["BALSAM_JOB_TIMEOUT"] = "TRUE"
        if error:
            envs["BALSAM_JOB_ERROR"] = "TRUE"
        return {**envs, **(self._of_app("environ_vars") or {}), **self.environ_vars}

    # -- history --------------------------------------------------------------------------------

    @property
    def state_history(self) -> str:
        """Every event as a line ``[MM-DD-YYYY HH:MM:SS.ffffff STATE] message``, UTC."""
        if self.pk is None:
            return history.history_line(self.state, "", self.state_timestamp)
        events = self.events.order_by("id").values_list("timestamp", "to_state", "message")
        return history.history_text(events)

    @property
    def state_data(self) -> dict[str, Any]:
        """The data of the latest event."""
        latest = self.events.order_by("-id").values_list("data", flat=True).first()
        return latest or {}

    def get_recent_state_str(self) -> str:
        """The latest line of history."""
        latest = self.events.order_by("-id").values_list("timestamp", "to_state", "message").first()
        return history.history_text([latest]) if latest else ""

    def get_state_times(self) -> dict[str, datetime]:
        """State -> when the job last reached it (UTC)."""
        moves = self.events.exclude(from_state=models.F("to_state"))
        return dict(moves.order_by("id").values_list("to_state", "timestamp"))

    @property
    def runtime_seconds(self) -> float | None:
        """Seconds from the last RUNNING to the last RUN_DONE; None if either is missing."""
        times = self.get_state_times()
        if states.RUNNING not in times or states.RUN_DONE not in times:
            return None
        return (times[states.RUN_DONE] - times[states.RUNNING]).total_seconds()
