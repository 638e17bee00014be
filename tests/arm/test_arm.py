"""Networks, screens and sums of noise have the same bits on ARM as on x86-64, and those that were recorded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from gadask import compiled
from gadask.envs import screen_compiled
from gadask.genomes import noise_sum
from gadask.policies.kernels import library as kernels
from tests.arm.cases import cases
from tests.arm.machines import COMPILER, EMULATOR, Emulated, Here, build

CASES = cases()
LOAD = {"convolutional": kernels.load, "screen": screen_compiled.load, "noise_sum": noise_sum.load}
RECORDED: dict[str, str] = json.loads(Path(__file__).with_name("digests.json").read_text())
CPUS = {"max": "neon_dotprod", "cortex-a53": "neon"}
"""What the kernels are to choose on a processor with all that the emulator knows, and on one without dot products."""

missing = [program for program in (COMPILER, EMULATOR) if shutil.which(program) is None]
emulated = pytest.mark.skipif(
    bool(missing) and not os.environ.get("CI"),
    reason=f"missing: {', '.join(missing)}; apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user",
)


with_kernels = pytest.mark.skipif(
    compiled.instruction_set(kernels.load()) is None and not os.environ.get("CI"), reason="no compiled kernels"
)


def played_here(name: str) -> list[bytes]:
    """Return what a case reads on this machine."""
    of, play = CASES[name]
    library = LOAD[of]()
    instructions = compiled.instruction_set(library)
    assert library is not None
    assert instructions is not None
    machine = Here(library, instructions)
    play(machine)
    return machine.results()


def digest(results: list[bytes]) -> str:
    """Return the SHA-256 of all that was read."""
    return hashlib.sha256(b"".join(results)).hexdigest()


def test_every_case_is_recorded() -> None:
    assert list(RECORDED) == list(CASES)


@with_kernels
@pytest.mark.parametrize("name", CASES)
def test_this_machine_has_the_recorded_bits(name: str) -> None:
    assert digest(played_here(name)) == RECORDED[name]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(tmp_path_factory.mktemp("arm"))


@with_kernels
@emulated
@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("name", CASES)
def test_arm_has_the_same_bits(name: str, cpu: str, built: dict[str, Path]) -> None:
    of, play = CASES[name]
    machine = Emulated(built["driver"], built[of], CPUS[cpu] if of == "convolutional" else "neon", cpu)
    play(machine)
    found, expected = machine.results(), played_here(name)
    assert [i for i, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]] == []
    assert digest(found) == RECORDED[name]


@emulated
def test_one_of_the_first_processors_with_dot_products_uses_them(built: dict[str, Path]) -> None:
    assert Emulated(built["driver"], built["convolutional"], "neon_dotprod", "cortex-a76").results() == []
