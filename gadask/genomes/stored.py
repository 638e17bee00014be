"""What genomes name and a run directory holds: anchors and updates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gadask.genomes import anchors, updates
from gadask.genomes.genome import Genome, is_update, stored_parts
from gadask.genomes.updates import Summands, read_update, summands_of

FOLDERS = anchors.FOLDER, updates.FOLDER


def stored_path(run_dir: Path | str, part: str) -> Path:
    """Return the file with the content of a genome's part that is an anchor or an update."""
    if is_update(part):
        return updates.update_path(Path(run_dir) / updates.FOLDER, part)
    return anchors.anchor_path(Path(run_dir) / anchors.FOLDER, part)


def read_updates(
    run_dir: Path | str, genome: Genome, genes_of: Callable[[int, int], NDArray[np.int64]]
) -> dict[str, Summands]:
    """Return the updates among a genome's parts, by name; `genes_of` as for `summands_of`.

    Raises `GenomeError` where one is missing or damaged.
    """
    return {
        part: summands_of(read_update(Path(run_dir) / updates.FOLDER, part), genes_of)
        for part in stored_parts(genome)
        if is_update(part)
    }
