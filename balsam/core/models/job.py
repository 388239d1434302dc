"""Jobs: one planned run of an application, one row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from django.db import connection, models, transaction

from balsam import states
from balsam.core import graph, history, ids, waiting
from balsam.core.fields import (
    ChoiceField,
    CommandField,
    DirectoryField,
    EnvironField,
    LaunchParamsField,
    RetryField,
    SignalField,
)
from balsam.core.job import aliases
from balsam.core.job.copies import JobCopies
from balsam.core.job.edits import JobEdits
from balsam.core.job.files import JobFiles, default_workdir
from balsam.core.job.indexes import INDEXES
from balsam.core.job.links import JobLinks
from balsam.core.job.moves import JobMoves
from balsam.core.job.text import JobText
from balsam.core.job.unsaved import JobUnsaved
from balsam.core.models.app import ApplicationDefinition, UnknownApplication
from balsam.core.models.batch_job import BatchJob
from balsam.core.models.dependency import Dependency
from balsam.core.models.session import Session
from balsam.core.names import NamedModel
from balsam.core.querysets import JobManager
from balsam.core.relations import ParentsField
from balsam.core.rules import FAIL, MINIMUM, ON_PARENT_FAILURE, PROTECTED, WAITING_RULES
from balsam.core.source import JobSource
from balsam.core.values import checked
from balsam.errors import IllegalMove
from balsam.platform.affinity import BINDINGS


def _text(default: str = "") -> Any:
    return models.TextField(default=default, blank=True)


def _command() -> Any:
    return CommandField(default="", blank=True)


class BalsamJob(JobText, JobMoves, JobEdits, JobLinks, JobFiles, JobCopies, JobUnsaved, NamedModel):
    """One planned run: what to run, on what, after whom, and how far it has come.

    Fields may be given, read and filtered under the names of any Balsam line. ``state``, the lease
    (``session``) and ``attempt`` are never written by ``save()``: state moves through
    ``update_state``.
    """

    UUID_KEY = "job_id"

    id = models.BigAutoField(primary_key=True)
    job_id = models.UUIDField(default=ids.new_uuid, unique=True, editable=False)
    workflow = _text()
    name = _text()
    description = _text()
    tags = models.JSONField(default=dict, blank=True)
    data = models.JSONField(default=dict, blank=True)

    # what to run
    app = models.ForeignKey(
        ApplicationDefinition,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="jobs",
        db_index=False,  # it would cost every lease, start and end a write
    )
    direct_command = _command()
    args = _command()
    parameters = models.JSONField(default=dict, blank=True)
    preprocess_override = _command()
    postprocess_override = _command()
    environ_vars = EnvironField(default=dict, blank=True)

    # on what
    num_nodes = models.IntegerField(default=1)
    coschedule_num_nodes = models.IntegerField(default=0)
    ranks_per_node = models.IntegerField(default=1)
    threads_per_rank = models.IntegerField(default=1)
    threads_per_core = models.IntegerField(default=1)
    node_packing_count = models.IntegerField(default=1)
    gpus_per_rank = models.FloatField(default=0.0)
    cpu_affinity = ChoiceField(allowed=BINDINGS, default="none", blank=True)
    mpi_flags = _command()
    launch_params = LaunchParamsField(default=dict, blank=True)
    wall_time_minutes = models.IntegerField(default=1)
    time_limit_minutes = models.FloatField(default=0.0)
    priority = models.IntegerField(default=0)

    # after whom, and where the files are
    parents = ParentsField("self", through=Dependency, symmetrical=False, related_name="children")
    wait_for_parents = models.BooleanField(default=True)
    on_parent_failure = ChoiceField(allowed=ON_PARENT_FAILURE, default=FAIL, blank=True)
    input_files = _text("*")
    stage_in_url = _text()
    stage_out_url = _text()
    stage_out_files = _text()
    transfers = models.JSONField(default=dict, blank=True)
    workdir = _text()
    user_workdir = DirectoryField(default="", blank=True)
    pending_file_cleanup = models.BooleanField(default=False)

    # when it goes wrong
    post_error_handler = models.BooleanField(default=False)
    post_timeout_handler = models.BooleanField(default=False)
    auto_timeout_retry = models.BooleanField(default=True)
    max_attempts = models.IntegerField(default=0)
    retry = RetryField(default=dict, blank=True)
    signal = SignalField(default="", blank=True)
    signal_before_min = models.FloatField(default=0.0)

    # how far it has come
    state = models.TextField(default=states.CREATED)
    state_timestamp = models.DateTimeField(default=history.now)
    attempt = models.IntegerField(default=0)
    lost_attempts = models.IntegerField(default=0)
    not_before = models.DateTimeField(null=True, blank=True)
    session = models.ForeignKey(
        Session,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="jobs",
        db_index=False,
    )
    queued_launch = models.ForeignKey(
        BatchJob,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="jobs",
        db_index=False,
    )
    return_code = models.IntegerField(null=True, blank=True)
    serialized_parameters = _text()
    serialized_return_value = _text()
    serialized_exception = _text()
    last_update = models.DateTimeField(default=history.now)

    ALIASES = aliases.ALIASES
    NOT_STORED = aliases.NOT_STORED

    objects = JobManager()
    source = JobSource()

    class Meta:
        db_table = "balsam_job"
        indexes = INDEXES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._new_parents: list[Any] = []
        self._app_name: str | None = None
        self._saved: dict[str, Any] = {}
        super().__init__(*args, **kwargs)

    def _construct_names(self, values: dict[str, Any]) -> dict[str, Any]:
        real = super()._construct_names(values)
        self._new_parents = ids.several(real.pop("parents", None))
        for name in ("environ_vars", "user_workdir", "retry", "signal"):
            if name in real:
                real[name] = checked(self._meta.get_field(name), real[name])
        return real

    def __str__(self) -> str:
        return self.cute_id

    # -- loading and saving ---------------------------------------------------------------------

    @classmethod
    def from_db(cls, db: Any, field_names: Any, values: Any) -> BalsamJob:
        job: BalsamJob = super().from_db(db, field_names, values)
        job._remember()
        return job

    def refresh_from_db(
        self, using: str | None = None, fields: Any = None, from_queryset: Any = None
    ) -> None:
        """Read the row, or these fields of it, again, dropping changes that were not saved."""
        super().refresh_from_db(using=using, fields=fields, from_queryset=from_queryset)
        if fields is None:
            self._app_name = None
            self._remember()
        else:
            self._remember(fields)

    def save(
        self,
        *args: Any,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Insert a new job with its first event, or write the fields that changed.

        State, lease and attempt are never written; assigning to them is an IllegalMove.
        """
        if self._state.adding:
            type(self).objects.bulk_create([self])
            return
        self._resolve_application()
        changed = self.changed_fields()
        forbidden = PROTECTED.intersection(changed)
        if forbidden:
            self._refuse(sorted(forbidden))
        if update_fields is not None:
            named = {self._meta.get_field(self._own(name)).attname for name in update_fields}
            changed = [name for name in changed if name in named]
        if not changed:
            return
        self.clean_values(changed)
        self.last_update = history.now()
        written = [*changed, "last_update"]
        rules = WAITING_RULES.intersection(written)
        turn = contextlib.nullcontext() if rules else connection.out_of_turn()
        with turn, transaction.atomic():
            if self._fix_directory(changed):
                written.append("workdir")
            super().save(using=using, update_fields=written)
            if rules:
                waiting.reconsider([self.pk], "what it waits for was changed")
                self.refresh_from_db(fields=["state", "state_timestamp"])
        self._remember(written)

    def _fix_directory(self, changed: Iterable[str]) -> bool:
        """Fix the directory of a job that gets a new name but may have begun; whether it had to.

        The row says so: others may have moved or renamed the job since this object was read.
        """
        if self.workdir or not {"name", "workflow"}.intersection(changed):
            return False
        row = type(self)._base_manager.filter(pk=self.pk).select_for_update()
        found = row.values_list("state", "workdir", "workflow", "name").first()
        if found is None:
            return False
        state, there, workflow, name = found
        if state in states.WAITING_STATES:
            return False
        self.workdir = there or default_workdir(workflow, name, self.job_id)
        return True

    @staticmethod
    def _refuse(names: list[str]) -> None:
        if "state" in names:
            raise IllegalMove(
                "save() does not write the state of a job; use job.update_state(NEW_STATE)."
            )
        if names:
            raise IllegalMove(f"{', '.join(names)} of a job can not be changed by hand.")

    def clean_values(self, names: Iterable[str]) -> None:
        """Check values of the named columns; InvalidValue says which is wrong and why."""
        for name in names:
            field = self._meta.get_field(name)
            if not field.is_relation:
                self.__dict__[name] = checked(field, self.__dict__[name], MINIMUM.get(name))

    def _resolve_application(self) -> None:
        if self._app_name is not None:
            name = self._app_name
            self.app = ApplicationDefinition.objects.named(name) if name else None
            self._app_name = None

    def get_application(self) -> ApplicationDefinition:
        """The application this job runs; NoApplication if it has none."""
        self._resolve_application()
        if self.app is None:
            raise UnknownApplication(f"{self.cute_id} runs a direct command, not an application.")
        return self.app

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the job with its events and edges; children that waited for it fail."""
        graph.forget([self.pk])
        self.pk = None
        return 1, {self._meta.label: 1}

    @classmethod
    def _own(cls, name: str) -> str:
        path = cls.ALIASES.get(name, (name,))
        return "app" if name == "application" else path[0]
