"""The command line as people type it, in real processes on a real project."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.tools import prepared

BALSAM = [sys.executable, "-m", "balsam"]
ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class Shell:
    """A directory and an environment to type commands in; ``anew``: each by a start of Python."""

    def __init__(self, directory: Path, home: Path, *, anew: bool = False) -> None:
        self.anew = anew
        self.cwd = directory
        hidden = ("BALSAM", "COLUMNS", "TERM", "PYTHONUNBUFFERED")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        self.env.update(HOME=str(home), PYTHONPATH=str(ROOT), TERM="xterm")

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """A command away from any terminal; what hangs is ended with all it started."""
        words = shlex.split(line)
        if not self.anew and words[0] != "launcher":
            return prepared.run_text(words, cwd=self.cwd, env=self.env, timeout=PATIENCE_SECONDS)
        argv = [*BALSAM, *words]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(
                argv, cwd=self.cwd, env=self.env, stdin=subprocess.DEVNULL, stdout=out,
                stderr=err, start_new_session=True,
            )  # fmt: skip
            code = waited(process, line)
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(argv, code, out.read(), err.read())

    def ok(self, line: str) -> str:
        done = self.run(line)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def refused(self, line: str, code: int = 1) -> str:
        """The one sentence that a refused command says."""
        done = self.run(line)
        assert done.returncode == code, f"{line}: {done.stdout}{done.stderr}"
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr.strip()

    def typed(self, line: str, *answers: str) -> tuple[int, str]:
        """Exit code and screen of a command on a terminal, where ``answers`` are typed."""
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [*BALSAM, *shlex.split(line)],
            cwd=self.cwd, env=self.env, stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        screen = ""
        left = list(answers)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up:
            if not select.select([master], [], [], 1.0)[0]:
                continue
            try:
                read = os.read(master, 4096)
            except OSError as error:
                assert error.errno == errno.EIO
                break
            if not read:
                break
            screen += read.decode()
            if left and screen.rstrip(" ").endswith("[y/n]:"):
                os.write(master, left.pop(0).encode() + b"\n")
        os.close(master)
        return waited(process, f"{line}: {screen}"), screen.replace("\r\n", "\n")


def waited(process: subprocess.Popen[bytes], what: str) -> int:
    try:
        return process.wait(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise AssertionError(f"still running after {PATIENCE_SECONDS} s: {what}") from None


def hello_project(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path, tmp_path)
    said = shell.ok("init campaign")
    assert said.startswith(f"Successfully created Balsam DB at: {tmp_path}/campaign\n")
    assert "cd campaign" in said
    shell.cwd = tmp_path / "campaign"
    (shell.cwd / "hello.py").write_text("print('hello')\n")
    shell.ok("app --exec hello.py --name hello --desc 'say hello and fail'")
    return shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return hello_project(tmp_path)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A project for commands that change nothing."""
    return hello_project(tmp_path_factory.mktemp("unchanged"))


def only_job(shell: Shell) -> dict[str, object]:
    (record,) = json.loads(shell.ok("ls --json --verbose"))
    assert isinstance(record, dict)
    return record


def test_hello_world_as_printed(tmp_path: Path) -> None:
    shell = Shell(tmp_path, tmp_path, anew=True)
    shell.ok("init .")
    (tmp_path / "hello.py").touch()
    assert shell.ok("app --exec hello.py --name hello --desc 'say hello and fail'") == (
        "Application 1:\n"
        "-----------------------\n"
        "name:                           hello\n"
        "description:                    say hello and fail\n"
        f"executable:                     {sys.executable} {tmp_path}/hello.py\n"
        "preprocess:\n"
        "envscript:\n"
        "postprocess:\n"
        "Added app to database\n"
    )
    said = shell.ok(
        "job --name test --app hello --num-nodes 1 --ranks-per 4 --workflow SDL --wall-minutes 1"
    )
    assert re.match(rf"BalsamJob {UUID}\n-{{46}}\n", said)
    assert "ranks_per_node:                 4\n" in said
    assert re.search(r"\nAdded job 1 \[test \| [0-9a-f]{8}\] to database\n$", said)
    listed = shell.ok("ls").splitlines()
    assert re.fullmatch(r" +job_id \| name \| workflow \| application \| +state", listed[0])
    assert listed[1] == "-" * len(listed[0])
    assert re.fullmatch(rf"{UUID} \| test \| SDL      \| hello       \| CREATED", listed[2])
    assert re.search(
        rf"^Job test \[{UUID}\]\n-{{48}}\n\[\d\d-\d\d-\d{{4}} [\d:.]+ CREATED\]\n\n$",
        shell.ok("ls --hist"),
    )


