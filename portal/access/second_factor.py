"""Second factors: authenticator app (TOTP), passkeys, and recovery codes, kept by allauth.mfa.

A session is complete for a role that requires one only when one was used in it. Until then it opens nothing but the
pages on which a second factor is set up. Every change ends the person's other sessions, is audited and mailed to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from allauth.account.internal.flows.login import (
    AUTHENTICATION_METHODS_SESSION_KEY,
    get_authentication_records,
    record_authentication,
)
from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.webauthn.internal import auth as webauthn
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils.translation import gettext as _

from portal import audit, encryption
from portal.access import mail, recovery_codes, sessions
from portal.access.models import User
from portal.access.permissions import permissions_of
from portal.access.roles import CUSTOM, Role
from portal.commands import Command
from portal.refusals import Refusal

TYPE = Authenticator.Type
# What a session without a required second factor may open: setting one up, and leaving.
ENROLMENT_ROUTES = frozenset({
    "security", "mfa_activate_totp", "mfa_add_webauthn", "recovery-codes", "account_reauthenticate",
    "reauthenticate-passkey", "sso-confirm",
})  # fmt: skip
# Context of the encrypted secrets in Authenticator.data, and their names there.
CONTEXT = "mfa.authenticator"
_SEALED = ("secret", "seed")
_PENDING = "second_factor.pending"
_LAST_STEP = "last_step"


# --- What a session and a person have ---------------------------------------------------------------------------------


def is_required_of(user: User) -> bool:
    """Return whether the user's role requires a second factor. The demo requires none, and says so on every page.

    A custom role requires one if it allows anything that no built-in role without one allows.
    """
    required = settings.SECOND_FACTOR_ROLES
    if settings.DEMO or not required:
        return False
    if user.role != CUSTOM or CUSTOM in required:
        return user.role in required
    free = {each for role in Role.values if role not in required for each in permissions_of(role)}
    return not user.permissions <= free


def was_used(request: HttpRequest, user: User) -> bool:
    """Return whether the user proved a second factor in this session."""
    records = get_authentication_records(request, user)
    return any(each.get("method") == "mfa" or each.get("second_factor") for each in records)


def is_missing(request: HttpRequest, user: User) -> bool:
    """Return whether the session may open nothing but `ENROLMENT_ROUTES`."""
    return is_required_of(user) and not was_used(request, user)


def authenticators_of(user: User) -> list[Authenticator]:
    return list(Authenticator.objects.filter(user=user).order_by("created_at", "pk"))


def has_one(user: User) -> bool:
    """Return whether the user has a second factor. Recovery codes alone are none."""
    return any(each.type != TYPE.RECOVERY_CODES for each in authenticators_of(user))


# --- Codes ------------------------------------------------------------------------------------------------------------


@transaction.atomic
def check_code(user: User, code: str, *, request: HttpRequest | None = None) -> Authenticator | None:
    """Return the authenticator that this code is of: the app's current one, or an unused recovery code. Each code works
    once, also in two requests at the same moment: the row is locked, and the app's time step is kept. A recovery code
    is audited with its use and mailed: the person may not have been the one who used it."""
    rows = Authenticator.objects.select_for_update().filter(user=user).exclude(type=TYPE.WEBAUTHN)
    for row in rows.order_by("pk"):
        if row.type == TYPE.TOTP and _use_step(row, code):
            return row
        if row.type == TYPE.RECOVERY_CODES and recovery_codes.use_code(row, code):
            _note_recovery_code(user, request)
            return row
    return None


def _use_step(row: Authenticator, code: str) -> bool:
    """Return whether the code is of a time step after the last one used, and keep its step (RFC 6238, 5.2)."""
    step = _step_of(encryption.decrypt(row.data["secret"], context=CONTEXT), code)
    if step is None or step <= row.data.get(_LAST_STEP, -1):
        return False
    row.data[_LAST_STEP] = step
    row.save(update_fields=["data"])
    return True


def _step_of(secret: str, code: str) -> int | None:
    for step in totp.yield_hotp_counters_from_time():
        if compare_user_code(actual=code, expected=totp.format_hotp_value(totp.hotp_value(secret, step))):
            return int(step)
    return None


# --- Setting up and removing ------------------------------------------------------------------------------------------


def new_secret(request: HttpRequest) -> str:
    """Make a secret for an authenticator app. It waits in the session, encrypted, for the first code."""
    secret: str = totp.generate_totp_secret()
    request.session[_PENDING] = encryption.encrypt(secret, context=CONTEXT)
    return secret


def pending_secret(request: HttpRequest) -> str:
    """Return the secret that waits for its first code; a new one if none does."""
    sealed = request.session.get(_PENDING, "")
    return encryption.decrypt(sealed, context=CONTEXT) if sealed else new_secret(request)


def keep_app(request: HttpRequest, *, user: User, code: str) -> bool:
    """Add the authenticator app whose first code this is; False if the code is of another secret or time."""
    secret = pending_secret(request)
    step = _step_of(secret, code)
    if step is None:
        return False
    with transaction.atomic():
        sessions.locked(user)
        if Authenticator.objects.filter(user=user, type=TYPE.TOTP).exists():
            raise Refusal(_("You already have an authenticator app. Remove it first."))
        data = {"secret": encryption.encrypt(secret, context=CONTEXT), _LAST_STEP: step}
        _added(request, user, Authenticator.objects.create(user=user, type=TYPE.TOTP, data=data))
    request.session.pop(_PENDING, None)
    return True


def keep_passkey(request: HttpRequest, *, user: User, name: str, credential: dict[str, object]) -> None:
    with transaction.atomic():
        sessions.locked(user)
        known = Authenticator.objects.filter(type=TYPE.WEBAUTHN, data__credential__rawId=credential["rawId"])
        if known.exists():
            raise Refusal(_("This passkey was added before."))
        _added(request, user, webauthn.WebAuthn.add(user, name, credential).instance)


def _added(request: HttpRequest, user: User, row: Authenticator) -> None:
    audit.record(actor=user, verb="staff.second_factor_added", obj=user, after=_told(row), request=request)
    sessions.renewed(request, user=user)
    record_authentication(request, user, "mfa", id=row.pk, type=row.type)
    _use_up_confirmation(request, user)
    _mail(user, _("A second factor was added: %(what)s.") % {"what": label_of(row)})


def remove_own(request: HttpRequest, *, user: User, authenticator_id: int) -> None:
    """Remove the app or a passkey. Raises `Refusal` for the last one of somebody whose role requires one."""
    with transaction.atomic():
        sessions.locked(user)
        rows = [each for each in authenticators_of(user) if each.type != TYPE.RECOVERY_CODES]
        row = next((each for each in rows if each.pk == authenticator_id), None)
        if row is None:
            return  # removed in another tab
        if len(rows) == 1 and is_required_of(user):
            raise Refusal(_("Your role requires a second factor. Add another one, then remove this one."))
        gone = Authenticator.objects.filter(user=user)
        (gone if len(rows) == 1 else gone.filter(pk=row.pk)).delete()  # recovery codes alone are no second factor
        audit.record(actor=user, verb="staff.second_factor_removed", obj=user, before=_told(row), request=request)
        sessions.renewed(request, user=user)
        _use_up_confirmation(request, user)
        _mail(user, _("A second factor was removed: %(what)s.") % {"what": label_of(row)})


def make_recovery_codes(request: HttpRequest, *, user: User) -> list[str]:
    """Replace the recovery codes and return them, to be shown once. Raises `Refusal` without a second factor."""
    with transaction.atomic():
        sessions.renewed(request, user=user)
        _use_up_confirmation(request, user)
        if not has_one(user):
            raise Refusal(_("Set up an authenticator app or a passkey first."))
        codes = recovery_codes.make_codes(user)
        audit.record(actor=user, verb="staff.recovery_codes_made", obj=user, request=request)
        _mail(user, _("New recovery codes were created. Earlier ones no longer work."))
    return codes


def recovery_codes_left(user: User) -> int:
    row = Authenticator.objects.filter(user=user, type=TYPE.RECOVERY_CODES).first()
    return recovery_codes.codes_left(row) if row else 0


def _note_recovery_code(user: User, request: HttpRequest | None) -> None:
    left = recovery_codes_left(user)
    audit.record(actor=user, verb="staff.recovery_code_used", obj=user, after={"left": left}, request=request)
    _mail(user, _("A recovery code was used to sign in or confirm. Codes left: %(left)d.") % {"left": left})


def reset(command: Command, *, person: User, told: Mapping[str, Any] | None = None) -> None:
    """Remove every second factor of a person who lost theirs, and end their sessions. They set up a new one after the
    next sign-in. On the team page `staff.reset_second_factor` asks who may; on the command line the operator may."""
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=person.pk)
        found = authenticators_of(person)
        Authenticator.objects.filter(user=person).delete()
        User.objects.filter(pk=person.pk).update(session_epoch=F("session_epoch") + 1)
        before = {"factors": ", ".join(label_of(each) for each in found)}
        command.record(verb="staff.second_factor_reset", obj=person, before=before, after=told)
        _mail(person, _("Your second factors were removed by an admin. You set up a new one after your next sign-in."))


# --- Parts ------------------------------------------------------------------------------------------------------------


def label_of(row: Authenticator) -> str:
    if row.type == TYPE.WEBAUTHN:
        return _("passkey “%(name)s”") % {"name": row.wrap().name}
    return _("authenticator app") if row.type == TYPE.TOTP else _("recovery codes")


def _told(row: Authenticator) -> dict[str, str]:
    return {"factor": label_of(row)}


def _use_up_confirmation(request: HttpRequest, user: User) -> None:
    """Make the next change ask again: one confirmation is good for one change of second factors."""
    records = get_authentication_records(request, user)
    if records:
        request.session[AUTHENTICATION_METHODS_SESSION_KEY] = [each | {"reauthenticated": False} for each in records]


def _mail(user: User, what: str) -> None:
    transaction.on_commit(lambda: mail.send_security_change(person=user, what=what), robust=True)


# --- Keys of the stored secrets (manage.py rotate_field_keys, doctor, backups) ----------------------------------------


def sealed_by_key() -> Counter[str]:
    """Return how many secrets of second factors are stored under each field key, without decrypting any."""
    return Counter(encryption.key_id(sealed) for _row, _name, sealed in _sealed())


def under_another_key() -> Iterator[tuple[str, Callable[[], bool]]]:
    """Yield what is stored under another key than the first, and how to encrypt it again: False if it changed just now.
    Raises `DecryptionError` there if the key is missing."""
    for row, name, sealed in list(_sealed()):
        if encryption.key_id(sealed) != encryption.current_key_id():
            yield f"{row.type} of {row.user}", partial(_encrypt_again, row.pk, name, sealed)


@transaction.atomic
def _encrypt_again(row_id: int, name: str, sealed: str) -> bool:
    row = Authenticator.objects.select_for_update().filter(pk=row_id).first()
    if row is None or row.data.get(name) != sealed:
        return False
    row.data[name] = encryption.encrypt(encryption.decrypt(sealed, context=CONTEXT), context=CONTEXT)
    row.save(update_fields=["data"])
    return True


def _sealed() -> Iterator[tuple[Authenticator, str, str]]:
    for row in Authenticator.objects.exclude(type=TYPE.WEBAUTHN).select_related("user").order_by("pk"):
        for name in _SEALED:
            if sealed := row.data.get(name, ""):
                yield row, name, sealed
