"""The pages that `--help` and `--help-all` of a command print, in 80 columns, made from its flags.

The first shows what people use, the second everything.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from gadask.console.flags import Flag

_WIDTH = 80
_LABEL = 26
_FIRST_SENTENCE = re.compile(r"(.+?[.?!])(?= [A-Z`])")


@dataclass(frozen=True)
class Help:
    """What a command's short page holds."""

    usual: Sequence[str] = ()
    """Names of the flags that it shows, in this order; `--budget.` stands for a whole table. Empty: all."""
    examples: Sequence[str] = ()
    """What may follow `gadask`."""
    more: str = ""
    """Where the rest is."""


PLAIN = Help()
"""The page of a command with few flags."""


def short_page(flags: Sequence[Flag], about: str, program: str, page: Help) -> str:
    """Return the page of `--help`; of each flag it has the first sentence.

    Raises `LookupError` if it is to show a flag that there is not.
    """
    shown = [*_chosen(flags, page.usual)] if page.usual else list(flags)
    parts = [_head(flags, about, program), _rows(shown, _first_sentence)]
    if page.examples:
        parts.append("\n".join(("Examples:", *(f"  gadask {example}" for example in page.examples))))
    rest = page.more
    if len(shown) < len(flags):
        rest = f"`{program} --help-all` shows {len(flags) - len(shown)} more flags, and says more of these.\n{rest}"
    elif any(flag.about != _first_sentence(flag.about) for flag in shown):
        rest = f"`{program} --help-all` says more of these flags.\n{rest}"
    return "\n\n".join([*parts, rest]).strip()


def full_page(flags: Sequence[Flag], about: str, program: str) -> str:
    """Return the page of `--help-all`, table by table."""
    parts = [_head(flags, about, program)]
    plain = [flag for flag in flags if "." not in flag.name]
    parts.append(_rows(plain, str))
    tables = [flag for flag in flags if "." in flag.name]
    for name, group in groupby(tables, lambda flag: flag.name[2:].partition(".")[0]):
        own = list(group)
        parts.append("\n".join(textwrap.wrap(f"{name}: {_about_table(own[0].table)}", _WIDTH)))
        parts.append(_rows(own, str))
    return "\n\n".join(parts)


def _head(flags: Iterable[Flag], about: str, program: str) -> str:
    needed = " ".join(flag.label for flag in sorted(flags, key=lambda flag: not flag.is_positional) if flag.is_required)
    usage = f"usage: {program} {needed} [--FLAG VALUE …]"
    return usage + "\n\n" + "\n".join(textwrap.wrap(about, _WIDTH))


def _chosen(flags: Iterable[Flag], names: Iterable[str]) -> Iterator[Flag]:
    for name in names:
        found = [flag for flag in flags if flag.name == name or (name.endswith(".") and flag.name.startswith(name))]
        if not found:
            raise LookupError(f"no flag {name}")
        yield from found


def _rows(flags: Iterable[Flag], shorten: Any) -> str:
    """Return flags in two columns."""
    lines = []
    for flag in flags:
        label = f"  {flag.label}"
        text = textwrap.wrap(shorten(flag.about) + _default(flag), _WIDTH - _LABEL, break_on_hyphens=False) or [""]
        if len(label) > _LABEL - 2:
            lines.append(label)
        else:
            lines.append(f"{label:{_LABEL}}{text.pop(0)}".rstrip())
        lines += [" " * _LABEL + line for line in text]
    return "\n".join(lines)


def _default(flag: Flag) -> str:
    """Return what is said of a default; nothing of a switch, of what is empty, or must be given."""
    if flag.is_required:
        return "" if flag.is_positional else " (required)"
    if flag.is_switch or flag.default in ((), {}, ""):
        return ""
    if flag.default is None:
        return "" if "by default" in flag.about or "without one" in flag.about else " (default none)"
    many = isinstance(flag.default, tuple)
    return f" (default {' '.join(map(_shown, flag.default)) if many else _shown(flag.default)})"


def _shown(value: Any) -> str:
    """Return a value as a shell takes it, short."""
    if isinstance(value, float):
        return f"{value:g}".replace("e+0", "e").replace("e+", "e")
    if isinstance(value, int) and value >= 1_000_000 and value % 100_000 == 0:
        return f"{value / 1e6:g}e6"
    return str(value)


def _first_sentence(text: str) -> str:
    match = _FIRST_SENTENCE.match(text)
    return match.group(1) if match else text


def _about_table(table: type) -> str:
    return " ".join((table.__doc__ or "").split())
