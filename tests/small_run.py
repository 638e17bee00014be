"""A config file whose run takes seconds, in an environment that can be told to misbehave."""

from __future__ import annotations

_CONFIG = """
[env]
id = "tests.faulty_envs:Faulty-v0"
max_steps = 200
kwargs = {{ step_s = {step_s} }}
[policy]
kind = "mlp"
[noise]
size = 300_000
[generation]
population = 20
candidates = 2
candidate_episodes = 3
[ga]
parents = 4
[budget]
generations = {generations}
test_episodes = {test_episodes}
"""


def small_run(step_s: float = 0.001, generations: int = 3, test_episodes: int = 5) -> str:
    """Return its text; the length of steps changes nothing else about the run."""
    return _CONFIG.format(step_s=step_s, generations=generations, test_episodes=test_episodes)
