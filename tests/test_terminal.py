"""Output that cannot be written, or not as it is, ends nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PRINTS = """
import sys
from gadask.terminal import outlive_terminal
outlive_terminal()
for number in range(3000):
    print("3 × 4 ± 1 … – ⏳", number, "a file's name: \\udcff", flush=number % 2 == 0)
    print("a warning", file=sys.stderr)
open(sys.argv[1], "w").write("done")
"""

END = "from gadask.console.leaving import leave; leave(0)"


def prints(tmp_path: Path, encoding: str = "utf-8", **options: object) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", PRINTS + END, str(tmp_path / "done")]
    return subprocess.Popen(command, env=environ, **options)  # type: ignore[call-overload,no-any-return]


def test_a_full_disk(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full, prints(tmp_path, stdout=full, stderr=full) as process:
        assert process.wait(60) == 0
    assert (tmp_path / "done").exists()


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    with prints(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 0
    assert (tmp_path / "done").exists()


def test_descriptors_that_are_closed(tmp_path: Path) -> None:
    def close() -> None:
        os.closerange(0, 3)

    with prints(tmp_path, preexec_fn=close) as process:
        assert process.wait(60) == 0
    assert (tmp_path / "done").read_text() == "done"  # no print went into the file


def test_a_pipe_that_is_not_ready(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader, "rb") as output, prints(tmp_path, stdout=writer, stderr=subprocess.DEVNULL) as process:
        os.close(writer)
        assert len(output.read().splitlines()) == 3000
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("encoding", "begin"),
    [
        ("ascii", "3 x 4 +- 1 ... - ? 0".encode),
        ("latin-1", lambda: "3 × 4 ± 1 ... - ? 0".encode("latin-1")),
        ("utf-8", lambda: "3 × 4 ± 1 … – ⏳ 0".encode()),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, begin: Callable[[], bytes]) -> None:
    with prints(tmp_path, encoding, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        assert process.wait(60) == 0
    assert output.splitlines()[0] == begin() + b" a file's name: \xff"
