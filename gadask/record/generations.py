"""The generation log: one line of JSON a generation, readable with any JSON reader.

A genome grows by one index a generation, but most of what a generation's genomes hold is the same: all descend from one
ancestor some tens of generations back. Written whole, the parents and candidates of 1,000 generations take 150 MB. So
the file holds what they all begin with once a line, as `trunk`, and of each parent and candidate only its branch:

    genome = trunk + "-" + branch        (the trunk alone where the branch is empty, the branch alone without a trunk)

The elite's genome stands whole. Everywhere but in the file genomes are whole: `read_generations` joins them again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from gadask.algorithms.algorithm import Json
from gadask.errors import RecordError
from gadask.genomes.genome import Genome, split_text, to_text
from gadask.observations import Normaliser
from gadask.record import files
from gadask.record.checkpoint import strict_json

UNKNOWN_CPU = "unknown"
"""Stands for the processor of a node that had not been met when its episodes came."""
LOG = "generations.jsonl"
"""The log's name in the run directory."""


def encode_line(line: Json) -> bytes:
    """Return a line of the log, as `summary.log_line` makes it, as it stands in the file.

    Raises `TypeError` or `ValueError` where it is not strict JSON: no NaN, no infinities.
    """
    genes = [split_text(genome) for genome in _genomes(line)]
    if not genes:
        return strict_json(line)
    n_common = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*genes, strict=False)))
    short = _with_genomes(line, lambda text: "-".join(split_text(text)[n_common:]))
    return strict_json({**short, "trunk": "-".join(genes[0][:n_common])})


def decode_line(text: bytes) -> Json:
    """Return the line that `encode_line` was given; raises `ValueError` for anything else."""
    try:
        line = json.loads(text)
        trunk = line.pop("trunk", "")
        return _with_genomes(line, lambda branch: "-".join(filter(None, (trunk, branch))))
    except (AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ValueError(error) from None


def core_hours(run_dir: Path | str) -> float:
    """Return the core-hours that clusters charged for the run's closed generations; 0 where there is no log.

    What terminal, reports and summaries say. The elite's test, and a generation that was not closed, come on top.
    """
    # Runs from before gadask kept accounts have none.
    return sum((line["timing"].get("core_hours", 0.0) for line in read_generations(run_dir)), 0.0)


def cpu_shares(run_dir: Path | str) -> str:
    """Return the share of a run's episodes that each type of processor played, in words; empty where there is one."""
    played: Counter[str] = Counter()
    for line in read_generations(run_dir):
        played.update(line["timing"].get("cpus", {}))  # runs from before it was counted have none
    shares = (f"{n / played.total():.1%} on {cpu}" for cpu, n in played.most_common())
    return "; ".join(shares) if len(played.keys() - {UNKNOWN_CPU}) > 1 else ""


def frames_played(line: Mapping[str, Any]) -> int:
    """Return how many frames were played in a generation, given its line of the log; what a speed is a measure of.

    `line["frames"]` also has those of episodes that were filled in; runs of earlier versions played all.
    """
    return int(line["timing"].get("played", line)["frames"])


def read_generations(path: Path | str) -> Iterator[Json]:
    """Yield the lines of a run directory's log, oldest first, up to a torn last line.

    Raises:
        RecordError: a line is damaged.
    """
    log = Path(path) / LOG
    for number, text in enumerate((files.read(log) or b"").split(b"\n")[:-1], start=1):
        try:
            line = decode_line(text)
        except ValueError:
            raise RecordError(f"{log}: line {number} is damaged: expected JSON; restore the file from a copy") from None
        yield line


def read_normaliser(path: Path | str, genome: Genome = ()) -> Normaliser | None:
    """Return how observations were normalised when `genome` was last crowned; else, in the last generation.

    Raises:
        RecordError: a line is damaged.
    """
    text = to_text(genome)
    normalisers, generation = [], -1
    for line in read_generations(path):
        normalisers.append(line.get("normaliser"))
        if line["elite"] is not None and line["elite"]["genome"] == text:
            generation = line["elite"]["generation"]
    return Normaliser.from_json(normalisers[generation]) if normalisers else None


def _genomes(line: Json) -> list[str]:
    return [*line.get("parents", ()), *(candidate["genome"] for candidate in line.get("candidates", ()))]


def _with_genomes(line: Json, change: Callable[[str], str]) -> Json:
    """Return the line with its parents and candidates changed."""
    changed = dict(line)
    if "parents" in line:
        changed["parents"] = [change(genome) for genome in line["parents"]]
    if "candidates" in line:
        changed["candidates"] = [{**one, "genome": change(one["genome"])} for one in line["candidates"]]
    return changed
