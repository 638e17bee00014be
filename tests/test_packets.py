"""Messages between a node and its processes: any size, no waiting, and nothing left open."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gadask.errors import NodeError, PacketError
from gadask.node.packets import packet_socketpair, receive, send

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    before = n_open()
    ours, theirs = packet_socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()
    assert n_open() == before


def n_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("n_bytes", [0, 1000, *range(65_510, 65_540, 2), 200_000, 10_000_000])
def test_a_message_of_any_size_arrives_whole_with_its_descriptor(ends: Ends, n_bytes: int, tmp_path: Path) -> None:
    message = {"bytes": os.urandom(n_bytes)}
    with (tmp_path / "file").open("w+") as file:
        send(ends[0], message, file.fileno())
        send(ends[0], "the next")
        found, fds = receive(ends[1])
        assert found == message
        assert [os.path.sameopenfile(fd, file.fileno()) for fd in fds] == [True]
        for fd in fds:
            os.close(fd)
    assert receive(ends[1]) == ("the next", [])


def test_nobody_waits_for_one_that_does_not_read(ends: Ends) -> None:
    ends[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        send_many(ends[0])


def send_many(end: socket.socket) -> None:
    for _ in range(100_000):
        send(end, bytes(70_000))


@pytest.mark.parametrize(
    "packet",
    [
        b"what does this do?",
        b"wwhat does this do?",
        b"m",
        b"w" + pickle.dumps(list(range(1000)))[:-1],
        b"w" + pickle.dumps(bytes(100_000)),  # more than is read
        b"w" + pickle.dumps("whole") + bytes(100_000),
    ],
)
def test_a_packet_that_cannot_be_read_is_an_error(ends: Ends, packet: bytes, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        socket.send_fds(ends[0], [packet], [file.fileno()])
    with pytest.raises(PacketError, match=r"a packet of \d+ bytes cannot be read"):
        receive(ends[1])
    send(ends[0], "the next")
    assert receive(ends[1]) == ("the next", [])


def test_an_end_that_is_closed_reads_none(ends: Ends) -> None:
    send(ends[0], NodeError("last words"))
    ends[0].close()
    assert str(receive(ends[1])[0]) == "last words"
    assert receive(ends[1]) == (None, [])
    with pytest.raises(BrokenPipeError):
        send(ends[1], "to nobody")


def test_an_end_that_goes_without_reading_reads_none(ends: Ends) -> None:
    send(ends[1], "not read")
    ends[0].close()
    assert receive(ends[1]) == (None, [])
