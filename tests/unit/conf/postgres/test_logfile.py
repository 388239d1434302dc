"""The server's log is kept small, and says why a server did not start."""

from __future__ import annotations

import os
from pathlib import Path

from balsam.conf.postgres import logfile
from balsam.conf.project import Project


def test_a_large_log_is_moved_aside_under_a_running_server(tmp_path: Path) -> None:
    project = Project(tmp_path)
    descriptor = logfile.open_for_server(project)
    os.write(descriptor, b"x" * logfile.MOST_BYTES)
    logfile.trim(project)
    assert logfile.size(project) == logfile.MOST_BYTES
    os.write(descriptor, b"the end")
    logfile.trim(project)
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    assert logfile.path(project).read_text() == "after\n"
    kept = logfile.path(project).with_name("postgres.log.1")
    assert kept.stat().st_size == 1_000_000
    assert kept.read_text().endswith("the end")


def test_the_reason_is_the_worst_line_after_the_start(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert logfile.complaint(project, 0) == ""
    project.log.mkdir()
    logfile.path(project).write_text("FATAL:  old\n")
    offset = logfile.size(project)
    with logfile.path(project).open("a") as stream:
        stream.write("LOG:  starting\nWARNING:  hm\nFATAL:  could not  bind\n")
    assert logfile.complaint(project, offset) == "could not bind"
    logfile.path(project).write_text("unshare: failed\n")
    assert logfile.complaint(project, 0) == "unshare: failed"
