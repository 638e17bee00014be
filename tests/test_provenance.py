"""What a run was made with is recorded at each start."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gadask.record.directory import (
    RunDirectory,
)
from gadask.record.provenance import _HERE, _ONLOOKERS, changes, code, provenance, source_digest
from tests.records import CONFIG


def test_provenance_has_one_entry_for_each_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "run" / "provenance.json"
    with RunDirectory.create(tmp_path / "run", CONFIG) as directory:
        directory.add_provenance({"start": 1})
        directory.add_provenance({"start": 2})
        assert json.loads(file.read_text()) == [{"start": 1}, {"start": 2}]
        file.write_text('[{"start": 1}, {"sta')
        with caplog.at_level(logging.WARNING):
            directory.add_provenance({"start": 3})
    assert json.loads(file.read_text()) == [{"start": 3}]
    assert file.with_name("provenance.damaged.json").read_text() == '[{"start": 1}, {"sta'
    assert "damaged; put aside" in caplog.text


def test_provenance_says_what_the_run_was_made_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    entry = provenance("0123")
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    assert entry["noise_digest"] == "0123"
    assert entry["slurm"]["SLURM_JOB_ID"] == "4711"
    assert entry["versions"]["numpy"] == np.__version__
    assert entry["cpu"]["model"]


def test_going_on_with_other_code_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    entry = provenance("")
    started_with = entry | {"versions": entry["versions"] | {"torch": "1.0"}, "commit": "abc", "source": "0123"}
    started_with["compiled_kernels"] = False
    RunDirectory.create(tmp_path / "run", CONFIG).close()
    for start in (started_with, entry, entry):
        with RunDirectory.resume(tmp_path / "run")[0] as directory:
            directory.add_provenance(start)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        f"{tmp_path / 'run'}: going on with different code, which may play differently:"
        f" torch 1.0 → {entry['versions']['torch']};"
        f" gadask's source 0123 (commit abc) → {entry['source']} (commit {entry['commit']});"
        " compiled kernels False → True"
    )


@pytest.mark.parametrize("before", [None, [], {}, {"versions": 1}, {"versions": {"numpy": []}, "source": {}}])
def test_code_that_cannot_be_told_from_a_damaged_entry_is_other_code(before: object) -> None:
    assert changes(before, provenance(""))


def test_the_source_digest_tells_code_apart(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    seen = [source_digest(tmp_path)]
    for name, text in (("a.py", "x = 1"), ("a.py", "x = 2"), ("policies/b.py", ""), ("policies/b.c", "y")):
        (tmp_path / name).write_text(text)
        seen.append(source_digest(tmp_path))
    assert len(set(seen)) == 5
    (tmp_path / "py.typed").touch()
    assert source_digest(tmp_path) == seen[-1]


def test_sources_that_decide_no_row_may_change_under_a_run(tmp_path: Path) -> None:
    gadask = Path(shutil.copytree(_HERE, tmp_path / "gadask", ignore=shutil.ignore_patterns("__pycache__", "*.so")))
    assert all((gadask / folder).is_dir() for folder in _ONLOOKERS)
    before = source_digest(gadask, _ONLOOKERS)
    for folder in _ONLOOKERS:
        (gadask / folder / "new.py").write_text("x = 1\n")
    assert source_digest(gadask, _ONLOOKERS) == before
    (gadask / "policies" / "new.py").write_text("x = 1\n")
    assert source_digest(gadask, _ONLOOKERS) != before
    assert before in code()


def test_nothing_that_plays_imports_what_decides_no_row() -> None:
    heard = "sorted({name.split('.')[1] for name in sys.modules if name.startswith('gadask.')} & set(_ONLOOKERS))"
    for module in ("gadask.node.forkserver", "gadask.node.player", "gadask.play", "gadask.envs", "gadask.policies"):
        program = f"import sys, {module}; from gadask.record.provenance import _ONLOOKERS; print({heard})"
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert result.stdout == "[]\n", module


def test_provenance_imports_nothing_heavy() -> None:
    code = (
        "import sys; from gadask.record.provenance import provenance; provenance('');"
        " print(sys.modules.keys() & {'torch', 'numpy', 'dask'})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
