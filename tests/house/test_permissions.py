"""The permission matrix: every route, every method, every kind of person, as page and as fragment; of each route and
person two of the fourteen ways in the suite, all in `make proof`.

The oracle reads permissions.toml itself. Views are replaced by one that says "reached", so that the answer shows
exactly who came through, and nothing else decides it.
"""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Iterator
from inspect import getclosurevars, unwrap
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import URLPattern, URLResolver, get_resolver, path, reverse

from portal.access.checks import undeclared
from portal.access.models import User
from portal.access.reauth import reauthenticated
from portal.access.roles import Role
from tests.support.factories import UserFactory
from tests.support.people import CONFIRM_PASSWORD, sign_in
from tests.support.samples import is_proof, sample

DECLARED = tomllib.loads(Path("portal/access/permissions.toml").read_text(encoding="utf-8"))
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
WAYS = [(method, headers) for method in METHODS for headers in ({}, {"HX-Request": "true"})]
PRINCIPALS = ("nobody", "disabled", *Role.values)
REACHED = 299
SAMPLES: dict[str, Any] = {
    "UUIDConverter": uuid.uuid4(),
    "StringConverter": "x",
    "IntConverter": 1,
    "SlugConverter": "x",
}


def _patterns(resolver: URLResolver, spaces: tuple[str, ...] = ()) -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from _patterns(entry, (*spaces, entry.namespace) if entry.namespace else spaces)
        else:
            yield ":".join((*spaces, str(entry.name))), entry


def _address(name: str, pattern: URLPattern) -> str:
    converters = pattern.pattern.converters
    return reverse(name, kwargs={key: SAMPLES[type(each).__name__] for key, each in converters.items()})


@pytest.fixture(scope="module")
def routes() -> list[tuple[str, str, URLPattern]]:
    return [(name, _address(name, pattern), pattern) for name, pattern in _patterns(get_resolver())]


def _may(route: str, method: str, principal: str) -> set[int]:
    """The statuses that are right."""
    code = DECLARED["routes"][route].get("GET" if method in {"HEAD", "OPTIONS"} else method)
    if code is None:
        return {405}
    names = DECLARED["groups"][DECLARED["permissions"][code]]
    if "anyone" in names or principal in names:
        return {REACHED}
    if principal in {"nobody", "disabled"}:
        return {302, 401}
    return {404 if code in DECLARED["hidden"]["permissions"] else 403}


def _client(principal: str) -> Client:
    client = Client()
    if principal == "disabled":
        user = UserFactory(role="admin")
        sign_in(client, user)
        User.objects.filter(pk=user.pk).update(is_active=False)
    elif principal != "nobody":
        sign_in(client, UserFactory(role=principal))
    return client


def test_every_route_has_a_rule_and_every_rule_a_route(routes: list[tuple[str, str, URLPattern]]) -> None:
    assert {name for name, _, _ in routes} == set(DECLARED["routes"])
    assert undeclared() == []


