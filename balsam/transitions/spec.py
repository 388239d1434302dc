"""What a step is given: a frozen, JSON-serialisable description of the work.

A step sees neither the database nor the settings; all it needs is in its ``StepSpec``, so it can
run in any process of the machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

STAGE_IN = "STAGE_IN"
PREPROCESS = "PREPROCESS"
POSTPROCESS = "POSTPROCESS"
STAGE_OUT = "STAGE_OUT"

#: Every kind of step; the hooks are those that run a user's script.
KINDS = (STAGE_IN, PREPROCESS, POSTPROCESS, STAGE_OUT)
HOOKS = (PREPROCESS, POSTPROCESS)

#: The variable that marks every process of a step's hook with the step's token.
STEP_VARIABLE = "BALSAM_STEP"


@dataclass(frozen=True)
class ParentFiles:
    """Where a parent's files are; its ``name`` tells Balsam's own files there from the others."""

    workdir: str
    name: str
    short_id: str


@dataclass(frozen=True)
class StepSpec:
    """One step of one job.

    ``token`` identifies this step among all others, now and later. ``workdir`` is relative to
    ``data_dir``, or absolute if the user chose a directory elsewhere. ``state`` is the job's state
    now, ``done_state`` the one it gets if the step succeeds.

    For staging: ``parents`` and ``input_files`` (globs) say what to link, ``url`` what to copy in
    or where to copy out to, ``files`` (globs) what to copy out. For hooks: ``command`` is split
    like a shell does; ``env`` is added to the environment of the worker; ``log`` is the file that
    takes the output (default: ``preprocess.log`` or ``postprocess.log`` in the work directory);
    ``time_limit`` is in seconds, 0 for none; ``handler`` says that a post-processing script was
    called to handle an error or a timeout; ``envscript`` is sourced before the command.
    """

    token: str
    job_id: int
    kind: str
    label: str
    state: str
    done_state: str
    workdir: str
    data_dir: str
    parents: tuple[ParentFiles, ...] = ()
    input_files: str = ""
    url: str = ""
    files: str = ""
    command: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    log: str = ""
    time_limit: float = 300.0
    handler: bool = False
    envscript: str = ""

    def to_json(self) -> str:
        """One line of JSON, plain ASCII."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        plain["parents"] = [asdict(parent) for parent in self.parents]
        plain["env"] = dict(self.env)
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str | bytes) -> StepSpec:
        """The spec that ``to_json`` wrote.

        :raises ValueError: if it is not JSON.
        :raises TypeError: if the fields are not those of a spec.
        """
        plain = json.loads(text)
        plain["parents"] = tuple(ParentFiles(**parent) for parent in plain.get("parents", ()))
        return cls(**plain)
