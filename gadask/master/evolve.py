"""The master: drives generations and yields them one after another.

`evolve` is an asynchronous generator. It keeps every node supplied with chunks that carry the bases' genomes, books
rows as they arrive, tells the algorithm when the generation closes, records, yields, and goes on. Recording, progress
and dashboards consume what it yields. `evolve_blocking` is the same for plain scripts and notebooks.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from distributed import Client

from gadask.algorithms.algorithm import archived
from gadask.config import Config
from gadask.dashboard.events import end_event, run_event
from gadask.dashboard.reporter import Reporter
from gadask.errors import GadaskError
from gadask.master.anchoring import Anchoring, check_stored
from gadask.master.budget import budget_reached
from gadask.master.dispatch import Dispatcher
from gadask.master.generation import CoreHours, Generation, GenerationPlayer, OnProgress
from gadask.master.start import Start, find_start, first_state
from gadask.master.task import prepare_task
from gadask.record.directory import RunDirectory, read_generations
from gadask.record.provenance import provenance
from gadask.threads import in_thread


async def evolve(
    config: Config,
    client: Client,
    run_dir: Path | str,
    *,
    resume: bool = False,
    n_processes: int | None = None,
    node_timeout_s: float = math.inf,
    noise_digest: str | None = None,
    on_progress: OnProgress | None = None,
    core_hours: CoreHours = lambda: 0.0,
) -> AsyncGenerator[Generation, None]:
    """Evolve until the budget is reached; yields each generation once it is safely recorded.

    `client` is an asynchronous Dask client. `n_processes` is the number of rollout processes of a node, by default one
    less than its cores. `noise_digest` is that of the noise table which a new run's nodes must have, by default that
    of the first. `core_hours` returns what the cluster has charged since it started, for the log. Closing the
    generator, or an error, leaves the run directory at the last closed generation.

    Raises:
        UsageError: config, environment, policy or run directory cannot be used; nothing was started.
        EvolutionError: no child has a valid result, or too many episodes failed.
        ClusterError, NodeError: no node can be used, or the scheduler is lost.
        RecordError: the run directory is damaged or cannot be written.
    """
    task = prepare_task(config, run_dir)
    if resume:
        directory, state = RunDirectory.resume(run_dir, config)
    else:
        start = await in_thread(lambda: find_start(config, task.n_params))
        state = first_state(task, start)
        directory = RunDirectory.create(run_dir, config, state, start.anchor)
    with directory:
        if budget_reached(config.budget, state):
            return
        await in_thread(lambda: check_stored(task, directory, state))
        digest = state.noise_digest or noise_digest
        dispatcher = Dispatcher(client, task, n_processes, digest, node_timeout_s)
        reporter = Reporter(client)
        reason = "stopped"
        try:
            await dispatcher.start()
            assert dispatcher.digest is not None
            entry = provenance(dispatcher.digest)
            await in_thread(lambda: directory.add_provenance(entry))
            if not state.algorithm:  # a directory that was made without one
                state = first_state(task, Start())
            archive = archived(task.algorithm, task.algorithm.from_json(state.algorithm))
            log = list(read_generations(directory.path))
            await reporter.send(run_event(task.run_id, directory.path, config, log, archive))
            state = replace(state, noise_digest=dispatcher.digest)
            settled = Anchoring(client, dispatcher, directory).settled
            player = GenerationPlayer(config, task, dispatcher, reporter, on_progress, core_hours, settled)
            while not budget_reached(config.budget, state):
                generation, table = await player.play_generation(state)
                state = generation.state
                await in_thread(functools.partial(_record, directory, table, generation))
                yield generation
                await asyncio.sleep(0)  # an interrupt while it was recorded
            reason = ""
        except GadaskError as error:
            reason = str(error)
            error.add_note(f"{directory.path} holds everything up to the last closed generation; resume it to go on")
            raise
        finally:
            await reporter.send(end_event(task.run_id, reason))
            await dispatcher.close()


def evolve_blocking(config: Config, client: Client, run_dir: Path | str, **options: Any) -> Iterator[Generation]:
    """Yield what `evolve` yields, for a blocking Dask client; options as there.

    Between two generations nothing is played: take the next one to go on.
    """

    async def connect() -> AsyncGenerator[Generation, None]:
        mirror = await Client(
            client.scheduler.address, security=client.security, asynchronous=True, set_as_default=False
        )
        try:
            async with aclosing(evolve(config, mirror, run_dir, **options)) as inner:
                async for generation in inner:
                    yield generation
        finally:
            await mirror.close()

    generations = connect()

    running: asyncio.Task[Any] | None = None

    async def step() -> Generation | None:
        nonlocal running
        running = asyncio.current_task()
        return await anext(generations, None)

    async def stop() -> None:
        if running is not None:  # Ctrl-C cancelled it and did not wait
            await asyncio.wait({running})
        await generations.aclose()

    try:
        while (generation := client.sync(step, asynchronous=False)) is not None:
            yield generation
    finally:
        client.sync(stop, asynchronous=False)


def _record(directory: RunDirectory, table: Callable[[], Any], generation: Generation) -> None:
    directory.close_generation(table(), generation.line, generation.state)
