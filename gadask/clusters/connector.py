"""Dask's encrypted connections, where one that is cut while it is made is a broken connection like any other."""

from __future__ import annotations

from typing import Any

from distributed.comm import registry
from distributed.comm.core import Comm, CommClosedError
from distributed.comm.tcp import TLSBackend, TLSConnector


class _Connector(TLSConnector):  # type: ignore[misc]
    async def connect(self, address: str, deserialize: bool = True, **connection_args: Any) -> Comm:
        """Return a connection; raises `CommClosedError` where it broke before it was made, which Dask tries again."""
        try:
            return await super().connect(address, deserialize, **connection_args)
        except ValueError as error:  # of tornado's start_tls: "IOStream is not idle"
            raise CommClosedError(f"{error}") from error


class _Backend(TLSBackend):  # type: ignore[misc]
    _connector_class = _Connector


def survive_cut_handshakes() -> None:
    """Have this process's connections made so; without it a cut in that moment ends Dask's own reconnecting."""
    registry.backends["tls"] = _Backend()
