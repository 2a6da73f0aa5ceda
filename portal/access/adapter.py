from __future__ import annotations

from typing import Any

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY, get_authentication_records
from allauth.account.internal.stagekit import clear_login
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from portal import audit, encryption
from portal.access import devices, sessions, throttling
from portal.access.addresses import client_ip
from portal.access.models import User
from portal.access.places import takes_only_posts
from portal.access.roles import Role
from portal.access.second_factor import CONTEXT
from portal.access.sso.commands import confirm_link
from portal.access.sso.queries import is_configured, needs_sso
from portal.access.sso.stages import is_sso
from portal.query_params import own_path_or_none

log = structlog.get_logger(__name__)
_BEGAN_WITH = "access.sign_in_began_with"  # hash of password, role and access of the person at the first step


class StaffAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Adapter of allauth: no sign-up, audited sign-ins, the portal's messages, limits and client addresses."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": _("Incorrect email or password."),
        "too_many_login_attempts": _("Too many attempts. Wait 15 minutes, then try again."),
        "incorrect_password": _("Incorrect password."),
    }
    _counted: throttling.CountedAttempt | None = None

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the address that the list of sessions shows. Limits use `throttling`'s own key."""
        return client_ip(request) or sessions.UNKNOWN_ADDRESS

    def is_safe_url(self, url: str | None) -> bool:
        """Return whether `?next=` may be followed: a path of this portal that can be opened."""
        path = own_path_or_none(url or "")
        return path is not None and not takes_only_posts(path)

    def add_message(self, *args: Any, **kwargs: Any) -> None:
        """Ignore allauth's messages; the portal's pages show their own."""

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """Send none of allauth's mails; the portal sends its own."""

    def get_login_stages(self) -> list[str]:
        """Return allauth's stages, with the second factor that a single sign-on may have proved."""
        ours = {"allauth.mfa.stages.AuthenticateStage": "portal.access.sso.stages.SecondFactorStage"}
        return [ours.get(stage, stage) for stage in super().get_login_stages()]

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        """Begin a sign-in, of whatever kind. Whoever needs single sign-on gets in by nothing else, also not by a
        passkey alone. It ends as it began: see `login`."""
        if needs_sso(user) and not is_sso(request, user):
            return self._refuse_without_sso(request, user)
        request.session[_BEGAN_WITH] = user.get_session_auth_hash()
        response: HttpResponse | None = super().pre_login(request, user, **kwargs)
        return response

    def login(self, request: HttpRequest, user: User) -> None:
        """Complete a sign-in, unless the person's access changed since it began: a password that was reset, a role, a
        disabled person. Between password and second factor lie minutes."""
        with transaction.atomic():
            fresh = User.objects.select_for_update(no_key=True).get(pk=user.pk)
            began_with = request.session.pop(_BEGAN_WITH, "")
            if not fresh.is_active or not constant_time_compare(began_with, fresh.get_session_auth_hash()):
                clear_login(request)
                messages.error(request, _("Your access has changed. Sign in again."))
                raise ImmediateHttpResponse(redirect("account_login"))
            super().login(request, fresh)
            audit.record(actor=fresh, verb="staff.signed_in", obj=fresh, request=request)
            records = get_authentication_records(request, fresh)
            ways = [str(each.get("type") or each.get("method")) for each in records]
            log.info("signed in", person=str(fresh.public_id), ways=ways)
            if is_sso(request, fresh):
                confirm_link(fresh)
            elif is_configured() and fresh.role == Role.ADMIN:
                audit.record(actor=fresh, verb="staff.broke_glass", obj=fresh, request=request)

    def _refuse_without_sso(self, request: HttpRequest, user: User) -> HttpResponse:
        audit.record(actor=None, verb="staff.sign_in_failed", obj=user, reason="sso_required", request=request)
        request.session.pop(AUTHENTICATION_METHODS_SESSION_KEY, None)  # what was proved counts for no later sign-in
        told = gettext("You sign in with %(provider)s. A passkey is your second factor there, and can't replace it.")
        messages.error(request, told % {"provider": settings.OIDC_NAME})
        return redirect("account_login")

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        """Redirect after a complete sign-in. From now on the browser is a known device of this person."""
        response: HttpResponse = super().post_login(request, user, **kwargs)
        sessions.begin(request)
        devices.remember(request, response, user)
        return response

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count the attempt before the password is checked. Raises `ValidationError` if none is left."""
        try:
            self._counted = throttling.attempt(request, throttling.PASSWORD, credentials.get("email", ""))
        except throttling.NoAttemptLeft as refused:
            raise ValidationError(str(refused), code="too_many_login_attempts") from None

    def _rollback_login_failed_rl_usage(self) -> None:
        if self._counted:
            self._counted.was_right()

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Audit a failed sign-in. The email entered is not stored: it may be a mistyped password."""
        person = User.objects.filter(email=credentials.get("email", "")).first()
        audit.record(actor=None, verb="staff.sign_in_failed", obj=person, request=request)

    def is_own_password(self, user: User, password: str) -> bool:
        """Return whether this is the user's password, under the limits of sign-in."""
        return bool(self.authenticate(self.request, email=user.email, password=password) == user)

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        return redirect("account_login")


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth has no types
    """Adapter of allauth.mfa: secrets encrypted with FIELD_KEYS, and the portal's words."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": _("This passkey wasn't accepted. Try again, or use another one."),
    }

    def encrypt(self, text: str) -> str:
        return encryption.encrypt(text, context=CONTEXT)

    def decrypt(self, encrypted_text: str) -> str:
        return encryption.decrypt(encrypted_text, context=CONTEXT)

    def get_totp_issuer(self) -> str:
        """Return the name under which an authenticator app lists the portal."""
        return f"Postkeeper {self._get_site_name()}"

    def _get_user_identifier(self, user: User) -> str:
        return str(user.email)

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """Send none of allauth's mails; the portal sends its own."""
