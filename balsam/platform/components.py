"""Slurm's heterogeneous batch jobs: which of their components counts, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from balsam.platform import nodelist

NODES = "SLURM_JOB_NODELIST"
#: How many components there are.
_SIZE = "SLURM_HET_SIZE"
#: Between a variable's name and the number of the component that it is of.
_OF = "_HET_GROUP_"


def first(environ: Mapping[str, str], name: str) -> str:
    """The value for the whole job if there is one, else the first component's; '' without any.

    srun starts nothing on other components, unless it gets an option for that. In a batch script
    what should be for the whole job is of the first component, too.
    """
    if environ.get(name, "").strip():
        return environ[name]
    found = _of_each(environ, name)
    return found[min(found)] if found else ""


def left_out(environ: Mapping[str, str], nodes: Sequence[str]) -> str:
    """What a person should know of components other than that with these nodes; '' without any."""
    lists = _of_each(environ, NODES)
    size = environ.get(_SIZE, "")
    number = max(len(lists), int(size) if _is_number(size) else 0)
    if number < 2:
        return ""
    found = f"This batch job has {number} components, and a launcher uses one of them"
    try:
        there = {name for text in lists.values() for name in nodelist.expand(text)}
    except ValueError:
        there = set()
    others = there.difference(nodes)
    if not others:
        return f"{found}."
    count = "1 node is" if len(others) == 1 else f"{len(others)} nodes are"
    return (
        f"{found}: {count} left out ({nodelist.compress(others)}); for those, submit a batch job "
        "of their own."
    )


def _of_each(environ: Mapping[str, str], name: str) -> dict[int, str]:
    """The values of a variable by the number of their component."""
    start = name + _OF
    return {
        int(key[len(start) :]): text
        for key, text in environ.items()
        if key.startswith(start) and _is_number(key[len(start) :]) and text.strip()
    }


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 7