def test_the_commands_of_the_other_talk(shell: Shell) -> None:
    (shell.cwd / "myapp.py").touch()
    shell.ok('app --name myapp --desc "my application" --exec myapp.py')
    shell.ok(
        "job --name myjob --workflow balsam_tutorial --application myapp "
        "--wall-min 60 --num-nodes 8 --ranks-per-node 1"
    )
    job = only_job(shell)
    assert (job["wall_time_minutes"], job["num_nodes"]) == (60, 8)
    assert shell.ok("ls \u2014by-states") == "         CREATED  1\n"
    assert shell.ok("ls --state JOB_FINISHED") == "No jobs found matching query\n"
    assert shell.ok(f"rm jobs --id {job['job_id']} --force") == "Deleted.\n"
    assert shell.ok("ls") == "No jobs found matching query\n"


def test_words_reach_the_job_as_they_were(shell: Shell) -> None:
    shell.ok(
        "job --name a --workflow w --app hello --args -n 5 'a  b' --desc what it is "
        "--env URL=http://h:80 --env B=2 --post_handle_error --disable_auto_timeout_retry "
        "--tag kind=small --tag at=x=1 --priority -3"
    )
    job = only_job(shell)
    assert (job["tags"], job["priority"]) == ({"kind": "small", "at": "x=1"}, -3)
    assert shlex.split(str(job["args"])) == ["-n", "5", "a  b"]
    assert job["description"] == "what it is"
    assert job["environ_vars"] == {"URL": "http://h:80", "B": "2"}
    assert job["post_error_handler"] is True
    assert job["auto_timeout_retry"] is False
    assert job["input_files"] == "*"


def test_a_program_that_could_not_run_is_told_when_it_is_registered(shell: Shell) -> None:
    (shell.cwd / "bare.sh").write_text("echo hello\n")
    (shell.cwd / "bare.sh").chmod(0o755)
    (shell.cwd / "plain.sh").write_text("#!/bin/sh\n")
    (shell.cwd / "folder").mkdir()
    reasons = {
        "bare.sh": "names no interpreter (#!)",
        "plain.sh": "is not executable (chmod +x",
        "./folder": "is a directory",
        "nope": "neither a file here nor a program on PATH",
    }
    for number, (program, reason) in enumerate(reasons.items()):
        done = shell.run(f"app --name a{number} --exec {program}")
        assert done.returncode == 0 and reason in done.stderr, done.stderr
    assert shell.run("app --name fine --exec echo").stderr == ""


def test_a_terminal_is_asked_before_a_job_is_added(shell: Shell) -> None:
    line = "job --name a --workflow w --app hello"
    code, screen = shell.typed(line, "perhaps", "n")
    assert code == 0
    assert '[INFO]: The workflow "w" currently has 0 jobs in the database\n' in screen
    assert screen.count("Confirm adding job to DB [y/n]: ") == 2
    assert screen.endswith("Add job aborted\n")
    assert shell.ok("ls --json") == "[]\n"
    code, screen = shell.typed(line, "y")
    assert "Added job 1 [a | " in screen
    code, screen = shell.typed(line + " --yes")
    assert (code, "[y/n]" in screen) == (0, False)
    assert len(json.loads(shell.ok("ls --json"))) == 2


