"""Sphinx configuration: ``sphinx-build -W docs docs/_build``, and ``-b man`` for manual pages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from balsam_docs import manual  # noqa: E402 (after the path that finds it)

import balsam  # noqa: E402
from balsam.conf import bootstrap  # noqa: E402

bootstrap.setup()

project = "Balsam"
author = "the Balsam developers"
version = release = balsam.__version__

extensions = ["sphinx.ext.autodoc", "balsam_docs"]
exclude_patterns = ["_build"]

# Furo reads well on small screens; the theme that comes with Sphinx does where it is not installed.
html_theme = "furo" if importlib.util.find_spec("furo") else "alabaster"
html_title = f"Balsam {release}"

man_pages = manual.man_pages()

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
python_use_unqualified_type_names = True
