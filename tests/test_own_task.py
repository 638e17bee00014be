"""The worked example of docs/how-to/own-task.md is 60 lines, and evolves on two nodes as the page says."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from gymnasium.utils.env_checker import check_env

from gadask.config import load_config
from gadask.record.directory import read_generations

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = ROOT / "docs" / "how-to" / "own-task.md"


def test_the_page_shows_the_files() -> None:
    page = PAGE.read_text()
    assert len((EXAMPLES / "own_task.py").read_text().splitlines()) <= 60
    shown = page.partition("```toml\n")[2].partition("```")[0]
    assert (EXAMPLES / "own_task.toml").read_text().startswith(shown)
    assert "gadask run docs/examples/own_task.toml --run-dir runs/own --nodes 2" in page


def test_the_environment_is_one() -> None:
    spec = importlib.util.spec_from_file_location("own_task", EXAMPLES / "own_task.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    env = module.Recall(render_mode="rgb_array")
    check_env(env, skip_render_check=True)
    env.reset(seed=1)
    assert env.render().shape == (60, 160, 3)
    assert env.render().dtype == np.uint8


def test_it_is_learnt_on_two_nodes(tmp_path: Path) -> None:
    run_dir = tmp_path / "own"
    config = EXAMPLES / "own_task.toml"
    command = [sys.executable, "jobs/run.py", str(config), "--run-dir", str(run_dir), "--nodes", "2"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(ROOT)])}
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environ, timeout=170)
    assert (result.returncode, result.stderr) == (0, "")
    lines = list(read_generations(run_dir))
    assert {line["timing"]["nodes"] for line in lines} <= {1, 2}
    assert lines[-1]["timing"]["nodes"] == 2
    assert lines[0]["elite"]["mean"] < 0.7
    assert lines[-1]["elite"]["mean"] == load_config(config).budget.elite_mean
    assert (run_dir / "elite.gif").exists()


def test_a_script_evolves_saves_and_plays_it(tmp_path: Path) -> None:
    script = EXAMPLES / "from_python.py"
    assert len(script.read_text().splitlines()) <= 25
    assert f"```python\n{script.read_text()}```" in (PAGE.parent / "from-python.md").read_text()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(ROOT)])}
    command = [sys.executable, str(script)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environ, timeout=170
    )
    assert (result.returncode, result.stderr) == (0, "")
    *generations, played = result.stdout.splitlines()
    assert generations[0].startswith("generation 0: ")
    assert played.startswith("an episode with seed 1: ")
    weights = torch.load(tmp_path / "runs" / "from-python" / "network.pt", weights_only=True)
    assert all(tensor.dtype == torch.float32 and tensor.numel() for tensor in weights.values())
    assert len(weights) > 1
