"""Plays the baselines in the hard maze and at the settings of Duan et al. 2016 (RL², arXiv 1611.02779); prints means.

Each mean is of 20,000 episodes, ± its standard error. `--recalled` adds the published means, which are recalled from
the paper's tables: check them before quoting. `informed-greedy` is not among them. Each published mean is of 1,000
episodes, the same ones for every baseline of a setting, and so has its own standard error. The last column is the
difference in units of both errors together. For the hard maze no means are published.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np

from gadask.config import EnvConfig
from gadask.envs.baselines import BASELINES, play_baseline
from gadask.units import error_text

_N_EPISODES = 20_000
_N_PUBLISHED = 1000
_BANDIT = ("random", "gittins", "thompson", "ucb1", "epsilon-greedy", "greedy")
_MDP = ("random", "psrl", "greedy", "informed-greedy")
_PUBLISHED: dict[tuple[int, int], tuple[float, ...]] = {
    (10, 5): (5.0, 6.6, 5.7, 6.7, 6.6, 6.6),
    (100, 5): (49.9, 78.3, 74.7, 78.0, 75.4, 74.8),
    (100, 10): (49.9, 82.8, 76.7, 82.4, 77.4, 77.1),
    (500, 5): (249.8, 405.8, 402.0, 405.8, 388.2, 380.6),
    (500, 50): (249.6, 463.7, 427.2, 457.6, 413.6, 402.8),
}
_PUBLISHED_MDP: dict[int, tuple[float | None, ...]] = {
    10: (100.1, 138.1, 134.8, None),
    25: (250.2, 408.8, 368.8, None),
    50: (499.7, 904.4, 769.3, None),
}


def main() -> None:
    """Print one table of all settings."""
    parser = argparse.ArgumentParser(prog="python -m gadask.envs.baselines", allow_abbrev=False)
    parser.add_argument("--recalled", action="store_true", help="show the published means too, which are recalled")
    recalled = parser.parse_args().recalled
    more = " published, recalled | difference / standard error |" if recalled else ""
    print(f"| setting | baseline | mean ± s.e. |{more}\n" + "| --- " * (5 if recalled else 3) + "|")
    for (n_pulls, n_arms), published in _PUBLISHED.items():
        env = EnvConfig("gadask/MetaBandit-v0", {"n_pulls": n_pulls, "n_arms": n_arms})
        _print_rows(f"{n_pulls} pulls, {n_arms} arms", env, dict(zip(_BANDIT, published, strict=True)), recalled)
    for n_episodes, published_mdp in _PUBLISHED_MDP.items():
        env = EnvConfig("gadask/MetaMDP-v0", {"n_episodes": n_episodes})
        _print_rows(f"MDP, {n_episodes} rounds", env, dict(zip(_MDP, published_mdp, strict=True)), recalled)
    _print_rows("hard maze", EnvConfig("gadask/HardMaze-v0"), dict.fromkeys(BASELINES["gadask/HardMaze-v0"]), recalled)


def _print_rows(setting: str, env: EnvConfig, published: Mapping[str, float | None], recalled: bool) -> None:
    for name, theirs in published.items():
        returns = play_baseline(name, env, range(_N_EPISODES)).returns
        error = returns.std() / np.sqrt(_N_EPISODES)
        both = returns.std() * np.sqrt(1 / _N_EPISODES + 1 / _N_PUBLISHED)
        ours = returns.mean()
        compared = " – | – |" if theirs is None else f" {theirs} | {(ours - theirs) / both:+.1f} |"
        line = f"| {setting} | {name} | {error_text(float(ours), float(error))} |"
        print(line + (compared if recalled else ""), flush=True)


if __name__ == "__main__":
    main()
