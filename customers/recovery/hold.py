"""Put every connection on hold, because the rows are older than what happened at the providers.

It is plain SQL, for PostgreSQL and SQLite alike: a restore appends it to the restored data, in one transaction with
them, so that no process ever sees the data without the hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from django.db import connection, transaction

from customers.models import Connection, Heartbeat
from customers.models.operation_states import OperationKind, OperationState
from portal import audit
from portal.clock import database_now
from portal.installation import epochs

# What would be done twice if it was sent since the backup; everything else is compared with the provider when sent.
NOT_REPEATABLE = (OperationKind.CREATE, OperationKind.KEY_CREATE, OperationKind.TEST_MESSAGE)
# States from which it would be sent. What is sending or unknown has an attempt by which it is searched for.
NOT_SENT = (OperationState.QUEUED, OperationState.CLAIMED, OperationState.NEEDS_ATTENTION)
RESTORED = "installation.restored"
_HOLD = """
INSERT INTO installation_epoch (number, began_at, backup_at, database)
  SELECT coalesce(max(number), {first}) + 1, {now}, {backup_at}, '' FROM installation_epoch;
UPDATE customers_recovery SET released_at = {now} WHERE released_at IS NULL;
INSERT INTO customers_recovery
  (connection_id, epoch, began_at, backup_at, paused_before, reason_before, remote_account_mark, scan_mark)
  SELECT c.id, (SELECT max(number) FROM installation_epoch), {now}, coalesce(r.backup_at, {backup_at}),
    coalesce(r.paused_before, CASE WHEN c.paused = '{by_person}' THEN c.paused ELSE '' END),
    coalesce(r.reason_before, CASE WHEN c.paused = '{by_person}' THEN c.paused_reason ELSE '' END),
    coalesce(r.remote_account_mark, (SELECT max(id) FROM customers_sighting WHERE first_seen_at <= {backup_at}), 0),
    coalesce(r.scan_mark, (SELECT max(id) FROM customers_scan WHERE started_at <= {backup_at}), 0)
  FROM customers_connection c
  LEFT JOIN customers_recovery r ON r.connection_id = c.id AND r.released_at = {now} AND r.released_by_id IS NULL;
UPDATE customers_operation
  SET recovery_id = (
    SELECT max(r.id) FROM customers_recovery r WHERE r.connection_id = customers_operation.connection_id
  )
  WHERE kind IN ({kinds}) AND state IN ({not_sent});
UPDATE customers_operation SET unknown_at = {now} WHERE kind = '{create}' AND state = '{unknown}';
UPDATE customers_connection SET revision = revision + 1;
UPDATE customers_connection SET paused = '{on_hold}', paused_reason = '', paused_at = {now}
  WHERE paused <> '{by_auth}';
DELETE FROM django_session;
"""


def hold_statements(*, backup_at: datetime, now: datetime, vendor: str) -> Iterator[str]:
    """Yield the statements that begin an epoch and put every connection on hold.

    `backup_at`: the moment whose rows the database has. What is on hold already stays so, with the older moment. All
    sessions end: some may have been ended since the backup.
    """
    quoted = _HOLD.format(
        now=_literal(now, vendor),
        backup_at=_literal(backup_at, vendor),
        first=epochs.FIRST,
        kinds=_texts(NOT_REPEATABLE),
        not_sent=_texts(NOT_SENT),
        create=OperationKind.CREATE.value,
        unknown=OperationState.UNKNOWN.value,
        by_auth=Connection.Paused.BY_AUTH.value,
        by_person=Connection.Paused.BY_PERSON.value,
        on_hold=Connection.Paused.BY_RESTORE.value,
    )
    return (each.strip() for each in quoted.split(";") if each.strip())


def hold_everything(why: str, *, backup_at: datetime | None = None) -> None:
    """Begin an epoch on the database in use. `backup_at` None: the rows are as of the scheduler's last run, or of their
    last audit event if that is earlier: since the restore, people may have signed in and workers may have begun."""
    with transaction.atomic():
        # What is being intended ends first, and what comes later sees the hold: so the epoch begins after this.
        list(Connection.objects.select_for_update(no_key=True).order_by("pk").values_list("pk"))
        now = database_now()
        ticked = Heartbeat.objects.filter(kind=Heartbeat.Kind.SCHEDULER).values_list("seen_at", flat=True).first()
        since = backup_at or min(filter(None, (ticked, epochs.rows_until())), default=now)
        with connection.cursor() as cursor:
            for statement in hold_statements(backup_at=since, now=now, vendor=connection.vendor):
                cursor.execute(statement)
        epochs.forget_epoch()
        record_restore(why, backup_at=since)


def record_restore(why: str, *, backup_at: datetime) -> None:
    audit.record(actor=None, verb=RESTORED, obj=None, reason=why, after={"backup_at": backup_at.isoformat()})


def _literal(at: datetime, vendor: str) -> str:
    """Return a time as the database writes it: SQLite's times are text without a zone."""
    if vendor == "sqlite":
        return f"'{at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')}'"
    return f"'{at.isoformat()}'"


def _texts(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{each!s}'" for each in values)
