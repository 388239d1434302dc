"""Several hosts and containers that see one project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from balsam.conf.postgres import address, record, server
from balsam.conf.project import Project
from balsam.errors import ServerError, ServerStopped
from tests.machine.postgres.conftest import PATIENCE_SECONDS, PYTHONPATH, ask, pid_of

pytestmark = pytest.mark.server

CALL = """
import sys
from pathlib import Path
from balsam.conf.postgres import address, server, status
from balsam.conf.project import Project
from balsam.errors import ServerError
project = Project(Path(sys.argv[1]))
try:
    if sys.argv[2] == "take-over":
        server.start(project, take_over=True)
    elif sys.argv[2] == "status":
        print(status.status(project).where)
    elif sys.argv[2] == "host":
        print(address.parameters(project)["host"])
    else:
        getattr(server, sys.argv[2])(project)
except ServerError as error:
    print(error)
else:
    print("done")
"""

#: What a shell does in the new namespaces before the program: another boot, another name.
OTHER_MACHINE = (
    'mount --bind "$BOOT" /proc/sys/kernel/random/boot_id; hostname elsewhere; exec "$@"'
)


def elsewhere(project: Project, act: str, tmp_path: Path, machine: bool) -> str:
    """What ``act`` says in another container of this machine, or on (what seems) another one."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("root may make containers")
    boot = tmp_path / "boot_id"
    boot.write_text("11111111-2222-3333-4444-555555555555\n")
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--uts"]
    if machine:
        words += ["sh", "-c", OTHER_MACHINE, "sh"]
    done = subprocess.run(
        [*words, sys.executable, "-c", CALL, str(project.path), act],
        env={**os.environ, "PYTHONPATH": PYTHONPATH, "BOOT": str(boot)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_container_uses_the_server_and_leaves_it_alone(
    project: Project, tmp_path: Path
) -> None:
    server.start(project)
    pid = pid_of(project)
    assert elsewhere(project, "host", tmp_path, False) == f"{project.database_dir}\ndone\n"
    assert elsewhere(project, "connect", tmp_path, False) == "done\n"
    assert elsewhere(project, "status", tmp_path, False).startswith("elsewhere")
    for act in ("stop", "reset"):
        assert "can be stopped only there" in elsewhere(project, act, tmp_path, False)
    assert "still lives" in elsewhere(project, "take-over", tmp_path, False)
    assert pid_of(project) == pid
    assert ask(project, "SELECT 1") == [(1,)]


def test_another_machine_never_starts_a_second_one(project: Project, tmp_path: Path) -> None:
    told = server.start(project)
    for act in ("host", "ensure", "start"):
        said = elsewhere(project, act, tmp_path, True)
        assert said.startswith(f"The database server of {project.path} runs on {told.host} and is")
        assert "type 'balsam server restart --listen auto' there" in said
    assert "still lives" in elsewhere(project, "take-over", tmp_path, True)
    assert pid_of(project) == told.pid
    server.restart(project, "127.0.0.1")
    assert elsewhere(project, "host", tmp_path, True) == "127.0.0.1\ndone\n"
    assert elsewhere(project, "connect", tmp_path, True) == "done\n"


def test_after_a_clean_stop_any_machine_may_start_it(project: Project, tmp_path: Path) -> None:
    server.start(project)
    server.stop(project)
    # The server ends with the container that it was started in: as if the power went.
    assert elsewhere(project, "start", tmp_path, True) == "done\n"
    told = record.read(project)
    assert told is not None
    assert told.host == "elsewhere"
    assert server.ensure(project)
    assert ask(project, "SELECT 1") == [(1,)]


def test_a_machine_that_was_started_again(project: Project) -> None:
    """Its number is another one, its name is not; the record of before is no reason to wait."""
    told = server.start(project)
    server.stop(project)
    for before in (told, replace(told, address="127.0.0.1", port=1)):
        record.write(project, replace(before, machine="an-earlier-boot:1"))
        if not before.address:
            with pytest.raises(ServerStopped):
                address.parameters(project)
        assert server.ensure(project)
        assert ask(project, "SELECT 1") == [(1,)]
        server.stop(project)


def test_a_claim_of_another_host_on_shared_files_is_respected(project: Project) -> None:
    """Where locks of other hosts are not seen, nothing but the record tells."""
    told = server.start(project)
    server.stop(project)
    gone = replace(told, machine="another-boot:1", host="no-such-host")
    assert "runs on no-such-host and is reached only there" in server.elsewhere(project, gone)
    assert "does not answer at 10.0.0.1 port 5432" in server.elsewhere(
        project, replace(gone, address="10.0.0.1")
    )
    assert isinstance(ServerStopped("x"), ServerError)
