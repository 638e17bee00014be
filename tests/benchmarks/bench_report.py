"""What the report of a long run takes: a thousand synthetic generations of a thousand children."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.analysis.synthetic import synthetic_config, write_run

_CODE = """
import re, sys
from pathlib import Path
from gadask.analysis.report import main
status = main([sys.argv[1], "--no-film"])
print("peak", re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""


def measure() -> dict[str, float]:
    """Return the time and the memory of the process that makes it, and the size of the page."""
    with tempfile.TemporaryDirectory() as directory:
        path = write_run(Path(directory) / "run", synthetic_config(1000), 1000)
        begin_s = time.monotonic()
        peak_bytes = make_report(path)
        seconds = time.monotonic() - begin_s
        size_bytes = (path / "report.html").stat().st_size
    return {
        "report of 1000 generations, s": seconds,
        "report of 1000 generations, peak memory, MB": peak_bytes / 1e6,
        "report of 1000 generations, page, MB": size_bytes / 1e6,
    }


def make_report(path: Path) -> int:
    """Make a run's report in a process of its own; returns the most memory that it held, in bytes."""
    result = subprocess.run([sys.executable, "-c", _CODE, str(path)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    match = re.search(r"^peak (\d+)$", result.stdout, re.MULTILINE)
    assert match is not None, result.stdout
    return 1024 * int(match[1])
