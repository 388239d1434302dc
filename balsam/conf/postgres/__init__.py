"""The Postgres server of a project: made, started, secured and found."""
