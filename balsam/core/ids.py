"""Identities of jobs: time-ordered UUIDs and the short ids made from them."""

from __future__ import annotations

import json
import os
import time
import uuid
from typing import Any

from balsam.errors import InvalidValue

SHORT_DIGITS = 8


def new_uuid() -> uuid.UUID:
    """A UUID in the version 7 layout (RFC 9562): 48 bits of milliseconds, then random bits.

    Time order keeps a unique index dense while rows are appended.
    """
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)


def short_id(job_id: uuid.UUID) -> str:
    """Eight hex digits from the random end, enough to tell jobs of one workflow apart."""
    return job_id.hex[-SHORT_DIGITS:]


def label(name: str, job_id: uuid.UUID) -> str:
    """``[name | 9a3c11f0]``, or ``[9a3c11f0]`` for a job without a name."""
    short = short_id(job_id)
    return f"[{name} | {short}]" if name else f"[{short}]"


def as_uuid(value: object) -> uuid.UUID | None:
    """``value`` as a UUID where it is one or spells one out in full, else None."""
    if isinstance(value, uuid.UUID):
        return value
    if isinstance(value, str) and len(value) in (32, 36):
        try:
            return uuid.UUID(value)
        except ValueError:
            return None
    return None


def uuid_range(prefix: str) -> tuple[uuid.UUID, uuid.UUID] | None:
    """The first and the last UUID that begin with ``prefix``, dashes ignored; None if none can."""
    digits = prefix.replace("-", "").lower()
    if not digits or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
        return None
    return uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))


def several(jobs: Any) -> list[Any]:
    """Jobs given as one, as many, or as the JSON text of their ids that older lines kept."""
    if isinstance(jobs, str) and jobs.lstrip().startswith("["):
        try:
            return list(json.loads(jobs))
        except ValueError:
            raise InvalidValue(f"Jobs are given as a list of their ids, not '{jobs}'.") from None
    one = hasattr(jobs, "__index__") and not hasattr(jobs, "__iter__")
    if isinstance(jobs, (str, uuid.UUID)) or one or hasattr(jobs, "pk"):
        return [jobs] if jobs != "" else []
    return [] if jobs is None else list(jobs)
