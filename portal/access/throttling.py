"""Limits on the routes of sign-in: how many requests are admitted, and how many attempts to guess are evaluated.

Counted before anything is verified, with allauth's counters in the cache, each under a lock. An attempt from a browser
that the person signed in with before has a budget of its own; others share those of the account, of the address and of
the portal. So an attack locks out neither the owner of the account nor colleagues at the same address. The route table
is checked at the start (portal/access/checks.py).
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

import structlog
from allauth.core.internal import ratelimit
from allauth.core.internal.ratelimit import RateLimitUsage
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from portal import audit
from portal.access import devices
from portal.access.addresses import throttle_key

log = structlog.get_logger(__name__)
_APP = "portal.access"

# Requests by address, or by device if it is known. Links and passkeys can't be guessed: what is limited there is work.
REQUESTS = {
    "sign_in": "60/m/key",
    "callback": "60/m/key",
    "passkey": "300/m/key",
    "link": "60/15m/key",
    "reset": "10/15m/key",
    "sign_out": "300/m/key",
    "reports": "60/m/key",
}
# Budgets that count reading too, as that makes a session or evaluates something.
COUNT_READING = frozenset({"link", "callback", "passkey"})
# Every route that a visitor may send something to, and those that evaluate a secret: by the budget of their requests.
ROUTES = {
    "account_login": "sign_in",
    "account_logout": "sign_out",
    "browser-reports:collect": "reports",
    "account_reset_password": "reset",
    "accept-invitation": "link",
    "mfa_authenticate": "sign_in",
    "mfa_login_webauthn": "passkey",
    "account_reauthenticate": "sign_in",
    "reauthenticate-passkey": "passkey",
    "change-password": "sign_in",
    "mfa_activate_totp": "sign_in",
    "mfa_add_webauthn": "passkey",
    "sso-start": "sign_in",
    "sso-callback": "callback",
    "sso-confirm": "sign_in",
    "sso-invitation": "link",
}
# Which budget of PERSON_LIMITS a signed-in person's form uses up; "change" if its route isn't listed. Files count when
# they are read.
ROUTES_OF_PERSON = {
    "customers:key-create": "secret",
    "customers:key-rotate": "secret",
    "customers:key-secret": "secret",
    "customers:account-sign-in-as": "secret",
    "customers:account-refresh": "provider",
    "customers:connection-catalogue": "provider",
    "customers:connection-verify": "provider",
    "customers:domain-add": "provider",
    "customers:domain-check": "provider",
    "customers:drift-scan": "provider",
    "customers:estate-look": "provider",
    "customers:orphan-watch": "provider",
    "customers:test-message": "provider",
    "billing:run-start": "provider",
    "billing:run-retry": "provider",
    "billing:usage-export": "file",
}
_FILES = ("export", "-file", "-pack")  # how the names of routes end that send a file
# Attempts that turned out wrong. A password is guessed by the account's email. The code of an app has six digits, and
# whoever guesses it knows the password: fewer, and fewer in a day. A recovery code has ten.
PASSWORD, CODE, RECOVERY, LINK = "password", "code", "recovery", "reset_link"
_OF_ACCOUNT = {
    PASSWORD: "10/15m/key", CODE: "5/15m/key,20/d/key", RECOVERY: "5/15m/key,50/d/key", LINK: "3/15m/key",
}  # fmt: skip
_OF_DEVICE = _OF_ACCOUNT
_OF_ADDRESS = "30/15m/key"
_OF_PORTAL = "1000/15m/key"
_WINDOW = 15 * 60
_DAY = 24 * 3600


class NoAttemptLeft(Exception):
    """Nothing may be evaluated. The message says how long; `is_of_person`: because of attempts at this account."""

    def __init__(self, seconds: float, *, is_of_person: bool) -> None:
        self.is_of_person = is_of_person
        if seconds >= _DAY:
            super().__init__(_("Too many attempts today. Use another second factor, or ask an admin to reset yours."))
        else:
            super().__init__(_("Too many attempts. Wait 15 minutes, then try again."))


@dataclass
class CountedAttempt:
    """An attempt that was counted and may be evaluated."""

    usage: RateLimitUsage
    is_last: bool  # no other one will be evaluated for this account for a while

    def was_right(self) -> None:
        """Don't count it: only wrong ones use up a budget."""
        self.usage.rollback()


