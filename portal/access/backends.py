from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from portal.access.models import User
from portal.access.sso.queries import needs_sso


class StaffBackend(BaseBackend):
    """Authentication of active staff by email and password. Every rejection looks and takes the same."""

    def authenticate(
        self, request: HttpRequest | None, email: str | None = None, password: str | None = None, **_: Any
    ) -> User | None:
        if not email or not password:
            return None
        user = User.objects.filter(email=email).first()
        if user is None:
            User().set_password(password)  # as slow as checking one
            return None
        right = user.check_password(password)
        return user if right and user.is_active and not needs_sso(user) else None

    def get_user(self, user_id: Any) -> User | None:
        """Return the user of a session, with the role. Called at every request, so disabling a user ends it."""
        return User.objects.select_related("custom_role").filter(pk=user_id, is_active=True).first()
