"""Log files."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam import errors
from balsam.conf import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    logger = logging.getLogger(logs.ROOT)
    level = logger.level
    yield
    logs.close_log()
    logger.setLevel(level)


def test_name_format_and_level(tmp_path: Path) -> None:
    path = logs.open_log(tmp_path / "log", "launcher", "WARNING")
    assert re.fullmatch(rf"launcher_\d{{8}}T\d{{6}}Z_{os.getpid()}\.log", path.name)
    logger = logging.getLogger("balsam.launcher.main")
    logger.info("not this")
    logger.warning("job %s is odd: ä \ud800", 17)
    (line,) = path.read_text().splitlines()
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z\|{os.getpid()}\|WARNING\|test_logs:\d+\] "
        r"job 17 is odd: ä \\ud800",
        line,
    )


def test_the_root_logger_is_left_alone(tmp_path: Path) -> None:
    before = list(logging.getLogger().handlers), logging.getLogger().level
    logs.open_log(tmp_path, "launcher")
    assert (list(logging.getLogger().handlers), logging.getLogger().level) == before


def test_a_second_log_replaces_the_first(tmp_path: Path) -> None:
    first = logs.open_log(tmp_path, "launcher")
    second = logs.open_log(tmp_path, "worker")
    logging.getLogger("balsam").info("hello")
    assert first.read_text() == ""
    assert "hello" in second.read_text()


def test_logging_to_a_full_disk_or_with_a_bad_format_stops_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler = logs.LogFile(Path("/dev/full"))
    logger = logging.getLogger("balsam.test_full")
    logger.setLevel("INFO")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        logger.info("no room for this")
        logger.info("no %d either", "number")
        handler.close()
        logger.info("closed")
        handler.close()
    finally:
        logger.removeHandler(handler)
    assert handler.lost == 3
    assert capsys.readouterr() == ("", "")


def test_a_log_that_can_not_be_made_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(errors.ProjectError, match="can not be made"):
        logs.open_log(tmp_path / "log", "launcher")
