"""Both notebooks from top to bottom, each in its own kernel, on small budgets."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

import gadask
from gadask.analysis import figures
from gadask.analysis.runs import find_runs
from gadask.record.directory import read_generations, without_wall_clock
from gadask.record.frames import generation_frame
from tests.analysis.pages import loads_nothing
from tests.analysis.pictures import decoded

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "analysis").glob("*.ipynb"))
TIMEOUT_S = 300  # of a cell, or a command; on an idle machine each takes seconds

CARTPOLE = """
[env]
id = "CartPole-v1"
max_steps = 500
[policy]
kind = "mlp"
kwargs = { hidden = "8" }
[noise]
size = 300_000
[generation]
population = 40
candidates = 4
candidate_episodes = 10
[ga]
parents = 6
mutation_power = 0.1
[budget]
generations = 7
test_episodes = 20
"""
STUDY = """
env.max_steps = 90
policy.kind = "nature"
noise.size = 1_700_000
[generation]
population = 6
candidates = 2
candidate_episodes = 3
[ga]
parents = 3
mutation_power = 0.01
[budget]
generations = 3
test_episodes = 4
[grid]
env.id = ["ALE/Frostbite-v5", "ALE/Kangaroo-v5"]
seed = [0, 1]
"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_as_they_were_written(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for before, cell in zip([None, *notebook.cells], notebook.cells, strict=False):
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
            assert before is not None
            assert before.cell_type == "markdown", f"{path.name}: nothing is said before {cell.id}"


@pytest.mark.parametrize("path", [*NOTEBOOKS, ROOT / "README.md", ROOT / "docs" / "tutorial.md"], ids=lambda p: p.name)
def test_what_newcomers_read_uses_the_face_alone(path: Path) -> None:
    text = path.read_text()
    assert "import gadask" in text
    assert not re.findall(r"(?:from|import) gadask\.", text)
    assert set(re.findall(r"\bgadask\.(\w+)\(", text)) <= set(gadask.__all__)


def execute(path: Path, environ: dict[str, str], **parameters: Any) -> dict[str, Any]:
    """Run a notebook where it stands, with other values for its parameters; returns its cells by name."""
    notebook = nbformat.read(path, as_version=4)
    (place,) = (i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(f"from pathlib import PosixPath\n{given}"))
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, startup_timeout=TIMEOUT_S, resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute(env=environ)
    return {cell.id: cell for cell in notebook.cells}


