"""What a run was made with: versions, commit, machine, Slurm job. Gathered without importing any of it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

_PACKAGES = (
    "gadask",
    "numpy",
    "torch",
    "dask",
    "distributed",
    "dask-jobqueue",
    "gymnasium",
    "ale-py",
    "mujoco",
    "pyarrow",
)
_PLAYERS = ("numpy", "torch", "gymnasium")
"""Packages that decide a row, beside gadask itself."""
_EMULATORS = ("ale-py", "mujoco")
"""The same, but only of tasks that are played in them."""
_ONLOOKERS = ("analysis", "bench", "commands", "configs", "console", "dashboard", "face", "sites", "sweeps")
"""Folders of gadask that decide no row: what draws, reports and reads command lines."""
_SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURM_CLUSTER_NAME")
_SIMD = ("sse4", "avx", "fma", "amx", "asimd", "sve")
_NAMES_OF_SIMD = {"avx512f": "AVX-512", "avx2": "AVX2", "sve": "SVE", "asimd": "NEON"}
_SOURCES = (".py", ".c", ".h")
_HERE = Path(__file__).parents[1]


def provenance(noise_digest: str) -> dict[str, Any]:
    """Return one entry of `provenance.json`: plain JSON values that describe this process and its machine."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": _commit(),
        "source": source_digest(_HERE),
        "compiled_kernels": has_compiled_kernels(),
        "command": sys.argv,
        "host": platform.node(),
        "system": platform.platform(),
        "cpu": cpu(),
        "noise_digest": noise_digest,
        "slurm": {name: os.environ[name] for name in _SLURM if name in os.environ},
    }


def changes(before: object, after: dict[str, Any]) -> list[str]:
    """Return what code differs between two entries, such as `"torch 2.6.0 → 2.13.0"`; `before` may be damaged."""
    before = before if isinstance(before, dict) else {}
    versions = before.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    found = [
        f"{name} {versions.get(name)} → {version}"
        for name, version in after.get("versions", {}).items()
        if versions.get(name) != version
    ]
    if before.get("source") != after.get("source"):
        sources = [f"{entry.get('source')} (commit {entry.get('commit')})" for entry in (before, after)]
        found.append(f"gadask's source {' → '.join(sources)}")
    if before.get("compiled_kernels") != after.get("compiled_kernels"):
        found.append(f"compiled kernels {before.get('compiled_kernels')} → {after.get('compiled_kernels')}")
    return found


def source_digest(folder: Path, without: Collection[str] = ()) -> str:
    """Return a digest of the source files in a folder that can be read: it tells apart code that no commit does.

    `without` names folders in it that are left out.
    """
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.suffix in _SOURCES):
        path = file.relative_to(folder)
        if path.parts[0] in without:
            continue
        with contextlib.suppress(OSError):  # no reason to stop a run
            content = file.read_bytes()
            digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


@functools.cache
def code() -> str:
    """Return version and source digest of the gadask that this process has imported, such as `0.1.0 (3f2a…)`.

    Processes that exchange rows or weights must agree in it; sources that decide no row do not count.
    """
    version = _versions(("gadask",)).get("gadask", "of no version")
    return f"{version} ({source_digest(_HERE, without=_ONLOOKERS)})"


@functools.cache
def libraries() -> dict[str, str]:
    """Return what decides a row beside gadask's sources, by name: versions, and whether kernels are compiled."""
    compiled = "present" if has_compiled_kernels() else "missing"
    return {"compiled library": compiled, **_versions(_PLAYERS)}


def has_compiled_kernels() -> bool:
    """Whether this installation has `policies.kernels`, which round otherwise than what stands in for them."""
    return any((_HERE / "policies" / "kernels" / f"_convolutional{suffix}").exists() for suffix in EXTENSION_SUFFIXES)


def cpu() -> dict[str, Any]:
    """Return the CPU's `model` and its vector instruction sets as sorted `flags`; floats depend on both."""
    fields: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    for line in text.split("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    flags = fields.get("flags", fields.get("Features", "")).split()
    arm = " ".join(fields[name] for name in ("CPU implementer", "CPU part") if name in fields)
    return {
        "model": fields.get("model name") or f"{platform.processor() or platform.machine()} {arm}".strip(),
        "flags": sorted(flag for flag in flags if flag.startswith(_SIMD)),
    }


@functools.cache
def emulators() -> dict[str, str]:
    """Return the versions of the emulators that are installed; a node may lack one that its tasks do without."""
    return _versions(_EMULATORS)


def cpu_text() -> str:
    """Return what may round differently on another machine: the CPU's model and its best vector instructions."""
    found = cpu()
    best = next((name for flag, name in _NAMES_OF_SIMD.items() if flag in found["flags"]), "")
    return ", ".join(filter(None, (found["model"], best)))


def _versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _commit() -> str | None:
    """Return the git commit of the checkout that gadask runs from, with `+` if files differ; None outside one."""
    # An installed copy may lie inside another project's checkout: ask whether git knows this very file.
    if _git("ls-files", "--error-unmatch", "errors.py") is None:
        return None
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return commit + "+" if commit and changed else commit


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(_HERE), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
