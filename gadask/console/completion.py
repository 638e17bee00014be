"""Scripts that let a shell complete gadask's commands, flags, files and the names of configs."""

from __future__ import annotations

import dataclasses
import importlib
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from gadask.config import Config
from gadask.console.flags import flags_of, with_defaults
from gadask.console.node_flags import NodeFlags
from gadask.shipped import CONFIGS

SHELLS = ("bash", "zsh")

_SCRIPT = """\
# Completion of gadask for {shell}, as `gadask --print-completion {shell}` prints it; anything else is a file.
{head}_gadask() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
  case "$COMP_CWORD ${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}} $word" in
    '1 '*) words={commands} ;;
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _gadask gadask
"""
_HEADS = {"bash": "", "zsh": "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"}


def completion_script(shell: str, commands: Mapping[str, tuple[str, str]]) -> str:
    """Return the script of a shell of `SHELLS`; `commands` are the modules and summaries by name."""
    cases = "\n".join(
        f"    {pattern}) words={shlex.quote(words)} ;;"
        for name, (module, _) in commands.items()
        for pattern, words in _cases(name, importlib.import_module(module).Arguments)
    )
    names = shlex.quote(" ".join((*commands, "--help", "--version")))
    return _SCRIPT.format(shell=shell, head=_HEADS[shell], commands=names, cases=cases)


def _cases(name: str, arguments: type) -> Iterator[tuple[str, str]]:
    """Yield patterns of place, command, word before and word, and what the word may become.

    Behind a flag with choices it is one of them; what begins with a dash is a flag, and the first word may be a config.
    """
    flags = list(flags_of(_with_tables(arguments)))
    for flag in flags:
        if get_origin(flag.kind) is Literal:
            yield f"*' {name} {flag.name} '*", " ".join(get_args(flag.kind))
    own = [flag.label.split()[0] for flag in flags if not flag.is_positional]
    yield f"*' {name} '*' -'*", " ".join((*own, "--help", "--help-all"))
    if any(flag.name in ("CONFIG", "STUDY") for flag in flags):
        shipped = (path.relative_to(CONFIGS).with_suffix("") for path in CONFIGS.rglob("*.toml"))
        yield f"'2 {name} '*", " ".join(sorted(map(str, shipped)))


def _with_tables(arguments: type) -> Any:
    """Return a command's arguments with the tables whose fields are flags too."""
    found = with_defaults(arguments)
    names = {field.name for field in dataclasses.fields(found)}
    tables = {"settings": Config(), "nodes": NodeFlags()}
    return dataclasses.replace(found, **{name: table for name, table in tables.items() if name in names})