def printed(cell: Any) -> str:
    """What a cell printed, and what its displays say where they are not shown."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(texts)


def shown(cell: Any, kind: str) -> list[bytes]:
    """The pictures of one media type that a cell shows."""
    return [base64.b64decode(output.data[kind]) for output in cell.outputs if kind in output.get("data", {})]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A kernel's environment; what Jupyter and IPython remember of a user stays out of it."""
    own = {name: str(tmp_path / name.lower()) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    return {**os.environ, **own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("no_leaks")
def test_evolve_interrupts_resumes_and_plays_the_elite(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "config.toml").write_text(CARTPOLE)
    run_dir = tmp_path / "run"
    cells = execute(
        ROOT / "analysis" / "evolve.ipynb",
        environ,
        config_file=str(tmp_path / "config.toml"),
        run_dir=run_dir,
        interrupt_in=3,
    )
    assert "3 generations closed, interrupted, generation 3: " in printed(cells["interrupt"])
    assert "7 generations closed, finished" in printed(cells["resume"])
    pictures = [*shown(cells["interrupt"], "image/png"), *shown(cells["resume"], "image/png")]
    assert len(set(pictures)) == 2
    assert [len(read) for read in (cells["closed"].outputs, cells["test"].outputs)] == [1, 1]
    assert "fresh episodes" in printed(cells["test"])
    (film,) = shown(cells["film"], "image/gif")
    frames, _ = decoded(film)
    assert len({frame.tobytes() for frame in frames}) > 5
    assert loads_nothing((run_dir / "report.html").read_text())

    generations = generation_frame(run_dir)
    assert generations["generation"].tolist() == list(range(7))
    assert generations["elite_mean"].iloc[-1] > 1.5 * generations["elite_mean"].iloc[0]
    whole = tmp_path / "whole"
    command = [sys.executable, str(ROOT / "jobs" / "run.py"), str(tmp_path / "config.toml"), "--run-dir", str(whole)]
    subprocess.run([*command, "--no-pictures"], env=environ, check=True, capture_output=True, timeout=TIMEOUT_S)
    logs = [[without_wall_clock(line) for line in read_generations(path)] for path in (run_dir, whole)]
    assert logs[0] == logs[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("no_leaks")
def test_the_stop_button_interrupts_a_run_and_leaves_the_cluster(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "config.toml").write_text(CARTPOLE.replace("generations = 7", "generations = 15"))
    notebook = nbformat.read(ROOT / "analysis" / "evolve.ipynb", as_version=4)
    cells = {cell.id: cell.source for cell in notebook.cells}
    given = f"config_file = {str(tmp_path / 'config.toml')!r}; run_dir = Path({str(tmp_path / 'run')!r})"
    play = "await play(LiveCurve(config, run_dir))"
    manager, client = start_new_kernel(TIMEOUT_S, cwd=str(ROOT / "analysis"), env=environ)

    def stop(message: dict[str, Any]) -> None:
        """Press the button once: Jupyter then sends SIGINT to the kernel and every process below it."""
        text = message["content"].get("data", {}).get("text/plain", "")
        if re.match(r"[1-9]\d* generations closed", text) and not pressed:
            pressed.append(text)
            manager.interrupt_kernel()

    def run(code: str, hook: Any = lambda message: None) -> dict[str, Any]:
        content: dict[str, Any] = client.execute_interactive(code, output_hook=hook, timeout=TIMEOUT_S)["content"]
        return content

    pressed: list[str] = []
    try:
        for code in (cells["imports"], given, cells["config"], cells["cluster"], cells["play"]):
            assert run(code)["status"] == "ok"
        reply = run(play, stop)
        assert (reply["status"], reply.get("ename")) == ("error", "CancelledError"), pressed
        assert 1 <= len(generation_frame(tmp_path / "run")) < 15
        assert run(play)["status"] == "ok"
        assert run(cells["close"])["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    assert len(generation_frame(tmp_path / "run")) == 15


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_study_draws_every_figure(tmp_path: Path, environ: dict[str, str]) -> None:
    pytest.importorskip("ale_py")
    (tmp_path / "study.toml").write_text(STUDY)
    command = [sys.executable, str(ROOT / "jobs" / "sweep.py"), str(tmp_path / "study.toml")]
    command += ["--study-dir", str(tmp_path / "study")]
    subprocess.run(command, env=environ, check=True, capture_output=True, timeout=TIMEOUT_S)
    suffix = ".svg" if any(map(shutil.which, figures._CHROMIUM)) else ".html"
    made = tmp_path / "figures"
    cells = execute(
        ROOT / "analysis" / "study.ipynb", environ, study_dir=str(tmp_path / "study"), figures=made, suffix=suffix
    )
    assert len(find_runs([tmp_path / "study"])) == 4
    for name in ("curves", "aggregates", "run", "raster", "process-time", "lineage", "length-bias"):
        scripts = [output for output in cells[name].outputs if "application/javascript" in output.get("data", {})]
        assert scripts, f"{name} shows no figure"
        assert "Bokeh" in scripts[0].data["application/javascript"]
    assert "ga-dist, 10M frames" in cells["curves"].outputs[1].data["application/javascript"]
    for text in ("Frostbite", "Kangaroo", "ES, 1B frames"):
        assert text in printed(cells["scores"])
    assert len(printed(cells["runs"]).splitlines()) >= 6
    (wall,) = shown(cells["films"], "image/gif")
    frames, length_s = decoded(wall)
    assert np.ptp(frames[0]) > 100
    assert length_s > 5
    assert {path.name for path in made.iterdir()} == {f"curves{suffix}", f"lineage{suffix}", "scores.csv", "wall.gif"}
    assert all(path.stat().st_size > 100 for path in made.iterdir())
