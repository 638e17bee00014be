"""What runs were made with, as a report shows it: versions, commit, command and machine, from `provenance.json`.

Entries are dictionaries of any age: one for each start of a run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gadask.analysis.page import Page
from gadask.analysis.runs import Run
from gadask.analysis.wording import UNKNOWN
from gadask.record import files

_PROVENANCE = "provenance.json"


def add_provenance(page: Page, run_dir: Path) -> None:
    """Add what each start of the run was made with."""
    entries = _entries(run_dir)
    if not entries:
        reason = f"{_PROVENANCE} is damaged." if entries is None else f"The run has no {_PROVENANCE}."
        page.facts([("run directory", str(run_dir.resolve()))])
        page.note(reason)
        return
    last = entries[-1]
    page.facts(
        [
            ("run directory", str(run_dir.resolve())),
            ("started", ", ".join(entry.get("started", "?") for entry in entries)),
            *_code(last),
            ("command", " ".join(last.get("command", ()))),
            ("machine", _machine(last)),
            ("noise digest", str(last.get("noise_digest", UNKNOWN))),
        ]
    )
    if len(entries) > 1:
        page.note(f"The run was started {len(entries)} times; versions and machine are those of the last start.")


def add_study_provenance(page: Page, runs: Sequence[Run]) -> None:
    """Add what a study's runs were made with, each at its last start; where they differ, of which runs it is."""
    found: dict[str, dict[str, list[str]]] = {}
    unknown = []
    for run in runs:
        entries = _entries(run.path)
        if not entries:
            unknown.append(run.path.name)
            continue
        for name, value in (*_code(entries[-1]), ("machine", _machine(entries[-1]))):
            found.setdefault(name, {}).setdefault(value, []).append(run.path.name)
    rows = [
        (name, value if len(values) == 1 else f"{value} ({', '.join(of)})")
        for name, values in found.items()
        for value, of in values.items()
    ]
    if rows:
        page.facts(rows)
    if unknown:
        page.note(f"Without a {_PROVENANCE} that can be read: {', '.join(unknown)}.")


def _entries(run_dir: Path) -> list[dict[str, Any]] | None:
    """Return the entries of a run's starts; None where the file is damaged."""
    try:
        entries = json.loads(files.read(run_dir / _PROVENANCE) or b"[]")
    except ValueError:
        return None
    return entries if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries) else None


def _code(entry: dict[str, Any]) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in entry.get("versions", {}).items())
    return [("versions", versions), ("commit", str(entry.get("commit") or UNKNOWN))]


def _machine(entry: dict[str, Any]) -> str:
    return f"{entry.get('host', '?')}, {entry.get('system', '?')}, {entry.get('cpu', {}).get('model', '?')}"
