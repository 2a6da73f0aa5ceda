"""Odd answers about a passkey are refused as one that isn't accepted, on every route that takes one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.exceptions import ValidationError
from django.test import Client

from portal.access.credentials import LONGEST, CredentialField
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.support.people import sign_in

GOOD = {
    "type": "public-key", "id": "AAAA", "rawId": "AAAA", "response": {"clientDataJSON": "e30", "signature": "AA"},
    "clientExtensionResults": {"credProps": {"rk": True}},
}  # fmt: skip
ODD: list[Any] = [
    "", "x", "{", "[" * 100_000, "1" * 5000, "null", "[]", '"x"', "NaN", "{}", {"id": None}, {"id": 5},
    GOOD | {"response": None}, GOOD | {"response": []}, GOOD | {"clientExtensionResults": 5},
    GOOD | {"clientExtensionResults": "x"}, GOOD | {"id": "\u0000"}, GOOD | {"rawId": "\ud800"}, GOOD | {"id": "é"},
    GOOD | {"response": {"clientDataJSON": 5}}, GOOD | {"response": {"attestationObject": "!!"}},
    GOOD | {"response": {"userHandle": "A" * 17_000}}, GOOD,
]  # fmt: skip


@pytest.mark.parametrize("path", ["/sign-in/passkey/", "/me/security/passkey/", "/reauthenticate/"])
def test_odd_answers_are_refused(path: str, admin: User) -> None:
    client = Client() if path == "/sign-in/passkey/" else sign_in(Client(), admin)
    if path == "/reauthenticate/":
        Authenticator.objects.create(user=admin, type="webauthn", data={"name": "Key", "credential": {}})
    for odd in ODD:
        sent = odd if isinstance(odd, str) else json.dumps(odd)
        client.get(path, HTTP_ACCEPT="application/json")
        answer = client.post(path, {"credential": sent, "name": "Key"})
        assert answer.status_code in {302, 422}, sent[:80]
    assert Authenticator.objects.count() == (path == "/reauthenticate/")


def test_a_passkey_that_is_refused_is_audited(db: None) -> None:
    Client().post("/sign-in/passkey/", {"credential": json.dumps(GOOD)})
    assert AuditEvent.objects.get().verb == "staff.passkey_failed"


def test_what_is_not_known_is_left_out() -> None:
    more = GOOD | {"x": 1, "response": GOOD["response"] | {"y": "z"}}
    assert CredentialField().clean(json.dumps(more)) == GOOD


def test_a_long_answer_is_not_read() -> None:
    with pytest.raises(ValidationError):
        CredentialField().clean(json.dumps(GOOD | {"x": "a" * LONGEST}))


@pytest.mark.parametrize("odd", ["\u0000", "\ud800", "é", " ", None, 5])
@pytest.mark.parametrize("member", ["id", "rawId"])
def test_what_is_no_base64_is_refused(member: str, odd: Any) -> None:
    """PostgreSQL would keep neither a NUL nor half a character."""
    with pytest.raises(ValidationError):
        CredentialField().clean(json.dumps(GOOD | {member: odd}))
