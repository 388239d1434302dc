"""Questions to the person at the terminal."""

from __future__ import annotations

import sys

import click


def interactive() -> bool:
    """Whether somebody is there to read a question and to answer it."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(question: str) -> bool:
    """Ask until the answer is y or n; the end of input is a no."""
    while True:
        try:
            answer = input(f"{question} [y/n]: ").strip().lower()
        except EOFError:
            print()
            return False
        if answer in ("y", "yes"):
            return True
        if answer in ("n", "no"):
            return False


def consent(question: str, given: bool, flag: str) -> bool:
    """Whether to destroy something: ``given`` by ``flag``, or asked for.

    Raises ``click.ClickException`` when there is nobody to ask.
    """
    if given:
        return True
    if not interactive():
        raise click.ClickException(
            f"{question} There is no terminal to ask on: add {flag} to say yes."
        )
    return ask(question)
