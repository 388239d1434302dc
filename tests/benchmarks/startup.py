"""Start-up times of the command line, against Python's and Django's own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.options import Options
from tests.benchmarks.project import ROOT, bench, scratch
from tests.benchmarks.table import Contender, Table, interleave, ratios

BARE_DJANGO = Path(__file__).parent / "peers" / "bare_django.py"


def measure(options: Options) -> list[Table]:
    """Milliseconds from the start of a command to its end."""
    with bench() as made:
        made.python("add_jobs", "20")
        database = str(scratch() / "django.sqlite3")

        def command(*words: str) -> Contender:
            return lambda: _milliseconds([sys.executable, *words], made.environ)

        command(str(BARE_DJANGO), database, "--create")()
        contenders = {
            "python": command("-c", "pass"),
            "django": command(str(BARE_DJANGO), database),
            "help": command("-m", "balsam", "--help"),
            "ls": command("-m", "balsam", "ls"),
        }
        for once in contenders.values():  # into the page cache
            once()
        times = interleave(contenders, 3 * options.repeat)
    table = Table("Start-up of the command line", "Twenty jobs in the project.")
    table.add("python -c pass", "ms", times["python"])
    table.add("bare Django: setup and first query", "ms", times["django"])
    table.add("balsam --help", "ms", times["help"])
    table.add("balsam ls", "ms", times["ls"])
    table.add("balsam --help to python", "x", ratios(times["help"], times["python"]), most=8)
    table.add("balsam ls to bare Django", "x", ratios(times["ls"], times["django"]), most=1.5)
    return [table]


def _milliseconds(words: list[str], environ: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(words, env=environ, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return 1e3 * (time.perf_counter() - begin)
