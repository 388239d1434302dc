"""The nodes, the id and the end of a batch job, from what each scheduler leaves behind."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.errors import AllocationError
from balsam.platform import allocation, time_left
from balsam.platform.allocation import Allocation, detect, part
from balsam.platform.allotment import Gpus

HERE = (socket.gethostname(),)
NOW = 1_700_000_000.0
#: Components of one job, in the order of a sorted environment.
OF_HET = (10, 2, 3)


def found(environ: dict[str, str]) -> Allocation:
    return detect(environ, NOW, ask=False)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Allocation(HERE)),
        (
            {"COBALT_JOBID": "7", "COBALT_PARTNAME": "1001-1003,1030", "COBALT_ENDTIME": "17e8"},
            Allocation(("nid01001", "nid01002", "nid01003", "nid01030"), "cobalt", "7", NOW),
        ),
        ({"COBALT_PARTNAME": "cc01,cc02"}, Allocation(("cc01", "cc02"), "cobalt")),
        ({"COBALT_JOBID": "7"}, Allocation(HERE, "cobalt", "7")),
        ({"PBS_JOBID": "12.pbs-01"}, Allocation(HERE, "pbs", "12.pbs-01")),
        (
            {"SLURM_JOB_ID": "5", "SLURM_JOB_NODELIST": "nid[001-002],gpu7", "SLURM_STEP_ID": "0"},
            Allocation(("nid001", "nid002", "gpu7"), "slurm", "5"),
        ),
        (
            {"SLURM_JOBID": "5", "SLURM_NODELIST": "c[1-2]", "SLURM_JOB_END_TIME": "1700000600"},
            Allocation(("c1", "c2"), "slurm", "5", NOW + 600),
        ),
        ({"SLURM_HOSTS": "b1\nb2 b3"}, Allocation(("b1", "b2", "b3"), "slurm")),
        ({"SLURM_JOB_ID": "5", "SLURM_JOB_NUM_NODES": "1"}, Allocation(HERE, "slurm", "5")),
        ({"SLURM_JOB_ID": "5", "SLURM_JOB_END_TIME": "soon"}, Allocation(HERE, "slurm", "5")),
        ({"SLURM_JOB_ID": "5", "SLURM_JOB_END_TIME": "nan"}, Allocation(HERE, "slurm", "5")),
        ({"SLURM_JOB_ID": "5", "SLURM_JOB_END_TIME": "0"}, Allocation(HERE, "slurm", "5")),
        ({"SLURM_NTASKS": "4"}, Allocation(HERE)),
        (
            {"LSB_JOBID": "9", "LSB_MCPU_HOSTS": "batch1 1 a01n01 42 a01n02 42"},
            Allocation(("a01n01", "a01n02"), "lsf", "9", cpus=(42, 42)),
        ),
        (
            {"LSB_JOBID": "9", "LSB_JOBINDEX": "3", "LSB_MCPU_HOSTS": "batch1 1 batch2 1"},
            Allocation(("batch1", "batch2"), "lsf", "9[3]"),
        ),
        (
            {"LSB_JOBID": "9", "LSB_MCPU_HOSTS": "lassen710 1 lassen5 40 lassen6 40"},
            Allocation(("lassen5", "lassen6"), "lsf", "9", cpus=(40, 40)),
        ),
        (
            {"LSB_JOBID": "9", "LSB_MCPU_HOSTS": "batch1 1 a1 1 a2 42"},
            Allocation(("a1", "a2"), "lsf", "9"),
        ),
        ({"LSB_JOBID": "9", "LSB_MCPU_HOSTS": "h1 1 h2 8 h3 4"},
         Allocation(("h1", "h2", "h3"), "lsf", "9")),
        ({"LSB_JOBID": "9", "LSB_MCPU_HOSTS": "h1 1"}, Allocation(("h1",), "lsf", "9")),
        ({"LSB_JOBID": "9", "LSB_MCPU_HOSTS": "h1 1 h2"}, Allocation(("h1", "h2"), "lsf", "9")),
        ({"LSB_JOBID": "9", "LSB_HOSTS": "h0 h1 h1 h2 h2"}, Allocation(("h1", "h2"), "lsf", "9")),
        ({"LSB_JOBID": "9", "LSB_JOBINDEX": "0", "LSB_HOSTS": "h1 h1"},
         Allocation(("h1",), "lsf", "9")),
    ],
)  # fmt: skip
def test_environments(environ: dict[str, str], expected: Allocation) -> None:
    assert found(environ) == expected


OF_TWO_COMPONENTS = {
    "SLURM_JOB_ID": "5",
    "SLURM_HET_SIZE": "2",
    "SLURM_JOB_NODELIST_HET_GROUP_1": "gpu[1-4]",
    "SLURM_JOB_CPUS_PER_NODE_HET_GROUP_1": "8(x4)",
    "SLURM_JOB_NODELIST_HET_GROUP_0": "c[1-2]",
    "SLURM_JOB_CPUS_PER_NODE_HET_GROUP_0": "16(x2)",
}


@pytest.mark.parametrize(
    "more", [{}, {"SLURM_JOB_NODELIST": "c[1-2]", "SLURM_JOB_CPUS_PER_NODE": "16(x2)"}]
)
def test_of_a_job_of_several_components_the_first_counts(more: dict[str, str]) -> None:
    """srun would start nothing on the others. A batch script is told the first one's nodes."""
    assert found({**OF_TWO_COMPONENTS, **more}) == Allocation(
        ("c1", "c2"), "slurm", "5", cpus=(16, 16),
        notice="This batch job has 2 components, and a launcher uses one of them: 4 nodes are left "
        "out (gpu[1-4]); for those, submit a batch job of their own.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, ""),
        ({"SLURM_HET_SIZE": "1", "SLURM_JOB_NODELIST_HET_GROUP_0": "n[1-4]"}, ""),
        ({"SLURM_HET_SIZE": "many"}, ""),
        ({"SLURM_HET_SIZE": "3"}, "has 3 components, and a launcher uses one of them."),
        ({f"SLURM_JOB_NODELIST_HET_GROUP_{i}": f"n{i}" for i in (0, 4, 5)}, "left out (n[0,5])"),
        ({f"SLURM_JOB_NODELIST_HET_GROUP_{i}": "n[" for i in (0, 1)}, "has 2 components"),
        ({f"SLURM_JOB_NODELIST_HET_GROUP_{i}": f"n{i}" for i in (0, 1)}, ": 1 node is left out"),
    ],
)
def test_what_is_said_of_other_components(more: dict[str, str], words: str) -> None:
    notice = found({**SLURM_OF_4, **more}).notice
    assert words in notice and bool(notice) == bool(words)


