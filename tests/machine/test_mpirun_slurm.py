"""srun, and mpirun inside a Slurm allocation: real launches on emulated nodes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tools.emulated import wait_for
from tests.tools.slurm import Cluster

pytestmark = pytest.mark.slurm

#: Runs in the batch job: what it prints last is what the test sees.
BEGIN = """
import json, os, subprocess, sys, time
from balsam.platform import mpirun
from balsam.platform.flavours import FLAVOURS, Launch
SRUN, PMI2 = FLAVOURS["srun"], ("--mpi=pmi2",)
def run(name, argv, launch, program=""):
    flavour = FLAVOURS[name]
    env = {**flavour.environ(launch), **mpirun.scrub(os.environ), **launch.masks}
    done = subprocess.run(flavour.run(program or name, argv, launch), env=env, timeout=120,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    cause = mpirun.launch_failure(flavour, done.stdout + done.stderr, done.returncode, argv[0])
    return {"code": done.returncode, "cause": cause, "out": sorted(done.stdout.split("\\n"))[1:],
            "err": done.stderr}
"""
RANK = """
import os
from mpi4py import MPI
names = MPI.COMM_WORLD.gather(os.environ["SLURMD_NODENAME"])
if not MPI.COMM_WORLD.rank: print(*names)
"""
WHERE = ["sh", "-c", "echo $SLURMD_NODENAME ${SLURM_STEP_ID:-no step}"]


def batch(slurm: Cluster, directory: Path, code: str, *options: str) -> int:
    """Submit Python code as a batch job of all nodes."""
    source = directory / "job.py"
    source.write_text(BEGIN + code)
    script = directory / "job.sh"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {source}\n")
    path = os.pathsep.join(part for part in sys.path if part)
    return slurm.submit(
        script, f"--nodes={len(slurm.names)}", "--exclusive", "--no-kill",
        f"--output={directory}/job.out", *options, environ={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def result(slurm: Cluster, directory: Path, job: int) -> Any:
    """What the code printed last, when the job has ended."""
    over = wait_for(lambda: slurm.state(job) not in ("PENDING", "RUNNING", "COMPLETING"), 180.0)
    text = (directory / "job.out").read_text()
    assert over, f"{text}\n{slurm.diagnosis()}"
    assert slurm.state(job) == "COMPLETED", text
    return json.loads(text.splitlines()[-1])


def test_steps_of_srun(slurm: Cluster, tmp_path: Path) -> None:
    code = f"""
argv, where = [sys.executable, "-c", {RANK!r}], {WHERE!r}
two = ("n2", "n3")
answers = {{
    "ranks": run("srun", argv, Launch(4, 2, two, flags=PMI2)),
    "more than cores": run("srun", where, Launch(9, 9, ("n4",))),
    "missing": run("srun", ["/no/such/program"], Launch(2, 1, two)),
    "no node": run("srun", where, Launch(1, 1, ("n9",))),
    "own": run("srun", ["sh", "-c", "exit 2"], Launch(2, 1, two)),
    "hydra here": run("mpich", where, Launch(2, 2), mpirun.find_mpirun()),
    "hydra there": run("mpich", where, Launch(4, 2, two), mpirun.find_mpirun()),
}}
workers = SRUN.workers("srun", ("n1", "n2", "n3", "n4"), ["sh", "-c", "read line; echo $line"])
with subprocess.Popen(workers, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as beside:
    answers["beside workers"] = run("srun", where, Launch(4, 2, two))
    answers["hydra beside them"] = run("mpich", where, Launch(4, 2, two), mpirun.find_mpirun())
    answers["workers"] = sorted(beside.communicate("said\\n")[0].split())
print(json.dumps(answers))
"""
    said = result(slurm, tmp_path, batch(slurm, tmp_path, code))
    assert said["ranks"]["out"] == ["n2 n2 n3 n3"], said["ranks"]
    assert len(said["more than cores"]["out"]) == 9, said["more than cores"]
    causes = {name: said[name]["cause"] for name in ("missing", "no node", "own")}
    assert causes == {"missing": "program_missing", "no node": "mpi_launch_failed", "own": None}
    assert [line.partition(" ")[2] for line in said["hydra here"]["out"]] == ["no step"] * 2
    for name in ("hydra there", "beside workers", "hydra beside them"):
        nodes = [line.split()[0] for line in said[name]["out"]]
        assert nodes == ["n2", "n2", "n3", "n3"], (name, said[name])
    # Only the first worker was given the line.
    assert said["workers"] == ["said"]


def test_workers_go_on_when_a_node_dies(slurm: Cluster, tmp_path: Path) -> None:
    echo = "while read line; do echo $line; done"
    code = f"""
argv = ["sh", "-c", "test $SLURM_PROCID = 0 || exec sleep 600; {echo}"]
line = SRUN.workers("srun", ("n1", "n2", "n3", "n4"), argv)
err = open({str(tmp_path / "err")!r}, "w")
with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err,
                      text=True, bufsize=1) as workers:
    def echo(word):
        workers.stdin.write(word + "\\n")
        return workers.stdout.readline().strip()
    before = echo("before")
    open({str(tmp_path / "ready")!r}, "w").close()
    deadline = time.monotonic() + 120
    while (lost := SRUN.lost_node(open(err.name).read())) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    after = echo("after")
    workers.terminate()
print(json.dumps([before, lost, after]))
"""
    job = batch(slurm, tmp_path, code)
    assert wait_for((tmp_path / "ready").exists, 60.0), slurm.diagnosis()
    slurm.kill_node("n3")
    assert result(slurm, tmp_path, job) == ["before", "n3", "after"]
