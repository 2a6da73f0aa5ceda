"""The client of a connection whose row holds a hostile base URL: no packet leaves to an address inside."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from portal.providers import AccountRef, NotSent, ProviderError, Rejected, Unsupported, sockets
from portal.providers.sendgrid.sign_in import trusted
from tests.providers.hostile_urls import BASE_URLS
from tests.providers.sendgrid.test_sign_in import BAD, HOSTS
from tests.providers.support import ACCOUNT_ID, Server, reply, sendgrid
from tests.providers.test_http import read

RESOLVER = socket.getaddrinfo


def _fits_a_header(url: str) -> bool:
    return bool(url) and url.isascii() and url.isprintable() and url == url.strip()


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Resolve every name to an address inside, and note where a connection would go."""
    found: list[str] = []

    def resolve(host: str, port: int, **more: Any) -> Any:
        try:
            return RESOLVER(host, port, flags=socket.AI_NUMERICHOST, **more)  # as the C library reads numbers
        except OSError:
            return [(2, 1, 6, "", ("10.1.2.3", port))]

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        found.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(sockets, "create_connection", connect)
    return found


def test_there_are_enough() -> None:
    assert len(set(BASE_URLS)) == len(BASE_URLS) >= 60
    assert len(set(BAD)) >= 40


@pytest.mark.parametrize("url", BASE_URLS)
def test_nothing_is_sent_to_a_hostile_base_url(url: str, connected: list[str]) -> None:
    with pytest.raises((Unsupported, NotSent)):
        read(sendgrid(url, connect_timeout=2, repeat_reads=False))
    # Loopback names alone lead to this machine, and only there: the sandbox. (The portal stores none in production.)
    hosts = ("https://127.0.0.1", "https://localhost", "https://[::1]")
    assert all(url.removesuffix(".") in hosts and ipaddress.ip_address(each).is_loopback for each in connected)


def test_a_name_rebound_between_two_requests_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """First a public address, then this machine: every connection goes to the address that was checked."""
    answers, went = iter(["167.89.118.51", "127.0.0.1", "169.254.169.254"]), []
    monkeypatch.setattr(socket, "getaddrinfo", lambda _host, port, **_: [(2, 1, 6, "", (next(answers), port))])

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        went.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(sockets, "create_connection", connect)
    provider = sendgrid(repeat_reads=False)
    for _ in range(3):
        with pytest.raises(NotSent):
            read(provider)
    assert went == ["167.89.118.51"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("url", ["http://169.254.169.254/latest/meta-data/", "file:/etc/passwd", "//127.0.0.1/"])
def test_a_redirect_inside_is_not_followed(status: int, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server.answering(reply(status, b"", Location=url)) as server:
        provider = sendgrid(server.base_url, repeat_reads=False)
        went: list[str] = []
        real = sockets.create_connection

        def connect(address: tuple[str, int], *rest: Any, **more: Any) -> socket.socket:
            went.append(f"{address[0]}:{address[1]}")
            return real(address, *rest, **more)

        monkeypatch.setattr(sockets, "create_connection", connect)
        with pytest.raises(ProviderError):
            read(provider)
        assert went == [f"127.0.0.1:{server.port}"]


@pytest.mark.parametrize(
    "url",
    [
        each
        for each in BAD
        if each and "\n" not in each and each.isascii() and each.isprintable() and each == each.strip()
    ],
)
def test_a_hostile_sign_in_target_is_refused(url: str) -> None:
    """As SendGrid's answer says it, over the wire; what a header cannot carry is in test_sign_in."""
    assert not trusted(url, HOSTS)
    with Server.answering(reply(303, b"", Location=url)) as server, pytest.raises(ProviderError) as caught:
        sendgrid(server.base_url).sign_in_url(AccountRef(ACCOUNT_ID))
    assert isinstance(caught.value, Rejected) or url.strip() == ""
    said = str(caught.value) + repr(caught.value.evidence)
    assert "evil" not in said
    assert url not in said or url == "https://com/"
