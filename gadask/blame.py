"""What a user's code raised, in one line, with the place in *their* code."""

from __future__ import annotations

import inspect
import site
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from traceback import walk_tb

_MAX_TEXT = 300
_MAX_VALUE = 80
_HERE = str(Path(__file__).parent)
_INSTALLED = tuple({sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()})
_STANDARD = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<frozen"})
_LIBRARIES = ("gymnasium", "numpy", "torch")


def in_one_line(error: BaseException) -> str:
    """Return type, text and place of an error, such as `ValueError: no map (my_env.py:12, in __init__)`."""
    text = " ".join(str(error).split())[:_MAX_TEXT]
    place = place_of(error)
    return type(error).__name__ + (f": {text}" if text else "") + (f" ({place})" if place else "")


def place_of(error: BaseException) -> str:
    """Return file, line and function that are to blame; empty if all of it happened in gadask.

    That is the innermost frame of code that is not installed; else of an installed package that is neither numpy, torch
    nor Gymnasium; else of those.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}:{error.lineno}"
    frames = [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in walk_tb(error.__traceback__)]
    return place_among(frames)


def place_among(frames: Sequence[tuple[str, int, str]]) -> str:
    """Return as `place_of` does which of these frames, the innermost last, is to blame."""
    for rank in range(3):
        for file, line, function in reversed(frames):
            if not file.startswith(_HERE) and _rank(file) == rank:
                return f"{_shown(file)}:{line}, in {function}"
    return ""


def is_of_user(error: BaseException) -> bool:
    """Whether an error was raised in code that is neither gadask's nor Gymnasium's."""
    file = [frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__)][-1]
    return not file.startswith(_HERE) and "gymnasium" not in Path(file).parts


def place_of_class(thing: object) -> str:
    """Return where an object's class is written, such as `my_env.py:5`; empty where that is not known."""
    try:
        file = inspect.getsourcefile(type(thing))
        return f"{_shown(file)}:{inspect.getsourcelines(type(thing))[1]}" if file else ""
    except (OSError, TypeError):
        return ""


def value_in_short(value: object) -> str:
    """Return a value in one short line, with its type where that is not plain from it."""
    text = " ".join(repr(value).split())
    text = text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}…"
    return f"{text} ({type(value).__name__})"


def _rank(file: str) -> int:
    """Return how far a file is from being the user's: 0 own, 1 installed, 2 a large library, 3 Python itself."""
    installed = next((folder for folder in _INSTALLED if file.startswith(folder)), "")
    if installed or "site-packages" in file or "dist-packages" in file:
        parts = Path(file).parts
        return 2 if any(library in parts for library in _LIBRARIES) else 1
    return 3 if file.startswith(_STANDARD) else 0


def _shown(file: str) -> str:
    """Return a path as it is shown: from the current folder where it lies there."""
    path = Path(file)
    try:
        return str(path.relative_to(Path.cwd()))
    except (OSError, ValueError):
        return str(path)
