# ruff: noqa: RUF001 - letters that look like others are what this is about
"""Where a browser may be sent with a one-time code. One wrong yes gives a customer's account away."""

from __future__ import annotations

import pytest

from portal.providers import AccountRef, Evidence, OutcomeUnknown, Rejected
from portal.providers.sendgrid.sign_in import trusted
from tests.providers.conftest import Stub
from tests.providers.support import ACCOUNT_ID, sendgrid

HOSTS = ("sendgrid.com",)
GOOD = [
    "https://app.sendgrid.com/sso?code=abc",
    "https://sendgrid.com/",
    "https://sendgrid.com",
    "https://app.eu.sendgrid.com/login?code=a%20b&x=1#frag",
    "https://app.sendgrid.com:443/sso",
    "https://APP.SendGrid.com/sso",
    "https://app.sendgrid.com/sso?next=https://evil.test/",
    "https://app.sendgrid.com//double",
]
BAD = [
    "",
    "/sso?code=1",
    "//evil.test/sso",
    "///evil.test",
    "https:///evil.test",
    "https:evil.test",
    "https:/evil.test",
    "http://app.sendgrid.com/sso",
    "ftp://app.sendgrid.com/",
    "javascript:alert(1)//sendgrid.com",
    "data:text/html,https://sendgrid.com",
    "https://sendgrid.com.evil.test/",
    "https://evilsendgrid.com/",
    "https://evil.test/sendgrid.com",
    "https://evil.test/?x=.sendgrid.com",
    "https://evil.test#.sendgrid.com",
    "https://evil.test?.sendgrid.com",
    "https://sendgrid.com@evil.test/",
    "https://app.sendgrid.com:pw@evil.test/",
    "https://user@app.sendgrid.com/",
    "https://@app.sendgrid.com/",
    "https://evil.test\\@app.sendgrid.com/",
    "https://evil.test\\.sendgrid.com/",
    "https:\\\\evil.test",
    "https://app.sendgrid.com:8443/",
    "https://app.sendgrid.com:80/",
    "https://app.sendgrid.com:/",
    "https://app.sendgrid.com:443:443/",
    "https://app.sendgrid.com:0443/",
    "https://app.sendgrid.com:x/",
    "https://app.sendgrid.com:99999/",
    "https://app.sendgrid.com./",
    "https://.sendgrid.com/",
    "https://-.sendgrid.com/",
    "https://a..sendgrid.com/",
    "https://app。sendgrid.com/",
    "https://app.sendgrid。com/",
    "https://evil.test／.sendgrid.com/",
    "https://ａpp.sendgrid.com/",
    "https://app.sendgrıd.com/",
    "https://evil.test%2f.sendgrid.com/",
    "https://evil.test%23.sendgrid.com/",
    "https://app.sendgrid.com%00.evil.test/",
    "https://app.sendgrid.com\r\nSet-Cookie: a=b",
    "https://app.sendgrid.com/\nx",
    "https://app.sendgrid.com/\tx",
    "https://app.sendgrid.com/a b",
    " https://app.sendgrid.com/",
    "https://app.sendgrid.com/\x00",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/.sendgrid.com",
    "https://127.0.0.1/",
    "http://127.0.0.1:8000/",
    "https://0x7f000001/",
    "https://app_x.sendgrid.com/",
    "https://com/",
    "https://app.sendgrid.com/" + "a" * 5000,
]


@pytest.mark.parametrize("url", GOOD)
def test_sendgrids_own_addresses_are_trusted(url: str) -> None:
    assert trusted(url, HOSTS)


@pytest.mark.parametrize("url", BAD)
def test_nothing_else_is(url: str) -> None:
    assert not trusted(url, HOSTS)


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("http://127.0.0.1:8931/_login/x?code=1", True),
        ("http://127.0.0.1/_login", True),
        ("https://127.0.0.1:8931/", True),
        ("https://app.sendgrid.com/sso", True),
        ("http://app.sendgrid.com/sso", False),
        ("http://localhost:8931/", False),
        ("http://127.0.0.2/", False),
        ("http://127.0.0.1.evil.test/", False),
        ("http://evil.test@127.0.0.1/", False),
        ("http://127.0.0.1:8931@evil.test/", False),
        ("http://127.0.0.1\\@evil.test/", False),
        ("http://x.127.0.0.1/", False),
        ("ftp://127.0.0.1/", False),
        ("http://2130706433/", False),
    ],
)
def test_development_also_trusts_only_the_local_sandbox(url: str, fine: bool) -> None:
    assert trusted(url, ("sendgrid.com", "127.0.0.1")) is fine


def test_a_name_that_is_not_loopback_gets_no_favours() -> None:
    assert not trusted("http://sandbox.test:8000/", ("sendgrid.com", "sandbox.test"))


def test_the_address_is_handed_over_and_kept_nowhere(stub: Stub) -> None:
    url = "https://app.sendgrid.com/sso?code=canary-code-1"
    stub(303, f'<a href="{url}">see other</a>'.encode(), Location=url, Set_Cookie="s=canary-cookie")
    kept: list[Evidence] = []
    found = sendgrid(kept=kept).sign_in_url(AccountRef(ACCOUNT_ID))
    assert found.url == url
    assert "canary" not in repr(found)
    assert "canary" not in repr(kept)
    assert kept[0].response_headers["location"] == "[hidden]"


@pytest.mark.parametrize("url", ["https://evil.test/?code=canary", "//evil.test", "https://sendgrid.com.evil/"])
def test_a_strange_address_is_refused_without_repeating_it(stub: Stub, url: str) -> None:
    stub(303, b"", Location=url)
    with pytest.raises(Rejected) as caught:
        sendgrid().sign_in_url(AccountRef(ACCOUNT_ID))
    assert "evil" not in str(caught.value) + repr(caught.value.evidence)


def test_no_address_is_not_a_sign_in(stub: Stub) -> None:
    stub(303)
    with pytest.raises(OutcomeUnknown):
        sendgrid().sign_in_url(AccountRef(ACCOUNT_ID))
