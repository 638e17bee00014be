"""Environments as people have them: what follows Gymnasium's interface is played, all else is refused in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psutil
import pytest

from gadask.algorithms.algorithm import Brood
from gadask.config import Config, config_from_dict
from gadask.errors import GadaskError
from gadask.master import task as tasks
from gadask.master.rehearsal_process import rehearse
from gadask.messages import Chunk, Facts, Kind, Status
from gadask.node.node import Node
from tests import odd_processes
from tests.node_chunks import outcome
from tests.odd_envs import PLAYED, REFUSED

PROCESSES = [each.__name__ for each in odd_processes.ALL]
PLAYED_ON_NODES = [name for name in (*PLAYED, *PROCESSES) if name != "Careless"]


def config_of(id_: str, tables: dict[str, Any]) -> Config:
    policy = tables.get("policy", {"kind": "mlp"})
    kwargs = {"hidden": "8"} if policy["kind"] == "mlp" else {}
    env = {"id": id_, "episode_timeout_s": 60, **tables.get("env", {})}
    return config_from_dict({"env": env, "policy": {"kwargs": kwargs, **policy}, "noise": {"size": 4_300_000}})


CONFIGS = {name: config_of(f"tests.odd_envs:{name}-v0", tables) for name, tables in PLAYED.items()}
CONFIGS |= {name: config_of(f"tests.odd_envs:{name}-v0", tables) for name, (_, tables) in REFUSED.items()}
CONFIGS |= {name: config_of(f"tests.odd_processes:odd/{name}-v0", {}) for name in PROCESSES}


@pytest.fixture(scope="module")
def found() -> dict[str, Facts | GadaskError]:
    """Return what was found out of each, in one go."""
    with closing(rehearse(list(CONFIGS.values()))) as rehearsals:
        found = dict(zip(CONFIGS, rehearsals, strict=True))
    tasks._facts |= {
        tasks.what_is_played(CONFIGS[name]): facts for name, facts in found.items() if isinstance(facts, Facts)
    }
    return found


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    noise = next(iter(CONFIGS.values())).noise
    nodes = [Node(noise, 1), Node(noise, 2)]
    yield nodes
    for node in nodes:
        node.close()


@pytest.mark.parametrize("name", REFUSED)
def test_what_breaks_its_promise_is_refused_in_one_line(found: dict[str, Facts | GadaskError], name: str) -> None:
    error = found[name]
    assert isinstance(error, GadaskError), error
    assert REFUSED[name][0] in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize("name", PLAYED_ON_NODES)
def test_what_keeps_it_is_played_the_same_by_any_number_of_processes(
    found: dict[str, Facts | GadaskError], nodes: list[Node], name: str
) -> None:
    facts = found[name]
    assert isinstance(facts, Facts), facts
    task = tasks.prepare_task(CONFIGS[name])
    chunk = Chunk(0, Kind.CHILD, tuple((slot, 0) for slot in range(6)))
    rows, others = (node.play(task, Brood(0, (), ()), chunk) for node in nodes)
    assert outcome(rows.table) == outcome(others.table)
    if name != "SometimesExits":
        assert (rows.table["status"] == Status.OK).all(), rows.reasons()
    for node in nodes:
        node.forget(task)


def test_nothing_is_left_of_a_rehearsal(found: dict[str, Facts | GadaskError]) -> None:
    assert isinstance(found["Careless"], Facts)
    commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if command and any(odd_processes.MARK in word for word in command)]
