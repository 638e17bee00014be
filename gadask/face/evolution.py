"""Evolution on a cluster or on a Dask client, in a coroutine or in a plain loop."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

from distributed import Client

from gadask.clusters.base import Cluster
from gadask.config import Config
from gadask.errors import UsageError
from gadask.face.clusters import BlockingCluster
from gadask.master import evolve as master
from gadask.master.evaluate import evaluate_elite
from gadask.master.generation import Generation, OnProgress
from gadask.record.directory import read_run
from gadask.record.elite_test import EliteTest

_TEST_EPISODES = 200  # where the config asks for none


def evolve(
    config: Config,
    cluster: Cluster | Client,
    run_dir: Path | str,
    *,
    resume: bool = False,
    n_processes: int | None = None,
    node_timeout_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> AsyncGenerator[Generation, None]:
    """Evolve until the budget is reached; yields each generation once it is safely recorded in `run_dir`.

    `cluster` is an open cluster, or an asynchronous Dask client. `n_processes` is the number of rollout processes of a
    node, by default what the cluster says, or one less than the node's cores. The run waits `node_timeout_s` for a
    node, by default as long as the cluster says. `on_progress` is called about once a second. Closing the generator,
    or an error, leaves the run directory at the last closed generation; with `resume` the run goes on from there, to
    the same result.

    Raises:
        UsageError: config, environment, policy or run directory cannot be used; nothing was played.
        EvolutionError: no child has a valid result, or too many episodes failed.
        ClusterError, NodeError: no node can be used for `node_timeout_s`, or the scheduler is lost.
        RecordError: the run directory is damaged or cannot be written.

    Example:
        >>> import asyncio
        >>> import gadask
        >>> config = gadask.load_config("jobs/configs/cartpole.toml")
        >>> async def main():
        ...     async with gadask.cluster("local") as cluster:
        ...         async for generation in gadask.evolve(config, cluster, "runs/awaited"):
        ...             elite = generation.elite
        ...     return elite
        >>> asyncio.run(main()).mean >= 490  # where the config's budget ends
        True
    """
    client, options = _client_and_options(cluster, n_processes, node_timeout_s, of="evolve", is_async=True)
    return master.evolve(
        config,
        client,
        run_dir,
        resume=resume,
        on_progress=on_progress,
        **options,
    )


def evolve_blocking(
    config: Config,
    cluster: BlockingCluster | Client,
    run_dir: Path | str,
    *,
    resume: bool = False,
    n_processes: int | None = None,
    node_timeout_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[Generation]:
    """Yield what `evolve` yields, for code that is not asynchronous; arguments as there.

    `cluster` is that of `with gadask.cluster(…) as cluster`, or a blocking Dask client. Between two generations nothing
    is played: take the next one to go on.

    Example:
        >>> import gadask
        >>> config = gadask.load_config("jobs/configs/cartpole.toml")
        >>> with gadask.cluster("local") as cluster:
        ...     for generation in gadask.evolve_blocking(config, cluster, "runs/blocking"):
        ...         elite = generation.elite
        >>> elite.mean >= 490  # where the config's budget ends
        True
    """
    client, options = _client_and_options(cluster, n_processes, node_timeout_s, of="evolve", is_async=False)
    return master.evolve_blocking(
        config,
        client,
        run_dir,
        resume=resume,
        on_progress=on_progress,
        **options,
    )


async def evaluate(
    run_dir: Path | str,
    cluster: Cluster | Client,
    n_episodes: int | None = None,
    *,
    n_processes: int | None = None,
    node_timeout_s: float | None = None,
) -> EliteTest:
    """Test the run's last elite: on `n_episodes` fresh episodes, by default its `budget.test_episodes`.

    Where it has few different episodes, as in Atari without sticky actions, the test is of each of them. The returns
    are also written to `elite_test.json`; episodes that fail are left out.

    Raises:
        RunDirectoryError: there is no run, or it has no elite yet.
        EvolutionError: too many episodes failed.

    Example:
        >>> import asyncio
        >>> import gadask
        >>> async def main():
        ...     async with gadask.cluster("local") as cluster:
        ...         return await gadask.evaluate("runs/mine", cluster, 10)
        >>> asyncio.run(main()).n_episodes
        10
    """
    config, _ = read_run(run_dir)
    client, options = _client_and_options(cluster, n_processes, node_timeout_s, of="evaluate", is_async=True)
    if n_episodes is None:
        n_episodes = config.budget.test_episodes or _TEST_EPISODES
    if n_episodes < 1:
        raise UsageError(f"n_episodes: expected at least 1, found {n_episodes}")
    return await evaluate_elite(
        config,
        client,
        run_dir,
        n_episodes,
        n_processes=options["n_processes"],
        node_timeout_s=options["node_timeout_s"],
    )


def evaluate_blocking(
    run_dir: Path | str,
    cluster: BlockingCluster | Client,
    n_episodes: int | None = None,
    *,
    n_processes: int | None = None,
    node_timeout_s: float | None = None,
) -> EliteTest:
    """Return what `evaluate` does, for code that is not asynchronous; arguments as there.

    `cluster` is that of `with gadask.cluster(…) as cluster`, or a blocking Dask client.

    Example:
        >>> import gadask
        >>> with gadask.cluster("local") as cluster:
        ...     gadask.evaluate_blocking("runs/mine", cluster, 10).n_episodes
        10
    """
    client, _ = _client_and_options(cluster, n_processes, node_timeout_s, of="evaluate", is_async=False)
    options: dict[str, Any] = {"n_processes": n_processes, "node_timeout_s": node_timeout_s}
    if not isinstance(cluster, Client):
        return cluster.wait_for(evaluate(run_dir, cluster.asynchronous, n_episodes, **options))

    async def play() -> EliteTest:
        address, security = client.scheduler.address, client.security
        async with Client(address, security=security, asynchronous=True, set_as_default=False) as mirror:
            return await evaluate(run_dir, mirror, n_episodes, **options)

    test: EliteTest = client.sync(play, asynchronous=False)
    return test


def _client_and_options(
    cluster: Cluster | BlockingCluster | Client,
    n_processes: int | None,
    node_timeout_s: float | None,
    *,
    of: str,
    is_async: bool,
) -> tuple[Client, dict[str, Any]]:
    """Return the client, and what the cluster says where the caller, `evolve` or `evaluate`, does not."""
    client = cluster if isinstance(cluster, Client) else cluster.client
    if client.asynchronous != is_async:
        kind, other = ("asynchronous", f"{of}_blocking") if is_async else ("blocking", of)
        raise UsageError(
            f"expected {'an' if is_async else 'a'} {kind} cluster or client; use gadask.{other} for this one"
        )
    if isinstance(cluster, Client):
        return client, {"n_processes": n_processes, "node_timeout_s": node_timeout_s or math.inf}
    options: dict[str, Any] = {
        "n_processes": n_processes or cluster.n_processes,
        "node_timeout_s": node_timeout_s or cluster.node_timeout_s,
    }
    if of == "evolve":
        earlier = cluster.counts().core_hours  # an open cluster may have played other runs, or waited
        options["core_hours"] = lambda: cluster.counts().core_hours - earlier
    return client, options