def test_destroying_asks_or_is_told(shell: Shell) -> None:
    for name in ("a1", "a2", "b"):
        shell.ok(f"job --name {name} --workflow w{name} --app hello")
    assert "add --yes" in shell.refused("rm jobs --all")
    assert "add --yes" in shell.refused("killjob --id 1")
    code, screen = shell.typed("rm jobs --name a*", "n")
    assert "PERMANENTLY remove 2 jobs? [y/n]: " in screen
    assert screen.endswith("Delete aborted\n")
    code, screen = shell.typed("rm jobs --name a* --wf-filter wa1", "y")
    assert re.search(r"PERMANENTLY remove job \[a1 \| \w{8}\]\? \[y/n\]: ", screen)
    assert screen.endswith("Deleted.\n")
    assert "1 have it in their name: --name '*a*'" in shell.refused("rm jobs --name a --force")
    assert "No jobs found" in shell.refused("rm jobs --name nothing --force")
    assert "--all" in shell.refused("rm jobs --name= --force", 2)
    assert "Say which jobs" in shell.refused("rm jobs --force", 2)
    assert "used by 2 job(s)" in shell.refused("rm app --name hello --force")
    shell.ok("rm job --all --force")
    shell.ok("rm apps --id hello --force")
    assert shell.ok("ls apps") == "No apps found matching query\n"


def test_the_task_graph_by_hand(shell: Shell) -> None:
    for name in ("top", "left", "bottom"):
        shell.ok(f"job --name {name} --workflow w --app hello")
    last = json.loads(shell.ok("ls --json"))[2]["job_id"]
    made = shell.ok(f"dep 1 {last[-8:]}")
    assert re.fullmatch(r"Created link \[top \| \w{8}\] --> \[bottom \| \w{8}\]\n", made)
    shell.ok("dep left bottom")
    shell.ok("job --name top --workflow other --app hello")
    assert "names more than one job" in shell.refused("dep top left")
    shell.ok("rm jobs 4 --yes")
    assert "cycle" in shell.refused("dep 3 1")
    assert [line.split("[")[0].rstrip() for line in shell.ok("ls --tree").splitlines()] == [
        "top", "|     bottom", "left", "|     bottom",
    ]  # fmt: skip
    code, screen = shell.typed("killjob --id 1", "y")
    assert re.search(r"Really kill job top \[top \| \w{8}\] \?\? \[y/n\]: ", screen)
    assert screen.endswith("Job killed\n")
    assert {job["state"] for job in json.loads(shell.ok("ls --json --state FAILED"))} == {"FAILED"}
    shell.ok("killjob --id 2 --recursive --yes")
    assert "has ended (USER_KILLED)" in shell.ok("killjob --id 2 --yes")
    assert "No job has the id '77'" in shell.refused("killjob --id 77 --yes")
    assert shell.ok("kill --wf w --yes").startswith("Nothing to kill: all of them")
    assert shell.ok("retry top left --yes") == (
        "2 jobs will be tried again\n1 that failed because of them will wait for them again\n"
    )
    assert shell.ok("ls --by-states") == "         CREATED  3\n"
    assert "is CREATED; only jobs that failed" in shell.refused("retry 1")
    assert "'abc'" in shell.refused("retry --all --set num_nodes=abc")
    assert "at least 1" in shell.refused("retry --all --set num_nodes=0")


def test_modify_in_both_forms(shell: Shell) -> None:
    shell.ok("job --name a --workflow w --app hello")
    assert shell.ok("modify 1 wall_time_minutes 7") == "job wall_time_minutes changed to:  7\n"
    shell.ok("modify jobs 1 --attr name --value b")
    shell.ok("modify 1 wait_for_parents False")
    shell.ok("modify 1 args -n 5")
    shell.ok("modify 1 data '{\"a\": [1]}'")
    assert shell.ok("modify hello description --type apps better words").endswith("better words\n")
    job = only_job(shell)
    assert (job["name"], job["wait_for_parents"], job["args"]) == ("b", False, "-n 5")
    assert job["data"] == {"a": [1]}
    assert "did you mean 'wall_time_minutes'" in shell.refused("modify 1 wall_time_minute 7")
    assert "at least 1" in shell.refused("modify 1 num_nodes -3")
    shell.ok("job --name c --workflow w --app hello")
    assert "add --yes" in shell.refused("modify --wf w num_nodes 5")
    assert shell.ok("modify --wf w num_nodes 5 --yes").startswith("num_nodes of 2 jobs changed")
    assert shell.ok("ls --columns num_nodes --csv") == "num_nodes\n5\n5\n"
    shell.ok("rm jobs c --force")
    assert "whole number" in shell.refused("modify 1 num_nodes many")
    shell.ok("modify 1 state USER_KILLED")
    assert shell.refused("modify 1 state READY") == "Cannot mutate state of a killed job."


