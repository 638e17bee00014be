"""The worked example of docs/how-to/own-algorithm.md evolves as the page says; what is no algorithm is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gadask.algorithms import make_algorithm
from gadask.config import AlgorithmConfig, Config
from gadask.errors import ConfigError
from gadask.record.directory import read_generations, without_wall_clock

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"


def run(run_dir: Path, *flags: str) -> list[dict[str, object]]:
    command = [sys.executable, "jobs/run.py", str(EXAMPLES / "own_algorithm.toml"), "--run-dir", str(run_dir)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(ROOT)])}
    result = subprocess.run(
        [*command, "--no-pictures", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environ,
        timeout=170,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return [without_wall_clock(line) for line in read_generations(run_dir)]


def test_the_page_shows_the_file() -> None:
    shown = (ROOT / "docs" / "how-to" / "own-algorithm.md").read_text().partition("```toml\n")[2].partition("```")[0]
    assert (EXAMPLES / "own_algorithm.toml").read_text().startswith(shown)


def test_it_evolves_alike_on_one_process_and_on_two_nodes(tmp_path: Path) -> None:
    lines = run(tmp_path / "one", "--rollouts-per-node", "1")
    assert len(lines) == 6
    assert run(tmp_path / "two", "--nodes", "2") == lines
    uniform = run(tmp_path / "uniform", "--algorithm.kwargs.pressure", "1.0")
    assert uniform[0] == lines[0]
    assert uniform[2]["parents"] != lines[2]["parents"]


@pytest.mark.parametrize(
    ("kind", "kwargs", "expected"),
    [
        ("nowhere:factory", {}, "algorithm.kind: no module named 'nowhere'"),
        ("math:sqroot", {}, "module 'math' has no function 'sqroot'; did you mean 'sqrt'?"),
        ("math:sqrt", {}, "'math:sqrt' cannot make an algorithm: TypeError: must be real number"),
        ("builtins:repr", {}, "the methods of gadask.algorithms.algorithm.Algorithm, found str without .*children"),
        ("builtins:repr", {"a": 1}, "cannot make an algorithm: TypeError"),
    ],
)
def test_what_is_no_algorithm_is_refused(kind: str, kwargs: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        make_algorithm(replace(Config(), algorithm=AlgorithmConfig(kind, kwargs)))
