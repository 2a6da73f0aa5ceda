"""A form that was sent and not carried out comes back with what was typed, and without its secrets."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.forms import BaseForm, PasswordInput
from django.test import Client
from django.urls import get_resolver, reverse

import billing
import customers
import portal
from portal.access.models import User
from portal.access.unsent_forms import SECRETS
from tests.house.test_permissions import DECLARED, _address, _patterns
from tests.support.factories import PASSWORD as THEIRS
from tests.support.people import CONFIRM_PASSWORD, sign_in

OURS = {"HTTP_ORIGIN": "http://testserver"}
HTMX = {"HTTP_HX_REQUEST": "true", "HTTP_HX_CURRENT_URL": "http://testserver/me/"}


def hidden(page: Any) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.content.decode())
    return {name: unescape(value) for name, value in found}


def text(page: Any) -> str:
    return " ".join(unescape(re.sub("<[^>]*>", " ", page.content.decode())).split())


def strict(user: User | None = None) -> Client:
    """A browser whose token is checked."""
    client = Client(enforce_csrf_checks=True)
    return sign_in(client, user) if user else client


# -- without a session ------------------------------------------------------------------------------------------------


def test_a_form_sent_without_a_session_is_shown_and_sent_again(other: User) -> None:
    client = Client()
    page = client.post("/me/?a=1", {"name": 'Bo "B" <Berg>\r\nline', "timezone": "UTC", "client_token": "x" * 32})
    assert page.status_code == 401
    assert 'action="/me/?a=1"' in page.content.decode()
    assert 'Name Bo "B" <Berg> line Timezone UTC' in text(page)
    assert "x" * 32 not in text(page)
    kept = hidden(page)
    assert (kept["name"], kept["timezone"], kept["client_token"]) == ('Bo "B" <Berg>\r\nline', "UTC", "x" * 32)
    assert not Session.objects.exists()
    sign_in(client, other)
    assert client.post("/me/", kept | {"name": "Bo B", "seen": "{}"}).status_code in {303, 409}


def test_nothing_of_it_is_logged(other: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    Client().post("/me/", {"name": "Typed-4711"})
    strict(other).post("/me/", {"name": "Typed-4711"}, **OURS)
    assert "Typed-4711" not in caplog.text
    assert "request" in caplog.text or "Forbidden" in caplog.text


def test_each_value_of_a_name_is_kept() -> None:
    page = Client().post("/changes/new/", {"ticked": ["a", "b"], "reason": "Why"})
    assert re.findall(r'name="ticked" value="(.)"', page.content.decode()) == ["a", "b"]


def test_a_file_is_named_and_not_kept() -> None:
    sent = {"listed": SimpleUploadedFile("accounts.csv", b"secret-row")}
    page = Client().post(next(each for name, each in ROUTES if name == "customers:estate-propose"), sent)
    assert "Open the form again to send these: accounts.csv." in text(page)
    assert "secret-row" not in page.content.decode()


# -- a stale token ----------------------------------------------------------------------------------------------------


def test_a_stale_token_shows_the_form_again_with_a_new_one(other: User) -> None:
    client = strict(other)
    opened = hidden(client.get("/me/"))
    client.cookies["csrftoken"] = "n" * 32  # as after signing in again in another tab
    page = client.post("/me/", opened | {"name": "Bo Typed", "timezone": "UTC"}, **OURS)
    assert page.status_code == 403
    assert "You're signed in as Bo Berg (bo@postkeeper.example)." in text(page)
    assert client.post("/me/", hidden(page), **OURS).status_code == 303
    assert User.objects.get(pk=other.pk).name == "Bo Typed"


def test_a_fragment_gets_the_new_token_alone(other: User) -> None:
    client = strict(other)
    client.get("/me/")
    typed = {"name": "Bo Typed", "csrfmiddlewaretoken": "n" * 32}
    stale = client.post("/me/", typed, HTTP_X_PERSON=str(other.public_id), **OURS, **HTMX)
    assert (stale.status_code, stale.content) == (403, b"")
    again = {"name": "Bo Typed", "timezone": "UTC", "seen": '{"name": "Bo Berg", "timezone": "UTC"}'}
    done = client.post("/me/", again, HTTP_X_CSRFTOKEN=stale["X-CSRFToken"], **OURS, **HTMX)
    assert "HX-Redirect" in done.headers
    assert User.objects.get(pk=other.pk).name == "Bo Typed"


def test_a_fragment_of_another_users_page_gets_no_token(other: User) -> None:
    page = strict(other).post("/me/", {"name": "Typed"}, HTTP_X_PERSON="0" * 32, **OURS, **HTMX)
    assert (page.status_code, page.get("X-CSRFToken")) == (401, None)


def test_a_page_of_another_user_shows_and_sends_nothing(client: Client, other: User) -> None:
    sign_in(client, other)
    theirs = {"HTTP_X_PERSON": "0" * 32, **HTMX}
    shown = client.get("/me/", **theirs)
    assert (shown.status_code, shown.content) == (401, b"")
    assert client.get(shown.headers["HX-Redirect"]).status_code == 302  # the page opens anew, as this user's
    assert client.post("/me/", {"name": "Typed"}, **theirs).status_code == 401
    other.refresh_from_db()
    assert other.name != "Typed"
    own = {"HTTP_X_PERSON": str(other.public_id), **HTMX}
    assert client.get("/me/", **own).status_code == 200


def test_without_a_session_a_stale_token_changes_nothing(db: None) -> None:
    page = strict().post("/me/", {"name": "Typed"}, **OURS)
    assert (page.status_code, hidden(page)["name"]) == (401, "Typed")
    fragment = strict().post("/me/", {"name": "Typed"}, **OURS, **HTMX)
    assert (fragment.status_code, fragment.content) == (401, b"")
    assert "X-CSRFToken" not in fragment.headers


@pytest.mark.parametrize("who", ["nobody", "somebody"])
@pytest.mark.parametrize("how", [{}, HTMX], ids=["page", "fragment"])
@pytest.mark.parametrize("origin", [{"HTTP_ORIGIN": "https://evil.example"}, {"HTTP_ORIGIN": "null"}, {}])
def test_another_site_is_offered_nothing(other: User, who: str, how: dict[str, str], origin: dict[str, str]) -> None:
    """Without an origin nothing shows that the form is ours."""
    client = strict(other if who == "somebody" else None)
    page = client.post("/me/", {"name": "Planted"}, **origin, **how)
    assert page.status_code == 403
    assert "Planted" not in page.content.decode()
    assert "<form" not in page.content.decode()
    assert "X-CSRFToken" not in page.headers


def test_over_https_the_referrer_counts_without_an_origin(other: User) -> None:
    ours, evil = ({"HTTP_REFERER": f"https://{host}/me/"} for host in ("testserver", "evil.example"))
    assert "<form" in strict(other).post("/me/", {"name": "x"}, secure=True, **ours).content.decode()
    assert "<form" not in strict(other).post("/me/", {"name": "x"}, secure=True, **evil).content.decode()


def test_signing_in_itself_is_not_sent_again(other: User) -> None:
    page = strict(other).post("/sign-in/", {"login": "bo@postkeeper.example", "password": THEIRS}, **OURS)
    assert page.status_code == 403
    assert "<form" not in page.content.decode()


def test_the_page_gets_the_new_token_when_its_reader_comes_back(other: User) -> None:
    client = strict()
    assert "signed in" not in text(client.get("/session/", **HTMX))
    token = hidden(sign_in(client, other).get("/session/", **HTMX))["csrfmiddlewaretoken"]
    sent = {"name": "Bo Typed", "timezone": "UTC", "csrfmiddlewaretoken": token, "seen": '{"name": "Bo Berg"}'}
    assert client.post("/me/", sent, **OURS).status_code == 303


# -- secrets ----------------------------------------------------------------------------------------------------------


def _all_forms(kind: type = BaseForm) -> Iterator[Any]:
    for each in kind.__subclasses__():
        yield each
        yield from _all_forms(each)


def test_every_field_that_is_typed_unseen_is_a_secret() -> None:
    for package in (portal, customers, billing):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "forms" in module.name or "views" in module.name:
                importlib.import_module(module.name)
    ours = [each for each in _all_forms() if each.__module__.startswith(("portal.", "customers.", "billing."))]
    fields = {(name, type(field.widget)) for form in ours for name, field in getattr(form, "base_fields", {}).items()}
    assert len(fields) > 60
    assert {name for name, widget in fields if issubclass(widget, PasswordInput)} | {"code", "credential"} == SECRETS
    named = {name for name, _ in fields if re.search("pass|secret|api_key|credential", name)}
    assert named <= SECRETS


def test_secrets_are_left_out_and_named() -> None:
    typed = {name: f"typed-{name}" for name in SECRETS} | {"key-api_key": "typed-too", "name": "EU"}
    page = Client().post("/me/password/", typed)
    assert "typed-" not in page.content.decode()
    assert "The form asks for these again after you send it: " in text(page)
    assert hidden(page)["name"] == "EU"
    assert "entered" not in text(Client().post("/me/password/", {"password": ""}))


# -- the password's confirmation ran out ---------------------------------------------------------------------------


def test_the_form_comes_back_with_a_field_for_the_password(admin: User, other: User) -> None:
    address = f"/staff/{other.public_id}/role/"
    client = sign_in(Client(), admin, minutes_ago=11)
    page = client.post(address, {"role": "auditor", "seen": '{"role": "finance"}'})
    assert page.status_code == 422
    assert "Confirm it's you" in text(page)
    assert User.objects.get(pk=other.pk).role == "finance"
    wrong = client.post(address, hidden(page) | {CONFIRM_PASSWORD: "a bad guess"})
    assert (wrong.status_code, hidden(wrong)["role"]) == (422, "auditor")
    assert "Incorrect password." in text(wrong)
    assert "a bad guess" not in wrong.content.decode()
    key = client.session.session_key
    done = client.post(address, hidden(wrong) | {CONFIRM_PASSWORD: THEIRS})
    assert done.status_code == 303
    assert User.objects.get(pk=other.pk).role == "auditor"
    assert client.session.session_key != key
    assert CONFIRM_PASSWORD not in done.wsgi_request.POST  # no view, and no error report, sees it
    assert client.post(f"/staff/{other.public_id}/disable/").status_code == 303  # it counts for what follows


def test_guessing_the_password_there_is_limited_as_at_sign_in(admin: User, other: User) -> None:
    client = sign_in(Client(), admin, minutes_ago=11)
    for _ in range(11):
        page = client.post(f"/staff/{other.public_id}/disable/", {CONFIRM_PASSWORD: "wrong"})
    assert "Too many attempts" in text(page)
    assert client.post(f"/staff/{other.public_id}/disable/", {CONFIRM_PASSWORD: THEIRS}).status_code == 422
    assert User.objects.get(pk=other.pk).is_active


def test_a_button_outside_a_dialog_leads_to_the_password(admin: User, other: User) -> None:
    asked = sign_in(Client(), admin, minutes_ago=11).post(f"/staff/{other.public_id}/disable/", **HTMX)
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked["HX-Redirect"] == "/reauthenticate/?next=%2Fme%2F"


# -- where `next` leads -----------------------------------------------------------------------------------------------

ROUTES = [(name, _address(name, pattern)) for name, pattern in _patterns(get_resolver())]
POST_ONLY = {name: address for name, address in ROUTES if "GET" not in DECLARED["routes"][name]}


def test_next_never_leads_to_an_address_that_only_takes_posts(other: User) -> None:
    assert len(POST_ONLY) > 25
    for address in POST_ONLY.values():
        sent = {"login": other.email, "password": THEIRS, "next": address}
        signed_in = Client().post("/sign-in/", sent)
        assert (signed_in.status_code, signed_in["Location"]) == (302, "/")
        cache.clear()  # the attempts are counted
        again = sign_in(Client(), other).post("/reauthenticate/", {"password": THEIRS, "next": address})
        assert (again.status_code, again["Location"]) == (302, "/")


def test_the_page_behind_a_post_only_address_is_above_it(db: None) -> None:
    for name, address in POST_ONLY.items():
        headers = {"HTTP_HX_REQUEST": "true", "HTTP_HX_CURRENT_URL": f"http://testserver{address}?a=1"}
        led = Client().get(reverse("customers:rail-operations"), **headers)["HX-Redirect"]
        back = led.removeprefix("/sign-in/?next=").replace("%2F", "/")
        assert address.startswith(back), name
        assert "GET" in DECLARED["routes"][next(each for each, found in ROUTES if found == back)], name
