"""Workflow files: what they describe, and what is wrong with them, by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.workflow_file import Plan, described, load
from balsam.errors import BalsamError, DependencyError, InvalidValue

FIT = """\
workflow: fit
applications:
  - name: simulate
    executable: ./simulate.py
    env: {OMP: 010}
jobs:
  - name: 'sim_{{ x }}'
    application: simulate
    args: --x {{ x * 2 }}
    num_nodes: '{{ x }}'
    sweep: {range: {x: 1:4}}
  - name: summary
    app: simulate
    args: 010
    parents: ['sim_*']
"""


def plan(text: str, **how: Any) -> Plan:
    return described(text, "f", **how)


def parents(made: Plan) -> dict[str, list[str]]:
    """Name of each job -> names of its parents."""
    names = {job["job_id"]: job["name"] for job in made.jobs}
    return {job["name"]: [names[one] for one in job.get("parents", ())] for job in made.jobs}


def test_a_whole_workflow() -> None:
    made = plan(FIT, resolve=lambda text, option: f"/full/{option}/{text}")
    assert made.applications == [
        {
            "name": "simulate",
            "executable": "/full/executable/./simulate.py",
            "environ_vars": {"OMP": "010"},
        }
    ]
    assert parents(made) == {
        "sim_1": [], "sim_2": [], "sim_3": [], "summary": ["sim_1", "sim_2", "sim_3"],
    }  # fmt: skip
    first, *_, last = made.jobs
    assert (first["args"], first["num_nodes"]) == ("--x 2", 1)
    assert (last["args"], last["application"], last["workflow"]) == ("010", "simulate", "fit")


def test_the_workflow_can_be_given() -> None:
    assert {job["workflow"] for job in plan(FIT, workflow="again").jobs} == {"again"}
    text = FIT.replace("    app: simulate\n", "    app: simulate\n    workflow: own\n")
    assert [job["workflow"] for job in plan(text, workflow="again").jobs][-2:] == ["again", "own"]


def test_ways_to_name_parents() -> None:
    made = plan(
        """
        workflow: w
        jobs:
          - {name: a, application: x, sweep: {values: {v: [p, q]}}, args: '{{ v }}'}
          - {name: b, application: x, parents: a}
          - {name: c, application: x, parents: [a_1, b, b]}
          - name: d
            application: x
            parents: ['{{ "d_%d" % (i - 1) if i }}', 'a_[0]']
            args: '{{ i }}'
            sweep: {range: {i: 0:3}}
        """
    )
    assert parents(made) == {
        "a_0": [], "a_1": [], "b": ["a_0", "a_1"], "c": ["a_1", "b"],
        "d_0": ["a_0"], "d_1": ["d_0", "a_0"], "d_2": ["d_1", "a_0"],
    }  # fmt: skip


def test_sweeps_take_files_beside_the_workflow(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,num_nodes\np,1\nq,2\n")
    (tmp_path / "w.yml").write_text(
        "workflow: w\njobs:\n  - name: j_{{ name }}\n    application: x\n"
        "    sweep: {from_csv: t.csv, values: {v: 'a,b'}, zip: true}\n    args: '{{ v }}'\n"
    )
    jobs = load(tmp_path / "w.yml").jobs
    assert [(job["name"], job["num_nodes"], job["args"]) for job in jobs] == [
        ("j_p", 1, "a"), ("j_q", 2, "b"),
    ]  # fmt: skip


@given(st.data())
def test_any_graph_is_taken_unless_it_has_a_circle(data: st.DataObject) -> None:
    number = data.draw(st.integers(1, 6))
    above = {
        child: data.draw(st.sets(st.integers(0, number - 1), max_size=2)) for child in range(number)
    }
    lines = ["workflow: w", "jobs:"]
    for child, some in above.items():
        lines.append(f"  - {{name: j{child}, application: x, parents: [{_names(some)}]}}")
    left = dict(above)
    while free := [child for child, some in left.items() if not some & left.keys()]:
        for child in free:
            del left[child]
    if not left:
        found = {
            child: {int(name[1:]) for name in names}
            for child, names in parents(plan("\n".join(lines))).items()
        }
        assert found == {f"j{child}": some for child, some in above.items()}
        return
    with pytest.raises(DependencyError) as error:
        plan("\n".join(lines))
    circle = str(error.value).rstrip(".").rpartition(": ")[2].split(" -> ")
    assert circle[0] == circle[-1]
    for child, parent in zip(circle, circle[1:], strict=False):
        assert int(parent[1:]) in above[int(child[1:])]


def _names(numbers: set[int]) -> str:
    return ", ".join(f"j{number}" for number in numbers)


def test_a_long_chain_is_no_deep_recursion() -> None:
    made = plan(
        "workflow: w\njobs:\n  - name: j_{{ i }}\n    application: x\n"
        "    parents: '{{ \"j_%d\" % (i + 1) if i < 4999 }}'\n    sweep: {range: {i: 0:5000}}\n"
    )
    assert parents(made)["j_0"] == ["j_1"]


JOB = "workflow: w\njobs:\n  - name: a\n    application: x\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "f is empty"),
        ("- a\n", "line 1: a workflow file is a list"),
        ("jbos: []\n", "line 1: a workflow file has no 'jbos'; did you mean 'jobs'"),
        ("workflow: w\n", "there are no jobs"),
        ("jobs: []\n", "line 1: the list of jobs is empty"),
        ("jobs: {a: {}}\n", "line 1: jobs is a mapping; write a list"),
        ("jobs:\n  - a\n", "line 2: a job is 'a'"),
        ("jobs:\n  - name: a\n    application: x\n", "line 2: the job has no workflow"),
        ("workflow: w\njobs:\n  - application: x\n", "line 3: a job needs a name"),
        ("workflow: w\njobs:\n  - name: a\n", "line 3: the job has no application"),
        ("workflow: [w]\njobs: []\n", "line 1: workflow is a list; write text"),
        (f"{JOB}    nmu_nodes: 2\n", "line 5: a job has no 'nmu_nodes'.*'num_nodes'"),
        (f"{JOB}    state: READY\n", "line 5: a job has no 'state' to set"),
        (f"{JOB}    args: 1\n    application_args: 2\n", "line 6: args is given twice"),
        (f"{JOB}    num_nodes: many\n", "line 5: num_nodes is a whole number, not 'many'"),
        (f"{JOB}    num_nodes: '2'\n", "line 5: num_nodes is a whole number"),
        (f"{JOB}    num_nodes: 0\n", "line 5: num_nodes is at least 1"),
        (f"{JOB}    num_nodes: [1]\n", "line 5: num_nodes is a whole number"),
        (f"{JOB}    num_nodes:\n", "line 5: num_nodes can not be None"),
        (f"{JOB}    args: [a]\n", "line 5: args is a list; write text"),
        (f"{JOB}    data: [a]\n", "line 5: data is a dict"),
        (f"{JOB}    env: {{A B: 1}}\n", "line 5: 'A B' is no name"),
        (f"{JOB}    on_parent_failure: panic\n", "line 5: on_parent_failure is one of"),
        (f"{JOB}    args: '{{{{ x }}}}'\n", "line 5: nothing fills in"),
        (f"{JOB}    data: {{a: ['{{{{ x }}}}']}}\n", "line 5: nothing fills in"),
        (f"{JOB}  - name: a\n", "line 5: there is a job 'a' in line 3 already"),
        (f"{JOB}    parents: b\n", "line 5: the parent 'b' of 'a' is no job of this file"),
        (f"{JOB}    parents: ['b*']\n", r"line 5: the parent 'b\*' of 'a' is no job"),
        (f"{JOB}    parents: {{b: 1}}\n", "line 5: parents is a mapping; write a list"),
        (f"{JOB}    parents: a\n", "line 3: .* in a circle: a -> a"),
        (f"{JOB}    sweep: {{rang: 1}}\n", "line 5: a sweep has no 'rang'; did you mean 'range'"),
        (f"{JOB}    sweep: {{}}\n", "line 5: the sweep has no values"),
        (f"{JOB}    sweep: {{range: {{x: 3}}}}\n", "line 5: 'x=3' is no range"),
        (f"{JOB}    sweep: {{range: {{x: 0:3}}}}\n", "line 3: No field uses {{ x }}"),
        (f"{JOB}    sweep: {{from_csv: nope.csv}}\n", "line 5: nope.csv can not be read"),
        (f"{JOB}    sweep: {{range: {{x: 0:3}}, zip: 3}}\n", "line 5: zip is true or false"),
        (
            f"{JOB}    sweep: {{values: {{x: [1, 2, b]}}}}\n    num_nodes: '{{{{ x }}}}'\n",
            r"line 3: Row 2 \(x=b\): num_nodes is a whole number",
        ),
        (
            f"{JOB}  - name: a_{{{{ x }}}}\n    application: x\n"
            "    sweep: {values: {x: [1, 1]}}\n",
            "line 5: two jobs are named 'a_1'",
        ),
        ("applications: [{name: a}]\njobs: []\n", "line 1: an application needs an executable"),
        (
            "applications:\n  - {name: a, executable: x}\n  - {name: a, executable: y}\n",
            "line 3: the application 'a' is in line 2 already",
        ),
        (
            "applications:\n  - {name: a, executable: x, exec: y}\n",
            "line 2: an application has no 'exec'; did you mean 'executable'",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, words: str) -> None:
    with pytest.raises(BalsamError, match=words) as error:
        plan(text)
    assert str(error.value).startswith("f")


@given(st.text("jobs: -[]{}name\napx'&*sweep123", max_size=40))
def test_any_text_is_a_plan_or_one_sentence(text: str) -> None:
    try:
        assert plan(text).jobs
    except (InvalidValue, DependencyError) as error:
        assert str(error).startswith("f")
