"""What decides which genomes are played next. `algorithm.py` says what an algorithm is; each is one file.

To add one: a file with a frozen dataclass that has the methods of `Algorithm` and a factory `of(config)`; its line in
`ALGORITHMS`; and a table of its settings in `config_tables.py`, whose class names the algorithm (`algorithm = "KIND"`)
and is a field of `Config`. The shared tests, `tests/test_algorithms.py` and `tests/test_algorithm_runs.py`, run every
algorithm of `ALGORITHMS`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from gadask.algorithms.algorithm import Algorithm
from gadask.algorithms.guarded import guarded
from gadask.algorithms.novelty import Novelty
from gadask.algorithms.openai_es import OpenAIES
from gadask.algorithms.random_search import RandomSearch
from gadask.algorithms.truncation import Truncation
from gadask.blame import in_one_line
from gadask.config import Config
from gadask.errors import ConfigError, GadaskError
from gadask.imports import find_user_function, import_user_module

ALGORITHMS: dict[str, Callable[[Config], Algorithm[Any]]] = {
    "truncation": Truncation.of,
    "random-search": RandomSearch.of,
    "novelty": Novelty.of,
    "openai-es": OpenAIES.of,
}
"""By `algorithm.kind`."""


def make_algorithm(config: Config) -> Algorithm[Any]:
    """Return the algorithm of a run.

    Raises `ConfigError` where there is none, or its factory, `factory(config, **algorithm.kwargs)`, raises.
    """
    kind = config.algorithm.kind
    if kind in ALGORITHMS:
        return ALGORITHMS[kind](config)
    module, _, name = kind.partition(":")
    factory = find_user_function(
        import_user_module(module, "algorithm.kind", ConfigError), name, "algorithm.kind", ConfigError
    )
    try:
        algorithm: Algorithm[Any] = factory(config, **copy.deepcopy(config.algorithm.kwargs))
    except GadaskError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's function raises
        raise ConfigError(f"algorithm.kind: {kind!r} cannot make an algorithm: {in_one_line(error)}") from error
    return guarded(kind, algorithm)
