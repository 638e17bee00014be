"""What is done on each machine: networks over a few observations, screens of frames, sums of noise.

Inputs are whole numbers from a generator whose stream numpy keeps, and float32 made of them exactly, so that what was
recorded in `digests.json` holds on any machine.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from ctypes import c_void_p
from types import SimpleNamespace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gadask import compiled
from gadask.config import PolicyConfig
from gadask.envs import screen_compiled
from gadask.policies import make_policy
from gadask.policies.kernels.network import CompiledNetwork
from tests.arm.machines import Machine

Case = Callable[[Machine], None]

_LANES = {"avx512vnni": 16, "avx512": 16, "avx2": 8, "neon_dotprod": 4, "neon": 4}
_OWN_LAYOUT = ("weights", "dense_weights", "list")
"""Buffers that the instruction sets fill in different ways."""


def cases() -> dict[str, tuple[str, Case]]:
    """Return by name each case and the library that it is for."""
    found: dict[str, tuple[str, Case]] = {}
    for kind in ("such2017", "nature"):
        for size in ((1, 36, 36), (3, 47, 60), (4, 84, 84)):
            for variant in ("float32", "float32 linear", "int8", "float32 of floats", "int8 of floats"):
                if size != (4, 84, 84) or variant in ("float32", "int8"):
                    name = f"{kind} {'x'.join(map(str, size))} {variant}"
                    found[name] = "convolutional", functools.partial(_network, kind, size, variant)
    for height in (105, 210, 250):
        found[f"screen of {height} rows"] = "screen", functools.partial(_screen, height)
    found["noise sum"] = "noise_sum", _noise_sum
    return found


def _network(kind: str, shape: tuple[int, int, int], variant: str, machine: Machine) -> None:
    """Parameters that are written, then a child's; of each some observations, then an episode's first with the same."""
    draw = np.random.RandomState(shape[1])
    precision, _, rest = variant.partition(" ")
    of_floats = rest == "of floats"
    space = spaces.Box(0, 1, shape, np.float32) if of_floats else spaces.Box(0, 255, shape, np.uint8)
    buttons = spaces.Discrete({36: 1, 47: 6, 84: 18}[shape[1]])
    policy = make_policy(PolicyConfig(kind, {"conv_activation": rest != "linear"}, precision=precision), space, buttons)  # type: ignore[arg-type]
    flat = policy.flat.numpy()
    parameters = list(policy.module.parameters())
    network: CompiledNetwork = policy.module.compiled(precision)  # type: ignore[operator]
    image = np.zeros(shape, space.dtype)
    structure: Any = network._network
    structure.image = image.ctypes.data
    buffers = _buffers(network)
    parent, noise = (_floats(draw, flat.shape, 1) for _ in range(2))
    for array in (flat, parent, noise, image, network._result, *buffers.values()):
        machine.share(array)
    machine.share(structure)
    forward = f"forward_{'bytes' if precision == 'int8' else 'float'}_{machine.instructions}"

    def play(pictures: list[NDArray[Any]]) -> None:
        machine.set(structure, "fresh", 1)
        for n_steps, picture in enumerate(pictures):
            image[:] = picture
            machine.write(image)
            machine.call(forward, structure)
            machine.read(network._result)
            for name, buffer in buffers.items():
                if name.rstrip("012") not in (*_OWN_LAYOUT, *(["dense_words"] if n_steps else [])):
                    machine.read(buffer)

    offset = 0
    for matrix in parameters:
        values = flat[offset : offset + matrix.numel()].reshape(matrix.shape)
        values[:] = _floats(draw, values.shape, len(values) ** -0.5)
        if matrix.shape[1] > buttons.n:
            values[:-1, 5] = 0  # an output whose weights are all 0
            values[0, 9], values[1:-1, 9] = _edge()
        offset += matrix.numel()
    machine.write(flat)
    parent[:] = flat
    machine.write(parent)
    pictures: list[NDArray[Any]] = list(_pictures(shape, draw))
    if of_floats:
        steps = draw.randint(-1, 2, shape)
        pictures = [_near_bytes(picture, steps) for picture in pictures]
    play(pictures)
    if precision == "int8":
        _read_weights(machine, buffers, structure.n_hidden)
    machine.call(f"mutate_{machine.instructions}", structure, flat, flat.size, parent, noise, float(np.float32(0.02)))
    machine.read(flat)
    machine.read(buffers["dense_scales"])
    play(pictures[-2:])
    machine.set(structure, "measured", 0)
    play(pictures[:2])


def _edge() -> tuple[np.float32, np.float32]:
    """Return an output's largest weight, and one that becomes the byte 1, but 0 in one instruction.

    To weight × (127 / largest), just below a half, a half is added. If the product is rounded first, the sum is 1.
    """
    for i in range(1024):
        largest = np.float32(1 + i / 1024)
        steps = np.float32(127) / largest
        weight = np.nextafter(np.float32(0.5) / steps, np.float32(0))
        for _ in range(4):
            exact = float(weight) * float(steps)  # 48 bits
            if np.float32(exact + 0.5) < 1 <= np.float32(exact) + np.float32(0.5):
                return largest, weight
            weight = np.nextafter(weight, np.float32(0))
    raise AssertionError("there is such a weight")


def _pictures(shape: tuple[int, int, int], draw: np.random.RandomState) -> list[NDArray[np.uint8]]:
    """One picture, others in which more or less of it is new, one without a light, and one with a few."""
    first = draw.randint(0, 256, shape).astype(np.uint8)
    few, rows = first.copy(), first.copy()
    few[0, 20:25, 11:14] = draw.randint(0, 256, (5, 3))
    rows[:, 5:9] = draw.randint(0, 256, rows[:, 5:9].shape)
    black, dots = np.zeros_like(first), np.zeros_like(first)
    dots[-1, 30, 1::17] = 255
    half = first * draw.randint(0, 2, shape).astype(np.uint8)
    return [first, few, few, rows, black, dots, half]


def _near_bytes(picture: NDArray[np.uint8], steps: NDArray[Any]) -> NDArray[np.float32]:
    """Return floats half way between two bytes, give or take a step, where it matters how they are rounded; 0 stays."""
    halves = ((picture.astype(np.float64) - 0.5).clip(0) / 255).astype(np.float32)
    found: NDArray[np.float32] = (halves + steps.astype(np.float32) * np.spacing(halves)).clip(0, 1)
    return found


def _floats(draw: np.random.RandomState, shape: Any, scale: float) -> NDArray[np.float32]:
    """Return float32 from -scale to scale."""
    found: NDArray[np.float32] = draw.randint(-(1 << 23), 1 << 23, shape).astype(np.float32)
    return found * np.float32(2**-23) * np.float32(scale)


def _buffers(network: CompiledNetwork) -> dict[str, NDArray[Any]]:
    """Return a network's buffers by the name of the first pointer into each, a layer's with its number."""
    addresses = list(_addresses(network._network))
    named = {}
    for raw in network._buffers:
        start = -raw.ctypes.data % 64
        buffer = raw[start : start + len(raw) - 64]
        named[next(name for name, address in addresses if 0 <= address - buffer.ctypes.data < len(buffer))] = buffer
    assert len(named) == len(network._buffers)
    return named


def _addresses(structure: Any, number: str = "") -> Iterator[tuple[str, int]]:
    for name, kind in structure._fields_:
        value = getattr(structure, name)
        if name == "layers":
            for i, layer in enumerate(value):
                yield from _addresses(layer, str(i))
        elif kind is c_void_p and value:
            yield name + number, value


def _read_weights(machine: Machine, buffers: dict[str, NDArray[Any]], n_hidden: int) -> None:
    """Read the bytes of the weights, signed and in the order of the parameters, however they are stored."""
    lanes = _LANES[machine.instructions]
    offset = 128 if lanes == 4 else 0
    number, place = np.divmod(np.arange(n_hidden) % (4 * lanes), lanes)
    order = np.arange(n_hidden) // (4 * lanes) * 4 * lanes + place // 4 * 16 + number * 4 + place % 4

    def signed(stored: bytes) -> bytes:
        return (np.frombuffer(stored, np.uint8) - np.uint8(offset)).tobytes()

    def in_order(stored: bytes) -> bytes:
        return np.frombuffer(signed(stored), np.uint8).reshape(-1, n_hidden)[:, order].tobytes()

    for i in range(3):
        machine.read(buffers[f"weights{i}"], signed)
    machine.read(buffers["dense_weights"], in_order)


def _screen(height: int, machine: Machine) -> None:
    """Greys of colours that are known, odd or new; their larger, of greys and of colours; both ways to shrink."""
    draw = np.random.RandomState(height)
    shape = height, 160
    ale = SimpleNamespace(getScreenDims=lambda: shape)
    library: Any = screen_compiled.load()
    here: Any = compiled.instruction_set(library)  # only the tables count
    small, smooth = np.zeros((84, 84), np.uint8), np.zeros((84, 84), np.float32)
    areas = screen_compiled.CompiledGreys(ale, small, library, here)._area
    between = screen_compiled.CompiledFloats(ale, smooth, library, here)
    between._values[:] = np.arange(256, dtype=np.float32) / np.float32(255)
    table = draw.randint(0, 255, 128).astype(np.uint8)
    table[114 // 2] = 255  # unknown
    pairs = draw.randint(0, 256, (128, 128)).astype(np.uint8)
    even = (draw.randint(0, 128, shape) * 2).astype(np.uint8)
    known = np.where(even == 114, 0, even).astype(np.uint8)
    odd = known.copy()
    odd[17, 3] = 115  # whose place is that of 114, which is new
    later = known.copy()
    later[::3, 40:90] = np.roll(known[::3, 40:90], 1)
    frames = even, known, odd, later
    greys = [np.zeros(shape, np.uint8) for _ in frames]
    structures: list[Any] = [areas._shrinking, between._interpolating]
    arrays: list[Any] = [*frames, *greys, table, pairs, small, smooth, *areas._tables, *between._tables]
    for memory in arrays + structures:
        machine.share(memory)
    for frame, grey in zip(frames, greys, strict=True):
        machine.call(f"to_grey_{machine.instructions}", frame, frame.size, table, grey, returns=True)
        machine.read(grey)
    first, second = greys[1], greys[3]
    for other in (first, second):
        machine.call("shrink", areas._shrinking, first, other, small)
        machine.read(small)
        machine.call("interpolate", between._interpolating, first, other, smooth)
        machine.read(smooth)
    machine.call("grey_of_larger", known, later, known.size, pairs, first)
    machine.read(first)
    machine.call("shrink", areas._shrinking, first, first, small)
    machine.read(small)
    machine.call(f"to_grey_{machine.instructions}", later, later.size, table, later, returns=True)  # in place
    machine.read(later)


def _noise_sum(machine: Machine) -> None:
    """Rows in groups of eight and the rest, columns in blocks and the rest."""
    draw = np.random.RandomState(0)
    noise = _floats(draw, 20_000, 1)
    for n_rows, n_columns in ((0, 5), (3, 1000), (8, 4096), (21, 5001)):
        genes = draw.randint(0, len(noise) - n_columns, n_rows).astype(np.int64)
        weights = np.ldexp(_floats(draw, n_rows, 1), draw.randint(-20, 20, n_rows))  # or sums might be exact
        sums = np.zeros(n_columns)
        if n_rows == 0:
            genes, weights = np.zeros(1, np.int64), np.zeros(1, np.float32)  # an address must be somewhere
            machine.share(noise)
        for array in (genes, weights, sums):
            machine.share(array)
        machine.call(f"sum_{machine.instructions}", noise, genes, weights, n_rows, n_columns, sums)
        machine.read(sums)
