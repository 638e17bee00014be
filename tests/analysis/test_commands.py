"""What the commands of analysis have in common."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis import pictures
from gadask.analysis import curves, film, learning_curve, length_bias, lineage, raster, report, scores
from gadask.analysis.command import run_command

ROOT = Path(__file__).parents[2]
COMMANDS = {
    learning_curve: "png",
    film: "gif",
    curves: "html",
    length_bias: "html",
    lineage: "html",
    raster: "html",
    report: "html",
    scores: "csv",
}


@pytest.mark.parametrize(("command", "suffix"), COMMANDS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_they_print_the_file_they_wrote_and_say_in_one_line_what_is_wrong(
    command: Any, suffix: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"out.{suffix}"
    options = ["--no-film"] if command is report else []
    assert command.main([str(run), "--out", str(path), *options]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert path.stat().st_size > 20

    assert command.main([str(tmp_path / "missing")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"error: {tmp_path / 'missing'}: ")
    assert output.err.count("\n") == 1

    assert command.main([str(run), "--out", str(tmp_path / "no" / f"out.{suffix}"), *options]) == 1
    assert command.main([str(run), "--out", str(tmp_path / "out.jpg")]) == 2
    assert "expected a name that ends in" in capsys.readouterr().err


@pytest.mark.parametrize("command", [report, pictures], ids=lambda command: command.__name__)  # they import the others
def test_they_run_as_scripts_from_anywhere(command: Any, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "analysis" / f"{command.__name__.rpartition('.')[2]}.py"), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "--out" in result.stdout


def test_an_interrupt_ends_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> Path:
        raise KeyboardInterrupt

    assert run_command(interrupted) == 130
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = "from gadask.analysis.command import run_command; run_command(lambda: print('many words ' * 100_000))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.read(4) == "many"
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert errors == ""
    assert process.returncode == 0


def test_a_damaged_log_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = run / "generations.jsonl"
    log.write_bytes(b"{" + log.read_bytes()[5:])
    for command in (curves, lineage, raster, report):
        assert command.main([str(run)]) == 1
        assert capsys.readouterr().err.count("\n") == 1
