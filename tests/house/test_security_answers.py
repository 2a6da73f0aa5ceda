"""Small promises of the pages, cookies and connections that no other test names."""

from __future__ import annotations

import ast
import re
import smtplib
import ssl

import pytest
from django.conf import settings as configured
from django.core import mail as outgoing
from django.core.mail.backends.smtp import EmailBackend
from django.test import Client
from pytest_django.fixtures import Settings

from portal import encryption
from portal.access import mail
from portal.access.models import User
from tests.house.test_source import ROOT
from tests.support.factories import PASSWORD, UserFactory
from tests.support.people import sign_in

# --- Cookies and sessions ---------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_messages_are_in_no_cookie(client: Client) -> None:
    """They name customers, and a cookie would need a name with the prefix."""
    sign_in(client, UserFactory(role="admin"))
    assert client.post("/me/security/sessions/end/").status_code == 303
    assert "Other sessions ended: 0." in client.get("/me/security/").content.decode()
    assert set(client.cookies) <= {configured.SESSION_COOKIE_NAME, configured.CSRF_COOKIE_NAME}


@pytest.mark.django_db
def test_cookies_are_of_this_site(client: Client) -> None:
    person = UserFactory(role="customer_success")
    client.get("/sign-in/")
    client.post("/sign-in/", {"login": person.email, "password": PASSWORD})
    assert set(client.cookies) == {
        configured.SESSION_COOKIE_NAME, configured.CSRF_COOKIE_NAME, configured.DEVICE_COOKIE_NAME,
    }  # fmt: skip
    for name, cookie in client.cookies.items():
        assert (cookie["httponly"], cookie["samesite"], cookie["domain"]) == (True, "Lax", ""), name


@pytest.mark.django_db
def test_every_open_page_notices_that_its_session_ended(client: Client) -> None:
    """Its rail polls, and is led to the sign-in page."""
    sign_in(client, UserFactory(role="auditor"))
    page = client.get("/customers/").content.decode()
    polled = re.findall(r'hx-get="([^"]+)"[^>]*data-poll', page)
    assert polled
    client.post("/sign-out/")
    for address in polled:
        answer = client.get(address.replace("&amp;", "&"), headers={"HX-Request": "true"})
        assert answer.status_code == 401
        assert answer["HX-Redirect"].startswith("/sign-in/")


@pytest.mark.django_db
def test_every_page_of_a_signed_in_person_offers_to_sign_out(client: Client) -> None:
    sign_in(client, UserFactory(role="auditor"))
    for path in ("/", "/customers/", "/me/", "/me/security/", "/help/", "/audit/"):
        assert 'action="/sign-out/"' in client.get(path, follow=True).content.decode(), path


