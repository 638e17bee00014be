"""`start.from`: what a run may begin with, and what is refused in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import gadask
from gadask.config import Config, PolicyConfig, StartConfig, config_from_dict
from gadask.errors import ConfigError
from gadask.genomes.anchors import FOLDER, anchor_digest, read_anchor
from gadask.genomes.genome import from_text, to_text
from gadask.master.start import Start, find_start, first_state
from gadask.master.task import prepare_task
from gadask.play.loading import load_genome, new_policy
from gadask.record.directory import RunDirectory, read_generations
from tests.algorithm_cases import CASES, merged
from tests.local_runs import run

TABLES = {
    "env": {"id": "CartPole-v1", "max_steps": 30},
    "policy": {"kind": "mlp", "kwargs": {"hidden": "4"}},
    "noise": {"size": 10_000},
    "generation": {"population": 8, "candidates": 2, "candidate_episodes": 2},
    "ga": {"parents": 3, "mutation_power": 0.1},
    "budget": {"generations": 2, "test_episodes": 0},
}
CONFIG = config_from_dict(TABLES)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir: Path = tmp_path_factory.mktemp("first") / "run"
    run(CONFIG, run_dir)
    return run_dir


def start(text: str, config: Config = CONFIG) -> Start:
    return find_start(replace(config, start=StartConfig(text)), prepare_task(config).n_params)


def weights_of(run_dir: Path, text: str, config: Config = CONFIG) -> torch.Tensor:
    policy = new_policy(config)
    load_genome(policy, from_text(text), config, run_dir)
    return policy.flat.clone()


def test_without_it_a_run_begins_with_new_networks() -> None:
    assert start("") == Start()


def test_a_text_is_a_genome_of_the_new_run() -> None:
    found = start("17-42*-0.5")
    assert (found.first, found.anchor) == ((17, (42, -0.5)), None)


def test_a_long_genome_is_no_path(first: Path) -> None:
    genome = (17, *range(40, 140))
    assert start(to_text(genome)).first == genome
    assert start(f"{first}:{to_text(genome)}").anchor is not None


def test_a_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    for value in (0.25, 0.75):
        save_file(
            {name: torch.full_like(one, value) for name, one in new_policy(CONFIG).module.state_dict().items()}, path
        )
        assert (start(str(path)).anchor == value).all()  # type: ignore[union-attr]


def test_a_run_directory_gives_the_weights_of_its_elite(first: Path) -> None:
    elites = [line["elite"] for line in read_generations(first)]
    best = max(elites, key=lambda elite: float(elite["mean"]))["genome"]
    for text, genome in ((f"{first}", best), (f"{first}:best", best), (f"{first}:last", elites[-1]["genome"])):
        found = start(text)
        assert found.anchor is not None
        assert found.first == (anchor_digest(found.anchor),)
        np.testing.assert_array_equal(found.anchor, weights_of(first, genome).numpy())
    assert np.array_equal(start(f"{first}:17").anchor, weights_of(first, "17").numpy())  # type: ignore[arg-type]


def test_a_file_of_weights(first: Path, tmp_path: Path) -> None:
    exported = gadask.open_run(first).export(tmp_path / "elite.safetensors", "last")
    genome = gadask.open_run(first).genome("last")
    plain = {name: torch.full_like(tensor, 0.25) for name, tensor in new_policy(CONFIG).module.state_dict().items()}
    save_file(plain, tmp_path / "plain.safetensors")
    last = start(str(exported)).anchor
    assert last is not None
    np.testing.assert_array_equal(last, weights_of(first, to_text(genome)).numpy())
    assert (start(str(tmp_path / "plain.safetensors")).anchor == 0.25).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", sorted(CASES))
def test_every_algorithm_begins_with_it(kind: str, first: Path, tmp_path: Path) -> None:
    reporting = {"env": {"wrappers": ["tests.behaving_envs:reporting"]}, "novelty": {"parents": 3}}
    tables = merged(TABLES, reporting, CASES[kind], {"start": {"from": str(first)}, "seed": 1})
    config = config_from_dict(tables)
    lines = run(config, tmp_path / "run", processes=1)
    (anchor,) = (tmp_path / "run" / FOLDER).iterdir()
    assert lines[0]["parents"] == [f"@{anchor.stem}"]
    genome = lines[-1]["elite"]["genome"]
    assert genome.startswith(f"@{anchor.stem}-")
    n_params = new_policy(config).n_params
    weights = read_anchor(anchor.parent, anchor.stem, n_params)
    moved = weights_of(tmp_path / "run", genome, config).numpy() - weights
    assert 0 < np.abs(moved).max() < 10
    assert gadask.open_run(tmp_path / "run").policy("last") is not None


def test_nodes_read_the_anchor(first: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, start=StartConfig(str(first)))
    assert run(config, tmp_path / "one", processes=1) == run(config, tmp_path / "two", nodes=2)


def test_a_run_is_its_own_as_soon_as_it_is_made(first: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(first, tmp_path / "copy"))
    config = replace(CONFIG, start=StartConfig(str(copy)))
    task = prepare_task(config)
    begun = find_start(config, task.n_params)
    RunDirectory.create(tmp_path / "run", config, first_state(task, begun), begun.anchor).close()
    shutil.rmtree(copy)  # and then it was killed before generation 0 had closed
    lines = run(config, tmp_path / "run", resume=True)
    assert lines[0]["parents"] == [f"@{anchor_digest(begun.anchor)}"]  # type: ignore[arg-type]


def refused_network(first: Path, tmp_path: Path) -> tuple[str, Config, str]:
    other = replace(CONFIG, policy=PolicyConfig("mlp", {"hidden": "5"}))
    return str(first), other, r"0\.weight: expected shape \(5, 4\), found shape \(4, 4\)"


def refused_normaliser(first: Path, tmp_path: Path) -> tuple[str, Config, str]:
    other = replace(CONFIG, policy=replace(CONFIG.policy, normalise=True))
    return str(first), other, "expected policy.normalise = false, as in .*, found true"


def refused_shape(first: Path, tmp_path: Path) -> tuple[str, Config, str]:
    save_file({"0.weight": torch.zeros(4, 4)}, tmp_path / "a.safetensors")
    return str(tmp_path / "a.safetensors"), CONFIG, "expected shape .*, found no such tensor"


def refused_file(first: Path, tmp_path: Path) -> tuple[str, Config, str]:
    (tmp_path / "b.safetensors").write_bytes(b"no weights")
    return str(tmp_path / "b.safetensors"), CONFIG, "b.safetensors: expected a safetensors file"


def refused_missing(first: Path, tmp_path: Path) -> tuple[str, Config, str]:
    return str(tmp_path / "c.safetensors"), CONFIG, "c.safetensors: cannot read this file: No such file"


def refused_gene(first: Path, tmp_path: Path) -> tuple[str, Config, str]:
    return "17-10000", CONFIG, r"expected noise indices below \d+, found 10000"


def refused_anchor(first: Path, tmp_path: Path) -> tuple[str, Config, str]:
    return f"@{'0' * 32}-17", CONFIG, "has an anchor of another run; write RUN_DIR:"


def refused_update(first: Path, tmp_path: Path) -> tuple[str, Config, str]:
    return f"17-u3.{'0' * 32}", CONFIG, "has an update of another run; write RUN_DIR:"


def refused_nan(first: Path, tmp_path: Path) -> tuple[str, Config, str]:
    tensors = {name: torch.zeros_like(tensor) for name, tensor in new_policy(CONFIG).module.state_dict().items()}
    save_file({**tensors, "0.bias": torch.full((4,), torch.nan)}, tmp_path / "d.safetensors")
    return str(tmp_path / "d.safetensors"), CONFIG, "d.safetensors: expected finite weights"


def refused_unnormalised(first: Path, tmp_path: Path) -> tuple[str, Config, str]:
    tensors = {name: torch.zeros_like(tensor) for name, tensor in new_policy(CONFIG).module.state_dict().items()}
    save_file(tensors, tmp_path / "e.safetensors")
    normalised = replace(CONFIG, policy=replace(CONFIG.policy, normalise=True))
    return str(tmp_path / "e.safetensors"), normalised, "a file does not say how observations are normalised"


def refused_text(first: Path, tmp_path: Path) -> tuple[str, Config, str]:
    return "runs/typo", CONFIG, "expected a run directory .*, found 'runs/typo'"


@pytest.mark.parametrize(
    "case",
    [
        refused_network,
        refused_normaliser,
        refused_shape,
        refused_file,
        refused_missing,
        refused_gene,
        refused_nan,
        refused_unnormalised,
        refused_anchor,
        refused_update,
        refused_text,
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    case: Callable[[Path, Path], tuple[str, Config, str]], first: Path, tmp_path: Path
) -> None:
    text, config, expected = case(first, tmp_path)
    with pytest.raises(ConfigError, match=rf"^start\.from: .*{expected}") as caught:
        start(text, config)
    assert "\n" not in str(caught.value)
