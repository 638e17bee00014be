"""Reads a command line word by word: what no flag takes is an error in one line, and tyro understands the rest.

tyro's own errors are boxes of many lines in terms of Python's types, and it takes no whole number that is written as
`20e6`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal, get_args, get_origin

from gadask.console.flags import Flag
from gadask.errors import UsageError

_NUMBER = re.compile(r"-(\d|\.\d|inf|nan)", re.IGNORECASE)


def read_words(argv: Sequence[str], flags: Iterable[Flag], program: str) -> list[str]:
    """Return the words of a command line as tyro takes them: flags first, each once, with the value given last.

    Of a flag that `repeats` all are there.

    Raises `UsageError` naming the flag, what was expected and what was found.
    """
    flags = list(flags)
    named = {name: flag for flag in flags for name in ([flag.name, flag.off] if flag.is_switch else [flag.name])}
    positional = next((flag for flag in flags if flag.is_positional), None)
    given: dict[str, list[str]] = {}
    free: list[str] = []
    words = deque(argv)
    while words:
        word = words.popleft()
        if word == "--":
            free += words
            break
        if not _is_flag(word):
            free.append(word)
            continue
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        flag = named.get(name)
        if flag is None:
            raise UsageError(_unknown(name, named, program))
        earlier = given.pop(flag.name, [])
        if not flag.is_switch:
            values = [value] if equals else []
            while words and not _is_flag(words[0]) and (flag.takes_many or not values):
                values.append(words.popleft())
            found = f"the flag {words[0]}" if words else "nothing"
            given[flag.name] = [*(earlier if flag.repeats else ()), *_tyro_words(flag, values, found)]
        elif equals:
            raise UsageError(f"{name}: expected no value, found {value!r}")
        elif (name == flag.name) != flag.default:
            given[flag.name] = [name]
    missing = [flag.name for flag in flags if flag.is_required and flag.name not in given and not flag.is_positional]
    if positional is not None and positional.is_required and not free:
        missing.insert(0, positional.name)
    if missing:
        raise UsageError(f"expected {' and '.join(missing)}, found none; `{program} --help` says more")
    if positional is None and free:
        raise UsageError(f"expected flags alone, found {free[0]!r}")
    if positional is not None and not positional.takes_many and len(free) > 1:
        raise UsageError(f"{positional.name}: expected one, found {' and '.join(map(repr, free))}")
    return [word for flag_words in given.values() for word in flag_words] + (["--", *free] if free else [])


def _tyro_words(flag: Flag, values: list[str], behind: str) -> list[str]:
    """Return a flag with its values; `behind` says what follows them."""
    if not values and not flag.takes_many:
        raise UsageError(f"{flag.name}: expected {flag.expected}, found {behind}")
    if flag.kind is dict and len(values) % 2:
        raise UsageError(f"{flag.name}: expected {flag.expected}, found {values[-1]!r} without a value")
    values = [_value(flag, text) for text in values]
    return [f"{flag.name}={values[0]}", *values[1:]] if values else [flag.name]


def _value(flag: Flag, text: str) -> str:
    """Return a value as tyro takes it; a whole number may be written as `20e6`, and without a limit as `inf`."""
    if flag.kind not in (int, float) and get_origin(flag.kind) is not Literal:
        return text
    if flag.is_optional and (text.lower() == "none" or (flag.kind is int and text.lower() == "inf")):
        return "None"
    choices = get_args(flag.kind) if get_origin(flag.kind) is Literal else ()
    if text in choices:
        return text
    number = None if choices else _number(text, whole=flag.kind is int)
    if number is None:
        near = difflib.get_close_matches(text, choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{flag.name}: expected {flag.expected}, found {text!r}{hint}")
    return repr(number)


def _number(text: str, *, whole: bool) -> float | None:
    """Return a number, or None where `text` is none."""
    for kind in (int, float) if whole else (float,):
        try:
            number = kind(text)
        except (ValueError, OverflowError):
            continue
        if not whole:
            return None if math.isnan(number) else number
        if isinstance(number, int) or number.is_integer():
            return int(number)
    return None


def _is_flag(word: str) -> bool:
    """Whether a word begins a flag: negative numbers do not, nor does a dash alone."""
    return word.startswith("-") and word != "-" and not _NUMBER.match(word)


def _unknown(name: str, known: Iterable[str], program: str) -> str:
    """Return that there is no such flag, and the nearest that there is.

    A name that ends as one of a table does is near, whatever the table: `--population` means `--generation.population`.
    """
    known = list(known)
    last = name.rpartition(".")[2].lstrip("-")
    tails = [other for other in known if other.lstrip("-").rpartition(".")[2] == last]
    near = tails or difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {' or '.join(near)}?" if near else f"`{program} --help-all` shows all flags"
    return f"no flag {name}; {hint}"
