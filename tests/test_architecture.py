"""The layers of the design hold: imports point down, and each tool stays in its place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import balsam
from balsam import states
from balsam.doctor.machine import OLDEST_SQLITE

PACKAGE = Path(balsam.__file__).parent
#: Component -> layer. A module belongs to the longest name that it equals or lies below.
LAYERS = {
    "balsam": 0,
    "balsam.states": 0,
    "balsam.errors": 0,
    "balsam.outcomes": 0,
    # What both of the next need of the machine.
    "balsam.platform.commands": 0.5,
    "balsam.platform.families": 0.5,
    "balsam.platform.node": 0.5,
    "balsam.platform.shape": 0.5,
    "balsam.platform.nodelist": 0.4,
    "balsam.retries": 0.5,
    "balsam.conf": 1,
    "balsam.platform": 1,
    "balsam.core": 2,
    "balsam.transitions": 3,
    "balsam.launcher.dag": 3,
    "balsam.launcher.futures": 3,
    "balsam.service.models": 3,
    "balsam.api": 3,
    "balsam.analytics": 3,
    "balsam.launcher": 4,
    "balsam.service": 4,
    "balsam.demo": 4,
    "balsam.doctor": 4.5,
    "balsam.cli": 5,
    "balsam.__main__": 6,
}
#: Older names that are nothing but another component.
ALIASES = {"balsam.launcher.async": "balsam.launcher.futures"}
#: Library -> where it may be imported.
PLACES = {
    "django": ("balsam.core", "balsam.api", "balsam.conf.bootstrap"),
    "mpi4py": ("balsam.launcher.ensemble", "balsam.demo.programs"),
    "click": ("balsam.cli",),
    "rich": ("balsam.cli",),
    "yaml": ("balsam.conf",),
    "psycopg": ("balsam.core", "balsam.conf"),
}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["balsam", *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def component(name: str) -> str:
    name = ALIASES.get(name, name)
    while name not in LAYERS:
        name = name.rpartition(".")[0]
    return name


def imports(name: str) -> Iterator[str]:
    """What a module imports, anywhere in it: modules of ours by full name."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            assert node.module
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def test_every_module_belongs_to_a_layer() -> None:
    strangers = {name for name in MODULES if component(name) == "balsam"} - {"balsam"}
    assert strangers == set(), "put it into the table of layers, in the design first"


@pytest.mark.parametrize("name", [name for name in MODULES if name != "balsam"])
def test_imports_point_down_and_never_to_a_sibling(name: str) -> None:
    here = component(name)
    for other in imports(name):
        there = component(other) if other.split(".")[0] == "balsam" else here
        if there != here and there != "balsam":
            assert LAYERS[there] < LAYERS[here], f"{name} imports {other}"


def test_importing_the_package_imports_nothing_else() -> None:
    top = [node for node in TREES["balsam"].body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(node) for node in top] == ["from __future__ import annotations"]


@pytest.mark.parametrize("library", PLACES)
def test_libraries_stay_in_their_places(library: str) -> None:
    for name in MODULES:
        if any(f"{name}.".startswith(f"{place}.") for place in PLACES[library]):
            continue
        used = [other for other in imports(name) if other.split(".")[0] == library]
        assert not used, f"{name} imports {library}"


def test_states_are_named_in_one_place() -> None:
    """Migrations are written by Django, with the values of their day."""
    for name, tree in TREES.items():
        if name == "balsam.states" or ".migrations." in name:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in states.STATES:
                place = f"{name}, line {node.lineno}: '{node.value}'"
                raise AssertionError(f"{place} is a state; take it from balsam.states")


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_they_are_for(name: str) -> None:
    path = MODULES[name]
    if path.stat().st_size and ".migrations" not in name:
        assert ast.get_docstring(TREES[name])


def test_nothing_is_caught_without_a_name() -> None:
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{name}, line {node.lineno}"


def test_no_statement_needs_a_newer_sqlite_than_the_doctor_asks_for() -> None:
    """``->>`` came with 3.38: the path in JSON that only SQLite has tells it from Postgres'."""
    assert OLDEST_SQLITE < (3, 38)
    found = [name for name, path in MODULES.items() if re.search(r"->>?\s*'\$", path.read_text())]
    assert not found


def test_no_command_line_is_given_to_a_shell() -> None:
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(f"{name}, line {node.value.lineno} uses a shell")
            if isinstance(node, ast.Attribute) and node.attr in ("system", "popen"):
                raise AssertionError(f"{name}, line {node.lineno} uses a shell")
