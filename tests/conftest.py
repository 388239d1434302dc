"""Shared by all rings: Django configured for no project in particular."""

from __future__ import annotations

import pytest

from balsam.conf import bootstrap


def pytest_configure(config: pytest.Config) -> None:
    bootstrap.setup()
