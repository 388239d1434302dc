"""Applications registered and listed by a script, which prints what comes of it."""

from __future__ import annotations

import os
import shutil

from balsam.core.models import ApplicationDefinition
from balsam.errors import InvalidValue


def add_app(
    name: str,
    executable: str,
    description: str = "",
    envscript: str = "",
    preprocess: str = "",
    postprocess: str = "",
    checkexe: bool = False,
) -> ApplicationDefinition:
    """Register an application, or change the one of that name; says which.

    ``checkexe`` raises InvalidValue unless the executable is there.
    """
    if checkexe:
        program = executable.split(" ", 1)[0]
        if shutil.which(os.path.expanduser(program)) is None:
            raise InvalidValue(f"The executable '{program}' is not there or not executable.")
    app, created = ApplicationDefinition.objects.update_or_create(
        name=name,
        defaults={
            "executable": executable,
            "description": description,
            "envscript": envscript,
            "preprocess": preprocess,
            "postprocess": postprocess,
        },
    )
    print(f"{'Created' if created else 'Updated'} application {name}")
    return app


def get_apps(verbose: bool = True) -> list[str]:
    """Names of the registered applications; ``verbose`` prints them too."""
    names = list(ApplicationDefinition.objects.order_by("name").values_list("name", flat=True))
    if verbose:
        print("\n".join(names))
    return names
