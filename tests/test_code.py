"""Master, nodes and rollout processes play one gadask: that which the master imported (fault 23)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from gadask.clusters.local import local_cluster
from gadask.config import NoiseConfig
from gadask.errors import NodeError
from gadask.imports import own_command
from gadask.master.evolve import evolve
from gadask.node import forkserver, plugin
from gadask.policies.kernels import instruction_set
from gadask.record.directory import read_episodes
from gadask.record.provenance import code, libraries
from tests.conftest import eventually, faulty_config

pytestmark = pytest.mark.usefixtures("no_leaks")

ROOT = Path(__file__).parents[1]
ANOTHER = "0.0.9 (cafe0123cafe0123)"

GAMES = """
preset = "such2017"
[policy]
kwargs = {}
[noise]
size = 8_000_000
[env]
id = "ALE/Frostbite-v5"
max_steps = 20
[generation]
population = 4
candidates = 0
[ga]
parents = 2
[budget]
generations = 1
test_episodes = 0
"""


def be_another(how: str, dask_worker: Any) -> None:
    """Make the gadask of a worker's process another: of other sources, or of before it could be told."""
    from gadask.node import plugin

    if how == "changed":
        plugin.CODE = "0.0.9 (cafe0123cafe0123)"
    else:
        del plugin.CODE


async def nothing(client: Client, bad: str) -> None:
    pass


def refused(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[..., None],
    *arguments: object,
    then: Callable[[Client, str], Awaitable[None]] = nothing,
) -> tuple[str, str]:
    """Play a run on two nodes after `change` in one of them, which plays nothing; returns its address and the refusal.

    `then` is called while the nodes are there.
    """
    config = faulty_config()

    async def main() -> str:
        async with local_cluster(2) as cluster:
            client = cluster.client
            await client.register_plugin(plugin.NodePlugin(config.noise, 1))
            bad: str = next(iter(await client.run(plugin.describe)))
            await client.run(change, *arguments, workers=[bad])
            async with aclosing(evolve(config, client, tmp_path / "run", n_processes=1)) as generations:
                async for _ in generations:  # the other node could play them all before this one has been asked
                    await eventually(lambda: refusals(caplog), 60, "the node is refused")
            await then(client, bad)
            return bad

    bad = asyncio.run(main())
    (refusal,) = refusals(caplog)
    for generation in range(config.budget.generations or 0):
        assert bad not in read_episodes(tmp_path / "run", generation)["node"].to_pylist()
    return bad, refusal


@pytest.mark.parametrize("how", ["changed", "of before"])
def test_a_node_with_another_gadask_is_refused_by_name_and_version(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad, refusal = refused(tmp_path, caplog, be_another, how)
    found = ANOTHER if how == "changed" else code().partition(" ")[0]
    assert all(part in refusal for part in (bad, f"is {found}, the run's is {code()}", os.uname().nodename))


def have_other_libraries(dask_worker: Any) -> None:
    from gadask.record.provenance import libraries

    libraries().update({"numpy": "1.26.4", "compiled library": "lost"})
    del libraries()["torch"]


def test_a_node_with_other_libraries_is_refused_by_name_and_version(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def plays_no_chunk(client: Client, bad: str) -> None:
        (info,) = [info for address, info in (await client.run(plugin.describe)).items() if address == bad]
        with pytest.raises(NodeError, match=r"this node has noise .* numpy 1\.26\.4.*; the run has noise .*"):
            await client.submit(plugin.play, b"", b"", plugin.identity(info.digest), pure=False, workers=[bad])

    bad, refusal = refused(tmp_path, caplog, have_other_libraries, then=plays_no_chunk)
    ours = libraries()
    for part in (
        bad,
        f"its numpy is 1.26.4, the run's is {ours['numpy']}",
        f"its compiled library is lost, the run's is {ours['compiled library']}",
        f"its torch is missing, the run's is {ours['torch']}",
    ):
        assert part in refusal


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if "a node is refused and plays nothing: " in message]


def test_a_chunk_is_not_played_by_another_gadask(tmp_path: Path) -> None:
    config = faulty_config()

    async def main() -> None:
        async with local_cluster(1) as cluster:
            client = cluster.client
            await client.register_plugin(plugin.NodePlugin(config.noise, 1))
            (info,) = (await client.run(plugin.describe)).values()
            expected = plugin.identity(info.digest)
            await client.run(be_another, "changed")
            await client.submit(plugin.play, b"", b"", expected, pure=False)

    with pytest.raises(NodeError, match=r"this node has noise .*cafe0123.*; the run has noise .*"):
        asyncio.run(main())


def test_rollout_processes_of_another_gadask_do_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "code", lambda: ANOTHER)
    with pytest.raises(NodeError, match=r"gadask was changed under a running node: it is .*cafe0123"):
        forkserver.ForkServer(NoiseConfig(size=1000), 1, 1)


@pytest.fixture
def beside_another(tmp_path: Path) -> Path:
    """Return a folder in which another `gadask` lies."""
    folder = tmp_path / "elsewhere"
    (folder / "gadask").mkdir(parents=True)
    for name in ("__init__", "guard", "node/__init__", "node/forkserver", "master/rehearsal_process"):
        path = folder / "gadask" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('the gadask of the current folder')\n")
    return folder


def test_a_folder_of_that_name_is_not_played(beside_another: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(GAMES)
    command: list[str | Path] = [
        sys.executable,
        ROOT / "jobs" / "run.py",
        tmp_path / "config.toml",
        "--run-dir",
        tmp_path / "run",
    ]
    result = subprocess.run(
        [*command, "--no-pictures"], cwd=beside_another, capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    second = result.stdout.splitlines()[1]
    best = instruction_set()
    kernels = f"gadask's compiled kernels ({best}, " if best else "torch without gadask's compiled kernels"
    assert second.startswith(f"networks are computed by {kernels}")


def test_a_module_of_ones_own_is_found_in_the_current_folder(
    beside_another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (beside_another / "my_module.py").write_text("")
    monkeypatch.chdir(beside_another)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    command = own_command("gadask.guard", sys.executable, "-c", "print('guarded')")
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout == "guarded\n"
    probe = [sys.executable, *command[1:3], command[3].replace(".main()", ""), *command[4:]]
    probe[3] += "; import my_module, gadask; print(gadask.__file__)"
    found = subprocess.run(probe, capture_output=True, text=True, timeout=60, check=True).stdout
    assert Path(found.strip()).parent == ROOT / "gadask"
