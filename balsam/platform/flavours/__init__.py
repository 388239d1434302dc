"""The flavours of mpirun as data: command lines, variables, and how each says a launch failed."""

from balsam.platform.flavours.cray import APRUN, PALS
from balsam.platform.flavours.flavour import Flavour
from balsam.platform.flavours.hydra import INTEL, MPICH
from balsam.platform.flavours.jsm import JSRUN
from balsam.platform.flavours.launch import Launch, deal
from balsam.platform.flavours.openmpi import OPEN_MPI_4, OPEN_MPI_5
from balsam.platform.flavours.slurm import SRUN

__all__ = [
    "APRUN",
    "FLAVOURS",
    "INTEL",
    "JSRUN",
    "MPICH",
    "OPEN_MPI_4",
    "OPEN_MPI_5",
    "PALS",
    "SRUN",
    "Flavour",
    "Launch",
    "deal",
]

FLAVOURS = {
    flavour.name: flavour
    for flavour in (MPICH, INTEL, OPEN_MPI_4, OPEN_MPI_5, SRUN, PALS, APRUN, JSRUN)
}
