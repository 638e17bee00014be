"""The exception tree.

Every error that gadask raises on purpose is a `GadaskError`. Its text is one line that says what was
expected, what was found and what to do next. The class decides the exit status of `gadask run`:
`UsageError` and its children exit with 2 before any node is asked for, everything else with 1.
"""

from __future__ import annotations


class GadaskError(Exception):
    """Base of every error that gadask raises on purpose.

    Example:
        >>> import gadask
        >>> try:
        ...     gadask.open_run("runs/none")
        ... except gadask.GadaskError as error:
        ...     print(error)
        runs/none: expected a run directory, found no config.toml in it
    """


class UsageError(GadaskError):
    """The user asked for something that cannot be done; nothing was started."""


class ConfigError(UsageError):
    """A configuration has an unknown key, a wrong type or an impossible value."""


class EnvError(UsageError):
    """An environment is unknown, cannot be made, or has spaces that cannot be handled."""


class PolicyError(UsageError):
    """A policy is unknown or does not fit the environment's spaces."""


class RunDirectoryError(UsageError):
    """A run directory exists already, is missing, or cannot be written."""


class GenomeError(GadaskError):
    """A genome's text or indices are malformed."""


class RecordError(GadaskError):
    """A file of a run directory is damaged, or writing it failed."""


class NodeError(GadaskError):
    """A node could not be set up, or was refused."""


class PacketError(NodeError):
    """A message between a node and one of its processes cannot be read."""


class ClusterError(GadaskError):
    """The cluster could not be started, or was lost."""


class EvolutionError(GadaskError):
    """A generation cannot be closed: no valid result, or too many failed episodes."""


class Interrupted(GadaskError):  # noqa: N818 (it is no error)
    """The user interrupted a notebook's cell: nothing is wrong, and what was closed is kept.

    IPython shows its text in place of a traceback, and does not go on with the cells below.

    Example:
        >>> import gadask
        >>> issubclass(gadask.Interrupted, gadask.GadaskError)
        True
    """

    def _render_traceback_(self) -> list[str]:
        return [str(self)]
