"""Balsam: campaigns of application runs inside HPC allocations.

Importing the package loads neither Django nor MPI.
"""

from __future__ import annotations

__version__ = "1.0.0.dev0"
