"""Tampered answers of the identity provider: each is refused, and the same sign-in without it passes.

A real provider answers over HTTP; a proxy in front of it alters one thing.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pytest_django import Settings

from portal.access.models import User
from portal.access.sso import wire
from portal.access.sso.identity import with_userinfo
from portal.access.sso.provider import discovery
from portal.audit.models import AuditEvent
from tests.access.sso.conftest import SUBJECT
from tests.support.identity_provider import CLIENT_ID, CLIENT_SECRET, Browser, Claims, IdentityProvider

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ada")]


def refused(browser: Browser, answer: Any, code: str) -> None:
    """No session, an event with the reason, and a page that says what to do and nothing about the token. A state that
    is unknown is no event: anyone can make one up."""
    assert answer.status_code in (403, 502), answer.status_code
    page = answer.content.decode()
    assert "ry again" in page
    assert "Request ID" in page
    assert not browser.is_signed_in
    events = list(AuditEvent.objects.order_by("-id")[:1])
    assert [(each.verb, each.reason) for each in events] == [("staff.sso_refused", code)] * (code != "state")
    assert not AuditEvent.objects.filter(verb="staff.signed_in").exists()
    for secret in (SUBJECT, "eyJ", CLIENT_SECRET):
        assert secret not in page
        assert not any(secret in str(vars(event)) for event in events)


def test_the_untampered_sign_in_passes(idp: IdentityProvider, ada: User) -> None:
    browser = Browser()
    answer = browser.sso(SUBJECT)
    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert browser.is_signed_in
    assert AuditEvent.objects.get(verb="staff.signed_in").actor == ada
    assert ("POST", "/oauth2/token") in idp.seen


def test_what_the_proxy_signs_anew_passes_unaltered(idp: IdentityProvider) -> None:
    """So that the cases below fail for what they alter, and not for the new signature."""
    idp.claims(lambda claims: claims)
    browser = Browser()
    assert browser.sso(SUBJECT)["Location"] == "/"
    assert browser.is_signed_in


def _without(name: str) -> Callable[[Claims], Claims]:
    return lambda claims: {key: value for key, value in claims.items() if key != name}


def _with(**changed: Any) -> Callable[[Claims], Claims]:
    return lambda claims: {**claims, **changed}


CLAIMS: dict[str, tuple[Callable[[Claims], Claims], str]] = {
    "wrong iss": (_with(iss="https://id.evil.example"), "issuer"),
    "no iss": (_without("iss"), "token"),
    "wrong aud": (_with(aud="another-client"), "audience"),
    "no aud": (_without("aud"), "token"),
    "several aud without azp": (_with(aud=[CLIENT_ID, "another-client"]), "authorized_party"),
    "several aud, azp of another": (_with(aud=[CLIENT_ID, "another"], azp="another"), "authorized_party"),
    "one aud, azp of another": (_with(azp="another-client"), "authorized_party"),
    "wrong nonce": (_with(nonce="of-another-sign-in"), "nonce"),
    "a nonce that is no text": (_with(nonce="\ud800"), "token"),
    "a name that is no text": (_with(name="\ud800"), "token"),
    "a sub that is no text": (_with(sub="x\udfff"), "token"),
    "no nonce": (_without("nonce"), "nonce"),
    "expired": (lambda claims: {**claims, "exp": int(time.time()) - 120}, "expired"),
    "no exp": (_without("exp"), "token"),
    "infinite exp": (_with(exp=float("inf")), "token"),
    "iat in the future": (lambda claims: {**claims, "iat": int(time.time()) + 600}, "issued_at"),
    "no iat": (_without("iat"), "token"),
    "no sub": (_without("sub"), "subject"),
    "empty sub": (_with(sub=""), "subject"),
    "long sub": (_with(sub="x" * 192), "subject"),
    "sub of another": (_with(sub="subject-of-nobody"), "unknown"),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_an_altered_claim_is_refused(idp: IdentityProvider, case: str) -> None:
    change, code = CLAIMS[case]
    idp.claims(change)
    browser = Browser()
    answer = browser.sso(SUBJECT)
    if code == "unknown":
        assert "invite you" in answer.content.decode()
        assert AuditEvent.objects.latest("id").reason == "unknown"
        assert not browser.is_signed_in
    else:
        refused(browser, answer, code)


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _claims(token: str) -> Claims:
    return jwt.decode(token, options={"verify_signature": False})


class TestSignatures:
    def _refused(self, idp: IdentityProvider, sign: Callable[[str], str], code: str) -> None:
        idp.token = sign
        browser = Browser()
        refused(browser, browser.sso(SUBJECT), code)

    def test_none(self, idp: IdentityProvider) -> None:
        self._refused(idp, lambda token: jwt.encode(_claims(token), "", "none"), "algorithm")

    @pytest.mark.parametrize("kid", [None, "proxy"])
    def test_hs256_with_the_public_key(self, idp: IdentityProvider, kid: str | None) -> None:
        """The key that everyone can read, taken for a secret one."""
        public = idp.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        header = {"alg": "HS256", "typ": "JWT"} | ({"kid": kid} if kid else {})

        def forge(token: str) -> str:  # by hand: the library refuses to sign so
            signed = b".".join([_base64(json.dumps(header).encode()), token.split(".")[1].encode()])
            return b".".join([signed, _base64(hmac.digest(public, signed, "sha256"))]).decode()

        self._refused(idp, forge, "algorithm")

    def test_hs256_with_the_client_secret(self, idp: IdentityProvider) -> None:
        key = CLIENT_SECRET.ljust(32, "x")
        self._refused(idp, lambda token: jwt.encode(_claims(token), key, "HS256"), "algorithm")

    def test_an_algorithm_that_is_not_listed(self, idp: IdentityProvider) -> None:
        key = ec.generate_private_key(ec.SECP384R1())
        self._refused(idp, lambda token: jwt.encode(_claims(token), key, "ES384"), "algorithm")

    def test_another_key(self, idp: IdentityProvider) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._refused(idp, lambda token: jwt.encode(_claims(token), key, "RS256"), "signature")

    def test_another_key_under_the_name_of_a_known_one(self, idp: IdentityProvider) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._refused(
            idp, lambda token: jwt.encode(_claims(token), key, "ES256", headers={"kid": "proxy"}), "signature"
        )

    def test_an_unknown_key(self, idp: IdentityProvider) -> None:
        headers = {"kid": "nobody-knows"}
        self._refused(idp, lambda token: jwt.encode(_claims(token), idp.key, "ES256", headers=headers), "key")

    @pytest.mark.parametrize("change", [{"x": "AA"}, {"y": 7}, {"crv": "P-521"}, {"kty": None}, {"use": "enc"}])
    def test_a_key_that_cannot_be_read(self, idp: IdentityProvider, change: Claims) -> None:
        def break_key(path: str, status: int, headers: dict[str, str], content: bytes) -> tuple[Any, ...]:
            if path == "/jwks":
                keys = [{**key, **change} for key in json.loads(content)["keys"]]
                content = json.dumps({"keys": keys}).encode()
            return status, headers, content

        idp.claims(lambda claims: claims)
        idp.raw = break_key
        browser = Browser()
        refused(browser, browser.sso(SUBJECT), "key")

    def test_a_changed_payload_under_the_old_signature(self, idp: IdentityProvider) -> None:
        def swap(token: str) -> str:
            head, _, signature = token.split(".")
            forged = jwt.encode({**_claims(token), "groups": ["pk-admins"], "x": 1}, idp.key, "ES256")
            return ".".join((head, forged.split(".")[1], signature))

        self._refused(idp, swap, "signature")

    def test_no_token_at_all(self, idp: IdentityProvider) -> None:
        self._refused(idp, lambda _token: "", "token")


def test_userinfo_of_another_subject_is_refused(idp: IdentityProvider) -> None:
    idp.claims(_without("groups"))
    idp.userinfo = _with(sub="subject-of-eve")
    browser = Browser()
    refused(browser, browser.sso(SUBJECT), "userinfo_subject")


def test_groups_are_read_from_userinfo_where_the_token_has_none(idp: IdentityProvider) -> None:
    idp.claims(_without("groups"))
    browser = Browser()
    assert browser.sso(SUBJECT)["Location"] == "/"
    assert ("GET", "/userinfo") in idp.seen


def test_how_and_when_is_read_from_the_token_alone(idp: IdentityProvider) -> None:
    idp.claims(lambda claims: {name: claims[name] for name in claims if name not in ("groups", "amr", "auth_time")})
    idp.userinfo = _with(amr=["mfa"], auth_time=int(time.time()), groups=["pk-admins"])
    browser = Browser()
    assert browser.sso(SUBJECT)["Location"] == "/"
    [record] = browser.client.session["account_authentication_methods"]
    assert (record["second_factor"], record["at"]) == (False, 0)


@pytest.mark.parametrize("name", ["amr", "auth_time", "sub"])
def test_no_deciding_claim_is_one_of_groups(idp: IdentityProvider, settings: Settings, name: str) -> None:
    settings.OIDC_GROUPS_CLAIM = name
    assert name not in with_userinfo({}, {name: ["pk-admins"], "email": "a@b.example"})


def test_a_wrong_client_secret_says_so(idp: IdentityProvider) -> None:
    answer = 401, {"Content-Type": "application/json"}, b'{"error": "invalid_client"}'
    idp.raw = lambda path, *passed: answer if path == "/oauth2/token" else passed
    browser = Browser()
    refused(browser, browser.sso(SUBJECT), "client")


def test_discovery_is_read_once_a_minute(idp: IdentityProvider) -> None:
    for _ in range(2):
        Browser().sso(SUBJECT)
    assert idp.seen.count(("GET", "/.well-known/openid-configuration")) == 1
    assert idp.seen.count(("GET", "/jwks")) == 2


def test_all_requests_of_a_sign_in_share_one_budget(idp: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SIGN_IN_SECONDS", 3.0)
    browser = Browser()
    back = browser.approve(browser.leave(), SUBJECT)

    def slow(*passed: Any) -> Any:
        time.sleep(1.8)  # each is in time, both together aren't
        return passed[1:]

    idp.raw = slow
    refused(browser, browser.client.get(back), "unreachable")
    assert ("GET", "/jwks") in idp.seen


def test_discovery_of_another_issuer_is_refused(idp: IdentityProvider) -> None:
    browser = Browser()
    back = browser.approve(browser.leave(), SUBJECT)
    idp.discovery = _with(issuer="https://id.evil.example")
    discovery.cache_clear()
    refused(browser, browser.client.get(back), "discovery_issuer")
    started = browser.client.post("/sign-in/sso/")
    refused(browser, started, "discovery_issuer")


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize("url", ["http://id.evil.example/x", "ftp://127.0.0.1/x", "javascript:alert(1)", None, 7])
def test_an_endpoint_without_https_is_refused(idp: IdentityProvider, name: str, url: object) -> None:
    idp.discovery = _with(**{name: url})
    browser = Browser()
    refused(browser, browser.client.post("/sign-in/sso/"), "endpoint")


@pytest.mark.parametrize("place", ["/oauth2/token", "/jwks", "/.well-known/openid-configuration"])
@pytest.mark.parametrize("trouble", ["redirect", "too large", "a list", "no JSON", "an error"])
def test_what_is_no_answer_is_refused(idp: IdentityProvider, place: str, trouble: str) -> None:
    answers: dict[str, tuple[int, dict[str, str], bytes]] = {
        "redirect": (302, {"Location": f"{idp.issuer}/elsewhere"}, b""),
        "too large": (200, {"Content-Type": "application/json"}, json.dumps({"x": "x" * 5_000_001}).encode()),
        "a list": (200, {"Content-Type": "application/json"}, b"[]"),
        "no JSON": (200, {"Content-Type": "application/json"}, b"<html>"),
        "an error": (500, {"Content-Type": "application/json"}, b"{}"),
    }
    browser = Browser()
    back = browser.approve(browser.leave(), SUBJECT)
    discovery.cache_clear()
    idp.raw = lambda path, *passed: answers[trouble] if path == place else passed
    refused(browser, browser.client.get(back), "unreachable")
    assert not any(path == "/elsewhere" for _, path in idp.seen)


class TestTheResponse:
    """What comes back through the browser."""

    def test_of_another_issuer(self, idp: IdentityProvider) -> None:
        browser = Browser()
        back = browser.approve(browser.leave(), SUBJECT)
        refused(browser, browser.client.get(f"{back}&iss=https%3A%2F%2Fid.evil.example"), "response_issuer")
        assert ("POST", "/oauth2/token") not in idp.seen, "the code goes to nobody"

    def test_of_this_issuer_passes(self, idp: IdentityProvider) -> None:
        browser = Browser()
        back = browser.approve(browser.leave(), SUBJECT)
        browser.client.get(f"{back}&{urlencode({'iss': idp.issuer})}")
        assert browser.is_signed_in

    def test_without_an_issuer_that_was_announced(self, idp: IdentityProvider) -> None:
        idp.discovery = _with(authorization_response_iss_parameter_supported=True)
        browser = Browser()
        refused(browser, browser.sso(SUBJECT), "response_issuer")

    def test_a_second_time(self, idp: IdentityProvider) -> None:
        browser = Browser()
        back = browser.approve(browser.leave(), SUBJECT)
        browser.client.get(back)
        assert browser.is_signed_in
        browser.client.post("/sign-out/")
        answer = browser.client.get(back)
        assert answer.status_code == 403
        assert not AuditEvent.objects.filter(verb="staff.sso_refused").exists()
        assert not browser.is_signed_in

    def test_a_used_code_under_a_new_state(self, idp: IdentityProvider) -> None:
        first = Browser()
        used = first.approve(first.leave(), SUBJECT)
        first.client.get(used)
        assert first.is_signed_in
        code = dict(parse_qsl(urlsplit(used).query))["code"]
        thief = Browser()
        fresh = dict(parse_qsl(urlsplit(thief.leave()).query))["state"]
        answer = thief.client.get("/sign-in/sso/callback/", {"code": code, "state": fresh})
        assert answer.status_code == 502
        assert not thief.is_signed_in

    def test_a_stolen_code_in_another_session(self, idp: IdentityProvider) -> None:
        """Unused, with a state of the thief's own: PKCE and the nonce bind it to the session that began."""
        victim, thief = Browser(), Browser()
        code = dict(parse_qsl(urlsplit(victim.approve(victim.leave(), SUBJECT)).query))["code"]
        state = dict(parse_qsl(urlsplit(thief.leave()).query))["state"]
        answer = thief.client.get("/sign-in/sso/callback/", {"code": code, "state": state})
        refused(thief, answer, "unreachable")

    def test_the_state_of_another_session(self, idp: IdentityProvider) -> None:
        mine, other = Browser(), Browser()
        other.leave()
        refused(other, other.client.get(mine.approve(mine.leave(), SUBJECT)), "state")

    @pytest.mark.parametrize("state", ["", "x", "x" * 5_000])
    def test_a_made_up_state(self, idp: IdentityProvider, state: str) -> None:
        browser = Browser()
        refused(browser, browser.client.get("/sign-in/sso/callback/", {"code": "x", "state": state}), "state")

    def test_after_ten_minutes(self, idp: IdentityProvider) -> None:
        browser = Browser()
        back = browser.approve(browser.leave(), SUBJECT)
        session = browser.client.session
        session["socialaccount_states"] = {
            key: [state, at - 601, of] for key, (state, at, of) in session["socialaccount_states"].items()
        }
        session.save()
        refused(browser, browser.client.get(back), "state")

    @pytest.mark.parametrize(("error", "code"), [("access_denied", "canceled"), ("server_error", "provider_error")])
    def test_an_error(self, idp: IdentityProvider, error: str, code: str) -> None:
        browser = Browser()
        state = dict(parse_qsl(urlsplit(browser.leave()).query))["state"]
        answer = browser.client.get("/sign-in/sso/callback/", {"error": error, "state": state})
        refused(browser, answer, code)


def test_the_request_carries_pkce_state_and_nonce(idp: IdentityProvider) -> None:
    asked = [dict(parse_qsl(urlsplit(Browser().leave()).query)) for _ in range(2)]
    for each in asked:
        assert (each["response_type"], each["code_challenge_method"]) == ("code", "S256")
        assert set(each["scope"].split()) == {"openid", "email", "profile"}
        assert each["redirect_uri"] == "http://testserver/sign-in/sso/callback/"
    for name in ("state", "nonce", "code_challenge"):
        assert len({each[name] for each in asked}) == 2, name
