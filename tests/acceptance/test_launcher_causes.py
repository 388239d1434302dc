"""Every way in which a job ends on one node, with its cause, from one campaign of all of them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam import states
from balsam.core.models import BalsamJob, Session
from balsam.platform import node
from tests.tools.mpi import has_mpi

from .conftest import PROGRAMS, Site, gone, opened
from .histories import bound_mpi

HELLO = f"{shlex.quote(sys.executable)} {shlex.quote(str(PROGRAMS / 'hello_mpi.py'))}"


#: More memory than the launcher has.
LARGE = 200_000_000


@pytest.fixture(scope="module")
def campaign(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One launcher run over jobs that end in all the ways there are."""
    for site in opened(pristine, tmp_path_factory.mktemp("causes")):
        site.settings(hook_time_limit_seconds=1)
        (site.path / "data" / "blocked").write_text("a file where a directory is wanted")
        _add_good(site)
        _add_bad(site)
        _add_hooks(site)
        if has_mpi():
            site.job("mpi_hello", HELLO, ranks_per_node=4)
            site.job("mpi_fail", HELLO, args="5", ranks_per_node=4)
            site.job("mpi_missing", "/no/such/program", ranks_per_node=2)
        site.launch("--consume-all", "--max-ranks-per-node", "8")
        yield site


def _add_good(site: Site) -> None:
    site.shell("ok", "echo fine; echo trouble >&2")
    site.job("large", shlex.join([sys.executable, "-c", f"x = b'x' * {LARGE}"]))
    site.job("words", "printf", args="<%s> one 'two three' \"it's\" $HOME *")
    site.shell(
        "environment",
        'echo "$BALSAM_JOB_ID $BALSAM_ATTEMPT $BALSAM_PARENT_IDS $COLOUR $OMP_NUM_THREADS $PWD"',
        environ_vars={"COLOUR": "blue"}, threads_per_rank=2,
    )  # fmt: skip
    (site.home / "env.sh").write_text("COLOUR=green; export COLOUR\n[ -d /no/such/dir ]\n")
    site.app("sourced", "/bin/sh -c 'echo $COLOUR'", envscript=str(site.home / "env.sh"))
    site.job("envscript", application="sourced")
    site.shell("parent", "echo data > result.txt")
    site.shell("child", "cat result.txt", parents=[site.named("parent")])


def _add_bad(site: Site) -> None:
    site.shell("exit", "seq 100; echo last words; exit 3")
    site.shell("signal", "kill -SEGV $$")
    site.job("missing", "/no/such/program")
    site.job("missing_on_path", "no_such_program")
    site.job("not_executable", str(PROGRAMS / "hello_mpi.py"))
    for name, first in (("no_interpreter", "echo"), ("lost_interpreter", "#!/no/such/sh")):
        script = site.home / f"{name}.sh"
        script.write_text(f"{first}\n")
        script.chmod(0o755)
        site.job(name, str(script))
    site.app("no_envscript", "/bin/true", envscript="/no/such/env.sh")
    site.job("no_envscript", application="no_envscript")
    site.job("nothing", "")
    site.job("blocked", "/bin/true", workflow="blocked")
    site.shell("slow", "echo so far; exec sleep 600", time_limit_minutes=0.005, max_attempts=1)
    site.job("nodes", "/bin/true", num_nodes=3)
    site.job("ranks", "/bin/true", ranks_per_node=9)
    site.job("gpus", "/bin/true", gpus_per_rank=1)
    site.job("kin1", "/bin/true", parents=[site.named("exit")])
    site.job("kin2", "/bin/true", parents=[site.named("kin1")])
    site.job("heir", "/bin/true", parents=[site.named("exit")], on_parent_failure="ignore")
    site.job("no_source", "/bin/true", stage_in_url="/no/such/directory")


def _add_hooks(site: Site) -> None:
    site.job("hook_fails", preprocess="/bin/sh -c 'echo alas; exit 4'")
    site.job("hook_missing", preprocess="/no/such/hook")
    site.job("hook_hangs", preprocess="/bin/sh -c 'echo zzz; sleep 600'")
    site.job("hook_after", "/bin/true", postprocess="/bin/false")


