"""Words that the messages of several launchers share."""

from __future__ import annotations

NOT_FOUND = r"(?:No such file or directory|Permission denied|Exec format error|Not a directory)"
#: A launcher that can not even load: its libraries or its other programs are missing.
BROKEN_INSTALLATION = (
    r"^\S*(?:mpirun|mpiexec|mpiexec\.hydra|hydra_\w+|prterun|prted|orted|srun|aprun|jsrun): "
    r"(?:error while loading shared libraries|(?:line )?\d+: \S+: not found)"
)
#: What ssh says, if it is by ssh that a launcher has started its daemons.
SSH_LOST = r"^Connection to (\S+) closed by remote host"
