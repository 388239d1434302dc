"""``balsam completion``: a script for shells to complete commands with, and what it is answered."""

from __future__ import annotations

import re
import sys
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
)

from balsam.cli.commands import Command
from balsam.cli.completion import Items

#: Set by the scripts, to what they ask for: ``bash_complete`` or, by hand, ``bash_source``.
VARIABLE = "_BALSAM_COMPLETE"

_BASH = """\
# Completion of balsam and balsam_launcher in bash 4.4 and later.
_balsam_completion() {
    local IFS=$'\\n' type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _balsam_completion balsam balsam_launcher
"""

_ZSH = """\
#compdef balsam balsam_launcher
# Completion of balsam and balsam_launcher in zsh.
_balsam_completion() {
    local type key descr
    local -a response words_only with_text
    (( $+commands[$service] )) || return 1
    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete $service 2>/dev/null)}")
    for type key descr in "${response[@]}"; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain)
                if [[ $descr == _ ]]; then words_only+=("$key"); else with_text+=("$key:$descr"); fi
                ;;
        esac
    done
    (( $#with_text )) && _describe -V unsorted with_text -U
    (( $#words_only )) && compadd -U -V unsorted -a words_only
    return 0
}
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _balsam_completion "$@"
else
    compdef _balsam_completion balsam balsam_launcher
fi
"""

_FISH = """\
# Completion of balsam and balsam_launcher in fish.
function _balsam_completion
    set -l program (commandline -op)[1]
    for line in (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp | string collect) \\
            COMP_CWORD=(commandline -ct) $program 2>/dev/null)
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --keep-order --command balsam --arguments '(_balsam_completion)'
complete --no-files --keep-order --command balsam_launcher --arguments '(_balsam_completion)'
"""


class _Answering(ShellComplete):
    """Candidates by Balsam's own grammar of options instead of click's."""

    def get_completions(self, args: list[str], incomplete: str) -> Items:
        from balsam.cli.unfinished import candidates

        # Bash takes the equals sign of --option=value for a word of its own.
        if incomplete == "=":
            incomplete = ""
        elif args[-1:] == ["="]:
            del args[-1]
        return candidates(self.cli, self.prog_name, args, incomplete)


class _Bash(_Answering, BashComplete):
    source_template = _BASH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Bash inserts what it is given, so blanks and such are quoted here."""
        value = re.sub(r"([^\w@%+=:,./*?~^-])", r"\\\1", item.value)
        return f"{item.type},{value if item.type == 'plain' else item.value}"


class _Zsh(_Answering, ZshComplete):
    source_template = _ZSH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Three lines: the kind, the word and the text beside it (``_`` for none)."""
        text = " ".join((item.help or "_").split())
        value = str(item.value).replace(":", r"\:") if text != "_" else item.value
        return f"{item.type}\n{value}\n{text}"


class _Fish(_Answering, FishComplete):
    source_template = _FISH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """The kind, the word, and behind a tab the text beside it."""
        text = " ".join((item.help or "").split())
        return f"{item.type},{item.value}" + (f"\t{text}" if text else "")


SHELLS: dict[str, type[_Answering]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def answer(prog: str, instruction: str, command: str | None = None) -> int:
    """Do what a shell's completion asks for; ``command`` is a subcommand with a program of its own.

    The exit code is 1 for an instruction that is none.
    """
    from balsam.cli.app import cli

    shell, _, what = instruction.partition("_")
    if shell not in SHELLS or what not in ("source", "complete"):
        return 1
    top: click.Command | None = (
        cli if command is None else cli.get_command(click.Context(cli), command)
    )
    assert top is not None
    asked = SHELLS[shell](top, {}, prog, VARIABLE)
    sys.stdout.write((asked.source() if what == "source" else asked.complete()) + "\n")
    return 0


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(list(SHELLS)), metavar="bash|zsh|fish")
def command(shell: str) -> None:
    """Print the script that lets a shell complete Balsam's commands.

    Commands, options, their values, and the names of applications, workflows, jobs and states are
    completed then. Put the script where your shell looks for it, and open a new terminal.

    \b
    bash:
      mkdir -p ~/.local/share/bash-completion/completions
      cd ~/.local/share/bash-completion/completions
      balsam completion bash | tee balsam > balsam_launcher

    \b
    zsh, in a directory that $fpath names before compinit is called:
      balsam completion zsh > ~/.zfunc/_balsam

    \b
    fish:
      balsam completion fish > ~/.config/fish/completions/balsam.fish
      balsam completion fish > ~/.config/fish/completions/balsam_launcher.fish

    \b
    Examples, for the shell you are in:
      source <(balsam completion bash)
      balsam completion fish | source
    """
    from balsam.cli.app import cli

    print(SHELLS[shell](cli, {}, "balsam", VARIABLE).source(), end="")
