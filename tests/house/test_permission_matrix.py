"""The permission matrix with the real views: every route, method and principal, as page and as fragment, for an object
that exists and for one that does not.

`predicted` reads permissions.toml and nothing of the portal. Pages are not rendered, which is most of the time of a
request; what a view does before that, it does. (tests/house/test_permissions.py asks the middleware alone.)
"""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import replace
from http.cookies import SimpleCookie
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template.backends.django import Template
from django.test import Client
from django.urls import get_resolver, reverse
from pytest_django import Settings

from portal.access.middleware import declared_permissions
from portal.access.permissions import Permission, require, rules
from portal.access.roles import Role
from portal.refusals import Refusal
from tests.customers.conftest import Desk, desk  # noqa: F401 - a fixture
from tests.house.hostile import World, _routes
from tests.house.principals import CUSTOM_CODES, PRINCIPALS, Principal
from tests.support.factories import CustomRoleFactory, UserFactory
from tests.support.samples import sample

DECLARED = tomllib.loads(Path("portal/access/permissions.toml").read_text(encoding="utf-8"))
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
WAYS = list(product(METHODS, (False, True), (True, False)))  # method, fragment, the object exists
READS = {"GET", "HEAD", "OPTIONS"}
# Answers of a view that let the request in. Without its fields a form is refused with one of the last four.
DONE = {200, 204, 302, 303, 400, 409, 410, 422, 429}


def predicted(route: str, method: str, principal: Principal) -> str:
    """Return what happens to a request, from permissions.toml alone."""
    code = DECLARED["routes"][route].get("GET" if method in READS else method)
    if code is None:
        return "405"
    roles = DECLARED["groups"][DECLARED["permissions"][code]]
    if "anyone" in roles:
        return "open"
    if not principal.role:
        return "sign in"
    if principal.role in roles or (principal.role == "custom" and code in CUSTOM_CODES):
        return "open" if principal.has_factor or route in ENROLMENT else "enrol"
    return "404" if code in DECLARED["hidden"]["permissions"] else "403"


# What a session opens that lacks the second factor its role requires.
ENROLMENT = {
    "security", "mfa_activate_totp", "mfa_add_webauthn", "recovery-codes", "account_reauthenticate",
    "reauthenticate-passkey", "sso-confirm",
}  # fmt: skip
# Where the row that exists is, of its view, not for everyone who may open the route, or is not for a GET.
MAY_BE_404 = {
    "billing:contract-end": "a draft can't be ended",
    "billing:contract-term-remove": "the address names the discount",
    "billing:parallel-match": "the address names the line",
    "billing:quote-new-account": "the address names the connection",
    "billing:unpriced-add": "the form names the kind of price",
    "billing:price-add": "the address names the kind of price",
    "billing:price-edit": "the address names the price",
    "billing:price-remove": "the address names the price",
    "billing:decide-figure": "nothing is to decide about the figure",
    "billing:undo-anomaly": "nothing was decided",
    "billing:undo-figure": "nothing was decided",
    "billing:worklist-owner": "the form names the row",
    "customers:bulk-act": "the form names the action",
    "customers:bulk-decide": "the form names the decision",
    "customers:duplicate-merge": "the account is no duplicate",
    "customers:offering-sum": "the address names the connection",
    "customers:recovery-release": "no connection is held after a restore",
    "customers:key-secret": "a secret is of who requested it",
    "customers:operation-decide": "only what is in review is decided",
    "billing:usage-export-file": "it is not written yet",
    "metrics": "there is no METRICS_TOKEN",
    **{f"approvals:{each}": "of who may see the request" for each in ("detail", "decide", "cancel")},
    **{f"sso-{each}": "there is no identity provider" for each in ("start", "callback", "confirm", "invitation")},
    **{f"sso-{each}": "there is no identity provider" for each in ("connect", "disconnect")},
    "customers:hold-release": "a hold is released once",
    "help-components": "there is no demo",
}
# Addresses of rows that answer to any key.
ANY_KEY = {
    "accept-invitation": "a page says that the link ended",
    "second-factor-remove": "it was removed in another tab",
    "end-session": "it ended meanwhile",
}


def outcome(response: HttpResponse) -> str:
    """Return how a request ended, in the words of `predicted`."""
    leads = response.get("Location", "") + response.get("HX-Redirect", "")
    if response.status_code == 401 or leads.startswith("/sign-in/"):
        return "sign in"
    if response.status_code in {302, 403} and leads == "/me/security/":
        return "enrol"
    return str(response.status_code)


class Walker:
    """Sends requests in the name of principals; each is undone."""

    def __init__(self, world: World) -> None:
        self.rows: list[tuple[str, str, str]] = []  # name, address, address without a row behind
        for name, pattern, converters in _routes(get_resolver()):
            urls = world._urls(name, pattern, converters)
            missing: dict[str, Any] = {key: uuid.uuid4() if key == "public_id" else "no-such" for key in converters}
            odd = {"start": "1999-01-01", "factor": 999_999_999, "session": 999_999_999, "n": 999_999_999}
            missing |= {key: value for key, value in odd.items() if key in missing}
            # Of two accounts, the first has usage and the second has keys and domains.
            self.rows.append(
                (
                    name,
                    urls[0 if name.startswith("billing:") else -1],
                    reverse(name, kwargs=missing) if converters else "",
                )
            )

    def ask(self, cookies: SimpleCookie, method: str, url: str, *, fragment: bool) -> HttpResponse:
        client = Client(raise_request_exception=False)
        client.cookies = SimpleCookie({name: each.value for name, each in cookies.items()})
        with transaction.atomic():
            response = client.generic(method, url, headers={"HX-Request": "true"} if fragment else {})
            if response.streaming:
                b"".join(response)  # type: ignore[arg-type]
            transaction.set_rollback(True)
        return response  # type: ignore[return-value]