@pytest.mark.django_db
@pytest.mark.parametrize("principal", PRINCIPALS)
@pytest.mark.sample(3)
def test_the_matrix(principal: str, routes: list[tuple[str, str, URLPattern]], monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(request: HttpRequest, **_: Any) -> HttpResponse:
        return HttpResponse(status=REACHED)

    for _name, _url, pattern in routes:
        monkeypatch.setattr(pattern, "callback", reached)
    client, wrong, asked = _client(principal), [], 0
    for name, url, _pattern in routes:
        for method, headers in sample(WAYS, 2, name=f"{name} {principal}"):
            expected = _may(name, method, principal)
            got = client.generic(method, url, headers=headers).status_code
            asked += 1
            if got not in expected:
                wrong.append((name, method, principal, bool(headers), got))
            if got == 401 and not headers and method != "POST":  # a form that was sent is shown again
                wrong.append((name, method, principal, "a page was answered with 401"))
    assert wrong == []
    assert asked == len(DECLARED["routes"]) * (len(WAYS) if is_proof() else 2)


@pytest.mark.django_db
@pytest.mark.parametrize("principal", PRINCIPALS)
@pytest.mark.sample(2)
def test_the_real_views_agree(principal: str, routes: list[tuple[str, str, URLPattern]]) -> None:
    """With the views as they are and objects that do not exist: refused by rule, otherwise anything but a failure."""
    client, wrong = _client(principal), []
    for name, url, _pattern in routes:
        if name == "account_logout":
            continue
        got = client.get(url).status_code
        expected = _may(name, "GET", principal)
        if (got >= 500 and name != "readyz") or (REACHED not in expected and got not in expected):
            wrong.append((name, got, expected))
        if REACHED in expected and got in {401, 403, 405}:
            wrong.append((name, got, expected))
    assert wrong == []


def test_what_the_roles_are_for() -> None:
    """The sentences of the design, so that a slip in the file is not repeated by the oracle above."""
    own = {"account_login", "account_logout", "account_reset_password", "account_reauthenticate", "accept-invitation",
           "profile", "change-password", "approvals:cancel", "customers:bulk-cancel",
           "mfa_authenticate", "mfa_login_webauthn", "mfa_activate_totp",
           "mfa_add_webauthn", "second-factor-remove", "recovery-codes", "end-session", "end-other-sessions",
           "browser-reports:collect",  # browsers send it by themselves
           "sso-start", "sso-invitation", "sso-confirm", "sso-connect", "sso-disconnect",
           "approvals:decide",  # each request needs the permission for its change as well
           "billing:usage-export"}  # fmt: skip  # keeps a file, and changes no figure
    for name, rule in DECLARED["routes"].items():
        may_post = {role for role in Role.values if _may(name, "POST", role) == {REACHED}}
        if name not in own:
            assert "auditor" not in may_post, f"the auditor changes nothing: {name}"
            assert "finance" not in may_post or name.startswith("billing:"), f"finance changes no customer: {name}"
        if name.startswith(("access:", "customers:connection-")):
            assert may_post <= {"admin"} or name == "customers:connection-catalogue", name
        if "POST" in rule and name not in own:
            assert "admin" in may_post, name
    open_to_all = {name for name in DECLARED["routes"] if _may(name, "GET", "nobody") == {REACHED}}
    assert open_to_all == {
        "readyz", "account_login", "account_logout", "account_signup", "account_reset_password",
        "account_reset_password_done", "accept-invitation", "session", "mfa_authenticate", "mfa_login_webauthn",
        "sso-callback",
        "metrics",  # for those who have METRICS_TOKEN
    }  # fmt: skip


def _view(request: HttpRequest) -> HttpResponse:
    return HttpResponse("secret")


# The routes that ask for the password again, unless it was typed within so many minutes.
ASKS_AGAIN = {
    "access:role-archive": 10, "access:role-create": 10, "access:role-edit": 10,
    "access:staff-disable": 10, "access:staff-enable": 10, "access:staff-invite": 10,
    "access:staff-end-session": 10, "access:staff-end-sessions": 10, "change-password": 10,
    "customers:connection-pause": 10, "customers:connection-resume": 10, "customers:key-let-go": 10,
    "access:staff-reset-password": 10, "access:staff-reset-second-factor": 10, "access:staff-role": 10,
    "mfa_activate_totp": 10, "mfa_add_webauthn": 10, "second-factor-remove": 10, "recovery-codes": 10,
    "end-session": 10, "end-other-sessions": 10,
    "customers:recovery-release": 10,
    "sso-connect": 10, "sso-disconnect": 10,
    "approvals:decide": 10, "approvals:rule": 10, "retention:rule": 10, "billing:month-close": 10,
    "privacy:search": 10, "privacy:export": 10, "privacy:file": 10, "privacy:erase": 10,
    "customers:connection-create": 10, "customers:connection-edit": 10, "customers:connection-key": 10,
    "customers:account-delete": 10, "customers:account-sign-in-as": 60,
    "customers:key-create": 10, "customers:key-delete": 10, "customers:key-edit": 10, "customers:key-secret": 10,
    "customers:key-rotate": 10, "customers:keys-change": 10, "customers:bulk-secrets": 10,
}  # fmt: skip
# What changes these asks again, whichever route it is; but for those that say why not.
ABOUT = {
    "manage_team", "manage_connections", "manage_approval_rules", "delete_account", "create_key", "change_key",
    "delete_key", "reveal_key", "stop_storing_key", "sign_in_as", "handle_personal_data",
}  # fmt: skip
NEEDS_NO_CONFIRMATION = {"customers:connection-verify": "reads at the provider"}
GUARDED = reauthenticated(minutes=1)(_view).__code__  # type: ignore[attr-defined]  # a view is a function


def _asks_again(pattern: URLPattern) -> int | None:
    def is_guarded(view: Any) -> bool:
        return getattr(view, "__code__", None) is GUARDED

    view = unwrap(pattern.callback, stop=is_guarded)
    return getclosurevars(view).nonlocals["minutes"] if is_guarded(view) else None


def test_these_views_declare_that_they_ask_for_the_password(routes: list[tuple[str, str, URLPattern]]) -> None:
    declared = {name: _asks_again(pattern) for name, _, pattern in routes}
    assert {name: minutes for name, minutes in declared.items() if minutes} == ASKS_AGAIN
    about = {name for name, rule in DECLARED["routes"].items() if rule.get("POST") in ABOUT}
    assert about - set(ASKS_AGAIN) == set(NEEDS_NO_CONFIRMATION)


@pytest.mark.django_db
@pytest.mark.parametrize(("route", "minutes"), ASKS_AGAIN.items())
def test_a_session_that_is_too_old_is_asked_for_the_password(
    route: str, minutes: int, routes: list[tuple[str, str, URLPattern]]
) -> None:
    url = next(url for name, url, _ in routes if name == route)
    admin = UserFactory(role="admin")
    for method in DECLARED["routes"][route]:
        too_old = sign_in(Client(), admin, minutes_ago=minutes + 0.1).generic(method, url)
        leads = too_old.get("Location", "").split("?")[0]
        asked = (302, reverse("account_reauthenticate")) if method == "GET" else (422, "")
        assert (too_old.status_code, leads) == asked
        assert (CONFIRM_PASSWORD.encode() in too_old.content) == (method == "POST")
        recent = sign_in(Client(), admin, minutes_ago=minutes - 0.1).generic(method, url)
        assert "reauthenticate" not in recent.get("Location", "")
        assert CONFIRM_PASSWORD.encode() not in recent.content


def _refused(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse(status=403)


urlpatterns = [path("new/", _view, name="brand-new"), path("nameless/", _view)]
handler403 = _refused
ALONE = override_settings(ROOT_URLCONF=__name__)


def test_a_new_route_without_a_rule_stops_the_start() -> None:
    with ALONE:
        assert [problem.id for problem in undeclared()][:2] == ["access.E001", "access.E001"]
        assert {problem.id for problem in undeclared()} == {"access.E001", "access.E002"}
        with pytest.raises(ImproperlyConfigured, match="brand-new"):
            WSGIHandler()


@pytest.mark.django_db
@pytest.mark.parametrize("url", ["/new/", "/nameless/"])
def test_even_if_it_started_it_would_be_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.access.middleware.refuse_to_start", lambda: None)
    with ALONE:
        client = sign_in(Client(), UserFactory(role="admin"))
        assert client.get(url).status_code == 403
