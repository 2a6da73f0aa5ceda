"""Someone at the keyboard, signed in as the real sign-in leaves them: password typed just now."""

from __future__ import annotations

import time

from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY
from django.test import Client

from portal.access.models import User


def sign_in(client: Client, user: User, *, minutes_ago: float = 0) -> Client:
    """Sign `user` in; `minutes_ago` says when the password was typed (for `reauthenticated` views)."""
    client.force_login(user)
    session = client.session
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [{"method": "password", "at": time.time() - minutes_ago * 60}]
    session["account_authentication_methods_user"] = str(user.pk)
    session.save()
    return client
