"""Modules in the current folder are found as a script there finds them, by every process that a command starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.own_modules import GADASK, SMALL, bare_environment, called, own_folder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_leaks")]


def test_they_are_found_on_two_nodes_in_films_reports_and_by_evaluate(tmp_path: Path) -> None:
    folder = own_folder(tmp_path)
    out = called(folder, "run", "own_task.toml", "--nodes", 2, *SMALL)
    assert {"elite.gif", "report.html"} < {path.name for path in (folder / "run").iterdir()}
    assert "film of the elite: run/elite.gif" in out.replace("\n", " ")
    assert called(folder, "film", "run", "--out", "again.gif") == "again.gif\n"
    assert "data:image/gif;base64," in Path(folder, called(folder, "report", "run").strip()).read_text()
    assert "episodes: run/evaluation.parquet" in called(folder, "evaluate", "run", "--episodes", 5)


def test_elsewhere_the_error_says_where_python_looked(tmp_path: Path) -> None:
    folder = own_folder(tmp_path)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    command = [str(GADASK), "run", "../own_task.toml", "--run-dir", "run"]
    for environ, where in (
        (bare_environment(), f"looked in the current folder, {elsewhere}, and in PYTHONPATH; PYTHONPATH is not set"),
        (
            bare_environment() | {"PYTHONSAFEPATH": "1"},
            f"put its folder on PYTHONPATH, for the current folder, PYTHONPATH={elsewhere}",
        ),
    ):
        ended = subprocess.run(
            command, cwd=elsewhere, env=environ, capture_output=True, text=True, timeout=120, check=False
        )
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
        assert "env.id: no module named 'own_task'; " in ended.stderr
        assert where in ended.stderr
