"""Sweeps: the runs of a study, played together on one set of nodes.

Every run is its own `evolve` on the same client. While one waits for its last episodes the others fill the
processes, and each node gives them equal process time (`fairqueue.py`). A run that fails does not stop the others; what
is finished is not played again.
"""

from __future__ import annotations

import asyncio
import csv
import io
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

from distributed import Client

from gadask.clusters.base import Cluster
from gadask.errors import ClusterError, GadaskError, RecordError, RunDirectoryError
from gadask.master.budget import budget_reached
from gadask.master.dispatch import Dispatcher
from gadask.master.evaluate import evaluate_elite, needs_test, test_of
from gadask.master.evolve import evolve
from gadask.master.generation import Generation, Progress
from gadask.master.start import find_start
from gadask.master.task import prepare_task, prepare_tasks, what_is_played
from gadask.record import files
from gadask.record.directory import State, check_same_run, holds_run, read_run
from gadask.record.generations import core_hours
from gadask.sweeps.study import StudyRun

SUMMARY = "summary.csv"
"""One line per run, in the study's directory."""

Status = Literal["waiting", "running", "testing", "finished", "failed", "interrupted"]

_LOCK = ".lock"
_SHARE_COSTS_EVERY_S = 1.0
_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class SweptRun:
    """Where one run of a sweep stands."""

    study_run: StudyRun
    directory: Path
    status: Status = "waiting"
    state: State = field(default_factory=State)
    """After its last closed generation."""
    progress: Progress | None = None
    """In the middle of a generation."""
    test_mean: float | None = None
    """Mean return of its elite in its test."""
    core_hours: float = 0.0
    """Its part of what the cluster charged while its generations were played, over all restarts: runs that are played
    at the same time share equally."""
    error: str = ""
    """Why it failed, in one line."""

    @property
    def name(self) -> str:
        """Name of the run and its directory."""
        return self.study_run.name

    @property
    def elite_mean(self) -> float | None:
        """Mean return of its elite over the evaluation episodes."""
        elite = self.state.elite
        return None if elite is None else elite.mean


