"""``balsam logs`` and ``balsam log``: what jobs and launchers have written, and write."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from tests.tools import prepared

from .conftest import BALSAM, PATIENCE_SECONDS, PROGRAMS, Site


class Reader:
    """A ``balsam`` command whose stdout goes to a file."""

    def __init__(self, site: Site, *words: str) -> None:
        self.site = site
        self.screen = site.home / f"reader-{time.monotonic_ns()}"
        with self.screen.open("wb") as screen:
            self.process: Any = subprocess.Popen(
                [*BALSAM, *words], cwd=site.path, env=site.env, stdin=subprocess.DEVNULL,
                stdout=screen, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip

    def until(self, text: str) -> None:
        self.site.until(lambda: text in self.screen.read_text(), f"it shows {text!r}")

    def end(self, code: int = 0) -> str:
        """What it printed, once it has ended with ``code``."""
        _, error = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode == code, error
        return self.screen.read_text()


@pytest.fixture
def readers() -> Iterator[list[Reader]]:
    started: list[Reader] = []
    yield started
    for reader in started:
        reader.process.kill()
        reader.process.wait()


def balsam(site: Site, *words: str, code: int = 0) -> tuple[bytes, str]:
    done = prepared.run(words, cwd=site.path, env=site.env, timeout=PATIENCE_SECONDS)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr.decode()


def three_attempts(site: Site) -> None:
    """A job that fails twice and is sent again by its script."""
    again = shlex.join([sys.executable, str(PROGRAMS / "set_state.py"), states.RESTART_READY])
    site.shell(
        "job",
        "echo attempt $BALSAM_ATTEMPT; [ $BALSAM_ATTEMPT = 3 ]",
        postprocess=f"sh -c 'test \"$BALSAM_JOB_ERROR\" = TRUE && {again} || echo ok'",
        post_error_handler=True,
    )


def test_one_job_is_printed_as_it_is(site: Site) -> None:
    text = "import os; os.write(1, bytes(range(256)) * 1000)"
    site.job("bytes", shlex.join([sys.executable, "-c", text]))
    site.launch()
    assert balsam(site, "logs", "bytes") == (bytes(range(256)) * 1000, "")
    assert balsam(site, "logs", "--id", "1", "--tail", "1")[0] == bytes(range(11, 256))


def test_several_are_told_apart(site: Site) -> None:
    site.shells(["a", "b"], "echo $BALSAM_ATTEMPT; echo last")
    site.launch()
    out = b"==> a 1 attempt 1 <==\n1\nlast\n\n==> b 2 attempt 1 <==\n1\nlast\n"
    assert balsam(site, "logs", "--wf", "w") == (out, "")
    out = b"==> a 1 attempt 1 <==\nlast\n\n==> b 2 attempt 1 <==\nlast\n"
    assert balsam(site, "logs", "a", "b", "--tail", "1") == (out, "")


def test_attempts_and_scripts(site: Site) -> None:
    three_attempts(site)
    site.launch()
    site.all_finished()
    assert balsam(site, "logs", "job")[0] == b"attempt 3\n"
    for number in (1, 2, 3):
        out = f"attempt {number}\n".encode()
        assert balsam(site, "logs", "job", "--attempt", str(number))[0] == out
    _, error = balsam(site, "logs", "job", "--attempt", "4", code=1)
    assert "has no output of attempt 4; there is output of attempt 1, 2, 3." in error
    out = balsam(site, "logs", "job", "--hooks")[0].decode()
    assert out.startswith("==> job 1 attempt 3 <==\nattempt 3\n\n==> job 1 attempt 3 postprocess")
    assert out.endswith("ok\n")
    paths = balsam(site, "logs", "job", "--hooks", "--path")[0].decode().split()
    workdir = Path(site.named("job").working_directory)
    assert paths == [str(workdir / "job.out"), str(workdir / "postprocess.log")]


def test_without_output_the_state_is_told(site: Site) -> None:
    site.job("new")
    site.job("child", parents=[site.named("new")])
    site.job("broken", "/no/such/program")
    _, error = balsam(site, "logs", "new", code=1)
    assert "has no output yet: it is CREATED (no launcher has run it yet)." in error
    site.launch()
    _, error = balsam(site, "logs", "broken", code=1)
    assert "it is FAILED (The program '/no/such/program' can not be run" in error
    out, error = balsam(site, "logs", "broken", "child")
    assert out == b"==> child 2 attempt 1 <==\n"
    assert len(error.splitlines()) == 1


def test_an_output_that_is_gone_is_not_said_to_come_yet(site: Site) -> None:
    site.shell("job", "true")
    site.launch()
    Path(site.named("job").working_directory, "job.out").unlink()
    _, error = balsam(site, "logs", "job", code=1)
    assert error.endswith(" has no output any more: its file is not there.\n")


def test_not_all_reasons_of_many_jobs_are_told(site: Site) -> None:
    site.shells([f"j{number}" for number in range(13)], "true")
    _, error = balsam(site, "logs", "--wf", "w", code=1)
    assert len(error.splitlines()) == 11
    assert error.endswith("... and 3 more jobs have no output.\n")


def test_nothing_is_selected(site: Site) -> None:
    assert "Say which jobs" in balsam(site, "logs", code=2)[1]
    assert balsam(site, "logs", "--wf", "none") == (b"", "No jobs found matching query\n")
    assert "No job has the id or the name 'none'" in balsam(site, "logs", "none", code=1)[1]
    assert "leave out the other" in balsam(site, "logs", "x", "-f", "--attempt", "1", code=2)[1]


def test_a_running_job_is_followed_to_its_end(site: Site, readers: list[Reader]) -> None:
    site.shell("job", "echo first; until [ -e gate ]; do sleep 0.02; done; echo last")
    readers.append(Reader(site, "logs", "-f", "job"))
    launcher = site.start()
    readers[0].until("first\n")
    assert readers[0].process.poll() is None
    Path(site.named("job").working_directory, "gate").touch()
    launcher.wait()
    assert readers[0].end() == "first\nlast\n"


def test_each_attempt_is_followed_in_its_turn(site: Site, readers: list[Reader]) -> None:
    three_attempts(site)
    readers.append(Reader(site, "logs", "-f", "job"))
    site.launch()
    assert readers[0].end() == "attempt 1\nattempt 2\nattempt 3\n"


def test_several_are_followed_until_all_have_ended(site: Site, readers: list[Reader]) -> None:
    site.shells(["a", "b"], "echo begin; sleep 0.4; echo end")
    site.job("broken", "/no/such/program", workflow="w")
    readers.append(Reader(site, "logs", "-f", "--wf", "w"))
    site.launch()
    shown = readers[0].end()
    assert shown.count("begin\n") == shown.count("end\n") == 2
    assert "==> a 1 attempt 1 <==\n" in shown
    assert "==> b 2 attempt 1 <==\n" in shown


def test_following_a_job_that_never_prints(site: Site, readers: list[Reader]) -> None:
    site.job("broken", "/no/such/program")
    site.launch()
    _, error = balsam(site, "logs", "-f", "broken", code=1)
    assert "it is FAILED" in error
    assert len(error.splitlines()) == 1


def test_a_job_that_ends_without_a_word_is_told_of(site: Site, readers: list[Reader]) -> None:
    site.job("broken", "/no/such/program")
    readers.append(Reader(site, "logs", "-f", "broken"))
    reader = readers[0].process.stderr
    assert b"it is CREATED" in reader.readline()
    site.launch()
    assert b"it is FAILED" in reader.readline()
    assert readers[0].end(1) == ""


def test_an_interrupt_ends_the_view_only(site: Site, readers: list[Reader]) -> None:
    site.shell("job", "echo begin; sleep 600")
    launcher = site.start()
    readers.append(Reader(site, "logs", "-f", "job"))
    readers[0].until("begin")
    readers[0].process.send_signal(signal.SIGINT)
    assert readers[0].end(130) == "begin\n"
    assert site.state("job") == states.RUNNING
    launcher.process.terminate()
    launcher.wait()


@pytest.mark.parametrize("words", [("logs", "-f", "quiet"), ("log",)])
def test_it_ends_when_nobody_reads(site: Site, words: tuple[str, ...]) -> None:
    site.job("quiet", "/bin/true")
    site.launch()
    site.named("quiet").update_state(states.RESTART_READY)
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*BALSAM, *words], cwd=site.path, env=site.env, stdout=writer, stderr=subprocess.DEVNULL
    )
    os.close(writer)
    os.close(reader)
    assert process.wait(PATIENCE_SECONDS) == 141


# -- balsam log ---------------------------------------------------------------------------------


def test_the_ends_of_the_logs(site: Site) -> None:
    log = site.path / "log"
    (log / "a.log").write_text("1\n2\n3\n")
    (log / "b.log").write_bytes(b"x\xff\n")
    (log / "other.txt").write_text("no")
    out = b"==> a.log <==\n2\n3\n\n==> b.log <==\nx\xff\n"
    assert balsam(site, "log", "-n", "2", "--no-follow") == (out, "")


def test_no_log_yet(site: Site) -> None:
    assert "There is no log in" in balsam(site, "log", "--no-follow", code=1)[1]


def test_new_lines_and_new_files_are_followed(site: Site, readers: list[Reader]) -> None:
    log = site.path / "log"
    (log / "a.log").write_text("old\n")
    readers.append(Reader(site, "log"))
    readers[0].until("old\n")
    with (log / "a.log").open("a") as file:
        file.write("more\n")
    readers[0].until("old\nmore\n")
    (log / "b.log").write_text("begin\n")
    readers[0].until("\n==> b.log <==\nbegin\n")
    readers[0].process.send_signal(signal.SIGINT)
    assert readers[0].end(130) == "==> a.log <==\nold\nmore\n\n==> b.log <==\nbegin\n"
