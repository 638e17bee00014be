"""A small run's config, states and episodes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gadask.algorithms.truncation import Elite, Population
from gadask.config import Config, EnvConfig, GAConfig
from gadask.messages import Kind, Status
from gadask.record.directory import (
    State,
    episode_table,
)
from gadask.rows import ROW

CONFIG = Config(seed=3, env=EnvConfig(id="CartPole-v1"), ga=GAConfig(population=4, parents=2, candidates=0))


FIRST = State(Population(1, ((5,), (7,)), (), Elite((5,), 1.5, 1, 0)), 40, 10, 4, "abc", 2.5)


SECOND = State(Population(2, ((5, 8), (5,)), ((5,),), Elite((5, 8), 2.5, 3, 1)), 80, 20, 8, "abc", 5.0)


def table(generation: int = 0) -> pa.Table:
    rows = np.zeros(4, ROW)
    rows["generation"] = generation
    rows["slot"] = [2, 0, 1, 0]
    rows["episode"] = [0, 1, 0, 0]
    rows["kind"] = [Kind.CHILD, Kind.EVALUATION, Kind.CHILD, Kind.EVALUATION]
    rows["status"] = [Status.OK, Status.TIMEOUT, Status.OK, Status.OK]
    rows["return"] = [1.5, np.nan, -2.0, 0.25]
    return episode_table(
        rows,
        parent=[-1, -1, 0, -1],
        gene=[2**40, -1, 7, -1],
        node=["a", "b", "a", "b"],
        counted=[True, False, True, True],
        reason=["", "deadline of 600 s", "", ""],
    )
