"""Messages between pool, fork server and rollout processes: one packet each, of any size.

A packet of a `SOCK_SEQPACKET` socket arrives whole or not at all, but Linux lets it be no larger than the socket's
buffer. A larger message lies in a memfd, whose descriptor comes with a packet of one byte: it has no name that could be
left behind, and the sender does not wait for the reader. Messages are pickled, which is safe between a parent and its
own child and nowhere else.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
from typing import Any

from gadask.errors import PacketError

_LARGEST_BYTES = 1 << 16  # a socket holds several of them: Linux lets every one send 200 kB
_BUFFER_BYTES = 400_000
_WHOLE, _IN_MEMORY = b"w", b"m"
_MOST_DESCRIPTORS = 2  # a task's weights, and the memory that a large message lies in


def packet_socketpair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends for `send` and `receive`."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return pair


def send(channel: socket.socket, message: object, *fds: int) -> None:
    """Send a message with at most one descriptor.

    Raises `OSError`: the other end is closed, there is no memory for a large message, or, of a socket that does not
    block, the other end has not read for long.
    """
    packed = pickle.dumps(message)
    if len(packed) < _LARGEST_BYTES:
        socket.send_fds(channel, [_WHOLE, packed], fds)
        return
    memory = os.memfd_create("gadask-message", os.MFD_CLOEXEC)
    try:
        view = memoryview(packed)
        while view:
            view = view[os.write(memory, view) :]
        socket.send_fds(channel, [_IN_MEMORY], [*fds, memory])
    finally:
        os.close(memory)


def receive(channel: socket.socket) -> tuple[Any, list[int]]:
    """Return the next message and the descriptors that came with it; None once the other end is closed.

    Raises `PacketError` for a packet that `send` did not write, whose descriptors are closed.
    """
    try:
        packet, fds, flags, _ = socket.recv_fds(channel, _LARGEST_BYTES, _MOST_DESCRIPTORS)
    except ConnectionResetError:
        packet = b""
    if not packet:
        return None, []
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("it was cut")
        if packet[:1] == _IN_MEMORY:
            memory = fds.pop()
            try:
                with mmap.mmap(memory, 0, prot=mmap.PROT_READ) as mapping:
                    return pickle.loads(mapping), fds
            finally:
                os.close(memory)
        if packet[:1] != _WHOLE:
            raise ValueError(f"it begins with {packet[:8]!r}")
        return pickle.loads(memoryview(packet)[1:]), fds
    except Exception as error:  # whatever the bytes make of themselves
        for fd in fds:
            os.close(fd)
        raise PacketError(
            f"a packet of {len(packet)} bytes cannot be read ({type(error).__name__}: {error});"
            " something else writes to the sockets of gadask's processes"
        ) from error
