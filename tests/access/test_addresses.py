"""Where a request comes from: what proxies write, in every form they write it, and who shares a sign-in limit."""

from __future__ import annotations

import pytest
from django.test import Client, RequestFactory, override_settings

from portal.access.addresses import client_ip, throttle_key
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.support.factories import PASSWORD

PROXY = "192.0.2.1"
READ = {
    "203.0.113.7": "203.0.113.7",
    " 203.0.113.7\t": "203.0.113.7",
    "203.0.113.7:51234": "203.0.113.7",
    "203.0.113.7:1": "203.0.113.7",
    '"203.0.113.7:51234"': "203.0.113.7",
    '"203.0.113.7"': "203.0.113.7",
    "[203.0.113.7]:443": "203.0.113.7",
    "2001:db8::1": "2001:db8::1",
    "2001:DB8:0:0:0:0:0:1": "2001:db8::1",
    "[2001:db8::1]": "2001:db8::1",
    "[2001:db8::1]:443": "2001:db8::1",
    '"[2001:db8::1]:443"': "2001:db8::1",
    "2001:db8::1%eth0": "2001:db8::1",
    "[2001:db8::1%25eth0]:443": "2001:db8::1",
    "fe80::1%": "fe80::1",
    "::1": "::1",
    "::ffff:203.0.113.7": "203.0.113.7",
    "::FFFF:203.0.113.7": "203.0.113.7",
    "::ffff:cb00:7107": "203.0.113.7",
    "[::ffff:203.0.113.7]": "203.0.113.7",
    "[::ffff:203.0.113.7]:51234": "203.0.113.7",
    "64:ff9b::203.0.113.7": "203.0.113.7",
    "[64:ff9b::cb00:7107]:443": "203.0.113.7",
    "6.6.6.6, 203.0.113.7": "203.0.113.7",
    "6.6.6.6,203.0.113.7:51234": "203.0.113.7",
    "garbage, [2001:db8::1]:443": "2001:db8::1",
    ",203.0.113.7": "203.0.113.7",
}
NOT_READ = [
    "", " ", ",", "unknown", "-", "unix:", "_hidden", "<script>", "example.com", "localhost:80", "203.0.113",
    "16909060", "0x7f.1", "203.0.113.07", "203.0.113.256", "203.0.113.7:", "203.0.113.7:port", "203.0.113.7:123456",
    "203.0.113.7/24", "203.0.113.7 6.6.6.6", "[203.0.113.7", "[", "]", "[]", "[]:443", "[::1", "::1]", "[[::1]]",
    "2001:db8::1::2", "[g::1]:1", "\u0661.\u0662.\u0663.\u0664", "a\x00b", "1" * 5_000, "6.6.6.6,", "6.6.6.6, unknown",
    "0.0.0.0", "::", "[::]:443", "::ffff:0.0.0.0", "for=203.0.113.7",  # noqa: S104 - what a proxy may write
]  # fmt: skip


def _request(header: str | None = None, remote: str = PROXY) -> RequestFactory:
    more = {} if header is None else {"HTTP_X_FORWARDED_FOR": header}
    return RequestFactory().get("/", REMOTE_ADDR=remote, **more)


@pytest.mark.parametrize("header", READ)
def test_every_form_of_an_address_is_read(header: str) -> None:
    with override_settings(TRUSTED_PROXIES=1):
        assert client_ip(_request(header)) == READ[header]
        assert throttle_key(_request(header)) == READ[header]
    assert client_ip(_request(header)) == PROXY  # no proxy is ours: the header is what anybody writes


@pytest.mark.parametrize("header", NOT_READ)
def test_an_invalid_forwarded_address_falls_back_to_the_peer(header: str) -> None:
    with override_settings(TRUSTED_PROXIES=1):
        assert client_ip(_request(header)) == PROXY
        keys = {throttle_key(_request(text)) for text in (header, f"{header}.other", "203.0.113.7")}
        assert len(keys) == 3
        assert all(key.isascii() and key.isprintable() and " " not in key for key in keys)  # parts of a cache key


@pytest.mark.parametrize(
    ("depth", "header", "expected"),
    [
        (2, "6.6.6.6, 203.0.113.9:80, 10.0.0.2", "203.0.113.9"),
        (2, "203.0.113.9", PROXY),
        (3, "203.0.113.9, [2001:db8::1]:443, 10.0.0.2, 10.0.0.3", "2001:db8::1"),
        (2, "203.0.113.9, , 10.0.0.2", PROXY),
        (1, None, PROXY),
    ],
)
def test_the_depth_counts_from_the_right(depth: int, header: str | None, expected: str) -> None:
    with override_settings(TRUSTED_PROXIES=depth):
        assert client_ip(_request(header)) == expected


@pytest.mark.parametrize("remote", ["", "unix:/run/portal.sock", "localhost"])
def test_behind_a_socket_there_may_be_no_address_at_all(remote: str) -> None:
    with override_settings(TRUSTED_PROXIES=1):
        assert client_ip(_request("[2001:db8::1]:443", remote)) == "2001:db8::1"
        assert client_ip(_request("unknown", remote)) is None
    assert client_ip(_request(remote=remote)) is None
    assert throttle_key(_request(remote=remote)) != throttle_key(_request(remote=remote))
    assert client_ip(_request(remote="::ffff:203.0.113.7")) == "203.0.113.7"


def _fail(header: str, times: int, *, remote: str = PROXY) -> None:
    for n in range(times):
        data = {"login": f"p{n}@postkeeper.example", "password": "wrong"}
        Client(REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR=header).post("/sign-in/", data)


def _signs_in(admin: User, header: str, *, remote: str = PROXY) -> bool:
    data = {"login": admin.email, "password": PASSWORD}
    return Client(REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR=header).post("/sign-in/", data).status_code == 302


@pytest.mark.parametrize(
    ("attacker", "same", "others"),
    [
        ("203.0.113.7:51234", "203.0.113.7:51999", ["203.0.113.8:51234", "[2001:db8::1]:443", "unknown"]),
        ("[2001:db8:0:1::1]:443", "2001:db8:0:1:ffff::2", ["[2001:db8:0:2::1]:443", "203.0.113.7"]),
        ("::ffff:203.0.113.7", "203.0.113.7", ["::ffff:203.0.113.8"]),
        ("_hidden-7", "_hidden-7", ["_hidden-8", "203.0.113.7:51234", ""]),
    ],
    ids=["port", "six", "mapped", "garbage"],
)
@pytest.mark.long
def test_an_attacker_locks_only_itself_out(admin: User, attacker: str, same: str, others: list[str]) -> None:
    with override_settings(TRUSTED_PROXIES=1):
        _fail(attacker, 31)
        assert not _signs_in(admin, same)
        for other in others:
            assert _signs_in(admin, other), other


@pytest.mark.long
def test_without_any_client_address_the_account_limit_applies(admin: User) -> None:
    for _ in range(11):
        Client(REMOTE_ADDR="").post("/sign-in/", {"login": "bo@postkeeper.example", "password": "wrong"})
    assert AuditEvent.objects.filter(ip__isnull=True).count() == 10
    _fail("203.0.113.7", 31, remote="")
    assert _signs_in(admin, "203.0.113.7", remote="")
