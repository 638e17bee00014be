"""Evolve a policy for your own task, save it, and play it with plain Gymnasium."""

from pathlib import Path

import gymnasium
import torch

import gadask

if __name__ == "__main__":  # each Dask worker imports this script again
    config = gadask.load_config(Path(__file__).with_name("own_task.toml"))
    with gadask.cluster("local") as cluster:
        for generation in gadask.evolve_blocking(config, cluster, "runs/from-python"):
            print(f"generation {generation.number}: {generation.elite.mean:.2f}")
    policy = gadask.open_run("runs/from-python").policy("best")  # a torch.nn.Module
    torch.save(policy.network.state_dict(), "runs/from-python/network.pt")
    env = gymnasium.make(config.env.id, **config.env.kwargs)
    observation, _ = env.reset(seed=1)
    total = 0.0
    for _ in range(config.env.max_steps):
        observation, reward, terminated, truncated, _ = env.step(policy.act(observation))
        total += reward
        if terminated or truncated:
            break
    print(f"an episode with seed 1: {total:g}")
