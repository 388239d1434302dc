"""Column types of the record that Django does not have."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import models

from balsam import retries
from balsam.errors import InvalidValue, LaunchError, ProgramMissing, nearest
from balsam.platform import commandline, launch_params

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_SEPARATOR = re.compile(rf":(?={_NAME}=)")


def parse_environ(value: object) -> dict[str, str]:
    """Environment variables from a mapping or from ``A=1:B=2`` text.

    A colon separates two variables only where a name and an equals sign follow, so
    ``URL=http://host:80`` is one variable. Raises InvalidValue.
    """
    if value is None or value == "":
        return {}
    if isinstance(value, Mapping):
        pairs = [(str(name), str(content)) for name, content in value.items()]
    elif isinstance(value, str):
        pairs = []
        for part in _SEPARATOR.split(value.lstrip(":")):
            name, equals, content = part.partition("=")
            if not equals:
                raise InvalidValue(f"'{part}' is no environment variable; write NAME=VALUE.")
            pairs.append((name.strip(), content))
    else:
        raise InvalidValue(
            f"Environment variables are given as NAME=VALUE text or as a dict, not {value!r}."
        )
    for name, content in pairs:
        if not re.fullmatch(_NAME, name):
            raise InvalidValue(f"'{name}' is no name of an environment variable.")
        if "\0" in content:
            raise InvalidValue(f"The environment variable {name} holds a NUL character.")
    return dict(pairs)


def signal_name(value: object) -> str:
    """``USR1`` for ``USR1``, ``SIGUSR1``, ``usr1``, ``10`` or 10; '' for none. Raises InvalidValue.

    The name is kept, because numbers differ between machines.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InvalidValue(f"signal is the name or number of a signal, not {value!r}.")
    word = str(value).strip()
    if not word:
        return ""
    if word.isdecimal():
        try:
            return signal.Signals(int(word)).name.removeprefix("SIG")
        except ValueError:
            raise InvalidValue(f"There is no signal of the number {word}.") from None
    name = word.upper().removeprefix("SIG")
    known = [one.name.removeprefix("SIG") for one in signal.Signals]
    if name in known:
        return signal.Signals[f"SIG{name}"].name.removeprefix("SIG")
    raise InvalidValue(f"There is no signal '{word}'{nearest(name, known)}.")


class SignalField(models.TextField):
    """The name of a signal without its ``SIG``, '' for none."""

    def deconstruct(self) -> Any:
        """As Django's own field: migrations need no more of it."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs


class CommandField(models.TextField):
    """A command line or a part of one: words, with the quotes of a shell."""

    def check_words(self, text: str) -> None:
        """Raise InvalidValue if no words can be made of ``text``."""
        try:
            commandline.split(text, f"the value of {self.name}")
        except ProgramMissing as error:
            raise InvalidValue(str(error)) from error

    def deconstruct(self) -> Any:
        """As Django's own field: migrations need no more of it."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs


class ChoiceField(models.TextField):
    """One of few words, the ``allowed`` ones."""

    def __init__(self, *args: Any, allowed: Sequence[str] = (), **kwargs: Any) -> None:
        self.allowed = frozenset(allowed)
        self._listed = ", ".join(allowed)
        super().__init__(*args, **kwargs)

    def check_choice(self, text: str) -> None:
        """Raise InvalidValue for another word."""
        if text not in self.allowed:
            raise InvalidValue(f"{self.name} is one of {self._listed}, not '{text}'.")

    def deconstruct(self) -> Any:
        """As Django's own field: migrations need no more of it."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs


class LaunchParamsField(models.JSONField):
    """How a launcher is to start a job: see ``balsam.platform.launch_params``."""

    def check_params(self, params: Mapping[str, Any]) -> None:
        """Raise InvalidValue for what no launcher could use."""
        try:
            launch_params.check(params)
        except LaunchError as error:
            raise InvalidValue(str(error)) from error

    def deconstruct(self) -> Any:
        """As Django's own field: migrations need no more of it."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


class RetryField(models.JSONField):
    """How often attempts are made again, by cause: see ``balsam.retries``."""

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if isinstance(value, (str, Mapping)):
            value = retries.rules(value)
        return super().get_db_prep_value(value, connection, prepared)

    def deconstruct(self) -> Any:
        """As Django's own field: migrations need no more of it."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


class EnvironField(models.JSONField):
    """A mapping of environment variables, given as a mapping or as ``A=1:B=2`` text."""

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if isinstance(value, (str, Mapping)) or value is None:
            value = parse_environ(value)
        return super().get_db_prep_value(value, connection, prepared)

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "balsam.core.fields.EnvironField", args, kwargs


class DirectoryField(models.TextField):
    """A directory of the user's, '' for none; kept as an absolute path.

    Jobs run elsewhere than they were made, so a relative one means the directory of the process
    that sets it.
    """

    def absolute(self, path: str) -> str:
        """``path`` as it is kept. Raises InvalidValue if the current directory is gone."""
        if not path:
            return path
        try:
            return os.path.abspath(os.path.expanduser(path))
        except FileNotFoundError as error:
            raise InvalidValue(
                f"{self.name} is '{path}', but the current directory no longer exists; give a full "
                "path."
            ) from error

    def deconstruct(self) -> Any:
        """As Django's own field: migrations need no more of it."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs
