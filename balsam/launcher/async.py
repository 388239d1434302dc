"""The older name of ``balsam.launcher.futures``; a reserved word, so import it with importlib."""

from __future__ import annotations

from balsam.launcher.futures import FutureTask, TaskFailed, WaitResult, wait

__all__ = ["FutureTask", "TaskFailed", "WaitResult", "wait"]