@pytest.mark.parametrize(
    "name",
    ["ok", "words", "environment", "envscript", "parent", "child", "heir", "large"],
)
def test_good_jobs_finish(campaign: Site, name: str) -> None:
    assert campaign.state(name) == states.JOB_FINISHED, campaign.diagnosis()
    data = campaign.end(name).data
    assert data["cause"] == states.OK
    assert data["attempt"] == 1
    assert data["returncode"] == 0
    assert data["wall_seconds"] > 0
    if name == "large":
        assert LARGE < 1024 * data["max_rss_kb"] < LARGE + 100_000_000
    else:
        # Less than the launcher has: how much less, the kernel does not say.
        assert data["max_rss_kb"] is None
    assert campaign.named(name).return_code == 0


@pytest.mark.parametrize(
    ("name", "cause", "words"),
    [
        ("exit", states.EXIT, "RETURN CODE 3"),
        ("signal", states.SIGNAL, "SIGSEGV"),
        ("missing", states.PROGRAM_MISSING, "'/no/such/program' can not be run"),
        ("missing_on_path", states.PROGRAM_MISSING, "is not in any directory of PATH"),
        ("not_executable", states.PROGRAM_MISSING, "it is not executable"),
        ("no_interpreter", states.PROGRAM_MISSING, "its first line names no interpreter (#!)"),
        ("lost_interpreter", states.PROGRAM_MISSING, "the interpreter '/no/such/sh'"),
        ("no_envscript", states.PROGRAM_MISSING, "'/no/such/env.sh' can not be used"),
        ("nothing", states.PROGRAM_MISSING, "neither an application with an executable nor a"),
        ("blocked", states.STAGING, "data/blocked"),
        ("slow", states.JOB_TIME_LIMIT, "longer than 0.005 minutes"),
        ("nodes", states.UNSATISFIABLE, "asks for 3 nodes; this launcher has 1"),
        ("ranks", states.UNSATISFIABLE, "asks for 9 ranks per node; this launcher allows 8"),
        ("gpus", states.UNSATISFIABLE, "asks for 1 GPU per node; the node has 0 (if there"),
        ("kin1", states.PARENT_FAILED, "[exit | "),
        ("kin2", states.PARENT_FAILED, "[kin1 | "),
        ("no_source", states.STAGING, "/no/such/directory"),
        ("hook_fails", states.HOOK, "exit code 4"),
        ("hook_missing", states.HOOK, "/no/such/hook"),
        ("hook_hangs", states.HOOK, "time limit of 1 s"),
        ("hook_after", states.HOOK, "/bin/false"),
    ],
)
def test_bad_jobs_fail_with_cause_and_reason(
    campaign: Site, name: str, cause: str, words: str
) -> None:
    assert campaign.state(name) == states.FAILED, campaign.diagnosis()
    end = campaign.end(name)
    assert end.data["cause"] == cause
    assert words in end.message


def test_nothing_is_left(campaign: Site) -> None:
    campaign.check_clean()


def test_both_streams_are_in_the_output(campaign: Site) -> None:
    assert campaign.output("ok") == "fine\ntrouble\n"


def test_arguments_are_words_and_no_shell_sees_them(campaign: Site) -> None:
    assert campaign.output("words") == "<one><two three><it's><$HOME><*>"


def test_a_task_knows_where_it_is(campaign: Site) -> None:
    job = campaign.named("environment")
    assert campaign.output("environment").split() == [
        str(job.job_id), "1", "[]", "blue", "2", job.working_directory,
    ]  # fmt: skip


def test_a_child_finds_its_parents_files(campaign: Site) -> None:
    assert campaign.output("child") == "data\n"


