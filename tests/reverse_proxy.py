"""A reverse proxy as JupyterHub's: `/user/ada/proxy/PORT/x` is `/x` at that port of this machine; else 404."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClientConnection, WebSocketHandler, websocket_connect

PREFIX = "/user/ada/"

_HOP_BY_HOP = {"connection", "content-length", "content-encoding", "transfer-encoding", "keep-alive", "upgrade"}


class ReverseProxy:
    """A running proxy."""

    def __init__(self, port: int) -> None:
        """It listens on a port of the loopback interface."""
        self.address = f"http://127.0.0.1:{port}"
        self.strays: list[str] = []
        """Paths outside of the prefix that somebody asked for."""
        self.n_sockets = 0
        """Web sockets that were opened through it."""


class _Page(RequestHandler):
    def initialize(self, proxy: ReverseProxy) -> None:
        self._proxy = proxy

    async def get(self, port: str, path: str) -> None:
        query = f"?{self.request.query}" if self.request.query else ""
        headers = self.request.headers.copy()
        headers["X-Forwarded-Context"] = f"{PREFIX}proxy/{port}"
        request = HTTPRequest(
            f"http://127.0.0.1:{port}/{path}{query}", headers=headers, follow_redirects=False, decompress_response=True
        )
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        self.set_status(answer.code)
        for name, value in answer.headers.get_all():
            if name.lower() not in _HOP_BY_HOP:
                self.set_header(name, value)
        self.finish(answer.body)


class _Socket(WebSocketHandler):
    _there: WebSocketClientConnection | None = None

    def initialize(self, proxy: ReverseProxy) -> None:
        self._proxy = proxy

    async def get(self, port: str, path: str) -> None:
        self._proxy.n_sockets += 1
        protocols = self.request.headers.get("Sec-WebSocket-Protocol", "").split(", ")
        request = HTTPRequest(
            f"ws://127.0.0.1:{port}/{path}?{self.request.query}",
            headers={"Origin": self.request.headers["Origin"], "Host": self.request.host},
        )
        self._there = await websocket_connect(
            request, on_message_callback=self._answer, subprotocols=protocols, max_message_size=100_000_000
        )
        await super().get(port, path)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        assert self._there is not None
        return self._there.selected_subprotocol

    async def on_message(self, message: str | bytes) -> None:
        assert self._there is not None
        await self._there.write_message(message, isinstance(message, bytes))

    def on_close(self) -> None:
        if self._there is not None:
            self._there.close()

    def _answer(self, message: str | bytes | None) -> None:
        if message is None:
            self.close()
        else:
            self.write_message(message, isinstance(message, bytes))


class _Stray(RequestHandler):
    def initialize(self, proxy: ReverseProxy) -> None:
        self._proxy = proxy

    def prepare(self) -> None:
        self._proxy.strays.append(self.request.path)
        self.send_error(404)


@asynccontextmanager
async def reverse_proxy() -> AsyncIterator[ReverseProxy]:
    """Run a proxy on a free port."""
    (socket,) = bind_sockets(0, "127.0.0.1")
    proxy = ReverseProxy(socket.getsockname()[1])
    known = {"proxy": proxy}
    server = HTTPServer(
        Application(
            [
                (rf"{PREFIX}proxy/(\d+)/(.*/ws)", _Socket, known),
                (rf"{PREFIX}proxy/(\d+)/(.*)", _Page, known),
                (r".*", _Stray, known),
            ]
        )
    )
    server.add_socket(socket)
    try:
        yield proxy
    finally:
        server.stop()
        await server.close_all_connections()
