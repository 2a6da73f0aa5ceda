"""Django's test client takes the key of a stored session for what the cookie holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.http import HttpRequest
from django.test import Client

from portal.access.session_store import SessionStore


def _session(client: Client) -> SessionStore:
    if cookie := client.cookies.get(settings.SESSION_COOKIE_NAME):
        return SessionStore(cookie.value)
    found = SessionStore()
    found.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = found.cookie
    return found


def keep_ids_in_cookies(patch: pytest.MonkeyPatch) -> None:
    """Let `force_login` and `session` of a test client leave the ID in the cookie, as the middleware does."""
    original = Client._set_login_cookies  # type: ignore[attr-defined]  # of Django's client

    def set_login_cookies(self: Client, request: HttpRequest) -> None:
        original(self, request)
        cookie, session_id = self.cookies[settings.SESSION_COOKIE_NAME], request.session.cookie  # type: ignore[attr-defined]
        cookie.set(cookie.key, session_id, session_id)

    patch.setattr(Client, "_set_login_cookies", set_login_cookies)
    patch.setattr(Client, "session", property(_session))


@pytest.fixture(autouse=True, scope="session")
def _cookies_of_the_test_client() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        keep_ids_in_cookies(patch)
        yield
