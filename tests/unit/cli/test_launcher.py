"""``balsam launcher``: what the launchers of its parts are told."""

from __future__ import annotations

import pytest

from balsam.cli.launcher import command, words_of_part


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ["--consume-all"]),
        (["--gpus-per-node", "0"], ["--gpus-per-node=0", "--consume-all"]),
        (["--num-transition-threads", "0"], ["--num-transition-threads=0", "--consume-all"]),
        (["-t", "0", "--wf-filter", "w"], ["--wf-filter=w"]),
        (["--tag", "a=b", "--tag", "c=d", "--persistent", "--consume-all"],
         ["--consume-all", "--tag=a=b", "--tag=c=d", "--persistent"]),
    ],
)  # fmt: skip
def test_a_part_gets_the_options_that_were_given(given: list[str], expected: list[str]) -> None:
    with command.make_context("launcher", ["--part", "mpi:1", *given]) as ctx:
        assert words_of_part(ctx) == expected
