"""Passwords that are made here, and what a server keeps of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets

#: Stretching makes short passwords costly to guess. Ours are 256 random bits, where it would only
#: cost each connection 5 ms.
_ROUNDS = 1


def generate() -> str:
    """A new password: 256 random bits in 43 letters, digits, dashes and underscores."""
    return secrets.token_urlsafe(32)


def verifier(password: str, salt: bytes | None = None, rounds: int = _ROUNDS) -> str:
    """What Postgres stores for a generated password; the password does not follow from it.

    So the server, its log and its list of commands never see the password itself. RFC 5802; the
    format is that of pg_authid.rolpassword.
    """
    salt = os.urandom(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${rounds}:{_text(salt)}${_text(stored)}:{_text(server)}"


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
