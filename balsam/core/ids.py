"""Identities of jobs: time-ordered UUIDs and the short ids made from them."""

from __future__ import annotations

import os
import time
import uuid

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
