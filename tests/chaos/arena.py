"""What injectors strike at: the cluster, the masters that play on it, the disk, and the record of what was done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from tests.chaos import processes
from tests.chaos.cluster import ChaosCluster, Node
from tests.chaos.disk import SmallDisk
from tests.chaos.masters import Master
from tests.chaos.processes import Found, Part


@dataclass
class Strike:
    """One thing that was done."""

    injector: str
    began_at: float
    what: str = ""
    """To whom."""
    sort: str = ""
    """Which errors of a master it explains, see `masters.py`."""
    victim: str = ""
    """The master that it explains them for; any if empty."""
    ended_at: float | None = None


@dataclass
class Arena:
    """Everything that can be struck."""

    mark: str
    cluster: ChaosCluster
    disk: SmallDisk
    masters: list[Master] = field(default_factory=list)
    """Runs that are being played."""
    strikes: list[Strike] = field(default_factory=list)

    @property
    def live_masters(self) -> list[Master]:
        """Masters that have a process, in an order that does not depend on when they began."""
        return sorted((master for master in self.masters if master.is_alive), key=lambda master: master.name)

    def parts(self, node: Node, part: Part) -> list[Found]:
        """Return the live processes of one sort on a node, the oldest first."""
        found = [one for one in processes.find(self.mark, node.role) if one.part == part]
        return sorted(found, key=lambda one: one.process.pid)

    def nodes_with(self, part: Part) -> list[tuple[Node, list[Found]]]:
        """Return nodes that have such processes, and these."""
        return [(node, found) for node in self.cluster.nodes if not node.away and (found := self.parts(node, part))]

    def suffered(self, master: str, sort: str, since: float) -> bool:
        """Whether something of a sort was done to a master, or to all, that had not ended at a moment."""
        return any(
            strike.sort == sort and strike.victim in ("", master) and (strike.ended_at or since) >= since
            for strike in self.strikes
        )

    @contextmanager
    def struck(self, injector: str) -> Iterator[Strike]:
        """Record what is done in the block."""
        strike = Strike(injector, time.monotonic())
        self.strikes.append(strike)
        try:
            yield strike
        finally:
            strike.ended_at = time.monotonic()


def choose(random: Random, victims: list[Found], most: int) -> list[Found]:
    """Return one victim or more, `most` at the most."""
    return random.sample(victims, random.randint(1, min(most, len(victims))))
