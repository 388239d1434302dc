"""The names that scripts import, pinned: taking one away breaks somebody's campaign."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType

import pytest

import balsam
from balsam import errors

SURFACE = {
    "balsam.core.models": {
        "ACTIVE_STATES", "ApplicationDefinition", "BalsamJob", "BatchJob", "Dependency",
        "END_STATES", "EventLog", "InvalidParentsError", "InvalidStateError", "NoApplication",
        "PROCESSABLE_STATES", "QueuedLaunch", "RUNNABLE_STATES", "STATES", "STATE_TIME_PATTERN",
        "Session", "TIME_FMT", "error_report", "from_time_string", "get_time_string",
        "history_line", "process_job_times", "safe_select", "throughput_report",
        "utilization_report",
    },
    "balsam.launcher.dag": {
        "ERROR", "JOB_ID", "TIMEOUT", "add_dependency", "add_job", "children", "current_job",
        "kill", "parents", "spawn_child",
    },
    "balsam.launcher.futures": {"FutureTask", "TaskFailed", "WaitResult", "wait"},
    "balsam.launcher.async": {"FutureTask", "TaskFailed", "WaitResult", "wait"},
}  # fmt: skip
#: Reached as attributes, though not by ``import *``.
BESIDES = {
    "balsam.launcher.dag": {
        "BalsamJob", "LAUNCHER_NODES", "add_app", "breadth_first_iterator", "clone",
        "detect_circular", "get_active_database", "get_apps", "get_database_paths",
        "history_line", "submit", "wf_from_template",
    },
}  # fmt: skip
JOB = {
    "app_cmd", "batch_update_state", "cute_id", "delete", "deserialize", "envscript", "from_dict",
    "get_application", "get_child_by_name", "get_children", "get_children_by_id", "get_envs",
    "get_parents", "get_parents_by_id", "get_recent_state_str", "get_state_times", "lock",
    "num_ranks", "objects", "parse_envstring", "postprocess", "preprocess",
    "read_file_in_workdir", "refresh_from_db", "required_num_cores", "runtime_seconds", "save",
    "serialize", "set_parents", "source", "state_history", "tick", "to_dict", "update_state",
    "working_directory",
}  # fmt: skip
SOURCE = {
    "acquire", "by_states", "check_qLaunch", "clear_stale_locks", "get_runnable", "lock_str",
    "qLaunch", "release", "release_all_owned", "start_tick", "workflow",
}  # fmt: skip


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("name", SURFACE)
def test_what_a_star_imports_is_what_was_promised(name: str) -> None:
    module = load(name)
    assert set(module.__all__) == SURFACE[name]
    assert all(hasattr(module, word) for word in SURFACE[name] | BESIDES.get(name, set()))


def test_older_paths_are_the_same_objects() -> None:
    old, new = load("balsam.service.models"), load("balsam.core.models")
    assert all(getattr(old, word) is getattr(new, word) for word in new.__all__)
    assert load("balsam.launcher.async").FutureTask is load("balsam.launcher.futures").FutureTask


def test_a_job_has_its_classic_methods() -> None:
    job = load("balsam.core.models").BalsamJob
    assert {word for word in JOB if not hasattr(job, word)} == set()
    assert {word for word in SOURCE if not hasattr(job.source, word)} == set()


def test_the_package_itself_is_a_version_and_a_setup() -> None:
    assert balsam.__version__.count(".") >= 1
    public = {word for word in vars(balsam) if not word.startswith("_")}
    modules = {word for word in public if inspect.ismodule(getattr(balsam, word))}
    assert public - modules == {"annotations", "setup"}


def test_every_error_is_one_of_ours_and_says_what_it_is() -> None:
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    found = [kind for kind in classes if kind.__module__ == errors.__name__]
    assert len(found) > 20
    for kind in found:
        assert issubclass(kind, errors.BalsamError)
        assert kind.__doc__
        assert f"{kind.__name__} " in f"{errors.__doc__} ".replace("\n", " ")


def test_errors_can_be_caught_as_what_python_calls_them() -> None:
    assert issubclass(errors.UnknownName, (TypeError, ValueError))
    assert issubclass(errors.InvalidValue, ValueError)
    assert issubclass(errors.DependencyError, RuntimeError)
