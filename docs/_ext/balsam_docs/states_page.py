"""The state machine as tables and as a drawing, made from ``balsam/states.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from balsam import states
from balsam_docs.rst import table

#: What each state means, in the reader's words. The moves come from the code.
MEANINGS = {
    states.CREATED: "The job is in the database. Nothing has looked at it yet.",
    states.AWAITING_PARENTS: "It waits until the jobs it depends on have finished.",
    states.READY: "Nothing is in its way. Its work directory and input files come next.",
    states.STAGED_IN: "The work directory and the input files are there.",
    states.PREPROCESSED: "The preprocess script has run. The job waits for free cores.",
    states.RESTART_READY: "It ran before and is to run again. It waits for free cores.",
    states.RUNNING: "An attempt runs now.",
    states.RUN_DONE: "The attempt ended with exit code 0.",
    states.RUN_ERROR: "The attempt ended in another way.",
    states.RUN_TIMEOUT: "The attempt was stopped: its time, or its launcher's time, was over.",
    states.POSTPROCESSED: "The postprocess script has run. Files are to be copied out.",
    states.JOB_FINISHED: "Done.",
    states.FAILED: "Ended without success. The last event says why.",
    states.USER_KILLED: "Stopped by the user. It stays so.",
}

CAUSES = {
    states.OK: "The program ended with exit code 0.",
    states.EXIT: "The program ended with another exit code.",
    states.SIGNAL: "A signal ended the program: it crashed, or something outside Balsam killed it.",
    states.OOM: "The kernel killed the program because memory ran out.",
    states.JOB_TIME_LIMIT: "The attempt took longer than the job's ``time_limit_minutes``.",
    states.BATCH_TIME_LIMIT: "The launcher stopped while the attempt ran: its time was over, or it "
    "was told to stop; or the ``signal`` that warned of it ended the attempt. Such an attempt does "
    "not count against ``max_attempts``.",
    states.NODE_LOST: "The node was lost. A launcher on one node can not tell this from "
    "``launcher_lost`` and never gives it.",
    states.LAUNCHER_LOST: "The launcher was killed while the attempt ran.",
    states.PROGRAM_MISSING: "The program or its envscript is not there or can not be run, or "
    "its command line can not be split into words.",
    states.MPI_LAUNCH_FAILED: "``mpirun`` could not start the ranks.",
    states.STAGING: "The work directory could not be made, or files could not be copied or linked.",
    states.HOOK: "A preprocess or postprocess script failed, took too long, is missing, or did not "
    "set a state that it had to set.",
    states.KILLED: "The user killed the job.",
    states.PARENT_FAILED: "A job it depends on failed, was killed or was removed.",
    states.UNSATISFIABLE: "It asks for more than the launcher can ever give.",
}

#: Where the drawing puts each state: column and row.
PLACES: dict[str, tuple[int, float]] = {
    states.CREATED: (1, 0),
    states.AWAITING_PARENTS: (0, 1.5),
    states.READY: (1, 1),
    states.STAGED_IN: (1, 2),
    states.PREPROCESSED: (1, 3),
    states.RESTART_READY: (2, 3),
    states.RUNNING: (1, 4),
    states.RUN_DONE: (1, 5),
    states.RUN_ERROR: (2, 5),
    states.RUN_TIMEOUT: (3, 5),
    states.POSTPROCESSED: (1, 6),
    states.JOB_FINISHED: (1, 8),
    states.FAILED: (2, 8),
    states.USER_KILLED: (3, 8),
}
_WIDTH, _HEIGHT = 150, 32
_COLUMN, _ROW, _MARGIN = 200, 64, 30
#: Boxes hide the arrows behind them, in Furo's light and dark dress too.
_PAPER = "var(--color-background-primary, white)"
_LIVING = [state for state in states.STATES if state not in states.END_STATES]


def states_table() -> list[str]:
    """Every state with its meaning and the moves out of it, as rst."""
    rows = []
    for state in states.STATES:
        nexts = ", ".join(f"``{name}``" for name in states.BALSAM_MOVES[state])
        rows.append([f"``{state}``", MEANINGS[state], nexts or "(an end)"])
    return table(["State", "Meaning", "Balsam moves it to"], rows, [20, 45, 35])


def user_moves_table() -> list[str]:
    """Which moves a person or a hook may ask for, as rst."""
    rows = []
    for state in states.STATES:
        nexts = [name for name in states.USER_MOVES[state] if name != state]
        rows.append([f"``{state}``", ", ".join(f"``{name}``" for name in nexts) or "(none)"])
    return table(["State", "You may move it to"], rows, [25, 75])


def groups_table() -> list[str]:
    """The groups of states that scripts import, as rst."""
    groups = ("ACTIVE_STATES", "RUNNABLE_STATES", "PROCESSABLE_STATES", "END_STATES")
    rows = [
        [f"``{name}``", ", ".join(f"``{state}``" for state in getattr(states, name))]
        for name in groups
    ]
    return table(["Group", "States"], rows, [30, 70])


def causes_table() -> list[str]:
    """The closed list of causes, as rst."""
    return table(
        ["Cause", "Meaning"], [[f"``{name}``", CAUSES[name]] for name in states.CAUSES], [25, 75]
    )


def drawing() -> str:
    """The moves that Balsam makes, as SVG; a target of every living state gets one arrow."""
    shared = shared_targets(states.BALSAM_MOVES) + (
        [states.USER_KILLED] if _all_lead_to(states.USER_KILLED, states.USER_MOVES) else []
    )
    parts = [_frame(shared)]
    for state in states.STATES:
        for target in states.BALSAM_MOVES[state]:
            if target not in shared:
                parts.append(_arrow(state, target))
    parts += [_box(state) for state in states.STATES]
    columns = 1 + max(column for column, _ in PLACES.values())
    rows = 1 + max(row for _, row in PLACES.values())
    width, height = columns * _COLUMN + _MARGIN, rows * _ROW + _MARGIN
    return (
        f'<svg class="balsam-states" role="img" aria-label="States of a job" '
        f'viewBox="0 0 {width} {height}" width="100%" '
        'fill="none" stroke="currentColor" font-family="monospace" font-size="12">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="currentColor" '
        f'stroke="none"/></marker></defs>{"".join(parts)}</svg>'
    )


def drawing_block() -> list[str]:
    """The drawing as rst; other builders than HTML have the table."""
    return [".. raw:: html", "", f"   {drawing()}", ""]


def shared_targets(moves: Mapping[str, Sequence[str]]) -> list[str]:
    """End states that can be reached from every state that is no end."""
    return [state for state in states.END_STATES if _all_lead_to(state, moves)]


def _all_lead_to(target: str, moves: Mapping[str, Sequence[str]]) -> bool:
    return all(target in moves[state] for state in _LIVING)


def _corner(state: str) -> tuple[float, float]:
    column, row = PLACES[state]
    return _MARGIN + column * _COLUMN, _MARGIN + row * _ROW


def _box(state: str) -> str:
    x, y = _corner(state)
    bold = ' stroke-width="2"' if state in states.END_STATES else ""
    return (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"{bold} '
        f'style="fill: {_PAPER}"/>'
        f'<text x="{x + _WIDTH / 2}" y="{y + 20}" text-anchor="middle" fill="currentColor" '
        f'stroke="none">{escape(state)}</text>'
    )


def _arrow(state: str, target: str) -> str:
    """A straight line between the borders of two boxes."""
    (x1, y1), (x2, y2) = _border(state, target), _border(target, state)
    return (
        f'<path data-from="{state}" data-to="{target}" marker-end="url(#tip)" '
        f'd="M{x1:.1f} {y1:.1f} L{x2:.1f} {y2:.1f}"/>'
    )


def _border(state: str, other: str) -> tuple[float, float]:
    """Where the line from the middle of ``state`` to that of ``other`` leaves the first box."""
    (x1, y1), (x2, y2) = (
        (x + _WIDTH / 2, y + _HEIGHT / 2) for x, y in (_corner(state), _corner(other))
    )
    dx, dy = x2 - x1, y2 - y1
    scale = min(
        _WIDTH / 2 / abs(dx) if dx else float("inf"), _HEIGHT / 2 / abs(dy) if dy else float("inf")
    )
    return x1 + dx * scale, y1 + dy * scale


def _frame(shared: Sequence[str]) -> str:
    """A dashed frame around all states that are no end, with an arrow to each shared target."""
    corners = [_corner(state) for state in _LIVING]
    left, top = (min(values) - 15 for values in zip(*corners, strict=True))
    right = max(x for x, _ in corners) + _WIDTH + 15
    bottom = max(y for _, y in corners) + _HEIGHT + 15
    parts = [
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" rx="10" '
        'stroke-dasharray="4 4" stroke-opacity="0.6"/>'
    ]
    for target in shared:
        x, y = _corner(target)
        middle = x + _WIDTH / 2
        who = "killed by you" if target == states.USER_KILLED else "from any of these"
        parts.append(
            f'<path data-from="*" data-to="{target}" marker-end="url(#tip)" '
            f'd="M{middle} {bottom} L{middle} {y}"/>'
            f'<text x="{middle + 8}" y="{(bottom + y) / 2 + 4}" fill="currentColor" '
            f'stroke="none" font-size="11">{who}</text>'
        )
    return "".join(parts)
