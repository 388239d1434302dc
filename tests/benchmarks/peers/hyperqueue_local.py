"""HyperQueue's local cluster (server and one worker) running no-op tasks: NUMBER CORES DIRECTORY.

Prints the seconds from the first output file to the last one, so neither the start of the cluster
nor the making of the task descriptions counts against it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    number, cores, directory = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    outputs = directory / "outputs"
    outputs.mkdir()
    with LocalCluster(str(directory / "server"), WorkerConfig(cores=cores)) as cluster:
        client = cluster.client()
        job = Job(default_workdir=directory)
        for index in range(number):
            output = str(outputs / f"{index}.out")
            job.program(["/bin/true"], stdout=output, stderr=None)
        client.wait_for_jobs([client.submit(job)])
    times = sorted(entry.stat().st_mtime_ns for entry in os.scandir(outputs))
    if len(times) != number:
        raise SystemExit(f"{len(times)} of {number} tasks left an output file")
    print((times[-1] - times[0]) / 1e9)


if __name__ == "__main__":
    main()