def test_listings_for_programs_and_for_people(shell: Shell) -> None:
    for number in range(3):
        shell.ok(f"job --name j{number} --workflow exp{number % 2} --app hello")
    assert shell.ok("ls wf") == "Workflows\n---------\nexp0\nexp1\n"
    assert json.loads(shell.ok("ls wf --json"))[0] == {"workflow": "exp0", "jobs": 2}
    assert json.loads(shell.ok("ls --by-states --json")) == [{"state": "CREATED", "jobs": 3}]
    rows = list(csv.DictReader(io.StringIO(shell.ok("ls --csv --wf exp0"))))
    assert [row["name"] for row in rows] == ["j0", "j2"]
    assert json.loads(shell.ok("ls apps --json"))[0]["name"] == "hello"
    assert "history" in json.loads(shell.ok("ls --hist --json --limit 1"))[0]
    assert shell.ok("ls --limit 2").endswith("(1 more BalsamJobs not shown...)\n")
    assert "  *** Working directory:" in shell.ok("ls --verbose --name j1")
    assert shell.ok("ls j1 --columns id,name,num_nodes --csv") == "id,name,num_nodes\n2,j1,1\n"
    assert shell.ok("ls --order-by -id --columns name --csv") == "name\nj2\nj1\nj0\n"
    assert shell.ok("ls last --columns name --csv") == "name\nj2\n"
    assert "j1" in shell.ok("ls 'j[!02]'") and "j0" not in shell.ok("ls 'j[!02]'")
    assert "do not go together" in shell.refused("ls --by-states --history", 2)
    assert "An empty id" in shell.refused("ls --id ''")
    assert "goes with jobs only" in shell.refused("ls apps --tree", 2)
    assert "has no field 'colour'" in shell.refused("ls --columns colour")
    shell.env["BALSAM_LS_FIELDS"] = "wall_minutes:queued_launch__nodes"
    assert shell.ok("ls").splitlines()[0].endswith("wall_minutes | queued_launch__nodes")
    shell.env["BALSAM_LS_FIELDS"] = "colour"
    assert "BALSAM_LS_FIELDS" in shell.refused("ls")


def test_which_project(shell: Shell, tmp_path: Path) -> None:
    assert shell.ok("which").startswith(f"Current Balsam DB: {tmp_path}/campaign\n")
    shell.cwd = tmp_path
    assert shell.ok("which --name campaign") == f"{tmp_path}/campaign\n"
    assert shell.ok("which --list") == f"['{tmp_path}/campaign']\n"
    assert "balsam init" in shell.refused("ls")
    lost = shell.run("which")
    assert lost.returncode == 1
    assert "balsam init" in lost.stderr
    assert lost.stderr.endswith(f"Projects of yours:\n  {tmp_path}/campaign\n")
    assert "No project named 'nope'" in shell.refused("which --name nope")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("job --name x --workflow w --app helo", "did you mean 'hello'"),
        ("ls --state FINISHED", "did you mean 'JOB_FINISHED'"),
        ("app --name y --exec nope.py", "nope.py"),
        ("app --name hello --exec echo", "registered already"),
        ("app --name z --exec echo --env oops", "NAME=VALUE"),
        ("job --name x --workflow w --app hello --tag oops", "NAME=VALUE"),
        ("job --name x --workflow w --app hello --tag a=1 --tag a=2", "gives a two values"),
        ("init .", "already"),
        ("init other --db oracle", "Unknown database 'oracle'"),
        ("dep 1 2", "No job has the id or the name '1'"),
    ],
)
def test_refusals_are_one_sentence(unchanged: Shell, line: str, words: str) -> None:
    assert words in unchanged.refused(line)


