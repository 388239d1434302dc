"""Machine files: all that come with Balsam, one's own, and what the errors say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.conf import machine_file, machines
from balsam.conf.machine_file import Window
from balsam.conf.machines import Machine
from balsam.errors import SettingsError

PACKAGED = machines.available()
FILE = Path("there/mine.yml")


def parse(text: str) -> Machine:
    return machines.parse(text, FILE)


def refusal(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith(str(FILE)) and "\n" not in message
    return message


def test_which_there_are() -> None:
    assert list(PACKAGED) == [
        "aurora", "cobalt", "cooley", "laptop", "lsf", "pbs", "perlmutter-cpu", "perlmutter-gpu",
        "polaris", "slurm", "summit", "theta", "thetagpu",
    ]  # fmt: skip


@pytest.mark.parametrize("name", PACKAGED)
def test_each_of_them_makes_sense(name: str) -> None:
    machine = machines.load(name)
    assert (machine.name, machine.path) == (name, str(PACKAGED[name]))
    assert machine.title and machine.scheduler in machine_file.SCHEDULERS
    assert not machine.gpus or machine.gpu_masks
    shape = machine.shape
    if shape is None:
        return
    cpus = [cpu for core in shape.cpus for cpu in core]
    assert len(shape.cpus) == shape.cores and len(cpus) == len(set(cpus))
    if shape.numa:
        assert sorted(core for domain in shape.numa for core in domain) == list(range(shape.cores))
    assert shape.gpus == machine.gpus
    assert len(shape.gpu_numa) in (0, len(shape.gpus))
    for queue in machine.queues.values():
        assert queue.windows


@pytest.mark.parametrize(
    ("name", "cores", "threads", "domains", "gpus"),
    [
        ("theta", 64, 4, 0, 0), ("thetagpu", 128, 2, 8, 8), ("cooley", 12, 1, 2, 2),
        ("polaris", 32, 2, 4, 4), ("aurora", 104, 2, 2, 12), ("perlmutter-cpu", 128, 2, 8, 0),
        ("perlmutter-gpu", 64, 2, 4, 4), ("summit", 42, 4, 2, 6),
    ],
)  # fmt: skip
def test_what_their_nodes_have(
    name: str, cores: int, threads: int, domains: int, gpus: int
) -> None:
    shape = machines.load(name).shape
    assert shape is not None
    found = (shape.cores, shape.threads_per_core, len(shape.numa), len(shape.gpus))
    assert found == (cores, threads, domains, gpus)


def test_order_and_masks_of_gpus() -> None:
    polaris, aurora = machines.load("polaris"), machines.load("aurora")
    assert polaris.shape and aurora.shape
    assert (polaris.shape.gpus, polaris.shape.gpu_numa) == (("3", "2", "1", "0"), (0, 1, 2, 3))
    assert (aurora.shape.gpus[0], aurora.shape.gpus[11]) == ("0.0", "5.1")
    assert aurora.gpu_masks == ("ZE_AFFINITY_MASK",)
    assert aurora.gpu_environ == {
        "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1", "ZE_FLAT_DEVICE_HIERARCHY": "COMPOSITE",
    }  # fmt: skip
    assert aurora.max_launches == 1000
    summit = machines.load("summit").shape
    assert summit and (summit.cpus[20], summit.cpus[21]) == ((80, 81, 82, 83), (88, 89, 90, 91))


def test_queues() -> None:
    queues = machines.load("theta").queues
    assert queues["default"].max_queued == 20
    assert queues["default"].windows[-1] == Window(802, 4010, 30, 1440)


def test_an_empty_file_is_a_machine() -> None:
    assert parse("") == Machine("mine", title="mine", path=str(FILE))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nod: {}", ["line 1", "unknown setting 'nod'", "'node'?", "queues"]),
        ("node:\n  core: 4", ["line 2", "unknown setting 'core'", "'cores'?", "cpu_ids"]),
        ("node: 4", ["line 1", "node is '4'"]),
        ("node:\n  cores: many", ["line 2", "node.cores is 'many'", "a whole number"]),
        ("node:\n  cores: -1", ["line 2", "at least 0"]),
        ("scheduler: slrum", ["scheduler is 'slrum'", "'', cobalt, pbs, slurm, lsf"]),
        ("mpi: {flavour: mpch}", ["mpi.flavour", "aprun", "pals"]),
        ("gpus:\n  ids: 4", ["line 2", "gpus.ids is '4'", "a list of texts"]),
        ("gpus:\n  ids: [0, [1]]", ["an element of gpus.ids is a list"]),
        ("gpus:\n  ids: [0, ~]", ["an element of gpus.ids"]),
        ("gpus:\n  ids: [0]", ["line 1", "gpus.masks is empty"]),
        ("gpus: {ids: [0, 0], masks: [M]}", ["names a GPU twice"]),
        ("gpus:\n ids: [0]\n masks: [M]\n numa: [0, 1]", ["line 4", "which are 1"]),
        ("node: {cores: 4}\ngpus:\n ids: [0]\n masks: [M]\n numa: [1]", ["line 5", "below 1"]),
        ("gpus: {numa: [x]}", ["gpus.numa has 'x'", "a whole number"]),
        ("gpus: {environ: [1]}", ["gpus.environ is a list"]),
        ("gpus:\n  environ:\n    A: {}", ["line 3", "gpus.environ.A"]),
        ("node:\n  cores: 2\n  numa_domains: 3", ["line 3", "at most 2"]),
        ("node:\n  cores: 2\n  cpu_ids: 0-2", ["line 3", "3 numbers", "expected 2"]),
        ("node:\n  cores: 2\n  cpu_ids: 0-x", ["line 3", "no list of numbers"]),
        ("queues:\n  q:\n    allows: [lots]", ["line 3", "queues.q.allows", "1-2 nodes for"]),
        ("queues:\n  q:\n    allows: [5-2 nodes for 1-2 min]", ["line 3", "5-2 nodes"]),
        ("queues:\n  q:\n    max_queud: 2", ["line 3", "'max_queued'?"]),
        ("workers:\n  flavour: mpich", ["line 2: workers.flavour is given without workers.mpirun"]),
        ("workers: {mpirun: auto, flags: -v}", ["workers.flags is given without workers.mpirun"]),
        ("- a", ["a machine file is a list"]),
        ("a: b: c", ["line 1", "not valid YAML"]),
        ("title: a\ntitle: b", ["line 2", "'title' twice"]),
    ],
)
def test_errors_name_file_line_and_key(text: str, words: list[str]) -> None:
    message = refusal(text)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "line", ["numa_domains: 2", "cpu_ids: 0-3", "cpu_order: together", "threads_per_core: 2"]
)
def test_what_says_more_of_cores_needs_them(line: str) -> None:
    key = line.partition(":")[0]
    for cores in ("", "  cores: 0\n"):
        message = refusal(f"node:\n{cores}  {line}")
        assert f"line {2 + bool(cores)}: node.{key} is given without node.cores; exp" in message
    assert parse(f"node:\n  cores: 4\n  {line}").shape


def test_cores_that_are_given_are_believed() -> None:
    shape = parse("node: {cores: 4}").shape
    assert shape and (shape.threads_per_core, shape.numa) == (1, ())
    assert parse("node: {cores: 4, threads_per_core: 0}").shape == shape
    for threads in (0, 1):
        machine = parse(f"node: {{threads_per_core: {threads}}}")
        assert (machine.shape, machine.separate_threads) == (None, bool(threads))


def test_a_node_that_is_asked_may_have_any_domain_beside_a_gpu() -> None:
    machine = parse("gpus: {ids: [0, 1], masks: [M], numa: [1, 3]}")
    assert (machine.shape, machine.gpu_numa) == (None, (1, 3))


@given(st.text("abnodegpu: {}[]\n-~0&*!\"'", max_size=60))
def test_any_text_is_a_machine_or_one_sentence(text: str) -> None:
    try:
        parse(text)
    except SettingsError as error:
        assert str(error).startswith(str(FILE))


def test_ones_own_files(tmp_path: Path) -> None:
    directory = tmp_path / "machines"
    directory.mkdir()
    (directory / "laptop.yml").write_text("title: Mine\n")
    (directory / "cluster.yml").write_text("node: {cores: 3}\n")
    assert machines.load("laptop", tmp_path).title == "Mine"
    assert machines.load("cluster", tmp_path).shape is not None
    assert machines.load("laptop").title != "Mine"
    assert machines.load(str(directory / "cluster.yml")).name == "cluster"
    assert machines.load("machines/cluster.yml", tmp_path).name == "cluster"
    with pytest.raises(SettingsError, match="no machine 'clster'; did you mean 'cluster'"):
        machines.load("clster", tmp_path)
    with pytest.raises(SettingsError, match="no machine file .*'balsam machines'"):
        machines.load("no/such.yml", tmp_path)
    (directory / "broken.yml").write_text("nod: 1\n")
    with pytest.raises(SettingsError, match="broken.yml, line 1"):
        machines.load("auto", tmp_path, {})


@pytest.mark.parametrize(
    ("environ", "scheduler", "hosts", "expected"),
    [
        ({}, "", ["somewhere"], "laptop"),
        ({}, "slurm", ["c1"], "slurm"),
        ({}, "pbs", ["c1"], "pbs"),
        ({}, "cobalt", ["c1"], "cobalt"),
        ({}, "lsf", ["c1"], "lsf"),
        ({"PBS_JOBID": "1.polaris-pbs-01.hsn.cm.polaris.alcf.anl.gov"}, "pbs", ["x3"], "polaris"),
        ({"PBS_JOBID": "1.aurora-pbs-0001.hostmgmt"}, "pbs", ["x4"], "aurora"),
        ({}, "", ["aurora-uan-0010"], "aurora"),
        ({"NERSC_HOST": "perlmutter"}, "slurm", ["nid004100"], "perlmutter-cpu"),
        ({"NERSC_HOST": "perlmutter", "SLURM_JOB_PARTITION": "gpu_ss11"}, "slurm", ["nid001"],
         "perlmutter-gpu"),
        ({"LMOD_SYSTEM_NAME": "summit"}, "lsf", ["batch2"], "summit"),
        ({}, "cobalt", ["thetagpu07"], "thetagpu"),
        ({}, "cobalt", ["thetamom1"], "theta"),
        ({}, "cobalt", ["cc087"], "cooley"),
    ],
)  # fmt: skip
def test_which_machine_this_is(
    environ: dict[str, str], scheduler: str, hosts: list[str], expected: str
) -> None:
    assert machines.load("auto", None, environ, scheduler, hosts).name == expected


@pytest.mark.parametrize("name", PACKAGED)
def test_how_it_is_known_stands_on_lines_of_its_own(name: str) -> None:
    whole, sketch = machines.read(PACKAGED[name]), machines.sketch(PACKAGED[name])
    assert (sketch.hosts, sketch.environ) == (whole.hosts, whole.environ)


def test_every_key_is_explained() -> None:
    for kind in (
        machine_file.MachineFile, machine_file.NodeSection, machine_file.GpuSection,
        machine_file.MpiSection, machine_file.WorkersSection, machine_file.QueueSection,
    ):  # fmt: skip
        for field in dataclasses.fields(kind):
            assert field.metadata["help"].endswith(".")
