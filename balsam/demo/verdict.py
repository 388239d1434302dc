"""Whether the demonstration ended as it should, its numbers compared with numpy's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from balsam import states
from balsam.core.models import BalsamJob
from balsam.demo.campaign import MATRICES, WORKFLOW, job

#: The job that is to fail, and the one that is to finish in its second attempt.
DOOMED, RESCUED = "lopsided", "largest"
TOLERANCE = 1e-9


def result_file() -> Path:
    """Where the campaign's result is."""
    return Path(job("reduce").working_directory) / "results.dat"


def problems() -> list[str]:
    """Sentences about what did not end as planned; none if all did."""
    found = _in_the_record()
    return found or _in_the_numbers()


def _in_the_record() -> list[str]:
    expected = {
        "make": states.JOB_FINISHED,
        "reduce": states.JOB_FINISHED,
        RESCUED: states.JOB_FINISHED,
        DOOMED: states.FAILED,
        **{f"eigen{number}": states.JOB_FINISHED for number in range(MATRICES)},
    }
    found = {one.name: one for one in BalsamJob.objects.filter(workflow=WORKFLOW)}
    trouble = [
        f"The job {name} is {found[name].state} instead of {state}."
        if name in found
        else f"There is no job {name}."
        for name, state in expected.items()
        if name not in found or found[name].state != state
    ]
    if len(found) != len(expected):
        trouble.append(f"There are {len(found)} jobs instead of {len(expected)}.")
    if not trouble and found[RESCUED].attempt != 2:
        trouble.append(f"The job {RESCUED} took {found[RESCUED].attempt} attempts instead of 2.")
    return trouble


def _in_the_numbers() -> list[str]:
    import numpy as np

    made = Path(job("make").working_directory)
    exact = [np.linalg.eigvalsh(np.load(made / f"matrix{n}.npy")) for n in range(MATRICES)]
    together = np.sort(np.concatenate(exact))
    right = {
        "matrices": [MATRICES],
        "eigenvalues": [len(together)],
        "lowest": together[:5],
        "highest": together[-5:],
        "largest": [exact[0][-1]],
    }
    written = read_result(result_file())
    return [
        f"{result_file()}: '{name}' should be {[float(x) for x in numbers]}."
        for name, numbers in right.items()
        if not _agree(written.get(name, []), numbers)
    ]


def read_result(path: Path) -> dict[str, list[float]]:
    """The numbers of a result file, by the first word of their lines."""
    numbers: dict[str, list[float]] = {}
    for line in path.read_text().splitlines():
        words = line.split()
        numbers.setdefault(words[0], []).append(float(words[-1]))
    return numbers


def _agree(written: list[float], exact: Any) -> bool:
    import numpy as np

    same = len(written) == len(exact)
    return same and np.allclose(written, exact, rtol=TOLERANCE, atol=TOLERANCE)
