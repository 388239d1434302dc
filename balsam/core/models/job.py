"""Jobs: one planned run of an application, one row."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from django.db import models, transaction

from balsam import states
from balsam.core import advance, graph, history, ids
from balsam.core.fields import EnvironField
from balsam.core.job_files import JobFiles, default_workdir
from balsam.core.job_links import JobLinks
from balsam.core.job_text import JobText
from balsam.core.models.app import ApplicationDefinition
from balsam.core.models.batch_job import BatchJob
from balsam.core.models.dependency import Dependency
from balsam.core.models.session import Session
from balsam.core.names import NamedModel, canonical
from balsam.core.querysets import JobManager
from balsam.core.source import JobSource
from balsam.core.values import checked, from_text
from balsam.errors import IllegalMove, InvalidValue, JobChanged, NoApplication, nearest

#: Fields that only the writer of state, or nobody, changes after a job was made.
PROTECTED = frozenset(
    ("id", "job_id", "state", "state_timestamp", "session_id", "attempt", "lost_attempts")
)
#: The smallest sensible value of each number.
MINIMUM = {
    "num_nodes": 1,
    "ranks_per_node": 1,
    "threads_per_rank": 1,
    "threads_per_core": 1,
    "node_packing_count": 1,
    "coschedule_num_nodes": 0,
    "gpus_per_rank": 0,
    "wall_time_minutes": 0,
    "time_limit_minutes": 0,
    "max_attempts": 0,
}
ON_PARENT_FAILURE = (graph.FAIL, graph.IGNORE)


def _text(default: str = "") -> Any:
    return models.TextField(default=default, blank=True)


class BalsamJob(JobText, JobLinks, JobFiles, NamedModel):
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
    )
    direct_command = _text()
    args = _text()
    parameters = models.JSONField(default=dict, blank=True)
    preprocess_override = _text()
    postprocess_override = _text()
    environ_vars = EnvironField(default=dict, blank=True)

    # on what
    num_nodes = models.IntegerField(default=1)
    coschedule_num_nodes = models.IntegerField(default=0)
    ranks_per_node = models.IntegerField(default=1)
    threads_per_rank = models.IntegerField(default=1)
    threads_per_core = models.IntegerField(default=1)
    node_packing_count = models.IntegerField(default=1)
    gpus_per_rank = models.FloatField(default=0.0)
    cpu_affinity = _text("none")
    mpi_flags = _text()
    launch_params = models.JSONField(default=dict, blank=True)
    wall_time_minutes = models.IntegerField(default=1)
    time_limit_minutes = models.FloatField(default=0.0)
    priority = models.IntegerField(default=0)

    # after whom, and where the files are
    parents = models.ManyToManyField(
        "self", through=Dependency, symmetrical=False, related_name="children"
    )
    wait_for_parents = models.BooleanField(default=True)
    on_parent_failure = _text(graph.FAIL)
    input_files = _text("*")
    stage_in_url = _text()
    stage_out_url = _text()
    stage_out_files = _text()
    transfers = models.JSONField(default=dict, blank=True)
    workdir = _text()
    user_workdir = _text()
    pending_file_cleanup = models.BooleanField(default=False)

    # when it goes wrong
    post_error_handler = models.BooleanField(default=False)
    post_timeout_handler = models.BooleanField(default=False)
    auto_timeout_retry = models.BooleanField(default=True)
    max_attempts = models.IntegerField(default=0)

    # how far it has come
    state = models.TextField(default=states.CREATED)
    state_timestamp = models.DateTimeField(default=history.now)
    attempt = models.IntegerField(default=0)
    lost_attempts = models.IntegerField(default=0)
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

    ALIASES = {
        "application": ("app", "name"),
        "lock": ("session", "lock"),
        "tick": ("session", "heartbeat"),
        "application_args": ("args",),
        "preprocess": ("preprocess_override",),
        "preprocessor": ("preprocess_override",),
        "postprocess": ("postprocess_override",),
        "postprocessor": ("postprocess_override",),
        "processes_per_node": ("ranks_per_node",),
        "procs_per_node": ("ranks_per_node",),
        "wall_minutes": ("wall_time_minutes",),
        "wall_time_min": ("wall_time_minutes",),
        "post_handle_error": ("post_error_handler",),
        "post_handle_timeout": ("post_timeout_handler",),
        "url_in": ("stage_in_url",),
        "url_out": ("stage_out_url",),
        "batch_job": ("queued_launch",),
        "batch_job_id": ("queued_launch_id",),
        "parent_ids": ("parents",),
    }

    objects = JobManager()
    source = JobSource()

    class Meta:
        db_table = "balsam_job"
        indexes = [
            models.Index(fields=["state"], name="balsam_job_state"),
            models.Index(fields=["workflow", "state"], name="balsam_job_workflow"),
            models.Index(
                fields=["session"],
                name="balsam_job_session",
                condition=models.Q(session__isnull=False),
            ),
            models.Index(
                fields=["queued_launch"],
                name="balsam_job_queued_launch",
                condition=models.Q(queued_launch__isnull=False),
            ),
            models.Index(
                models.F("priority").desc(),
                models.F("num_nodes").desc(),
                models.F("wall_time_minutes").desc(),
                models.F("id"),
                name="balsam_job_runnable",
                condition=models.Q(
                    state__in=list(states.RUNNABLE_STATES), session__isnull=True
                ),
            ),
            models.Index(
                models.F("workflow"),
                models.F("priority").desc(),
                models.F("num_nodes").desc(),
                models.F("wall_time_minutes").desc(),
                models.F("id"),
                name="balsam_job_runnable_workflow",
                condition=models.Q(
                    state__in=list(states.RUNNABLE_STATES), session__isnull=True
                ),
            ),
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._new_parents: list[Any] = []
        self._app_name: str | None = None
        self._saved: dict[str, Any] = {}
        super().__init__(*args, **kwargs)

    def _construct_names(self, values: dict[str, Any]) -> dict[str, Any]:
        real = super()._construct_names(values)
        parents = real.pop("parents", None)
        self._new_parents = list(parents) if parents else []
        if "environ_vars" in real:
            real["environ_vars"] = checked(
                self._meta.get_field("environ_vars"), real["environ_vars"]
            )
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

    def _remember(self, names: Iterable[str] | None = None) -> None:
        """Note what the row holds now, in all columns or in the named ones."""
        present = self.__dict__
        fields = self._meta.concrete_fields
        if names is not None:
            fields = [self._meta.get_field(name) for name in names]
        for field in fields:
            if field.attname in present:
                value = present[field.attname]
                mutable = isinstance(value, (dict, list))
                self._saved[field.attname] = copy.deepcopy(value) if mutable else value

    def changed_fields(self) -> list[str]:
        """Columns that differ from what was read or last saved."""
        present = self.__dict__
        names = [field.attname for field in self._meta.concrete_fields]
        return [
            name
            for name in names
            if name in present
            and (name not in self._saved or self._saved[name] != present[name])
        ]

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
        renamed = {"name", "workflow"}.intersection(changed)
        if renamed and not self.workdir and self.state not in states.WAITING_STATES:
            self.workdir = default_workdir(
                self._saved.get("workflow", self.workflow),
                self._saved.get("name", self.name),
                self.job_id,
            )
            changed.append("workdir")
        self.last_update = history.now()
        written = [*changed, "last_update"]
        super().save(using=using, update_fields=written)
        self._remember(written)

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
        if self.on_parent_failure not in ON_PARENT_FAILURE:
            raise InvalidValue(
                f"on_parent_failure is one of {', '.join(ON_PARENT_FAILURE)}, "
                f"not '{self.on_parent_failure}'."
            )

    def _resolve_application(self) -> None:
        if self._app_name is not None:
            name, self._app_name = self._app_name, None
            self.app = ApplicationDefinition.objects.named(name) if name else None

    def get_application(self) -> ApplicationDefinition:
        """The application this job runs; NoApplication if it has none."""
        self._resolve_application()
        if self.app is None:
            raise NoApplication(f"{self.cute_id} runs a direct command, not an application.")
        return self.app

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the job with its events and edges; children that waited for it fail."""
        key, self.pk = self.pk, None
        graph.forget([key])
        return 1, {self._meta.label: 1}

    @classmethod
    def _own(cls, name: str) -> str:
        path = cls.ALIASES.get(name, (name,))
        return "app" if name == "application" else path[0]

    def modify(self, name: str, text: str) -> Any:
        """Set one field from its written form, as ``balsam modify`` does; returns the new value.

        ``state`` moves through :meth:`update_state`. Raises UnknownName, InvalidValue, IllegalMove.
        """
        if name == "state":
            if self.state == states.USER_KILLED:
                raise IllegalMove("Cannot mutate state of a killed job")
            self.update_state(text, "User mutated state from command line")
            return self.state
        if name == "application":
            self.application = text
            self.save()
            return text
        field_name = canonical(type(self), name)
        if field_name in self.ALIASES:
            raise InvalidValue(f"{name} of a job can not be changed by hand.")
        field = self._meta.get_field(field_name)
        if field.attname in PROTECTED or field.is_relation:
            raise InvalidValue(f"{name} of a job can not be changed by hand.")
        setattr(self, field_name, from_text(field, text))
        self.save()
        return getattr(self, field_name)

    # -- state ----------------------------------------------------------------------------------

    def update_state(
        self,
        new_state: str,
        message: str = "",
        release: bool = False,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Move the job, as a user or a hook may, with its event.

        Raises IllegalMove, and JobChanged when the job is no longer in the state this object shows
        (killing is possible whatever it is now).
        """
        if new_state not in states.STATES:
            raise InvalidValue(
                f"There is no state '{new_state}'{nearest(new_state, states.STATES)}."
            )
        with transaction.atomic():
            if new_state == states.USER_KILLED:
                self.refresh_from_db(fields=["state", "state_timestamp"])
                if self.state in states.END_STATES:
                    return
            hop = advance.Hop(new_state, message, data or {})
            if self.state != new_state:
                moved = advance.advance_set([self.pk], self.state, [hop], states.USER)
                if not moved:
                    shown = self.state
                    self.refresh_from_db(fields=["state", "state_timestamp"])
                    raise JobChanged(
                        f"{self.cute_id} is {self.state} by now, not {shown}; "
                        "call refresh_from_db() and decide again."
                    )
            self.refresh_from_db(fields=["state", "state_timestamp"])

    @classmethod
    def batch_update_state(
        cls, pks: Iterable[Any], new_state: str, message: str = "", release: bool = False
    ) -> int:
        """Move many jobs as a user may; killed ones are skipped. Returns how many moved."""
        return int(cls.objects.all().among(cls.objects.keys_of(pks)).move(new_state, message))
