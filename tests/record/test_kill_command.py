"""``balsam kill`` while others end the same jobs."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from balsam import states
from balsam.cli.kill import command
from balsam.core.models import ApplicationDefinition, BalsamJob


@pytest.mark.parametrize(("counted", "words"), [(1, "it has just ended"), (2, "all ended")])
def test_what_somebody_else_ends_meanwhile_is_not_there_to_kill(
    app: ApplicationDefinition, monkeypatch: pytest.MonkeyPatch, counted: int, words: str
) -> None:
    job = BalsamJob.objects.create(name="a", application="echo")
    BalsamJob.objects.all().kill()
    monkeypatch.setattr(type(BalsamJob.objects.all()), "count", lambda self: counted)
    done = CliRunner().invoke(command, [str(job.pk), "--yes"], catch_exceptions=False)
    assert done.output == f"Nothing to kill: {words}\n"
    assert done.exit_code == 0
    job.refresh_from_db()
    assert job.state == states.USER_KILLED
