"""The fields of jobs and applications as tables, made from the models."""

from __future__ import annotations

from typing import Any

from balsam_docs.rst import plain, table

#: What each field of a job means; types, defaults and other names come from the model.
JOB_MEANINGS = {
    "id": "A whole number, given by the database. Commands take it.",
    "job_id": "A UUID. Scripts of older Balsam versions use it.",
    "workflow": "The group of jobs it belongs to. Launchers can be limited to one.",
    "name": "A label. It is part of the names of the work directory and the output file.",
    "description": "A note for people.",
    "tags": "A dict of your own.",
    "data": "A dict of your own, for results and parameters.",
    "app": "The application it runs; ``application`` is its name.",
    "direct_command": "A command to run instead of an application.",
    "args": "Arguments, added to the application's command line.",
    "parameters": "Kept; nothing reads it yet.",
    "preprocess_override": "A preprocess script instead of the application's.",
    "postprocess_override": "A postprocess script instead of the application's.",
    "environ_vars": "Environment variables of its runs and hooks: a dict, or text ``A=1:B=2``.",
    "num_nodes": "Nodes it needs.",
    "coschedule_num_nodes": "Kept; nothing reads it yet.",
    "ranks_per_node": "MPI ranks on each node. More than one rank in all means ``mpirun``.",
    "threads_per_rank": "Threads of each rank. Above 1 it also sets ``OMP_NUM_THREADS``.",
    "threads_per_core": "Threads that share a core.",
    "node_packing_count": "How many such jobs fill a node. 1 means: count cores instead.",
    "gpus_per_rank": "GPUs of each rank. May be a fraction.",
    "cpu_affinity": "What the job is confined to: ``none``, ``core``, ``numa`` or ``depth``.",
    "mpi_flags": "More options for ``mpirun``, for this job.",
    "launch_params": "How to start it: ``cwd``, ``mpirun`` and ``whole_nodes``; see "
    ":doc:`/how-to/run-and-qsub`.",
    "wall_time_minutes": "How long it will take, about. Long jobs start first. It is no limit.",
    "time_limit_minutes": "An attempt is stopped after this; 0 means no limit.",
    "priority": "Jobs of higher priority start first.",
    "parents": "The jobs it depends on.",
    "wait_for_parents": "Whether it waits for them. If not, it may start at once.",
    "on_parent_failure": "``fail``: it fails when a parent does. ``ignore``: it runs all the same.",
    "input_files": "Globs: which files of its parents are linked into its work directory.",
    "stage_in_url": "Files to copy in before the run.",
    "stage_out_url": "Where to copy files to after the run.",
    "stage_out_files": "Globs: which files to copy out.",
    "transfers": "Kept; nothing reads it yet.",
    "workdir": "Its directory below ``data``, if it is not the usual one.",
    "user_workdir": "A directory of your own to run in. Used only if it exists.",
    "pending_file_cleanup": "Kept; nothing reads it yet.",
    "post_error_handler": "Whether the postprocess script is called when a run failed.",
    "post_timeout_handler": "Whether the postprocess script is called after a timeout.",
    "auto_timeout_retry": "Whether it is run again after a timeout.",
    "max_attempts": "The most attempts; 0 means the setting ``jobs.max_attempts``.",
    "retry": "How often it is tried again, by cause: ``oom=2:30s, hook=1``. Causes that are "
    "not named here have the application's limit, or that of ``jobs.retry``. See "
    ":doc:`/how-to/errors-and-timeouts`.",
    "signal": "A signal (``USR1``) that a run gets before its launcher has to end.",
    "signal_before_min": "How many minutes before the end it gets that signal.",
    "state": "How far it has come. Written by ``update_state`` only.",
    "state_timestamp": "When it got there (UTC).",
    "attempt": "The number of its latest attempt; 0 before the first.",
    "lost_attempts": "How many attempts were lost or stopped with their launcher; they do "
    "not count against ``max_attempts``.",
    "not_before": "It does not start before this time (UTC), nor does its next step. Set while it "
    "waits for a retry.",
    "session": "The launcher that holds it now.",
    "queued_launch": "The batch job it is meant for. Nothing reads it yet.",
    "return_code": "The exit code of its latest attempt.",
    "serialized_parameters": "Kept; nothing reads it yet.",
    "serialized_return_value": "Kept; nothing reads it yet.",
    "serialized_exception": "Kept; nothing reads it yet.",
    "last_update": "When one of its fields was last saved (UTC).",
}

APP_MEANINGS = {
    "id": "A whole number, given by the database.",
    "name": "What jobs call it. No two applications have the same.",
    "description": "A note for people.",
    "executable": "The program, with arguments that all runs share.",
    "preprocess": "A script to run before each job.",
    "postprocess": "A script to run after each job.",
    "envscript": "A shell file to source before each run and hook.",
    "environ_vars": "Environment variables of all its runs and hooks.",
    "command_template": "Kept; nothing reads it yet.",
    "parameters": "Kept; nothing reads it yet.",
    "transfers": "Kept; nothing reads it yet.",
    "retry": "How often its jobs are tried again, by cause; see the field of jobs.",
    "serialized_class": "Kept; nothing reads it yet.",
    "source_code": "Kept; nothing reads it yet.",
}

_KINDS = {
    "TextField": "text",
    "IntegerField": "whole number",
    "BigAutoField": "whole number",
    "FloatField": "number",
    "BooleanField": "true or false",
    "DateTimeField": "time",
    "UUIDField": "UUID",
    "JSONField": "JSON",
    "EnvironField": "variables",
    "RetryField": "limits",
    "SignalField": "text",
    "ForeignKey": "relation",
    "ManyToManyField": "relation",
}


def job_fields() -> list[str]:
    """The fields of a job, as rst."""
    from balsam.core.models import BalsamJob

    return _fields(BalsamJob, JOB_MEANINGS)


def app_fields() -> list[str]:
    """The fields of an application, as rst."""
    from balsam.core.models import ApplicationDefinition

    return _fields(ApplicationDefinition, APP_MEANINGS)


def _fields(model: Any, meanings: dict[str, str]) -> list[str]:
    rows = []
    for field in own_fields(model):
        others = [alias for alias, path in model.ALIASES.items() if path[0] == field.name]
        names = [f"``{field.name}``"]
        if others:
            names.append(f"(also {', '.join(f'``{name}``' for name in others)})")
        rows.append([" ".join(names), _kind(field), _default(field), meanings[field.name]])
    return table(["Field", "Type", "Default", "Meaning"], rows, [32, 13, 12, 43])


def own_fields(model: Any) -> list[Any]:
    """The fields written in the model, in the order they are written."""
    return sorted(
        (*model._meta.concrete_fields, *model._meta.many_to_many),
        key=lambda field: field.creation_counter,
    )


def _kind(field: Any) -> str:
    """By the field's class or the nearest that it is derived from."""
    return next(_KINDS[base.__name__] for base in type(field).__mro__ if base.__name__ in _KINDS)


def _default(field: Any) -> str:
    value = field.default
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)):
        return ""
    return plain(str(value) or "(empty)")
