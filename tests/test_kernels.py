"""The compiled kernels against the module they stand in for, on frames of a game and on pictures that hardly change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from gadask.config import NoiseConfig, PolicyConfig, Precision
from gadask.errors import PolicyError, UsageError
from gadask.genomes.noise import LazyNoise
from gadask.genomes.weights import as_tensor, mutate
from gadask.policies import Policy, make_policy
from gadask.policies.convolutional import ConvolutionalNetwork, nature, such2017
from gadask.policies.kernels import library, network
from gadask.policies.kernels.library import INSTRUCTION_SETS
from tests.instruction_sets import runnable

SHAPES = [(4, 84, 84), (1, 36, 36), (3, 47, 60)]
BUTTONS = spaces.Discrete(18)

SUPPORTED = runnable(library.load(), INSTRUCTION_SETS, "forward_float")
assert SUPPORTED, "the kernels are not compiled: needs GCC and a processor with AVX2 or NEON; make setup"


def image_space(shape: tuple[int, int, int]) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


def pictures(shape: tuple[int, int, int], n: int, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Yield one picture and then others in which a small part is new, or nothing is."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, shape, np.uint8)
    for _ in range(n):
        yield picture
        channel, row, column = (rng.integers(size) for size in shape)
        height, width = rng.integers(0, 9, 2)
        part = picture[channel, row : row + height, column : column + width]
        part[...] = rng.integers(0, 256, part.shape)


@pytest.fixture(
    params=[(kind, shape) for kind in (such2017, nature) for shape in SHAPES],
    ids=lambda param: f"{param[0].__name__}-{'×'.join(map(str, param[1]))}",
)
def module(request: pytest.FixtureRequest) -> ConvolutionalNetwork:
    kind, shape = request.param
    found: ConvolutionalNetwork = kind(image_space(shape), BUTTONS)
    randomise(found, 1)
    return found


def randomise(module: ConvolutionalNetwork, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for matrix in module.parameters():
        matrix.copy_(torch.randn(matrix.shape, generator=generator) / matrix.shape[0] ** 0.5)


def compiled(
    module: ConvolutionalNetwork, precision: str, instructions: str, monkeypatch: pytest.MonkeyPatch
) -> network.CompiledNetwork:
    monkeypatch.setattr(network, "instruction_set", lambda: instructions)
    found = module.compiled(precision)
    assert found is not None
    return found


@pytest.mark.parametrize("instructions", SUPPORTED)
@pytest.mark.parametrize("relu", [True, False])
def test_float32_agrees_with_the_module(
    module: ConvolutionalNetwork, relu: bool, instructions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not relu:
        kind = such2017 if module._windows[0].top else nature
        module = kind(image_space(module._shape), BUTTONS, conv_activation=False)
        randomise(module, 2)
    network = compiled(module, "float32", instructions, monkeypatch)
    for picture in pictures(module._shape, 8):
        expected = module(torch.from_numpy(picture[None])).numpy()
        np.testing.assert_allclose(network(picture), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("instructions", SUPPORTED)
def test_float32_takes_weights_at_the_ends_of_their_scale(
    module: ConvolutionalNetwork, instructions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    signs = torch.randint(2, module.dense[:-1].shape, generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    module.dense[:-1] = signs * torch.linspace(0, 1e-3, module.dense.shape[1])  # a column of zeros among them
    network = compiled(module, "float32", instructions, monkeypatch)
    for picture in pictures(module._shape, 3):
        expected = module(torch.from_numpy(picture[None])).numpy()
        np.testing.assert_allclose(network(picture), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_every_instruction_set_gives_the_same_bits(
    module: ConvolutionalNetwork, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = [compiled(module, precision, name, monkeypatch) for name in SUPPORTED]
    for each in networks:
        each.begin()
    for picture in pictures(module._shape, 8):
        first, *others = [each(picture).tobytes() for each in networks]
        assert all(other == first for other in others)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_what_has_not_changed_need_not_be_computed(module: ConvolutionalNetwork, precision: str) -> None:
    going_on, anew = module.compiled(precision), module.compiled(precision)
    assert going_on is not None
    assert anew is not None
    going_on.begin()
    for picture in pictures(module._shape, 40):
        anew.begin()
        assert going_on(picture).tobytes() == anew(picture).tobytes()


@pytest.fixture
def of_floats(module: ConvolutionalNetwork) -> ConvolutionalNetwork:
    """Return the network of `module` for pictures of float32 from 0 to 1."""
    kind = such2017 if module._windows[0].top else nature
    found: ConvolutionalNetwork = kind(spaces.Box(0, 1, module._shape, np.float32), BUTTONS)
    for ours, theirs in zip(found.parameters(), module.parameters(), strict=True):
        ours.copy_(theirs)
    return found


def test_pictures_of_floats_are_taken_as_they_are(
    module: ConvolutionalNetwork, of_floats: ConvolutionalNetwork
) -> None:
    bytes_network, floats_network, anew = (each.compiled("float32") for each in (module, of_floats, of_floats))
    assert bytes_network is not None
    assert floats_network is not None
    assert anew is not None
    picture_of_floats = np.zeros(module._shape, np.float32)  # the same memory each time, as an environment's
    for picture in pictures(module._shape, 10):
        np.multiply(picture, np.float32(1 / 255), out=picture_of_floats)
        assert floats_network(picture_of_floats).tobytes() == bytes_network(picture).tobytes()
        picture_of_floats += np.float32(1e-4)  # between two bytes
        expected = of_floats(torch.from_numpy(picture_of_floats[None])).numpy()
        found = floats_network(picture_of_floats)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
        anew.begin()
        assert found.tobytes() == anew(picture_of_floats).tobytes()


def test_int8_rounds_pictures_of_floats_to_bytes(module: ConvolutionalNetwork, of_floats: ConvolutionalNetwork) -> None:
    bytes_network, floats_network = module.compiled("int8"), of_floats.compiled("int8")
    assert bytes_network is not None
    assert floats_network is not None
    rng = np.random.default_rng(0)
    for picture in pictures(module._shape, 5):
        near = (picture + rng.uniform(-0.49, 0.49, picture.shape)) / 255
        floats = near.clip(0, 1).astype(np.float32)
        assert floats_network(floats).tobytes() == bytes_network(picture).tobytes()


def test_a_picture_of_another_dtype_is_refused(of_floats: ConvolutionalNetwork) -> None:
    floats_network = of_floats.compiled("float32")
    assert floats_network is not None
    with pytest.raises(PolicyError, match=r"expected float32 of shape .* found uint8"):
        floats_network(np.zeros(of_floats._shape, np.uint8))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_new_parameters_count_from_the_next_episode_on(module: ConvolutionalNetwork, precision: str) -> None:
    network = module.compiled(precision)
    assert network is not None
    (picture,) = pictures(module._shape, 1)
    network.begin()
    before = network(picture).copy()
    randomise(module, 3)
    network.begin()
    after = network(picture).copy()
    fresh = module.compiled(precision)
    assert fresh is not None
    fresh.begin()
    assert after.tobytes() == fresh(picture).tobytes() != before.tobytes()


@pytest.mark.parametrize("instructions", SUPPORTED)
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("n_buttons", [1, 6, 18])
def test_a_child_has_the_bits_of_torch_and_plays_as_if_its_weights_were_copied(
    precision: Precision, n_buttons: int, instructions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "instruction_set", lambda: instructions)
    space = image_space((1, 36, 36))
    child, expected = (
        make_policy(PolicyConfig("nature", precision=precision), space, spaces.Discrete(n_buttons)) for _ in range(2)
    )
    noise = LazyNoise(NoiseConfig(size=10 * child.n_params))
    parent = as_tensor(noise.slice(3, child.n_params)) * 0.01
    parent[child.n_params // 2 :] *= 10  # in the hidden layer: which weight is a column's largest matters
    (picture,) = pictures(space.shape, 1)
    for gene, power in ((5, 0.002), (child.n_params + 1, 0.5)):
        child.mutate(parent, noise, gene, power)
        mutate(expected.flat, parent, noise, gene, power)
        assert child.flat.numpy().tobytes() == expected.flat.numpy().tobytes()
        for _ in range(2):  # of a second episode with the same weights, too
            child.reset()
            expected.reset()
            assert child.output(picture).tobytes() == expected.output(picture).tobytes()


def initialise(playing: Policy, weights: torch.Tensor) -> None:
    playing.initialise(weights)


def copy(playing: Policy, weights: torch.Tensor) -> None:
    playing.flat.copy_(weights)


def write_parameters(playing: Policy, weights: torch.Tensor) -> None:
    playing.module.load_state_dict({name: parameter * 3 for name, parameter in playing.module.named_parameters()})


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("write", [initialise, copy, write_parameters])
def test_what_is_written_over_a_child_counts(write: Callable[[Policy, torch.Tensor], None], precision: str) -> None:
    space = image_space((1, 36, 36))
    written, expected = (policy(precision, "nature", space) for _ in range(2))
    noise = LazyNoise(NoiseConfig(size=10 * written.n_params))
    (picture,) = pictures(space.shape, 1)
    initial = as_tensor(noise.slice(7, written.n_params))
    written.mutate(initial, noise, 5, 0.5)
    write(written, initial)
    written.reset()
    expected.flat.copy_(written.flat)
    expected.reset()
    assert written.output(picture).tobytes() == expected.output(picture).tobytes()


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_child_of_a_policy_made_for_inference(precision: str) -> None:
    space = image_space((1, 36, 36))
    with torch.inference_mode():
        child, expected = (policy(precision, "nature", space) for _ in range(2))
        noise = LazyNoise(NoiseConfig(size=10 * child.n_params))
        (picture,) = pictures(space.shape, 1)
        child.mutate(as_tensor(noise.slice(7, child.n_params)), noise, 5, 0.5)
        expected.flat.copy_(child.flat)
        for each in (child, expected):
            each.reset()
        assert child.output(picture).tobytes() == expected.output(picture).tobytes()


def test_int8_is_what_its_documentation_says(module: ConvolutionalNetwork) -> None:
    network = module.compiled("int8")
    assert network is not None
    network.begin()
    for picture in pictures(module._shape, 3):
        expected = int8_output(module, picture)
        np.testing.assert_allclose(network(picture), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_int8_is_near_float32(module: ConvolutionalNetwork) -> None:
    network = module.compiled("int8")
    assert network is not None
    network.begin()
    for picture in pictures(module._shape, 3):
        expected = module(torch.from_numpy(picture[None])).numpy()
        np.testing.assert_allclose(network(picture), expected, rtol=0, atol=0.1 * np.abs(expected).max())


def test_an_image_in_any_order_of_memory(module: ConvolutionalNetwork) -> None:
    network = module.compiled("float32")
    assert network is not None
    for picture in pictures(module._shape, 3):
        expected = network(picture.copy()).tobytes()
        strange = np.asfortranarray(picture)
        assert network(strange).tobytes() == expected
        strange[:] = 255 - picture
        assert network(strange).tobytes() == network((255 - picture).copy()).tobytes()


def policy(precision: str, kind: str = "such2017", space: spaces.Space | None = None, **kwargs: bool) -> Policy:
    config = PolicyConfig(kind, dict(kwargs), precision=precision)  # type: ignore[arg-type]
    return make_policy(config, space or image_space(SHAPES[0]), BUTTONS)


def test_a_policy_uses_them() -> None:
    (picture,) = pictures(SHAPES[0], 1)
    outputs = {}
    for precision in ("float32", "int8"):
        playing = policy(precision)
        playing.initialise(torch.randn(playing.n_params, generator=torch.Generator().manual_seed(0)))
        playing.reset()
        outputs[precision] = playing.output(picture).copy()
        outputs["module"] = playing.module(torch.from_numpy(picture[None])).numpy()
    assert 0 < np.abs(outputs["float32"] - outputs["module"]).max() < 1e-4 * np.abs(outputs["module"]).max()
    assert np.abs(outputs["int8"] - outputs["module"]).max() > 1e-4 * np.abs(outputs["module"]).max()


def test_without_the_library_float32_is_the_module_and_int8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "load", lambda: None)
    (picture,) = pictures(SHAPES[0], 1)
    playing = policy("float32")
    playing.initialise(torch.randn(playing.n_params))
    playing.reset()
    assert (playing.output(picture) == playing.module(torch.from_numpy(picture[None])).numpy()).all()
    with pytest.raises(PolicyError, match=r"policy\.precision: 'int8' is for 'such2017' and 'nature' with"):
        policy("int8")


def test_int8_of_a_picture_so_large_that_its_sums_could_overflow_is_refused() -> None:
    small, large = (such2017(image_space((1, size, size)), BUTTONS) for size in (240, 260))
    assert small.compiled("int8") is not None
    with pytest.raises(PolicyError, match=r"'float32' for images of \(1, 260, 260\).* found 'int8'"):
        large.compiled("int8")


def test_a_library_of_other_sources_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(library.__file__).parent
    sources = sorted(path for path in folder.iterdir() if path.suffix in (".c", ".h"))
    for source in sources:
        (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    assert library.load.__wrapped__() is not None
    for source in sources:
        (tmp_path / source.name).write_bytes(source.read_bytes() + b" ")
        with pytest.raises(UsageError, match=f"compiled from other sources than {tmp_path / source.name}"):
            library.load.__wrapped__()
        (tmp_path / source.name).unlink()  # as in an installation without them
    assert library.load.__wrapped__() is not None


def test_int8_where_there_is_none_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"policy\.precision: 'int8' is for"):
        policy("int8", "mlp", spaces.Box(-1, 1, (3,), np.float32))
    with pytest.raises(PolicyError, match=r"policy\.precision: expected 'float32' with conv_activation = false"):
        policy("int8", conv_activation=False)


def int8_output(module: ConvolutionalNetwork, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the output by the definition: bytes, exact sums, one scale an output and one a layer and observation."""
    channels, height, width = picture.shape
    # Blocks of 4 × 4 pixels: a block's values run over channel, row and column.
    first, *others = module._windows
    padded = np.zeros((channels, height + 100, width + 100), np.int64)
    padded[:, first.top : first.top + height, first.left : first.left + width] = picture
    cut = padded[:, : 4 * (first.rows + 1), : 4 * (first.columns + 1)]
    cut = cut.reshape(channels, first.rows + 1, 4, first.columns + 1, 4).transpose(1, 3, 0, 2, 4)
    values, scale = cut.reshape(first.rows + 1, first.columns + 1, 16 * channels), np.float32(1 / 255)
    in_blocks = replace(first, kernel=2, stride=1, top=0, left=0, bottom=0, right=0)
    for matrix, at in zip((module.conv1, module.conv2, module.conv3), (in_blocks, *others), strict=True):
        weights, scales, bias = as_bytes(matrix)
        source = np.pad(values, ((at.top, at.bottom), (at.left, at.right), (0, 0)))
        view = np.lib.stride_tricks.sliding_window_view(source, (at.kernel, at.kernel), (0, 1))
        patches = view[:: at.stride, :: at.stride].transpose(0, 1, 3, 4, 2)
        sums = patches.reshape(at.rows, at.columns, -1) @ weights
        found = fused(sums, scales * scale, bias)
        full = rounded_up(found.max())
        values = fused(found, np.float32(255) / full, np.float32(0.5)).astype(np.int64)
        scale = full / np.float32(255)
    weights, scales, bias = as_bytes(module.dense)
    hidden = fused(values.reshape(-1) @ weights, scales * scale, bias)
    output: NDArray[np.float64] = hidden @ module.output[:-1].numpy() + module.output[-1].numpy()
    return output[None]


def rounded_up(x: np.float32) -> np.float32:
    """Return the next power of two."""
    fraction, exponent = np.frexp(x)
    return np.float32(np.ldexp(1, exponent - (fraction == 0.5)))


def fused(x: NDArray[Any], factor: Any, summand: Any) -> NDArray[np.float32]:
    """Return max(0, x × factor + summand), rounded once, to float32."""
    product = x.astype(np.float32).astype(np.float64) * factor.astype(np.float64)
    result: NDArray[np.float32] = np.maximum(product + summand.astype(np.float64), 0).astype(np.float32)
    return result


def as_bytes(matrix: torch.Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return a layer's weights as integers, what a weight of 1 stands for by output, and the biases."""
    weights = matrix[:-1].numpy()
    largest = np.abs(weights).max(0)
    products = weights * (np.float32(127) / largest)
    return (
        np.trunc(products + np.copysign(np.float32(0.5), products)).astype(np.int64),
        largest / np.float32(127),
        matrix[-1].numpy(),
    )
