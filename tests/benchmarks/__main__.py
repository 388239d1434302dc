"""Run the benchmarks: ``python -m tests.benchmarks --only serial,latency``."""

from __future__ import annotations

import sys

from tests.benchmarks import latency, serial

from tests.benchmarks.project import workspace
if __name__ == "__main__":
  with workspace():
    which = sys.argv[1]
    if which == "serial":
        print(serial.measure(int(sys.argv[2]), int(sys.argv[3]), 2).text())
    else:
        print(latency.measure(int(sys.argv[2])).text())
