"""Real sockets: what a broken connection means depends on when it broke, and on what was asked."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from collections.abc import Callable

import pytest

from portal.providers import (
    AccountRef,
    Evidence,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    Unreadable,
    Unsupported,
    client,
)
from portal.providers import http as provider_http
from portal.providers.sendgrid.client import SendGrid
from portal.providers.sockets import AddressRefusedError, may_connect

from .support import ACCOUNT_ID, Script, Server, config, create, read_request, reply, reset, sendgrid

ACCOUNT = AccountRef(ACCOUNT_ID)
CREATED = {"account_id": ACCOUNT_ID}


def read(provider: SendGrid) -> object:
    return provider.state(ACCOUNT)


def reset_at_the_first_byte(sock: socket.socket) -> None:
    sock.recv(1)
    reset(sock)


def reset_after_reading(sock: socket.socket) -> None:
    read_request(sock)
    reset(sock)


def close_after_reading(sock: socket.socket) -> None:
    read_request(sock)


def hang(sock: socket.socket) -> None:
    read_request(sock)
    sock.recv(1)  # until the client leaves


def truncated(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(reply(201, CREATED)[:-5])


def truncated_chunks(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b'HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"acc\r\n')


def not_http(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"220 mail.example.test ESMTP\r\n")


def endless_headers(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"HTTP/1.1 201 Created\r\n")
    while True:
        sock.sendall(b"X-More: 1\r\n" * 100)


def drip_headers(sock: socket.socket) -> None:
    read_request(sock)
    for byte in b"HTTP/1.1 201 Created\r\n" + b"X-Slow: yes\r\n" * 1000:
        sock.sendall(bytes([byte]))
        time.sleep(0.02)


def drip_body(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 100000\r\n\r\n")
    while True:
        sock.sendall(b" ")
        time.sleep(0.02)


def drip_body_without_length(sock: socket.socket) -> None:
    """Cut at the deadline this one would look complete: its end is the end of the connection."""
    read_request(sock)
    sock.sendall(b"HTTP/1.1 201 Created\r\n\r\n" + b'{"account_id": "' + ACCOUNT_ID.encode() + b'"}')
    while True:
        sock.sendall(b" ")
        time.sleep(0.02)


def continues_for_ever(sock: socket.socket) -> None:
    read_request(sock)
    while True:
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.005)


def flood(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        sock.sendall(b"x" * 65_536)


BROKEN = [
    reset_at_the_first_byte,
    reset_after_reading,
    close_after_reading,
    truncated,
    truncated_chunks,
    not_http,
    endless_headers,
]
SLOW = [hang, drip_headers, drip_body, drip_body_without_length, continues_for_ever]


@pytest.mark.parametrize("script", BROKEN, ids=lambda script: script.__name__)
def test_a_broken_answer_leaves_a_change_unknown_without_a_retry(script: Script) -> None:
    kept: list[Evidence] = []
    with Server(script) as server:
        with pytest.raises(OutcomeUnknown) as caught:
            create(sendgrid(server.base_url, kept=kept))
        assert server.connections == 1
    assert [caught.value.evidence] == kept
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # a library's exception would hold the request and its key


@pytest.mark.parametrize("script", BROKEN, ids=lambda script: script.__name__)
def test_a_broken_answer_to_a_read_fails_after_three_tries(script: Script) -> None:
    with Server(script) as server:
        with pytest.raises(Unreadable):
            read(sendgrid(server.base_url))
        assert server.connections == provider_http.READ_TRIES


@pytest.mark.parametrize(("ask", "doubt"), [(create, OutcomeUnknown), (read, Unreadable)])
def test_a_reset_before_any_byte_is_never_more_than_in_doubt(
    ask: Callable[[SendGrid], object], doubt: type[ProviderError]
) -> None:
    """Whether our first byte or the reset is quicker is chance: "not sent" is right when the reset is."""
    with Server(reset) as server:
        for _ in range(10):
            with pytest.raises((NotSent, doubt)):
                ask(sendgrid(server.base_url))


@pytest.mark.parametrize("script", SLOW, ids=lambda script: script.__name__)
@pytest.mark.parametrize(("ask", "error"), [(create, OutcomeUnknown), (read, Unreadable)])
def test_nothing_outlasts_the_total_timeout(
    script: Script, ask: Callable[[SendGrid], object], error: type[ProviderError]
) -> None:
    with Server(script) as server:
        started = time.monotonic()
        with pytest.raises(error):
            ask(sendgrid(server.base_url, read_timeout=30.0, total_timeout=0.4))
        assert time.monotonic() - started < 10, "it would take 30 s, or never end"


def test_the_read_timeout_counts_as_well() -> None:
    with Server(hang) as server, pytest.raises(OutcomeUnknown, match="timed out"):
        create(sendgrid(server.base_url, read_timeout=0.2))


@pytest.mark.parametrize(("ask", "error"), [(create, OutcomeUnknown), (read, Unreadable)])
def test_a_flood_is_cut_and_costs_little_memory(ask: Callable[[SendGrid], object], error: type[ProviderError]) -> None:
    with Server(flood) as server:
        tracemalloc.start()
        try:
            with pytest.raises(error, match="too large") as caught:
                ask(sendgrid(server.base_url))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 30_000_000
    assert len(caught.value.evidence.response_body) <= 8_192


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(("ask", "tries"), [(create, 1), (read, provider_http.READ_TRIES)])
def test_refused_is_not_sent(ask: Callable[[SendGrid], object], tries: int) -> None:
    kept: list[Evidence] = []
    with pytest.raises(NotSent, match="refused") as caught:
        ask(sendgrid(f"http://127.0.0.1:{closed_port()}", kept=kept))
    assert caught.value.retry_at is None
    assert len(kept) == tries  # whoever asked for a change decides when it is tried again


def test_a_name_without_an_address_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*args: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(NotSent, match="not be resolved"):
        create(sendgrid())


def test_a_resolver_that_hangs_is_not_sent_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def slow(*args: object, **more: object) -> None:
        release.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    started = time.monotonic()
    try:
        with pytest.raises(NotSent):
            create(sendgrid(connect_timeout=0.2))
        assert time.monotonic() - started < 10, "the resolver takes 20 s"
    finally:
        release.set()


def test_no_answer_to_connect_is_not_sent() -> None:
    with socket.socket() as full:  # a listener whose queue is full drops further connections silently
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        try:
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(address)
            with pytest.raises(NotSent, match="timed out"):
                create(sendgrid(f"http://127.0.0.1:{address[1]}", connect_timeout=0.3))
        finally:
            for sock in waiting:
                sock.close()


def test_a_failed_tls_handshake_is_not_sent() -> None:
    def plain(sock: socket.socket) -> None:
        sock.recv(1)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Server(plain) as server:
        with pytest.raises(NotSent, match="secure"):
            create(sendgrid(f"https://127.0.0.1:{server.port}"))
        assert server.connections == 1


def test_a_tls_handshake_that_drips_ends_with_the_deadline() -> None:
    def dripping(sock: socket.socket) -> None:
        sock.recv(65_536)
        for byte in b"\x16\x03\x03\x40\x00" + b"\x02" * 1000:
            sock.sendall(bytes([byte]))
            time.sleep(0.02)

    with Server(dripping) as server:
        started = time.monotonic()
        with pytest.raises(NotSent):
            create(sendgrid(f"https://127.0.0.1:{server.port}", connect_timeout=5.0, total_timeout=1.5))
        assert time.monotonic() - started < 10, "the handshake takes 20 s"


def test_reads_share_a_connection_and_changes_never_do() -> None:
    with Server.answering(reply(200, {"state": "activated"}), reply(200, {"state": "activated"}), reply(204)) as server:
        provider = sendgrid(server.base_url)
        read(provider)
        read(provider)
        assert server.connections == 1
        provider.set_sending(ACCOUNT, on=False)
        provider.set_sending(ACCOUNT, on=True)
        assert server.connections == 3
        assert b"connection: close" in server.requests[2].lower()


def test_a_stale_kept_connection_never_affects_a_change() -> None:
    """The idle reset meets reads only: they notice and reconnect."""
    ended = threading.Event()

    def once(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(reply(200, {"state": "activated"}))
        reset(sock)
        ended.set()

    def created(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(reply(201, CREATED))

    with Server(once, created, once) as server:
        provider = sendgrid(server.base_url)
        read(provider)
        assert ended.wait(60)
        assert create(provider) == ACCOUNT_ID
        read(provider)


def test_no_two_threads_share_a_connection() -> None:
    with Server.answering(reply(200, {"state": "activated"})) as server:
        provider = sendgrid(server.base_url)
        failures: list[BaseException] = []

        def work() -> None:
            try:
                for _ in range(20):
                    read(provider)
            except BaseException as error:  # noqa: BLE001 - told to the test below
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert failures == []
        assert len(server.requests) == 160
        assert server.connections <= 8


def test_a_connection_outlives_the_thread_that_used_it() -> None:
    with Server.answering(reply(200, {"state": "activated"})) as server:
        provider = sendgrid(server.base_url)
        for _ in range(5):
            thread = threading.Thread(target=read, args=[provider])
            thread.start()
            thread.join(20)
        assert (len(server.requests), server.connections) == (5, 1)


def test_one_thread_watches_the_deadlines_of_all_calls() -> None:
    with Server.answering(reply(200, {"state": "activated"})) as server:
        provider = sendgrid(server.base_url)
        read(provider)
        before = {thread.ident for thread in threading.enumerate()}
        for _ in range(20):
            read(provider)
        assert sum(thread.name == "exchanges" for thread in threading.enumerate()) == 1
        assert {thread.ident for thread in threading.enumerate()} <= before


def test_a_redirect_is_not_followed_and_its_body_is_capped() -> None:
    with Server() as elsewhere:
        moved = reply(302, b"x" * 200_000, Location=f"{elsewhere.base_url}/steal")
        with Server.answering(moved) as server:
            for ask, error in ((create, OutcomeUnknown), (read, Unreadable)):
                with pytest.raises(error):
                    ask(sendgrid(server.base_url))
        assert elsewhere.connections == 0


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with Server.answering(reply(200, {"state": "activated"}, Set_Cookie="a=b")) as server:
        provider = sendgrid(server.base_url)
        read(provider)
        read(provider)
        assert not any(b"cookie" in request.lower() for request in server.requests)


def test_a_recorder_that_fails_does_not_lose_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    def broken(evidence: Evidence) -> None:
        raise RuntimeError("disk full")

    with Server.answering(reply(201, CREATED)) as server:
        provider = SendGrid(config(server.base_url), on_exchange=broken)
        assert create(provider) == ACCOUNT_ID
    assert "could not be recorded" in caplog.text


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("167.89.118.51", True),
        ("2606:4700::6810:84e5", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("172.16.3.4", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),  # noqa: S104 - an address to refuse
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("64:ff9b::7f00:1", False),
        ("198.18.0.1", False),
        ("203.0.113.9", False),
    ],
)
def test_where_a_public_name_may_lead(address: str, fine: bool) -> None:
    assert may_connect("api.sendgrid.com", address, allow_private=False) is fine


def test_only_the_name_of_this_machine_leads_to_this_machine() -> None:
    assert may_connect("localhost", "127.0.0.1", allow_private=False)
    assert not may_connect("localhost", "8.8.8.8", allow_private=False)
    assert may_connect("sandbox", "172.18.0.4", allow_private=True)
    assert not may_connect("sandbox", "169.254.169.254", allow_private=True)


def test_a_rebound_name_is_refused_at_the_second_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection checks the very address it uses, so a name that changes its mind gains nothing."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda _host, port, **_more: [(2, 1, 6, "", ("169.254.169.254", port))])
    with pytest.raises(NotSent, match="private"):
        create(sendgrid())
    assert issubclass(AddressRefusedError, OSError)


@pytest.mark.parametrize("addresses", [("8.8.8.8", "10.0.0.1"), ("10.0.0.1", "8.8.8.8")])
def test_a_name_with_one_private_address_is_refused(
    addresses: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of them is tried first: a connection that fails goes on to the next."""
    found = [(2, 1, 6, "", (each, 443)) for each in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(NotSent, match="private"):
        create(sendgrid())


@pytest.mark.parametrize(
    "url",
    [
        "http://api.sendgrid.com",
        "ftp://api.sendgrid.com",
        "https://",
        "api.sendgrid.com",
        "https://user:pass@api.sendgrid.com",
        "https://@api.sendgrid.com",
        "https://api.sendgrid.com?x=1",
        "https://api.sendgrid.com#x",
        "http://10.0.0.1",
    ],
)
def test_a_base_url_is_https_and_an_address_only(url: str) -> None:
    with pytest.raises(Unsupported):
        client(config(url))


def test_a_key_that_cannot_be_sent_is_not_sent() -> None:
    for key in ("SG.añb", "SG.a\nX-Injected: 1", "SG.\u2028"):
        with Server() as server, pytest.raises(NotSent) as caught:
            create(sendgrid(server.base_url, api_key=key))
        assert server.connections == 0
        assert key not in str(caught.value)
