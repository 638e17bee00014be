"""The wheel works without the checkout: what it holds, and a run, its report and its policy from nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from gadask.record.provenance import has_compiled_kernels, source_digest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SMALL = ("--generation.population", "8", "--ga.parents", "3", "--generation.candidate-episodes", "2")
ALL_MODULES = """
import importlib, pkgutil, sys
import gadask
for module in pkgutil.walk_packages(gadask.__path__, "gadask."):
    if not module.name.rpartition(".")[2].startswith("_"):  # `__main__` runs; compiled ones are not Python's
        importlib.import_module(module.name)
from gadask.record.provenance import has_compiled_kernels, source_digest
from pathlib import Path
files = {getattr(module, "__file__", None) or "" for module in sys.modules.values()}
print(*sorted(file for file in files if "/site-packages/" not in file and "gadask" in Path(file).parts), sep="\\n")
print(gadask.__file__, has_compiled_kernels(), source_digest(Path(gadask.__file__).parent))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel that was built from a copy of the sources, into which nothing was built before."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    built = shutil.ignore_patterns("__pycache__", "*.so")
    for folder in ("gadask", "jobs", "analysis", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=built)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir"]
    subprocess.run([sys.executable, "-m", "pip", *words, out, copy], check=True, cwd=out, timeout=300)
    (found,) = out.glob("gadask-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `bin` of an environment that has the wheel, and of this one only what gadask needs."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    (packages,) = home.glob("lib/python*/site-packages")
    # Folders named in a file of this kind are not searched for others: what makes the checkout importable stays behind.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run(
        [*pip, "--no-index", "--ignore-installed", wheel], check=True, cwd=home, env=environment(), timeout=120
    )
    return python.parent


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def called(program: Path, *words: object, cwd: Path) -> str:
    ended = subprocess.run(
        [program, *map(str, words)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    return ended.stdout


def test_the_wheel_holds_all_of_gadask_and_nothing_else(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.partition("/")[0] for name in names} == {"gadask"}
    compiled = {name for name in names if name.endswith(".so")}
    ours = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "gadask").rglob("*")
        if file.is_file() and file.suffix != ".so" and "__pycache__" not in file.parts
    }
    assert {"gadask/configs/studies/smoke.toml", "gadask/sites/allocation.sbatch"} < ours
    assert set(names) - compiled == ours
    if shutil.which("gcc"):
        stems = {name.partition(".")[0] for name in compiled}
        folders = {"policies/kernels/_convolutional", "envs/_screen", "genomes/_noise_sum"}
        assert stems == {f"gadask/{name}" for name in folders}


def test_a_run_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    gadask = installed / "gadask"
    begun = called(gadask, "run", "cartpole", "--run-dir", "run", "--budget.generations", 2, *SMALL, cwd=tmp_path)
    assert {"report.html", "elite.gif", "learning_curve.png"} < {path.name for path in (tmp_path / "run").iterdir()}
    go_on = begun.splitlines()[-1].removeprefix("go on: ").split()
    assert go_on[-3:] == ["--resume", "--budget.generations", "4"]
    assert go_on.count("--budget.generations") == 1
    assert "gen    3" in called(gadask, *go_on[1:], "--no-pictures", cwd=tmp_path)
    assert called(gadask, "report", "run", "--no-film", "--out", "again.html", cwd=tmp_path) == "again.html\n"
    exported = called(gadask, "export", "run", "--out", "policy.safetensors", cwd=tmp_path)
    assert exported.splitlines()[0] == "policy.safetensors"
    assert (tmp_path / "policy.safetensors").stat().st_size > 100


def test_nothing_comes_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    *elsewhere, last = called(installed / "python", "-P", "-c", ALL_MODULES, cwd=tmp_path).splitlines()
    assert [line for line in elsewhere if line] == []
    file, compiled, digest = last.split()
    assert Path(file).is_relative_to(installed.parent)
    assert compiled == str(has_compiled_kernels())
    assert digest == source_digest(ROOT / "gadask")
