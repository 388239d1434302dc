"""What only Postgres has: word of each change of the record, and how many edges a job has."""

from __future__ import annotations

from typing import Any

from django.db import migrations

_TELL = """
CREATE FUNCTION balsam_tell() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NOTIFY balsam; RETURN NULL; END $$
"""
#: Every change of a state writes an event; the others change what is to be run, and how, and by whom.
_TRIGGERS = (
    ("balsam_event", "INSERT"),
    ("balsam_job", "UPDATE OR DELETE"),
    ("balsam_app", "INSERT OR UPDATE OR DELETE"),
)
#: How many different jobs edges have, as a share (-) of the edges. What the server counts while one
#: job has nearly all there are makes it read every edge for each job that waits, until it has counted
#: again.
_EDGES = """
ALTER TABLE balsam_dependency
    ALTER COLUMN child_id SET (n_distinct = -0.3), ALTER COLUMN parent_id SET (n_distinct = -0.3)
"""


def apply(apps: Any, editor: Any) -> None:
    if editor.connection.vendor != "postgresql":
        return
    editor.execute(_TELL)
    for table, actions in _TRIGGERS:
        editor.execute(
            f"CREATE TRIGGER {table}_tell AFTER {actions} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION balsam_tell()"
        )
    editor.execute(_EDGES)


def revert(apps: Any, editor: Any) -> None:
    if editor.connection.vendor != "postgresql":
        return
    for table, _ in _TRIGGERS:
        editor.execute(f"DROP TRIGGER {table}_tell ON {table}")
    editor.execute("DROP FUNCTION balsam_tell()")
    editor.execute(_EDGES.replace("SET (n_distinct = -0.3)", "RESET (n_distinct)"))


class Migration(migrations.Migration):
    dependencies = [("core", "0003_indexes")]
    operations = [migrations.RunPython(apply, revert)]
