"""`jobs/evaluate.py` as a user types it: fresh tasks that repeat, baselines beside them, children again, bad input.

In Atari: all starts of a genome, and others with sticky actions.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest

from gadask.analysis import run_facts
from gadask.analysis.runs import finished_test, load_run
from gadask.config import load_config
from gadask.envs.baselines import BASELINES
from gadask.genomes.genome import to_text
from gadask.genomes.seeding import start_of
from gadask.master.evaluate import children_again, choose_genome
from gadask.master.task import prepare_task
from gadask.messages import Kind
from gadask.record.directory import read_episodes, read_generations, read_run
from tests.analysis.pictures import decoded
from tests.conftest import is_of_fork_server, wait_until

ROOT = Path(__file__).parents[1]
CONFIG = """
[env]
id = "gadask/MetaBandit-v0"
kwargs = { n_arms = 3, n_pulls = 8 }
max_steps = 8
[policy]
kind = "gru"
kwargs = { units = 8, actions = "sampled" }
[noise]
size = 300_000
[generation]
population = 30
candidates = 3
candidate_episodes = 5
episodes_per_child = 4
[ga]
parents = 5
mutation_power = 0.3
[budget]
generations = 3
test_episodes = 12
"""


def call(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / script), *map(str, arguments)]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150, check=False, env=environment()
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "XDG_CONFIG_HOME": "/nonexistent"}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run that has ended."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "config.toml").write_text(CONFIG)
    result = call("run.py", folder / "config.toml", "--run-dir", folder / "run", "--no-pictures")
    assert result.returncode == 0, result.stderr
    return folder / "run"


def test_everything_at_once(run_dir: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    result = call(
        "evaluate.py", run_dir, "--episodes", 40, "--baselines", "--children", "--film", tmp_path / "elite.gif",
        "--film-input",
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines()[2:-2])) <= 80
    episodes = pd.read_parquet(run_dir / "evaluation.parquet")
    counts = episodes.groupby("player", sort=False).size().to_dict()
    assert counts == {"last": 40, "children": 30 * 4, **dict.fromkeys(BASELINES["gadask/MetaBandit-v0"], 40)}
    for player, frame in episodes.groupby("player"):
        assert f"{frame['return'].mean():.4g}" in next(
            line for line in result.stdout.splitlines() if line.startswith(str(player))
        )
    last = episodes[episodes.player == "last"]
    assert last["return"].tolist()[:12] == json.loads((run_dir / "elite_test.json").read_text())["returns"]
    assert set(episodes.loc[episodes.player == "thompson", "env_seed"]) == set(last.env_seed)
    frames, _ = decoded(tmp_path / "elite.gif")
    assert frames[0].shape[1] == 460 + 8 + 200  # the policy's input is beside the picture
    (run_dir / "evaluation.parquet").unlink()
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_no_selection_has_seen_the_tasks(run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "episodes.parquet"
    assert call("evaluate.py", run_dir, "--episodes", 60, "--out", out).returncode == 0
    config, _ = read_run(run_dir)
    task = prepare_task(config)
    seen = set()
    for number in range(3):
        for row in read_episodes(run_dir, number).to_pylist():
            seen.add(task.env_seed(Kind[row["kind"].upper()], number, row["slot"], row["episode"]))
    fresh = pd.read_parquet(out)
    assert fresh.env_seed.nunique() == 60
    assert not seen & set(fresh.env_seed)
    again = tmp_path / "again.parquet"
    text = to_text(choose_genome(run_dir, "last"))
    assert call("evaluate.py", run_dir, "--episodes", 60, "--out", again, "--genome", text).returncode == 0
    pd.testing.assert_frame_equal(fresh.drop(columns="player"), pd.read_parquet(again).drop(columns="player"))


def test_the_genomes_are_those_of_the_log(run_dir: Path) -> None:
    lines = list(read_generations(run_dir))
    assert to_text(choose_genome(run_dir, "last")) == lines[-1]["elite"]["genome"]
    means = {line["elite"]["genome"]: line["elite"]["mean"] for line in lines}
    assert means[to_text(choose_genome(run_dir, "best"))] == max(means.values())
    brood = children_again(run_dir, load_config(run_dir / "config.toml"))
    assert [to_text(parent) for parent in brood.bases] == lines[-1]["parents"]
    assert len(brood.candidates) == 30
    assert {child[:-1] for child in brood.candidates} <= set(brood.bases)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--genome", "9-x"), "--genome: expected last, best or noise indices, found '9-x'"),
        (("--episodes", 0), "--episodes: expected at least 1"),
        (("--env", "n_arms"), "--env: expected KEY=VALUE, found 'n_arms'"),
        (("--film", "elite.avi"), "--film: expected a name that ends in .gif or .mp4, found 'elite.avi'"),
        (("--film-input",), "--film-input: expected with --film, found none"),
        (("--genome", "9-300000"), "--genome: expected noise indices below"),
        (("--env", "n_pull=3"), "unexpected keyword argument"),
        (("--env", "n_arms=4"), "--env: expected spaces as in the run"),
        (("--sticky", 2), "--sticky: expected a probability, 0 to 1, found 2"),
        (("--sticky", 0.25), "--sticky: expected an Atari game without sticky actions, found 'gadask/MetaBandit-v0'"),
    ],
)
def test_bad_usage_is_one_line(run_dir: Path, flags: tuple[object, ...], message: str) -> None:
    result = call("evaluate.py", run_dir, *flags)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (run_dir / "evaluation.parquet").exists()


ATARI = """
preset = "such2017"
[env]
id = "ALE/Skiing-v5"
max_steps = 15
test_max_steps = 25
[noise]
size = 6_000_000
[generation]
population = 4
candidates = 2
candidate_episodes = 2
[ga]
parents = 2
[budget]
generations = 1
test_episodes = 200
"""


def test_an_elite_of_atari_is_tested_on_every_start_and_beside_them_with_sticky_actions(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(ATARI)
    run_dir = tmp_path / "run"
    flags = tmp_path / "config.toml", "--run-dir", run_dir, "--no-pictures"
    result = call("run.py", *flags)
    assert result.returncode == 0, result.stderr
    assert " over all 30 starts\n" in result.stdout
    test = json.loads((run_dir / "elite_test.json").read_text())
    assert (test["episodes"], test["starts"], len(test["returns"])) == (30, 30, 30)
    again = call("run.py", *flags, "--resume", "--budget.test-episodes", 500)
    assert "processes" not in again.stdout  # there is nothing more to test

    evaluated = call("evaluate.py", run_dir, "--episodes", 6, "--sticky", 0.25)
    assert (evaluated.returncode, evaluated.stderr) == (0, "")
    assert "30 different episodes are all that a genome has here" in evaluated.stdout
    episodes = pd.read_parquet(run_dir / "evaluation.parquet")
    last, sticky = episodes[episodes.player == "last"], episodes[episodes.player == "sticky 0.25"]
    assert last["return"].tolist() == test["returns"]
    assert sorted(start_of(seed, 30) for seed in last.env_seed) == list(range(30))
    assert set(last.steps) == {25}
    assert len(sticky) == sticky.env_seed.nunique() == 6
    kept = json.loads((run_dir / "sticky_test.json").read_text())
    assert (kept["sticky"], kept["returns"]) == (0.25, sticky["return"].tolist())
    assert json.loads((run_dir / "elite_test.json").read_text()) == test
    other = call("evaluate.py", run_dir, "--episodes", 2, "--sticky", 0.5, "--env", "noop_max=20")
    assert other.returncode == 0, other.stderr
    assert json.loads((run_dir / "sticky_test.json").read_text()) == kept  # that was another game
    assert report_rows(run_dir)["with sticky actions"].endswith(" over 6 episodes with sticky actions (0.25)")
    assert report_rows(run_dir)["elite test"].endswith(" over all 30 starts")


MAZE = """
[env]
id = "gadask/HardMaze-v0"
kwargs = { n_steps = 40 }
[policy]
kind = "mlp"
kwargs = { hidden = "4" }
[noise]
size = 10_000
[generation]
population = 10
candidates = 2
candidate_episodes = 2
[ga]
parents = 2
[budget]
generations = 1
test_episodes = 200
"""


def test_where_nothing_is_drawn_an_elite_is_tested_once_beside_baselines_that_draw(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(MAZE)
    run_dir = tmp_path / "run"
    result = call("run.py", tmp_path / "config.toml", "--run-dir", run_dir, "--no-pictures")
    assert result.returncode == 0, result.stderr
    assert " over the only start\n" in result.stdout
    evaluated = call("evaluate.py", run_dir, "--episodes", 9, "--baselines")
    assert (evaluated.returncode, evaluated.stderr) == (0, "")
    assert "one episode is all that a genome has here" in evaluated.stdout
    episodes = pd.read_parquet(run_dir / "evaluation.parquet")
    assert episodes.groupby("player").size().to_dict() == {"last": 1, "random": 9, "wander": 9}
    random = episodes[episodes.player == "random"]
    assert random.episode.tolist() == list(range(9))
    assert random["return"].nunique() > 5
    note = run_facts.curve_note(load_run(run_dir), finished_test(run_dir))
    assert note.endswith("The elite has only one episode: its mean is exact.")


def report_rows(run_dir: Path) -> dict[str, str]:
    return dict(run_facts.summary(load_run(run_dir), finished_test(run_dir), finished_test(run_dir, sticky=True)))


def test_ctrl_c_leaves_nothing(run_dir: Path) -> None:
    command = [sys.executable, str(ROOT / "jobs" / "evaluate.py"), str(run_dir), "--episodes", "1000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        wait_until(lambda: _rollout_processes(process.pid), 60, "rollout processes")
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "interrupted; nothing was written" in output
    wait_until(lambda: not any(child.is_running() for child in family), 10, "all processes gone")
    assert not (run_dir / "evaluation.parquet").exists()


def _rollout_processes(pid: int) -> list[psutil.Process]:
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if is_of_fork_server(child)]
