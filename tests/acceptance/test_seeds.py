"""The listings of the talks on earlier Balsam, typed as printed in an empty directory."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from balsam import states
from balsam.core.models import BalsamJob, EventLog
from tests.acceptance.terminal import Terminal

SEEDS = Path(__file__).parent / "seeds"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TIME = r"\d\d-\d\d-\d{4} \d\d:\d\d:\d\d\.\d{6}"

# hello.py ends with an error on each of four ranks, the machine has perhaps two cores.
ADD_HELLO = "balsam app --exec hello.py --name hello --desc 'say hello and fail'"
ADD_TEST = (
    "balsam job --name test --app hello --num-nodes 1 --ranks-per 4 --workflow SDL --wall-minutes 1"
)
ADD_MYAPP = 'balsam app --name myapp --desc "my application" --exec myapp.py'
ADD_MYJOB = """\
balsam job --name myjob --workflow balsam_tutorial --application myapp \\
--wall-min 60 --num-nodes 8 --ranks-per-node 1"""
LAUNCH = "balsam launcher --consume"
LAUNCH_IN_A_BATCH_JOB = "balsam_launcher --consume-all --max-ranks 4"


def listing(name: str) -> str:
    """What a talk printed."""
    return (SEEDS / f"{name}.txt").read_text()


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """An empty directory made a project, which the talks take for granted."""
    terminal = Terminal(tmp_path)
    terminal.type("balsam init .")
    return terminal


def put(terminal: Terminal, *names: str) -> None:
    for name in names:
        (terminal.cwd / name).write_text(listing(name))


@pytest.mark.mpi
def test_hello_on_four_ranks_fails_with_its_reason(terminal: Terminal) -> None:
    put(terminal, "hello.py")
    assert terminal.type(ADD_HELLO).endswith("Added app to database\n")
    assert "workflow:                       SDL\n" in terminal.type(ADD_TEST)
    row = terminal.type("balsam ls").splitlines()[2]
    assert re.fullmatch(rf"{UUID} \| test \| SDL +\| hello +\| CREATED", row)

    terminal.type(LAUNCH)

    history = terminal.type("balsam ls --hist")
    shown = [
        r"CREATED\]", r"READY\] dependencies satisfied", r"STAGED_IN\]",
        r"PREPROCESSED\] No preprocess: skipped", r"RUNNING\]", r"RUN_ERROR\] RETURN CODE 1:",
        r"FAILED\] No error handler: run failed\n",
    ]  # fmt: skip
    assert re.search(".*".join(rf"\[{TIME} {state}" for state in shown), history, re.DOTALL)
    with terminal.record(terminal.cwd):
        job = BalsamJob.objects.get()
        end = EventLog.objects.get(job=job, to_state=states.RUN_ERROR)
        output = job.read_file_in_workdir("test.out")
        directory = Path(job.working_directory)
    assert job.state == states.FAILED
    assert directory.parent == terminal.cwd / "data" / "SDL"
    assert (end.data["cause"], end.data["returncode"], end.data["attempt"]) == (states.EXIT, 1, 1)
    assert sorted(re.findall(r"Hello from (\d)", output)) == ["0", "1", "2", "3"]
    assert "Traceback (most recent call last):" in output
    assert output.count("raise RuntimeError") == 4


@pytest.mark.parametrize("launch", [LAUNCH, LAUNCH_IN_A_BATCH_JOB])
def test_the_eigenvalues_of_random_matrices(terminal: Terminal, launch: str) -> None:
    np = pytest.importorskip("numpy")
    put(terminal, "parent.py", "eigen.py", "reduce.py", "parent-post.py")
    terminal.type("balsam app --name parent --exec parent.py --post parent-post.py")
    terminal.type("balsam app --name eigen --exec eigen.py")
    terminal.type("balsam app --name reduce --exec reduce.py")
    terminal.type("balsam job --name parent --workflow eigenvalues --application parent")

    terminal.type(launch)

    with terminal.record(terminal.cwd):
        jobs = {job.name: job for job in BalsamJob.objects.all()}
        assert {job.state for job in jobs.values()} == {states.JOB_FINISHED}
        outputs = sorted(Path(jobs["parent"].working_directory).glob("output*.npy"))
        assert 2 <= len(outputs) <= 6
        eigens = {f"eigen{number}" for number in range(len(outputs))}
        assert set(jobs) == {"parent", "reduce", *eigens}
        assert {job.name for job in jobs["reduce"].get_parents()} == {"parent", *eigens}
        result = jobs["reduce"].read_file_in_workdir("results.dat")
        for name in eigens:
            linked = Path(jobs[name].working_directory).glob("output*")
            assert [path.name for path in linked] == [jobs[name].args]
    exact = np.sort(np.concatenate([np.linalg.eigvalsh(np.load(file)) for file in outputs]))
    lines = result.splitlines()
    assert (lines[0], lines[6], len(lines)) == ("Lowest 5:", "Highest 5:", 12)
    assert np.allclose([float(line) for line in lines[1:6]], exact[:5])
    assert np.allclose([float(line) for line in lines[7:]], exact[-5:])


def test_an_optimiser_that_spawns_and_polls(terminal: Terminal) -> None:
    driver = listing("around.py")
    for place, name in [("#IMPORTS", "imports.py"), ("#CREATE_JOB", "create_job.py")]:
        driver = driver.replace(place, listing(name))
    loop = textwrap.indent(listing("read_results.py"), "    ")
    (terminal.cwd / "driver.py").write_text(driver.replace("    #READ_RESULTS\n", loop))
    (terminal.cwd / "benchmark.py").write_text(
        "import os, sys\n"
        "assert os.environ['KERAS_BACKEND'] == 'theano'\n"
        "given = dict(word[2:].split('=') for word in sys.argv[1:])\n"
        "assert sorted(given) == ['rate', 'width']\n"
        "print(float(given['width']) * (10 + float(given['rate'])))\n"
    )
    terminal.type("balsam app --name driver --exec driver.py")
    terminal.type(
        f"balsam job --name driver --workflow opt --app driver --args {terminal.cwd}/benchmark.py "
        "--node-packing-count 4"
    )

    terminal.type(LAUNCH)

    with terminal.record(terminal.cwd):
        assert BalsamJob.objects.counts_by_state() == {states.JOB_FINISHED: 7}
        driver_job = BalsamJob.objects.get(name="driver")
        assert "the search has heard of all 6" in driver_job.read_file_in_workdir("driver.out")
        assert driver_job.get_children().count() == 6


def test_the_command_lines_of_the_campaign_talk(terminal: Terminal) -> None:
    (terminal.cwd / "myapp.py").write_text("print('done')\n")
    terminal.type(ADD_MYAPP)
    for _ in range(2):
        terminal.type(ADD_MYJOB)
    rows = terminal.type("balsam ls").splitlines()
    assert [name.strip() for name in rows[0].split("|")] == [
        "job_id", "name", "workflow", "application", "state",
    ]  # fmt: skip
    (first, second) = [
        re.fullmatch(rf"({UUID}) \| myjob \| balsam_tutorial \| myapp +\| CREATED", row)
        for row in rows[2:]
    ]
    assert first and second
    refused = terminal.type(f"balsam rm jobs --id {first[1]}", code=1)
    assert "PERMANENTLY remove job [myjob | " in refused  # nobody is there to ask
    terminal.type(f"balsam rm jobs --id {first[1]} --force")
    assert re.findall(UUID, terminal.type("balsam ls")) == [second[1]]
    # Eight nodes are more than there are here, which is said at once.
    terminal.type(LAUNCH_IN_A_BATCH_JOB)
    assert "asks for 8 nodes; this launcher has 1" in terminal.type("balsam ls --hist")
    commands = terminal.type("balsam --help")
    for name in ("app", "job", "dep", "ls", "modify", "rm", "qsub", "mkchild", "launcher", "init"):
        assert re.search(rf"^ +{name}  ", commands, re.MULTILINE), name
    assert "Stop jobs for good" in terminal.type("balsam killjob --help")


def test_the_hello_world_of_the_overview_talk(terminal: Terminal) -> None:
    """Its dashes are typographic in print; the line that submits to a scheduler is left out."""
    (terminal.cwd / "hello.py").write_text("print('hello')\n")
    terminal.type("balsam init hello_db")
    said = terminal.type_in_bash(
        ". balsamactivate hello_db",
        "balsam app --name hello --executable hello.py",
        "balsam job --name hello1 --workflow test --application hello --yes",
        "for n in 2 3 4 5 6 7 8 9 10; do"
        " balsam job --name hello$n --workflow test --application hello --yes; done",
        "balsam ls",
        "balsam launcher --consume-all",
        "balsam ls \u2014hist",
        "balsam ls \u2014state JOB_FINISHED",
        "balsam modify 1 num_nodes 2",
        "balsam ls \u2014by-states",
        ". bcd 1 && pwd && ls",
        ". balsamdeactivate",
        "echo left ${BALSAM_DB_PATH:-no project}",
    )
    assert said.count("hello10 | test     | hello       | JOB_FINISHED") == 1
    assert "    JOB_FINISHED  10\n" in said
    assert "job num_nodes changed to:  2\n" in said
    assert re.search(r"/hello_db/data/test/hello1_[0-9a-f]{8}\nhello1.out\n", said)
    assert said.endswith("left no project\n")
