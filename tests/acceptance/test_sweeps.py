"""Sweeps and workflow files as people type them."""

from __future__ import annotations

import errno
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from balsam.core.models import ApplicationDefinition, BalsamJob, EventLog
from tests import databases
from tests.acceptance.conftest import BALSAM, PATIENCE_SECONDS, Site

JOB = "job --name run --workflow w --application hello"
HUGE = f"{JOB} --range x=0:5000000 --args '{{{{ x }}}}' --yes"


@pytest.fixture
def swept(site: Site) -> Site:
    site.app("hello", "/bin/echo hello")
    return site


def words(line: str) -> list[str]:
    return [*BALSAM, *shlex.split(line)]


class Typed:
    """A command on a terminal of its own."""

    def __init__(self, site: Site, line: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            words(line),
            cwd=site.path,
            env={**site.env, "TERM": "xterm", "COLUMNS": "80"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.screen = ""

    def read_until(self, condition: Callable[[str], object]) -> None:
        """Read the screen until it is so, or the command ends."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not condition(self.screen):
            if time.monotonic() > give_up:
                self.process.kill()
                self.process.wait()
                pytest.fail(f"not on the screen: {self.screen}")
            if select.select([self.master], [], [], 1.0)[0]:
                try:
                    read = os.read(self.master, 4096)
                except OSError as error:
                    assert error.errno == errno.EIO
                    return
                self.screen += read.decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        """The exit code."""
        self.read_until(lambda screen: False)
        os.close(self.master)
        return self.process.wait(PATIENCE_SECONDS)


def all_args() -> list[str]:
    return list(BalsamJob.objects.order_by("id").values_list("args", flat=True))


def test_ranges_and_values(swept: Site) -> None:
    said = swept.balsam(
        f"{JOB} --range x=0:1:0.5 --values mode=fast,slow --args -x {{{{ x }}}} "
        "--mode={{ mode }} --num-nodes '{{ index + 1 }}' --tag 'mode={{ mode }}' "
        "--priority '{{ index }}'"
    )
    assert said == "Added 4 jobs to database\n"
    jobs = list(BalsamJob.objects.order_by("id"))
    assert [job.name for job in jobs] == ["run_0", "run_1", "run_2", "run_3"]
    assert [job.num_nodes for job in jobs] == [1, 2, 3, 4]
    assert jobs[-1].args.replace("'", "") == "-x 0.5 --mode=slow"
    assert (jobs[-1].tags, jobs[-1].priority) == ({"mode": "slow"}, 3)
    swept.balsam(f"{JOB} --range x=0:1 --values m=a --product --args '{{{{ x }}}}{{{{ m }}}}'")
    swept.balsam(f"{JOB} --range x=0:2 --values m=a,b --zip --args '{{{{ x }}}}{{{{ m }}}}'")
    assert all_args()[4:] == ["0a", "0a", "1b"]


def test_files(swept: Site) -> None:
    (swept.path / "t.csv").write_text("name,ranks_per_node,note\na,1,x\nb,2,y\n")
    said = swept.balsam("job --workflow w --application hello --from-csv t.csv")
    assert said == "Added 2 jobs to database\nNote: no field takes note.\n"
    assert [job.ranks_per_node for job in BalsamJob.objects.order_by("id")] == [1, 2]
    done = subprocess.run(
        words(f"{JOB} --each-line - --args '{{{{ line | quote }}}}'"),
        input="one two\nit's\n", cwd=swept.path, env=swept.env, text=True, capture_output=True,
        check=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.stdout == "Added 2 jobs to database\n"
    assert all_args()[2:] == ["'one two'", "'it'\"'\"'s'"]


WORKFLOW = """\
workflow: fit
applications:
  - name: simulate
    executable: ./sim.py
jobs:
  - name: 'sim_{{ x }}'
    application: simulate
    sweep: {range: {x: 0:3}}
  - name: summary
    application: hello
    parents: ['sim_*']
"""


def test_a_workflow_runs(swept: Site) -> None:
    (swept.path / "sim.py").write_text("print('simulated')\n")
    (swept.path / "w.yml").write_text(WORKFLOW)
    assert "4 jobs would be added; nothing was written" in swept.balsam(
        "job --from-yaml w.yml --dry-run"
    )
    assert not ApplicationDefinition.objects.filter(name="simulate").exists()
    assert swept.balsam("job --from-yaml w.yml").endswith("Added 4 jobs to database\n")
    app = ApplicationDefinition.objects.get(name="simulate")
    assert app.executable == f"{sys.executable} {swept.path}/sim.py"
    assert BalsamJob.objects.get(name="summary").get_parents().count() == 3


def test_a_dry_run_shows_some_and_the_count(swept: Site) -> None:
    said = swept.balsam(f"{JOB} --range x=0:1000 --args '{{{{ x }}}}' --num-nodes 2 --dry-run")
    lines = said.splitlines()
    assert [line.split(" | ")[0].strip() for line in lines[2:7]] == [f"run_{n}" for n in range(5)]
    assert lines[7] == "(995 more jobs not shown...)"
    assert re.fullmatch(r"num_nodes: +2", lines[8])
    assert lines[9:] == ["1000 jobs would be added; nothing was written"]
    said = swept.balsam(f"{JOB} --dry-run")
    assert said.endswith("1 job would be added; nothing was written\n")
    said = swept.balsam(f"{JOB} --range x=0:9 --num-nodes '{{{{ 7 - x }}}}' --dry-run", code=1)
    assert said.splitlines()[-1] == "Row 7 (x=7): num_nodes is at least 1, not 0."
    assert BalsamJob.objects.count() == 0


def test_a_terminal_is_asked(swept: Site) -> None:
    line = f"{JOB} --range x=0:3 --args '{{{{ x }}}}'"
    for answer, count in (("n", 0), ("y", 3)):
        typed = Typed(swept, line)
        typed.read_until(lambda screen: screen.endswith("[y/n]: "))
        assert "run_2 | w        | hello       | 2" in typed.screen
        assert 'The workflow "w" currently has 0 jobs' in typed.screen
        assert "Confirm adding 3 jobs to DB [y/n]: " in typed.screen
        typed.type(f"{answer}\n")
        assert typed.end() == 0
        assert BalsamJob.objects.count() == count
    typed = Typed(swept, f"{line} --yes")
    assert (typed.end(), "[y/n]" in typed.screen) == (0, False)
    assert BalsamJob.objects.count() == 6


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (f"{JOB} --each-line nope.txt", 1, "nope.txt can not be read: No such file"),
        (f"{JOB} --each-line empty", 1, "empty has no lines"),
        (f"{JOB} --each-line binary", 1, "binary, line 1 is not text"),
        (f"{JOB} --from-csv empty", 1, "empty is empty"),
        (f"{JOB} --from-csv ragged.csv --args '{{{{ a }}}}'", 1, "ragged.csv, line 3 has 1 values"),
        (f"{JOB} --from-csv good.csv --args '{{{{ aa }}}}'", 1, "did you mean 'a'?"),
        (f"{JOB} --from-csv good.csv --args '{{{{ a }}}}' --num-nodes '{{{{ b }}}}'", 1,
         "good.csv, line 3: num_nodes is a whole number, not 'x'."),
        (f"{JOB} --from-csv - --each-line -", 2, "can not be both"),
        (f"{JOB} --range x=0:3:0 --args '{{{{ x }}}}'", 1, "step"),
        (f"{JOB} --range x=0:10000001 --args '{{{{ x }}}}'", 1, "10,000,001 points"),
        (f"{JOB} --range x=0:3", 1, "No field uses {{ x }}"),
        (f"{JOB} --range x=0:3 --values x=a", 1, "'x' is given values twice"),
        (f"{JOB} --range x=0:3 --values y=a --zip --args '{{{{ x }}}}'", 1, "x has 3, y has 1"),
        (f"{JOB} --range x=0:3 --args '{{{{ x'", 1, "is no template"),
        (f"{JOB} --num-nodes '{{{{ x }}}}'", 2, "Nothing fills in --num-nodes '{{ x }}'"),
        (f"{JOB} --args '{{{{ x | quote }}}}'", 2, "Nothing fills in --args '{{ x | quote }}'"),
        (f"{JOB} --zip", 2, "--zip and --product"),
        (f"{JOB} --range x=0:3 --zip --product", 2, "not both"),
        (f"{JOB} --num-nodes 0 --range x=0:3", 2, "0 is not from 1"),
        ("job --workflow w --application hello --range x=0:3 --args '{{ x }}'", 2,
         "Missing option '--name'"),
        ("job --workflow w --application hello", 2, "Missing option '--name'"),
        ("job --name a --workflow w --application helo --range x=0:3 --args '{{ x }}'", 1,
         "did you mean 'hello'?"),
        (f"{JOB} --from-yaml w.yml", 2, "--from-yaml takes"),
        ("job --from-yaml nope.yml", 1, "nope.yml can not be read"),
        ("job --from-yaml empty", 1, "empty is empty"),
        ("job --from-yaml binary", 1, "binary, line 1 is not text"),
        ("job --from-yaml bad.yml", 1, "bad.yml, line 2: not valid YAML"),
        ("job --from-yaml circle.yml", 1, "circle.yml, line 3: .*: a -> b -> a."),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_changes_nothing(
    swept: Site, line: str, code: int, said: str
) -> None:
    for name, content in FILES.items():
        (swept.path / name).write_bytes(content)
    answer = swept.balsam(line, code=code).splitlines()
    assert len(answer) == 1, answer
    assert said in answer[0] or re.search(said, answer[0]), answer
    assert BalsamJob.objects.count() == EventLog.objects.count() == 0


FILES = {
    "empty": b"",
    "binary": b"\x7fELF\x00\xff\xfe",
    "ragged.csv": b"a,b\n1,2\n3\n",
    "good.csv": b"a,b\n1,2\n3,x\n",
    "bad.yml": b"jobs: [\n",
    "circle.yml": b"workflow: w\njobs:\n"
    b"  - {name: a, application: hello, parents: b}\n"
    b"  - {name: b, application: hello, parents: a}\n",
}


def test_an_interrupted_insertion_leaves_nothing(swept: Site) -> None:
    process = subprocess.Popen(
        words(HUGE), cwd=swept.path, env=swept.env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        swept.until(
            lambda: process.poll() is not None or databases.is_being_written(swept.path),
            "jobs are inserted",
        )
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, error) == (130, "", "Interrupted.\n")
    assert BalsamJob.objects.count() == EventLog.objects.count() == 0


def test_an_insertion_shows_how_far_it_is_and_can_be_interrupted(swept: Site) -> None:
    typed = Typed(swept, HUGE)
    typed.read_until(lambda screen: re.search(r"[1-9]\d*000/5000000", screen))
    typed.process.send_signal(signal.SIGINT)
    assert typed.end() == 130
    assert typed.screen.rstrip().endswith("Interrupted.")
    assert "Traceback" not in typed.screen
    assert BalsamJob.objects.count() == EventLog.objects.count() == 0
    assert swept.balsam("ls") == "No jobs found matching query\n"
