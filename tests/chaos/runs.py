"""The runs that are played: small, each with another rule, all with the same noise table, which their nodes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gadask.config import Config, config_from_dict

NOISE = {"size": 5_000_000}
TIMEOUT_S = 3.0
"""Of an episode that hangs. The others take a tenth of a second."""

_FAULTS = {"raises": 23, "dies": 29, "step_s": 0.01}


@dataclass(frozen=True)
class Kind:
    """A kind of run."""

    name: str
    config: Config

    @property
    def repeats(self) -> bool:
        """Whether two plays must give the same log, wall-clock quantities aside."""
        return self.config.generation.closing == "all"


def _kind(
    name: str,
    env: dict[str, Any],
    generation: dict[str, Any],
    ga: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
) -> Kind:
    small = {"population": 24, "candidates": 3, "candidate_episodes": 4, "max_failed_share": 1.0}
    table = {
        "env": {"id": "tests.chaos.envs:Chaotic-v0", "max_steps": 200, "episode_timeout_s": 30.0, **env},
        "policy": policy or {"kind": "mlp", "kwargs": {"hidden": "8"}},
        "noise": NOISE,
        "generation": {**small, **generation},
        "ga": {"parents": 5, "mutation_power": 0.2, **(ga or {})},
        "budget": {"generations": 6, "test_episodes": 0},
    }
    return Kind(name, config_from_dict(table))


KINDS = (
    _kind("all", {"kwargs": _FAULTS}, {}),
    _kind(
        "children", {"kwargs": {**_FAULTS, "step_s": 0.005}}, {"episodes_per_child": 3, "common_random_numbers": True}
    ),
    _kind("hanging", {"kwargs": {"hangs": 41, "step_s": 0.01}, "episode_timeout_s": TIMEOUT_S}, {}),
    _kind("first", {"kwargs": _FAULTS}, {"closing": "first", "spare_episodes": 1}),
    _kind("admit", {"kwargs": {"lingers": 40, "step_s": 0.005}}, {"closing": "first", "late": "admit"}),
    _kind(
        "overlapped",
        {"kwargs": _FAULTS},
        {"elite_evaluation": "overlapped"},
        {"truncation": "ga-dist"},
    ),
    _kind(
        "normalised",
        {"kwargs": _FAULTS},
        {"population": 30},
        policy={"kind": "mlp", "kwargs": {"hidden": "8"}, "normalise": True},
    ),
    _kind(
        "lanes",
        {"id": "gadask/MetaBandit-v0", "kwargs": {"n_arms": 5, "n_pulls": 60}, "max_steps": 60},
        {"population": 60, "episodes_per_child": 4},
        policy={"kind": "gru", "kwargs": {"units": 12, "actions": "sampled"}},
    ),
    _kind(
        "atari",
        {"id": "ALE/Frostbite-v5", "kwargs": {}, "max_steps": 30},
        {"population": 16},
        {"mutation_power": 0.002},
        {"kind": "such2017"},
    ),
)
