"""The postprocess script of ``make``: an ``eigen`` job per matrix, and a ``reduce`` after them all.

How many files there are is known only now, so this is where the rest of the campaign is described.
"""

from __future__ import annotations

import glob

from balsam.launcher import dag


def main() -> None:
    collect = dag.spawn_child(
        name="reduce", application="reduce", input_files="eigenvalues*.npy largest*.npy"
    )
    for number, file in enumerate(sorted(glob.glob("matrix*.npy"))):
        eigen = dag.spawn_child(
            name=f"eigen{number}",
            application="eigen",
            args=file,
            input_files=file,
            ranks_per_node=2,
        )
        dag.add_dependency(parent=eigen, child=collect)

    # Three iterations are too few, and the error handler will see to that.
    largest = dag.spawn_child(
        name="largest",
        application="largest",
        args="matrix0.npy --iterations 3",
        input_files="matrix0.npy",
        post_error_handler=True,
    )
    dag.add_dependency(parent=largest, child=collect)

    # This one can only fail. No job depends on it, so none fails with it.
    dag.spawn_child(
        name="lopsided",
        application="largest",
        args="lopsided.npy --iterations 3",
        input_files="lopsided.npy",
    )


if __name__ == "__main__":
    main()
