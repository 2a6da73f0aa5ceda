"""Someone at the keyboard, signed in as the real sign-in leaves them: password and second factor given just now."""

from __future__ import annotations

import time

from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY
from django.test import Client

from portal.access.models import User
from portal.access.unsent_forms import CONFIRM

CONFIRM_PASSWORD = f"{CONFIRM}-password"


def sign_in(client: Client, user: User, *, minutes_ago: float = 0, factor: bool = True) -> Client:
    """Sign `user` in; `minutes_ago` says when that was (for `reauthenticated` views). `factor`: whether they used a
    second factor, as roles that require one have to."""
    client.force_login(user)
    session = client.session
    methods = ["password", "mfa"] if factor else ["password"]
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [
        {"method": method, "at": time.time() - minutes_ago * 60} for method in methods
    ]
    session["account_authentication_methods_user"] = str(user.pk)
    session.save()
    return client
