"""Speed with many events. `AUDIT_EVENTS=1000000` measures more; the figures are printed (`-s`).

Processor time of this process is compared: other processes of the machine don't change it much.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import perf_counter, process_time

import pytest
from django.db import connection
from django.utils import timezone

from portal.audit import chain
from portal.audit.expiry import expire
from portal.audit.models import AuditEvent
from portal.audit.redaction import redact
from portal.commands import Command

EVENTS = int(os.environ.get("AUDIT_EVENTS", "20000"))
NOBODY = Command(actor=None)


@contextmanager
def _at_least(per_second: int, what: str, count: Callable[[], int]) -> Iterator[None]:
    clock, work = perf_counter(), process_time()
    yield
    clock, work = perf_counter() - clock, process_time() - work
    sys.stdout.write(f"{what}: {count() / clock:,.0f}/s by the clock, {count() / work:,.0f}/s of processor time\n")
    assert count() / work >= per_second, what


def _write(at_once: int = 5000) -> None:
    old = timezone.now() - timedelta(days=400)
    for start in range(0, EVENTS, at_once):
        AuditEvent.objects.bulk_create(
            AuditEvent(
                at=old + timedelta(seconds=n / 10),
                verb="customer.edited",
                object_label=f"Company {n} GmbH",
                customer_label=f"Company {n} GmbH",
                before={"email": f"contact{n}@company.example", "name": f"Person {n}"},
                after={"email": "ada@portal.example" if n % 1000 == 0 else f"other{n}@company.example"},
                reason="As discussed by phone with Ada Berg" if n % 1000 == 1 else "As discussed by phone",
            )
            for n in range(start, min(start + at_once, EVENTS))
        )


@pytest.mark.long
@pytest.mark.django_db
def test_a_large_log_is_sealed_verified_and_redacted_fast(time_machine: object) -> None:
    _write()
    with _at_least(1500, "seal", lambda: EVENTS):
        time_machine.move_to(timezone.now() - timedelta(days=390))  # type: ignore[attr-defined]
        while chain.seal_pending(limit=1000):
            pass
        time_machine.move_to(timezone.now() + timedelta(days=390))  # type: ignore[attr-defined]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE audit_auditevent, audit_auditseal")  # as the server does by itself
    with _at_least(3000, "verify", lambda: EVENTS):
        assert chain.verify_chain().problems == []
    with _at_least(2000, "redact, events looked at", lambda: EVENTS):
        assert redact(NOBODY, words=["Ada Berg", "ada@portal.example"]) == 2 * (EVENTS // 1000)
    with _at_least(1000, "expire", lambda: EVENTS // 4):
        for _batch in range(5):
            assert expire(NOBODY, before=timezone.now() - timedelta(days=365), limit=EVENTS // 20) == EVENTS // 20
    assert chain.verify_chain().problems == []
