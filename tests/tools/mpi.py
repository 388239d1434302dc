"""Whether MPI programs can be run here."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path


def has_mpi() -> bool:
    """Whether this Python may be a rank, and something is there to start ranks."""
    beside = Path(sys.executable).with_name("mpiexec")
    here = beside.exists() or shutil.which("mpiexec") is not None
    return here and importlib.util.find_spec("mpi4py") is not None
