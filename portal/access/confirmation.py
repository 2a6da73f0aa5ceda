"""Checks that evaluate a code of a person: each is counted before, and a wrong one is audited."""

from __future__ import annotations

import structlog
from allauth.core import context
from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa.base.internal.flows import post_authentication
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from portal import audit
from portal.access import mail, second_factor, throttling
from portal.access.models import User
from portal.encryption import DecryptionError

log = structlog.get_logger(__name__)


def checked_code(user: User, code: str) -> Authenticator:
    """Return the authenticator that the code is of. Raises `ValidationError` if it is of none, was used, or no attempt
    is left."""
    request = context.request
    is_recovery = len(normalize_user_code(code)) == settings.MFA_RECOVERY_CODE_DIGITS
    try:
        counted = throttling.attempt(request, throttling.RECOVERY if is_recovery else throttling.CODE, user.email)
    except throttling.NoAttemptLeft as refused:
        raise ValidationError(str(refused)) from None
    try:
        found = second_factor.check_code(user, code, request=request)
    except DecryptionError as error:
        counted.was_right()  # nobody guessed anything
        log.warning("second factor not decrypted", error=str(error))
        raise ValidationError(
            _("Codes can't be checked: a key of the installation is missing. Tell whoever operates the portal.")
        ) from None
    if found is None:
        audit.record(actor=None, verb="staff.code_failed", obj=user, request=request)
        if counted.is_last and throttling.is_first_time(f"codes of {user.pk}"):
            mail.send_security_change(person=user, what=_("Several wrong codes were entered after your password."))
        raise ValidationError(
            _("This code is incorrect or was used. Enter the next code that the app shows, or an unused recovery code.")
        )
    counted.was_right()
    return found


def note_use(authenticator: Authenticator, *, confirms: bool = False) -> None:
    """Record in the session that a second factor was used, to sign in or to confirm who is there."""
    post_authentication(context.request, authenticator, reauthenticated=confirms)
