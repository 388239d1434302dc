"""The tables of the record, and the names older scripts import from here."""

from __future__ import annotations

from balsam.core.history import (
    STATE_TIME_PATTERN,
    TIME_FMT,
    from_time_string,
    get_time_string,
    history_line,
)
from balsam.core.models.app import ApplicationDefinition
from balsam.core.models.batch_job import BatchJob
from balsam.core.models.dependency import Dependency
from balsam.core.models.event import EventLog
from balsam.core.models.job import BalsamJob
from balsam.core.models.session import Session
from balsam.core.reports import (
    error_report,
    process_job_times,
    safe_select,
    throughput_report,
    utilization_report,
)
from balsam.errors import DependencyError, InvalidValue, NoApplication
from balsam.states import (
    ACTIVE_STATES,
    END_STATES,
    PROCESSABLE_STATES,
    RUNNABLE_STATES,
    STATES,
)

QueuedLaunch = BatchJob
InvalidStateError = InvalidValue
InvalidParentsError = DependencyError

__all__ = [
    "ACTIVE_STATES",
    "END_STATES",
    "PROCESSABLE_STATES",
    "RUNNABLE_STATES",
    "STATES",
    "STATE_TIME_PATTERN",
    "TIME_FMT",
    "ApplicationDefinition",
    "BalsamJob",
    "BatchJob",
    "Dependency",
    "EventLog",
    "InvalidParentsError",
    "InvalidStateError",
    "NoApplication",
    "QueuedLaunch",
    "Session",
    "error_report",
    "from_time_string",
    "get_time_string",
    "history_line",
    "process_job_times",
    "safe_select",
    "throughput_report",
    "utilization_report",
]
