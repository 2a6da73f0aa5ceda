"""Sessions of which the database has only a hash of the ID: who reads its tables or a backup can't use one.

The ID has 165 random bits, so the hash needs neither salt nor key. Sessions of a release that stored the ID itself are
accepted under it until they end, which is a day later at most: the update signs nobody out.
"""

from __future__ import annotations

import hashlib
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.contrib.sessions.middleware import SessionMiddleware as DjangosMiddleware
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import get_random_string

_ID_LENGTH = 32
_STORED_LENGTH = 40  # of Django's column


class StoredKey(str):
    """A session's ID as the database has it. It knows the ID in the browser's cookie while the session is at hand."""

    __slots__ = ("cookie",)
    cookie: str


def stored_key(session_id: str) -> StoredKey:
    return _with_cookie(session_id, hashlib.sha256(f"session:{session_id}".encode()).hexdigest()[:_STORED_LENGTH])


def _with_cookie(session_id: str, stored: str) -> StoredKey:
    found = StoredKey(stored)
    found.cookie = session_id
    return found


class SessionStore(db.SessionStore):
    """Django's sessions. `session_key` is the stored hash, as in its table; `cookie` is the ID that the browser has.

    It is opened with what a cookie holds, or with the `session_key` of an open session. What a table holds opens none.
    """

    def __init__(self, session_key: str | None = None) -> None:
        key = session_key if isinstance(session_key, StoredKey) else stored_key(session_key) if session_key else None
        super().__init__(key)

    @property
    def cookie(self) -> str:
        key = self.session_key
        return key.cookie if isinstance(key, StoredKey) else ""

    def _get_session_from_db(self) -> Any:
        session_id = self.cookie
        found = super()._get_session_from_db()  # type: ignore[misc]  # the stubs lack it
        # Of a release that stored the ID itself. A stored hash is longer, so it opens nothing here either.
        if found is None and len(session_id) == _ID_LENGTH:
            self._session_key = _with_cookie(session_id, session_id)
            found = super()._get_session_from_db()  # type: ignore[misc]  # the stubs lack it
        return found

    def _get_new_session_key(self) -> str:
        while self.exists(found := stored_key(get_random_string(_ID_LENGTH, VALID_KEY_CHARS))):
            pass
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