SLURM_OF_4 = {"SLURM_JOB_ID": "5", "SLURM_JOB_NODELIST": "n[1-4]"}
SLURM_CPUS = "SLURM_JOB_CPUS_PER_NODE"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({**SLURM_OF_4, SLURM_CPUS: "16,8(x3)"}, (16, 8, 8, 8)),
        ({**SLURM_OF_4, SLURM_CPUS: "1(x4)"}, (1, 1, 1, 1)),
        ({**SLURM_OF_4, SLURM_CPUS: "16,8(x2)"}, ()),
        ({**SLURM_OF_4, SLURM_CPUS: "16(x999999)"}, ()),
        ({**SLURM_OF_4, SLURM_CPUS: "16,many(x3)"}, ()),
        ({**SLURM_OF_4, SLURM_CPUS: "0(x4)"}, ()),
        (SLURM_OF_4, ()),
        (
            {
                "SLURM_JOB_ID": "5",
                **{f"SLURM_JOB_NODELIST_HET_GROUP_{i}": f"c{i}" for i in OF_HET},
                **{f"{SLURM_CPUS}_HET_GROUP_{i}": f"{i + 1}" for i in OF_HET},
            },
            (3,),
        ),
        ({"LSB_JOBID": "9", "LSB_MCPU_HOSTS": "h1 4 h2 8"}, (4, 8)),
        ({"LSB_JOBID": "9", "LSB_MCPU_HOSTS": "h1 1 h2 1"}, ()),
        ({"LSB_JOBID": "9", "LSB_HOSTS": "h1 h1"}, ()),
        ({"PBS_JOBID": "9", "PBS_NUM_PPN": "12"}, (12,)),
        ({"PBS_JOBID": "9", "PBS_NUM_PPN": "1"}, ()),
        ({"PBS_JOBID": "9", "NCPUS": "4", "OMP_NUM_THREADS": "4"}, ()),
        ({SLURM_CPUS: "16"}, ()),
    ],
)
def test_cpus_of_each_node(environ: dict[str, str], expected: tuple[int, ...]) -> None:
    assert found(environ).cpus == expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, Gpus(("2", "3"), ("CUDA_VISIBLE_DEVICES",))),
        ({"CUDA_VISIBLE_DEVICES": ""}, Gpus((), ("CUDA_VISIBLE_DEVICES",))),
        ({"CUDA_VISIBLE_DEVICES": "1,-1,0"}, Gpus(("1",), ("CUDA_VISIBLE_DEVICES",))),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, Gpus((), ("CUDA_VISIBLE_DEVICES",))),
        ({"CUDA_VISIBLE_DEVICES": "MIG-a/1/0,GPU-b"},
         Gpus(("MIG-a/1/0", "GPU-b"), ("CUDA_VISIBLE_DEVICES",))),
        ({"ZE_AFFINITY_MASK": "0.0,0.1,1"}, Gpus(("0.0", "0.1", "1"), ("ZE_AFFINITY_MASK",))),
        ({"ZE_AFFINITY_MASK": ""}, None),
        ({"ROCR_VISIBLE_DEVICES": " 1, 2"}, Gpus(("1", "2"), ("ROCR_VISIBLE_DEVICES",))),
        ({"CUDA_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": "4"},
         Gpus(("4",), ("ROCR_VISIBLE_DEVICES",))),
        ({"CUDA_VISIBLE_DEVICES": "1", "ROCR_VISIBLE_DEVICES": "1", "ZE_AFFINITY_MASK": "0"},
         Gpus(("1",), ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"))),
        ({"SLURM_JOB_ID": "5", "SLURM_JOB_GPUS": "2,3", "SLURM_GPUS_ON_NODE": "2"},
         Gpus(("2", "3"))),
        ({"SLURM_JOB_ID": "5", "SLURM_JOB_GPUS": "2,3", "CUDA_VISIBLE_DEVICES": "0,1"},
         Gpus(("0", "1"), ("CUDA_VISIBLE_DEVICES",))),
        ({"SLURM_JOB_ID": "5", "SLURM_GPUS_ON_NODE": "2"}, Gpus(("0", "1"))),
        ({"SLURM_JOB_ID": "5", "SLURM_GPUS_PER_NODE": "a100:2,v100:1"}, Gpus(("0", "1", "2"))),
        ({"SLURM_JOB_ID": "5", "SLURM_GPUS_PER_NODE": "a100"}, None),
        ({"SLURM_GPUS_ON_NODE": "2"}, None),
    ],
)  # fmt: skip
def test_gpus_of_this_node(environ: dict[str, str], expected: Gpus | None) -> None:
    assert found(environ).gpus == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PBS_NODEFILE", "x1.cm\nx1.cm\nx2.cm\n\n", ("x1.cm", "x2.cm")),
        ("COBALT_NODEFILE", "thetagpu01,thetagpu02\n", ("thetagpu01", "thetagpu02")),
        ("COBALT_NODEFILE", "cc1 cc2 # two\n", ("cc1", "cc2")),
        ("LSB_DJOB_HOSTFILE", "batch5\n" + "h41n01\n" * 42 + "h41n02\n" * 42, ("h41n01", "h41n02")),
        ("LSB_DJOB_HOSTFILE", "login1\nlaunch-2.sys\nh1", ("h1",)),
        ("LSB_DJOB_HOSTFILE", "lassen710\n" + "l5\n" * 40 + "l6\n" * 40, ("l5", "l6")),
        ("LSB_DJOB_HOSTFILE", "h1\nh2\nh3\n", ("h1", "h2", "h3")),
    ],
)
def test_node_files(tmp_path: Path, name: str, text: str, expected: tuple[str, ...]) -> None:
    file = tmp_path / "nodes"
    file.write_text(text)
    assert found({name: str(file)}).nodes == expected


