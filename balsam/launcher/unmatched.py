"""Telling whoever asked for jobs of a workflow or with tags that there are none."""

from __future__ import annotations

from collections.abc import Sequence

from balsam.core.lease import Scope


def sentence(scope: Scope, similar: Sequence[str]) -> str:
    """That no job is in ``scope``, with the ``similar`` workflows; '' for all jobs of a project."""
    if similar:
        return (
            f"No workflow is named '{scope.workflow}'; there are {', '.join(similar)} "
            f"(a glob such as '{scope.workflow}*' matches several)."
        )
    asked = [f"the workflow '{scope.workflow}'"] if scope.workflow else []
    asked += [f"the tag {name}={value}" for name, value in scope.tags]
    if not asked:
        return ""
    listing = "'balsam ls --columns id,workflow,tags' lists those there are."
    return f"No job matches {' and '.join(asked)}; {listing}"
