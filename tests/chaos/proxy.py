"""A TCP proxy that breaks connections as networks do, by a fault that can be changed while it runs.

It knows no protocol: it counts bytes, per connection and way. `UP` is from the client to the server behind it.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

UP, DOWN, BOTH = "up", "down", "both"
LOOPBACK = "127.0.0.1"
# Connections that fill a queue of none: the kernel then drops who knocks, as a black hole does.
FILLERS = 4


@dataclass(frozen=True)
class Fault:
    """What goes wrong, on which way, and after how many bytes (`drip`: how many bytes a second).

    `refuse`, `hang-on-connect`: no connection comes to be. `hang`: it does, and nobody reads it. `reset`: the bytes
    before arrive, then both sides get an RST. `garble`: byte `n` arrives as another one. `half-open`: the connections
    there are, and those to come, stand without a sign of life, for good; only new ones after a change work again.
    """

    kind: str = ""
    way: str = BOTH
    n: int = 0

    def on(self, way: str) -> bool:
        return self.way in (way, BOTH)


class _Link:
    """One client's connection and ours behind it."""

    def __init__(self, client: socket.socket, server: socket.socket, fault: Fault) -> None:
        self.client, self.server = client, server
        self.silent = fault if fault.kind == "half-open" else None
        self.over = threading.Event()

    def reset(self) -> None:
        """RST instead of FIN, to both sides: what is in flight is lost."""
        for each in (self.client, self.server):
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.end(socket.SHUT_RD)

    def end(self, how: int = socket.SHUT_RDWR) -> None:
        """Close alone would not wake the threads that read, and the kernel keeps a socket that is read."""
        self.over.set()
        for each in (self.client, self.server):
            with suppress(OSError):
                each.shutdown(how)
            each.close()


class FaultProxy:
    """`with FaultProxy(port) as proxy:` listens on `proxy.port` and hands on to `port` of this machine."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.fault = Fault()
        self.accepted = 0
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._fillers: list[socket.socket] = []
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._listens = False

    def __enter__(self) -> Self:
        self.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_socket()
        with self._lock:
            links = list(self._links)
        for link in links:
            link.end()

    def clear(self) -> None:
        self.set("")

    def set(self, kind: str, way: str = BOTH, n: int = 0) -> None:
        """From now on this is what goes wrong; the connections there are suffer it with their next byte."""
        fault = Fault(kind, way, n)
        with self._lock:
            self.fault = fault
            if kind == "half-open":
                for link in self._links:
                    link.silent = fault
        if kind in ("refuse", "hang-on-connect"):
            self._close_socket()
            self._socket = _bound(self.port)  # bound and not listening: refused
            if kind == "hang-on-connect":
                self._socket.listen(0)
                self._fill()
        elif not self._listens:
            self._close_socket()
            self._socket = _bound(self.port)
            self._socket.listen(64)
            self._listens = True
            threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()

    def _fill(self) -> None:
        for _ in range(FILLERS):
            one = socket.socket()
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect((LOOPBACK, self.port))
            self._fillers.append(one)

    def _close_socket(self) -> None:
        self._listens = False
        for one in self._fillers:
            one.close()
        self._fillers.clear()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return  # closed, to listen no more or anew
            self.accepted += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One connection from its first byte to its end."""
        server = socket.socket()
        with self._lock:
            fault = self.fault
            link = _Link(client, server, fault)
            self._links.add(link)
        try:
            if fault.kind == "hang":
                link.over.wait()
                return
            server.connect((LOOPBACK, self.target))
            back = threading.Thread(target=self._pump, args=(link, DOWN, server, client), daemon=True)
            back.start()
            self._pump(link, UP, client, server)
            back.join()
        except OSError:
            link.reset()  # the server behind us is not there
        finally:
            link.end()
            with self._lock:
                self._links.discard(link)

    def _pump(self, link: _Link, way: str, source: socket.socket, sink: socket.socket) -> None:
        """Hand on what comes, spoiled as the fault of the moment wants it."""
        passed = 0
        try:
            while data := source.recv(65_536):
                if link.silent and link.silent.on(way):
                    continue
                fault = self.fault if self.fault.on(way) else Fault()
                if fault.kind == "reset" and passed + len(data) > fault.n:
                    sink.sendall(data[: max(fault.n - passed, 0)])
                    link.reset()
                    return
                self._hand_on(link, fault, passed, data, sink)
                passed += len(data)
            if not link.silent and not link.over.is_set():
                sink.shutdown(socket.SHUT_WR)
            elif way == DOWN:
                link.over.wait()  # the server is gone, and the client is not told
        except OSError:
            link.end()

    def _hand_on(self, link: _Link, fault: Fault, passed: int, data: bytes, sink: socket.socket) -> None:
        if fault.kind == "garble" and passed <= fault.n < passed + len(data):
            spoiled = bytearray(data)
            spoiled[fault.n - passed] ^= 0x15
            data = bytes(spoiled)
        if fault.kind != "drip":
            sink.sendall(data)
            return
        for at in range(len(data)):
            sink.sendall(data[at : at + 1])
            if link.over.wait(1 / fault.n):
                return


def _bound(port: int) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((LOOPBACK, port))
    return one
