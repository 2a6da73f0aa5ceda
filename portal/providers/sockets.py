"""Sockets with a total deadline per exchange, and detection of requests that were never sent.

`requests` has a timeout per read, which a server that sends one byte a second never reaches. So a watchdog, one thread
for all exchanges of the process, shuts a socket at its deadline, whatever is being read (TLS, headers, body). The
connections here also record whether a failure came before the first byte of the request: only then is it safe to
repeat a change.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import create_connection

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # an IPv4 address in its last four bytes
# How long the watchdog sleeps while nothing is under way.
IDLE_SECONDS = 60.0
LOOPBACK_NAMES = ("127.0.0.1", "::1", "localhost")


class AddressRefusedError(OSError):
    """The name resolves to an address a provider cannot have (private, loopback, link-local, ...)."""


class NotResolvedError(OSError):
    """The name has no address."""


class Exchange:
    """One request and its answer, limited to `seconds`. Use as a context manager around both."""

    def __init__(self, seconds: float, *, allow_private: bool) -> None:
        self.deadline = time.monotonic() + seconds
        self.allow_private = allow_private
        self.unsent = False
        self.expired = False
        self._handle: socket.socket | None = None
        self._lock = threading.Lock()

    @property
    def remaining(self) -> float:
        return max(self.deadline - time.monotonic(), 0.001)

    def hold(self, sock: socket.socket) -> None:
        """Duplicate the socket handle: TLS and http.client take over the original."""
        with self._lock:
            self._close_handle()
            self._handle = socket.socket(fileno=os.dup(sock.fileno()))
            if self.expired:
                self._shut()

    @property
    def held(self) -> bool:
        return self._handle is not None

    def expire(self) -> None:
        with self._lock:
            self.expired = True
            self._shut()

    def _shut(self) -> None:
        if self._handle is not None:
            with suppress(OSError):  # already closed
                self._handle.shutdown(socket.SHUT_RDWR)

    def _close_handle(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def __enter__(self) -> Exchange:
        self._token = _current.set(self)
        _watchdog.watch(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _watchdog.leave(self)
        _current.reset(self._token)
        with self._lock:
            self._close_handle()


_current: ContextVar[Exchange] = ContextVar("exchange")


class Watchdog:
    """One thread that ends exchanges at their deadlines. It starts with the first exchange of a process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: set[Exchange] = set()
        self._wakes_at = 0.0
        self._thread: threading.Thread | None = None

    def watch(self, exchange: Exchange) -> None:
        with self._changed:
            self._watched.add(exchange)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="exchanges", daemon=True)
                thread.start()
                self._thread = thread
            elif exchange.deadline < self._wakes_at:
                self._changed.notify()

    def leave(self, exchange: Exchange) -> None:
        with self._changed:
            self._watched.discard(exchange)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                over = [each for each in self._watched if each.deadline <= now]
                self._watched.difference_update(over)
                self._wakes_at = min((each.deadline for each in self._watched), default=now + IDLE_SECONDS)
                if not over:
                    self._changed.wait(max(0.0, self._wakes_at - now))
            for each in over:
                each.expire()


def _watch_anew() -> None:
    """Start over in a forked process: it has no thread of its parent."""
    global _watchdog  # noqa: PLW0603 - one for each process
    _watchdog = Watchdog()


_watchdog = Watchdog()
os.register_at_fork(after_in_child=_watch_anew)


def _resolve(host: str, port: int, seconds: float) -> list[str]:
    """Return the addresses of `host`. Uses a thread, because the resolver's own timeout is much longer."""
    found: list[list[str] | Exception] = []

    def look_up() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.append([str(answer[4][0]) for answer in answers])
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(seconds)
    if not found:
        raise TimeoutError("the hostname was not resolved in time")
    if isinstance(found[0], Exception):
        raise NotResolvedError
    return found[0]


def may_connect(host: str, address: str, *, allow_private: bool) -> bool:
    """Return whether `host` may resolve to `address`: public, or loopback if the host itself is a loopback name."""
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.sixtofour or ip.teredo:
            return False
        if ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        else:
            ip = ip.ipv4_mapped or ip
    if host in LOOPBACK_NAMES:
        return ip.is_loopback
    if ip.is_multicast or ip.is_unspecified or ip.is_link_local:
        return False
    return ip.is_global or (allow_private and ip.is_private)


def _open(host: str, port: int, connect_timeout: float, options: Any) -> socket.socket:
    """Resolve once, check every address, and connect to a checked one: a second lookup could be rebound."""
    exchange = _current.get()
    until = time.monotonic() + min(connect_timeout, exchange.remaining)
    addresses = _resolve(host, port, until - time.monotonic())
    if not all(may_connect(host, address, allow_private=exchange.allow_private) for address in addresses):
        raise AddressRefusedError(f"{host} resolves to a private IP address")
    failure: OSError = TimeoutError("no connection in time")
    for address in addresses:
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            sock = create_connection((address, port), left, socket_options=options)
        except OSError as error:
            failure = error
            continue
        exchange.hold(sock)
        if exchange.expired:
            sock.close()
            break
        return sock
    raise failure


class WatchedHTTP(HTTPConnection):
    """Connection that registers its socket with the current exchange and records whether anything was sent."""

    def _new_conn(self) -> socket.socket:
        timeout = self.timeout if isinstance(self.timeout, int | float) else 5.0
        return _open(self.host, int(self.port or 0), float(timeout), self.socket_options)

    def connect(self) -> None:
        try:
            super().connect()
        except BaseException:
            _current.get().unsent = True
            raise

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        exchange = _current.get()
        if not exchange.held:  # a kept-alive connection: connected during an earlier exchange
            exchange.hold(self.sock)
        super().send(data)


class WatchedHTTPS(WatchedHTTP, HTTPSConnection):
    """HTTPS connection. Base class order matters: `WatchedHTTP.connect` must wrap the TLS handshake as well."""


class WatchedHTTPPool(HTTPConnectionPool):
    ConnectionCls = WatchedHTTP


class WatchedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = WatchedHTTPS


POOLS = {"http": WatchedHTTPPool, "https": WatchedHTTPSPool}
