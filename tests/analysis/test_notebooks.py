"""Both notebooks from top to bottom, each in its own kernel, on small budgets."""

from __future__ import annotations

import ast
import asyncio
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
from nbconvert import HTMLExporter

import gadask
from gadask.analysis import figures
from gadask.analysis.runs import find_runs
from gadask.record.directory import read_generations, without_wall_clock
from gadask.record.frames import generation_frame
from tests.analysis.pages import loads_nothing, tags
from tests.analysis.pictures import decoded
from tests.browser import CHROMIUM, browser

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "analysis").glob("*.ipynb"))
_SCRIPTS = ("analysis", "jobs")  # folders of the repository that an installed gadask does not have
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_know_nothing_of_gadask_but_its_face(path: Path) -> None:
    assert not beyond_the_face(source_of(path))


@pytest.mark.parametrize(
    "source",
    [
        "from gadask.analysis.film import film_elite",
        "import gadask.analysis.film as film",
        "import gadask\ngadask.analysis.film.film_elite",
        "from gadask import analysis",
        "import gadask\nshow = gadask.record",
        "from importlib import import_module\nimport_module('gadask.analysis.film')",
        "from analysis import film",
    ],
)
def test_what_is_beyond_the_face_is_found(source: str) -> None:
    assert beyond_the_face(source)


def source_of(path: Path) -> str:
    """Return the code of a notebook."""
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def beyond_the_face(source: str) -> list[str]:
    """Return what a program uses of gadask that is not in its `__all__`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found += [name for name in names if name.startswith("gadask.") or name.split(".")[0] in _SCRIPTS]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [alias.name for alias in node.names] if module == "gadask" else []
            found += [name for name in names if name not in gadask.__all__]
            found += [module] if module.startswith("gadask.") or module.split(".")[0] in _SCRIPTS else []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gadask":
            found += [node.attr] if node.attr not in gadask.__all__ else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"gadask\.\w", node.value):
            found.append(node.value)
    return found


def execute(path: Path, environ: dict[str, str], **parameters: Any) -> Any:
    """Run a notebook where it stands, with other values for its parameters; returns it."""
    notebook = nbformat.read(path, as_version=4)
    (place,) = (i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(f"from pathlib import PosixPath\n{given}"))
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, startup_timeout=TIMEOUT_S, resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute(env=environ)
    return notebook


def by_name(notebook: Any) -> dict[str, Any]:
    """Return a notebook's cells by name."""
    return {cell.id: cell for cell in notebook.cells}


