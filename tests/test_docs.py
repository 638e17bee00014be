"""The docs site: it builds strictly, loads nothing from elsewhere, and what its pages tell people to type is real."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from docs.hooks.commands import commands, flags_of, module_of
from docs.hooks.settings import fields_of
from gadask.__main__ import COMMANDS
from gadask.clusters.machine import Machine
from gadask.config import Config, config_from_dict
from gadask.console.node_flags import NodeFlags
from gadask.sweeps.study import load_study
from tests.test_examples import public

ROOT = Path(__file__).parents[1]
_STRICT = ("--quiet", "--fail-on-warning", "--keep-going")
_NOBODY = "http://127.0.0.1:9"
"""A proxy that is not there: the site needs no network."""

_CALLED = r"(jobs|analysis)/\w+\.(py|sbatch)|\bgadask (" + "|".join(COMMANDS) + r")\b"
"""A command of gadask's in a line of a shell."""

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site; every warning of the build is an error."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *_STRICT, "docs", folder],
        cwd=ROOT,
        env=os.environ | {"http_proxy": _NOBODY, "https_proxy": _NOBODY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return folder


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    outside = re.compile(
        r"""<(?:script|img|iframe|source|video)\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*>"""
        r"""|<link\b[^>]*\bhref=["']?(?:https?:)?//[^>]*>"""
    )
    in_styles = re.compile(r"""(?:url\(|@import\s)["']?(?:https?:)?//[^)]*""")
    pages, styles = pages_of(site), list(site.rglob("*.css"))
    assert len(pages) > 20
    assert styles
    assert not {match for path in pages for match in outside.findall(path.read_text())}
    assert not {match for path in [*pages, *styles] for match in in_styles.findall(path.read_text())}


def test_links_of_the_site_lead_somewhere(site: Path) -> None:
    """Between pages, to their anchors, and to files; those that templates and directives make among them."""
    pages = {path: BeautifulSoup(path.read_text(), "html.parser") for path in pages_of(site)}
    anchors = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    found, dead = 0, []
    for path, page in pages.items():
        for tag in page.find_all(["a", "link", "script", "img"]):
            link = urlsplit(str(tag.get("href") or tag.get("src") or ""))
            if link.scheme or link.netloc or not (link.path or link.fragment):
                continue
            found += 1
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            is_there = target.is_file() and (not link.fragment or unquote(link.fragment) in anchors.get(target, ()))
            if not is_there:
                dead.append(f"{path.relative_to(site)}: {link.geturl()}")
    assert not dead
    assert found > 1000


def test_everything_that_is_public_is_described(site: Path) -> None:
    page = BeautifulSoup((site / "reference" / "python" / "gadask.html").read_text(), "html.parser")
    described = {str(tag["id"]).rpartition(".")[2] for tag in page.select("dl.py > dt[id]")}
    assert described >= set(public()) > {"Config", "evolve", "EvolvedPolicy"}


def test_every_setting_is_listed(site: Path) -> None:
    settings = (site / "reference" / "settings.html").read_text()
    for table in fields_of(Config):
        names = [f"{table.name}.{field.name}" for field in fields_of(table.type)] if _is_table(table.type) else ["seed"]
        for name in names:
            assert f'id="{_id(name)}"' in settings
    machine = (site / "reference" / "machine-files.html").read_text()
    assert all(f'id="{_id(f"machine.{field.name}")}"' in machine for field in dataclasses.fields(Machine))


def test_nothing_is_listed_without_a_word_on_it() -> None:
    tables = [field.type for field in fields_of(Config) if _is_table(field.type)]
    for cls in [Config, *tables, Machine, NodeFlags, *commands().values()]:
        for field in fields_of(cls):
            assert field.text or _is_table(field.type), f"{cls.__name__}.{field.name} has no docstring"


@pytest.mark.parametrize("name", ["run", "sweep", "evaluate", "report"])
def test_listed_flags_are_those_of_the_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    listed = {*flags_of(commands()[name])}
    assert listed <= _flags_in_help(name)


def test_typed_commands_exist() -> None:
    """Scripts, files of the repository and flags in the pages' shell commands."""
    found = 0
    for page in PAGES:
        for command in _shell_commands(page.read_text()):
            words = shlex.split(command)
            if "gadask" in words:
                place = words.index("gadask")
                words[place : place + 2] = [" ".join(words[place : place + 2])]
            scripts = [word for word in words if re.fullmatch(_CALLED, word)]
            for script in scripts:
                found += 1
                assert script.startswith("gadask") or (ROOT / script).exists(), f"{page.name}: {command}"
            for file in (word for word in words if word.startswith(("jobs/", "docs/")) and word.endswith(".toml")):
                assert (ROOT / file).exists(), f"{page.name}: {command}"
            for script in scripts[:1]:
                known = _known_flags(script)
                flags = {word.partition("=")[0] for word in words[words.index(script) :] if word.startswith("--")}
                assert flags <= known, f"{page.name}: {flags - known} in {command}"
    assert found > 20


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())
    assert len(links) > 10
    assert all((ROOT / link).exists() for link in links)


def test_config_and_study_files_in_the_pages_load(tmp_path: Path) -> None:
    """TOML that a page shows is a config, or a study where it has a grid."""
    blocks = [block for page in PAGES for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)]
    for block in blocks:
        table = tomllib.loads(block)
        if "grid" in table:
            (tmp_path / "study.toml").write_text(block)
            assert len(load_study(tmp_path / "study.toml")) > 1
        else:
            config_from_dict(table)
    assert len(blocks) >= 3


def pages_of(site: Path) -> list[Path]:
    """Return the site's pages; the theme has templates beside its styles."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def _id(name: str) -> str:
    """Return the anchor of a setting, as docutils makes it of the name."""
    return re.sub(r"[._]", "-", name).rstrip("-")


def _is_table(hint: object) -> bool:
    return dataclasses.is_dataclass(hint)


def _flags_in_help(name: str) -> set[str]:
    """Return every flag that `--help-all` of a command names."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        module_of(name).main(["--help-all"])
    return set(re.findall(r"--[a-z][\w.-]*", text.getvalue()))


def _known_flags(script: str) -> set[str]:
    """Return the flags that a command takes, or a script; a batch script hands its own on to `gadask run`."""
    stem = "run" if script.endswith(".sbatch") else Path(script.removeprefix("gadask ")).stem
    names = {module.rpartition(".")[2]: name for name, (module, _) in COMMANDS.items()}
    name = names.get(stem, stem)
    arguments = commands()[name] if name in COMMANDS else import_module(f"analysis.{stem}").Arguments
    known = {*flags_of(arguments), "--help", "--help-all"}
    if "--cluster" in known:
        known |= {f"--machine.{field.name.replace('_', '-')}" for field in dataclasses.fields(Machine)}
    for table in fields_of(arguments):
        if table.type is Config:
            for field in fields_of(Config):
                inner = fields_of(field.type) if _is_table(field.type) else ()
                known |= {f"--{field.name}", *(f"--{field.name}.{i.name.replace('_', '-')}" for i in inner)}
    return known


def _shell_commands(text: str) -> Iterator[str]:
    """Yield the commands of fenced blocks without a language, lines that end in a backslash joined."""
    for block in re.findall(r"^ *```\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if re.search(_CALLED, line):
                yield re.sub(r"\s#.*", "", line)
