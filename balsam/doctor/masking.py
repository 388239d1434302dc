"""Takes secrets out of text that leaves the machine: by their names, and by what they look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

#: What the name of a secret contains. KeyError and the like are no secrets.
_WORD = (
    r"(?:token|passw(?:or)?d|passphrase|secret|credential|authorization|cookie"
    r"|key(?!error|board|word))"
)
_SECRET_NAME = re.compile(_WORD, re.IGNORECASE)
_QUOTED = r"[bru]{0,2}(?:\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
#: ``NAME=value``, ``"name": "value"``, ``name: the rest of the line``. Whatever stands before the
#: telling word is of no account: what is repeated without a limit makes long lines slow.
_ASSIGNED = re.compile(
    rf"(?P<name>{_WORD}[\w.-]{{0,64}}[\"']?)"
    rf"(?:(?P<equals>\s{{0,4}}=\s{{0,4}})(?:{_QUOTED}\S*|\S+)"
    rf"|(?P<colon>[ \t]{{0,4}}:[ \t]{{0,4}})(?:{_QUOTED}|[^\n]+))",
    re.IGNORECASE,
)
#: ``--name value``
_OPTION = re.compile(
    rf"(?P<option>(?<![\w-])--?[\w-]{{0,64}}{_WORD}[\w-]{{0,64}}[ \t]{{1,4}})"
    rf"(?:{_QUOTED}|[^\s-]\S*)",
    re.IGNORECASE,
)
_URL_USER = re.compile(r"://[^\s/@'\"]{1,256}@")
_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----).*?(-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s{1,4}[\w.~+/=-]{8,}", re.IGNORECASE)
#: Tokens of well-known services, whatever they are called.
_KNOWN_KINDS = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|AKIA[0-9A-Z]{16}"
    r"|xox[abprs]-[\w-]{10,}|sk-[\w-]{20,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"
)
#: Shorter values would take ordinary words out of the text.
_SHORTEST = 6


def is_secret(name: str) -> bool:
    """Whether the value of a variable or setting of this name is nobody's business."""
    return _SECRET_NAME.search(name) is not None


class Mask:
    """Masks texts; it knows the secret values of an environment, wherever they turn up."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        values = {
            value.strip()
            for name, value in (environ or {}).items()
            if is_secret(name) and len(value.strip()) >= _SHORTEST
        }
        # The longest first, for one may be a part of another.
        listed = "|".join(re.escape(value) for value in sorted(values, key=len, reverse=True))
        self._known = re.compile(listed) if listed else None

    def text(self, text: str) -> str:
        """``text`` with every secret replaced."""
        if self._known:
            text = self._known.sub(MASK, text)
        text = _PRIVATE_KEY.sub(rf"\1{MASK}\2", text)
        text = _URL_USER.sub(f"://{MASK}@", text)
        text = _BEARER.sub(rf"\1 {MASK}", text)
        text = _KNOWN_KINDS.sub(MASK, text)
        text = _OPTION.sub(rf"\g<option>{MASK}", text)
        return _ASSIGNED.sub(rf"\g<name>\g<equals>\g<colon>{MASK}", text)

    def value(self, value: Any, name: str = "") -> Any:
        """A value as JSON knows them, with the secrets in it replaced."""
        if isinstance(value, Mapping):
            return {key: self.value(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(inner, name) for inner in value]
        if name and is_secret(name) and value not in ("", None):
            return MASK
        return self.text(value) if isinstance(value, str) else value
