"""Requests to the identity provider: https, no redirects, a limit of time and size, by `portal.providers.http`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings

from portal.access.sso.refusals import SsoRefused
from portal.providers.base import ConnectionConfig
from portal.providers.calls import Call
from portal.providers.errors import NotSent, ProviderError, Unreadable
from portal.providers.http import Http
from portal.providers.sockets import LOOPBACK_NAMES

log = structlog.get_logger(__name__)
TOTAL_SECONDS = 5.0  # of each request
SIGN_IN_SECONDS = 10.0  # of all requests of a sign-in together
_READ_TRIES = 2  # a connection that was kept alive may have been closed meanwhile
_local = threading.local()


@contextmanager
def sign_in_budget() -> Iterator[None]:
    """Limit all requests of this thread together to `SIGN_IN_SECONDS`."""
    _local.until = time.monotonic() + SIGN_IN_SECONDS
    try:
        yield
    finally:
        _local.until = None


def _seconds_left() -> float:
    until = getattr(_local, "until", None)
    return TOTAL_SECONDS if until is None else min(TOTAL_SECONDS, until - time.monotonic())


def checked_url(url: object) -> str:
    """Return an address of the provider. Refuses all but https; outside production, loopback may be http."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        _port = parts.port
    except ValueError:
        parts = urlsplit("")
    local = not settings.PRODUCTION and parts.scheme == "http" and parts.hostname in LOOPBACK_NAMES
    if not parts.hostname or not (parts.scheme == "https" or local) or "@" in parts.netloc or parts.fragment:
        raise SsoRefused("endpoint", detail="an address of the provider is not https")
    return parts.geturl()


def get(url: str, *, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the JSON object at `url`."""
    return _object(url, Call("GET", _path(url), endpoint="sso", bearer=False, headers=headers or {}))


def post(url: str, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Send `form` once, and return the JSON object of the answer."""
    call = Call("POST", _path(url), endpoint="sso", bearer=False, changes=True, form=form, headers=headers or {})
    return _object(url, call)


def _path(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _object(url: str, call: Call) -> dict[str, Any]:
    parts = urlsplit(checked_url(url))
    http = _http(f"{parts.scheme}://{parts.netloc}", settings.OIDC_CLIENT_SECRET)
    try:
        found = _call(http, call)
    except ProviderError as error:
        refuses_client = call.changes and (
            error.evidence.status == HTTPStatus.UNAUTHORIZED or '"invalid_client"' in error.evidence.response_body
        )
        code = "client" if refuses_client else "unreachable"
        raise SsoRefused(code, detail=error.message) from None  # without the request that it holds
    if not isinstance(found, dict) or not is_text(found):
        raise SsoRefused("unreachable", detail="the response is not a JSON object")
    return found


def _call(http: Http, call: Call) -> object:
    for _earlier in range(0 if call.changes else _READ_TRIES - 1):
        try:
            with http.budget(_seconds_left()):
                return http.call(call).json()
        except (NotSent, Unreadable):
            if _seconds_left() < 1:
                raise
    with http.budget(_seconds_left()):
        return http.call(call).json()


def is_text(found: object) -> bool:
    """Return whether every string in a JSON value can be stored and compared: JSON allows lone surrogates."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


@lru_cache(maxsize=16)
def _http(origin: str, secret: str) -> Http:
    """Return the client of one host. The operator names the provider, which may be in a private network."""
    config = ConnectionConfig(
        kind="oidc",
        base_url=origin,
        api_key=secret,
        read_timeout=TOTAL_SECONDS,
        total_timeout=TOTAL_SECONDS,
        allow_private=True,
    )
    return Http(config, label="The identity provider")
