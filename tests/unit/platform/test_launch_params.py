"""What launch_params may say."""

from __future__ import annotations

from typing import Any

import pytest

from balsam.errors import LaunchError
from balsam.platform.launch_params import check


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"cwd": "/scratch/me", "mpirun": False, "whole_nodes": True, "cpu_affinity": "numa"},
        {"cwd": "~/runs", "mpirun": None, "whole_nodes": None, "cpu_affinity": ""},
        {"cpu_bind": "list:0,1:2,3", "hint": "nomultithread", "-k": 3, "exact": True, "v": None},
    ],
)
def test_what_a_launcher_can_use(params: dict[str, Any]) -> None:
    check(params)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"cpu_affinity": "cores"}, "cpu_affinity in launch_params is one of none, depth, core, "),
        ({"cpu_affinity": ["core"]}, "launch_params gives 'cpu_affinity' no single value."),
        ({"mpirun": "no"}, "mpirun in launch_params is true or false, not 'no'."),
        ({"whole_nodes": 1}, "whole_nodes in launch_params is true or false, not 1."),
        ({"cwd": "runs"}, "launch_params names the relative directory 'runs'; give a full path."),
        ({"hint": {"a": 1}}, "launch_params gives 'hint' no single value."),
        ({"": 1}, "launch_params gives the value 1 no name."),
        ({" ": 1}, "launch_params gives the value 1 no name."),
    ],
)
def test_what_none_can_use_is_told_in_a_sentence(params: dict[str, Any], told: str) -> None:
    with pytest.raises(LaunchError) as caught:
        check(params)
    assert str(caught.value).startswith(told)
