from __future__ import annotations

from typing import cast

from django.http import HttpRequest

from portal.access.models import User


def person_at(request: HttpRequest) -> User:
    """Return the signed-in user; the middleware admits no other requests."""
    return cast("User", request.user)
