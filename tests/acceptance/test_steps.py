"""Between runs: time-outs and errors with their handlers, files, and children of hooks."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import psutil
import pytest

from balsam import states
from balsam.core.models import BalsamJob
from balsam.launcher import dag

from .conftest import PROGRAMS, Site, gone


def hook(program: str, *words: str) -> str:
    return shlex.join([sys.executable, str(PROGRAMS / program), *words])


#: Fails in its first attempt only.
ONCE = "echo attempt $BALSAM_ATTEMPT; [ $BALSAM_ATTEMPT != 1 ]"
#: Is too slow in its first attempt only.
SLOW_ONCE = "echo attempt $BALSAM_ATTEMPT; [ $BALSAM_ATTEMPT != 1 ] || exec sleep 600"
LIMIT = {"time_limit_minutes": 0.005}


def test_handlers_and_policies(site: Site) -> None:
    site.settings(max_attempts=3)
    rescue = hook("set_state.py", "RESTART_READY")
    site.shell("retried", SLOW_ONCE, **LIMIT)
    site.shell("twice", "exec sleep 600", max_attempts=2, **LIMIT)
    site.shell("unretried", "exec sleep 600", auto_timeout_retry=False, **LIMIT)
    site.shell("timeout_handled", SLOW_ONCE, post_timeout_handler=True, postprocess=rescue, **LIMIT)
    site.shell("rescued", ONCE, post_error_handler=True, postprocess=rescue)
    site.shell("unrescued", "exit 7", postprocess=rescue)
    site.shell(
        "forgotten", "exit 7", post_error_handler=True, postprocess=hook("set_state.py", "forget")
    )
    site.shell(
        "set_and_failed", "exit 7", post_error_handler=True,
        postprocess=hook("set_state.py", "RESTART_READY", "5"),
    )  # fmt: skip
    site.shell("for_ever", "exit 7", post_error_handler=True, postprocess=rescue)
    site.launch()
    site.check_clean()

    assert site.state("retried") == states.JOB_FINISHED
    assert site.path_of("retried")[-6:] == [
        states.RUN_TIMEOUT, states.RESTART_READY, states.RUNNING, states.RUN_DONE,
        states.POSTPROCESSED, states.JOB_FINISHED,
    ]  # fmt: skip
    assert site.output("retried") == "attempt 2\n"
    assert site.output("retried", ".1") == "attempt 1\n"

    assert site.state("twice") == states.FAILED
    assert site.path_of("twice").count(states.RUNNING) == 2
    assert "max_attempts" in site.named("twice").state_history
    assert site.state("unretried") == states.FAILED
    assert site.path_of("unretried").count(states.RUNNING) == 1

    for name in ("timeout_handled", "rescued"):
        assert site.state(name) == states.JOB_FINISHED, site.diagnosis()
        assert site.path_of(name).count(states.RUNNING) == 2
        assert "set by its handler" in site.named(name).state_history
        log = Path(site.named(name).working_directory, "postprocess.log").read_text()
        trouble = "timeout" if name == "timeout_handled" else "error"
        assert f"handling {trouble} of {name}" in log

    assert site.state("unrescued") == states.FAILED
    assert states.RESTART_READY not in site.path_of("unrescued")
    assert site.state("forgotten") == states.FAILED
    assert "without setting a state" in site.end("forgotten").message
    assert site.state("set_and_failed") == states.FAILED
    assert "exit code 5" in site.end("set_and_failed").message
    assert site.state("for_ever") == states.FAILED
    assert site.path_of("for_ever").count(states.RUNNING) == 3


def test_a_timeout_handler_may_also_give_up(site: Site) -> None:
    site.shell(
        "job", "exec sleep 600", post_timeout_handler=True,
        postprocess=hook("set_state.py", "FAILED"), **LIMIT,
    )  # fmt: skip
    site.launch()
    assert site.state("job") == states.FAILED
    assert "set by its handler" in site.named("job").state_history


def test_a_postprocess_spawns_children(site: Site) -> None:
    site.app("source", "/bin/true", postprocess=hook("spawn_children.py"))
    site.job("root", application="source")
    site.launch()
    site.all_finished()
    assert site.output("total") == "0\n1\n2\n"
    total = site.named("total")
    assert {parent.name for parent in total.get_parents()} == {"root", "part0", "part1", "part2"}
    assert total.workflow == site.named("root").workflow
    assert "spawned by [root | " in total.state_history
    site.check_clean()


#: Asks for the relatives that no variable can hold.
KIN = """\
import os
from balsam.launcher import dag
print(sorted(set(os.environ) & {"BALSAM_PARENT_IDS", "BALSAM_CHILD_IDS"}))
print(len(dag.parents), len(dag.children))
"""


def test_a_job_may_have_thousands_of_parents_and_children(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(number) for number in range(4000)]
    site.shells(names, "true", workflow="others")
    others = BalsamJob.objects.filter(workflow="others")
    program = site.home / "kin.py"
    program.write_text(KIN)
    command = shlex.join([sys.executable, str(program)])
    job = site.job(
        "job", command, preprocess=command, postprocess=command, parents=list(others),
        wait_for_parents=False, input_files="",
    )  # fmt: skip
    BalsamJob.objects.bulk_create(
        [BalsamJob(name=f"child{n}", workflow="others", parents=[job]) for n in names]
    )
    # Of a launcher that itself runs in a job, nothing is taken for theirs.
    for name in ("BALSAM_PARENT_IDS", "BALSAM_CHILD_IDS"):
        monkeypatch.setitem(site.env, name, "[]")
    site.launch("--wf-filter", "w")
    assert site.state("job") == states.JOB_FINISHED, site.diagnosis()
    assert site.output("job") == "[]\n4000 4000\n"
    for hook_name in ("preprocess", "postprocess"):
        log = Path(site.named("job").working_directory, f"{hook_name}.log").read_text()
        assert log.splitlines()[1:] == ["[]", "4000 4000"]
    site.check_clean()


def test_a_directory_that_can_not_be_looked_at_is_not_there(site: Site) -> None:
    site.job("a_long", user_workdir=f"/tmp/{300 * 'x'}", preprocess="/bin/true")
    locked = site.home / "locked"
    (locked / "work").mkdir(parents=True)
    locked.chmod(0)
    site.job("a_locked", user_workdir=str(locked / "work"), preprocess="/bin/true")
    site.job("b", preprocess="/bin/true")
    site.launch()
    locked.chmod(0o700)
    for name in ("a_long", "a_locked", "b"):
        assert site.state(name) == states.JOB_FINISHED, site.diagnosis()
    site.check_clean()


def test_files_flow_between_parents_and_out(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "in.txt").write_text("from outside\n")
    first = site.shell("a", "cat in.txt > a.dat; echo x > same.dat", stage_in_url=f"{source}/*")
    second = site.shell("b", "echo y > same.dat")
    site.shell(
        "c", "cat a.dat; cat same*.dat | sort; ls a.out b.out; echo out > result.res",
        parents=[first, second], input_files="*.dat",
        stage_out_url=f"file://{tmp_path}/target", stage_out_files="*.res",
    )  # fmt: skip
    site.launch()
    site.until(lambda: site.state("c") in states.END_STATES, "c ends", 1)
    assert (tmp_path / "target" / "result.res").read_text() == "out\n", site.diagnosis()
    said = site.output("c").splitlines()
    assert said[:3] == ["from outside", "x", "y"]
    assert sum("No such file" in line for line in said) == 2


@pytest.mark.parametrize("moment", ["preprocess", "postprocess"])
def test_a_kill_reaches_a_job_in_its_hook(site: Site, moment: str) -> None:
    site.settings(num_workers=1)
    site.job("job", "/bin/true", **{moment: f"/bin/sh {PROGRAMS}/family.sh"})
    site.job("next", "/bin/true", **{moment: "/bin/true"})
    launcher = site.start()
    members = site.family("job")
    dag.kill(site.named("job"))
    # A hook may take its time to clean up, but the next one does not wait for ever.
    site.until(lambda: gone(members), "the hook's processes end", 5)
    launcher.wait()
    assert site.state("job") == states.USER_KILLED
    assert site.state("next") == states.JOB_FINISHED
    site.check_clean()


def test_a_job_that_is_deleted_in_its_hook(site: Site) -> None:
    site.job("job", preprocess=f"/bin/sh {PROGRAMS}/family.sh")
    site.job("other", preprocess="/bin/true")
    launcher = site.start()
    members = site.family("job")
    site.named("job").delete()
    site.until(lambda: gone(members), "the hook's processes end", 5)
    launcher.wait()
    assert site.counts() == {states.JOB_FINISHED: 1}
    site.check_clean()


def test_a_parent_that_comes_during_a_step_is_waited_for(site: Site, tmp_path: Path) -> None:
    go, come = tmp_path / "go", tmp_path / "come"

    def wait_for(file: Path) -> str:
        return f"while [ ! -e {file} ]; do sleep 0.02; done"

    slow = f"touch here; {wait_for(come)}"
    child = site.job("child", "/bin/true", preprocess=f"/bin/sh -c {shlex.quote(slow)}")
    parent = site.shell("parent", wait_for(go))
    launcher = site.start()
    site.until(Path(child.working_directory, "here").exists, "the hook runs")
    site.until_state("parent", states.RUNNING)
    dag.add_dependency(parent, child)
    come.touch()
    site.until(lambda: not site.named("child").lock, "the child's launcher lets go of it")
    assert site.state("child") == states.AWAITING_PARENTS
    go.touch()
    launcher.wait()
    site.all_finished()
    path = site.path_of("child")
    assert path.index(states.AWAITING_PARENTS) < path.index(states.RUNNING)
    began = site.named("child").get_state_times()[states.RUNNING]
    assert began > site.named("parent").get_state_times()[states.JOB_FINISHED]
    site.check_clean()


def test_a_worker_that_is_killed_is_replaced_and_its_job_is_not_lost(site: Site) -> None:
    script = "[ -f been ] || { touch been; exec sleep 600; }; echo again"
    site.job("job", "/bin/true", preprocess=f"/bin/sh -c {shlex.quote(script)}")
    launcher = site.start()
    been = Path(site.named("job").working_directory, "been")
    site.until(been.exists, "the hook runs")
    below = psutil.Process(launcher.process.pid).children()
    workers = [child.pid for child in below if "transitions.worker" in line(child.pid)]
    assert len(workers) == 1
    os.kill(workers[0], signal.SIGKILL)
    launcher.wait()
    site.all_finished()
    site.check_clean()


def test_a_hook_that_is_killed_fails_only_its_job(site: Site) -> None:
    site.job("job", "/bin/true", preprocess="/bin/sh -c 'touch here; exec sleep 600'")
    site.job("other", "/bin/true", preprocess="/bin/true")
    launcher = site.start()
    here = Path(site.named("job").working_directory, "here")
    site.until(here.exists, "the hook runs")
    site.until(lambda: len(site.processes()) == 1, "nothing else runs")
    (pid,) = site.processes()
    os.kill(pid, signal.SIGKILL)
    launcher.wait()
    assert site.state("job") == states.FAILED
    assert "SIGKILL" in site.end("job").message
    assert site.state("other") == states.JOB_FINISHED
    site.check_clean()


def line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_what_needs_no_hook_goes_on_beside_an_application_that_has_one(site: Site) -> None:
    site.app("hooked", "/bin/true", preprocess="/bin/true", postprocess="/bin/true")
    site.app("plain", "/bin/true")
    site.job("direct", "/bin/true")
    site.job("of_plain", application="plain")
    site.job("of_hooked", application="hooked")
    site.launch()
    site.all_finished()
    assert "No preprocess: skipped" in site.named("direct").state_history
    assert "No postprocess: skipped" in site.named("of_plain").state_history
    assert "skipped" not in site.named("of_hooked").state_history


def test_a_job_that_is_sent_back_goes_its_way_again(site: Site) -> None:
    site.shell("job", "echo $BALSAM_ATTEMPT >> all")
    site.launch()
    for number, state in enumerate((states.CREATED, states.STAGED_IN, states.RUN_DONE), 1):
        site.named("job").update_state(state)
        site.launch()
        assert site.state("job") == states.JOB_FINISHED, site.diagnosis()
        assert site.named("job").attempt == min(number + 1, 3)
    site.check_clean()
