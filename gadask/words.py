"""Words of a command line that is to be given again."""

from __future__ import annotations

from collections.abc import Sequence


def without(words: Sequence[str], flag: str, *, takes_value: bool = True) -> list[str]:
    """Return the words without a flag, however often and however it is written, and without its value."""
    kept: list[str] = []
    is_value = False
    for word in words:
        name, equals, _ = word.partition("=")
        is_flag = not is_value and name.replace("_", "-") == flag
        if not is_flag and not is_value:
            kept.append(word)
        is_value = is_flag and takes_value and not equals
    return kept
