"""The command `gadask`: `gadask run CONFIG.toml --run-dir DIR`, `gadask report RUN_DIR`, …; also `python -m gadask`.

Each command is a module with `main(argv) -> int`, the exit status. The scripts of `jobs/` and `analysis/` in gadask's
repository call the same commands.
"""

from __future__ import annotations

import importlib
import sys
from difflib import get_close_matches
from importlib import resources
from typing import NoReturn

from gadask.console.leaving import leave

COMMANDS = {
    "run": ("gadask.commands.run", "Evolve one run, or resume it."),
    "sweep": ("gadask.commands.sweep", "Evolve a study: tasks × seeds × settings on one set of nodes."),
    "evaluate": ("gadask.commands.evaluate", "Play the elite, or any genome, again."),
    "export": ("gadask.commands.export", "Write a policy to a file that plays without gadask."),
    "report": ("gadask.analysis.report", "Report on a run or a study in one HTML page."),
    "curve": ("gadask.analysis.learning_curve", "Draw the learning curve of a run."),
    "curves": ("gadask.analysis.curves", "Draw the learning curves of a study."),
    "scores": ("gadask.analysis.scores", "Compare the final scores of a study, as a figure or a table."),
    "film": ("gadask.analysis.film", "Film the elite."),
    "lineage": ("gadask.analysis.lineage", "Draw the family tree of the elites."),
    "raster": ("gadask.analysis.raster", "Draw what every rollout process did when."),
    "length-bias": ("gadask.analysis.length_bias", "Show what the length of episodes does to selection."),
    "trials": ("gadask.analysis.trials", "Show the share of right choices in each trial of Harlow's task."),
    "bench": ("gadask.commands.bench", "Measure how fast this machine plays as a node."),
    "ga-dist": ("gadask.analysis.ga_dist", "Compare a study with ga-dist's curves of 2018."),
}
"""Module and summary of each command, in the order in which they are used."""

_USAGE = 2


def main() -> NoReturn:
    """Run the command that `sys.argv` names, and end this process with its exit status."""
    leave(_main(sys.argv[1:]))


def run_script(name: str) -> NoReturn:
    """Be the script that calls the command `name`: `python jobs/run.py …` does what `gadask run …` does."""
    leave(_call(name, sys.argv[1:]))


def _main(argv: list[str]) -> int:
    name, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if name in COMMANDS:
        return _call(name, rest)
    if name in ("--help", "-h", "help"):
        print(_help())
        return 0
    if name == "--version":
        import gadask

        print(f"gadask {gadask.__version__}")
        return 0
    if name == "--print-completion":
        return _print_completion(rest)
    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(COMMANDS)}"
    print(f"error: no command {name!r}; {hint}", file=sys.stderr)
    return _USAGE


def _print_completion(shells: list[str]) -> int:
    from gadask.console.completion import SHELLS, completion_script

    if len(shells) != 1 or shells[0] not in SHELLS:
        found = " ".join(map(repr, shells)) or "none"
        print(f"error: --print-completion: expected {' or '.join(SHELLS)}, found {found}", file=sys.stderr)
        return _USAGE
    print(completion_script(shells[0], COMMANDS), end="")
    return 0


def _call(name: str, argv: list[str]) -> int:
    status: int = importlib.import_module(COMMANDS[name][0]).main(argv)
    return status


def _help() -> str:
    """Return the page of `gadask --help`."""
    width = max(map(len, COMMANDS))
    rows = (f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    folder = resources.files("gadask")
    return "\n".join(
        (
            "usage: gadask COMMAND … | gadask --version",
            "",
            "Evolve neural-network policies with a distributed genetic algorithm,",
            "on one machine or a cluster.",
            "",
            *rows,
            "",
            "`gadask COMMAND --help` says more; `gadask --print-completion bash` prints a",
            "script that completes all this in the shell. First steps:",
            "",
            "  gadask run pendulum --run-dir runs/pendulum",
            "  gadask report runs/pendulum",
            "",
            "Configs, machine files and the script for sbatch that come with gadask:",
            *(f"  {folder / part}" for part in ("configs", "sites")),
        )
    )


if __name__ == "__main__":
    main()
