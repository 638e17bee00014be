"""Philox 4×64 over arrays: the first numbers of very many streams at once.

`seeding` says what the streams are. numpy's generator makes one after the other at some microseconds each, which a
master with tens of thousands of children a second cannot pay; here a million take a fraction of a second. The numbers
are numpy's, bit for bit.

Papers: Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*; Lemire 2019, *Fast random integer generation
in an interval*.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_Words = NDArray[np.uint64]

_N_ROUNDS = 10
_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def first_integers(
    key: tuple[int, int], counters: tuple[Any, Any, Any], n: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return `Generator(Philox(counter=[0, *counters], key=key)).integers(n)` for broadcast words of the counter.

    The second array is false where that has to be asked: where the first number is rejected and a later one decides,
    which is rare, and everywhere if `n` is 2**32 or more.
    """
    first = first_words(key, counters) & _LOW  # numpy takes 32 bits at a time, the low half first
    if n > _LOW:
        return np.zeros(first.shape, np.int64), np.zeros(first.shape, np.bool_)
    scaled = first * np.uint64(n)
    is_accepted = (scaled & _LOW) >= np.uint64((2**32 - n) % n)
    return (scaled >> _HALF).astype(np.int64), is_accepted


def first_words(key: tuple[int, int], counters: tuple[Any, Any, Any]) -> _Words:
    """Return `Philox(counter=[0, *counters], key=key).random_raw()`, 64 bits, for broadcast words of the counter."""
    # numpy's generator begins with block 1
    words = np.broadcast_arrays(np.uint64(1), *(np.asarray(word).astype(np.uint64) for word in counters))
    a, b, c, d = words
    for i in range(_N_ROUNDS):
        key_a, key_b = (np.uint64((word + i * step) % 2**64) for word, step in zip(key, _WEYL, strict=True))
        high_a, low_a = _product(a, _MULTIPLIERS[0])
        high_c, low_c = _product(c, _MULTIPLIERS[1])
        a, b, c, d = high_c ^ b ^ key_a, low_c, high_a ^ d ^ key_b, low_a
    return a


def _product(words: _Words, factor: int) -> tuple[_Words, _Words]:
    """Return the high and the low 64 bits of the products, put together from 32-bit halves."""
    high, low = words >> _HALF, words & _LOW
    factor_high, factor_low = np.uint64(factor >> 32), np.uint64(factor & 0xFFFFFFFF)
    middle = high * factor_low + (low * factor_low >> _HALF)
    other = low * factor_high + (middle & _LOW)
    return high * factor_high + (middle >> _HALF) + (other >> _HALF), words * np.uint64(factor)