def test_words_of_pbs_in_a_slurm_job(tmp_path: Path) -> None:
    """Slurm's plugin for scripts of PBS sets an id, and people make node files for old programs."""
    file = tmp_path / "nodes"
    file.write_text("n1\n")
    nodes = ("n1", "n2", "n3", "n4")
    for more in ({"PBS_JOBID": "77"}, {"PBS_NODEFILE": str(file)}):
        assert found({**more, **SLURM_OF_4}) == Allocation(nodes, "slurm", "5")


def test_leftovers_of_slurm_in_a_pbs_job(tmp_path: Path) -> None:
    file = tmp_path / "nodes"
    file.write_text("x1\nx2\n")
    leftovers = {
        "SLURM_CONF": "/etc/slurm.conf", "SLURM_MPI_TYPE": "pmi2", "SLURM_NTASKS": "4",
        "SLURM_HET_SIZE": "2", "SLURM_JOB_ID": "", SLURM_CPUS: "16",
    }  # fmt: skip
    environ = {**leftovers, "PBS_JOBID": "12.pbs-01", "PBS_NODEFILE": str(file)}
    assert found(environ) == Allocation(("x1", "x2"), "pbs", "12.pbs-01")


@pytest.mark.parametrize("name", ["PBS_NODEFILE", "COBALT_NODEFILE", "LSB_DJOB_HOSTFILE"])
@pytest.mark.parametrize(
    ("text", "words"), [(None, "can not be read"), (" \n\n", "names no node"), ("#\n", "no node")]
)
def test_node_files_that_are_none(tmp_path: Path, name: str, text: str | None, words: str) -> None:
    file = tmp_path / "nodes"
    if text is not None:
        file.write_text(text)
    with pytest.raises(AllocationError, match=words) as caught:
        found({name: str(file)})
    message = str(caught.value)
    assert str(file) in message and f"unset {name}" in message and "\n" not in message


