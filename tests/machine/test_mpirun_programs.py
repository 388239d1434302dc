"""mpirun programs that are really run: a fake of each flavour, and MPICH where it is installed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from balsam import states
from balsam.errors import LaunchError, MpiUnavailable, ProgramMissing
from balsam.platform import mpirun
from balsam.platform.commands import Completed, run
from balsam.platform.node import process_alive, start_time

FAKE = Path(__file__).parents[1] / "fakes" / "mpirun"
ALL = ("mpich", "intel", "openmpi4", "openmpi5")


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., str]:
    """Install the fake mpirun in a directory of its own, with a control file; its path."""

    def install(**control: str) -> str:
        program = tmp_path / "bin" / "mpirun"
        program.parent.mkdir(exist_ok=True)
        if not program.exists():
            program.symlink_to(FAKE)
        lines = [f"export FAKE_MPIRUN_{name.upper()}='{text}'\n" for name, text in control.items()]
        program.with_name("mpirun.control").write_text("".join(lines))
        return str(program)

    return install


def launch(program: str, flavour: mpirun.Flavour, argv: list[str], ranks: int) -> Completed:
    env = {**flavour.environ(), **mpirun.scrub(os.environ)}
    return run(flavour.run(program, argv, mpirun.Launch(ranks, ranks)), 60, env)


@pytest.mark.parametrize("name", ALL)
def test_each_flavour_is_detected_by_its_answer(name: str, fake: Callable[..., str]) -> None:
    program = fake(flavour=name)
    assert mpirun.detect(program).name == name
    named = mpirun.detect(program, "openmpi")
    assert named.name == ("openmpi5" if name == "openmpi5" else "openmpi4")


def test_a_named_hydra_is_not_asked(fake: Callable[..., str], tmp_path: Path) -> None:
    program = fake(mode="hang", log=str(tmp_path / "calls"))
    assert mpirun.detect(program, "mpich").name == "mpich"
    assert mpirun.detect(program, "intel").name == "intel"
    assert not (tmp_path / "calls").exists()


def test_a_launcher_that_hangs_is_killed_with_its_children(
    fake: Callable[..., str], tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    program = fake(mode="hang-version", pids=str(pids))
    with pytest.raises(MpiUnavailable, match=r"did not answer within 0\.5 s .* set mpi\.flavour"):
        mpirun.detect(program, timeout_seconds=0.5)
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    wait_until(
        lambda: not any(process_alive(pid, start_time(pid)) for pid in started),
        f"the processes {started} are dead",
    )


def test_a_launcher_that_lies_or_is_mute_is_unknown(fake: Callable[..., str]) -> None:
    with pytest.raises(MpiUnavailable, match=r'"Imaginary Parallel .*set mpi\.flavour in settings'):
        mpirun.detect(fake(mode="lie"))
    with pytest.raises(MpiUnavailable, match=r'ended with code 1 and says "nothing"'):
        mpirun.detect(fake(mode="mute"))
    assert mpirun.detect(fake(mode="lie"), "openmpi").name == "openmpi4"


def test_a_launcher_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MpiUnavailable, match="can not be run .* set mpi.flavour"):
        mpirun.detect(str(tmp_path / "mpirun"))


def test_a_path_that_is_given_must_be_a_program(fake: Callable[..., str], tmp_path: Path) -> None:
    program = fake()
    assert mpirun.find_mpirun(program, {}) == program
    assert mpirun.find_mpirun("mpirun", {"PATH": str(Path(program).parent)}) == program
    with pytest.raises(MpiUnavailable, match=r"nowhere/mpirun', which does not exist.*balsam\[mpi"):
        mpirun.find_mpirun(str(tmp_path / "nowhere" / "mpirun"), {})
    plain = tmp_path / "plain"
    plain.write_text("")
    with pytest.raises(MpiUnavailable, match="may not be executed"):
        mpirun.find_mpirun(str(plain), {})
    # Nobody has to look for it in settings that do not have it.
    with pytest.raises(MpiUnavailable, match=r"mpi.mpirun of machine 'x' is 'aprun', .* load the"):
        mpirun.find_mpirun("aprun", {"PATH": str(tmp_path)}, "mpi.mpirun of machine 'x'")


def find_with(python: Path, path: str) -> str:
    """What find_mpirun says in another interpreter, which sees no activated environment."""
    code = (
        "from balsam.errors import BalsamError\nfrom balsam.platform.mpirun import find_mpirun\n"
        "try: print(find_mpirun())\nexcept BalsamError as error: print(error)"
    )
    env = {"PATH": path, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    found = run([str(python), "-c", code], 60, env)
    assert found.stderr == ""
    return found.stdout.strip()


def test_the_mpirun_beside_the_interpreter_goes_before_path(
    fake: Callable[..., str], tmp_path: Path
) -> None:
    on_path = Path(fake())
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(os.path.realpath(sys.executable))
    (tmp_path / "venv" / "pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix) / 'bin'}\n")
    assert find_with(python, str(on_path.parent)) == str(on_path)
    message = find_with(python, str(tmp_path / "empty"))
    assert "load an MPI module" in message
    assert "pip install 'balsam[mpi]'" in message
    beside = python.with_name("mpirun")
    beside.symlink_to(FAKE)
    assert find_with(python, str(on_path.parent)) == str(beside)


@pytest.mark.parametrize("name", ALL)
def test_the_command_of_each_flavour_runs_as_anybody_and_oversubscribed(
    name: str, fake: Callable[..., str]
) -> None:
    ranks = len(os.sched_getaffinity(0)) * 2 + 1
    done = launch(fake(flavour=name), mpirun.FLAVOURS[name], ["echo", "a  b"], ranks)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a  b\n" * ranks, "")


@pytest.mark.parametrize("name", ALL)
def test_failures_of_each_flavour_are_told_apart(name: str, fake: Callable[..., str]) -> None:
    flavour, program = mpirun.FLAVOURS[name], fake(flavour=name)

    def cause(argv: list[str]) -> str | None:
        done = launch(program, flavour, argv, 2)
        assert done.returncode > 0
        return mpirun.launch_failure(flavour, done.stdout + done.stderr, done.returncode, argv[0])

    assert cause(["/no/such/program", "x"]) == states.PROGRAM_MISSING
    assert cause(["sh", "-c", "exit 255"]) is None
    program = fake(flavour=name, mode="fail")
    assert cause(["true"]) == states.MPI_LAUNCH_FAILED


def test_a_command_is_captured_whole() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; kill -9 $$"], 30)
    assert done == Completed(-9, "out\n", "err\n")
    assert run(["sh", "-c", "echo $GREETING"], 30, {"GREETING": "hi"}).stdout == "hi\n"
    assert run(["printf", "\\377"], 30).stdout == "\ufffd"


def test_a_command_does_not_wait_for_what_it_leaves_behind() -> None:
    done = run(["sh", "-c", "sleep 600 & echo $!"], 30)
    os.kill(int(done.stdout), 9)


def test_a_command_that_can_not_start(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match="'no-such-program' can not be run"):
        run(["no-such-program"], 5)
    with pytest.raises(ProgramMissing):
        run([str(tmp_path)], 5)
    with pytest.raises(LaunchError, match="could not be started"):
        run(["true", "a\0b"], 5)
    with pytest.raises(LaunchError, match="'sleep 600' did not answer within 0.1 s"):
        run(["sleep", "600"], 0.1)


@pytest.fixture(scope="module")
def real() -> tuple[str, mpirun.Flavour]:
    """The MPI installed beside this Python, if it is one whose ranks this Python can be."""
    try:
        program = mpirun.find_mpirun()
    except MpiUnavailable as error:
        pytest.skip(str(error))
    return program, mpirun.detect(program)


SIZE = "from mpi4py import MPI; print(MPI.COMM_WORLD.Get_size())"


@pytest.mark.mpi
def test_two_real_ranks(real: tuple[str, mpirun.Flavour]) -> None:
    done = launch(*real, [sys.executable, "-c", SIZE], 2)
    assert (done.returncode, joined(done.stdout)) == (0, "22"), done.stderr


@pytest.mark.mpi
def test_a_real_mpirun_reports_a_missing_program(real: tuple[str, mpirun.Flavour]) -> None:
    done = launch(*real, ["/no/such/program"], 2)
    output = done.stdout + done.stderr
    cause = mpirun.launch_failure(real[1], output, done.returncode, "/no/such/program")
    assert cause == states.PROGRAM_MISSING, output


@pytest.mark.mpi
def test_a_real_rank_may_run_mpi_programs_in_a_scrubbed_environment(
    real: tuple[str, mpirun.Flavour], tmp_path: Path
) -> None:
    program, flavour = real
    inner = flavour.run(program, [sys.executable, "-c", SIZE], mpirun.Launch(2, 2))
    script = tmp_path / "nested.py"
    script.write_text(
        "import os, subprocess, sys\nfrom mpi4py import MPI\n"
        "from balsam.platform.mpirun import scrub\n"
        f"env = {{**{flavour.environ()!r}, **scrub(os.environ)}}\n"
        f"for argv in ({inner!r}, [sys.executable, '-c', {SIZE!r}]):\n"
        "    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, timeout=60)\n"
        "    print('code', done.returncode, flush=True)\n"
    )
    env = {**flavour.environ(), **mpirun.scrub(os.environ)}
    env["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    done = run(flavour.run(program, [sys.executable, str(script)], mpirun.Launch(1, 1)), 120, env)
    assert joined(done.stdout) == "22code01code0", done.stderr


def joined(output: str) -> str:
    """The output without its white space: the line ends of ranks may change places."""
    return "".join(output.split())


def wait_until(condition: Callable[[], bool], what: str, timeout_seconds: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_seconds} s: {what}"
        time.sleep(0.01)
