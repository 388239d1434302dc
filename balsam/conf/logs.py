"""Log files: one per process, in the project's ``log/``."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from balsam import errors

FORMAT = "%(asctime)s|%(process)d|%(levelname)s|%(module)s:%(lineno)d] %(message)s"

#: Every logger of Balsam is below this one; the root logger belongs to the user's program.
ROOT = "balsam"


class _Formatter(logging.Formatter):
    """Times in UTC with milliseconds, like the events in the record."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


class LogFile(logging.Handler):
    """Appends each record to a file in one write, so that processes can share it.

    A record that can not be written (disk full, bad format) is dropped and counted in ``lost``:
    logging never fails the work it reports on.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.lost = 0
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self.setFormatter(_Formatter(FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            if os.write(self._fd, line) < len(line):
                self.lost += 1
        except Exception:  # noqa: BLE001 - whatever it is, a message must not stop the work
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        self.lost += 1

    def close(self) -> None:
        self.acquire()
        try:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
        except OSError:
            self.lost += 1
        finally:
            self.release()
        super().close()


def open_log(log_dir: Path, kind: str, level: str = "INFO") -> Path:
    """Send this process's messages to a new file ``<kind>_<UTC time>_<pid>.log`` in ``log_dir``.

    ``level`` is the least that is written. A log opened before by this process is closed. Returns
    the file's path; raises ProjectError if it can not be made.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = log_dir / f"{kind}_{stamp}_{os.getpid()}.log"
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        handler = LogFile(path)
    except OSError as error:
        raise errors.ProjectError(
            f"The log file {path} can not be made ({error.strerror}); "
            "check the directory's permissions and the space left."
        ) from error
    close_log()
    logger = logging.getLogger(ROOT)
    logger.addHandler(handler)
    logger.setLevel(level)
    return path


def close_log() -> None:
    """Stop writing this process's messages to a file."""
    logger = logging.getLogger(ROOT)
    for handler in [h for h in logger.handlers if isinstance(h, LogFile)]:
        logger.removeHandler(handler)
        handler.close()
