"""Whatever `import gadask` offers has an example in its docstring, and the examples do what they say."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

import gadask

ROOT = Path(__file__).parents[1]


def public() -> dict[str, Any]:
    """Return the public classes and functions of `gadask` and of `gadask.face`, by name."""
    found = {name: getattr(gadask, name) for name in gadask.__all__ if not name.startswith("__")}
    for path in sorted((ROOT / "gadask" / "face").glob("[!_]*.py")):
        module = importlib.import_module(f"gadask.face.{path.stem}")
        for name, value in vars(module).items():
            is_own = getattr(value, "__module__", "") == module.__name__
            if is_own and not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                found[name] = value
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder such as the examples are for: gadask's `jobs`, and a run in `runs/mine`."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "jobs").symlink_to(ROOT / "jobs")
    config = gadask.load_config(ROOT / "jobs" / "configs" / "cartpole.toml")
    with gadask.cluster("local") as cluster:
        assert list(gadask.evolve_blocking(config, cluster, folder / "runs" / "mine"))
    return folder


@pytest.mark.parametrize("name", public())
def test_the_example_does_what_it_says(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("IPython.core.display_functions.print", lambda *shown: None, raising=False)  # no cell shows it
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(public()[name]) or "", {}, name, None, None)
    assert test.examples, f"{name}: no example in its docstring"
    said: list[str] = []
    result = doctest.DocTestRunner().run(test, out=said.append)
    assert result.failed == 0, "".join(said)
