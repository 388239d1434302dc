"""The one place where an exception becomes an exit code and a sentence on stderr.

====  ==========================================================
code  meaning
====  ==========================================================
0     done
1     Balsam, the database or the system refused; one sentence
2     the command line makes no sense; one sentence
3     the time of ``balsam wait`` is over
130   interrupted from the keyboard
141   whoever read the output closed it (``balsam ls | head``)
====  ==========================================================
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence

import click

from balsam.cli.app import cli
from balsam.cli.commands import Invocation
from balsam.errors import BalsamError

FAILURE, USAGE, INTERRUPTED, CLOSED_PIPE = 1, 2, 130, 141


def run(prog: str, args: Sequence[str], command: str | None = None) -> int:
    """The exit code of one command line; ``command`` names a subcommand run under its own name."""
    occupy_closed_streams()
    escape_what_is_not_shown()
    invocation = Invocation(debug=os.environ.get("BALSAM_DEBUG", "") not in ("", "0"))
    return guarded(lambda: _invoke(prog, args, command, invocation), invocation)


def occupy_closed_streams() -> None:
    """Put /dev/null where stdin, stdout or stderr was closed (``balsam ls >&-``).

    Else the next file that is opened gets that number, and what is printed goes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        mode, flags = ("w", os.O_WRONLY) if number else ("r", os.O_RDONLY)
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 (stays open)
        else:  # taken by a file of somebody else already
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (stays open)


def escape_what_is_not_shown() -> None:
    """Let stdout and stderr escape characters that their encoding lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def guarded(call: Callable[[], int], invocation: Invocation) -> int:
    """``call()``, or the exit code of what it raised after saying so on stderr."""
    try:
        try:
            code = call()
        except BaseException:
            # What went wrong is said, not that part of the output is lost, too.
            _flush(quietly=True)
            raise
        _flush()
        return code
    except BrokenPipeError:
        _discard()
        return CLOSED_PIPE
    except (KeyboardInterrupt, click.Abort):
        _say("Interrupted.")
        return INTERRUPTED
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "balsam"
        # click lists what may be chosen below each other.
        text = error.format_message().replace("\n\t", " ")
        _say(f"{_sentence(text)} See '{path} --help'.")
        return USAGE
    except click.ClickException as error:
        _say(_sentence(error.format_message()))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 (nothing passes here but a sentence and a code)
        if invocation.debug:
            import traceback

            traceback.print_exc()
        else:
            _say(explain(error))
        return FAILURE


def _flush(*, quietly: bool = False) -> None:
    """Write what is left of the output; BalsamError or BrokenPipeError, unless ``quietly``."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _discard()
        if quietly:
            return
        if isinstance(error, BrokenPipeError):
            raise
        why = error.strerror
        raise BalsamError(f"The output could not be written ({why}); all else is done.") from error


def _discard() -> None:
    """Nobody can read what is left in the buffer: Python must not try again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def explain(error: Exception) -> str:
    """One sentence about an exception: what, where, and what to do next."""
    if isinstance(error, BalsamError):
        return _sentence(str(error) or type(error).__doc__ or type(error).__name__)
    database = _database_sentence(error)
    if database:
        return database
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename}" if error.filename else ""
        return f"The system refused{where}: {error.strerror}."
    what = str(error).strip().splitlines()
    return (
        f"Unexpected {type(error).__name__}{': ' + what[0] if what else ''}; this is a defect in "
        "Balsam: run again with --debug for the traceback to report."
    )


def _invoke(prog: str, args: Sequence[str], command: str | None, invocation: Invocation) -> int:
    top: click.Command = cli
    if command is not None:
        found = cli.get_command(click.Context(cli), command)
        assert found is not None
        top = found
    try:
        with top.make_context(prog, list(args), obj=invocation) as ctx:
            top.invoke(ctx)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    return 0


def _database_sentence(error: BaseException | None) -> str:
    """What to say about an error of the database driver, however Django wrapped it."""
    while error is not None:
        if type(error).__module__.partition(".")[0] in ("sqlite3", "psycopg"):
            break
        error = error.__cause__
    else:
        return ""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    from balsam.conf import database_errors

    told = database_errors.advice(error)
    if told:
        return f"The project's database did not take it ({text}): {told}."
    if type(error).__name__ in ("OperationalError", "DatabaseError", "InterfaceError"):
        return f"The project's database failed ({text}): check its disk; 'balsam which' names it."
    return ""


def _sentence(text: str) -> str:
    text = text.strip().replace("?.", "?")  # a suggestion ends with its own mark
    return text if text.endswith((".", "?", "!", ".)")) else text + "."


def _say(text: str) -> None:
    from balsam.cli.output import cell

    try:
        print(cell(text), file=sys.stderr)  # a path may hold anything, and this is one line
    except OSError:
        return  # nobody listens on stderr either
