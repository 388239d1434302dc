"""Hooks and staging that fail are tried again by rule, whether or not their launcher lives on."""

from __future__ import annotations

import shlex
import signal
import sys
from datetime import datetime
from pathlib import Path

import pytest

from balsam import states

from .conftest import PROGRAMS, Site


def third_time(code: int = 3) -> str:
    """A hook that fails twice, and tells $RUNS of each try."""
    script = f'echo try >> "$RUNS"; echo >> tries; [ $(wc -l < tries) -ge 3 ] || exit {code}'
    return f"/bin/sh -c {shlex.quote(script)}"


def check_pauses(site: Site, name: str, number: int) -> None:
    """Each failed try but the last tells when the next may begin, and no later event is earlier."""
    events = list(site.named(name).events.order_by("id"))
    waits = [i for i, event in enumerate(events) if event.from_state == event.to_state]
    assert len(waits) == number, site.diagnosis()
    for retry, place in enumerate(waits, 1):
        data = events[place].data
        until = datetime.fromisoformat(data["not_before"])
        assert data["retry"] == retry
        assert events[place + 1].timestamp >= until


@pytest.mark.parametrize(
    ("moment", "state"),
    [("preprocess", states.STAGED_IN), ("postprocess", states.RUN_DONE)],
)
def test_a_hook_that_fails_twice_and_then_works(site: Site, moment: str, state: str) -> None:
    """Its launcher waits for longer than it would for other work, and nothing waits for it."""
    site.settings(num_workers=1, idle_exit_seconds=0.1)
    site.job("job", retry="hook=2:0.4s", **{moment: third_time()})
    site.job("next", preprocess="/bin/true")
    site.launch()
    site.all_finished()
    assert site.ran() == 3 * ["try"]
    check_pauses(site, "job", 2)
    assert site.path_of("job").count(state) == site.path_of("job").count(states.RUNNING) == 1
    assert site.named("job").return_code == 0
    tries = [event for event in site.ends("job") if event.data["cause"] == states.HOOK]
    assert site.named("next").state_timestamp < datetime.fromisoformat(tries[-1].data["not_before"])
    site.check_clean()


def test_a_handler_that_fails_is_called_again_to_handle(site: Site) -> None:
    script = '[ -f tried ] || { touch tried; exit 4; }; [ "$BALSAM_JOB_ERROR" ] || exit 5'
    site.shell(
        "job", "exit 7", retry="hook=1", post_error_handler=True,
        postprocess=f"/bin/sh -c {shlex.quote(script)}",
    )  # fmt: skip
    site.launch()
    first, second = (end.message for end in site.ends("job")[-2:])
    assert "exit code 4" in first and "retry 1 of 1" in first
    assert "without setting a state" in second and "the retry for hook is used up" in second
    assert site.state("job") == states.FAILED


def test_a_handler_that_set_a_state_before_it_failed_is_not_called_again(site: Site) -> None:
    words = [sys.executable, str(PROGRAMS / "set_state.py"), states.RESTART_READY, "5"]
    site.shell(
        "job", "exit 7", retry="hook=3", post_error_handler=True, postprocess=shlex.join(words)
    )
    site.launch()
    assert site.state("job") == states.FAILED
    _, end = site.ends("job")
    assert "exit code 5" in end.message and "used up" not in end.message
    site.check_clean()


def test_a_stage_in_whose_source_comes_later(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "later" / "in.txt"
    site.shell("job", "cat in.txt", stage_in_url=str(source), retry="staging=60:0.2s")
    launcher = site.start()
    site.until(lambda: site.ends("job"), "it fails once")
    source.parent.mkdir()
    source.write_text("here at last\n")
    launcher.wait()
    site.all_finished()
    assert site.output("job") == "here at last\n"
    site.check_clean()


def test_limits_that_are_used_up(site: Site) -> None:
    site.job("hook", postprocess="/bin/sh -c 'exit 5'", retry="hook=2:0.1s")
    site.job("staging", stage_in_url="/no/such/directory", retry="staging=1")
    site.job("child", parents=[site.named("hook")])
    site.job("other", preprocess="/bin/false", retry="staging=9")
    Path(site.path, "data", "blocked").write_text("no directory")
    site.job("blocked", workflow="blocked", retry="staging=1:0.1s")
    site.launch()
    for name, number, words in (
        ("hook", 2, "exit code 5; its output is in"),
        ("staging", 1, "/no/such/directory"),
        ("blocked", 1, "can not be made"),
    ):
        *tries, end = (event for event in site.ends(name) if event.from_state != states.RUNNING)
        assert len(tries) == number, site.diagnosis()
        assert site.state(name) == end.to_state == states.FAILED
        assert words in end.message and "used up" in end.message
    assert site.state("child") == states.FAILED
    assert site.named("blocked").attempt == 0
    assert "used up" not in site.end("other").message and len(site.ends("other")) == 1
    site.check_clean()


def test_a_work_directory_that_can_be_made_later(site: Site) -> None:
    blocked = Path(site.path, "data", "blocked")
    blocked.write_text("no directory")
    site.job("blocked", workflow="blocked", retry="staging=60:0.2s")
    launcher = site.start()
    site.until(lambda: site.ends("blocked"), "it fails once")
    blocked.unlink()
    launcher.wait()
    site.all_finished()
    assert site.named("blocked").attempt == 1
    site.check_clean()


def test_a_launcher_killed_between_tries_and_within_one_keeps_the_count(site: Site) -> None:
    last = '[ ! -f slow ] || { touch here; exec sleep 600; }; echo try >> "$RUNS"; exit 3'
    site.job("job", preprocess=f"/bin/sh -c {shlex.quote(last)}", retry="hook=2:0.5s")
    launcher = site.start()
    site.until(lambda: site.ends("job"), "it fails once")
    work = Path(site.named("job").working_directory)
    (work / "slow").touch()
    launcher.signal(signal.SIGKILL)
    launcher.wait(-signal.SIGKILL)
    launcher = site.start()
    # A try that is interrupted is none.
    site.until((work / "here").exists, "the second try begins")
    launcher.signal(signal.SIGKILL)
    launcher.wait(-signal.SIGKILL)
    (work / "slow").unlink()
    site.launch()
    assert site.state("job") == states.FAILED
    assert "the 2 retries for hook are used up" in site.end("job").message
    assert site.ran() == 3 * ["try"]
    check_pauses(site, "job", 2)
    site.check_clean()
