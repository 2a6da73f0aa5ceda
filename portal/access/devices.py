"""Known devices: browsers in which somebody signed in before.

A cookie names the device, for each person who signed in with it, under a hash of their email. It opens nothing. It only
gives attempts from this browser a budget of their own (`portal.access.throttling`), so that an attack from elsewhere
doesn't keep its owner out.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase
from django.utils.crypto import salted_hmac

from portal.access.models import User

LASTS = timedelta(days=90)
MOST_PEOPLE = 5  # who share one browser
_SALT = "portal.access.devices"


def device_of(request: HttpRequest, email: str) -> str:
    """Return the ID of the device for the person with this email; "" if they never signed in with this browser."""
    return _devices(request).get(_name(email), "")


def any_device_of(request: HttpRequest) -> str:
    """Return the ID of the device for anybody who signed in with this browser; "" if nobody did."""
    return next(iter(_devices(request).values()), "")


def remember(request: HttpRequest, response: HttpResponseBase, user: User) -> None:
    """Set the cookie after a complete sign-in, with a new ID: a copy of the earlier one shares no budget with it."""
    devices = _devices(request)
    name = _name(user.email)
    devices.pop(name, "")
    kept = {name: secrets.token_urlsafe(16)} | dict(list(devices.items())[: MOST_PEOPLE - 1])
    response.set_cookie(
        settings.DEVICE_COOKIE_NAME,
        signing.dumps(kept, salt=_SALT),
        max_age=LASTS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _devices(request: HttpRequest) -> dict[str, str]:
    try:
        held = signing.loads(request.COOKIES.get(settings.DEVICE_COOKIE_NAME, ""), salt=_SALT, max_age=LASTS)
    except signing.BadSignature:
        return {}
    return dict(held)


def _name(email: str) -> str:
    return salted_hmac(_SALT, email.strip().lower(), algorithm="sha256").hexdigest()[:24]