def test_the_end_of_the_output_is_in_the_event(campaign: Site) -> None:
    data = campaign.end("exit").data
    assert data["tail"].splitlines() == [*(str(n) for n in range(86, 101)), "last words"]
    assert data["returncode"] == campaign.named("exit").return_code == 3
    assert "last words" in campaign.end("exit").message
    assert campaign.end("slow").data["tail"] == "so far"
    assert campaign.end("hook_fails").data["tail"] == "alas"


def test_hooks_keep_their_output(campaign: Site) -> None:
    log = Path(campaign.named("hook_hangs").working_directory, "preprocess.log").read_text()
    assert log.splitlines()[-1] == "zzz"


def test_a_failed_start_leaves_no_attempt(campaign: Site) -> None:
    assert states.RUNNING not in campaign.path_of("missing")
    assert states.RUNNING not in campaign.path_of("nodes")
    assert campaign.named("missing").attempt == 0


@pytest.mark.mpi
def test_four_ranks_on_two_cores_say_hello(campaign: Site) -> None:
    assert campaign.state("mpi_hello") == states.JOB_FINISHED, campaign.diagnosis()
    # The ranks' lines may come to lie within each other, but never their words.
    ranks = re.findall(r"hello from rank (\d) of 4", campaign.output("mpi_hello"))
    assert sorted(ranks) == ["0", "1", "2", "3"]


@pytest.mark.mpi
def test_a_failing_mpi_job_gives_its_exit_code(campaign: Site) -> None:
    assert campaign.state("mpi_fail") == states.FAILED
    assert campaign.end("mpi_fail").data["cause"] == states.EXIT
    assert campaign.named("mpi_fail").return_code == 5


@pytest.mark.mpi
def test_an_mpi_program_that_is_not_there(campaign: Site) -> None:
    assert campaign.end("mpi_missing").data["cause"] == states.PROGRAM_MISSING
    assert "'/no/such/program'" in campaign.end("mpi_missing").message


@pytest.fixture
def fake_mpirun(site: Site) -> Path:
    """A fake mpirun in the settings of a project; its control file."""
    program = site.home / "bin" / "mpirun"
    program.parent.mkdir()
    program.symlink_to(PROGRAMS.parents[1] / "fakes" / "mpirun")
    site.settings(mpirun=program)
    return program.with_name("mpirun.control")


def test_an_mpirun_that_can_not_start_its_ranks(site: Site, fake_mpirun: Path) -> None:
    fake_mpirun.write_text("FAKE_MPIRUN_MODE=fail\n")
    site.job("mpi", "/bin/true", ranks_per_node=2, retry="mpi_launch_failed=1:0.1s")
    site.job("serial", "/bin/true")
    site.launch()
    assert site.state("mpi") == states.FAILED
    assert [end.data["cause"] for end in site.ends("mpi")] == 2 * [states.MPI_LAUNCH_FAILED]
    assert site.state("serial") == states.JOB_FINISHED


def test_mpi_jobs_beyond_the_launches_of_a_launcher_are_left(site: Site, fake_mpirun: Path) -> None:
    site.settings(mpirun=fake_mpirun.with_name("mpirun"), max_launches=2)
    for number in range(3):
        site.job(f"mpi{number}", "/bin/true", ranks_per_node=2)
    site.job("serial", "/bin/true")
    said = site.launch(code=1)
    spent = "this launcher is good for 2 launches, and they are used up (max_launches)"
    assert f"No mpirun can be started any more: {spent}." in said
    assert f"1 job was not run: {spent}." in said
    assert "usable mpirun" not in said
    assert BalsamJob.objects.filter(state=states.JOB_FINISHED).count() == 3
    site.check_clean()


