"""`gadask bench node`: what is measured is real, and the model is what its page says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gadask.bench import node
from gadask.bench.bandwidth import read_bandwidth
from gadask.bench.speed import played
from gadask.bench.traffic import bytes_per_step
from gadask.commands import bench
from gadask.config import Config, EnvConfig, PolicyConfig, config_from_dict
from gadask.policies.kernels import instruction_set
from tests.conftest import faulty_config

pytestmark = pytest.mark.usefixtures("no_leaks")

KANGAROO = Config(env=EnvConfig("ALE/Kangaroo-v5"))
N_WEIGHTS = 7744 * 512


def test_a_step_waits_for_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "bytes_per_step", lambda _: 4e6)
    monkeypatch.setattr(node, "read_bandwidth", lambda n, _: 16e9 / n)
    monkeypatch.setattr(node, "played", lambda config, n, seconds: (1000.0 / n, 4000.0 / n))
    n_bytes, loads = node.measure(KANGAROO, (1, 4), 1.0)
    assert n_bytes == 4e6
    assert [load.measured for load in loads] == [4000, 1000]
    # A millisecond alone, and with four 4 MB at 4 GB/s in place of 16: 0.75 ms more.
    assert [load.modelled for load in loads] == pytest.approx([4000, 4 / 0.00175])


def test_networks_without_kernels_have_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "read_bandwidth", lambda n, _: 1e9)
    monkeypatch.setattr(node, "played", lambda config, n, seconds: (1000.0, 1000.0))
    n_bytes, (load,) = node.measure(faulty_config(), (1,), 1.0)
    assert (n_bytes, load.modelled) == (None, None)


@pytest.mark.skipif(instruction_set() is None, reason="no compiled kernels")
@pytest.mark.parametrize(("precision", "bits"), [("float32", 20), ("int8", 8)])
def test_a_step_reads_a_part_of_the_weights(precision: str, bits: int) -> None:
    config = replace(KANGAROO, policy=PolicyConfig(precision=precision))  # type: ignore[arg-type]
    n_bytes = bytes_per_step(config)
    assert n_bytes is not None
    assert 0.02 < n_bytes / (N_WEIGHTS * bits / 8) < 0.9


def test_speed_and_bandwidth_are_those_of_real_processes() -> None:
    config = config_from_dict(
        {
            "env": {"id": "tests.faulty_envs:Faulty-v0", "kwargs": {"step_s": 0.01}, "max_steps": 200},
            "policy": {"kind": "mlp", "kwargs": {"hidden": "8"}},
            "noise": {"size": 300_000},
        }
    )
    steps, frames = played(config, 2, 1.0)
    assert steps == frames
    assert 1 < steps <= 100  # a step takes a hundredth of a second and more
    assert read_bandwidth(2, 0.2) > 1e6


def test_the_command_prints_a_row_for_each_number_of_processes(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["node", "--config", "cartpole", "--processes", "1", "2", "--seconds", "0.5"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("CartPole-v1 with mlp (float32) on ")
    assert [line.split()[0] for line in lines[1:3]] == ["1", "2"]
    assert lines[-1].startswith("a billion steps take ")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nod"], "expected node, found 'nod'"),
        (["node", "--seconds", "0"], "--seconds: expected a finite number above 0, found 0"),
        (["node", "--seconds", "inf"], "--seconds: expected a finite number above 0, found inf"),
        (["node", "--processes", "2"], "--processes: expected numbers of at least 1, the first of them 1, found 2"),
        (["node", "--config", "cartpol"], "cartpole"),
    ],
)
def test_what_cannot_be_measured(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_counts_go_up_to_all_processes() -> None:
    assert [node.process_counts(n) for n in (1, 2, 31, 111)] == [[1], [1, 2], [1, 2, 15, 31], [1, 2, 55, 111]]
