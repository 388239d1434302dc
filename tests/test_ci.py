"""What runs all tests begins at all."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

RUN = Path(__file__).resolve().parents[1] / ".ci" / "run"


def test_the_limit_is_one_that_timeout_knows() -> None:
    (limit,) = re.findall(r"timeout --kill-after=\S+ (\S+) bash", RUN.read_text())
    subprocess.run(["timeout", limit, "true"], check=True)
    subprocess.run(["bash", "-n", RUN], check=True)
