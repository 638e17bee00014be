"""Your own task and policy: a symbol is shown once, and has to be named `delay` steps later."""

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import nn


class Recall(gymnasium.Env):
    """Observations are the symbol, one-hot, then zeros; the last entry is 1 when the answer is asked for."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, n_symbols: int = 3, delay: int = 4, render_mode: str | None = None):
        self.observation_space = Box(0, 1, (n_symbols + 1,), np.float32)
        self.action_space = Discrete(n_symbols)
        self.delay, self.render_mode = delay, render_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)  # everything random comes from this seed
        self.symbol = int(self.np_random.integers(self.action_space.n))
        self.steps = 0
        return self.observe(self.symbol), {}

    def step(self, action: int):
        self.steps += 1
        over = self.steps > self.delay
        reward = float(over and action == self.symbol)
        return self.observe(-1 if self.steps == self.delay else None), reward, over, False, {}

    def observe(self, entry: int | None) -> np.ndarray:
        self.seen = np.zeros(self.observation_space.shape, np.float32)
        if entry is not None:
            self.seen[entry] = 1
        return self.seen

    def render(self) -> np.ndarray:
        bars = np.kron(self.seen, np.ones((60, 40)))  # a bar an entry, lit where it is 1
        return np.stack([200 * bars + 40] * 3, axis=2).astype(np.uint8)


class Elman(nn.Module):
    """A network that remembers: called with one observation and its state, it returns output and next state."""

    def __init__(self, observation_space: Box, action_space: Discrete, units: int = 8):
        super().__init__()
        self.inner = nn.Linear(observation_space.shape[0] + units, units)
        self.output = nn.Linear(units, int(action_space.n))

    def initial_state(self) -> torch.Tensor:
        return torch.zeros(1, self.inner.out_features)

    def forward(self, observation: torch.Tensor, state: torch.Tensor):
        state = torch.tanh(self.inner(torch.cat([observation, state], 1)))
        return self.output(state), state


gymnasium.register("Recall-v0", entry_point=Recall)
