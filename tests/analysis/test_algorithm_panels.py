"""How algorithms stand, from the log and from anchors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from gadask.analysis.algorithm_panels import plot_panels, read_algorithm, read_anchors
from gadask.errors import RecordError
from gadask.genomes.anchors import anchor_path
from gadask.record.directory import read_generations


def titles(frames: list[pd.DataFrame]) -> list[str]:
    layout: Any = plot_panels(frames)
    return [panel.title.text for panel, *_ in layout.children]


def test_numbers_of_the_log_become_panels_and_counts_of_generations_do_not(mazes: dict[str, Path]) -> None:
    frame = read_algorithm(mazes["novelty"])
    lines = list(read_generations(mazes["novelty"]))
    assert frame["mean_novelty"].tolist() == [line["algorithm"]["mean_novelty"] for line in lines]
    assert titles([frame]) == ["behaviours in the archive", "children's mean novelty"]
    assert list(read_algorithm(mazes["openai-es"])) == ["generation", "rank"]  # updates are as many as generations


def test_an_algorithm_that_says_nothing_has_no_panel(recorded: dict[str, Path]) -> None:
    frames = [read_algorithm(recorded["swatch"]), read_anchors(recorded["swatch"])]
    assert plot_panels(frames) is None


def test_keys_of_own_algorithms_are_drawn_by_their_names() -> None:
    frame = pd.DataFrame({"generation": [0, 1], "own_number": [1.0, np.nan], "nothing": [np.nan, np.nan]})
    assert titles([frame]) == ["own number"]


def test_norm_and_step_are_those_of_the_anchors(mazes: dict[str, Path], tmp_path: Path) -> None:
    run = mazes["openai-es"]
    digests = {line["generation"]: line["parents"][0].removeprefix("@") for line in read_generations(run)}
    del digests[0]  # a new network
    vectors = {number: load_file(anchor_path(run / "anchors", name))["parameters"] for number, name in digests.items()}
    frame = read_anchors(run)
    assert frame["generation"].tolist() == [1, 2, 3]
    assert frame["norm"].tolist() == pytest.approx([float(np.linalg.norm(vectors[i])) for i in (1, 2, 3)])
    steps = [float(np.linalg.norm(vectors[i] - vectors[i - 1])) for i in (2, 3)]
    assert frame["step"].tolist() == pytest.approx([np.nan, *steps], nan_ok=True, rel=1e-5)

    copy = Path(shutil.copytree(run, tmp_path / "run"))
    anchor_path(copy / "anchors", digests[2]).unlink()
    thinned = read_anchors(copy)
    assert thinned["generation"].tolist() == [1, 3]
    assert thinned["step"].iloc[1] == pytest.approx(float(np.linalg.norm(vectors[3] - vectors[1])) / 2, rel=1e-5)
    anchor_path(copy / "anchors", digests[3]).write_bytes(b"torn")
    with pytest.raises(RecordError, match="expected a safetensors file"):
        read_anchors(copy)
