"""The elite's film for a report: RUN_DIR/elite.gif where it shows the present elite, else one that is made.

It is played in its own process, with the environment that rollout processes have: that may hang, and start its own
processes.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gadask.analysis.runs import Run
from gadask.imports import own_command
from gadask.numerics import numeric_environment
from gadask.record import files


@dataclass(frozen=True)
class EliteFilm:
    """A GIF, or why there is none."""

    content: bytes | None
    caption: str
    """Which episode it shows; without a film the reason."""


def elite_film(run: Run, timeout_s: float) -> EliteFilm:
    """Return the film of a run's last elite; making it may take `timeout_s`."""
    content = files.read(run.path / "elite.gif")
    crowned = run.generations["elite_generation"].iloc[-1]
    if content is None or f"elite of generation {crowned},".encode() not in content:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "elite.gif"
            reason = _film(run, path, timeout_s)
            content = files.read(path)
        if content is None:
            return EliteFilm(None, f"No film: {reason}")
    about = content[content.index(b"elite of generation") :].partition(b"\0")[0].decode(errors="replace")
    return EliteFilm(content, about)


def _film(run: Run, path: Path, timeout_s: float) -> str:
    """Film the elite; returns why that did not work."""
    command = own_command("gadask.guard", *own_command("gadask.__main__", "film", str(run.path), "--out", str(path)))
    environ = numeric_environment()
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            errors = process.communicate(timeout=timeout_s)[1]
        except subprocess.TimeoutExpired:
            return f"it would take more than {timeout_s:g} s"
        finally:
            process.terminate()  # the guard ends what is below it
    return errors.strip().rpartition("\n")[2].removeprefix("error: ")
