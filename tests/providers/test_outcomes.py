"""Every answer that has been seen or documented, and what it stands for: for a change, and for a read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portal.providers import (
    AccountRef,
    Evidence,
    FieldError,
    Forbidden,
    NewAccount,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Profile,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    Unreadable,
    Unsupported,
    UsageSource,
)

from .conftest import Stub
from .support import ACCOUNT_ID, PACKAGE, create, sendgrid

ACCOUNT = AccountRef(ACCOUNT_ID)
HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body>Bad gateway<br></body></html>"


def partner(message: str, error_id: str, field: str = "") -> dict[str, Any]:
    return {"errors": [{"message": message, "field": field, "error_id": error_id}]}


def edge(message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "field": None, "help": None}]}


# status, body, what a change ends in, what a read ends in
ANSWERS: list[tuple[int, Any, type[ProviderError], type[ProviderError]]] = [
    (400, partner("Field must be a valid email", "10-40002", "email"), Rejected, Rejected),
    (400, partner("Field must be a valid URL", "10-40008", "company_website"), Rejected, Rejected),
    (400, partner("At most fifteen digits", "10-40010", "phone"), Rejected, Rejected),
    (401, partner("Failed to authenticate user", "10-40100"), Unauthorized, Unauthorized),
    (401, edge("Permission denied, wrong credentials"), Unauthorized, Unauthorized),
    (401, edge("The provided authorization grant is invalid, expired, or revoked"), Unauthorized, Unauthorized),
    (401, b"", Unauthorized, Unauthorized),
    (403, partner("The authenticated user is not authorized", "10-40300"), Forbidden, Forbidden),
    (403, {"errors": [{"field": None, "message": "access forbidden"}]}, Forbidden, Forbidden),
    (403, HTML, Forbidden, Forbidden),
    (404, partner("No such endpoint", "10-40400"), NotFound, NotFound),
    (404, HTML, OutcomeUnknown, Unreadable),
    (404, b"", OutcomeUnknown, Unreadable),
    (405, {"errors": [{"message": "method not allowed, use GET", "field": None}]}, Rejected, Rejected),
    (405, b"", Rejected, Rejected),
    (406, HTML, Rejected, Rejected),
    (408, b"", OutcomeUnknown, Unreadable),
    (408, partner("timeout", "10-40800"), OutcomeUnknown, Unreadable),
    (409, {"message": "conflict"}, Rejected, Rejected),
    (413, HTML, Rejected, Rejected),
    (422, {"error": "no"}, Rejected, Rejected),
    (429, {"errors": [{"field": None, "message": "too many requests"}]}, RateLimited, RateLimited),
    (429, HTML, RateLimited, RateLimited),
    (451, edge("data residency"), Rejected, Rejected),
    (451, b"", Rejected, Rejected),
    (400, HTML, OutcomeUnknown, Unreadable),
    (400, b"", OutcomeUnknown, Unreadable),
    (400, b"{}", OutcomeUnknown, Unreadable),
    (400, b"[]", OutcomeUnknown, Unreadable),
    (400, b'{"errors": []}', OutcomeUnknown, Unreadable),
    (400, b'{"errors": [{}]}', OutcomeUnknown, Unreadable),
    (499, b"", OutcomeUnknown, Unreadable),
    (500, partner("Something went wrong", "10-50000"), OutcomeUnknown, Unreadable),
    (502, partner("Bad Gateway", "10-50200"), OutcomeUnknown, Unreadable),
    (502, HTML, OutcomeUnknown, Unreadable),
    (503, partner("Service Unavailable", "10-50300"), OutcomeUnknown, Unreadable),
    (504, partner("Endpoint request timed out", "10-50400"), OutcomeUnknown, Unreadable),
    (500, b"", OutcomeUnknown, Unreadable),
    (599, b"", OutcomeUnknown, Unreadable),
    (202, {"account_id": ACCOUNT_ID, "state": "activated"}, OutcomeUnknown, Unreadable),
    (206, {"account_id": ACCOUNT_ID, "state": "activated"}, OutcomeUnknown, Unreadable),
    (301, b"", OutcomeUnknown, Unreadable),
    (302, HTML, OutcomeUnknown, Unreadable),
    (307, b"", OutcomeUnknown, Unreadable),
    (304, b"", OutcomeUnknown, Unreadable),
]
CHANGES: dict[str, Callable[[Any], Any]] = {
    "create": create,
    "replace_offerings": lambda provider: provider.replace_offerings(ACCOUNT, PACKAGE),
    "set_sending": lambda provider: provider.set_sending(ACCOUNT, on=False),
    "delete": lambda provider: provider.delete_account(ACCOUNT),
    "sign_in_url": lambda provider: provider.sign_in_url(ACCOUNT),
}
READS: dict[str, Callable[[Any], Any]] = {
    "list_accounts": lambda provider: list(provider.list_accounts(patience=0)),
    "catalog": lambda provider: provider.catalog(),
    "offerings": lambda provider: provider.offerings(ACCOUNT),
    "state": lambda provider: provider.state(ACCOUNT),
}


def case_id(value: object) -> str | None:
    return value.__name__ if isinstance(value, type) else None


@pytest.mark.parametrize(("status", "body", "error"), [(a, b, c) for a, b, c, _ in ANSWERS], ids=case_id)
@pytest.mark.parametrize("name", CHANGES)
def test_what_an_answer_to_a_change_means(
    stub: Stub, name: str, status: int, body: Any, error: type[ProviderError]
) -> None:
    mock = stub(status, body)
    kept: list[Evidence] = []
    with pytest.raises(ProviderError) as caught:
        CHANGES[name](sendgrid(kept=kept))
    assert type(caught.value) is error
    assert len(mock.calls) == 1  # a change is never repeated
    assert kept == [caught.value.evidence]
    assert caught.value.evidence.status == status


@pytest.mark.parametrize(("status", "body", "error"), [(a, b, d) for a, b, _, d in ANSWERS], ids=case_id)
@pytest.mark.parametrize("name", READS)
def test_what_an_answer_to_a_read_means(
    stub: Stub, name: str, status: int, body: Any, error: type[ProviderError]
) -> None:
    mock = stub(status, body)
    kept: list[Evidence] = []
    with pytest.raises(ProviderError) as caught:
        READS[name](sendgrid(kept=kept))
    assert type(caught.value) is error
    assert len(mock.calls) == len(kept) == (3 if error is Unreadable else 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"true",
        HTML,
        b'{"account_id": ""}',
        b"\xff\xfe",
        b'{"account_id": null}',
        b'{"account_id": 7}',
        b'{"account_id": "a b"}',
        b'{"id": "sg1"}',
        b'{"account_id": "sg',
    ],
)
def test_created_without_an_id_is_unknown(stub: Stub, body: bytes) -> None:
    mock = stub(201, body)
    with pytest.raises(OutcomeUnknown):
        CHANGES["create"](sendgrid())
    assert len(mock.calls) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        HTML,
        b'{"offerings": null}',
        b'{"offerings": {}}',
        b'{"offerings": [{"name": "x"}]}',
        b'{"offerings": [{"name": "x", "type": "addon", "quantity": -1}]}',
        b'{"offerings": [{"name": "x", "type": "addon", "quantity": "many"}]}',
    ],
)
def test_a_list_that_cannot_be_read_is_neither_empty_nor_applied(stub: Stub, body: bytes) -> None:
    stub(200, body)
    with pytest.raises(OutcomeUnknown):
        CHANGES["replace_offerings"](sendgrid())
    with pytest.raises(Unreadable):
        READS["offerings"](sendgrid())


def test_every_field_error_reaches_the_form(stub: Stub) -> None:
    stub(
        400,
        {
            "errors": [
                {"message": "Field must be a valid email", "field": "email", "error_id": "10-40002"},
                {
                    "message": "Field must be a valid URL.",
                    "field": "company_website",
                    "error_id": "10-40008",
                    "help": {},
                },
                {"message": "no field", "field": None},
                "just text",
            ]
        },
    )
    with pytest.raises(Rejected) as caught:
        CHANGES["create"](sendgrid())
    assert caught.value.field_errors == (
        FieldError("Field must be a valid email", "email", "10-40002"),
        FieldError("Field must be a valid URL.", "company_website", "10-40008"),
        FieldError("no field"),
        FieldError("just text"),
    )
    assert "valid email (email); Field must be a valid URL (company_website)" in str(caught.value)


def test_a_read_recovers_from_a_failure_on_the_way(stub: Stub) -> None:
    stub(502, HTML)
    stub(200, {"state": "activated"})
    assert READS["state"](sendgrid()).raw == "activated"


def test_a_create_without_an_address_is_refused_here(stub: Stub) -> None:
    mock = stub(201, {"account_id": ACCOUNT_ID})
    with pytest.raises(Rejected) as caught:
        sendgrid().create_body(NewAccount(Profile(email=" "), tuple(PACKAGE)))
    assert caught.value.field_errors[0].field == "email"
    assert len(mock.calls) == 0


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "a?b", "a b", "a\r\nX: 1", "sg%2e", "ü", "x" * 101])
def test_an_id_that_cannot_be_one_goes_nowhere(stub: Stub, bad: str) -> None:
    """`DELETE /v3/partners/accounts/` must not even be possible."""
    mock = stub(204)
    for ask in (
        lambda provider: provider.delete_account(AccountRef(bad)),
        lambda provider: provider.set_sending(AccountRef(bad), on=False),
        lambda provider: provider.usage(AccountRef(bad), UsageSource.CREDITS),
    ):
        with pytest.raises(Rejected):
            ask(sendgrid())
    assert len(mock.calls) == 0


# -- rate limits


def epoch(seconds: float) -> str:
    return str(int((datetime.now(UTC) + timedelta(seconds=seconds)).timestamp()))


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"X_RateLimit_Reset": epoch(100_000 * 3600)}, 299, 300),
        ({"X_Ratelimit_Reset": "0"}, 0.5, 1),
        ({"x_ratelimit_reset": epoch(-3600)}, 0.5, 1),
        ({"X_RateLimit_Reset": "tomorrow"}, 59, 60),
        ({"X_RateLimit_Reset": "-5"}, 59, 60),
        ({"X_RateLimit_Reset": "9" * 400}, 59, 60),
        ({"X_RateLimit_Reset": "1e9"}, 59, 60),
        ({"X_RateLimit_Reset": "\u0663"}, 59, 60),
        ({"Retry_After": "17"}, 16, 17),
        ({"Retry_After": "0"}, 0.5, 1),
        ({"Retry_After": "999999999"}, 299, 300),
        ({"Retry_After": "Wed, 21 Oct 2020 07:28:00 GMT"}, 0.5, 1),
        ({}, 59, 60),
    ],
)
def test_429_says_when_and_never_too_late(stub: Stub, headers: dict[str, str], least: float, most: float) -> None:
    stub(429, {"errors": [{"field": None, "message": "too many requests"}]}, **headers)
    with pytest.raises(RateLimited, match="too many requests") as caught:
        CHANGES["create"](sendgrid())
    wait = (caught.value.retry_at - datetime.now(UTC)).total_seconds()
    assert least - 1 <= wait <= most


def test_the_next_call_of_that_kind_waits_and_others_do_not(stub: Stub) -> None:
    mock = stub(429, b"", X_Ratelimit_Reset=epoch(60))
    provider = sendgrid()
    with pytest.raises(RateLimited) as limited:
        CHANGES["create"](provider)
    with pytest.raises(NotSent) as held:
        CHANGES["create"](provider)
    assert held.value.retry_at is not None
    assert abs(held.value.retry_at - limited.value.retry_at) < timedelta(seconds=1)
    assert len(mock.calls) == 1
    with pytest.raises(RateLimited):
        CHANGES["delete"](provider)
    assert len(mock.calls) == 2


def test_nothing_left_is_obeyed_before_it_is_refused(stub: Stub) -> None:
    mock = stub(200, {"state": "activated"}, x_ratelimit_remaining="0", X_RATELIMIT_RESET=epoch(60))
    kept: list[Evidence] = []
    provider = sendgrid(kept=kept)
    READS["state"](provider)
    with pytest.raises(NotSent) as caught:
        READS["state"](provider)
    assert len(mock.calls) == len(kept) == 1  # held back: no exchange
    assert caught.value.retry_at is not None
    assert 58 < (caught.value.retry_at - datetime.now(UTC)).total_seconds() <= 60
    assert READS["state"](sendgrid()).raw == "activated"  # another client knows nothing of it


@pytest.mark.parametrize(
    "headers",
    [
        {"X_RateLimit_Remaining": "1", "X_RateLimit_Reset": epoch(60)},
        {"X_RateLimit_Remaining": "0"},
        {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "soon"},
        {"X_RateLimit_Remaining": "none", "X_RateLimit_Reset": epoch(60)},
    ],
)
def test_headers_that_say_nothing_hold_nothing_back(stub: Stub, headers: dict[str, str]) -> None:
    mock = stub(200, {"state": "activated"}, **headers)
    provider = sendgrid()
    READS["state"](provider)
    READS["state"](provider)
    assert len(mock.calls) == 2


# -- errors as values


@pytest.mark.parametrize(
    "error",
    [
        ProviderError("base", evidence=Evidence(method="GET", status=500)),
        NotSent("held", retry_at=datetime(2026, 1, 1, tzinfo=UTC)),
        Rejected("no", field_errors=(FieldError("bad", "email", "10-1"),), evidence=Evidence(status=400)),
        NotFound("gone"),
        Unauthorized("who"),
        Forbidden("not you"),
        RateLimited("slow", retry_at=datetime(2026, 1, 1, tzinfo=UTC), evidence=Evidence(response_body="x")),
        OutcomeUnknown("?", evidence=Evidence(sent_at=datetime(2026, 1, 1, tzinfo=UTC))),
        Unreadable("garbage"),
        Unsupported("never"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: ProviderError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