def printed(cell: Any) -> str:
    """What a cell printed, and what its displays say where they are not shown."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(texts)


def shown(cell: Any, kind: str) -> list[bytes]:
    """The pictures of one media type that a cell shows: as an output, or in its HTML."""
    outputs = [output.get("data", {}) for output in cell.outputs]
    found = [data[kind] for data in outputs if kind in data]
    found += [content for data in outputs for content in embedded(data.get("text/html", ""), kind)]
    return [base64.b64decode(content) for content in found]


def embedded(page: str, kind: str) -> list[str]:
    """The base64 of what the tags of a page hold of one media type."""
    begin = f"data:{kind};base64,"
    values = [value or "" for _, attributes in tags(page) for name, value in attributes if name == "src"]
    return [value.removeprefix(begin) for value in values if value.startswith(begin)]


def exported(notebook: Any, path: Path) -> str:
    """Export an executed notebook to an HTML file, with nbconvert as people have it; returns the page."""
    page, _ = HTMLExporter().from_notebook_node(notebook)
    path.write_text(page)
    return str(page)


async def drawn(page: Path, profile: Path) -> dict[str, Any]:
    """Open an export in a browser; returns how many pictures it shows, and how many figures of Bokeh's."""
    async with browser(profile) as opened:
        await opened.open(page.as_uri())
        await opened.wait_for("document.readyState === 'complete'")
        images = await opened.wait_for(
            "(() => { const all = [...document.images];"
            " return all.length && all.every(one => one.complete) && {n: all.length,"
            " broken: all.filter(one => !one.naturalWidth).length} })()"
        )
        figures_ = "document.querySelectorAll('[data-root-id]').length"
        await opened.wait_for(
            f"typeof Bokeh === 'undefined' || Bokeh.documents.every(one => one.is_idle) && {figures_}"
        )
        return {**images, "figures": await opened.evaluate(figures_)}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A kernel's environment; what Jupyter and IPython remember of a user stays out of it."""
    own = {name: str(tmp_path / name.lower()) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    return {**os.environ, **own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("no_leaks")
def test_evolve_shows_the_run_plays_the_policy_and_sweeps(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "config.toml").write_text(CARTPOLE)
    (tmp_path / "small.toml").write_text(CARTPOLE.replace("generations = 7", "generations = 2"))
    run_dir = tmp_path / "run"
    notebook = execute(
        ROOT / "analysis" / "evolve.ipynb",
        environ,
        config_file=str(tmp_path / "config.toml"),
        run_dir=run_dir,
        small_config_file=str(tmp_path / "small.toml"),
    )
    cells = by_name(notebook)
    assert "1 of 1 node running" in printed(cells["cluster"])
    assert "7 generations closed, finished" in printed(cells["evolve"])
    displays = [output for output in cells["evolve"].outputs if output.output_type == "display_data"]
    assert len(displays) == 2, "a bar and one picture"
    assert "aria-valuenow='100'" in displays[0].data["text/html"]
    (picture,) = shown(cells["evolve"], "image/png")
    assert "fresh episodes" in cells["test"].outputs[0].data["text/html"]
    assert printed(cells["policy"]).count("\n") > 5
    (returns,) = (output for output in cells["policy"].outputs if output.output_type == "execute_result")
    assert re.findall(r"^\d +(\d)", returns.data["text/plain"], re.MULTILINE) == ["0", "1", "2", "3", "4"]
    assert "2 of 2 runs finished" in printed(cells["sweep"])
    assert sorted(path.name for path in (tmp_path / "run-seeds").iterdir() if path.is_dir()) == ["s0", "s1"]
    (film,) = shown(cells["film"], "image/gif")
    frames, _ = decoded(film)
    assert len({frame.tobytes() for frame in frames}) > 5
    assert loads_nothing((run_dir / "report.html").read_text())

    page = exported(notebook, tmp_path / "evolve.html")
    assert {base64.b64decode(one) for one in embedded(page, "image/gif")} == {film}
    assert picture in {base64.b64decode(one) for one in embedded(page, "image/png")}
    frames_of = [attributes for tag, attributes in tags(page) if tag == "iframe"]
    assert [dict(one)["srcdoc"] for one in frames_of] == [(run_dir / "report.html").read_text()]
    if CHROMIUM is not None or os.environ.get("CI"):
        seen = asyncio.run(drawn(tmp_path / "evolve.html", tmp_path / "profile"))
        assert (seen["n"] >= 2, seen["broken"], seen["figures"]) == (True, 0, 1)

    generations = generation_frame(run_dir)
    assert generations["generation"].tolist() == list(range(7))
    assert generations["elite_mean"].iloc[-1] > 1.5 * generations["elite_mean"].iloc[0]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("no_leaks")
def test_the_stop_button_interrupts_a_cell_which_goes_on_when_run_again(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    (tmp_path / "config.toml").write_text(CARTPOLE.replace("generations = 7", "generations = 15"))
    run_dir = tmp_path / "run"
    cells = by_name(nbformat.read(ROOT / "analysis" / "evolve.ipynb", as_version=4))
    given = f"run_dir = Path({str(run_dir)!r}); config_file = small_config_file = {str(tmp_path / 'config.toml')!r}"
    manager, client = start_new_kernel(TIMEOUT_S, cwd=str(ROOT / "analysis"), env=environ)

    def run(code: str, stop_at: str | None = None) -> tuple[dict[str, Any], list[str]]:
        """Run a cell, and press the button once it shows a text; returns the reply, and the displays that were made.

        Jupyter then sends SIGINT to the kernel and every process below it. Displays that replace others are none.
        """
        pressed: list[str] = []
        made: list[str] = []

        def see(message: dict[str, Any]) -> None:
            text = message["content"].get("data", {}).get("text/plain", "")
            if message["msg_type"] == "display_data":
                made.append(text)
            if stop_at is not None and re.match(stop_at, text) and not pressed:
                pressed.append(text)
                manager.interrupt_kernel()

        content: dict[str, Any] = client.execute_interactive(code, output_hook=see, timeout=TIMEOUT_S)["content"]
        assert bool(pressed) == (stop_at is not None)
        return content, made

    try:
        for code in (cells["imports"].source, given, cells["config"].source, cells["cluster"].source):
            assert run(code)[0]["status"] == "ok"
        for name, stop_at, kept in (
            ("evolve", r"[1-9]\d* generations? closed, generation", run_dir),
            ("sweep", "0 of 2 runs finished, left: 2 runs, about", Path(f"{run_dir}-seeds") / "s0"),
        ):
            reply, made = run(cells[name].source, stop_at)
            assert (reply["status"], reply["ename"], len(reply["traceback"])) == ("error", "Interrupted", 1)
            assert "run this cell again to go on" in reply["evalue"]
            closed = generation_frame(kept)
            assert 1 <= len(closed) < 15
            assert len(made) == (2 if name == "evolve" else 1), "one place for each, which is replaced"
            assert run(cells[name].source)[0]["status"] == "ok"
            whole = generation_frame(kept)
            assert whole["generation"].tolist() == list(range(15))
            assert whole["elite"].tolist()[: len(closed)] == closed["elite"].tolist()
        assert run(cells["close"].source)[0]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    whole = tmp_path / "whole"
    command = [sys.executable, str(ROOT / "jobs" / "run.py"), str(tmp_path / "config.toml"), "--run-dir", str(whole)]
    subprocess.run([*command, "--no-pictures"], env=environ, check=True, capture_output=True, timeout=TIMEOUT_S)
    logs = [[without_wall_clock(line) for line in read_generations(path)] for path in (run_dir, whole)]
    assert logs[0] == logs[1]


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
    notebook = execute(
        ROOT / "analysis" / "study.ipynb", environ, study_dir=str(tmp_path / "study"), figures=made, suffix=suffix
    )
    cells = by_name(notebook)
    assert len(find_runs([tmp_path / "study"])) == 4
    for name in ("curves", "aggregates", "run", "raster", "process-time", "lineage", "length-bias"):
        scripts = [output for output in cells[name].outputs if "application/javascript" in output.get("data", {})]
        assert scripts, f"{name} shows no figure"
        assert "Bokeh" in scripts[0].data["application/javascript"]
    drawings = "".join(output.data.get("application/javascript", "") for output in cells["curves"].outputs)
    assert "ga-dist, 10M frames" in drawings
    for text in ("Frostbite", "Kangaroo", "ES, 1B frames"):
        assert text in printed(cells["scores"])
    assert len(printed(cells["runs"]).splitlines()) >= 6
    assert re.findall(r"^(\w+) +(\w+)-s\d$", printed(cells["best"]), re.MULTILINE) == [
        ("Frostbite", "frostbite"),
        ("Kangaroo", "kangaroo"),
    ]
    (wall,) = shown(cells["films"], "image/gif")
    frames, length_s = decoded(wall)
    assert np.ptp(frames[0]) > 100
    assert length_s > 5
    assert {path.name for path in made.iterdir()} == {f"curves{suffix}", f"lineage{suffix}", "scores.csv", "wall.gif"}
    assert all(path.stat().st_size > 100 for path in made.iterdir())
    page = exported(notebook, tmp_path / "study.html")
    assert [base64.b64decode(one) for one in embedded(page, "image/gif")] == [wall]
    if CHROMIUM is not None or os.environ.get("CI"):
        seen = asyncio.run(drawn(tmp_path / "study.html", tmp_path / "profile"))
        assert (seen["broken"], seen["figures"]) == (0, 7)
