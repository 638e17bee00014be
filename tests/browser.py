"""A real browser for tests: headless Chromium, spoken to in its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

_START_S = 30.0


class Page:
    """One open page."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        """Speak over this connection."""
        self._connection = connection
        self._numbers = itertools.count(1)
        self.errors: list[str] = []
        """What the page logged as an error, or threw."""

    async def open(self, address: str) -> None:
        """Go to an address."""
        for domain in ("Runtime", "Log"):
            await self._call(f"{domain}.enable")
        await self._call("Page.navigate", url=address)

    async def show(self, width: int, height: int, scheme: str = "light", is_phone: bool = False) -> None:
        """Give the page this many pixels, and a reader who prefers a `scheme`, light or dark; also while it is open."""
        await self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self._call("Emulation.setEmulatedMedia", features=features)

    async def block(self, pattern: str) -> None:
        """Let no address load that matches a pattern, with `*` for anything."""
        await self._call("Network.enable")
        await self._call("Network.setBlockedURLs", urls=[pattern])

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; None where it throws."""
        answer = await self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    async def wait_for(self, expression: str, deadline_s: float = 30.0) -> Any:
        """Return the first true value of an expression; raises `TimeoutError` where there is none in time."""
        end = time.monotonic() + deadline_s
        while not (value := await self.evaluate(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"not within {deadline_s} s: {expression}; errors: {self.errors}")
            await asyncio.sleep(0.05)
        return value

    async def emulate(self, width: int, features: dict[str, str], media: str = "") -> None:
        """Have a width, media features such as `prefers-color-scheme`, and a medium such as `print`."""
        of_screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        await self._call("Emulation.setDeviceMetricsOverride", **of_screen)
        named = [{"name": name, "value": value} for name, value in features.items()]
        await self._call("Emulation.setEmulatedMedia", media=media, features=named)

    async def save_picture(self, path: Path) -> None:
        """Write what the page shows as a PNG."""
        answer = await self._call("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(answer["data"]))

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._connection.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            packet = await self._connection.read_message()
            if packet is None:
                raise ConnectionError("the browser has gone")
            message: dict[str, Any] = json.loads(packet)
            if message.get("id") == number:
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown" or "error" in (
            parameters.get("type"),
            parameters.get("entry", {}).get("level"),
        ):
            self.errors.append(json.dumps(parameters)[:500])


@asynccontextmanager
async def browser(folder: Path, width: int = 1366, height: int = 768) -> AsyncIterator[Page]:
    """Start Chromium with its profile in `folder`, an empty one; yields its page."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0",
        f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port = await _port(folder)
        target = await _target(port)
        connection = await websocket_connect(target, max_message_size=100_000_000)
        try:
            yield Page(connection)
        finally:
            connection.close()
    finally:
        process.terminate()
        await process.wait()


async def _port(folder: Path) -> int:
    """Return the port that Chromium chose; it writes it to a file."""
    end = time.monotonic() + _START_S
    while True:
        try:
            return int((folder / "DevToolsActivePort").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            if time.monotonic() > end:
                raise TimeoutError("Chromium does not start") from None
            await asyncio.sleep(0.05)


async def _target(port: int) -> str:
    """Return the address of the page's DevTools connection."""
    from tornado.httpclient import AsyncHTTPClient

    answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json")
    pages = [entry for entry in json.loads(answer.body) if entry["type"] == "page"]
    return str(pages[0]["webSocketDebuggerUrl"])
