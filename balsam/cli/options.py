"""Command-line words: how options may be spelled, before click sees them.

Any unique prefix of a long option stands for it, underscores are dashes, and some options swallow
the words that follow (``--args -n 5``). ``Grammar.rewrite`` turns all of that into the one full
spelling (``--args='-n 5'``); everything else about options is click's.
"""

from __future__ import annotations

import difflib
import shlex
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import click

from balsam.errors import nearest

Takes = Literal["nothing", "value", "words"]
Join = Callable[[Sequence[str]], str]

#: Slides and web pages print ``--hist`` with a typographic dash; pasted, it means the same.
_TYPOGRAPHIC = ("\u2014", "\u2013")
#: Abbreviations that slides, papers and manuals print. After an option that takes words only these
#: stand for an option; any other may be meant for the program that the words are for.
_PRINTED = frozenset(
    ("--app", "--consume", "--desc", "--exec", "--hist", "--ranks-per", "--wall-min")
)


def join_words(words: Sequence[str]) -> str:
    """One word as it is; several so that splitting them again gives the same words."""
    return words[0] if len(words) == 1 else shlex.join(words)


def join_plain(words: Sequence[str]) -> str:
    """Words with one blank between them, for text that no shell rules apply to."""
    return " ".join(words)


class WordsOption(click.Option):
    """An option that takes all words up to the command's next option, quoted or not."""

    def __init__(self, *args: Any, join: Join = join_words, **attrs: Any) -> None:
        attrs.setdefault("metavar", "WORDS...")
        super().__init__(*args, **attrs)
        self.join = join


@dataclass(frozen=True)
class Spelling:
    """What the grammar knows of one option: its names, and what it takes."""

    names: tuple[str, ...]
    takes: Takes = "value"
    join: Join = join_words
    hidden: bool = False

    @property
    def full(self) -> str:
        """The name that click is given."""
        return self.names[0]

    @property
    def brief(self) -> frozenset[str]:
        """Single letters with a value: after an option that takes words, these are words."""
        short = (name for name in self.names if not name.startswith("--"))
        return frozenset(short if self.takes == "value" and self.full.startswith("--") else ())

    @classmethod
    def of(cls, option: click.Option) -> Spelling:
        names = tuple(sorted(option.opts, key=lambda name: not name.startswith("--")))
        if isinstance(option, WordsOption):
            return cls(names, "words", option.join, option.hidden)
        return cls(names, "nothing" if option.is_flag else "value", hidden=option.hidden)


