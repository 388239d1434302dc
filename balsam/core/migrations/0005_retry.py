"""Limits of retries by cause, signals before the end, and when a job may start again."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models


class AddColumn(migrations.AddField):
    """A column with a constant default; SQLite would otherwise copy the table for each of them."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if schema_editor.connection.vendor != "sqlite" or not self.allow_migrate_model(
            schema_editor.connection.alias, model
        ):
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        field = model._meta.get_field(self.name)
        parts = field.db_parameters(connection=schema_editor.connection)
        name = schema_editor.quote_name(field.column)
        words = f"{name} {parts['type']}"
        if not field.null:
            default = schema_editor.quote_value(schema_editor.effective_default(field))
            words += f" NOT NULL DEFAULT {default}"
        if parts["check"]:
            words += f" CHECK ({parts['check']})"
        table = schema_editor.quote_name(model._meta.db_table)
        schema_editor.execute(f"ALTER TABLE {table} ADD COLUMN {words}")


class Migration(migrations.Migration):
    dependencies = [("core", "0004_postgres_changes")]
    operations = [
        AddColumn("applicationdefinition", "retry", models.JSONField(blank=True, default=dict)),
        AddColumn("balsamjob", "retry", models.JSONField(blank=True, default=dict)),
        AddColumn("balsamjob", "signal", models.TextField(blank=True, default="")),
        AddColumn("balsamjob", "signal_before_min", models.FloatField(default=0.0)),
        AddColumn("balsamjob", "not_before", models.DateTimeField(blank=True, null=True)),
        AddColumn("session", "heartbeat_monotonic", models.FloatField(default=0.0)),
        migrations.AddIndex(
            model_name="balsamjob",
            index=models.Index(
                condition=models.Q(("not_before__isnull", False)),
                fields=["not_before"],
                name="balsam_job_not_before",
            ),
        ),
    ]
