"""What a run asks for: some nodes of a machine, or of each of several, and what they cost.

On a command line a machine and its nodes are `NAME:NODES`. Money is counted as Slurm sites do: cores of a job × its
wall time, whatever the cores did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gadask.clusters.machine import Machine
from gadask.config import BudgetConfig
from gadask.errors import ConfigError


@dataclass(frozen=True)
class Wanted:
    """Some nodes of a machine."""

    machine: Machine
    n_nodes: int


def split_nodes(text: str) -> tuple[str, int | None]:
    """Return the machine and the number of nodes in `NAME:NODES`; the number is None where there is only a name.

    Raises `ConfigError` if what follows the colon is neither a number of at least 1 nor a part of a path.
    """
    name, colon, nodes = text.rpartition(":")
    if not colon or "/" in nodes or nodes.endswith(".toml"):
        return text, None
    n_nodes = int(nodes) if nodes.isascii() and nodes.isdigit() else 0
    if not name or n_nodes < 1:
        raise ConfigError(f"--machine: expected NAME or NAME:NODES with at least 1 node, found {text!r}")
    return name, n_nodes


def check_together(wanted: Sequence[Wanted]) -> None:
    """Raise `ConfigError` unless these machines can be one cluster's, which has one scheduler and one folder.

    The error begins with what was expected.
    """
    machines = [each.machine for each in wanted]
    names = [machine.name for machine in machines]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"expected machines with different names, found {name!r} twice")
    for what, values in (
        ("folder `shared`", {machine.shared for machine in machines}),
        ("scheduler_interface (by default interface)", {scheduler_interface(machine) for machine in machines}),
    ):
        if len(values) > 1:
            found = ", ".join(sorted("none" if value is None else repr(value) for value in values))
            raise ConfigError(f"expected one {what} for all machines, found {found}")


def scheduler_interface(machine: Machine) -> str | None:
    """Return the network interface over which a machine's nodes reach the scheduler; None is Dask's choice."""
    return machine.scheduler_interface or machine.interface


def nodes_of_all(wanted: Sequence[Wanted]) -> int:
    """Return the nodes of all machines together."""
    return sum(each.n_nodes for each in wanted)


def rollouts_of_all(wanted: Sequence[Wanted]) -> int | None:
    """Return the rollout processes that every node is to have; None leaves it to the node, whose job may know."""
    numbers = {each.machine.rollouts_per_node for each in wanted}
    return numbers.pop() if len(numbers) == 1 else None


def wanted_text(wanted: Sequence[Wanted]) -> str:
    """Return the names of machines, of several with their nodes: `peta4-skylake (6) and csd3-icelake (2)`."""
    if len(wanted) == 1:
        return wanted[0].machine.name
    *others, last = [f"{each.machine.name} ({each.n_nodes})" for each in wanted]
    return f"{', '.join(others)} and {last}"


def job_core_hours(wanted: Sequence[Wanted], hours: float) -> float:
    """Return what all nodes cost that run for some hours."""
    return sum(each.n_nodes * each.machine.cores for each in wanted) * hours


def largest_cost(wanted: Sequence[Wanted], budget: BudgetConfig) -> float:
    """Return the core-hours after which a budget stops a run, infinity if it has no limit on hours.

    The rest of the last generation and the test of the elite come on top.
    """
    return math.inf if budget.hours is None else job_core_hours(wanted, budget.hours)


def cost_text(wanted: Sequence[Wanted], budget: BudgetConfig) -> str:
    """Return `largest_cost` in words."""
    an_hour = f"{job_core_hours(wanted, 1):,.0f} core-hours an hour"
    if budget.hours is None:
        return f"no limit: {an_hour}, until the run ends; --budget.hours sets one"
    cost = largest_cost(wanted, budget)
    return f"{cost:,.0f} core-hours ({budget.hours:g} h at {an_hour}), and the end of the last generation"
