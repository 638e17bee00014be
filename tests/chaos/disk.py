"""A disk of a few megabytes in memory, which can be full for a while. Mounted where no other process sees it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_IN_NAMESPACE = "GADASK_CHAOS_NAMESPACE"
_SIZE_MB = 200


def enter_namespace(arguments: Sequence[str]) -> None:
    """Start this command anew where its mounts are its own: they go with its last process, however that ends."""
    if os.environ.get(_IN_NAMESPACE):
        return
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--mount", "--propagation", "private", "--", sys.executable, "-m", "tests.chaos"]
    os.execvpe(command[0], [*command, *arguments], {**os.environ, _IN_NAMESPACE: "1"})


class SmallDisk:
    """Holds the run directories."""

    def __init__(self, folder: Path) -> None:
        """Mount it at `folder`; raises `RuntimeError` where that is not allowed."""
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MB}m", "tmpfs", str(folder)]
        answer = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if answer.returncode:
            raise RuntimeError(f"the small disk cannot be mounted; run as root: {answer.stderr.strip()}")
        self._filler = folder / "filler"

    async def fill(self, seconds: float) -> None:
        """Leave no byte free for a while."""
        try:
            with self._filler.open("wb", buffering=0) as filler:
                try:
                    while True:
                        filler.write(bytes(1 << 20))
                except OSError:
                    pass
                try:
                    while True:
                        filler.write(bytes(1 << 12))
                except OSError:
                    pass
            await asyncio.sleep(seconds)
        finally:
            self._filler.unlink(missing_ok=True)
