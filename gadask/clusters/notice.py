"""Warnings about something that lasts: said when it begins, and not again at every try."""

from __future__ import annotations

import logging
import re


class Notice:
    """One thing that may go wrong again and again."""

    def __init__(self, logger: logging.Logger) -> None:
        """`logger` gets the warnings."""
        self.reason = ""
        """Why it went wrong last; empty while it goes well."""
        self._logger = logger
        self._told: set[str] = set()

    def tell(self, reason: str, warning: str) -> None:
        """Warn, unless it was said since all went well; a reason with other numbers in it is the same."""
        self.reason = reason
        kind = re.sub(r"\d+", "", reason)
        if kind not in self._told:
            self._told.add(kind)
            self._logger.warning("%s: %s", warning, reason)

    def clear(self) -> None:
        """All goes well: the next trouble is news."""
        self.reason = ""
        self._told.clear()
