"""The portal's sessions for tests: Django's test client takes a store's key for what the cookie holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from portal.access.session_store import SessionStore as Stored

_cookies: dict[str, str] = {}


class SessionStore(Stored):
    """Remembers the cookie of every session that is begun in this process."""

    def _get_new_session_key(self) -> str:
        found = super()._get_new_session_key()
        _cookies[found] = self.cookie
        return found


def _corrected(client: Client) -> None:
    sent = client.cookies.get(settings.SESSION_COOKIE_NAME)
    if sent is not None and sent.value in _cookies:
        sent.set(sent.key, _cookies[sent.value], _cookies[sent.value])


@pytest.fixture(autouse=True, scope="session")
def _cookies_of_the_test_client() -> Iterator[None]:
    """Let `force_login` and `session` of a test client leave the ID in the cookie, as the middleware does."""
    login, read = Client._login, Client.session.fget  # type: ignore[attr-defined]  # a property

    def log_in(self: Client, *args: Any, **more: Any) -> None:
        login(self, *args, **more)
        _corrected(self)

    def session(self: Client) -> Any:
        found = read(self)
        _corrected(self)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "_login", log_in)
        patch.setattr(Client, "session", property(session))
        yield
