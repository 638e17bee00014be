"""Fault 15: a pickle in the place of a file."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gadask.errors import RecordError
from gadask.record.directory import RunDirectory, read_episodes, read_generations, read_run
from tests.faults.recorded_runs import CONFIG, LAST, state_after


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.file), "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_in_place_of_a_file_is_refused_and_not_run(run: Path, tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    payload = pickle.dumps(Payload(canary), protocol)
    (run / "checkpoint.json").write_bytes(payload)
    assert read_run(run) == (CONFIG, state_after(LAST - 1))
    (run / "checkpoint.previous.json").write_bytes(payload)
    with pytest.raises(RecordError, match=r"checkpoint\.json: not a JSON document"):
        RunDirectory.resume(run)
    for name in ("episodes/000000.parquet", "generations.jsonl"):
        (run / name).write_bytes(payload + b"\n")
    with pytest.raises(RecordError, match="damaged"):
        read_episodes(run, 0)
    with pytest.raises(RecordError, match="damaged"):
        list(read_generations(run))
    assert not canary.exists()
    pickle.loads(payload).close()
    assert canary.exists()  # the payload works
