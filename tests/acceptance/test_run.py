"""``balsam run``: one job, here, with its output and its code."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from balsam.core.models import BalsamJob, EventLog, Session

from .conftest import BALSAM, PATIENCE_SECONDS, Site


def begin(site: Site, *words: str, cwd: Path | None = None, **options: Any) -> Any:
    """Start ``balsam run`` with pipes for stdout and stderr."""
    return subprocess.Popen(
        [*BALSAM, "run", *words],
        cwd=cwd or site.path,
        env=site.env,
        stdin=subprocess.DEVNULL,
        stdout=options.get("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def run(site: Site, *words: str, cwd: Path | None = None) -> tuple[int, bytes, str]:
    """Its code, stdout and stderr."""
    process = begin(site, *words, cwd=cwd)
    out, error = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, out, error.decode()


def last() -> BalsamJob:
    job: BalsamJob = BalsamJob.objects.latest("id")
    return job


def test_the_output_and_the_code_are_those_of_the_command(site: Site) -> None:
    assert run(site, "--", "echo", "hello", "two  words") == (0, b"hello two  words\n", "")
    job = last()
    assert (job.workflow, job.name, job.state) == ("run", "echo", states.JOB_FINISHED)
    assert site.output("echo") == "hello two  words\n"
    code, out, error = run(site, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (code, out, error) == (3, b"out\nerr\n", "")
    assert (last().state, last().return_code) == (states.FAILED, 3)
    site.check_clean()


def test_without_a_stdout_it_runs_all_the_same(site: Site) -> None:
    for words, told in (("run -- echo hello", ""), ("ls", ""), ("ls --nonsense", "--nonsense")):
        line = f"exec {shlex.join(BALSAM)} {words} >&-"
        done = subprocess.run(
            ["/bin/sh", "-c", line], cwd=site.path, env=site.env, capture_output=True, text=True,
            timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        assert done.returncode == (2 if told else 0), done.stderr
        assert (told in done.stderr) if told else (done.stderr == ""), (words, done.stderr)
    assert site.output("echo") == "hello\n"
    site.check_clean()


def test_it_runs_in_this_directory_and_leaves_nothing_there(site: Site, tmp_path: Path) -> None:
    here = tmp_path / "some where"
    here.mkdir()
    program = here / "a.out"
    program.write_text('#!/bin/sh\npwd; echo "$@"; echo made > result.txt\n')
    program.chmod(0o755)
    site.env["BALSAM_DB_PATH"] = str(site.path)
    code, out, _ = run(site, "./a.out", "--name", "-x", cwd=here)
    assert (code, out.decode()) == (0, f"{here}\n--name -x\n")
    assert sorted(os.listdir(here)) == ["a.out", "result.txt"]
    assert (Path(last().working_directory) / "a.out.out").read_bytes() == out


def test_binary_output_is_complete_to_the_last_byte(site: Site) -> None:
    text = "import os; d = bytes(range(256)) * 8192; [os.write(1, d) for _ in range(8)]"
    code, out, _ = run(site, sys.executable, "-c", text)
    assert code == 0
    assert out == bytes(range(256)) * 8192 * 8


def test_output_comes_while_the_command_runs(site: Site) -> None:
    process = begin(site, "sh", "-c", "echo first; read x < gate; echo $x")
    os.mkfifo(site.path / "gate")
    assert process.stdout.readline() == b"first\n"
    assert site.state("sh") in (states.RUNNING, states.PREPROCESSED)
    (site.path / "gate").write_text("second\n")
    assert process.communicate(timeout=PATIENCE_SECONDS) == (b"second\n", b"")


def test_a_signal_is_told_by_the_code(site: Site) -> None:
    code, out, error = run(site, "sh", "-c", "kill -SEGV $$")
    assert (code, out) == (139, b"")
    assert "ended with signal 11 (SIGSEGV)." in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("no-such-program",), "The program 'no-such-program' is not in any directory of PATH"),
        (("./missing",), "The program './missing' can not be run: it is not there."),
        (("-n", "2", "true"), "asks for 2 nodes; this launcher has 1"),
        (("--gpus-per-rank", "1", "true"), "asks for 1 GPU per node; the node has 0 (if there"),
    ],
)
def test_what_can_not_be_started_is_said_in_one_sentence(
    site: Site, words: tuple[str, ...], message: str
) -> None:
    code, out, error = run(site, *words)
    assert (code, out) == (1, b"")
    assert message in error
    assert len(error.splitlines()) == 1
    assert last().state == states.FAILED
    site.check_clean()


def batch_job(site: Site, seconds: float = 3600.0) -> None:
    """Be on the only node of a batch job that ends so soon."""
    ends = str(int(time.time() + seconds))
    site.env.update(
        SLURM_JOB_ID="7", SLURM_JOB_NODELIST=socket.gethostname(), SLURM_JOB_END_TIME=ends
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-n", "2", "true"), "asks for 2 nodes; this launcher has 1"),
        (("--gpus-per-rank", "1", "true"), "asks for 1 GPU per node; the node has 0 (if there"),
    ],
)
def test_what_a_batch_job_can_never_give_is_said_at_once(
    site: Site, words: tuple[str, ...], message: str
) -> None:
    """It was left to a larger batch job, and waited for until the end of this one."""
    batch_job(site)
    code, out, error = run(site, *words)
    assert (code, out) == (1, b"")
    assert message in error
    assert len(error.splitlines()) == 1
    assert last().state == states.FAILED
    site.check_clean()


def test_what_may_take_longer_than_its_batch_job_is_started(site: Site) -> None:
    """By its wall time, or by what its application has taken."""
    site.app("slow", "/bin/true")
    assert run(site, "--app", "slow")[0] == 0
    measured = EventLog.objects.get(to_state=states.RUN_DONE)
    measured.data["wall_seconds"] = 7200.0
    measured.save()
    batch_job(site)
    for words in (("--app", "slow"), ("--wall-time-minutes", "90", "true")):
        assert run(site, *words) == (0, b"", "")
    site.all_finished()


def test_the_end_of_its_batch_job_ends_it(site: Site) -> None:
    batch_job(site, 10.0)
    words = ("--wall-time-minutes", "90", "sh", "-c", "echo begun; exec sleep 600")
    code, out, error = run(site, *words)
    assert (code, out) == (143, b"begun\n")
    assert "its time limit is reached" in error
    assert site.end("sh").data["cause"] == states.BATCH_TIME_LIMIT
    site.check_clean()


def test_without_an_mpirun_it_is_not_added(site: Site) -> None:
    site.settings(mpirun="/bin/true")
    code, out, error = run(site, "--ranks-per-node", "2", "true")
    assert (code, out) == (1, b"")
    assert "/bin/true" in error
    assert len(error.splitlines()) == 1
    assert not BalsamJob.objects.exists()
    site.check_clean()


def test_ranks_are_run_by_mpirun(site: Site) -> None:
    code, out, _ = run(site, "--ranks-per-node", "2", "--", "echo", "rank")
    assert (code, out) == (0, b"rank\nrank\n")


def test_a_time_limit_ends_it(site: Site) -> None:
    code, _, error = run(site, "--time-limit-minutes", "0.005", "sleep", "600")
    assert code == 143
    assert "took longer than 0.005 minutes" in error
    assert last().state == states.FAILED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_kills_the_job_and_says_so(site: Site, number: int) -> None:
    script = "echo started; trap 'echo bye; exit 0' TERM; sleep 600 & wait"
    process = begin(site, "sh", "-c", script)
    assert process.stdout.readline() == b"started\n"
    process.send_signal(number)
    out, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 128 + number
    assert out == b"bye\n"
    assert error.decode() == f"Job 1 {last().cute_id} was killed.\n"
    assert last().state == states.USER_KILLED
    assert site.end("sh").data["cause"] == states.KILLED
    site.check_clean()


def test_a_second_interrupt_does_not_wait(site: Site) -> None:
    site.settings(stop_grace_seconds=600)
    process = begin(site, "sh", "-c", "trap '' TERM; echo started; while :; do sleep 1; done")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    site.until_state("sh", states.USER_KILLED)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    site.check_clean()


def test_an_interrupt_in_a_script_of_the_application_ends_that(site: Site) -> None:
    site.app("slow", "/bin/true", preprocess="sh -c 'touch here; sleep 600'")
    process = begin(site, "--app", "slow")
    site.until((site.path / "here").exists, "the script runs")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert last().state == states.USER_KILLED
    site.check_clean()


def test_a_reader_who_leaves_ends_it(site: Site) -> None:
    reader, writer = os.pipe()
    process = begin(site, "yes", stdout=writer)
    os.close(writer)
    assert os.read(reader, 2) == b"y\n"
    os.close(reader)
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, error) == (141, b"")
    assert last().state == states.USER_KILLED
    site.check_clean()


def test_another_who_kills_it_is_reported(site: Site) -> None:
    process = begin(site, "sh", "-c", "echo started; exec sleep 600")
    process.stdout.readline()
    site.balsam("kill --yes sh")
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 143
    assert error.decode() == f"Job 1 {last().cute_id} was killed.\n"


def test_removing_it_ends_it(site: Site) -> None:
    process = begin(site, "sh", "-c", "echo started; exec sleep 600")
    process.stdout.readline()
    last().delete()
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, error) == (1, b"Job 1 was removed while it ran.\n")


def test_an_application_runs_here_with_its_scripts(site: Site) -> None:
    site.app(
        "app", "cat", preprocess="sh -c 'echo made > in.txt; echo pre'", postprocess="sh -c pwd"
    )
    code, out, _ = run(site, "--app", "app", "in.txt")
    assert (code, out) == (0, b"made\n")
    job = last()
    logs = {name: (Path(job.working_directory) / name).read_text() for name in
            ("preprocess.log", "postprocess.log")}  # fmt: skip
    assert logs["preprocess.log"].endswith("pre\n")
    assert logs["postprocess.log"].endswith(f"{site.path}\n")
    assert not list(site.path.glob("*process.log"))
    assert (job.application, job.args) == ("app", "in.txt")
    site.check_clean()


def test_a_script_that_fails_is_named(site: Site) -> None:
    site.app("app", "/bin/true", postprocess="sh -c 'exit 9'")
    code, _, error = run(site, "--app", "app")
    assert code == 1
    assert "failed: postprocess 'sh -c 'exit 9'' ended with exit code 9" in error


def test_a_running_launcher_does_not_come_between(site: Site) -> None:
    site.app("app", "sh -c 'echo run $BALSAM_SESSION'", preprocess="printenv BALSAM_SESSION",
             postprocess="printenv BALSAM_SESSION")  # fmt: skip
    launcher = site.start("--consume-all", "--persistent")
    site.until(lambda: Session.objects.filter(kind="launcher").exists(), "the launcher is there")
    processes = [begin(site, "--app", "app") for _ in range(4)]
    for process in processes:
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
        session = out.decode().split()[1]
        assert Session.objects.get(pk=session.rpartition(":")[2]).kind == "run"
    for job in BalsamJob.objects.all():
        texts = [path.read_text() for path in sorted(Path(job.working_directory).iterdir())]
        sessions = {text.split()[-1] for text in texts}
        assert len(texts) == 3
        assert len(sessions) == 1, texts
    launcher.process.terminate()
    launcher.wait()
    site.all_finished()
    site.check_clean()


def test_a_killed_run_leaves_its_job_to_the_next_launcher(site: Site) -> None:
    script = 'echo ran $BALSAM_ATTEMPT >> "$RUNS"; [ $BALSAM_ATTEMPT = 2 ] || sleep 600'
    process = begin(site, "sh", "-c", script)
    site.until(lambda: site.ran() and site.state("sh") == states.RUNNING, "it runs")
    process.kill()
    process.communicate()
    site.launch()
    assert site.ran() == ["ran 1", "ran 2"]
    site.all_finished()
    site.check_clean()


def test_it_leaves_other_jobs_alone(site: Site) -> None:
    site.job("other")
    assert run(site, "true")[0] == 0
    assert site.state("other") == states.CREATED


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Say what to run"),
        (("--nosuch", "x"), "There is no option --nosuch"),
        (("-n", "0", "x"), "0 is not from 1 to"),
    ],
)
def test_bad_calls_add_nothing(site: Site, words: tuple[str, ...], message: str) -> None:
    code, out, error = run(site, *words)
    assert (code, out) == (2, b"")
    assert message in error
    assert not BalsamJob.objects.exists()


def test_an_unknown_application_adds_nothing(site: Site) -> None:
    code, _, error = run(site, "--app", "nosuch", "x")
    assert code == 1
    assert "No application 'nosuch' is registered" in error
    assert not BalsamJob.objects.exists()
    site.check_clean()


def test_a_suspended_run_says_where_its_job_went(site: Site) -> None:
    site.settings(lease_seconds=1, heartbeat_seconds=0.2)
    script = 'echo $BALSAM_ATTEMPT >> "$RUNS"; [ $BALSAM_ATTEMPT = 2 ] || sleep 600'
    process = begin(site, "sh", "-c", script)
    site.until(lambda: site.ran() and site.state("sh") == states.RUNNING, "it runs")
    process.send_signal(signal.SIGSTOP)
    launcher = site.start("--consume-all", "--persistent")
    site.until_state("sh", states.JOB_FINISHED)
    process.send_signal(signal.SIGCONT)
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "its job was given to another launcher; 'balsam logs -f 1' follows it" in error.decode()
    assert site.ran() == ["1", "2"]
    launcher.process.terminate()
    launcher.wait()
    site.check_clean()