class Sweep:
    """All runs of a study, and how far each is."""

    def __init__(
        self,
        study_runs: Sequence[StudyRun],
        study_dir: Path,
        on_status: Callable[[SweptRun], None] = lambda run: None,
        on_generation: Callable[[SweptRun, Generation], None] = lambda run, generation: None,
    ) -> None:
        """Find out what earlier calls left to do; changes nothing.

        Raises `ConfigError`, `EnvError` or `PolicyError` for a run that no node could play, or whose directory holds
        another config.
        """
        self.study_dir = study_dir
        self.runs = [_found(run, study_dir / run.name) for run in study_runs]
        self.busy_share = math.nan
        """Share of all nodes' process time in which episodes were played, once `play` has returned."""
        self._on_status = on_status
        self._on_generation = on_generation
        self._charged: dict[str, float] = {}
        self._played_s = 0.0
        unlike = {what_is_played(run.config): run.config for run in study_runs}
        n_params = {what: task.n_params for what, task in zip(unlike, prepare_tasks(unlike.values()), strict=True)}
        for run in self.runs:
            if run.state.generation < 0:
                config = run.study_run.config
                find_start(config, n_params[what_is_played(config)])

    @property
    def unfinished(self) -> list[SweptRun]:
        """Runs that are still to be played or tested."""
        return [run for run in self.runs if run.status != "finished"]

    @contextmanager
    def locked_directory(self) -> Iterator[None]:
        """Make the study's directory, with its summary, and keep other masters out of it while the block runs.

        Raises `RunDirectoryError` if it cannot be made, or another master has it.
        """
        try:
            self.study_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(f"{self.study_dir}: cannot make the study's directory: {error.strerror}") from None
        lock = files.FileLock(self.study_dir / _LOCK, "study directory")
        try:
            try:
                self.write_summary()
            except RecordError as error:
                raise RunDirectoryError(str(error)) from None
            yield
        finally:
            lock.release()

    def write_summary(self) -> None:
        """Write one line per run to `summary.csv`; raises `RecordError` if that cannot be."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        fields = list(self.runs[0].study_run.fields)
        rows.writerow(
            ["run", *fields, "status", "generations", "frames", "elite_mean", "test_mean", "core_hours", "error"]
        )
        for run in self.runs:
            state = run.state
            rows.writerow(
                [
                    *(run.name, *run.study_run.fields.values(), run.status, state.generation + 1, state.frames),
                    *(run.elite_mean, run.test_mean, round(run.core_hours, 4), run.error),
                ]
            )
        files.atomic_write(self.study_dir / SUMMARY, text.getvalue().encode())

    async def play(
        self, cluster: Cluster, *, max_parallel: int, n_processes: int | None, node_timeout_s: float
    ) -> None:
        """Play all unfinished runs, at most `max_parallel` at a time, those first that come first in the study.

        Cancelling leaves every run at its last closed generation.

        Raises:
            ClusterError, NodeError: no node can be used, or the scheduler is lost.
        """
        digest = next((run.state.noise_digest for run in self.runs if run.state.noise_digest), None)
        task = prepare_task(self.runs[0].study_run.config)
        nodes = Dispatcher(cluster.client, task, n_processes, digest, node_timeout_s)
        try:
            await nodes.start()  # once for all runs: one noise table, one digest, one error if there is none
            nodes.take_process_seconds()
            costs = asyncio.create_task(self._share_costs(cluster))
            places = asyncio.Semaphore(max_parallel)
            options: _Options = {"n_processes": n_processes, "node_timeout_s": node_timeout_s}
            try:
                async with asyncio.TaskGroup() as group:
                    for run in self.unfinished:
                        group.create_task(self._play_when_free(run, places, nodes, cluster.client, options))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
            finally:
                costs.cancel()
                await asyncio.wait({costs})
            process_s = nodes.take_process_seconds()
            self.busy_share = self._played_s / process_s if process_s else math.nan
        finally:
            await nodes.close()

    async def _play_when_free(
        self, run: SweptRun, places: asyncio.Semaphore, nodes: Dispatcher, client: Client, options: _Options
    ) -> None:
        """Play one run to its end; its own failure is noted and goes no further."""
        async with places:
            try:
                self._set_status(run, "running")
                await self._evolve(run, nodes.digest, client, options)
                if _needs_test(run):
                    self._set_status(run, "testing")
                    await self._test(run, client, options)
                self._set_status(run, "finished")
            except asyncio.CancelledError:
                self._set_status(run, "interrupted")
                raise
            except Exception as error:  # a run that fails in an unforeseen way is no reason to stop the others either
                if not isinstance(error, GadaskError):
                    _logger.exception("%s failed", run.directory)
                run.error = " ".join(str(error).split()) or type(error).__name__
                self._set_status(run, "failed")
                if isinstance(error, ClusterError) and not (nodes.nodes and client.status == "running"):
                    raise
            finally:
                run.progress = None

    async def _evolve(self, run: SweptRun, digest: str | None, client: Client, options: _Options) -> None:
        def report(progress: Progress) -> None:
            run.progress = progress

        self._charged[run.name] = 0.0
        generations = evolve(
            run.study_run.config,
            client,
            run.directory,
            resume=holds_run(run.directory),
            noise_digest=digest,
            on_progress=report,
            core_hours=lambda: self._charged[run.name],
            **options,
        )
        async with aclosing(generations):
            async for generation in generations:
                run.state, run.progress = generation.state, None
                run.core_hours += generation.timing.core_hours
                self._played_s += generation.timing.busy_s + generation.timing.discarded_s
                self._on_generation(run, generation)

    async def _test(self, run: SweptRun, client: Client, options: _Options) -> None:
        config = run.study_run.config
        test = await evaluate_elite(config, client, run.directory, config.budget.test_episodes, **options)
        run.test_mean = test.mean
        self._played_s += test.process_s

    def _set_status(self, run: SweptRun, status: Status) -> None:
        run.status = status
        self._on_status(run)
        try:
            self.write_summary()
        except RecordError as error:
            _logger.warning("%s", error)

    async def _share_costs(self, cluster: Cluster) -> None:
        """Share what the cluster charges between the runs that are being played, until cancelled."""
        before = cluster.counts().core_hours
        while True:
            await asyncio.sleep(_SHARE_COSTS_EVERY_S)
            active = [run.name for run in self.runs if run.status in ("running", "testing")]
            now = cluster.counts().core_hours
            for name in active:
                self._charged[name] += (now - before) / len(active)
            before = now


class _Options(TypedDict):
    n_processes: int | None
    node_timeout_s: float


def _found(study_run: StudyRun, directory: Path) -> SweptRun:
    """Return a run as earlier calls left it."""
    run = SweptRun(study_run, directory)
    if not holds_run(directory):
        return run
    try:
        stored, run.state = read_run(directory)
        check_same_run(stored, study_run.config)
        run.core_hours = core_hours(directory)
    except RecordError:
        return run  # it is this run's to fail
    test = test_of(directory, run.state.elite)
    run.test_mean = test.mean if test is not None and test.returns else None
    if budget_reached(study_run.config.budget, run.state) and not _needs_test(run):
        run.status = "finished"
    return run


def _needs_test(run: SweptRun) -> bool:
    """Whether the run's present elite is to be tested and was not."""
    return needs_test(run.study_run.config, run.directory, run.state.elite)
