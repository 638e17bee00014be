"""What an episode is worth: its return, or what a user's function makes of it (`generation.fitness`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gadask.blame import in_one_line
from gadask.config import Config
from gadask.errors import ConfigError, EvolutionError
from gadask.imports import find_user_function, import_user_module
from gadask.rows import Rows

Function = Callable[[float, int, NDArray[np.float32] | None], Any]
"""Of an episode's return, its agent steps, and its behaviour, None without `env.behaviour`."""


class Fitness:
    """Says what episodes are worth."""

    def __init__(self, config: Config) -> None:
        """Import the function that the config names; raises `ConfigError` if there is none."""
        self._name = config.generation.fitness
        self._function: Function | None = None
        if self._name != "return":
            module, _, name = self._name.partition(":")
            key = "generation.fitness"
            self._function = find_user_function(import_user_module(module, key, ConfigError), name, key, ConfigError)

    def finite(self, rows: Rows) -> tuple[Rows, list[float]]:
        """Return the episodes that are worth a finite number, and what; others are left out, as failed ones are."""
        values = np.array(self.of(rows), np.float64)
        is_finite = np.isfinite(values)
        return (rows if is_finite.all() else rows.where(is_finite)), values[is_finite].tolist()

    def of(self, rows: Rows) -> list[float]:
        """Return what each of the episodes is worth.

        Raises `EvolutionError` if the function raises, or returns what is no number.
        """
        returns: list[float] = rows.table["return"].tolist()
        if self._function is None:
            return returns
        behaviours = rows.behaviours()
        steps = rows.table["steps"].tolist()
        return [self.of_one(returns[i], steps[i], behaviours.get(i)) for i in range(len(rows))]

    def of_one(self, return_: float, steps: int, behaviour: NDArray[np.float32] | None) -> float:
        """Return what one episode is worth; raises as `of` does."""
        if self._function is None:
            return return_
        try:
            return float(self._function(return_, steps, behaviour))
        except (Exception, SystemExit) as error:  # whatever a user's function raises
            raise EvolutionError(f"generation.fitness: {self._name!r} failed: {in_one_line(error)}") from error
