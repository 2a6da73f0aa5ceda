from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _

from portal import audit
from portal.access.addresses import throttle_key
from portal.access.models import User
from portal.access.places import takes_only_posts
from portal.query_params import own_path_or_none


class StaffAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Adapter of allauth: no sign-up, audited sign-ins, the portal's messages and client addresses."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": _("Incorrect email or password."),
        "too_many_login_attempts": _("Too many attempts. Wait 15 minutes, then try again."),
        "incorrect_password": _("Incorrect password."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the key of allauth's rate limits, see `throttle_key`; allauth counts IPv6 by /64."""
        return throttle_key(request)

    def is_safe_url(self, url: str | None) -> bool:
        """Return whether `?next=` may be followed: a path of this portal that can be opened."""
        path = own_path_or_none(url or "")
        return path is not None and not takes_only_posts(path)

    def add_message(self, *args: Any, **kwargs: Any) -> None:
        """Ignore allauth's messages; the portal's pages show their own."""

    def login(self, request: HttpRequest, user: User) -> None:
        with transaction.atomic():
            super().login(request, user)
            audit.record(actor=user, verb="staff.signed_in", obj=user, request=request)

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Audit a failed sign-in. The email entered is not stored: it may be a mistyped password."""
        person = User.objects.filter(email=credentials.get("email", "")).first()
        audit.record(actor=None, verb="staff.sign_in_failed", obj=person, request=request)

    def reauthenticate(self, user: User, password: str) -> bool:
        """Check the password again, under the sign-in limits; rotate the session ID if it is correct."""
        request = self.request
        right = bool(self.authenticate(request, email=user.email, password=password) == user)
        if right:
            request.session.cycle_key()
        return right

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        return redirect("account_login")