def test_without_an_mpirun_mpi_jobs_are_left(site: Site, fake_mpirun: Path) -> None:
    fake_mpirun.write_text("FAKE_MPIRUN_MODE=lie\n")
    for number in range(3):
        site.job(f"mpi{number}", "/bin/true", ranks_per_node=2, priority=number)
    site.job("own", "/bin/true", ranks_per_node=2, launch_params={"mpirun": False})
    site.job("too_wide", "/bin/true", num_nodes=2)
    site.job("serial", "/bin/true")
    said = site.launch(code=1)
    assert said.count("is no MPI that Balsam knows") == 1
    assert "3 jobs were not run for want of a usable mpirun." in said
    assert [site.state(name) for name in ("mpi0", "mpi1", "mpi2", "own", "too_wide", "serial")] == [
        *3 * [states.PREPROCESSED], states.JOB_FINISHED, states.FAILED, states.JOB_FINISHED,
    ]  # fmt: skip
    assert site.named("mpi0").attempt == 0
    site.check_clean()
    fake_mpirun.write_text("")
    said = site.launch()
    assert said.count(f"MPI jobs are run by {fake_mpirun.with_suffix('')}: MPICH (Hydra)") == 1
    assert site.state("mpi0") == states.JOB_FINISHED


def test_mpi_mode_without_an_mpirun_does_not_even_begin(site: Site) -> None:
    site.settings(mpirun=site.home / "no" / "mpirun")
    site.job("serial", "/bin/true")
    said = site.launch("--consume-all", "--job-mode", "mpi", code=1)
    assert f"'{site.home}/no/mpirun', which does not exist" in said.splitlines()[-1]
    assert site.state("serial") == states.CREATED
    assert not Session.objects.exists()


@pytest.mark.parametrize("mode", ["auto", "mpi"])
def test_an_mpirun_that_does_not_answer_holds_no_signal(
    site: Site, fake_mpirun: Path, mode: str
) -> None:
    """It would be given up after half a minute."""
    asked = fake_mpirun.with_name("pids")
    fake_mpirun.write_text(f"FAKE_MPIRUN_MODE=hang-version FAKE_MPIRUN_PIDS={asked}\n")
    site.job("mpi", "/bin/true", ranks_per_node=2, priority=1)
    site.job("serial", "/bin/true")
    launcher = site.start("--consume-all", *(["--job-mode", "mpi"] if mode == "mpi" else []))
    site.until(lambda: asked.exists() and asked.read_text().strip(), "mpirun is asked")
    members = [(int(pid), node.start_time(int(pid))) for pid in asked.read_text().split()]
    launcher.signal(signal.SIGTERM)
    assert "asked to stop" in launcher.wait(0, 15)
    assert states.RUNNING not in [*site.path_of("mpi"), *site.path_of("serial")]
    site.until(lambda: gone(members), "what it started ends too", 5)
    site.check_clean()


def test_a_hundred_jobs_of_which_four_are_bad(site: Site) -> None:
    site.settings(hook_time_limit_seconds=0.5)
    (site.path / "data" / "blocked").write_text("")
    usual = {"workflow": "w", "direct_command": "/bin/true"}
    good = [{"name": f"n{number}", **usual} for number in range(96)]
    bad = [
        {**usual, "name": "nothing", "direct_command": ""},
        {**usual, "name": "missing", "direct_command": "/no/such/program"},
        {**usual, "name": "blocked", "workflow": "blocked"},
        {**usual, "name": "hangs", "preprocess": "sleep 600"},
    ]
    # Between the good ones, so that there is something to hold up.
    BalsamJob.objects.bulk_create([*good[:32], *bad, *good[32:]])
    site.launch()
    assert site.counts() == {states.JOB_FINISHED: 96, states.FAILED: 4}
    assert {job["name"]: site.end(job["name"]).data["cause"] for job in bad} == {
        "nothing": states.PROGRAM_MISSING,
        "missing": states.PROGRAM_MISSING,
        "blocked": states.STAGING,
        "hangs": states.HOOK,
    }
    site.check_clean()


@pytest.mark.mpi
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one CPU")
def test_ranks_on_other_cpus_than_they_were_given_are_reported(site: Site) -> None:
    site.settings(cores_per_node=2)
    given = {"ranks_per_node": 2, "threads_per_core": 2, "cpu_affinity": "core"}
    site.job("strays", bound_mpi("0,1"), **given)
    said = site.launch()
    assert site.state("strays") == states.JOB_FINISHED, site.diagnosis()
    note = site.end("strays").data["affinity"]
    assert note.startswith("It was to be confined to the CPUs ") and note in said


