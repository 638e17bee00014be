"""Policies that raise where they are made, or where they play."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn


def raises(observation_space: Any, action_space: Any) -> nn.Module:
    raise RuntimeError("no weights")


def exits(observation_space: Any, action_space: Any) -> nn.Module:
    sys.exit(3)


class Raises(nn.Module):
    """Raises at once."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.n_calls = 0

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layer(observation) / (1 // 0)
        return output


class Late(Raises):
    """Raises at its third observation."""

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        self.n_calls += 1
        output: torch.Tensor = self.layer(observation) / (1 // (self.n_calls < 3))
        return output