# --- Requests and answers ---------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "DEBUG"])
def test_methods_that_nothing_needs_are_refused(method: str, client: Client) -> None:
    answer = client.generic(method, "/sign-in/", headers={"X-Echo": "echo-me"})
    assert answer.status_code == 405
    assert b"echo-me" not in answer.content


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/static/", "/static/css/", "/static/vendor/", "/.git/config", "/static/../manage.py"]
)
def test_folders_and_sources_are_not_served(path: str, client: Client) -> None:
    assert client.get(path).status_code in (404, 400)


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/sign-in/", "/static/css/base.css", "/static/js/portal.js", "/healthz", "/absent/"])
def test_text_is_sent_with_its_character_set(path: str, client: Client) -> None:
    answer = client.get(path)
    if answer.streaming:
        b"".join(answer)
    assert re.fullmatch(r"text/[a-z]+; charset=\"?utf-8\"?", answer["Content-Type"], re.IGNORECASE), answer[
        "Content-Type"
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/sign-in/", "/healthz", "/static/js/portal.js", "/absent/"])
def test_no_answer_allows_another_origin(path: str, client: Client) -> None:
    for method in ("GET", "OPTIONS"):
        answer = client.generic(method, path, headers={"Origin": "https://attacker.example"})
        if answer.streaming:
            b"".join(answer)
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


@pytest.mark.django_db
def test_only_pages_are_redirected_to_https(settings: Settings) -> None:
    source = (ROOT / "portal/settings.py").read_text()
    (exempt,) = re.findall(r"SECURE_REDIRECT_EXEMPT = (\[.*?\])\n", source)
    settings.SECURE_SSL_REDIRECT, settings.SECURE_REDIRECT_EXEMPT = True, ast.literal_eval(exempt)
    client = Client()
    for path in ("/sign-in/", "/customers/", "/password/reset/"):
        answer = client.get(path)
        assert (answer.status_code, answer["Location"]) == (301, f"https://testserver{path}")
    assert [client.get(path).status_code == 301 for path in ("/healthz", "/readyz", "/metrics")] == [False] * 3


@pytest.mark.django_db
def test_a_new_installation_has_no_people() -> None:
    assert not User.objects.exists()


@pytest.mark.django_db
def test_a_password_is_compared_as_it_was_typed(client: Client) -> None:
    password = "  Two Blanks, then 64 and more characters of a Very Long Pass-Phrase ümlaut  "
    person = UserFactory(role="customer_success", email="cleo@postkeeper.example")
    person.set_password(password)
    person.save(update_fields=["password"])
    for wrong in (password.strip(), password.lower(), password[:64], password[:72]):
        assert client.post("/sign-in/", {"login": person.email, "password": wrong}).status_code == 422, wrong
    assert client.post("/sign-in/", {"login": person.email, "password": password}).status_code == 302


def test_a_name_adds_no_header_to_a_mail(settings: Settings) -> None:
    person = User(name="Ada\r\nBcc: thief@attacker.example", email="ada@postkeeper.example")
    assert mail.send_security_change(person=person, what="x\r\nBcc: thief@attacker.example")
    (sent,) = outgoing.outbox
    message = sent.message()
    assert sent.recipients() == ["ada@postkeeper.example"]
    assert "Bcc" not in message


def test_an_encrypted_value_fits_its_row_alone() -> None:
    sealed = encryption.encrypt("a secret", context="customers.connection:1:api_key")
    assert "a secret" not in sealed
    name, _, held = sealed.partition(":")
    altered = f"{name}:{held[:-4]}{'AAA=' if not held.endswith('AAA=') else 'BBB='}"
    for token, context in ((sealed, "customers.connection:2:api_key"), (altered, "customers.connection:1:api_key")):
        with pytest.raises(encryption.DecryptionError):
            encryption.decrypt(token, context=context)
    assert encryption.encrypt("a secret", context="x") != encryption.encrypt("a secret", context="x"), "a new nonce"


def test_no_token_of_the_provider_is_stored() -> None:
    assert configured.SOCIALACCOUNT_STORE_TOKENS is False


# --- TLS of our own requests ------------------------------------------------------------------------------------------


def _is_strict(context: ssl.SSLContext) -> bool:
    return (
        context.verify_mode == ssl.CERT_REQUIRED
        and context.check_hostname
        and context.minimum_version >= ssl.TLSVersion.TLSv1_2
    )


def test_mail_is_sent_to_a_verified_server(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[ssl.SSLContext] = []
    monkeypatch.setattr(smtplib.SMTP, "__init__", lambda _self, *_, **__: None)
    monkeypatch.setattr(smtplib.SMTP, "starttls", lambda _self, *, context: begun.append(context))
    EmailBackend(host="mail.example.com", use_tls=True).open()
    assert [_is_strict(each) for each in begun] == [True]


def test_tls_contexts_are_strict_by_default() -> None:
    """What requests to providers and the identity provider, Redis and mail are made with."""
    context = ssl.create_default_context()
    assert _is_strict(context)
    weak = re.compile("RC4|3DES|NULL|EXPORT|MD5|anon", re.IGNORECASE)
    assert not [each["name"] for each in context.get_ciphers() if weak.search(each["name"])]
    for path in sorted((ROOT / "portal").rglob("*.py")):
        assert not re.search(r"CERT_NONE|check_hostname\s*=\s*False|minimum_version|set_ciphers", path.read_text()), (
            path
        )


def test_caddy_keeps_its_own_tls() -> None:
    """Its defaults: TLS 1.2 and 1.3, ciphers with forward secrecy, certificates of a public authority."""
    text = (ROOT / "deploy/caddy/Caddyfile").read_text()
    assert not re.search(
        r"\btls\b|protocols|ciphers|curves|insecure|auto_https|file_server|\bbrowse\b", text.split("{$HOSTS}")[1]
    )


def test_units_reach_no_history_of_the_source() -> None:
    unit = (ROOT / "deploy/systemd/postkeeper-.service.d/common.conf").read_text()
    folder = re.search(r"^WorkingDirectory=(\S+)$", unit, re.MULTILINE)
    assert folder
    assert f"InaccessiblePaths=-{folder[1]}/.git\n" in unit
