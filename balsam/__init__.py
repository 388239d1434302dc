"""Balsam: campaigns of application runs inside HPC allocations.

Importing the package loads neither Django nor MPI.
"""

from __future__ import annotations

__version__ = "1.0.0.dev0"


def setup() -> None:
    """Configure Django for the project at hand; for scripts that use the models by themselves.

    Importing ``balsam.core.models`` or ``balsam.launcher.dag`` does it too. Calling it again is
    harmless.
    """
    from balsam.conf import bootstrap

    bootstrap.setup()