def refused_request(request: HttpRequest, route: str) -> HttpResponse | None:
    """Return the refusal (429) of a request to a throttled route; None if it is admitted."""
    budget = ROUTES.get(route)
    reads = request.method in {"GET", "HEAD", "OPTIONS"}
    if budget is None or (reads and budget not in COUNT_READING):
        return None
    device = devices.any_device_of(request)
    key = f"device {device}" if device else throttle_key_of(request)
    return None if _consume(request, budget, REQUESTS[budget], key) else _too_many(request, budget)


def refused_person(request: HttpRequest, route: str) -> HttpResponse | None:
    """Return the refusal (429) of a signed-in person who did this too often in a while; None if it is admitted."""
    reads = request.method in {"GET", "HEAD", "OPTIONS"}
    if reads:
        budget = "file" if route.endswith(_FILES) else ""
    else:
        budget = ROUTES_OF_PERSON.get(route, "change")
    rate = settings.PERSON_LIMITS.get(budget)
    if rate is None or _consume(request, f"person_{budget}", rate, str(request.user.pk)):
        return None
    return _too_many(request, budget)


def _too_many(request: HttpRequest, budget: str) -> HttpResponse:
    log.warning("request over its limit refused", budget=budget)
    return answer_429(request)


def answer_429(request: HttpRequest) -> HttpResponse:
    response: HttpResponse = ratelimit.respond_429(request)
    return response


def attempt(request: HttpRequest, kind: str, email: str) -> CountedAttempt:
    """Count an attempt for the account with this email, before it is evaluated. Raises `NoAttemptLeft`, and then counts
    nothing: what is refused for one reason uses up no other budget."""
    name = email.strip().lower()
    if device := devices.device_of(request, name):
        budgets = [(f"{kind}_of_device", _OF_DEVICE[kind], f"{device} {name}", True)]
    else:
        budgets = [
            ("address", _OF_ADDRESS, throttle_key_of(request), False),
            (f"{kind}_of_account", _OF_ACCOUNT[kind], name, True),
            ("portal", _OF_PORTAL, "all", False),
        ]
    counted = RateLimitUsage(usage=[])
    is_last = False
    for action, rates, key, is_of_person in budgets:
        for rate in rates.split(","):
            one = _consume(request, action, rate, key)
            if one is None:
                counted.rollback()
                log.warning("attempt over its limit refused", kind=kind, budget=action)
                if action == "portal" and _is_full(request, action, rate, key):
                    _alert(request)
                raise NoAttemptLeft(ratelimit.parse_rate(rate).duration, is_of_person=is_of_person)
            counted.usage += one.usage
            is_last = is_last or (is_of_person and _is_full(request, action, rate, key))
    return CountedAttempt(counted, is_last)


def throttle_key_of(request: HttpRequest) -> str:
    return str(ratelimit.truncate_ip(throttle_key(request)))


def _consume(request: HttpRequest, action: str, rate: str, key: str) -> RateLimitUsage | None:
    config = {action: rate}
    found: RateLimitUsage | None = ratelimit.consume(
        request, app=_APP, action=action, config=config, key=key, limit_get=True
    )
    return found


def _is_full(request: HttpRequest, action: str, rate: str, key: str) -> bool:
    """Return whether the budget is used up. (`_consume` also refuses while others hold the counter's lock.)"""
    parsed = ratelimit.parse_rate(rate)
    history = cache.get(ratelimit.get_cache_key(request, app=_APP, action=action, rate=parsed, key=key), [])
    recent = [at for at in history if at > time.time() - parsed.duration]
    return len(recent) >= int(parsed.amount)


def is_first_time(event: str) -> bool:
    """Return whether this happens for the first time in 15 minutes, for what is told once."""
    return bool(cache.add(f"{_APP}.first.{hashlib.sha256(event.encode()).hexdigest()}", 1, timeout=_WINDOW))


def _alert(request: HttpRequest) -> None:
    """Tell the admins, once in a window, that attempts from unknown devices are refused for everybody."""
    if is_first_time("attack"):
        log.warning("sign-in attempts from unknown devices are refused", limit=_OF_PORTAL)
        audit.record(actor=None, verb="staff.sign_in_attacked", obj=None, request=request)
