"""Two hosts, as two network namespaces behind a switch: a run through a cut of the network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gadask.clusters.base import dask_environment
from gadask.clusters.security import temporary_keys
from gadask.record.directory import read_episodes, read_generations, without_wall_clock
from tests.conftest import wait_until
from tests.small_run import small_run

pytestmark = pytest.mark.usefixtures("no_leaks")

ROOT = Path(__file__).parents[1]
CONFIG = small_run(step_s=0.01, generations=6, test_episodes=0)
CUT_S = 30.0
MASTER, NODE = "10.77.0.1", "10.77.0.2"
PORT = 8786  # free: the namespaces are new


@dataclass(frozen=True)
class Hosts:
    """Two hosts on one switch."""

    prefix: str

    def on(self, address: str, *command: object) -> list[str]:
        """Return a command line that runs on the host with this address."""
        return ["ip", "netns", "exec", self.name(address), *map(str, command)]

    def name(self, address: str) -> str:
        return f"{self.prefix}-{address[-1]}"

    def switch(self, state: str) -> None:
        """Let packets pass, or none: the hosts notice nothing but silence."""
        ip("-n", f"{self.prefix}-s", "link", "set", "switch", state)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Make two hosts with addresses of their own; skip where that is not permitted."""
    hosts = Hosts(f"gadask-{os.getpid()}")
    switch = f"{hosts.prefix}-s"
    namespaces = [switch, hosts.name(MASTER), hosts.name(NODE)]
    try:
        try:
            for namespace in namespaces:
                ip("netns", "add", namespace)
            ip("-n", switch, "link", "add", "switch", "type", "bridge")
            for address in (MASTER, NODE):
                port, host = f"port{address[-1]}", hosts.name(address)
                ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
                ip("-n", switch, "link", "set", port, "master", "switch", "up")
                ip("-n", host, "address", "add", f"{address}/24", "dev", "eth0")
                ip("-n", host, "link", "set", "eth0", "up")
                ip("-n", host, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            reason = f"needs network namespaces (root, and the program ip): {getattr(error, 'stderr', None) or error}"
            if os.environ.get("CI") and shutil.which("ip") is None:
                pytest.fail(reason)
            pytest.skip(reason)
        hosts.switch("up")
        yield hosts
    finally:
        if shutil.which("ip"):
            for namespace in namespaces:
                subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """A list of processes that end with the test, the last first."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in reversed(started):
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait()


def log(run_dir: Path) -> list[dict[str, Any]]:
    return [without_wall_clock(line) for line in read_generations(run_dir)]


def n_closed(run_dir: Path) -> int:
    path = run_dir / "generations.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_run_rides_out_a_cut_of_half_a_minute(
    hosts: Hosts, processes: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    run_py = [sys.executable, str(ROOT / "jobs" / "run.py"), str(config), "--no-pictures", "--rollouts-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **dask_environment()}
    undisturbed = subprocess.run([*run_py, "--run-dir", str(tmp_path / "whole")], env=environment, check=True)
    assert undisturbed.returncode == 0

    def start(address: str, *command: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(hosts.on(address, *command), env=environment, stdout=output, stderr=output)
        processes.append(process)
        return process

    with temporary_keys(tmp_path / "keys") as keys, (tmp_path / "output").open("wb") as output:
        files = [
            "--tls-ca-file",
            keys.tls_ca_file,
            "--tls-cert",
            keys.tls_client_cert,
            "--tls-key",
            keys.tls_client_key,
        ]
        environment["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"] = keys.tls_ca_file
        environment["DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT"] = keys.tls_client_cert
        environment["DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"] = keys.tls_client_key
        scheduler = f"tls://{MASTER}:{PORT}"
        dask = [sys.executable, "-m", "dask"]
        start(
            MASTER, *dask, "scheduler", "--host", MASTER, "--port", PORT, "--protocol", "tls", "--no-dashboard", *files
        )
        start(NODE, *dask, "worker", scheduler, "--no-nanny", "--nthreads", 2, "--no-dashboard", *files)
        run_dir = tmp_path / "run"
        run = start(MASTER, *run_py, "--run-dir", run_dir, "--cluster", scheduler)
        wait_until(lambda: n_closed(run_dir) >= 2 or run.poll() is not None, 60, "two generations")
        hosts.switch("down")
        n_before = n_closed(run_dir)
        with pytest.raises(subprocess.TimeoutExpired):  # it waits
            run.wait(CUT_S)
        assert n_before <= n_closed(run_dir) <= n_before + 1  # what was on its way may have arrived
        hosts.switch("up")
        assert run.wait(60) == 0, (tmp_path / "output").read_text()
    assert log(run_dir) == log(tmp_path / "whole")
    nodes = {node for number in range(6) for node in read_episodes(run_dir, number)["node"].to_pylist()}
    assert len(nodes) == 1, "the node was lost and came back"
    assert nodes.pop().startswith(f"tls://{NODE}:")
