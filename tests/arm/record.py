"""Records what the cases read on this machine: `python -m tests.arm.record`, after a change of cases or of bits."""

from __future__ import annotations

import json
from pathlib import Path

from tests.arm.test_arm import CASES, digest, played_here

if __name__ == "__main__":
    found = {name: digest(played_here(name)) for name in CASES}
    Path(__file__).with_name("digests.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
