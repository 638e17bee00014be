"""What must hold for a run that has finished, however it was disturbed, and for the machine once all runs have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from gadask.algorithms.algorithm import Scored
from gadask.algorithms.elites import exact_mean
from gadask.config import Config
from gadask.errors import GadaskError
from gadask.genomes.genome import Genome, from_text, to_text
from gadask.record import files
from gadask.record.directory import State, read_episodes, read_generations, read_run, without_wall_clock
from gadask.record.episodes import WALL_CLOCK_COLUMNS
from tests.chaos.promises import BrokenError
from tests.generations import bases_of, candidates_of, close_generation, first_state

_PLACE = ["generation", "kind", "slot", "episode"]


def check_run(run_dir: Path, n_starts: int) -> None:
    """Raise `BrokenError` unless log, episodes and checkpoint of a finished run agree and nothing else is left."""
    try:
        config, state = read_run(run_dir)
        lines = list(read_generations(run_dir))
        tables = [read_episodes(run_dir, number).to_pandas() for number in range(len(lines))]
    except GadaskError as error:
        raise BrokenError(f"{run_dir.name} cannot be read: {error}") from error
    _expect(run_dir, "generations in the log", [line["generation"] for line in lines], list(range(len(lines))))
    _expect(run_dir, "generations", len(lines), config.budget.generations)
    _expect(run_dir, "the checkpoint's generation", state.generation, len(lines) - 1)
    total = {"frames": state.frames, "steps": state.steps, "episodes": state.episodes}
    _expect(run_dir, "the log's totals, by the checkpoint", lines[-1]["total"], total)
    names = sorted(path.name for path in (run_dir / "episodes").iterdir())
    _expect(run_dir, "files of episodes", names, [f"{number:06d}.parquet" for number in range(len(lines))])
    _check_rows(run_dir, config, tables)
    _check_selection(run_dir, config, lines, tables, state)
    n_entries = len(json.loads((run_dir / "provenance.json").read_text()))
    if not 1 <= n_entries <= n_starts:
        raise BrokenError(f"{run_dir.name}: {n_entries} entries of provenance after {n_starts} starts")
    left = [path for folder in (run_dir, run_dir / "episodes") for path in files.temporary_files(folder)]
    _expect(run_dir, "temporary files", left, [])
    try:
        files.FileLock(run_dir / ".lock").release()
    except GadaskError as error:
        raise BrokenError(f"{run_dir.name}: its lock is still held: {error}") from None


def check_equal(run_dir: Path, undisturbed: Path) -> None:
    """Raise `BrokenError` unless two runs have the same log, checkpoint and counted episodes, but for times."""
    pairs = zip(read_generations(run_dir), read_generations(undisturbed), strict=True)
    for number, (line, expected) in enumerate(pairs):
        for key, value in without_wall_clock(expected).items():
            _expect(run_dir, f"{key} of generation {number}, undisturbed", line[key], value)
        columns = [column for column in read_episodes(run_dir, number).column_names if column not in WALL_CLOCK_COLUMNS]
        both = [read_episodes(path, number).to_pandas().query("counted")[columns] for path in (run_dir, undisturbed)]
        rows, others = (table.astype(str).reset_index(drop=True) for table in both)
        differing = rows.compare(others) if rows.shape == others.shape else f"{rows.shape} and {others.shape}"
        if len(differing):
            raise BrokenError(
                f"{run_dir.name}: rows of generation {number} differ from the undisturbed run's:\n{differing}"
            )
    documents = [json.loads((path / "checkpoint.json").read_text()) for path in (run_dir, undisturbed)]
    found, wanted = (without_wall_clock(document) for document in documents)
    for document in (found, wanted):
        document.pop("sha256", None)
        document.pop("log", None)  # its size and hash, timing included
    _expect(run_dir, "the checkpoint, undisturbed", found, wanted)


def count_failures(run_dir: Path) -> dict[str, int]:
    """Return how many counted episodes failed, by status."""
    counts: dict[str, int] = {}
    for line in read_generations(run_dir):
        for status, n in line["failed"].items():
            counts[status] = counts.get(status, 0) + n
    return {status: n for status, n in counts.items() if n}


def _check_rows(run_dir: Path, config: Config, tables: list[pd.DataFrame]) -> None:
    """Every episode counts once over the whole run; what came twice was the same; a generation has all of its own."""
    counted = pd.concat([table[table.counted] for table in tables])
    twice = counted[counted.duplicated(_PLACE, keep=False)]
    if len(twice):
        raise BrokenError(f"{run_dir.name}: episodes that count more than once:\n{twice}")
    played = pd.concat(tables)
    played = played[played.status == "ok"]
    differing = played.groupby(_PLACE, observed=True)[["return", "steps", "gene"]].nunique().max(axis=1)
    if (differing > 1).any():
        raise BrokenError(f"{run_dir.name}: episodes with two results:\n{differing[differing > 1]}")
    settings = config.generation
    for number, table in enumerate(tables):
        children = table[table.counted & (table.kind == "child")]
        n_episodes = settings.population * settings.episodes_per_child
        _expect(run_dir, f"children of generation {number}", len(children), n_episodes)
        if settings.closing == "all":
            slots = sorted(set(children.slot))
            _expect(run_dir, f"slots of generation {number}", slots, list(range(settings.population)))
            extra = table[~table.counted & ~table.duplicated(_PLACE, keep=False)]
            _expect(run_dir, f"uncounted rows of generation {number}", len(extra), 0)
        evaluations = table[table.counted & (table.kind == "evaluation")]
        has_none = settings.elite_evaluation == "overlapped" and number == 0
        expected = 0 if has_none else settings.candidates * settings.candidate_episodes
        _expect(run_dir, f"evaluations of generation {number}", len(evaluations), expected)


def _check_selection(
    run_dir: Path, config: Config, lines: list[dict[str, Any]], tables: list[pd.DataFrame], last: State
) -> None:
    """What each generation is played from follows from the episodes of the one before, by the rules of selection."""
    state = first_state(config)
    for number, (line, table) in enumerate(zip(lines, tables, strict=True)):
        parents = [to_text(genome) for genome in bases_of(config, state)]
        _expect(run_dir, f"parents of generation {number}", line["parents"], parents)
        children = _children(config, lines, table)
        evaluations: dict[int, list[float]] = {}
        rows = table[table.counted & (table.kind == "evaluation") & (table.status == "ok")]
        for _, row in rows.sort_values(["slot", "episode"]).iterrows():
            evaluations.setdefault(int(row.slot), []).append(float(row["return"]))
        candidates = [to_text(genome) for genome in candidates_of(config, state, children)]
        found = [candidate["genome"] for candidate in line["candidates"]]
        _expect(run_dir, f"candidates of generation {number}", found, candidates)
        state = close_generation(config, state, children, evaluations)
        elite = state.elite
        found_elite = line["elite"] and (line["elite"]["genome"], line["elite"]["mean"])
        _expect(run_dir, f"elite of generation {number}", found_elite, elite and (to_text(elite.genome), elite.mean))
    for name in ("algorithm", "candidates", "elite"):
        _expect(run_dir, f"the checkpoint's {name}", getattr(last, name), getattr(state, name))


def _children(config: Config, lines: list[dict[str, Any]], table: pd.DataFrame) -> list[Scored]:
    """Return the children that selection saw: counted, with all of their episodes ended well."""
    rows = table[table.counted & (table.kind == "child") & (table.status == "ok")]
    children = []
    for (generation, slot), episodes in rows.groupby(["generation", "slot"]):
        if len(episodes) < config.generation.episodes_per_child:
            continue
        first = episodes.iloc[0]
        parents = lines[int(generation)]["parents"]
        parent: Genome = from_text(parents[first.parent]) if first.parent >= 0 else ()
        mean = exact_mean(episodes.sort_values("episode")["return"].tolist())
        assert mean is not None
        children.append(Scored(parent, int(first.gene), mean, int(slot)))
    return children


def _expect(run_dir: Path, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise BrokenError(f"{run_dir.name}: {what}: expected {str(expected)[:2000]}, found {str(found)[:2000]}")