def test_the_launcher_runs_what_is_ready(shell: Shell) -> None:
    shell.ok("job --name x --workflow w --app hello")
    shell.ok("app --name fail --exec false")
    shell.ok("job --name y --workflow w --app fail")
    said = shell.ok("launcher --consume --max-ranks 4 --num-workers 1")
    assert re.match(r"Starting Balsam launcher \[\d+\]\n", said)
    assert " 1 done, 1 failed, 0 waiting" in said.splitlines()[-2]
    assert "balsam ls --state FAILED --history" in said.splitlines()[-1]
    assert shell.ok("ls --by-states") == "    JOB_FINISHED  1\n          FAILED  1\n"
    shell.ok("job --name z --workflow w --app hello")
    code, screen = shell.typed("launcher --wf-name w")
    assert code == 0
    assert " 2 done, 1 failed, 0 waiting" in screen


def test_balsam_launcher_is_the_launcher(shell: Shell) -> None:
    words = "import sys; from balsam.cli import launcher_main; launcher_main()"
    for flags, code, said in [("--help", 0, "Usage: balsam_launcher "), ("", 2, "Give one of")]:
        done = subprocess.run(
            [sys.executable, "-c", words, *flags.split()], env=shell.env, capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == code
        assert said in done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_database_is_one_sentence(shell: Shell) -> None:
    for path in [*(shell.cwd / "balsamdb").iterdir(), shell.cwd / "balsamdb"]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    assert "permission" in shell.refused("job --name x --workflow w --app hello").lower()


def test_a_damaged_database_is_one_sentence(shell: Shell) -> None:
    for file in (shell.cwd / "balsamdb").iterdir():
        file.write_bytes(b"not a database" * 1000)
    assert "database" in shell.refused("ls")


def test_a_closed_pipe_is_quiet(shell: Shell) -> None:
    shell.ok("job --name x --workflow w --app hello")
    command = f"{shlex.join(BALSAM)} ls --json | :; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=shell.cwd, env=shell.env, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 141
    assert done.stderr == ""


def test_a_job_is_added_whoever_reads_what_is_said_of_it(shell: Shell) -> None:
    command = f"{shlex.join(BALSAM)} job --name x --workflow w --app hello | :"
    subprocess.run(["bash", "-c", command], cwd=shell.cwd, env=shell.env, check=True, timeout=60)
    assert shell.ok("ls --by-states") == "         CREATED  1\n"


def test_what_can_not_be_printed_is_done_all_the_same(shell: Shell) -> None:
    command = f"{shlex.join(BALSAM)} job --name x --workflow w --app hello > /dev/full"
    done = subprocess.run(
        ["bash", "-c", command], cwd=shell.cwd, env=shell.env, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "The output could not be written (No space left on device); all else is done.\n"
    )
    assert shell.ok("ls --by-states") == "         CREATED  1\n"


def test_no_name_moves_the_cursor(shell: Shell) -> None:
    added = shell.ok("job --name 'a\x1b[31m' --workflow w --app hello")
    assert "[a\\x1b[31m | " in added
    shell.ok("job --name b --workflow w --app hello")
    for said in (
        shell.ok("dep 1 2"), shell.ok("kill 1 --yes"), shell.ok("kill 1 --yes"),
        shell.typed("rm jobs 1", "n")[1],
    ):  # fmt: skip
        assert "\x1b" not in said


@pytest.mark.parametrize(("encoding", "name"), [("ascii", "caf\\xe9 \\u2603"), ("utf-8", "café ☃")])
def test_what_a_terminal_can_not_show_is_escaped(shell: Shell, encoding: str, name: str) -> None:
    shell.ok("job --name 'café ☃' --workflow w --app hello")
    env = {**shell.env, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [*BALSAM, "ls"], cwd=shell.cwd, env=env, capture_output=True, encoding=encoding, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert name in done.stdout


def test_an_interrupt_is_130(shell: Shell) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], cwd=shell.cwd, env=shell.env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "asking\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "Interrupted.\n"


INTERRUPTED = """
import signal, sys
from balsam.cli.boundary import guarded
from balsam.cli.commands import Invocation

def wait():
    print("asking", flush=True)
    signal.pause()

sys.exit(guarded(wait, Invocation()))
"""