@pytest.mark.parametrize("text", ["n[1-", "n[3-1]", "n[1-99999999999]"])
def test_lists_that_are_none(text: str) -> None:
    with pytest.raises(AllocationError, match="SLURM_JOB_NODELIST is no list of nodes"):
        found({"SLURM_JOB_NODELIST": text})
    with pytest.raises(AllocationError, match="COBALT_PARTNAME is no list of nodes"):
        found({"COBALT_PARTNAME": "5-1"})


@given(st.dictionaries(
    st.sampled_from([name for names in allocation._SIGNS.values() for name in names
                     if not name.endswith("FILE")] + ["SLURM_JOB_END_TIME", "LSB_JOBINDEX"]),
    st.text("0123456789[]-,. n", max_size=12),
))  # fmt: skip
def test_any_environment_gives_nodes_or_one_sentence(environ: dict[str, str]) -> None:
    try:
        nodes = found(environ).nodes
    except AllocationError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
    else:
        assert nodes and len(set(nodes)) == len(nodes)


def test_parts_of_nodes() -> None:
    nodes = ("a", "b", "c")
    assert part(nodes, None, 0) == nodes
    assert part(nodes, 2, 0) == ("a", "b")
    assert part(nodes, 1, 2) == ("c",)
    assert part(nodes, 9, 1) == ("b", "c")
    with pytest.raises(AllocationError, match="--offset-nodes 3 leaves no node.*3 nodes.*most 2"):
        part(nodes, None, 3)
    with pytest.raises(AllocationError, match="only node"):
        part(("a",), None, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", 30), ("05:00", 300), ("1:00:00", 3600), ("1-00:00:00", 86400), ("2-03", 183600),
        ("1-1:30", 91800), ("100:00:00", 360000), ("", None), ("UNLIMITED", None),
        ("INVALID", None), ("1:2:3:4", None), ("-5", None),
    ],
)  # fmt: skip
def test_durations(text: str, expected: float | None) -> None:
    assert time_left.seconds(text) == expected


