"""Families of programs that start ranks, by the names that settings and machine files know."""

from __future__ import annotations

MPICH = "mpich"
#: Open MPI, of whichever version it says that it is.
OPEN_MPI = "openmpi"
OPEN_MPI_4 = "openmpi4"
OPEN_MPI_5 = "openmpi5"
INTEL = "intel"
APRUN = "aprun"
SRUN = "srun"
PALS = "pals"
JSRUN = "jsrun"
FAMILIES = (MPICH, OPEN_MPI, OPEN_MPI_4, OPEN_MPI_5, INTEL, APRUN, SRUN, PALS, JSRUN)
