"""Leased jobs become steps; one that can not be described takes no other with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from balsam.core import sessions
from balsam.core.lease import Scope
from balsam.core.sessions import Life
from balsam.launcher.steps import Steps
from balsam.platform import node
from balsam.transitions.pool import StepPool

from .test_step_retries import job

HERE = Life("launcher", "here", node.identity(), 1, node.start_time(1))


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "x"), ValueError("x")])
def test_a_directory_that_nobody_can_ask_for_fails_its_own_job(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bad, good = job(user_workdir=str(tmp_path / "stale")), job()
    usual = os.path.isdir

    def isdir(path: Any) -> bool:
        if str(path) == bad.user_workdir:
            raise error
        return usual(path)

    monkeypatch.setattr(os.path, "isdir", isdir)
    session = sessions.open_session(HERE)
    steps = Steps(StepPool(2, 1), session, Scope(), tmp_path, {}, 60.0)
    try:
        [end] = steps.fill()
        assert (end.job, end.outcome.state) == (bad.pk, states.FAILED)
        assert end.outcome.data == {"cause": states.STAGING}
        assert str(error) in end.outcome.message
        assert steps.jobs() == {good.pk}
    finally:
        steps.close(0.0)
