"""Machines that do the same with a compiled library: this one, and an emulated ARM processor.

A case (`cases.py`) shares memory with a machine, has it call functions, and reads what they wrote. The emulated one
keeps a list of commands for `driver.c`, in which every pointer is a region of memory and a place in it, and runs them
all at the end.
"""

from __future__ import annotations

import ctypes
import struct
import subprocess
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
_LOADER = "/usr/aarch64-linux-gnu"
"""Where Debian's cross compiler has the C library."""

Memory = NDArray[Any] | ctypes.Structure

_MAKE, _FILL, _POINT, _CALL, _TELL = range(5)
_NUMBER, _REAL, _ADDRESS = range(3)


class Machine(ABC):
    """Calls a library's functions of one instruction set."""

    def __init__(self, instructions: str) -> None:
        """`instructions` is the suffix of the functions that have one."""
        self.instructions = instructions

    @abstractmethod
    def share(self, memory: Memory) -> None:
        """Make an array, or a structure and its pointers into what was shared before, known to the machine, once."""

    @abstractmethod
    def write(self, array: NDArray[Any]) -> None:
        """Have a shared array's contents be what they now are here."""

    @abstractmethod
    def set(self, structure: ctypes.Structure, name: str, value: int) -> None:
        """Set an int32 of a shared structure."""

    @abstractmethod
    def call(self, function: str, *arguments: Memory | int | float, returns: bool = False) -> None:
        """Call a function; what it returns, an int32, is read if it `returns`. Memory stands for its address."""

    @abstractmethod
    def read(self, array: NDArray[Any], then: Callable[[bytes], bytes] = bytes) -> None:
        """Read an array that lies within shared memory; its bytes go through `then`."""

    @abstractmethod
    def results(self) -> list[bytes]:
        """Return what was read, in order."""


class Here(Machine):
    """This machine."""

    def __init__(self, library: ctypes.CDLL, instructions: str) -> None:
        """Make a machine that has read nothing yet."""
        super().__init__(instructions)
        self._library = library
        self._read: list[bytes] = []

    def share(self, memory: Memory) -> None:
        """Nothing is to be done."""

    def write(self, array: NDArray[Any]) -> None:
        """Nothing is to be done."""

    def set(self, structure: ctypes.Structure, name: str, value: int) -> None:
        setattr(structure, name, value)

    def call(self, function: str, *arguments: Memory | int | float, returns: bool = False) -> None:
        result = getattr(self._library, function)(*map(_to_c, arguments))
        if returns:
            self._read.append(struct.pack("<i", result))

    def read(self, array: NDArray[Any], then: Callable[[bytes], bytes] = bytes) -> None:
        self._read.append(then(array.tobytes()))

    def results(self) -> list[bytes]:
        return self._read


