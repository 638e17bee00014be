"""dask-jobqueue, which knows how jobs ask a batch system for a node; imported so that Ctrl-C stays as it was."""

from __future__ import annotations

import signal

_interrupt = signal.getsignal(signal.SIGINT)
import dask_jobqueue  # noqa: E402

if _interrupt is not None:
    signal.signal(signal.SIGINT, _interrupt)  # importing dask-jobqueue replaces it

__all__ = ["dask_jobqueue"]
