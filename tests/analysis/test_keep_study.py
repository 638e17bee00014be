"""What is kept of a study redraws its figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis import keep_study
from gadask.analysis.runs import load_study
from gadask.analysis.scores import final_scores


def test_what_is_kept_reads_as_the_runs_do(run: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    for name in ("a", "b"):
        shutil.copytree(run, study / name)
    test = {"generation": 2, "genome": load_study([run])[0].generations["elite"].iloc[-1], "returns": [3.0, 4.0]}
    (study / "a" / "elite_test.json").write_text(json.dumps(test))
    assert keep_study.main([str(study), "--out", str(tmp_path / "kept")]) == 0
    kept = {str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert kept == {f"{run}/{name}" for run in "ab" for name in ("config.toml", "generations.jsonl")} | {
        "a/elite_test.json"
    }
    found, expected = load_study([tmp_path / "kept"]), load_study([study])
    for ours, theirs in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(ours.generations, theirs.generations)
    assert final_scores(found)["score"].tolist() == final_scores(expected)["score"].tolist()


def test_a_folder_without_runs_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keep_study.main([str(tmp_path), "--out", str(tmp_path / "kept")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: expected a run directory")
