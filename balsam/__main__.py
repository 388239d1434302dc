"""``python -m balsam``: the command line."""

from __future__ import annotations

from balsam.cli import main

if __name__ == "__main__":
    main()
