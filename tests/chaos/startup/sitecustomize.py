"""Makes every Python process of a chaos run write its stacks to `$GADASK_CHAOS_STACKS/PID.txt` when it gets SIGUSR1."""

import faulthandler
import os
import signal

_folder = os.environ.get("GADASK_CHAOS_STACKS")
if _folder:
    # The file stays open as long as the process lives; a forked rollout process writes to its fork server's.
    _file = open(os.path.join(_folder, f"{os.getpid()}.txt"), "w")  # noqa: PTH118, PTH123, SIM115 -- before any import
    faulthandler.register(signal.SIGUSR1, file=_file, all_threads=True)
