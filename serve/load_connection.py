"""HTTP as a load test needs it: whole requests out, status and body in, little work between."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httptools

from rllib_ez.errors import SettingError


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens."""

    host: str
    port: int
    prefix: str  # of every path, without a slash at its end
    is_tls: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """Reads http://HOST[:PORT][/PREFIX].

        Raises:
            SettingError: it is something else.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise SettingError(f"URL must be http://HOST:PORT or https://..., got {url!r}")
        is_tls = parts.scheme == "https"
        standard = 443 if is_tls else 80
        return cls(parts.hostname, port or standard, parts.path.rstrip("/"), is_tls)

    def head(self, method: str, path: str, token: str | None, extra: str = "") -> bytes:
        """A request's first lines; `extra` are more headers, each with its line's end."""
        authorization = "" if token is None else f"Authorization: Bearer {token}\r\n"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            f"{method} {self.prefix}{path} HTTP/1.1\r\nHost: {host}:{self.port}\r\n"
            f"{authorization}{extra}\r\n"
        ).encode("latin-1")


class Connection(asyncio.Protocol):
    """One connection, one request at a time; it is opened anew when it has been lost."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._address, self._timeout = address, timeout
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._parts: list[bytes] = []
        self._reply: asyncio.Future[tuple[int, bytes]] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the reply.

        Raises:
            OSError: no connection, or it broke before the reply was whole.
            TimeoutError: no whole reply in time (an OSError too).
        """
        loop = asyncio.get_running_loop()
        if self._transport is None:
            await self._open(loop)
        assert self._transport is not None
        self._reply = reply = loop.create_future()
        self._parser, self._parts = httptools.HttpResponseParser(self), []
        timer = loop.call_later(self._timeout, self._fail, TimeoutError("no reply in time"))
        self._transport.write(request)
        try:
            return await reply
        finally:
            timer.cancel()
            self._reply = None

    def close(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.abort()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        secured = ssl.create_default_context() if self._address.is_tls else None
        opening = loop.create_connection(
            lambda: self, self._address.host, self._address.port, ssl=secured
        )
        try:
            await asyncio.wait_for(opening, self._timeout)
        except asyncio.TimeoutError:
            raise TimeoutError("no connection in time") from None

    def connection_made(self, transport: Any) -> None:
        """Called by asyncio."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._transport = None
        self._fail(ConnectionResetError(str(exc or "closed before the reply was whole")))

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            if self._parser is not None:
                self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionAbortedError(f"no HTTP: {error}"))

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if not self._parser.should_keep_alive():
            self.close()
            self._transport = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_result((self._parser.get_status_code(), b"".join(self._parts)))

    def _fail(self, error: OSError) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)
            self.close()
            self._transport = None
