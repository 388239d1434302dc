"""Workflow files become applications and jobs, all or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.core.workflow_file import described
from balsam.errors import BalsamError, InvalidValue, NoApplication

TEXT = """\
workflow: fit
applications:
  - {name: simulate, executable: /bin/echo sim, env: {A: 1}}
jobs:
  - {name: sim, application: simulate, args: '{{ x }}', sweep: {range: {x: 0:3}}}
  - {name: summary, application: echo, parents: sim}
"""


def test_a_file_can_be_added_again(app: ApplicationDefinition) -> None:
    for workflow in ("", "again"):
        plan = described(TEXT, "f", workflow)
        assert plan.check() == plan.add() == 4
    summary = BalsamJob.objects.get(workflow="again", name="summary")
    assert [job.name for job in summary.get_parents()] == ["sim_0", "sim_1", "sim_2"]
    assert summary.get_parents()[0].workflow == "again"
    assert ApplicationDefinition.objects.get(name="simulate").environ_vars == {"A": "1"}


def test_checking_writes_nothing(app: ApplicationDefinition) -> None:
    plan = described(TEXT, "f")
    assert plan.check() == 4
    assert [new["name"] for new in plan.new_applications()] == ["simulate"]
    assert (BalsamJob.objects.count(), ApplicationDefinition.objects.count()) == (0, 1)


def test_an_application_is_not_changed_by_a_file(app: ApplicationDefinition) -> None:
    described(TEXT, "f").add()
    with pytest.raises(InvalidValue, match="f, line 3: .*'simulate'.*another executable"):
        described(TEXT.replace("echo sim", "echo other"), "f").add()
    assert BalsamJob.objects.count() == 4


def test_an_unknown_application_names_the_line(project: Any) -> None:
    for text, line in (
        (TEXT, "line 6: no application 'echo'"),
        (TEXT.replace("application: simulate", "application: simulat"), "line 5: .*'simulate'"),
    ):
        with pytest.raises(NoApplication, match=line):
            described(text, "f").check()


def test_what_fails_late_leaves_nothing(app: ApplicationDefinition) -> None:
    plan = described(TEXT, "f")

    def stop(done: int) -> None:
        raise BalsamError("stop")

    with pytest.raises(BalsamError, match="stop"):
        plan.add(stop)
    assert (BalsamJob.objects.count(), ApplicationDefinition.objects.count()) == (0, 1)


BOUND = """\
workflow: fit
jobs:
  - name: fit
    direct_command: fit
    launch_params: {cpu_affinity: %s, hint: nomultithread}
"""


def test_launch_params_that_no_launcher_could_use_are_refused(project: Any) -> None:
    told = "cpu_affinity in launch_params is one of .*, not 'cores'"
    with pytest.raises(InvalidValue, match=f"f, line 5: {told}"):
        described(BOUND % "cores", "f")
    sweep = BOUND % "'{{ binding }}'" + "    sweep: {values: {binding: [core, %s]}}\n"
    with pytest.raises(InvalidValue, match=rf"f, line 3: Row 1 \(binding=cores\): {told}"):
        described(sweep % "cores", "f")
    with pytest.raises(InvalidValue, match=r"'\{\{ binding \}\}' is a name, in which nothing"):
        described((sweep % "numa").replace("hint:", "'{{ binding }}':"), "f")
    assert described(sweep % "numa", "f").add() == 2
    asked = BalsamJob.objects.order_by("id").values_list("launch_params", flat=True)
    assert [params["cpu_affinity"] for params in asked] == ["core", "numa"]
