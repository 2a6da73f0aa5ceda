"""Permits for erasing personal data in append-only tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import models, transaction

from portal.audit.models import ErasurePermit

_AT_ONCE = 500


@contextmanager
def permit_erasure(model: type[models.Model], ids: Iterable[Any]) -> Iterator[None]:
    """Permit UPDATEs of the `erasable` columns (`AppendOnly` in portal/audit/triggers.py) of these rows.

    The block is a transaction, or a savepoint of the current one, and the permits end with it:

        with permit_erasure(Attempt, ids):
            Attempt.objects.filter(pk__in=ids).update(request_body="")
    """
    table = model._meta.db_table
    with transaction.atomic():
        permits = (ErasurePermit(of_table=table, row=row) for row in ids)
        made = [each.pk for each in ErasurePermit.objects.bulk_create(permits, batch_size=_AT_ONCE)]
        yield
        for start in range(0, len(made), _AT_ONCE):
            ErasurePermit.objects.filter(pk__in=made[start : start + _AT_ONCE]).delete()
