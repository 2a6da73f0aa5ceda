"""Walking a list whose end is not defined: complete, or an error; never a part that looks like the whole."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
import requests
from requests.adapters import HTTPAdapter

from portal.providers import (
    AccountRef,
    ConnectionConfig,
    ListedAccount,
    NotSent,
    Provider,
    ProviderError,
    RateLimited,
    Unauthorized,
    Unreadable,
    client,
)

from .conftest import Stub
from .support import Canned, sendgrid


def row(n: int) -> dict[str, Any]:
    return {"id": f"sg{n:032x}", "created_at": "2026-03-02T08:15:00Z"}


def rows(start: int, end: int) -> list[dict[str, Any]]:
    return [row(n) for n in range(start, end)]


def page(accounts: Any, last: Any = "auto") -> dict[str, Any]:
    if last == "auto":
        last = accounts[-1]["id"] if accounts else None
    return {"accounts": accounts, "pages": {"last": last} if last is not None else {}}


def ids(found: list[ListedAccount]) -> list[str]:
    return [account.id for account in found]


def expected(end: int) -> list[str]:
    return [row(n)["id"] for n in range(end)]


def walk(stub: Stub, *pages: Any) -> tuple[list[ListedAccount], list[str]]:
    for body in pages:
        mock = stub(200, body)
    found = list(sendgrid().list_accounts(patience=0))
    return found, [call.request.url for call in mock.calls]


def test_follows_the_cursor_to_an_empty_page(stub: Stub) -> None:
    found, urls = walk(stub, page(rows(0, 100)), page(rows(100, 200)), page(rows(200, 250)), page([]))
    assert ids(found) == expected(250)
    queries = [parse_qs(urlsplit(url).query) for url in urls]
    assert queries == [
        {"limit": ["100"]},
        {"limit": ["100"], "offset": [row(99)["id"]]},
        {"limit": ["100"], "offset": [row(199)["id"]]},
        {"limit": ["100"], "offset": [row(249)["id"]]},
    ]


def test_a_server_that_clamps_the_limit_is_read_to_its_end(stub: Stub) -> None:
    """At most 54 rows a page, whatever was asked for."""
    found, _ = walk(stub, page(rows(0, 54)), page(rows(54, 108)), page(rows(108, 130)), page([]))
    assert ids(found) == expected(130)


@pytest.mark.parametrize("last", [None, "", 7])
def test_a_short_page_without_a_cursor_is_the_end(stub: Stub, last: Any) -> None:
    found, urls = walk(stub, page(rows(0, 54)), page(rows(54, 60), last))
    assert ids(found) == expected(60)
    assert len(urls) == 2


@pytest.mark.parametrize(
    "end", [page([]), {"accounts": [], "pages": {"last": ""}}, {"accounts": None}, {"pages": {}}, {}]
)
def test_an_empty_page_is_the_end(stub: Stub, end: dict[str, Any]) -> None:
    found, urls = walk(stub, page(rows(0, 100)), end)
    assert ids(found) == expected(100)
    assert len(urls) == 2


@pytest.mark.parametrize("last", [None, "", 7])
def test_a_full_page_without_a_cursor_continues_at_its_last_row(stub: Stub, last: Any) -> None:
    """Taking it for the end could make a part look like the whole; one more page settles it."""
    found, urls = walk(stub, page(rows(0, 100), last), page(rows(100, 200), last), page([]))
    assert ids(found) == expected(200)
    assert [parse_qs(urlsplit(url).query).get("offset") for url in urls] == [
        None, [row(99)["id"]], [row(199)["id"]],
    ]  # fmt: skip


def test_nobody_yet(stub: Stub) -> None:
    assert walk(stub, page([]))[0] == []


def test_rows_without_mail_or_times(stub: Stub) -> None:
    found, _ = walk(stub, {"accounts": [
        {"id": "sg1"},
        {"id": "sg2", "email": None, "created_at": "soon", "updated_at": 7},
        {"id": "sg3", "email": "a@b.test", "created_at": "2026-03-02T10:15:00+02:00", "new": {"field": 1}},
    ]})  # fmt: skip
    assert found[0] == ListedAccount("sg1")
    assert found[1] == ListedAccount("sg2")
    assert found[2].email == "a@b.test"
    assert found[2].created_at is not None
    assert found[2].created_at.hour == 8


LOOPS = {
    "overlapping pages": [page(rows(0, 100)), page(rows(99, 199)), page(rows(199, 210)), page([])],
    "an account twice on a page": [page([*rows(0, 10), row(3)]), page([])],
    "the first page for ever": [page(rows(0, 100))],
    "the same cursor with new rows": [page(rows(0, 100), "c"), page(rows(100, 200), "c")],
    "a circle": [page(rows(0, 100), "a"), page(rows(100, 200), "b"), page(rows(200, 300), "a")],
    "new cursors, old rows": [page(rows(0, 100), "a"), page(rows(0, 100), "b")],
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_not_an_end(stub: Stub, name: str) -> None:
    with pytest.raises(Unreadable, match="repeats"):
        walk(stub, *LOOPS[name])


@pytest.mark.parametrize(
    "bad",
    [
        [],
        {"accounts": {}},
        {"accounts": "none"},
        {"accounts": [7]},
        {"accounts": [{}]},
        {"accounts": [{"id": ""}]},
        {"accounts": [{"id": None}]},
        {"errors": ["no"]},
        {"message": "error"},
        {"result": []},
        b"",
        b"<html></html>",
    ],
)
def test_a_page_that_cannot_be_read_fails_the_walk(stub: Stub, bad: Any) -> None:
    with pytest.raises(Unreadable):
        walk(stub, page(rows(0, 100)), bad)


@pytest.mark.parametrize(
    ("status", "error"), [(500, Unreadable), (401, Unauthorized), (429, RateLimited), (302, Unreadable)]
)
def test_a_page_that_fails_fails_the_walk(stub: Stub, status: int, error: type[ProviderError]) -> None:
    stub(200, page(rows(0, 100)))
    stub(status)
    with pytest.raises(error):
        list(sendgrid().list_accounts(patience=0))


def test_one_bad_page_is_tried_again(stub: Stub) -> None:
    stub(200, page(rows(0, 100)))
    stub(500)
    stub(200, page(rows(100, 110), None))
    assert ids(list(sendgrid().list_accounts())) == expected(110)


@pytest.mark.long
def test_the_walk_waits_for_the_rate_limit_within_its_patience(stub: Stub) -> None:
    soon = str(int(time.time()) + 4)  # far enough that it lies ahead after the first page, on a busy machine as well
    stub(200, page(rows(0, 100)), X_RateLimit_Remaining="0", X_RateLimit_Reset=soon)
    stub(429, b"", X_RateLimit_Reset=soon)
    stub(200, page(rows(100, 110), None))
    provider = sendgrid()
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        time.sleep(seconds)

    provider._http.sleep = rest
    assert ids(list(provider.list_accounts(patience=10))) == expected(110)
    assert len(rests) >= 2


def test_the_walk_gives_up_when_the_wait_is_too_long(stub: Stub) -> None:
    late = str(int(time.time()) + 200)
    stub(200, page(rows(0, 100)), X_RateLimit_Remaining="0", X_RateLimit_Reset=late)
    with pytest.raises(NotSent) as caught:
        list(sendgrid().list_accounts(patience=100))
    assert caught.value.retry_at is not None


@pytest.mark.slow
@pytest.mark.long
def test_a_hundred_thousand_accounts() -> None:
    def answer(_adapter: HTTPAdapter, request: requests.PreparedRequest, **_more: Any) -> requests.Response:
        query = parse_qs(urlsplit(request.url or "").query)
        start = int(query["offset"][0].removeprefix("sg"), base=16) + 1 if "offset" in query else 0
        end = min(start + 100, 100_000)
        listed = ",".join(f'{{"id":"sg{n:032x}"}}' for n in range(start, end))
        body = f'{{"accounts":[{listed}],"pages":{{"last":"sg{end - 1:032x}"}}}}'
        return Canned.response(200, body.encode())

    with patch.object(HTTPAdapter, "send", answer):
        assert sum(1 for _ in sendgrid().list_accounts()) == 100_000


# -- AhaSend: three lists of one form

OURS, THEIRS = str(UUID(int=1)), AccountRef(str(UUID(int=2)))
AHASEND_LISTS: dict[str, Callable[[Provider], list[Any]]] = {
    "accounts": lambda provider: list(provider.list_accounts(patience=0)),
    "keys": lambda provider: provider.keys(THEIRS),
    "domains": lambda provider: provider.sending(THEIRS, "aha-sk-" + "b" * 16).domains(),
}


def ahasend_page(*numbers: int, cursor: str = "") -> dict[str, Any]:
    """A page whose rows are account, key and domain in one."""
    data = [
        {
            "id": str(UUID(int=n)),
            "name": "A",
            "website": "a.example",
            "monthly_credit": 0,
            "status": "active",
            "label": "k",
            "scopes": [],
            "ip_allow_list": [],
            "domain": f"m{n}.example",
            "dns_valid": True,
        }
        for n in numbers
    ]
    return {"object": "list", "data": data, "pagination": {"has_more": bool(cursor), "next_cursor": cursor}}


@pytest.mark.parametrize("read", AHASEND_LISTS.values(), ids=AHASEND_LISTS.keys())
@pytest.mark.parametrize(
    ("pages", "known"),
    [
        ((ahasend_page(7, cursor="a"), ahasend_page(8, cursor="b"), ahasend_page(9)), 3),
        ((ahasend_page(7, cursor="a"), ahasend_page()), 1),
        ((ahasend_page(7, cursor="a"), ahasend_page(8, cursor="a")), None),
        ((ahasend_page(7, cursor="a"), ahasend_page(8, 7)), None),
        ((ahasend_page(7, cursor="a"), ahasend_page(cursor="b")), None),
    ],
    ids=["complete", "empty end", "stuck cursor", "repeated row", "empty page with a cursor"],
)
def test_ahasend_lists_are_complete_or_an_error(
    stub: Stub, read: Callable[[Provider], list[Any]], pages: tuple[dict[str, Any], ...], known: int | None
) -> None:
    for body in pages:
        mock = stub(200, body)
    provider = client(
        ConnectionConfig("ahasend", "https://api.ahasend.com", api_key="aha-sk-" + "a" * 16, account_id=OURS)
    )
    if known is None:
        with pytest.raises(Unreadable):
            read(provider)
    else:
        assert len(read(provider)) == known
    assert len(mock.calls) == len(pages)


def test_what_ahasend_names_goes_back_byte_for_byte(stub: Stub) -> None:
    """Cursors, domains, message ids and the scopes of a key, also ones that this version does not know."""
    first = ahasend_page(7, cursor=" a=+ ")
    first["data"][0] |= {"name": " Shop ", "website": "shop.example/Straße", "label": "web ", "domain": "M7.Example"}
    first["data"][0]["scopes"] = [{"scope": "new thing:read "}, {"scope": "messages:send:all"}]
    provider = client(
        ConnectionConfig("ahasend", "https://api.ahasend.com", api_key="aha-sk-" + "a" * 16, account_id=OURS)
    )
    sending = provider.sending(THEIRS, "aha-sk-" + "b" * 16)

    def last_path() -> str:
        return str(mock.calls[-1].request.path_url)

    mock = stub(200, first)
    stub(200, ahasend_page(8))
    (account, _other) = provider.list_accounts(patience=0)
    assert last_path().endswith("after=+a%3D%2B+")
    assert account.settings is not None
    assert (account.settings.name, account.settings.website) == (" Shop ", "shop.example/Straße")
    mock.reset()
    stub(200, ahasend_page() | {"data": first["data"]})
    ((key,), (domain,)) = (provider.keys(THEIRS), sending.domains())
    assert key.label == "web "
    mock.reset()
    stub(200, first["data"][0])
    provider.update_key(THEIRS, key.id, {"scopes": list(key.scopes)})
    assert json.loads(mock.calls[-1].request.body)["scopes"] == ["new thing:read ", "messages:send:all"]
    sending.domain(domain.name)
    assert last_path().endswith("/domains/M7.Example")
