"""The secrets of new API keys: encrypted when they arrive, shown once to the requester, then deleted.

They wait 15 minutes, or 24 hours where a bulk change made the key: hundreds can't be revealed within minutes.

Where the connection allows it and the requester chose so, a secret is stored, still encrypted, for setting up sending:
only `customers.operations.kinds.sending_setup` and the live reads of its pages decrypt it then. Nothing here shows a
secret to anyone else, or twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from customers.models import Account, AccountKey, KeySecret, Operation
from customers.models.keys import WAITS, WAITS_IN_BULK
from customers.models.operation_states import OperationState
from portal.access.models import User
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.refusals import Refusal

# A key that the provider's list lacks does not count as gone at once: one list may be wrong.
FORGET_GONE_AFTER = timedelta(hours=24)


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
        expires_at=now + (WAITS_IN_BULK if operation.is_bulk else WAITS),
        kept=kept,
    )
    row.seal(secret)
    row.save(force_insert=True)
    if kept:
        _tell(Command(operation.requested_by), row, "key.secret_kept")


def reveal_once(command: Command, *, account: Account, key_id: str) -> str:
    """Return the secret, once, to the user who requested the key. Of two claims at the same moment one gets it.

    Raises `Refusal`, and `DecryptionError` (then the secret stays stored).
    """
    require(command.person, Permission.REVEAL_KEY)
    row = KeySecret.objects.filter(account=account, key_id=key_id).select_related("holder", "operation").first()
    if row is None:
        raise Refusal(_("The portal never received this key's secret."))
    if refusal := _why_not(row, command.person, command.now):
        raise Refusal(refusal)
    secret = row.open()
    with transaction.atomic():
        waiting = KeySecret.objects.filter(pk=row.pk, shown_at=None, kept=row.kept).exclude(sealed="")
        if waiting.update(shown_at=command.now, **({} if row.kept else {"sealed": ""})) != 1:
            raise Refusal(_("The secret was already revealed. It's shown only once."))
        _tell(command.because(command.reason or row.operation.reason), row, "key.secret_shown")
    return secret


def _why_not(row: KeySecret, actor: User, now: datetime) -> str:
    if row.holder_id != actor.pk:
        return _("Only %(person)s, who requested this key, can reveal its secret.") % {"person": row.holder}
    if row.shown_at is not None:
        return _("The secret was already revealed. It's shown only once.")
    if not row.sealed or row.expires_at <= now:
        waited = _("24 hours") if row.expires_at - row.made_at > WAITS else _("15 minutes")
        text = _("The secret expired because it wasn't revealed within %(time)s. Rotate the key to get a new one.")
        return text % {"time": waited}
    return ""


def secret_for_sending(account: Account) -> KeySecret | None:
    """Return the newest stored secret whose key is alive. Its `open()` raises `DecryptionError`."""
    return _of_living_keys(KeySecret.objects.filter(account=account, kept=True).exclude(sealed="")).first()


def stop_storing(command: Command, *, account: Account, key_id: str) -> None:
    """Stop storing a secret. The key stays as it is; a secret that still waits to be shown stays until then."""
    require(command.person, Permission.STOP_STORING_KEY)
    with transaction.atomic():
        for row in KeySecret.objects.filter(account=account, key_id=key_id, kept=True):
            waits = row.shown_at is None and row.expires_at > command.now
            if KeySecret.objects.filter(pk=row.pk, kept=True).update(kept=False, **({} if waits else {"sealed": ""})):
                _tell(command, row, "key.secret_forgotten")


def forget_key(*, account_id: int, key_id: str) -> None:
    """Delete the secret of a key that no longer exists. Called in the transaction that records this."""
    for row in KeySecret.objects.filter(account=account_id, key_id=key_id).exclude(sealed=""):
        _forget(Command(None), row)


def forget_others(*, operation: Operation, key_id: str) -> None:
    """Delete the secrets of all keys but `key_id` that an operation made along the way, if that is the one it ended
    with: a late answer may be about one that was deleted."""
    ended = Operation.objects.filter(pk=operation.pk, state=OperationState.SUCCEEDED).values_list("result", flat=True)
    if not any(result.get("key_id") == key_id for result in ended):
        return
    for row in KeySecret.objects.filter(operation=operation).exclude(sealed="").exclude(key_id=key_id):
        _forget(Command(None), row)


def forget_due(*, now: datetime) -> int:
    """Empty secrets not revealed in time, and stored ones of keys that were deleted a day ago. Returns how many."""
    forgotten = 0
    due = Q(kept=False, expires_at__lte=now)
    gone = AccountKey.objects.filter(
        account=OuterRef("account"), key_id=OuterRef("key_id"), gone_at__lte=now - FORGET_GONE_AFTER
    )
    for row in KeySecret.objects.exclude(sealed="").filter(due | Exists(gone))[:200]:
        with transaction.atomic():
            forgotten += _forget(Command(None), row)
    return forgotten


def _of_living_keys(rows: QuerySet[KeySecret]) -> QuerySet[KeySecret]:
    alive = AccountKey.objects.filter(account=OuterRef("account"), key_id=OuterRef("key_id"), gone_at=None)
    return rows.filter(Exists(alive))


def _forget(command: Command, row: KeySecret) -> bool:
    changed = KeySecret.objects.filter(pk=row.pk).exclude(sealed="", kept=False).update(sealed="", kept=False)
    if changed:
        _tell(command, row, "key.secret_forgotten")
    return bool(changed)


def _tell(command: Command, row: KeySecret, verb: str) -> None:
    command.record(verb=verb, obj=row.operation, after={"key_id": row.key_id, "ends_in": row.last4})
