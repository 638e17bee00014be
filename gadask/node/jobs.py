"""What travels between a node and its rollout processes: jobs one way, answers the other, and words that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gadask.genomes.genome import Genome
from gadask.genomes.updates import Summands
from gadask.messages import Kind, Task
from gadask.observations import Normaliser
from gadask.rows import Rows


@dataclass(frozen=True)
class PlannedEpisode:
    """One episode of a job and what its weights are made from.

    They are those in `row` of the node's weights (−1: none, a new network), and `weight` times the noise of `gene` (−1:
    nothing is added; of a new network: what it is made from).
    """

    slot: int
    episode: int
    row: int
    gene: int
    weight: float


@dataclass(frozen=True)
class DecodeJob:
    """One row of the node's shared weights for one process to fill: `parts` upon those of `ancestor_row` (−1: none)."""

    task_number: int
    row: int
    ancestor_row: int
    parts: Genome
    columns: tuple[int, int] | None = None
    """First and end, where a row is filled by several processes at once."""
    updates: Mapping[str, Summands] = field(default_factory=dict)
    """Those among `parts`."""


@dataclass(frozen=True)
class WriteJob:
    """One row of the node's shared weights for a process to write to a file, float32."""

    task_number: int
    row: int
    path: str


@dataclass(frozen=True)
class PlayJob:
    """Episodes of one kind and generation for one process to play, in order or in lanes."""

    task_number: int
    generation: int
    kind: Kind
    episodes: tuple[PlannedEpisode, ...]
    normaliser: Normaliser | None = None


Job = DecodeJob | WriteJob | PlayJob


@dataclass(frozen=True)
class NewTask:
    """Introduces a task to a rollout process; the descriptor of its weights comes with the packet."""

    number: int
    task: Task
    n_rows: int
    """Vectors that there is room for; a genome takes as many as its algorithm's optimiser keeps, and one more."""


@dataclass(frozen=True)
class Answer:
    """What came of a job."""

    job_number: int
    rows: Rows
    """One an episode, in the job's order; none of a genome to decode."""
    failure: str = ""
    """Why the genome was not decoded, or not written."""


WORDS_PER_PROCESS = 3
"""int64 words that the pool and one process share: number of the job to stop; place in its job of the episode being
played; when that episode began, in nanoseconds of the monotonic clock. While several are played together the place is
`SEVERAL`, and the time that of the last one that ended."""

SEVERAL = -1
"""The place of episodes that are played together. If their process dies or hangs, nobody knows yet through which."""

STOP_ALL = -1
"""In place of the number of the job to stop: whatever is played, since the process is to end."""
