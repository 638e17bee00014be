"""Scalars for TensorBoard, written while runs evolve: `tensorboard --logdir RUN_DIR`, or the folder of many runs.

The x axis is frames; a point's time is hours of evolution. A run's event file is in `RUN_DIR/tensorboard` and holds
what the generation log does: it is written anew from the log when a run is started, so that a resumed run goes on where
its log does, without gaps or doubled points. Scalars are a view of the log; failing to write them does not stop a run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gadask.errors import UsageError
from gadask.record.generations import frames_played, read_generations

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from gadask.master.generation import Generation

FOLDER = "tensorboard"
"""The event file's folder in the run directory."""

_MAX_FLOAT32 = 3.4e38
_logger = logging.getLogger(__name__)


class ScalarWriter:
    """Writes the scalars of any number of runs: call `close_generation` for every generation that is closed."""

    def __init__(self) -> None:
        """Write nothing yet.

        Raises:
            UsageError: the package tensorboard is missing.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                f"--tensorboard: expected the package tensorboard, found none that can be imported ({error}); install"
                " it with: pip install tensorboard"
            ) from None
        self._make = SummaryWriter
        self._writers: dict[Path, SummaryWriter | None] = {}
        self._began_at: dict[Path, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for writer in filter(None, self._writers.values()):
            writer.close()

    def close_generation(self, run_dir: Path, generation: Generation) -> None:
        """Write the scalars of a recorded generation; the first call for a run writes those before as well."""
        try:
            if run_dir not in self._writers:
                self._writers[run_dir] = None
                self._began_at[run_dir] = time.time() - generation.state.elapsed_s
                self._writers[run_dir] = self._open(run_dir)
            elif (writer := self._writers[run_dir]) is not None:
                self._write(run_dir, writer, generation.line)
                writer.flush()
        except OSError as error:
            self._writers[run_dir] = None
            _logger.warning("%s: no scalars from now on: %s", run_dir / FOLDER, error.strerror or error)

    def _open(self, run_dir: Path) -> SummaryWriter:
        """Write an event file of what the log holds, in place of earlier ones."""
        folder = run_dir / FOLDER
        for earlier in folder.glob("events.out.tfevents.*"):
            earlier.unlink()
        # A TensorBoard that has the earlier file open is told to forget its points.
        writer = self._make(str(folder), purge_step=0)
        for line in read_generations(run_dir):
            self._write(run_dir, writer, line)
        writer.flush()
        return writer

    def _write(self, run_dir: Path, writer: SummaryWriter, line: Mapping[str, Any]) -> None:
        time_s = self._began_at[run_dir] + line["timing"]["elapsed_s"]
        for name, value in scalars(line).items():
            writer.add_scalar(name, value, line["total"]["frames"], time_s)


def scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the scalars of a generation, given its line of the log; what it does not have, or no float32, is left out.

    Returns: `elite/mean`, and by quantile `children/0` to `children/1`. Mean length of children's episodes in agent
    steps: `episode_length/counted` and `…/all`. `speed/frames_per_s` and `speed/frames_per_s_of_a_process`, of
    frames that were played; `process_time/busy_share`.
    """
    timing, elite = line["timing"], line["elite"] or {}
    rate = frames_played(line) / timing["wall_s"] if timing["wall_s"] else None
    found = {
        "elite/mean": elite.get("mean"),
        **{f"children/{quantile}": value for quantile, value in line["children"]["quantiles"].items()},
        **{f"episode_length/{which}": line["lengths"][which]["mean"] for which in ("counted", "all")},
        "speed/frames_per_s": rate,
        "speed/frames_per_s_of_a_process": rate and rate / max(1, timing["processes"]),
        "process_time/busy_share": timing["busy_share"],
    }
    return {name: value for name, value in found.items() if value is not None and abs(value) <= _MAX_FLOAT32}
