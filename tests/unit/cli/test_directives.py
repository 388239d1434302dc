"""Batch scripts tell what they ask for, in the words of three queues."""

from __future__ import annotations

import pytest

from balsam.cli.directives import (
    Wishes,
    interpreter,
    is_script,
    listed,
    merged,
    minutes,
    wishes,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#COBALT -n 4 -t 30 --jobname big", Wishes(nodes=4, minutes=30, name="big")),
        ("#COBALT --nodecount=2 --time 1:30:00", Wishes(nodes=2, minutes=90)),
        ("#COBALT -n4 -q debug -A proj", Wishes(nodes=4)),
        ("#COBALT -t 1:30", Wishes(minutes=90)),
        ("#PBS -l select=2:ncpus=8:mpiprocs=4\n#PBS -N it", Wishes(2, 4, 2, name="it")),
        ("#PBS -l nodes=3:ppn=16,walltime=01:00:30", Wishes(nodes=3, ranks=16, minutes=61)),
        ("#PBS -l walltime=90", Wishes(minutes=2)),
        ("#SBATCH --nodes=2\n#SBATCH -t 10:30", Wishes(nodes=2, minutes=11)),
        ("#SBATCH -N 2 -n 7 -J j -c 3", Wishes(nodes=2, ranks=4, threads=3, name="j")),
        ("#SBATCH --ntasks-per-node=8 --time=1-2", Wishes(ranks=8, minutes=26 * 60)),
        ("#SBATCH --mail-user=a@b --job-name='two words'", Wishes(name="two words")),
        ("#COBALT -n 1 # as asked\n#COBALT -n 2", Wishes(nodes=2)),
        ("#COBALT\n# COBALT -n 9\n#COBALTISH -n 9", Wishes()),
        ("echo\n#COBALT -n 2", Wishes()),
        ("", Wishes()),
    ],
)
def test_directives_are_read(text: str, expected: Wishes) -> None:
    assert wishes(f"#!/bin/sh\n\n{text}\nrun\n") == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("#COBALT -n many", "line 2: 'many' is no number"),
        ("#COBALT -n 0", "line 2: '0' is no number"),
        ("#COBALT -t soon", "line 2: 'soon' is no time"),
        ("#COBALT -t", "line 2: -t needs a value"),
        ("#PBS -N 'x", "line 2: No closing quotation"),
        ("#PBS -l walltime=1-2", "line 2: '1-2' is no walltime"),
        ("#SBATCH -n 2.5", "line 2: "),
    ],
)
def test_what_can_not_be_read_is_named_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace(".", r"\.")):
        wishes(f"#!/bin/sh\n{text}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("0", 0), ("1:30", 90), ("1:30:00", 90), ("0:00:01", 1), ("2-00:00:00", 2880)],
)
def test_times_are_minutes_rounded_up(text: str, expected: int) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "x", "-5", "1:2:3:4", "1.5", "1:", "٣x"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        minutes(text)


def test_a_list_of_resources_tells_what_it_means_and_what_not() -> None:
    assert listed("select=2:ncpus=8:mem=4gb,place=scatter,walltime=10:00") == (
        Wishes(nodes=2, threads=8, minutes=10),
        ["mem", "place"],
    )
    assert listed("select=1:ncpus=8:mpiprocs=4:ompthreads=1")[0] == Wishes(1, 4, 1)


def test_the_command_line_goes_before_the_script() -> None:
    assert merged(Wishes(nodes=1), Wishes(nodes=2, name="n")) == Wishes(nodes=1, name="n")


def test_scripts_and_their_interpreters() -> None:
    assert is_script(b"#!/bin/sh\n")
    assert not is_script(b"echo\n") and not is_script(b"#!\0") and not is_script(b"\x7fELF")
    assert interpreter(b"#! /usr/bin/env bash\nx") == ["/usr/bin/env", "bash"]
    assert interpreter(b"echo hi\n") == ["/bin/sh"]