class Emulated(Machine):
    """An ARM processor under QEMU, of a model that `-cpu` names."""

    def __init__(self, driver: Path, library: Path, instructions: str, cpu: str) -> None:
        """`instructions` are those that the library is to choose on this processor, which is checked."""
        super().__init__(instructions)
        self._command = [EMULATOR, "-L", _LOADER, "-cpu", cpu, str(driver), str(library)]
        self._regions: list[tuple[int, int]] = []  # address here and size
        self._script: list[bytes] = []
        self._reads: list[tuple[int, Callable[[bytes], bytes]]] = []  # sizes, and what is made of the bytes

    def share(self, memory: Memory) -> None:
        address, content = _address(memory), _bytes(memory)
        self._add(_MAKE, len(self._regions), address % 64, len(content), content)
        self._regions.append((address, len(content)))
        if isinstance(memory, ctypes.Structure):
            for offset, target in _pointers(memory):
                self._add(_POINT, len(self._regions) - 1, offset, 0, self._pointer(target))

    def write(self, array: NDArray[Any]) -> None:
        region, offset = self._place(array.ctypes.data)
        self._add(_FILL, region, offset, array.nbytes, array.tobytes())

    def set(self, structure: ctypes.Structure, name: str, value: int) -> None:
        region, offset = self._place(ctypes.addressof(structure))
        self._add(_FILL, region, offset + getattr(type(structure), name).offset, 4, struct.pack("<i", value))

    def call(self, function: str, *arguments: Memory | int | float, returns: bool = False) -> None:
        packed = [self._argument(argument) for argument in arguments]
        self._add(_CALL, 0, int(returns), len(packed), function.encode().ljust(64, b"\0") + b"".join(packed))
        if returns:
            self._reads.append((4, bytes))

    def read(self, array: NDArray[Any], then: Callable[[bytes], bytes] = bytes) -> None:
        self._add(_TELL, *self._place(array.ctypes.data), array.nbytes)
        self._reads.append((array.nbytes, then))

    def results(self) -> list[bytes]:
        ended = subprocess.run(
            self._command, input=b"".join(self._script), capture_output=True, timeout=300, check=False
        )
        assert (ended.returncode, ended.stderr) == (0, b"")
        chosen, _, output = ended.stdout.partition(b"\n")
        assert chosen.decode() == self.instructions
        found, at = [], 0
        for size, then in self._reads:
            found.append(then(output[at : at + size]))
            at += size
        assert at == len(output)
        return found

    def _add(self, kind: int, region: int, offset: int, size: int, content: bytes = b"") -> None:
        self._script.append(struct.pack("<4q", kind, region, offset, size) + content)

    def _place(self, address: int) -> tuple[int, int]:
        """Return the region that an address here lies in, and how far from its beginning."""
        for number, (first, size) in enumerate(self._regions):
            if first <= address < first + size:
                return number, address - first
        raise AssertionError("an address outside of what was shared")

    def _pointer(self, address: int) -> bytes:
        return struct.pack("<3q", _ADDRESS, *self._place(address))

    def _argument(self, argument: Memory | int | float) -> bytes:
        if isinstance(argument, int):
            return struct.pack("<3q", _NUMBER, argument, 0)
        if isinstance(argument, float):
            return struct.pack("<qfiq", _REAL, argument, 0, 0)
        return self._pointer(_address(argument))


def build(folder: Path) -> dict[str, Path]:
    """Cross-compile `driver.c` and each library with the arguments that pyproject.toml has; returns where they are."""
    driver = folder / "driver"
    _compile(ROOT / "tests" / "arm" / "driver.c", driver, "-O1", "-std=gnu11", "-Wall", "-Wextra")
    built = {"driver": driver}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for module in project["tool"]["setuptools"]["ext-modules"]:
        name = module["name"].rpartition("._")[2]
        built[name] = folder / f"{name}.so"
        (source,) = module["sources"]
        _compile(ROOT / source, built[name], *module["extra-compile-args"], "-fPIC", "-shared")
    return built


def _compile(source: Path, target: Path, *arguments: str) -> None:
    subprocess.run([COMPILER, *arguments, source, "-o", target], check=True, timeout=300)


def _to_c(argument: Memory | int | float) -> Any:
    if isinstance(argument, int):
        return ctypes.c_int64(argument)
    if isinstance(argument, float):
        return ctypes.c_float(argument)
    return ctypes.c_void_p(_address(argument))


def _address(memory: Memory) -> int:
    return ctypes.addressof(memory) if isinstance(memory, ctypes.Structure) else memory.ctypes.data


def _bytes(memory: Memory) -> bytes:
    return bytes(memory) if isinstance(memory, ctypes.Structure) else memory.tobytes()


def _pointers(structure: Any, offset: int = 0) -> Iterator[tuple[int, int]]:
    """Yield where a structure has its pointers that are not null, and their values."""
    for name, kind in structure._fields_:
        value, at = getattr(structure, name), offset + getattr(type(structure), name).offset
        if kind is ctypes.c_void_p and value:
            yield at, value
        elif isinstance(value, ctypes.Array):
            for i, each in enumerate(value):
                yield from _pointers(each, at + i * ctypes.sizeof(each))
