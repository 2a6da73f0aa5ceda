"""Sessions of which the database has only a hash of the ID: who reads its tables or a backup can't use one.

The ID has 165 random bits, so the hash needs neither salt nor key.
"""

from __future__ import annotations

import hashlib

from django.conf import settings
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.contrib.sessions.middleware import SessionMiddleware as DjangosMiddleware
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import get_random_string

_ID_LENGTH = 32
_STORED_LENGTH = 40  # of Django's column


def stored_key(session_id: str) -> str:
    """Return what the database has in place of the ID in a browser's cookie."""
    return hashlib.sha256(f"session:{session_id}".encode()).hexdigest()[:_STORED_LENGTH]


class SessionStore(db.SessionStore):
    """Django's sessions. `session_key` is the stored hash, as in its table; `cookie` is the ID that the browser has."""

    def __init__(self, session_key: str | None = None) -> None:
        self.cookie = session_key or ""
        super().__init__(stored_key(session_key) if session_key else None)

    def _get_new_session_key(self) -> str:
        while True:
            self.cookie = get_random_string(_ID_LENGTH, VALID_KEY_CHARS)
            if not self.exists(found := stored_key(self.cookie)):
                return found


class SessionMiddleware(DjangosMiddleware):
    """Django's, which would send the stored hash to the browser."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response = super().process_response(request, response)
        sent = response.cookies.get(settings.SESSION_COOKIE_NAME)
        if sent is not None and sent.value:  # "" ends a session
            session_id = request.session.cookie  # type: ignore[attr-defined]  # our store's
            sent.set(sent.key, session_id, session_id)
        return response
