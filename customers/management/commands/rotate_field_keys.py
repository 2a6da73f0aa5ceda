"""Encrypt every stored secret again under the first key of FIELD_KEYS, so that the old key can be removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from customers.connections import credentials
from customers.models import Connection, KeySecret
from portal import encryption
from portal.access import second_factor
from portal.approvals.models import Approval
from portal.privacy.models import SubjectRequest

PASSES = 5
Sealed = Connection | KeySecret | Approval | SubjectRequest


class Command(BaseCommand):
    help = (
        "Encrypt every stored secret with the first key of FIELD_KEYS. Run it after you put a new key first. "
        "It is safe to repeat and to interrupt. Remove the old key when the command reports that no secret "
        "uses it."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        moved, lost, stuck = 0, True, set[str]()
        for _pass in range(PASSES):
            if not lost:
                break
            lost, stuck = False, set()
            for row, column in _under_another_key():
                try:
                    done = _move(row, column)
                except encryption.DecryptionError as error:
                    stuck.add(f"{row}, {row.SEALED_FIELDS[column]}: {error}")
                    continue
                moved += done
                lost = lost or not done  # changed meanwhile: try again
            for name, move in second_factor.under_another_key():
                try:
                    done = move()
                except encryption.DecryptionError as error:
                    stuck.add(f"{name}: {error}")
                    continue
                moved += done
                lost = lost or not done
        for each in sorted(stuck):
            self.stderr.write(each)
        self.stdout.write(f'{moved} secrets encrypted with the key "{encryption.current_key_id()}".')
        if stuck:
            raise CommandError(f"{len(stuck)} secrets can't be decrypted and were not changed. Keep the old keys.")
        if lost:
            raise CommandError("Some secrets changed in the meantime. Run the command again.")
        self.stdout.write("No secret uses another key.")


def _under_another_key() -> Iterator[tuple[Sealed, str]]:
    rows: list[Sealed] = [*Connection.objects.order_by("pk")]
    rows += KeySecret.objects.exclude(sealed="").order_by("pk")
    rows += Approval.objects.exclude(secret_sealed="").order_by("pk")
    rows += SubjectRequest.objects.exclude(subject_sealed="", file_sealed="").order_by("pk")
    for row in rows:
        for column in row.SEALED_FIELDS:
            if (sealed := getattr(row, column)) and encryption.key_id(sealed) != encryption.current_key_id():
                yield row, column


def _move(row: Sealed, column: str) -> bool:
    """Encrypt one column again; False when it was changed just now, perhaps by a process with the old keys."""
    sealed = getattr(row, column)
    context = row.context_of(column)
    secret = encryption.decrypt(sealed, context=context)
    fresh = encryption.encrypt(secret, context=context)
    columns = {column: fresh}
    if isinstance(row, Connection) and column == "api_key_sealed" and row.credential_hash:
        columns["credential_hash"] = credentials.hashes_of(row.kind, row.base_url, secret)[0]
    return bool(type(row)._default_manager.filter(pk=row.pk, **{column: sealed}).update(**columns))
