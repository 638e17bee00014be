"""Directives of batch systems whose options are a dash, a word and a value: Grid Engine's, PBS's, LSF's."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gadask.clusters.machine import Machine
from gadask.clusters.memory import Form
from gadask.errors import ConfigError


def without(skipped: Iterable[str], options: Iterable[str]) -> list[str]:
    """Return the options that no entry leaves out: `-l` leaves out all of that word, `-l h_rt` only `-l h_rt=3600`."""
    patterns = [re.compile(rf"{re.escape(text)}(?![\w-])") for text in skipped]
    return [text for text in options if not any(pattern.match(text) for pattern in patterns)]


def check_name_option(machine: Machine, option: str) -> None:
    """Raise `ConfigError` if a machine's directives give jobs a name, by which gadask knows its own."""
    if any(text.split()[0] == option for text in machine.extra_directives):
        expected = f"no {option}, by which gadask knows its jobs"
        raise ConfigError(f"extra_directives: expected {expected}, found {machine.extra_directives!r}")


def unasked_memory(machine: Machine, title: str, example: str) -> list[str]:
    """Return a warning, in a list, where a machine file names memory that no directive asks for."""
    is_asked_for = any(re.search("mem|rss|data|-M", text) for text in machine.extra_directives)
    if is_asked_for or machine.job_memory.form is Form.DEFAULT:
        return []
    return [
        f"memory = {machine.memory!r} is not asked for, since each {title} names it differently; extra_directives can,"
        f" such as {example!r}; memory = 'default' asks for none"
    ]
