"""A TCP proxy that can be cut or held: a network between two processes of one machine."""

from __future__ import annotations

import asyncio
import contextlib


class Proxy:
    """Passes connections on to a port of this machine."""

    def __init__(self, port: int) -> None:
        """Pass on to `port`."""
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def n_connections(self) -> int:
        """Connections that pass at the moment."""
        return len(self._writers) // 2

    async def cut(self, seconds: float) -> int:
        """Break all connections at once and refuse others for a while; returns how many broke."""
        n_broken = self.n_connections
        self._refuses = True
        for writer in list(self._writers):
            writer.transport.abort()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._refuses = False
        return n_broken

    async def hold(self, seconds: float) -> int:
        """Let nothing through for a while, connections staying open; returns how many there were."""
        self._flows.clear()
        n_held = self.n_connections
        try:
            await asyncio.sleep(seconds)
        finally:
            self._flows.set()
        return n_held

    async def close(self) -> None:
        """Break everything and listen no more."""
        if self._server is not None:
            self._server.close()
        self._flows.set()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, other_writer}
        try:
            with contextlib.suppress(asyncio.CancelledError):  # when the loop ends, which is nobody's business
                await asyncio.gather(self._pump(reader, other_writer), self._pump(other_reader, writer))
        finally:
            self._writers -= {writer, other_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
