"""The algorithms that the shared tests run through: all of `ALGORITHMS`, some of them with settings of their own."""

from __future__ import annotations

from typing import Any

from gadask.algorithms import ALGORITHMS
from gadask.config import Config

_BEHAVIOUR = {"env": {"behaviour": True}}
_NEEDY = {table.algorithm for table in vars(Config()).values() if getattr(table, "needs_behaviour", False)}


def merged(*configs: dict[str, Any]) -> dict[str, Any]:
    """Return nested tables with the entries of all; later ones win."""
    together: dict[str, Any] = {}
    for config in configs:
        for name, value in config.items():
            together[name] = merged(together.get(name, {}), value) if isinstance(value, dict) else value
    return together


CASES: dict[str, dict[str, Any]] = {
    **{kind: {"algorithm": {"kind": kind}, **(_BEHAVIOUR if kind in _NEEDY else {})} for kind in ALGORITHMS},
    "truncation, self-adaptive": {"algorithm": {"kind": "truncation"}, "ga": {"self_adaptive": True}},
    "openai-es, momentum": {"algorithm": {"kind": "openai-es"}, "es": {"optimiser": "momentum"}},
    "novelty and return": {
        "algorithm": {"kind": "novelty"},
        "novelty": {"return_weight": 0.5, "archive_share": 0.2, "archive_size": 7},
        **_BEHAVIOUR,
    },
}
"""Tables of a config, by the name of a case."""
