"""How much of a node's memory a job asks for, in the forms that a machine file may give it.

Sites differ in what they take: so much a node, so much a core, or all that a node has. A batch system renders each form
in its own directives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from gadask.errors import ConfigError

_SIZE = re.compile(r"(?P<number>[1-9]\d*(\.\d+)?)\s?((?P<unit>[kMGT])(?P<binary>i?))?B(?P<by_core> per core)?")
_UNITS = "kMGT"
_EXPECTED = "a size such as '180GB' or '187GiB', one by the core such as '3380MiB per core', 'all' or 'default'"


class Form(Enum):
    """What the size of a job's memory counts for."""

    NODE = auto()
    """The whole job."""
    CORE = auto()
    """Each of its cores."""
    ALL = auto()
    """There is no size: the job has all that its node has."""
    DEFAULT = auto()
    """There is no size: the job has what the site gives to one that says nothing."""


@dataclass(frozen=True)
class Memory:
    """The memory that a job asks for."""

    form: Form
    size_bytes: int = 0
    """Of the job or of each core; 0 in forms without a size."""

    def of_job(self, cores: int) -> int:
        """Return the bytes of a job with so many cores, 0 where only the site knows."""
        return self.size_bytes * (cores if self.form is Form.CORE else 1)


def parse_memory(text: str) -> Memory:
    """Return what `187GiB`, `3380MiB per core`, `all` or `default` ask for; raises `ConfigError` for anything else."""
    if text in ("all", "default"):
        return Memory(Form[text.upper()])
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(f"memory: expected {_EXPECTED}, found {text!r}")
    exponent = _UNITS.index(match["unit"]) + 1 if match["unit"] else 0
    scale = (1024 if match["binary"] else 1000) ** exponent
    return Memory(Form.CORE if match["by_core"] else Form.NODE, int(float(match["number"]) * scale))
