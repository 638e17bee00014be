"""EvoTorch's PGPE on the tasks of `jobs/configs/studies/algorithms.toml`, for as many steps.

`python -m tests.benchmarks.bench_pgpe InvertedPendulum-v5 --seeds 3` prints what the centre comes to, in the mean of 20
episodes that count for no step, each time a tenth of the steps has been played. The policy is linear, as there.
Settings of PGPE and its optimiser ClipUp are those of the example in EvoTorch's README, with as many solutions as
gadask has children. Needs `pip install "gadask[bench,mujoco]"`, and nothing of gadask.
"""

from __future__ import annotations

import argparse
import time

import torch
from evotorch.algorithms import PGPE
from evotorch.neuroevolution import GymNE

_N_TEST_EPISODES = 20


def play(task: str, n_steps: int, population: int, seed: int) -> list[tuple[int, float]]:
    """Return steps and mean of the centre, for each tenth of `n_steps`."""
    torch.manual_seed(seed)
    problem = GymNE(task, "Linear(obs_length, act_length)", observation_normalization=True, num_actors=2)
    searcher = PGPE(
        problem,
        popsize=population,
        center_learning_rate=0.01125,
        stdev_learning_rate=0.1,
        radius_init=0.27,
        optimizer="clipup",
        optimizer_config={"max_speed": 0.015},
    )
    curve: list[tuple[int, float]] = []
    played = 0
    while played < n_steps:
        searcher.step()
        played = int(problem.status["total_interaction_count"])
        if played >= n_steps * (len(curve) + 1) / 10:
            policy = problem.to_policy(searcher.status["center"])
            returns = [problem.run(policy)["cumulative_reward"] for _ in range(_N_TEST_EPISODES)]
            curve.append((played, sum(returns) / len(returns)))
    problem.kill_actors()
    return curve


def main() -> None:
    """Print one line per seed and tenth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--steps", type=int, default=500_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--population", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(given.seeds):
        began = time.perf_counter()
        for steps, mean in play(given.task, given.steps, given.population, seed):
            print(f"{given.task} seed {seed}: {steps:,} steps, centre {mean:.1f}, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
