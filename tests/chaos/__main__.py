"""`python -m tests.chaos --seconds 900 --seed S`: see the package.

Exit status: 0, every promise was kept; 1, one was not, and what was done, who stands where and the folder with all
output are printed; 130, interrupted. It needs to be root, or to be allowed to be in a namespace of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import traceback

from tests.chaos import processes
from tests.chaos.chaos import Chaos, Plan, log_of, new_folder
from tests.chaos.disk import enter_namespace
from tests.chaos.injectors import INJECTORS
from tests.chaos.promises import BrokenError
from tests.chaos.runs import KINDS


def main() -> int:
    """Run the command line; returns the exit status."""
    enter_namespace(sys.argv[1:])
    arguments = _parse()
    names = arguments.only or list(INJECTORS)
    kinds = [kind for kind in KINDS if kind.name in (arguments.runs or [kind.name])]
    plan = Plan(arguments.seed, arguments.seconds, kinds, names, arguments.parallel)
    chaos = Chaos(plan, new_folder())
    print(f"seed {plan.seed}, {plan.seconds:g} s, {len(names)} injectors, runs {', '.join(k.name for k in kinds)}")
    status = 1
    try:
        asyncio.run(_until_interrupted(chaos))
        status = 0
    except asyncio.CancelledError:
        print("interrupted")
        status = 130
    except BaseException as error:
        _report(chaos, error)
    finally:
        processes.end_all(chaos.mark)
    if status == 1 or arguments.keep:
        kept = shutil.copytree(chaos.folder, chaos.folder.with_name(chaos.folder.name + "-kept"))
        print(f"everything is in {kept}")
    shutil.rmtree(chaos.folder / "disk", ignore_errors=True)  # the mount itself goes with this process
    shutil.rmtree(chaos.folder, ignore_errors=True)
    if status == 0:
        runs = ", ".join(f"{n} {name}" for name, n in sorted(chaos.n_finished.items()))
        print(f"runs: {runs}")
        print("struck: " + ", ".join(f"{n} {name}" for name, n in sorted(chaos.n_struck.items())))
    return status


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to disturb; each injector strikes once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=3, help="runs at the same time")
    parser.add_argument("--only", nargs="+", choices=list(INJECTORS), help="these injectors alone")
    parser.add_argument("--runs", nargs="+", choices=[kind.name for kind in KINDS], help="these kinds of run alone")
    parser.add_argument("--keep", action="store_true", help="keep the folder when all is well, too")
    return parser.parse_args()


async def _until_interrupted(chaos: Chaos) -> None:
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    await chaos.play()


def _report(chaos: Chaos, error: BaseException) -> None:
    """Print everything that helps to find out what went wrong."""
    print(f"\n{_text(error)}\n\nWhat was done (seed {chaos.plan.seed}):\n{log_of(chaos)}\n")
    print(f"What the processes did:\n{chaos.stacks}\n")
    print(_text(error))


def _text(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(map(_text, error.exceptions))
    if isinstance(error, BrokenError):
        return f"BROKEN: {error}"
    return "".join(traceback.format_exception(error))


if __name__ == "__main__":
    sys.exit(main())
