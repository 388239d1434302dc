"""Templates: found, filled in, and good shell scripts."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from balsam import errors
from balsam.conf import templates

SCRIPTS = [f"job-template/{system}.sh" for system in ("local", "slurm", "pbs", "cobalt")]

#: Prints its arguments and the project as JSON.
FAKE_BALSAM = """#!{python}
import json, os, sys
print(json.dumps([sys.argv[1:], os.environ["BALSAM_DB_PATH"], os.getcwd()]))
"""


def variables(**changes: object) -> dict[str, object]:
    words = {
        "project": "chemistry",
        "queue": "debug",
        "job_mode": "mpi",
        "wf_filter": "consume-all",
        "sched_flags": "",
        "balsam_bin": "/opt/balsam/bin",
        "balsam_db_path": "/projects/campaign",
    }
    numbers = {"num_nodes": 4, "nodes": 4, "wall_time_min": 90, "time_minutes": 90}
    return {**words, **numbers, **changes}


def script(name: str, **changes: object) -> str:
    return templates.render(templates.text(name), variables(**changes), name=name)


@pytest.mark.parametrize("name", ["no-such.yml", "../setup.py", "/etc/passwd", "", "job-template"])
def test_only_templates_are_templates(name: str) -> None:
    with pytest.raises(errors.BalsamError, match="has no template"):
        templates.text(name)


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("flags", ["", "--exclusive"])
@pytest.mark.parametrize("queue", ["", "debug"])
def test_directives_come_first_and_are_complete(name: str, flags: str, queue: str) -> None:
    text = script(name, sched_flags=flags, queue=queue)
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash"
    assert "{" not in text
    assert text.endswith("\n")
    prefix = {"slurm": "#SBATCH", "pbs": "#PBS", "cobalt": "#COBALT"}.get(Path(name).stem, "#none")
    directives = [line for line in lines if line.startswith(prefix)]
    assert lines[1 : 1 + len(directives)] == directives
    assert all(len(line.split()) > 1 for line in directives)
    if directives:
        assert (f"{prefix} {flags}" in directives) == bool(flags)
        assert any("debug" in line for line in directives) == bool(queue)


def test_each_scheduler_gets_its_own_time_format() -> None:
    assert "#PBS -l walltime=01:30:00\n" in script("job-template/pbs.sh")
    assert "#SBATCH --time=90\n" in script("job-template/slurm.sh")
    assert "#COBALT -t 90\n" in script("job-template/cobalt.sh")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_the_launcher(name: str, tmp_path: Path) -> None:
    project = tmp_path / "Anna's $HOME project"
    project.mkdir()
    bin_dir = tmp_path / "bin of `balsam`"
    bin_dir.mkdir()
    (bin_dir / "balsam").write_text(FAKE_BALSAM.format(python=sys.executable))
    (bin_dir / "balsam").chmod(0o755)
    text = script(
        name,
        wf_filter=shlex.quote("wf-filter=it's; a trap"),
        balsam_bin=shlex.quote(str(bin_dir)),
        balsam_db_path=shlex.quote(str(project)),
        wall_time_min=30,
    )
    printed = subprocess.run(
        ["bash"], input=text, env=os.environ, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    argv, db_path, cwd = json.loads(printed)
    minutes = 30 if "local" in name else 28
    assert argv == [
        "launcher", "--wf-filter=it's; a trap", "--job-mode=mpi", f"--time-limit-minutes={minutes}"
    ]  # fmt: skip
    assert db_path == cwd == str(project)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("one\n{% if %}", ["my.sh, line 2"]),
        ("{{ quue }}", ["my.sh: 'quue' is undefined", "the variables are", "queue"]),
        ("{{ 1 // 0 }}", ["my.sh"]),
        ("{{ queue + 1 }}", ["my.sh"]),
    ],
)
def test_a_mistake_in_a_template_is_reported(source: str, words: list[str]) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        templates.render(source, {"queue": "debug"}, name="my.sh")
    for word in words:
        assert word in str(caught.value)
