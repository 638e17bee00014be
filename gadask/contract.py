"""What an environment announces and what it gives: observations, rewards and behaviours as announced, or an error.

An observation is given to policies in its space's dtype and shape, C-contiguous and writeable. One that is not is
converted where no value is lost that a user would miss:

| announced | given | becomes |
| --- | --- | --- |
| anything | a list, a tensor, an array with any strides or byte order | an array |
| floats | floats of another size, whole numbers, booleans | the space's dtype |
| whole numbers, booleans | whole numbers or booleans that fit | the space's dtype |
| shape `(1,)` or `()` | a plain number | an array of the shape |

All else (floats where bytes were announced, another shape, NaN, no number) raises `EnvError`, which says what was
expected and found.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gadask.blame import value_in_short
from gadask.errors import EnvError
from gadask.units import many

_MANY = 32  # entries from which numpy is faster than Python


class Announced:
    """Arrays of one dtype and shape, as a Box announces them."""

    def __init__(self, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
        """Raises `EnvError` for a dtype that is not of numbers, or a shape without entries."""
        if dtype.kind not in "biuf":
            raise EnvError(f"observation: expected a space of numbers, found dtype {dtype}")
        if 0 in shape:
            raise EnvError(f"observation: expected a space with entries, found shape {shape}, which has none")
        self._dtype = dtype
        self._shape = shape
        self._may_be_nan = dtype.kind == "f"
        self._is_small = len(shape) == 1 and shape[0] < _MANY

    def __call__(self, observation: object) -> NDArray[np.generic]:
        """Return the observation as announced; it is itself if it is that already. Raises `EnvError`."""
        if (
            type(observation) is np.ndarray
            and observation.dtype is self._dtype
            and observation.shape == self._shape
            and observation.flags.carray
        ):
            array: NDArray[np.generic] = observation
        else:
            array = self._converted(observation)
        if self._may_be_nan:
            total = sum(array.tolist()) if self._is_small else np.minimum.reduce(array, axis=None)
            if total != total:  # NaN in it, or opposite infinities
                self._check_numbers(array)
        return array

    def _converted(self, observation: object) -> NDArray[np.generic]:
        try:
            array = np.asarray(observation)
        except Exception as error:  # whatever a tensor on another device or a ragged list raises
            raise EnvError(f"{self._expected()}, found {value_in_short(observation)}: {error}") from error
        if array.shape != self._shape and (array.ndim or self._shape not in ((), (1,))):
            raise EnvError(f"{self._expected()}, found {_described(array, observation)}")
        if array.dtype != self._dtype:
            array = self._cast(array, observation)
        return np.array(array, self._dtype, order="C").reshape(self._shape)

    def _cast(self, array: NDArray[np.generic], observation: object) -> NDArray[np.generic]:
        kind = array.dtype.kind
        if kind in "biu" and self._dtype.kind in "biu":
            with np.errstate(all="ignore"):
                cast = array.astype(self._dtype)
            if (cast == array).all():
                return cast
        elif kind in "biuf" and self._may_be_nan:
            with np.errstate(over="ignore"):
                return array.astype(self._dtype)
        raise EnvError(f"{self._expected()}, found {_described(array, observation)}; cast it where it is made")

    def _check_numbers(self, array: NDArray[np.generic]) -> None:
        missing = np.argwhere(np.isnan(array))
        if len(missing):
            place = ", ".join(map(str, missing[0].tolist()))
            raise EnvError(f"{self._expected()}, found nan at [{place}], in {len(missing)} of {array.size} entries")

    def _expected(self) -> str:
        return f"observation: expected {self._dtype} of shape {self._shape} as its space says"


class AnnouncedNumber:
    """Whole numbers `first` to `first + n − 1`, as a Discrete announces them, as one-hot vectors."""

    def __init__(self, first: int, n: int) -> None:
        """Make the vector."""
        self._first, self._n = first, n
        self._vector = np.zeros(n, np.float32)

    def __call__(self, observation: object) -> NDArray[np.generic]:
        """Return the one-hot vector, float32 `(n,)`, valid until the next call. Raises `EnvError`."""
        number: Any = observation
        if isinstance(observation, np.ndarray) and observation.size == 1:
            number = observation.item()
        try:
            place = int(number) - self._first
            fits = 0 <= place < self._n and number == place + self._first
        except (TypeError, ValueError, OverflowError):
            fits = False
        if not fits:
            last = self._first + self._n - 1
            raise EnvError(
                f"observation: expected a whole number from {self._first} to {last} as its space says, found"
                f" {value_in_short(observation)}"
            )
        self._vector[:] = 0
        self._vector[place] = 1
        return self._vector


class AnnouncedBehaviour:
    """Behaviours as long as the one that was reported in the rehearsal: the length follows from no other episode."""

    def __init__(self, env_id: str, n_entries: int) -> None:
        """Expect `n_entries` numbers of the environment `env_id`."""
        self._env_id, self._n_entries = env_id, n_entries

    def __call__(self, behaviour: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Return the behaviour that `Env.behaviour` gave, shape `(n_entries,)`. Raises `EnvError`."""
        if behaviour is None or len(behaviour) != self._n_entries:
            found = "none" if behaviour is None else str(len(behaviour))
            raise EnvError(
                f"env.id: {self._env_id!r}: behaviour: expected {many(self._n_entries, 'number')}, as in the rehearsal,"
                f" found {found}"
            )
        return behaviour


def behaviour_of(behaviour: object) -> NDArray[np.float32]:
    """Return a behaviour as float32 `(n,)`: any array, tensor or list of one axis, whose numbers are finite.

    Raises `EnvError` for anything else.
    """
    with contextlib.suppress(Exception):  # whatever a ragged list or a tensor on another device raises
        array = np.asarray(behaviour)
        if array.ndim == 1 and array.size and array.dtype.kind in "biuf":
            with np.errstate(over="ignore"):
                vector = array.astype(np.float32)
            if np.isfinite(vector).all():
                return vector
    raise EnvError(f"behaviour: expected a vector of finite numbers, found {value_in_short(behaviour)}")


def reward_of(reward: object) -> float:
    """Return a reward as a float: any number, an array or tensor of one. Raises `EnvError` for anything else."""
    if type(reward) is float:
        return reward
    number: object = reward.item() if isinstance(reward, np.ndarray) and reward.size == 1 else reward
    if hasattr(number, "__float__") and not isinstance(number, str | bytes | complex | np.complexfloating):
        try:
            return float(number)
        except (TypeError, ValueError, OverflowError, RuntimeError):  # a tensor of many numbers, an enormous int
            pass
    raise EnvError(f"reward: expected a number, found {value_in_short(reward)}")


def _described(array: NDArray[np.generic], observation: object) -> str:
    """Return dtype, shape and range of an array, and what it was made from if that was none."""
    text = f"{array.dtype} of shape {array.shape}"
    if array.size and array.dtype.kind in "biuf":
        text += f" from {array.min()!s} to {array.max()!s}"
    return text if isinstance(observation, np.ndarray) else f"{type(observation).__name__} of {text}"
