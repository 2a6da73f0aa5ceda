"""The proxy itself, with an echo behind it: each fault does what it says, and no other."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import DOWN, UP, FaultProxy


class Echo:
    """Answers every chunk with itself and keeps what came."""

    def __init__(self) -> None:
        self.heard = b""
        self.said_goodbye = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(one,), daemon=True).start()

    def _answer(self, one: socket.socket) -> None:
        with one:
            try:
                while data := one.recv(65_536):
                    self.heard += data
                    one.sendall(data)
            except OSError:
                pass
            self.said_goodbye.set()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    one = Echo()
    yield one
    one.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy(echo.port) as one:
        yield one


def knock(proxy: FaultProxy, timeout: float = 2.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout)


def all_of(one: socket.socket, n: int) -> bytes:
    got = b""
    while len(got) < n and (data := one.recv(n)):
        got += data
    return got


def works(proxy: FaultProxy) -> bool:
    with knock(proxy) as one:
        one.sendall(b"hello")
        return all_of(one, 5) == b"hello"


def test_nothing_goes_wrong_unless_told(proxy: FaultProxy, echo: Echo) -> None:
    with knock(proxy) as one:
        one.sendall(b"x" * 200_000)
        one.shutdown(socket.SHUT_WR)
        assert all_of(one, 200_001) == b"x" * 200_000
    assert echo.said_goodbye.wait(2)
    assert proxy.accepted == 1


def test_refused_and_then_not(proxy: FaultProxy) -> None:
    proxy.set("refuse")
    with pytest.raises(ConnectionRefusedError):
        knock(proxy)
    proxy.clear()
    assert works(proxy)


def test_a_black_hole_lets_nobody_in(proxy: FaultProxy) -> None:
    proxy.set("hang-on-connect")
    with pytest.raises(TimeoutError):
        knock(proxy, timeout=0.3)
    proxy.clear()
    assert works(proxy)


def test_accepted_and_never_read(proxy: FaultProxy, echo: Echo) -> None:
    proxy.set("hang")
    with knock(proxy, timeout=0.3) as one:
        one.sendall(b"hello")
        with pytest.raises(TimeoutError):
            one.recv(1)
    assert echo.heard == b""
    proxy.clear()
    assert works(proxy)


@pytest.mark.parametrize(("way", "heard", "back"), [(UP, b"hel", b""), (DOWN, b"hello", b"hel")])
def test_reset_after_so_many_bytes(proxy: FaultProxy, echo: Echo, way: str, heard: bytes, back: bytes) -> None:
    proxy.set("reset", way, 3)
    with knock(proxy) as one:
        one.sendall(b"hello")
        assert echo.said_goodbye.wait(2)
        with pytest.raises(ConnectionResetError):
            assert back.startswith(all_of(one, 5)), "an RST may overtake what was in flight"
    assert echo.heard == heard


def test_a_drip_takes_its_time(proxy: FaultProxy) -> None:
    proxy.set("drip", DOWN, 50)
    with knock(proxy) as one:
        began = time.monotonic()
        one.sendall(b"x" * 25)
        assert all_of(one, 25) == b"x" * 25
    assert time.monotonic() - began >= 24 / 50


def test_one_byte_arrives_as_another(proxy: FaultProxy, echo: Echo) -> None:
    proxy.set("garble", UP, 6)
    with knock(proxy) as one:
        one.sendall(b"good")
        assert all_of(one, 4) == b"good"
        one.sendall(b"morning")
        assert all_of(one, 7) == b"mozning".replace(b"z", bytes([ord("r") ^ 0x15]))
    assert len(echo.heard) == 11


def test_half_open_silences_only_existing_connections(proxy: FaultProxy, echo: Echo) -> None:
    with knock(proxy, timeout=0.3) as one:
        one.sendall(b"before")
        assert all_of(one, 6) == b"before"
        proxy.set("half-open")
        one.sendall(b"after")
        with pytest.raises(TimeoutError):
            one.recv(1)
        proxy.clear()
        assert works(proxy)
        one.sendall(b"still")
        with pytest.raises(TimeoutError):
            one.recv(1)
    assert echo.heard == b"beforehello"