@pytest.fixture
def tight() -> Iterator[Path]:
    """A control group of 30 MB of memory; processes may move into it."""
    group = Path("/sys/fs/cgroup/memory", f"balsam-test-{os.getpid()}")
    limit = group / "memory.limit_in_bytes"
    if not group.parent.is_dir():
        group = Path("/sys/fs/cgroup", group.name)
        limit = group / "memory.max"
    try:
        group.mkdir()
        limit.write_text(str(30 * 2**20))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    yield group
    group.rmdir()


def test_what_the_kernel_killed_for_want_of_memory(site: Site, tight: Path) -> None:
    python = shlex.quote(sys.executable)
    site.shell(
        "oom",
        f"echo $$ > {tight}/cgroup.procs; exec {python} -c 'x = bytearray(200 * 2**20)'",
        retry="oom=1:0.1s",
    )
    site.shell("killed_by_hand", "kill -KILL $$")
    site.launch()
    assert [end.data["cause"] for end in site.ends("oom")] == 2 * [states.OOM], site.diagnosis()
    assert "Attempt 2 of 2 ended with oom" in site.named("oom").state_history
    if os.access("/dev/kmsg", os.R_OK):
        assert site.end("killed_by_hand").data["cause"] == states.SIGNAL


def test_every_cause_that_one_node_knows_is_told_apart(site: Site, fake_mpirun: Path) -> None:
    """But oom, which needs a control group (above), and node_lost, which needs nodes."""
    fake_mpirun.write_text("FAKE_MPIRUN_MODE=fail\n")
    site.job(states.OK, "/bin/true")
    site.shell(states.EXIT, "exit 3")
    site.shell(states.SIGNAL, "kill -SEGV $$")
    site.job(states.PROGRAM_MISSING, "/no/such/program")
    site.job(states.STAGING, "/bin/true", stage_in_url="/no/such/directory")
    site.job(states.HOOK, preprocess="/bin/false")
    site.shell(states.JOB_TIME_LIMIT, "sleep 600", time_limit_minutes=0.005, max_attempts=1)
    site.job(states.UNSATISFIABLE, "/bin/true", num_nodes=3)
    site.job(states.PARENT_FAILED, parents=[site.named(states.EXIT)])
    site.job(states.MPI_LAUNCH_FAILED, ranks_per_node=2, retry="mpi_launch_failed=0")
    site.shell(states.KILLED, "exec sleep 600", priority=-1)
    site.shell(states.BATCH_TIME_LIMIT, "exec sleep 600", priority=-1, auto_timeout_retry=False)
    ended = {
        states.OK: states.JOB_FINISHED,
        states.KILLED: states.USER_KILLED,
    }
    first = site.start()
    for name in (states.KILLED, states.BATCH_TIME_LIMIT):
        site.until_state(name, states.RUNNING)
    site.balsam(f"kill --name {states.KILLED} --yes")
    site.until(lambda: site.ends(states.KILLED), "the killed one ends")
    others = [job.name for job in BalsamJob.objects.exclude(name=states.BATCH_TIME_LIMIT)]
    for name in others:
        site.until_state(name, ended.get(name, states.FAILED))
    first.signal(signal.SIGTERM)
    first.wait()
    site.shell(states.LAUNCHER_LOST, "[ $BALSAM_ATTEMPT = 2 ] || exec sleep 600")
    second = site.start()
    site.until_state(states.LAUNCHER_LOST, states.RUNNING)
    second.signal(signal.SIGKILL)
    second.wait(-signal.SIGKILL)
    site.launch()
    told = {job.name: site.ends(job.name)[0].data["cause"] for job in BalsamJob.objects.all()}
    assert told == {cause: cause for cause in states.CAUSES if cause in told}, site.diagnosis()
    assert set(states.CAUSES) - set(told) == {states.OOM, states.NODE_LOST}
    assert site.named(states.LAUNCHER_LOST).lost_attempts == 1
    site.check_clean()
