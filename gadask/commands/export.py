"""Write an evolved policy to a file: `gadask export RUN_DIR --out policy.safetensors|policy.pt2|policy.onnx`.

`.safetensors` holds the weights, `.pt2` and `.onnx` a program that plays without gadask: from an observation to an
action. Exit status: 0 done; 1 failed; 2 bad usage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gadask.console.command_line import FINISHED, check_dask, exit_status, parse
from gadask.errors import ConfigError, GenomeError
from gadask.face import EXPORTED


@dataclass(frozen=True)
class Arguments:
    """Write a genome's policy to a file that is read without gadask."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of the run, which may still be going on."""
    out: Annotated[Path, tyro.conf.arg(metavar="POLICY.safetensors")]
    """File to write: `.safetensors` for the weights, `.pt2` (torch.export) or `.onnx` for a program."""
    genome: str = "best"
    """`best`, the elite with the best mean over its evaluation episodes in any generation; `last`, the last elite; or a
    genome, as noise indices joined by `-`."""


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return exit_status(lambda: _run(parse(argv, Arguments(tyro.MISSING, tyro.MISSING))))


def _run(arguments: Arguments) -> int:
    check_dask()
    if arguments.out.suffix not in EXPORTED:
        raise ConfigError(f"--out: expected a name that ends in {', '.join(EXPORTED)}, found {str(arguments.out)!r}")
    from gadask.face.runs import open_run

    run = open_run(arguments.run_dir)
    try:
        genome = run.genome(arguments.genome)
    except GenomeError as error:
        raise ConfigError(f"--genome: expected best, last or noise indices, found {arguments.genome[:80]!r}") from error
    print(run.export(arguments.out, arguments.genome))
    if arguments.genome == "best" and run.elite is not None and genome != run.elite.genome:
        print("this is the elite with the best mean of all; the last elite, which a test plays, is --genome last")
    return FINISHED
