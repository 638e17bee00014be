"""The injectors: each breaks one thing, and says in its docstring which promise it tries to break by that.

An injector is a coroutine function that is given the arena, its own random stream and the record that it fills in. It
returns whether it found a victim. What it has stopped goes on when it ends, whatever happens.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random

from tests.chaos import processes
from tests.chaos.arena import Arena, Strike, choose
from tests.chaos.processes import Found
from tests.chaos.promises import BrokenError, until
from tests.chaos.runs import TIMEOUT_S

Injector = Callable[[Arena, Random, Strike], Awaitable[bool]]

_GONE_S = 100.0  # a nanny that is told to end while its worker starts waits for that, a minute at most
_INTERRUPTED_S = 90.0


async def kill_rollouts(arena: Arena, random: Random, strike: Strike) -> bool:
    """Kill rollout processes of one node.

    Promise: their episodes are played again and give the same rows; none is lost, counted twice or blamed.
    """
    nodes = arena.nodes_with("rollout")
    if not nodes:
        return False
    node, found = random.choice(nodes)
    victims = choose(random, found, len(found))
    processes.send(victims, signal.SIGKILL)
    strike.what = f"{len(victims)} of {len(found)} on {node.role}"
    return True


async def stop_rollout(arena: Arena, random: Random, strike: Strike) -> bool:
    """Stop one rollout process for less than an episode's deadline.

    Promise: a process that goes on is not taken for one that hangs.
    """
    nodes = arena.nodes_with("rollout")
    if not nodes:
        return False
    node, found = random.choice(nodes)
    await _stop(strike, node.role, [random.choice(found)], random.uniform(0.2, TIMEOUT_S / 4))
    return True


async def kill_fork_server(arena: Arena, random: Random, strike: Strike) -> bool:
    """Kill a node's fork server, and with it all of its rollout processes.

    Promise: another takes its place; rows are as without.
    """
    nodes = arena.nodes_with("fork server")
    if not nodes:
        return False
    node, found = random.choice(nodes)
    processes.send(found, signal.SIGKILL)
    strike.what = node.role
    return True


async def stop_fork_server(arena: Arena, random: Random, strike: Strike) -> bool:
    """Stop a node's fork server for seconds and kill a rollout process that it is to replace meanwhile.

    Promise: the node waits for its server without harm; the other rollout processes go on.
    """
    nodes = arena.nodes_with("fork server")
    if not nodes:
        return False
    node, found = random.choice(nodes)
    with _stopped(found):
        processes.send(arena.parts(node, "rollout")[:1], signal.SIGKILL)
        strike.what = node.role
        await asyncio.sleep(random.uniform(0.5, 4))
    return True


async def kill_worker(arena: Arena, random: Random, strike: Strike) -> bool:
    """Kill a node's Dask worker; its nanny starts another.

    Promise: its rollout processes end with it, its chunks are played elsewhere, and the new worker becomes a node.
    """
    nodes = arena.nodes_with("worker")
    if not nodes:
        return False
    node, found = random.choice(nodes)
    below = [one for part in ("fork server", "rollout") for one in arena.parts(node, part)]
    processes.send(found, signal.SIGKILL)
    strike.what = node.role
    await _gone(below, f"fork server and rollout processes of the killed worker of {node.role}")
    return True


async def kill_node(arena: Arena, random: Random, strike: Strike) -> bool:
    """Kill a node's nanny and worker, as a power cut does; another node comes in its place.

    Promise: nothing of it outlives it, and the runs go on with the nodes that are there.
    """
    return await _take_away(arena, random, strike, signal.SIGKILL)


async def leave_node(arena: Arena, random: Random, strike: Strike) -> bool:
    """Ask a node to end, as a batch system does before it takes the machine away; another comes in its place.

    Promise: it leaves cleanly, and its chunks are played elsewhere.
    """
    return await _take_away(arena, random, strike, signal.SIGTERM)


async def stop_worker(arena: Arena, random: Random, strike: Strike) -> bool:
    """Stop a node's Dask worker for seconds, while its rollout processes go on.

    Promise: nobody but this node's own chunks waits for it; what its processes did meanwhile counts.
    """
    nodes = arena.nodes_with("worker")
    if not nodes:
        return False
    node, found = random.choice(nodes)
    await _stop(strike, node.role, found, random.uniform(1, 8))
    return True


async def suspend_node(arena: Arena, random: Random, strike: Strike) -> bool:
    """Stop all processes of a node for longer than episodes may take, as `scontrol suspend` or a closed laptop does.

    Promise: deadlines are of time in which the machine ran, so that no episode fails by the pause.
    """
    nodes = arena.nodes_with("worker")
    if not nodes:
        return False
    node, _ = random.choice(nodes)
    await _stop(strike, node.role, processes.find(arena.mark, node.role), TIMEOUT_S + random.uniform(0.5, 4))
    return True


async def kill_master(arena: Arena, random: Random, strike: Strike) -> bool:
    """Kill a master; it is started again.

    Promise: the run goes on from its last closed generation as if nothing had been, and its nodes are free for others.
    """
    masters = arena.live_masters
    if not masters:
        return False
    master = random.choice(masters)
    master.ended_by.add(-signal.SIGKILL)
    processes.send(processes.find(arena.mark, master.role), signal.SIGKILL)
    strike.what = master.name
    return True


async def interrupt_master(arena: Arena, random: Random, strike: Strike) -> bool:
    """Interrupt a master by SIGINT, SIGTERM or SIGHUP; it is started again.

    Promise: it ends soon with status 130, at its last closed generation.
    """
    masters = [
        master for master in arena.live_masters if master.has_begun
    ]  # while Python starts nobody handles signals
    if not masters:
        return False
    master = random.choice(masters)
    command, number = master.command, random.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    assert command is not None
    master.ended_by.add(130)
    strike.what = f"{master.name} by {number.name}"
    command.process.send_signal(number)
    await until(lambda: command.returncode is not None, _INTERRUPTED_S, f"{master.name} ends after {number.name}")
    return True


async def stop_master(arena: Arena, random: Random, strike: Strike) -> bool:
    """Stop a master for seconds.

    Promise: it goes on where it stood; nodes and other runs do not care.
    """
    masters = arena.live_masters
    if not masters:
        return False
    master = random.choice(masters)
    await _stop(strike, master.name, processes.find(arena.mark, master.role), random.uniform(0.5, 8))
    return True


async def cut_node(arena: Arena, random: Random, strike: Strike) -> bool:
    """Break a node's connections to the scheduler and refuse others for a while.

    Promise: the worker ends or connects again; it never plays on for nobody, and its chunks are not lost.
    """
    node = random.choice(arena.cluster.nodes)
    strike.what = f"{node.role}, {await node.proxy.cut(random.uniform(0, 3))} connections"
    return True


async def hold_node(arena: Arena, random: Random, strike: Strike) -> bool:
    """Let nothing through between a node and the scheduler for seconds, connections staying open.

    Promise: a cut that TCP rides out costs time and nothing else.
    """
    node = random.choice(arena.cluster.nodes)
    strike.what = f"{node.role}, {await node.proxy.hold(random.uniform(1, 8))} connections"
    return True


async def cut_master(arena: Arena, random: Random, strike: Strike) -> bool:
    """Break a master's connections to the scheduler and refuse others for a moment, or for too long.

    Promise: it connects again, or ends with a line that says how to go on, and goes on so.
    """
    masters = arena.live_masters
    if not masters:
        return False
    master = random.choice(masters)
    strike.sort, strike.victim = "connection", master.name
    n_broken = await master.proxy.cut(random.choice([0.0, random.uniform(0, 3), 15.0]))
    strike.what = f"{master.name}, {n_broken} connections"
    await asyncio.sleep(15)  # as long as it may take the master to give up
    return True


async def hold_master(arena: Arena, random: Random, strike: Strike) -> bool:
    """Let nothing through between a master and the scheduler for seconds, connections staying open.

    Promise: a cut that TCP rides out costs time and nothing else.
    """
    masters = arena.live_masters
    if not masters:
        return False
    master = random.choice(masters)
    strike.sort, strike.victim = "connection", master.name  # one that is just connecting may give up
    strike.what = f"{master.name}, {await master.proxy.hold(random.uniform(1, 7))} connections"
    return True


async def fill_disk(arena: Arena, random: Random, strike: Strike) -> bool:
    """Fill the disk that holds all run directories for seconds.

    Promise: a master that cannot write ends with a line that says where and why; the checkpoint before loads, and no
    temporary file stays.
    """
    strike.sort = "disk"
    strike.what = "for all"
    await arena.disk.fill(random.uniform(1, 5))
    return True


INJECTORS: dict[str, Injector] = {
    injector.__name__.replace("_", "-"): injector
    for injector in (
        kill_rollouts,
        stop_rollout,
        kill_fork_server,
        stop_fork_server,
        kill_worker,
        kill_node,
        leave_node,
        stop_worker,
        suspend_node,
        kill_master,
        interrupt_master,
        stop_master,
        cut_node,
        hold_node,
        cut_master,
        hold_master,
        fill_disk,
    )
}


async def _take_away(arena: Arena, random: Random, strike: Strike, number: signal.Signals) -> bool:
    """End a node with a signal, and bring another a few seconds later."""
    nodes = arena.nodes_with("worker")
    if not nodes:
        return False
    node, _ = random.choice(nodes)
    family = processes.find(arena.mark, node.role)
    node.away = True
    try:
        strike.what = node.role
        parts = ("nanny", "worker") if number is signal.SIGKILL else ("nanny",)
        processes.send([one for one in family if one.part in parts], number)
        await _gone(family, f"what belonged to {node.role}, which was ended by {number.name}")
        await asyncio.sleep(random.uniform(0, 4))
    finally:
        node.away = False
        node.start()
    return True


async def _stop(strike: Strike, whose: str, found: list[Found], seconds: float) -> None:
    with _stopped(found):
        strike.what = f"{whose}, {len(found)} for {seconds:.1f} s"
        await asyncio.sleep(seconds)


@contextmanager
def _stopped(found: list[Found]) -> Iterator[None]:
    """Keep processes stopped while the block runs."""
    processes.send(found, signal.SIGSTOP)
    try:
        yield
    finally:
        processes.send(found, signal.SIGCONT)


async def _gone(found: list[Found], what: str) -> None:
    """Wait until these processes have ended; one that an injector has stopped meanwhile can be killed all the same."""
    try:
        await until(lambda: not any(map(processes.is_alive, found)), _GONE_S, what)
    except BrokenError as broken:
        left = "; ".join(str(one) for one in found if processes.is_alive(one))
        raise BrokenError(f"still there after {_GONE_S:g} s: {what}: {left}") from broken
