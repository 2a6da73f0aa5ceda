"""Canaries: the connection's secrets, planted in everything that is sent and answered, come out nowhere."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from portal.providers import AccountRef, Evidence, ProviderError, UsageSource
from portal.providers.redaction import Redactor
from portal.providers.sendgrid.client import SendGrid

from .support import ACCOUNT_ID, KEY, PASSWORD, Server, config, create, reply, sendgrid

ACCOUNT = AccountRef(ACCOUNT_ID, "ops@northwind.test")
USERNAME = "reseller-canary-user"
FORMS = [KEY, PASSWORD, quote_plus(PASSWORD), json.dumps(PASSWORD)[1:-1], USERNAME]
ECHO = json.dumps({
    "errors": [{"message": f"bad key {KEY} for {USERNAME} / {PASSWORD}", "field": KEY, "error_id": "1"}],
    "api_key": "other-secret-1",
    "secret_key": "other-secret-2",
    "Authorization": "Bearer other-secret-3",
    "url": "https://x.test/?code=other-secret-4&api_key=other-secret-5",
    "header": "Authorization: Basic other-secret-6=",
}).encode()  # fmt: skip
ASKED: list[Callable[[SendGrid], Any]] = [
    lambda p: create(p, test=True),
    lambda p: p.state(ACCOUNT),
    lambda p: p.catalog(),
    lambda p: p.usage(ACCOUNT, UsageSource.CREDITS),
    lambda p: p.usage(ACCOUNT, UsageSource.OVERVIEW_JSON),
    lambda p: p.usage(ACCOUNT, UsageSource.OVERVIEW_XML),
    lambda p: p.sign_in_url(ACCOUNT),
    lambda p: p.verify(),
]


def everything(error: ProviderError | None, kept: list[Evidence], log: pytest.LogCaptureFixture) -> str:
    parts = [repr(kept), log.text, *(repr(vars(record)) for record in log.records)]
    if error is not None:
        parts += [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
        parts.append(pickle.dumps(error, protocol=0).decode("latin-1"))
        assert error.__cause__ is None
    return "\n".join(parts)


@pytest.mark.parametrize("status", [200, 201, 303, 400, 401, 403, 404, 429, 500, 502])
@pytest.mark.parametrize("v2_auth", ["key_in_form", "header", "password"])
def test_no_secret_comes_out(v2_auth: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = reply(status, ECHO, X_Request_Id=f"id-{KEY}", Set_Cookie="other-secret-7", Location=f"https://{KEY}/")
    with Server.answering(answer) as server:
        for ask in ASKED:
            kept: list[Evidence] = []
            provider = sendgrid(server.base_url, kept=kept, v2_auth=v2_auth, v2_username=USERNAME)
            try:
                found = repr(ask(provider))
                error = None
            except ProviderError as caught:
                found, error = "", caught
            out = found + everything(error, kept, caplog) + repr(provider) + repr(provider._config)
            assert kept
            for secret in (*FORMS, "other-secret"):
                assert secret not in out
        assert any(KEY.encode() in request for request in server.requests)  # the canary does fly


def test_broken_connections_tell_no_secret_either(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Server(lambda _sock: None) as server:
        for ask in ASKED[:7]:
            kept: list[Evidence] = []
            with pytest.raises(ProviderError) as caught:
                ask(sendgrid(server.base_url, kept=kept, v2_auth="password", v2_username=USERNAME))
            out = everything(caught.value, kept, caplog)
            for secret in FORMS:
                assert secret not in out


def test_v2_credentials_are_posted_and_never_in_the_url() -> None:
    body = {"credits_used": "5"}
    with Server.answering(reply(200, body)) as server:
        for v2_auth in ("key_in_form", "password", "header"):
            provider = sendgrid(server.base_url, v2_auth=v2_auth, v2_username="" if v2_auth != "password" else USERNAME)
            provider.usage(ACCOUNT, UsageSource.OVERVIEW_JSON)
        key, password, header = server.requests
    assert b"api_user=apikey&api_key=" + KEY.encode() in key
    assert b"uthorization" not in key
    assert f"api_user={USERNAME}&api_key={quote_plus(PASSWORD)}".encode() in password
    assert KEY.encode() not in password
    assert f"Authorization: Bearer {KEY}".encode() in header
    assert b"api_key" not in header
    for request in (key, password, header):
        assert request.startswith(b"POST /apiv2/reseller.account.json HTTP/1.1\r\n")
        assert b"task=overview&user=ops%40northwind.test" in request


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('{"api_key": "abc\\"def", "x": 1}', '{"api_key": "[hidden]", "x": 1}'),
        ('{"API-Key":"abc', '{"API-Key":"[hidden]"'),
        ("api_user=u&api_key=k&task=overview", "api_user=[hidden]&api_key=[hidden]&task=overview"),
        ("/sso?x=1&code=abc&y=2", "/sso?x=1&code=[hidden]&y=2"),
        ("https://a.test/?code=abc", "https://a.test/?code=[hidden]"),
        ("<api_key>abc</api_key>", "<api_key>[hidden]</api_key>"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [hidden]"),
        ('{"error_id": "10-40002", "zipcode": "00100"}', '{"error_id": "10-40002", "zipcode": "00100"}'),
        ('{"error": {"code": 401}}', '{"error": {"code": 401}}'),
        ("a\x00b\ud800", "ab?"),
    ],
)
def test_masks(given: str, expected: str) -> None:
    assert Redactor([]).text(given) == expected


@pytest.mark.parametrize(
    "spelled", [PASSWORD, quote(PASSWORD, safe=""), quote_plus(PASSWORD), json.dumps(PASSWORD)[1:-1]]
)
def test_a_secret_is_hidden_in_every_spelling(spelled: str) -> None:
    assert Redactor([PASSWORD]).text(f"it said <{spelled}>") == "it said <[hidden]>"


def test_short_or_public_words_are_not_taken_for_secrets() -> None:
    assert Redactor(["", "abc", "apikey"]).text("abc apikey") == "abc apikey"


def test_a_secret_across_the_cut_is_still_hidden() -> None:
    redactor = Redactor([KEY])
    for shift in range(len(KEY)):
        out = redactor.text("x" * (8_192 - shift) + KEY)
        assert KEY[:8] not in out
        assert len(out) <= 8_192


def test_request_ids_cannot_break_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="portal.providers")
    with Server.answering(reply(200, {"state": "activated"}, X_Request_Id="a\tb\x1b[31m" + "é" * 300)) as server:
        sendgrid(server.base_url).state(ACCOUNT)
    found = [r.__dict__["provider_request_id"] for r in caplog.records if r.name == "portal.providers"]
    assert len(found) == 1
    assert found[0].isascii()
    assert found[0].isprintable()
    assert len(found[0]) <= 128


def test_configuration_keeps_its_secrets_out_of_repr() -> None:
    shown = repr(config(v2_username=USERNAME))
    assert KEY not in shown
    assert PASSWORD not in shown


def test_the_key_is_not_kept_in_another_spelling() -> None:
    with Server.answering(reply(500, b"")) as server:
        kept: list[Evidence] = []
        with pytest.raises(ProviderError):
            sendgrid(server.base_url, kept=kept).state(ACCOUNT)
    assert base64.b64encode(KEY.encode()).decode() not in repr(kept)
