"""Evolution and sweeps below a notebook's cell: they show how they stand, can be interrupted and run again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from gadask.clusters.base import Cluster
from gadask.config import Config, Scalar
from gadask.errors import EvolutionError, Interrupted, UsageError
from gadask.face.evolution import evolve
from gadask.face.runs import Run, open_run
from gadask.face.studies import Study, open_study
from gadask.record.directory import holds_run
from gadask.sweeps.study import grid_runs, load_study
from gadask.sweeps.sweep import Sweep
from gadask.threads import in_thread
from gadask.units import many

_AGAIN = "run this cell again to go on"


async def watch(
    config: Config,
    cluster: Cluster,
    run_dir: Path | str,
    *,
    n_processes: int | None = None,
    node_timeout_s: float | None = None,
) -> Run:
    """Evolve, or go on where `run_dir` stands, below a notebook's cell; returns the run when its budget is reached.

    The cell shows a bar with what is left, and the learning curve, both replaced while the run goes on. The kernel's
    interrupt, or a task that is cancelled, ends it at the last closed generation; the cluster stays open, and the same
    cell resumes the run, which ends with the same result. Arguments are those of `evolve`, which a script uses instead.

    Raises:
        Interrupted: the kernel was interrupted; its text says how to go on.
        UsageError: there is no IPython here, or as `evolve`.
        EvolutionError, ClusterError, NodeError, RecordError: as `evolve`.

    Example:
        >>> import asyncio
        >>> import gadask
        >>> config = gadask.load_config("cartpole")
        >>> async def cell():
        ...     async with gadask.cluster("local") as cluster:
        ...         return await gadask.watch(config, cluster, "runs/watched")
        >>> asyncio.run(cell()).elite.mean >= 490  # where the config's budget ends
        True
    """
    await _import("watch", "gadask.analysis.live")
    from gadask.analysis.live import LiveCurve

    generations = evolve(
        config,
        cluster,
        run_dir,
        resume=holds_run(run_dir),
        n_processes=n_processes,
        node_timeout_s=node_timeout_s,
        on_progress=(live := LiveCurve(config, run_dir)).update,
    )
    with _interruptible(f"{run_dir} holds everything up to the last closed generation"), live:
        async with aclosing(generations):
            async for generation in generations:
                live.close_generation(generation)
    return open_run(run_dir)


async def sweep(
    study: Config | Path | str,
    cluster: Cluster,
    study_dir: Path | str,
    *,
    grid: Mapping[str, Sequence[Scalar]] | None = None,
    max_parallel: int = 8,
    n_processes: int | None = None,
    node_timeout_s: float | None = None,
) -> Study:
    """Play a study, or go on with it, below a notebook's cell; returns it when all its runs are finished.

    `study` is a study file, or a config with `grid`: lists of values by dotted name, such as `env.id`, of which every
    combination is a run. At most `max_parallel` are played at the same time. The cell shows a bar with what is left,
    and a line for each run. The kernel's interrupt ends every run at its last closed generation, and the same cell goes
    on with those that are not finished.

    Raises:
        Interrupted: the kernel was interrupted; its text says how to go on.
        UsageError: study, config or directory cannot be used, or there is no IPython here; nothing was played.
        EvolutionError: some runs failed; the others are finished.
        ClusterError, NodeError: no node can be used, or the scheduler is lost.

    Example:
        >>> import asyncio
        >>> import gadask
        >>> config = gadask.load_config("cartpole")
        >>> async def cell():
        ...     async with gadask.cluster("local") as cluster:
        ...         return await gadask.sweep(config, cluster, "runs/seeds", grid={"seed": [0, 1]})
        >>> len(asyncio.run(cell()).runs)
        2
    """
    await _import("sweep", "gadask.analysis.live_study")
    from gadask.analysis.live_study import LiveStudy

    if isinstance(study, Config) != (grid is not None):
        raise UsageError(
            "grid: expected with a config, such as grid={'seed': [0, 1]}, and without it for a study file, found"
            f" {'a config alone' if grid is None else 'a grid with a file'}"
        )
    if max_parallel < 1:
        raise UsageError(f"max_parallel: expected at least 1, found {max_parallel}")
    runs = load_study(study) if not isinstance(study, Config) else grid_runs(study, grid or {})
    played = await in_thread(lambda: Sweep(runs, Path(study_dir)))  # it plays a first episode of each task
    with played.locked_directory(), _interruptible(f"every run is at its last closed generation in {study_dir}"):
        async with LiveStudy(played):
            await played.play(
                cluster,
                max_parallel=max_parallel,
                n_processes=n_processes or cluster.n_processes,
                node_timeout_s=node_timeout_s or cluster.node_timeout_s,
            )
    failed = [run for run in played.runs if run.status == "failed"]
    if failed:
        raise EvolutionError(
            f"{len(failed)} of {many(len(played.runs), 'run')} failed, the first: {failed[0].name}: {failed[0].error};"
            f" {_AGAIN}"
        )
    return open_study(study_dir)


@contextmanager
def _interruptible(standing: str) -> Iterator[None]:
    """Turn what an interrupt cancels into one line that says how it stands and how to go on."""
    try:
        yield
    except asyncio.CancelledError:
        raise Interrupted(f"interrupted; {standing}; {_AGAIN}") from None


async def _import(name: str, module: str) -> None:
    """Import what `name` shows with; it takes seconds, in which nodes want to hear from a scheduler in this process."""
    if find_spec("IPython") is None:
        raise UsageError(
            f"gadask.{name}: expected IPython, as in a notebook, found none; pip install 'gadask[notebook]'"
        )
    await in_thread(lambda: import_module(module))
