"""``balsam qsub``, ``mkchild`` and ``make_dummies``: jobs in the words of other tools."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from balsam.core.models import ApplicationDefinition, BalsamJob
from tests.tools import prepared

from .conftest import BALSAM, PATIENCE_SECONDS, Site

MKCHILD = shlex.join([*BALSAM, "mkchild"])
SCRIPT = """\
#!/bin/sh
#COBALT -n 1 -t 1:30 --jobname inside
echo "$# $2 $A:$C"
echo "$BALSAM_NUM_NODES $BALSAM_NODES $BALSAM_CORES_PER_NODE $COBALT_JOBSIZE"
pwd
"""


@pytest.fixture
def here(site: Site) -> Path:
    path = site.path / "some where"
    path.mkdir()
    return path


def qsub(site: Site, here: Path, *words: str, code: int = 0) -> tuple[str, str]:
    """What ``balsam qsub``, typed in ``here``, prints to stdout and stderr."""
    done = prepared.run_text(["qsub", *words], cwd=here, env=site.env, timeout=PATIENCE_SECONDS)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def script(here: Path, text: str = SCRIPT, mode: int = 0o755) -> Path:
    path = here / "job.sh"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_id_alone_is_printed_and_the_command_runs_here(site: Site, here: Path) -> None:
    said = qsub(site, here, "-n", "1", "-t", "10", "--name", "p", "-A", "x", "-q", "y", "pwd")
    assert said == (
        "1\n",
        "Note: -A and -q mean nothing to Balsam; they were ignored.\n",
    )
    job = site.named("p")
    assert (job.workflow, job.wall_time_minutes, job.auto_timeout_retry) == ("qsub", 10, False)
    site.launch()
    assert site.output("p") == f"{here}\n"
    assert list(here.iterdir()) == []


def test_options_of_aprun_and_variables(site: Site, here: Path) -> None:
    qsub(site, here, "-n2", "-N", "3", "-d", "4", "-j", "2", "--env", "A=1:U=http://h:80",
         "--env", "B=2", "-t", "01:30:00", "echo", "-n", "--name")  # fmt: skip
    job = site.named("echo")
    found = (job.num_nodes, job.ranks_per_node, job.threads_per_rank, job.threads_per_core)
    assert found == (2, 3, 4, 2)
    assert job.environ_vars == {"A": "1", "U": "http://h:80", "B": "2"}
    assert (job.wall_time_minutes, job.direct_command) == (90, "echo -n --name")


def test_a_script_is_run_once_with_the_node_to_itself(site: Site, here: Path) -> None:
    script(here)
    site.env["OMPI_COMM_WORLD_SIZE"] = "7"
    qsub(site, here, "--env", "A=1:C=2", "-O", "res", "job.sh", "one", "two words")
    job = site.named("inside")
    assert job.wall_time_minutes == 90
    assert job.launch_params["whole_nodes"] is True
    site.launch()
    lines = (here / "res.output").read_text().splitlines()
    assert lines[0] == "2 two words 1:2"
    assert lines[1].split()[0::2] == ["1", "2"]
    assert lines[1].split()[3] == "1"
    assert lines[2] == str(here)


def test_a_script_may_call_mpirun(site: Site, here: Path) -> None:
    mpirun = Path(sys.executable).parent / "mpiexec"
    if not mpirun.exists():
        pytest.skip("no mpiexec beside this Python")
    script(here, f"#!/bin/sh\n{mpirun} -n 2 echo rank\necho end\n")
    qsub(site, here, "-N", "2", "--name", "mpi", "./job.sh")
    site.launch()
    assert site.output("mpi") == "rank\nrank\nend\n"


def test_a_script_holds_the_cores_it_asks_for(site: Site, here: Path) -> None:
    site.settings(cores_per_node=2)
    span = 'echo "$1 begin" >> "$RUNS"; sleep 0.3; echo "$1 end" >> "$RUNS"\n'
    script(here, f"#!/bin/sh\n{span}")
    for number in "123":
        qsub(site, here, *(("-N", "2") if number == "2" else ()), "job.sh", number)
    site.launch()
    ran = site.ran()
    assert len(ran) == 6
    assert all(ran[i].split()[0] == ran[i + 1].split()[0] for i in (0, 2, 4)), ran


@pytest.mark.parametrize(
    ("text", "mode", "options"),
    [
        ("#!/bin/sh\necho ok\n", 0o644, ()),
        ("echo ok\n", 0o644, ()),
        ("echo ok\n", 0o755, ()),
        ("#!/bin/sh\necho ok\n", 0o755, ("--mode", "script")),
    ],
)
def test_scripts_as_queues_take_them(
    site: Site, here: Path, text: str, mode: int, options: tuple[str, ...]
) -> None:
    script(here, text, mode)
    qsub(site, here, "-N", "2", *options, "job.sh")
    site.launch()
    assert site.output("job.sh") == "ok\n"


def test_a_script_may_be_run_by_every_rank(site: Site, here: Path) -> None:
    script(here, "#!/bin/sh\necho ok\n")
    qsub(site, here, "--mode", "c2", "job.sh")
    site.launch()
    assert site.output("job.sh") == "ok\nok\n"


def test_one_line_for_the_shell(site: Site, here: Path) -> None:
    qsub(site, here, "echo a && echo b")
    site.launch()
    assert site.output("echo") == "a\nb\n"


def test_dependencies_are_waited_for(site: Site, here: Path) -> None:
    qsub(site, here, "true")
    qsub(site, here, "--name", "other", "true")
    qsub(site, here, "--name", "child", "--dependencies", "1:2", "true")
    assert set(site.named("child").get_parents().values_list("id", flat=True)) == {1, 2}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nosuch",), 1, "There is no file or program 'nosuch' here"),
        (("./nosuch",), 1, "There is no file or program './nosuch' here"),
        (("-t", "soon", "true"), 2, "'soon' is no time; write minutes or HH:MM:SS."),
        (("--mode", "vn", "true"), 2, "'vn' is no mode"),
        (("--dependencies", "77", "true"), 1, "No job has the id '77'"),
        (("--env", "A", "true"), 1, "'A' is no environment variable"),
        (("--cwd", "none", "true"), 1, "--cwd: there is no directory"),
        (("-O", "no/where", "true"), 1, "-O: there is no directory"),
        (("bad.sh",), 1, "bad.sh, line 2: 'x' is no number of nodes"),
        ((), 2, "Missing argument"),
    ],
)
def test_bad_calls_add_nothing(
    site: Site, here: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    (here / "bad.sh").write_text("#!/bin/sh\n#COBALT -n x\n")
    out, error = qsub(site, here, *words, code=code)
    assert out == ""
    assert message in error
    assert len(error.splitlines()) == 1
    assert not BalsamJob.objects.exists()


def test_a_file_in_the_way_of_the_link_is_left_alone(site: Site, here: Path) -> None:
    (here / "res.output").write_text("mine")
    qsub(site, here, "-O", "res", "true", code=1)
    assert (here / "res.output").read_text() == "mine"
    assert not BalsamJob.objects.exists()


# -- mkchild ------------------------------------------------------------------------------------


def test_mkchild_in_a_running_job_and_in_its_script(site: Site) -> None:
    site.app("leaf", "echo leaf")
    site.app(
        "root",
        f"{MKCHILD} --name kid --app leaf --wall-minutes 5 --num-nodes 1 --ranks-per-node 1",
        postprocess=f"{MKCHILD} --name late --workflow other --app leaf --args a b --env X=1 "
        "--tag k=v --priority 2",
    )
    site.job("root", application="root", workflow="wf")
    site.launch()
    site.all_finished()
    kid, late = site.named("kid"), site.named("late")
    assert [job.get_parents().get().name for job in (kid, late)] == ["root", "root"]
    assert (kid.workflow, kid.wall_time_minutes) == ("wf", 5)
    assert (late.workflow, late.environ_vars) == ("other", {"X": "1"})
    assert (late.tags, late.priority) == ({"k": "v"}, 2)
    assert site.output("late") == "leaf a b\n"
    assert "Added job 2 [kid | " in site.output("root")


def test_a_child_runs_the_application_of_its_parent(site: Site) -> None:
    program = f'sh -c "[ -n \\"$1\\" ] || {MKCHILD} --name kid --args again" sh'
    site.app("self", program)
    site.job("root", application="self")
    site.launch()
    site.all_finished()
    assert (site.named("kid").application, site.named("kid").args) == ("self", "again")


def test_mkchild_needs_an_application_and_a_job(site: Site) -> None:
    assert "'balsam mkchild' works inside a running job" in site.balsam("mkchild --name x", code=1)
    job = site.job("direct")
    site.env["BALSAM_JOB_ID"] = str(job.job_id)
    assert "say which application" in site.balsam("mkchild --name x", code=1)
    site.env["BALSAM_JOB_ID"] = "01234567-89ab-7cde-8f01-23456789abcd"
    assert "this project has no such job" in site.balsam("mkchild --name x", code=1)
    assert BalsamJob.objects.count() == 1


# -- make_dummies -------------------------------------------------------------------------------


def test_dummies(site: Site) -> None:
    assert site.balsam("make_dummies 3") == "Added 3 dummy jobs to the DB\n"
    site.balsam("make-dummies 1")
    assert ApplicationDefinition.objects.get().executable == "echo"
    jobs = BalsamJob.objects.order_by("id")
    assert [job.name for job in jobs] == ["dummy0", "dummy1", "dummy2", "dummy0"]
    assert {(job.workflow, job.application, job.args, job.node_packing_count) for job in jobs} == {
        ("dummy", "dummy", "hello", 64)
    }
    site.launch()
    site.all_finished()
    assert site.output("dummy1") == "hello\n"


@pytest.mark.parametrize("words", ["make_dummies 0", "make_dummies many", "make_dummies"])
def test_no_number_of_dummies(site: Site, words: str) -> None:
    site.balsam(words, code=2)
    assert not BalsamJob.objects.exists()


def test_resources_are_listed_as_for_pbs(site: Site, here: Path) -> None:
    wanted = "select=2:ncpus=8:mpiprocs=4:mem=1gb"
    said = qsub(site, here, "-l", wanted, "-l", "walltime=1:30:00", "-n", "3", "true")
    assert said == ("1\n", "Note: -l mem means nothing to Balsam; it was ignored.\n")
    job = BalsamJob.objects.get()
    assert (job.num_nodes, job.ranks_per_node, job.threads_per_rank) == (3, 4, 2)
    assert job.wall_time_minutes == 90