class Grammar:
    """The options of one command, and how people may write them.

    ``loose`` lets words that only look like options be positional (``modify 17 args -n``);
    ``stop`` leaves everything from the first positional word on alone (a command and its words).
    """

    def __init__(
        self, options: Iterable[Spelling], *, loose: bool = False, stop: bool = False
    ) -> None:
        self.loose = loose
        self.stop = stop
        self.exact: dict[str, Spelling] = {}
        self.guessable: dict[str, Spelling] = {}
        for option in options:
            for name in option.names:
                self.exact[name] = option
                if name.startswith("--") and not option.hidden:
                    self.guessable[name] = option

    @classmethod
    def of(cls, params: Iterable[click.Parameter], **how: bool) -> Grammar:
        """The grammar of a click command's parameters."""
        return cls((Spelling.of(p) for p in params if isinstance(p, click.Option)), **how)

    def rewrite(self, args: Sequence[str]) -> list[str]:
        """The same command line in full spellings, options first.

        Raises ``click.UsageError`` for an option that is unknown, ambiguous or lacks its value.
        """
        options: list[str] = []
        rest: list[str] = []
        queue = deque(args)
        while queue:
            token = queue.popleft()
            if token == "--":
                rest.extend(queue)
                break
            option, value = self._option(token)
            if option is None:
                rest.append(token)
                if self.stop:
                    return [*options, *rest, *queue]
            elif option.takes == "nothing":
                if value is not None:
                    raise click.UsageError(f"Option {option.full} takes no value.")
                options.append(option.full)
            else:
                taken = self._taken(option, value, queue)
                options.extend(
                    [f"{option.full}={taken}"]
                    if option.full.startswith("--")
                    else [option.full, taken]
                )
        return [*options, "--", *rest] if rest else options

    def find(self, word: str) -> tuple[Spelling | None, str | None]:
        """The one option a word stands for and the value it carries; nothing is an error here."""
        name, value = _split(word)
        found = self._matches(name)
        if len(found) == 1:
            return found[0], value
        short = self.exact.get(word[:2]) if word[:1] == "-" and word[1:2] != "-" else None
        return (short, word[2:]) if short is not None and short.takes == "value" else (None, None)

    def _option(self, token: str) -> tuple[Spelling | None, str | None]:
        """The option a word names and the value it carries; none if it is no option."""
        if len(token) < 2 or token[0] not in ("-", *_TYPOGRAPHIC):
            return None, None
        name, value = _split(token)
        found = self._matches(name)
        if len(found) == 1:
            return found[0], value
        if token[0] != "-" or self.loose or _is_number(token):
            return None, None
        if len(found) > 1:
            self._ambiguous(name, found)
        short = self.exact.get(token[:2])
        if short is not None and short.takes == "value":
            return short, token[2:]
        # Any long option is as near to a single letter as another.
        hint = nearest(name, self.guessable) if len(name) > 2 else ""
        raise click.UsageError(f"There is no option {name}{hint or '.'}")

    def _taken(self, option: Spelling, value: str | None, queue: deque[str]) -> str:
        if option.takes == "words":
            words = [] if value is None else [value]
            while queue and not self._ends_words(option, queue[0]):
                word = queue.popleft()
                if word == "--":
                    words.extend(queue)
                    queue.clear()
                else:
                    words.append(word)
            return option.join(words)
        if value is not None:
            return value
        if not queue or queue[0] == "--" or len(self._matches(_split(queue[0])[0])) == 1:
            raise click.UsageError(f"Option {option.full} needs a value.")
        return queue.popleft()

    def _ends_words(self, option: Spelling, token: str) -> bool:
        """Whether a word after ``option`` begins another one.

        A misspelled one, and one that is abbreviated in a way of its own, is refused.
        """
        if token == "--" or len(token) < 2 or token[0] not in ("-", *_TYPOGRAPHIC):
            return False
        name, _ = _split(token)
        found = self._matches(name)
        if found and name in found[0].brief:
            return False
        sure = name in self.exact or name in _PRINTED or token[0] != "-"
        if len(found) == 1 and sure:
            return True
        if not name.startswith("--") or token[0] != "-":
            return False
        hint = f" (if it belongs to {option.full}, write {option.full}={shlex.quote(token)})"
        if len(found) == 1:
            full = next(other for other in found[0].names if other.startswith(name))
            raise click.UsageError(
                f"After {option.full}, {name} has to be written out as {full}{hint}."
            )
        if found:
            self._ambiguous(name, found, hint)
        close = difflib.get_close_matches(name, self.guessable, n=1, cutoff=0.8)
        if close:
            raise click.UsageError(f"There is no option {name}; did you mean '{close[0]}'?{hint}")
        return False

    def _matches(self, name: str) -> list[Spelling]:
        """The options a name can stand for: exactly, or as a prefix."""
        if name in self.exact:
            return [self.exact[name]]
        if not name.startswith("--") or name == "--":
            return []
        found: list[Spelling] = []
        for full, option in self.guessable.items():
            if full.startswith(name) and option not in found:
                found.append(option)
        return found

    def _ambiguous(self, name: str, found: list[Spelling], hint: str = "") -> NoReturn:
        names = ", ".join(sorted(n for o in found for n in o.names if n.startswith(name)))
        raise click.UsageError(f"Option {name} could be {names}; write more of it{hint}.")


def _split(token: str) -> tuple[str, str | None]:
    """The name in its dashed spelling, and what follows the first equals sign."""
    if token[:1] in _TYPOGRAPHIC:
        token = "--" + token[1:]
    if not token.startswith("--"):
        return token, None
    name, equals, value = token.partition("=")
    return name.replace("_", "-"), value if equals else None


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True
