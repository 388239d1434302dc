"""What turns the code of Balsam into pages of its documentation: a Sphinx extension.

Each directive shows one table or drawing that a module beside this one makes from the code, so the
reference can not fall behind. Only ``setup`` needs Sphinx.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _pages() -> dict[str, Callable[[], list[str]]]:
    from balsam_docs import commands_page, models_page, settings_page, states_page

    return {
        "balsam-states": states_page.states_table,
        "balsam-states-drawing": states_page.drawing_block,
        "balsam-user-moves": states_page.user_moves_table,
        "balsam-state-groups": states_page.groups_table,
        "balsam-causes": states_page.causes_table,
        "balsam-settings": settings_page.settings_tables,
        "balsam-machine-file": settings_page.machine_tables,
        "balsam-commands": commands_page.commands_page,
        "balsam-job-fields": models_page.job_fields,
        "balsam-app-fields": models_page.app_fields,
    }


def setup(app: Any) -> dict[str, Any]:
    """Register one directive for each page. Called by Sphinx."""
    from sphinx.util.docutils import SphinxDirective

    from balsam_docs import manual

    for name, make in _pages().items():

        def run(self: Any, make: Callable[[], list[str]] = make) -> list[Any]:
            nodes: list[Any] = self.parse_text_to_nodes("\n".join(make()))
            return nodes

        app.add_directive(name, type(name, (SphinxDirective,), {"run": run}))
    app.connect("builder-inited", manual.write)
    app.connect("build-finished", manual.remove)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
