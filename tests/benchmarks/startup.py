"""Start-up times of the command line, against Python's and Django's own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.options import SQLITE, Options
from tests.benchmarks.project import ROOT, Bench, bench, scratch
from tests.benchmarks.project_database import NAMES
from tests.benchmarks.table import Contender, Table, interleave, ratios

BARE_DJANGO = Path(__file__).parent / "peers" / "bare_django.py"


def measure(options: Options) -> list[Table]:
    """Milliseconds from the start of a command to its end, on each database."""
    return [_measured(database, options) for database in options.databases]


def _measured(database: str, options: Options) -> Table:
    with bench(database) as made:
        made.python("add_jobs", "20")
        made.environ["BARE_DJANGO"] = json.dumps(_for_django(made))

        def command(*words: str) -> Contender:
            return lambda: _milliseconds([sys.executable, *words], made.environ)

        command(str(BARE_DJANGO), "--create")()
        contenders = {
            "python": command("-c", "pass"),
            "django": command(str(BARE_DJANGO)),
            "help": command("-m", "balsam", "--help"),
            "ls": command("-m", "balsam", "ls"),
        }
        for once in contenders.values():  # into the page cache
            once()
        times = interleave(contenders, 3 * options.repeat)
    name = f"Start-up of the command line, {NAMES[database]}"
    table = Table(name, "Twenty jobs in the project; Django's own table in the same database.")
    table.add("python -c pass", "ms", times["python"])
    table.add("bare Django: setup and first query", "ms", times["django"])
    table.add("balsam --help", "ms", times["help"])
    table.add("balsam ls", "ms", times["ls"])
    table.add("balsam --help to python", "x", ratios(times["help"], times["python"]), most=8)
    table.add("balsam ls to bare Django", "x", ratios(times["ls"], times["django"]), most=1.5)
    return table


def _for_django(made: Bench) -> dict[str, Any]:
    """A database for a Django without Balsam: a file of its own, or a table in the project's."""
    if made.kind == SQLITE:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(scratch() / "django.sqlite3")}
    from balsam.conf.postgres import address
    from balsam.conf.project import Project

    options = address.parameters(Project(made.path))
    name = options.pop("dbname")
    return {"ENGINE": "django.db.backends.postgresql", "NAME": name, "OPTIONS": options}


def _milliseconds(words: list[str], environ: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(words, env=environ, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return 1e3 * (time.perf_counter() - begin)
