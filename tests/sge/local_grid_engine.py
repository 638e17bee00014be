"""A real Grid Engine on loopback: a master, and one machine that claims 64 slots on whatever machine this is.

Daemons run in the foreground as children, on free ports and with every file in one folder, so that none touches the
machine's own configuration. Must run as root.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import wait_until
from tests.slurm.local_slurm import dying_with_parent, free_ports

SLOTS = 64

_HOME = Path("/var/lib/gridengine")
_LIBRARY = Path("/usr/lib/gridengine")
_SHARE = Path("/usr/share/gridengine")
_PROGRAMS = ("sge_qmaster", "sge_execd", "qconf", "spoolinit", "spooldefaults")

_BOOTSTRAP = """
admin_user none
default_domain none
ignore_fqdn true
spooling_method berkeleydb
spooling_lib libspoolb
spooling_params {root}/spool/db
binary_path /usr/sbin
qmaster_spool_dir {root}/spool/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
"""
_CONFIGURATION = {
    "execd_spool_dir": "{root}/spool/execd",
    "min_uid": "0",
    "min_gid": "0",
    "mailer": "/bin/true",
    "load_report_time": "00:00:02",
}
_SCHEDULER = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}
_ENVIRONMENT = {
    "pe_name": "smp",
    "slots": "999",
    "allocation_rule": "$pe_slots",
    **dict.fromkeys(("user_lists", "xuser_lists", "start_proc_args", "stop_proc_args", "qsort_args"), "NONE"),
    **dict.fromkeys(("control_slaves", "job_is_first_task", "accounting_summary"), "FALSE"),
    "urgency_slots": "min",
}
_QUEUE = {
    "hostlist": "localhost",
    "load_thresholds": "NONE",
    "pe_list": "smp",
    "slots": str(SLOTS),
    "shell_start_mode": "unix_behavior",
}


@dataclass(frozen=True)
class LocalGridEngine:
    """A Grid Engine that runs."""

    root: Path
    environ: Mapping[str, str]
    """What its commands need in their environment."""

    def call(self, *command: object) -> str:
        """Run a command; returns what it prints, raises `CalledProcessError`."""
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """Return the state of each job in the queue, by its number."""
        return dict(re.findall(r"(?m)^ *(\d+) +\S+ +\S+ +\S+ +(\S+) ", self.call("qstat", "-u", "*")))

    def cancel_all(self) -> None:
        """Cancel every job and wait until all are gone."""
        if self.jobs():
            with contextlib.suppress(subprocess.CalledProcessError):  # they ended by themselves
                self.call("qdel", "-u", "*")
        wait_until(lambda: not self.jobs(), 60, "an empty queue")


def missing_programs() -> list[str]:
    """Return what a local Grid Engine needs and this machine lacks."""
    missing = [program for program in _PROGRAMS if not (_LIBRARY / program).exists()]
    return missing if os.geteuid() == 0 else [*missing, "the rights of root"]


@contextlib.contextmanager
def local_grid_engine() -> Iterator[LocalGridEngine]:
    """Start a Grid Engine; ends its jobs and its daemons."""
    root = Path(tempfile.mkdtemp(prefix="gadask-sge-"))
    ports = free_ports(2)
    names = ("SGE_QMASTER_PORT", "SGE_EXECD_PORT")
    engine = LocalGridEngine(
        root, {"SGE_ROOT": str(root), "SGE_CELL": "default", **{n: str(p) for n, p in zip(names, ports, strict=True)}}
    )
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        _write_files(engine)
        daemons.append(_start(engine, "sge_qmaster"))
        wait_until(lambda: _answers(engine), 60, f"an answer of Grid Engine's master; its log is in {root}")
        _configure(engine)
        daemons.append(_start(engine, "sge_execd"))
        wait_until(lambda: " lx-" in engine.call("qhost", "-h", "localhost"), 60, "a machine that reports")
        try:
            yield engine
        finally:
            engine.cancel_all()
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(root)


def _write_files(engine: LocalGridEngine) -> None:
    root = engine.root
    root.chmod(0o755)
    for folder in ("default/common", "spool/qmaster/job_scripts", "spool/execd", "spool/db"):
        (root / folder).mkdir(parents=True)
    for name in ("bin", "lib", "utilbin", "util"):
        (root / name).symlink_to(_HOME / name)
    common = root / "default" / "common"
    (common / "bootstrap").write_text(_BOOTSTRAP.format(root=root).lstrip())
    (common / "act_qmaster").write_text("localhost\n")
    # Whatever this machine calls itself, its address is loopback's.
    (common / "host_aliases").write_text(f"localhost {socket.gethostname()}\n")
    settings = _changed((_SHARE / "default-configuration").read_text(), _CONFIGURATION)
    (root / "configuration").write_text(settings.format(root=root))
    engine.call(_LIBRARY / "spoolinit", "berkeleydb", "libspoolb", root / "spool" / "db", "init")
    for what, value in (
        ("configuration", root / "configuration"),
        ("complexes", _SHARE / "util/resources/centry"),
        ("usersets", _SHARE / "util/resources/usersets"),
        ("managers", "root"),
    ):
        engine.call(_LIBRARY / "spooldefaults", what, value)


def _configure(engine: LocalGridEngine) -> None:
    """Have a queue in which a job may have many slots, and jobs that start at once."""
    file = engine.root / "settings"
    engine.call("qconf", "-as", "localhost")
    for add, text in (
        ("-Ap", "\n".join(f"{name} {value}" for name, value in _ENVIRONMENT.items())),
        ("-Aq", _changed(engine.call("qconf", "-sq"), {"qname": "all.q", **_QUEUE})),
        ("-Msconf", _changed(engine.call("qconf", "-ssconf"), _SCHEDULER)),
    ):
        file.write_text(f"{text}\n")
        engine.call("qconf", add, file)


def _changed(text: str, changes: Mapping[str, str]) -> str:
    """Return lines of names and values with other values."""
    for name, value in changes.items():
        text, n = re.subn(rf"(?m)^{name}\s.*", f"{name} {value}", text)
        assert n == 1, (name, text)
    return text


def _start(engine: LocalGridEngine, program: str) -> subprocess.Popen[bytes]:
    with (engine.root / f"{program}.log").open("ab") as log:
        return subprocess.Popen(
            [_LIBRARY / program],
            env={**os.environ, **engine.environ, "SGE_ND": "1"},  # no daemon: it stays in the foreground
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=dying_with_parent(),
            start_new_session=True,
        )


def _answers(engine: LocalGridEngine) -> bool:
    try:
        engine.call("qconf", "-sh")
    except subprocess.CalledProcessError:
        return False
    return True
