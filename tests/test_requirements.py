"""What is locked can be installed on every Python that gadask says it runs on."""

from __future__ import annotations

import tomllib
from importlib.metadata import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]


def test_locked_packages_take_the_oldest_python() -> None:
    """A distribution's own Python is often an early 3.11, for which a package may refuse to install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (least,) = SpecifierSet(project["requires-python"])
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    names = [Requirement(line).name for line in lines if line and not line.startswith("#")]
    assert len(names) > 50
    asked = {name: metadata(name).json.get("requires_python", "") for name in names}
    oldest = f"{least.version}.0"
    assert not {name: spec for name, spec in asked.items() if oldest not in SpecifierSet(str(spec))}