PBS_ANSWER = """Job Id: 12.pbs-01
    Job_Name = a
    Resource_List.walltime = 01:00:00
    Variable_List = A=1,
\tB=2,Resource_List.walltime=9
    {more}
"""


@pytest.mark.parametrize(
    ("scheduler", "answer", "expected"),
    [
        ("slurm", "59:30\n", NOW + 3570),
        ("slurm", "UNLIMITED\n", None),
        ("slurm", "", None),
        ("cobalt", "TimeRemaining\n=============\n00:10:00\n", NOW + 600),
        ("lsf", "0:30 L\n", NOW + 1800),
        ("lsf", "1:05 L", NOW + 3900),
        ("lsf", "0:30 E", None),
        ("lsf", "-\n", None),
        ("pbs", PBS_ANSWER.format(more="resources_used.walltime = 00:20:00"), NOW + 2400),
        ("pbs", PBS_ANSWER.format(more="Walltime.Remaining = 77"), NOW + 77),
        ("pbs", PBS_ANSWER.format(more="stime = never"), None),
        ("pbs", "qstat: nothing", None),
    ],
)
def test_what_schedulers_answer(scheduler: str, answer: str, expected: float | None) -> None:
    assert time_left.understood(scheduler, answer, NOW) == expected


def test_pbs_tells_the_start_in_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "America/Chicago")
    time.tzset()
    try:
        began = time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(NOW - 60))
        answer = PBS_ANSWER.format(more=f"stime = {began}")
        assert time_left.understood("pbs", answer, NOW) == NOW + 3540
    finally:
        monkeypatch.undo()
        time.tzset()


def program(directory: Path, name: str, script: str) -> dict[str, str]:
    file = directory / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return {"PATH": f"{directory}{os.pathsep}{os.environ['PATH']}"}


def test_the_scheduler_is_asked_where_the_environment_does_not_tell(tmp_path: Path) -> None:
    path = program(tmp_path, "squeue", f'echo "$@" >> {tmp_path}/asked; echo 10:00')
    environ = {"SLURM_JOB_ID": "5", "SLURM_JOB_NODELIST": "c1", **path}
    assert detect(environ, NOW).ends == NOW + 600
    assert detect({**environ, "SLURM_JOB_END_TIME": str(NOW)}, NOW).ends == NOW
    assert (tmp_path / "asked").read_text() == "-h -j 5 -o %L\n"


@pytest.mark.parametrize(
    "script", ["exit 1", "echo nonsense", "true", "echo >&2 'Socket timed out'"]
)
def test_a_scheduler_that_does_not_tell_is_no_error(tmp_path: Path, script: str) -> None:
    for scheduler, name in [("SLURM_JOB_ID", "squeue"), ("PBS_JOBID", "qstat"),
                            ("LSB_JOBID", "bjobs"), ("COBALT_JOBID", "qstat")]:  # fmt: skip
        assert detect({scheduler: "5", **program(tmp_path, name, script)}, NOW).ends is None


def test_a_scheduler_that_is_not_there_or_hangs_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert detect({"SLURM_JOB_ID": "5", "PATH": str(tmp_path)}, NOW).ends is None
    monkeypatch.setattr(time_left, "QUERY_SECONDS", 0.1)
    assert (
        detect({"SLURM_JOB_ID": "5", **program(tmp_path, "squeue", "sleep 30")}, NOW).ends is None
    )
