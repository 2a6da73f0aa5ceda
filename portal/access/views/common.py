from __future__ import annotations

from typing import cast

from django.http import HttpRequest

from portal.access.models import User


def person_at(request: HttpRequest) -> User:
    """The signed-in member of staff; the middleware lets nobody else in."""
    return cast("User", request.user)
