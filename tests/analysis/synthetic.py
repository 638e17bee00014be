"""Run directories of any size without playing: invented returns that are inherited."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood
from gadask.config import Config, config_from_dict, dump_config
from gadask.genomes.genome import Genome
from gadask.master.ledger import Ledger, Quota
from gadask.master.summary import Timing, log_line
from gadask.messages import Kind
from gadask.record import files
from gadask.record.checkpoint import Checkpoint, encode
from gadask.record.episodes import episode_table, episodes_path, to_parquet
from gadask.record.generations import encode_line
from gadask.rows import ROW
from tests.generations import bases_of, candidates_of, close_generation, evaluated_of, first_state
from tests.genomes import child_genome, scored


def synthetic_config(population: int, seed: int = 0, noise_size: int = 250_000_000, **generation: object) -> Config:
    """Return the config that `write_run` pretends to have run."""
    return config_from_dict(
        {
            "seed": seed,
            "env": {"id": "CartPole-v1"},
            "policy": {"kind": "mlp"},
            "noise": {"size": noise_size},
            "generation": {"population": population, "candidates": 10, **generation},
            "ga": {"parents": min(20, population)},
        }
    )


def write_run(
    path: Path, config: Config, n_generations: int, n_nodes: int = 2, n_processes: int = 4, step_s: float = 0.001
) -> Path:
    """Write a run directory of `n_generations` as the master would have left it."""
    rng = np.random.default_rng(config.seed)
    settings, state = config.generation, first_state(config)
    frames_per_step = 4 if config.env.id.startswith("ALE/") else 1
    quality: dict[Genome, float] = {}
    path.mkdir(parents=True)
    (path / "episodes").mkdir()
    files.atomic_write(path / "config.toml", dump_config(config).encode())
    digest, size_bytes, now_s = hashlib.sha256(), 0, 1.8e9
    with (path / "generations.jsonl").open("wb") as log:
        for generation in range(n_generations):
            bases, n = bases_of(config, state), settings.population
            parent = rng.integers(len(bases), size=n) if bases else np.full(n, -1)
            gene = rng.integers(config.noise.size // 2, size=n)
            genomes = [child_genome(bases, *pair) for pair in zip(parent.tolist(), gene.tolist(), strict=True)]
            inherited = np.array([quality[genome[:-1]] if len(genome) > 1 else 0.0 for genome in genomes])
            own = inherited + rng.normal(-1.5, 0.8, n) if bases else rng.normal(5.0, 2.0, n)
            children = _rows(generation, Kind.CHILD, np.arange(n), np.zeros(n, np.int64), own, rng)
            ranked = [
                scored(genome, score, slot)
                for slot, (genome, score) in enumerate(zip(genomes, children["return"].tolist(), strict=True))
            ]
            candidates = candidates_of(config, state, ranked)
            known = quality | dict(zip(genomes, own.tolist(), strict=True))
            slots, episodes = (part.ravel() for part in np.mgrid[: len(candidates), : settings.candidate_episodes])
            means = np.array([known[genome] for genome in candidates])
            again = _rows(generation, Kind.EVALUATION, slots, episodes, means[slots], rng)
            evaluations = {slot: again["return"][slots == slot].tolist() for slot in range(len(candidates))}
            after = close_generation(config, state, ranked, evaluations)
            quality = {genome: known[genome] for genome in bases_of(config, after)}

            rows, process_busy = np.concatenate([children, again]), np.zeros(n_nodes * n_processes)
            rows["frames"] = frames_per_step * rows["steps"]
            rows["seconds"] = rows["steps"] * step_s
            place = np.zeros(len(rows), int)
            for start, stop in ((0, n), (n, len(rows))):
                process_busy[:] = process_busy.max()
                for i in range(start, stop):
                    place[i] = process_busy.argmin()
                    rows["start_s"][i] = now_s + process_busy[place[i]]
                    process_busy[place[i]] += rows["seconds"][i]
            rows["process"] = place % n_processes
            wall_s = float(process_busy.max()) + 0.05
            now_s += wall_s
            headings = np.zeros(len(rows), np.uint8)
            ledger = Ledger(Quota(generation, n))
            timing = Timing(
                wall_s, wall_s * len(process_busy), float(rows["seconds"].sum()), 0.0, n_nodes, len(process_busy)
            )
            brood = Brood(generation, bases, candidates)
            evaluated = evaluated_of(candidates, evaluations)
            line = log_line(brood, rows, headings, ranked, evaluated, after.elite, ledger, timing)
            steps = state.steps + int(rows["steps"].sum())
            state = replace(
                after,
                frames=frames_per_step * steps,
                steps=steps,
                episodes=state.episodes + len(rows),
                elapsed_s=state.elapsed_s + wall_s,
            )
            line["children"]["n"] = n
            line["total"] = {"frames": state.frames, "steps": steps, "episodes": state.episodes}
            line["timing"]["elapsed_s"] = state.elapsed_s
            text = encode_line({"generation": generation, **line})
            log.write(text)
            digest.update(text)
            size_bytes += len(text)
            table = episode_table(
                rows,
                parent=np.append(parent, np.full(len(again), -1)),
                gene=np.append(gene, np.full(len(again), -1)),
                weight=np.append(np.full(len(gene), config.ga.mutation_power), np.zeros(len(again))),
                node=[f"tls://10.0.0.{1 + node}:4000" for node in place // n_processes],
                counted=np.ones(len(rows), bool),
            )
            episodes_path(path, generation).write_bytes(to_parquet(table))
    files.atomic_write(path / "checkpoint.json", encode(Checkpoint(state, config, size_bytes, digest.hexdigest())))
    return path


def _rows(
    generation: int,
    kind: Kind,
    slots: NDArray[np.int64],
    episodes: NDArray[np.int64],
    quality: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.void]:
    rows = np.zeros(len(slots), ROW)
    rows["generation"], rows["kind"], rows["slot"], rows["episode"] = generation, kind, slots, episodes
    luck = rng.normal(0.0, 3.0, len(slots))
    rows["steps"] = np.clip(200 + 10 * (quality + luck) + 100 * rng.exponential(1.0, len(slots)), 20, 5000)
    rows["return"] = np.round(np.maximum(quality + luck, 0.0), 1)
    return rows
