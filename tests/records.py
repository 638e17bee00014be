"""A small run's config, states and episodes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gadask.algorithms.algorithm import Elite
from gadask.config import Config, EnvConfig, GAConfig, GenerationConfig
from gadask.messages import Kind, Status
from gadask.record.directory import episode_table
from gadask.rows import ROW
from tests.generations import state_of

CONFIG = Config(
    seed=3,
    env=EnvConfig(id="CartPole-v1"),
    generation=GenerationConfig(population=4, candidates=0),
    ga=GAConfig(parents=2),
)

FIRST = state_of(
    0,
    ((5,), (7,)),
    (),
    Elite((5,), 1.5, 1, 0),
    frames=40,
    steps=10,
    episodes=4,
    noise_digest="abc",
    elapsed_s=2.5,
)


SECOND = state_of(
    1,
    ((5, 8), (5,)),
    ((5,),),
    Elite((5, 8), 2.5, 3, 1),
    frames=80,
    steps=20,
    episodes=8,
    noise_digest="abc",
    elapsed_s=5.0,
)


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
        weight=[0.5, 0, -0.5, 0],
        node=["a", "b", "a", "b"],
        counted=[True, False, True, True],
        reason=["", "deadline of 600 s", "", ""],
    )