@pytest.fixture
def walker(desk: Desk, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Walker:  # noqa: F811 - the fixture
    settings.SECOND_FACTOR_ROLES = ["admin", "finance"]
    walker = Walker(World(desk))
    monkeypatch.setattr(Template, "render", lambda *_, **__: "")
    return walker


def deviations(walker: Walker, principal: Principal, *, at_once: int = 3) -> Iterator[tuple[Any, ...]]:
    cookies = principal.cookies()
    for route, url, missing in walker.rows:
        for method, fragment, exists in sample(WAYS, at_once, name=f"{route} {principal.name}"):
            if not (exists or missing):
                continue
            got = outcome(walker.ask(cookies, method, url if exists else missing, fragment=fragment))
            if got not in right_outcomes(route, method, predicted(route, method, principal), exists=exists):
                yield (route, method, "fragment" if fragment else "page", "exists" if exists else "missing", got)


def right_outcomes(route: str, method: str, expected: str, *, exists: bool) -> set[str]:
    if expected == "enrol":
        return {expected} if method in READS else {"403"}  # what was sent is shown again
    if expected != "open":
        return {expected}
    done = {str(status) for status in DONE} | (
        {"sign in"} if route.startswith(("account_", "accept-", "mfa_")) else set()
    )
    if method in {"HEAD", "OPTIONS"}:
        done |= {"405"}  # most views answer GET alone
    if not exists:
        return done | {"404"} if route in ANY_KEY else {"404", *(done & {"405"})}
    if route == "readyz":
        return done | {"503"}
    return done | {"404"} if route in MAY_BE_404 else done


@pytest.mark.long
@pytest.mark.sample(2)
@pytest.mark.parametrize("name", PRINCIPALS)
def test_every_request_ends_as_predicted(walker: Walker, name: str) -> None:
    assert {route for route, _url, _missing in walker.rows} == set(DECLARED["routes"])
    wrong = list(deviations(walker, PRINCIPALS[name]))
    assert wrong == [], "\n".join(map(str, wrong))


@pytest.mark.django_db
@pytest.mark.parametrize("role", [*Role.values, "custom"])
def test_roles_and_permissions_without_http(role: str) -> None:
    """`require`, which commands ask, for every pair of a role and a permission."""
    custom = CustomRoleFactory(permissions=list(CUSTOM_CODES)) if role == "custom" else None
    person = UserFactory(role=role, custom_role=custom)
    for code, group in DECLARED["permissions"].items():
        roles = DECLARED["groups"][group]
        may = "anyone" in roles or role in roles or (role == "custom" and code in CUSTOM_CODES)
        for active in (True, False):
            person.is_active = active
            try:
                require(person, Permission(code))
            except Refusal:
                assert not (may and active), code
            else:
                assert may, code
                assert active, code


# --- Planted mistakes are found ---------------------------------------------------------------------------------------


def lenient_with_fragments(get_response: Any) -> Any:
    """The middleware, if it forgot fragments."""
    strict = declared_permissions(get_response)

    def middleware(request: HttpRequest) -> HttpResponse:
        return strict(request)

    def process_view(request: HttpRequest, *rest: Any) -> HttpResponse | None:
        if request.headers.get("HX-Request"):
            return None
        return strict.process_view(request, *rest)  # type: ignore[attr-defined, no-any-return]  # a middleware has it

    middleware.process_view = process_view  # type: ignore[attr-defined]  # as above
    return middleware


def wrong_permission(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    changed = {**rules().routes, "access:staff": {"GET": Permission.VIEW}}
    known = rules()
    monkeypatch.setattr("portal.access.permissions.rules", lambda: replace(known, routes=changed))


def forgotten_check(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr("portal.access.middleware.refuse", lambda _permission: None)


def forgotten_fragments(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    ours = f"{__name__}.lenient_with_fragments"
    settings.MIDDLEWARE = [ours if "declared_permissions" in each else each for each in settings.MIDDLEWARE]


def cost_named(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    known = rules()
    monkeypatch.setattr("portal.access.permissions.rules", lambda: replace(known, hidden=frozenset()))


@pytest.mark.parametrize(
    ("mistake", "found"),
    [
        (wrong_permission, {("access:staff", "page"), ("access:staff", "fragment")}),
        (forgotten_check, {(name, kind) for name in ("access:staff", "billing:pool") for kind in ("page", "fragment")}),
        (forgotten_fragments, {("access:staff", "fragment"), ("billing:pool", "fragment")}),
        (cost_named, {("billing:pool", "page"), ("billing:pool", "fragment")}),
    ],
)
def test_a_planted_mistake_is_found(
    walker: Walker, mistake: Any, found: set[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    walker.rows = [row for row in walker.rows if row[0] in ("access:staff", "billing:pool", "customers:list")]
    assert list(deviations(walker, PRINCIPALS["customer_success"], at_once=len(WAYS))) == []
    mistake(monkeypatch, settings)
    wrong = list(deviations(walker, PRINCIPALS["customer_success"], at_once=len(WAYS)))
    assert {(route, kind) for route, _method, kind, *_rest in wrong} == found
