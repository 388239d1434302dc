"""Gather the eigenvalues of all matrices into ``results.dat``."""

from __future__ import annotations

import glob
from pathlib import Path

import numpy as np


def main() -> None:
    files = sorted(glob.glob("eigenvalues-*.npy"))
    values = np.sort(np.concatenate([np.load(file) for file in files]))
    (largest,) = (float(np.load(file)) for file in glob.glob("largest-*.npy"))
    lines = [
        f"matrices    {len(files)}",
        f"eigenvalues {len(values)}",
        *(f"lowest      {float(value)!r}" for value in values[:5]),
        *(f"highest     {float(value)!r}" for value in values[-5:]),
        f"largest of matrix0, by power iteration {largest!r}",
    ]
    Path("results.dat").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
