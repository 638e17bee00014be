"""Fault 8: checkpoints, logs and episodes that were cut or changed."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.algorithms import make_algorithm
from gadask.errors import RecordError
from gadask.record.checkpoint import Checkpoint, decode, encode
from gadask.record.directory import RunDirectory, read_episodes, read_generations, read_run
from tests.faults.recorded_runs import CONFIG, LAST, contents, evolve, state_after, table


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_a_checkpoint_cut_at_any_byte_falls_back_to_the_one_before(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = run / "checkpoint.json"
    content = file.read_bytes()
    for size in range(len(content) - 1):  # the last byte is the end of the line
        with pytest.raises(RecordError):
            decode(content[:size])
    for size in (0, 1, len(content) // 2, len(content) - 2):
        file.write_bytes(content[:size])
        caplog.clear()
        assert read_run(run) == (CONFIG, state_after(LAST - 1))
        assert f"{file}: " in caplog.text
        assert f"going on from checkpoint.previous.json (generation {LAST - 1})" in caplog.text
    assert decode(content[:-1]) == decode(content)


def test_a_flipped_bit_is_never_another_state(run: Path) -> None:
    content = (run / "checkpoint.json").read_bytes()
    whole = decode(content)
    refused = 0
    for bit in range(8 * len(content)):
        try:
            assert decode(flipped(content, bit)) == whole
        except RecordError:
            refused += 1
    assert refused > 0.99 * 8 * len(content)


@given(st.binary(max_size=64) | st.recursive(st.none() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(RecordError):
        decode(content)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("generation", True),
        ("generation", -2),
        ("generation", "3"),
        ("frames", 1.0),
        ("steps", -1),
        ("episodes", None),
        ("algorithm", None),
        ("algorithm", {}),
        ("algorithm", {"parents": [], "elite": None, "more": 1}),
        ("algorithm", {"parents": [[1.0]], "elite": None}),
        ("algorithm", {"parents": [[]], "elite": None}),
        ("algorithm", {"parents": [[True]], "elite": None}),
        ("algorithm", {"parents": {}, "elite": None}),
        ("algorithm", {"parents": [], "elite": {}}),
        ("candidates", [1]),
        ("elite", {}),
        ("elite", {"genome": [1], "mean": "1", "episodes": 1, "generation": 1}),
        ("elite", {"genome": [1], "mean": True, "episodes": 1, "generation": 1}),
        ("noise_digest", 1),
        ("config", "seed = -1"),
        ("config", "seed = "),
        ("log", {}),
        ("log", {"size_bytes": True, "sha256": ""}),
        ("timing", {"elapsed_s": None}),
        ("format", 1),
        ("format", 3),
        ("more", 1),
    ],
)
def test_types_are_strict_even_under_a_right_checksum(key: str, value: object) -> None:
    body = json.loads(encode(Checkpoint(state_after(0), CONFIG, 0, ""))) | {key: value}
    with pytest.raises(RecordError, match=r"expected|config: "):
        read_algorithm(resealed(body))


def read_algorithm(content: bytes) -> object:
    """Return the state of the algorithm that a checkpoint holds; only the algorithm knows what that may be."""
    return make_algorithm(CONFIG).from_json(decode(content).state.algorithm)


def resealed(body: dict[str, Any]) -> bytes:
    del body["sha256"]
    from gadask.record import checkpoint  # the one place that may know how a checksum is made

    return checkpoint.strict_json(body | {"sha256": checkpoint._checksum(body)})


def test_a_log_cut_at_any_byte_falls_back_or_is_refused(run: Path) -> None:
    file = run / "generations.jsonl"
    content = file.read_bytes()
    before_last = len(content) - len(content.splitlines(keepends=True)[-1])
    for size in range(len(content)):
        file.write_bytes(content[:size])
        if size >= before_last:
            assert read_run(run) == (CONFIG, state_after(LAST - 1))
        else:
            with pytest.raises(
                RecordError, match=r"generations\.jsonl is shorter than .*; restore one of them from a c"
            ):
                read_run(run)


def test_a_flipped_bit_in_the_log_falls_back_or_is_refused(run: Path) -> None:
    file = run / "generations.jsonl"
    content = file.read_bytes()
    before_last = len(content) - len(content.splitlines(keepends=True)[-1])
    for byte in range(len(content)):
        file.write_bytes(flipped(content, 8 * byte + byte % 8))
        if byte >= before_last:
            assert read_run(run) == (CONFIG, state_after(LAST - 1))
        else:
            with pytest.raises(RecordError, match=r"generations\.jsonl is damaged in the first"):
                read_run(run)


def test_a_run_goes_on_from_damage(run: Path, uninterrupted: Path) -> None:
    for name in ("checkpoint.json", "generations.jsonl"):
        content = (run / name).read_bytes()
        (run / name).write_bytes(flipped(content, 8 * len(content) - 20))
        RunDirectory.resume(run)[0].close()
        assert (run / "checkpoint.json").read_bytes() == (run / "checkpoint.previous.json").read_bytes()
        assert evolve(run).generation == LAST - 1
        assert contents(run) == contents(uninterrupted)
    (run / "checkpoint.json").unlink()
    assert evolve(run).generation == LAST - 1
    assert contents(run) == contents(uninterrupted)


def test_two_damaged_checkpoints_are_refused_and_nothing_is_changed(run: Path) -> None:
    for name in ("checkpoint.json", "checkpoint.previous.json"):
        (run / name).write_bytes(b"")
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != ".lock"}
    with pytest.raises(RecordError) as caught:
        RunDirectory.resume(run)
    assert str(caught.value) == (
        f"{run}/checkpoint.json: not a JSON document; {run}/checkpoint.previous.json: not a JSON document;"
        " restore one of them from a copy, or start a new run directory"
    )
    assert before == {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != ".lock"}


def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_a_damaged_one(run: Path) -> None:
    (run / "checkpoint.json").unlink()
    (run / "checkpoint.json").mkdir()
    with pytest.raises(RecordError, match=r"checkpoint\.json: cannot read it: Is a directory"):
        RunDirectory.resume(run)
    assert len(list(read_generations(run))) == LAST + 1


def test_a_log_cut_under_a_running_master_is_noticed(run: Path) -> None:
    directory, _ = RunDirectory.resume(run)
    with directory:
        (run / "generations.jsonl").write_bytes(b"")
        with pytest.raises(RecordError, match=r"generations\.jsonl: expected at least \d+ bytes, found 0; another pro"):
            directory.close_generation(table(LAST + 1), {}, state_after(LAST + 1))


def test_damaged_episodes_do_not_stop_a_run(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = run / "episodes" / "000001.parquet"
    file.write_bytes(file.read_bytes()[:-3])
    (run / "episodes" / "000000.parquet").unlink()
    with caplog.at_level(logging.WARNING):
        assert evolve(run, last=LAST + 1).generation == LAST
    assert caplog.text == ""
    with pytest.raises(RecordError, match=r"000001\.parquet: damaged: "):
        read_episodes(run, 1)


def test_a_torn_last_line_is_not_read_and_a_damaged_one_is_named(run: Path) -> None:
    file = run / "generations.jsonl"
    content = file.read_bytes()
    file.write_bytes(content + b'{"generation": 9')
    assert len(list(read_generations(run))) == LAST + 1
    file.write_bytes(content[1:])
    with pytest.raises(RecordError, match=r"generations\.jsonl: line 1 is damaged"):
        list(read_generations(run))
