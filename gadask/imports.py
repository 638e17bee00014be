"""Modules and functions that a config names, found where Python would find them from the user's own command line."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from gadask.blame import in_one_line
from gadask.errors import UsageError

_ROOT = Path(__file__).resolve().parents[1]
_START = (
    "import importlib, json, sys; module, root, path = sys.argv[1:4]; sys.path.insert(0, root); import gadask;"
    " sys.path[:] = json.loads(path); del sys.argv[1:4]; importlib.import_module(module).main()"
)
_SCRIPTS = tuple(str(_ROOT / name) for name in ("jobs", "analysis"))


def find_modules_here() -> None:
    """Look for modules in the current folder first, as Python does for a script that lies there.

    The folder of gadask's own script, which Python puts first, leaves the path: `evaluate` or `run` may be a user's
    module. The current folder is not added with PYTHONSAFEPATH, nor where another gadask lies in it.
    """
    if sys.path and os.path.realpath(sys.path[0]) in _SCRIPTS:
        del sys.path[0]
    here = str(Path.cwd())
    if not os.environ.get("PYTHONSAFEPATH") and here not in sys.path and not _holds_another_gadask(Path(here)):
        sys.path.insert(0, here)


def _holds_another_gadask(folder: Path) -> bool:
    package = folder / "gadask"
    return package.with_suffix(".py").exists() or (package.exists() and not package.samefile(_ROOT / "gadask"))


@contextmanager
def imported_meanwhile(*names: str) -> Iterator[None]:
    """Import modules in a thread while the block waits for something else; an error is left to who needs them."""

    def import_all() -> None:
        with contextlib.suppress(ImportError):
            for name in names:
                importlib.import_module(name)

    thread = threading.Thread(target=import_all)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def search_path() -> list[str]:
    """Return where this process finds modules, for a separate process: whole paths, without gadask's scripts."""
    folders = [str(Path.cwd()) if folder == "" else folder for folder in sys.path]
    return [folder for folder in folders if os.path.realpath(folder) not in _SCRIPTS]


def own_command(module: str, *arguments: str) -> list[str]:
    """Return the command that calls `main` of one of gadask's modules, which finds `arguments` in `sys.argv`.

    gadask is the one that this process has imported, whatever else of that name lies on the path or in the current
    folder, where `python -m` looks first; a user's modules are found where this process finds them.
    """
    return [sys.executable, "-P", "-c", _START, module, str(_ROOT), json.dumps(search_path()), *arguments]


def import_user_module(name: str, key: str, error_class: type[UsageError]) -> ModuleType:
    """Import a module that the config's `key` names; raises `error_class` with the place where that fails."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        if isinstance(error, ModuleNotFoundError) and error.name and (name + ".").startswith(error.name + "."):
            raise error_class(f"{key}: no module named {error.name!r}; {_where_to_put(error.name)}") from error
        raise error_class(f"{key}: cannot import {name!r}: {in_one_line(error)}") from error


def find_user_function(module: ModuleType, name: str, key: str, error_class: type[UsageError]) -> Any:
    """Return what a module calls `name`, which can be called; raises `error_class` with the nearest right name."""
    found = getattr(module, name, None)
    if not callable(found):
        near = difflib.get_close_matches(name, vars(module), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise error_class(f"{key}: module {module.__name__!r} has no function {name!r}{hint}")
    return found


def _where_to_put(module: str) -> str:
    """Return where Python looked, and what to do about it."""
    here = Path.cwd()
    given = os.environ.get("PYTHONPATH")
    looked = f"PYTHONPATH is {given}" if given else "PYTHONPATH is not set"
    if str(here) in map(os.path.realpath, sys.path):
        return f"looked in the current folder, {here}, and in PYTHONPATH; {looked}"
    is_here = any((here / f"{module.partition('.')[0]}{suffix}").exists() for suffix in ("", ".py"))
    found = "where it lies, " if is_here else ""
    return f"put its folder on PYTHONPATH, for the current folder, {found}PYTHONPATH={here}; {looked}"
