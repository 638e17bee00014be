"""Evolve neural-network policies with a distributed genetic algorithm on Dask.

```python
import gadask

config = gadask.load_config("cartpole")
if __name__ == "__main__":  # each Dask worker imports this script again
    with gadask.cluster("local") as cluster:
        for generation in gadask.evolve_blocking(config, cluster, "runs/mine"):
            print(generation.number, generation.elite.mean)
    policy = gadask.open_run("runs/mine").policy("best")
```

What is listed in `__all__` is for everybody. Below it, what the reference (`docs/reference/python`) lists may be used
too, such as `gadask.config.config_from_dict`, and may change; all else is private by convention. Each name is imported
when it is first used, so that `import gadask` itself costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gadask.config import Config, load_config
    from gadask.errors import GadaskError, Interrupted
    from gadask.face.clusters import cluster
    from gadask.face.evolution import evaluate, evaluate_blocking, evolve, evolve_blocking
    from gadask.face.runs import Run, open_run
    from gadask.face.studies import Study, open_study
    from gadask.face.watching import sweep, watch

    __version__: str

__all__ = [
    "Config",
    "GadaskError",
    "Interrupted",
    "Run",
    "Study",
    "__version__",
    "cluster",
    "evaluate",
    "evaluate_blocking",
    "evolve",
    "evolve_blocking",
    "load_config",
    "open_run",
    "open_study",
    "sweep",
    "watch",
]

_WHERE = {
    "Config": "gadask.config",
    "GadaskError": "gadask.errors",
    "Interrupted": "gadask.errors",
    "Run": "gadask.face.runs",
    "Study": "gadask.face.studies",
    "cluster": "gadask.face.clusters",
    "evaluate": "gadask.face.evolution",
    "evaluate_blocking": "gadask.face.evolution",
    "evolve": "gadask.face.evolution",
    "evolve_blocking": "gadask.face.evolution",
    "load_config": "gadask.config",
    "open_run": "gadask.face.runs",
    "open_study": "gadask.face.studies",
    "sweep": "gadask.face.watching",
    "watch": "gadask.face.watching",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("gadask")
        except PackageNotFoundError:
            return "unknown"  # a checkout that is not installed
    if name not in _WHERE:
        raise AttributeError(f"module 'gadask' has no attribute {name!r}")
    found = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
