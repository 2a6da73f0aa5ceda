"""The secrets of new API keys: encrypted when they arrive, shown once to the requester, then deleted.

Where the connection allows it and the requester chose so, a secret is stored, still encrypted, for setting up sending:
only `customers.operations.kinds.sending_setup` and the live reads of its pages decrypt it then. Nothing here shows a
secret to anyone else, or twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.models import Account, AccountKey, KeySecret, Operation
from customers.models.keys import WAITS
from customers.models.operation_states import OperationState
from portal import audit
from portal.access.models import User
from portal.access.permissions import allowed

SHOW, LET_GO = "customers:key-secret", "customers:key-let-go"
# A key that the provider's list lacks does not count as gone at once: one list may be wrong.
FORGET_GONE_AFTER = timedelta(hours=24)


class UnableToShow(Exception):
    """A refusal shown to users: why there is no secret to show (any more)."""


def store(*, operation: Operation, key_id: str, secret: str, now: datetime) -> None:
    """Encrypt and store a secret that has just arrived. Called in the transaction that records the answer it came with.

    The same answer twice (a replay) is one secret: a stored one is left as it is, shown or not.
    """
    if KeySecret.objects.filter(account=operation.account_id, key_id=key_id).exists():
        return
    kept = bool(operation.payload.get("keep")) and operation.connection.keep_keys
    row = KeySecret(
        account_id=operation.account_id,
        operation=operation,
        key_id=key_id,
        holder_id=operation.requested_by_id,
        made_at=now,
        expires_at=now + WAITS,
        kept=kept,
    )
    row.seal(secret)
    row.save(force_insert=True)
    if kept:
        _tell(row, "key.secret_kept", actor=operation.requested_by)


def reveal_once(
    *, actor: User, account: Account, key_id: str, now: datetime, request: HttpRequest | None = None
) -> str:
    """Return the secret, once, to the user who requested the key. Of two claims at the same moment one gets it.

    Raises `UnableToShow`, and `DecryptionError` (then the secret stays stored).
    """
    if not actor.is_active or not allowed(actor.role, SHOW, "POST"):
        raise UnableToShow(_("Your role may not do this."))
    row = KeySecret.objects.filter(account=account, key_id=key_id).select_related("holder").first()
    if row is None:
        raise UnableToShow(_("The portal never had the secret of this key."))
    if refusal := _why_not(row, actor, now):
        raise UnableToShow(refusal)
    secret = row.open()
    with transaction.atomic():
        waiting = KeySecret.objects.filter(pk=row.pk, shown_at=None, kept=row.kept).exclude(sealed="")
        if waiting.update(shown_at=now, **({} if row.kept else {"sealed": ""})) != 1:
            raise UnableToShow(_("The secret was shown already. It is shown once."))
        _tell(row, "key.secret_shown", actor=actor, request=request)
    return secret


def _why_not(row: KeySecret, actor: User, now: datetime) -> str:
    if row.holder_id != actor.pk:
        return _("Only %(person)s, who asked for this key, may see its secret.") % {"person": row.holder}
    if row.shown_at is not None:
        return _("The secret was shown already. It is shown once.")
    if not row.sealed or row.expires_at <= now:
        return _("The secret was not fetched within 15 minutes, so it is gone. Rotate the key to get a new one.")
    return ""


def secret_for_sending(account: Account) -> KeySecret | None:
    """Return the newest stored secret whose key is alive. Its `open()` raises `DecryptionError`."""
    return _of_living_keys(KeySecret.objects.filter(account=account, kept=True).exclude(sealed="")).first()


def stop_storing(
    *, actor: User, account: Account, key_id: str, now: datetime, request: HttpRequest | None = None
) -> None:
    """Stop storing a secret. The key stays as it is; a secret that still waits to be shown stays until then."""
    if not actor.is_active or not allowed(actor.role, LET_GO, "POST"):
        raise UnableToShow(_("Your role may not do this."))
    with transaction.atomic():
        for row in KeySecret.objects.filter(account=account, key_id=key_id, kept=True):
            waits = row.shown_at is None and row.expires_at > now
            if KeySecret.objects.filter(pk=row.pk, kept=True).update(kept=False, **({} if waits else {"sealed": ""})):
                _tell(row, "key.secret_forgotten", actor=actor, request=request)


def forget_key(*, account_id: int, key_id: str) -> None:
    """Delete the secret of a key that is gone. Called in the transaction that records this."""
    for row in KeySecret.objects.filter(account=account_id, key_id=key_id).exclude(sealed=""):
        _forget(row, actor=None)


def forget_others(*, operation: Operation, key_id: str) -> None:
    """Delete the secrets of all keys but `key_id` that an operation made along the way, if that is the one it ended
    with: a late answer may be about one that was deleted."""
    ended = Operation.objects.filter(pk=operation.pk, state=OperationState.SUCCEEDED).values_list("result", flat=True)
    if not any(result.get("key_id") == key_id for result in ended):
        return
    for row in KeySecret.objects.filter(operation=operation).exclude(sealed="").exclude(key_id=key_id):
        _forget(row, actor=None)


def forget_due(*, now: datetime) -> int:
    """Empty secrets not revealed in time, and stored ones of keys that are gone for a day. Returns how many."""
    forgotten = 0
    due = Q(kept=False, expires_at__lte=now)
    gone = AccountKey.objects.filter(
        account=OuterRef("account"), key_id=OuterRef("key_id"), gone_at__lte=now - FORGET_GONE_AFTER
    )
    for row in KeySecret.objects.exclude(sealed="").filter(due | Exists(gone))[:200]:
        with transaction.atomic():
            forgotten += _forget(row, actor=None)
    return forgotten


def _of_living_keys(rows: QuerySet[KeySecret]) -> QuerySet[KeySecret]:
    alive = AccountKey.objects.filter(account=OuterRef("account"), key_id=OuterRef("key_id"), gone_at=None)
    return rows.filter(Exists(alive))


def _forget(row: KeySecret, *, actor: User | None, request: HttpRequest | None = None) -> bool:
    changed = KeySecret.objects.filter(pk=row.pk).exclude(sealed="", kept=False).update(sealed="", kept=False)
    if changed:
        _tell(row, "key.secret_forgotten", actor=actor, request=request)
    return bool(changed)


def _tell(row: KeySecret, verb: str, *, actor: User | None, request: HttpRequest | None = None) -> None:
    account = Account.objects.select_related("customer").get(pk=row.account_id)
    audit.record(
        actor=actor, verb=verb, obj=row.operation, customer=account.customer, account=account,
        after={"key_id": row.key_id, "ends_in": row.last4}, request=request,
    )  # fmt: skip
