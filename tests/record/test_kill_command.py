"""``balsam kill`` and ``balsam rm`` while others end or remove the same jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from django.db import connection

from balsam import states
from balsam.cli.kill import command as kill
from balsam.cli.remove import command as remove
from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.errors import RecordError


def before(text: str, first: Callable[[], Any], number: int = 1) -> Any:
    """A block in which ``first`` is done before statement ``number`` with ``text``."""
    left = [first, *[int] * (number - 1)]

    def meddle(execute: Any, sql: str, *rest: Any) -> Any:
        if left and text in sql:
            left.pop()()
        return execute(sql, *rest)

    return connection.execute_wrapper(meddle)


@pytest.mark.parametrize(("number", "words"), [(1, "it has just ended"), (2, "all ended")])
def test_what_somebody_else_ends_meanwhile_is_not_there_to_kill(
    app: ApplicationDefinition, number: int, words: str
) -> None:
    jobs = [BalsamJob.objects.create(name="a", application="echo") for _ in range(number)]
    with before("COUNT(*)", lambda: BalsamJob.objects.all().kill(), 2):
        done = CliRunner().invoke(
            kill, [*(str(job.pk) for job in jobs), "--yes"], catch_exceptions=False
        )
    assert (done.output, done.exit_code) == (f"Nothing to kill: {words}\n", 0)
    for job in jobs:
        job.refresh_from_db()
        assert job.state == states.USER_KILLED


def test_what_somebody_else_removes_meanwhile_is_told(app: ApplicationDefinition) -> None:
    job = BalsamJob.objects.create(name="a", application="echo")
    with (
        before("balsam_job.id", lambda: BalsamJob.objects.all().remove()),
        pytest.raises(RecordError, match=r"^Job \[a \| .*\] went or began to run meanwhile"),
    ):
        CliRunner().invoke(remove, ["jobs", str(job.pk), "--yes"], catch_exceptions=False)
