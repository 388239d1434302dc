"""What ``launch_params`` of a job may say: words of Balsam's own, and options of an mpirun."""

from __future__ import annotations

import os
from collections.abc import Mapping

from balsam.errors import LaunchError
from balsam.platform.affinity import BINDINGS

#: A directory to run in.
CWD = "cwd"
#: False for a program that is run once and calls mpirun itself.
MPIRUN = "mpirun"
#: True for a job that wants its nodes to itself.
WHOLE_NODES = "whole_nodes"
#: Goes before the field of that name.
CPU_AFFINITY = "cpu_affinity"
#: By these a job chooses its binding in a launcher's own words.
BIND_PARAMS = ("cpu_bind", "--cpu-bind")
#: Those that are meant for Balsam, and never for a launcher.
OWN_PARAMS = frozenset({CWD, MPIRUN, WHOLE_NODES, CPU_AFFINITY, "gpu_affinity", *BIND_PARAMS})


def check(params: Mapping[str, object]) -> None:
    """Raise LaunchError for what no launcher could use, or would not notice."""
    for key, value in params.items():
        check_single(key, value)
    binding = params.get(CPU_AFFINITY)
    if binding and binding not in BINDINGS:
        listed = ", ".join(BINDINGS)
        raise LaunchError(f"{CPU_AFFINITY} in launch_params is one of {listed}, not '{binding}'.")
    for key in (MPIRUN, WHOLE_NODES):
        if not isinstance(params.get(key), (bool, type(None))):
            raise LaunchError(f"{key} in launch_params is true or false, not {params[key]!r}.")
    chosen_directory(params.get(CWD))


def check_single(key: str, value: object) -> None:
    """Raise LaunchError for what is no option with at most one value."""
    if not str(key).strip():
        raise LaunchError(f"launch_params gives the value {value!r} no name.")
    if isinstance(value, (Mapping, list, tuple)):
        raise LaunchError(f"launch_params gives '{key}' no single value.")


def chosen_directory(cwd: object) -> str:
    """The full path of the directory to run in, '' without one. Raises LaunchError."""
    path = os.path.expanduser(str(cwd or ""))
    if path and not os.path.isabs(path):
        raise LaunchError(f"launch_params names the relative directory '{cwd}'; give a full path.")
    return path
