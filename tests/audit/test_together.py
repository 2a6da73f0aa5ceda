"""Redactions, sealers and writers at the same time leave a whole chain."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connections

from portal.audit import chain
from portal.audit.models import AuditEvent, AuditRedaction
from portal.audit.redaction import ERASED, redact
from portal.commands import Command
from tests.support.audit import write_events


def _thread(work: Callable[[], object], failures: list[BaseException]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        except BaseException as failure:  # noqa: BLE001  the test fails with it
            failures.append(failure)
        finally:
            connections.close_all()

    return threading.Thread(target=run)


@pytest.mark.django_db(transaction=True)
def test_redactions_sealers_and_writers_together() -> None:
    write_events(60, reason="Ann and Bo")
    failures: list[BaseException] = []

    def keep_sealing() -> None:
        for _ in range(10):
            chain.seal_pending(limit=7)

    def erase(word: str) -> None:
        redact(Command(actor=None), words=[word])

    work: list[Callable[[], object]] = [lambda: erase("Ann"), lambda: erase("Bo"), keep_sealing, keep_sealing]
    work.append(lambda: write_events(20, 100))
    threads = [_thread(each, failures) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    while chain.seal_pending():
        pass
    found = chain.verify_chain()
    assert (found.problems, found.redacted) == ([], 60)
    both = AuditEvent.objects.filter(verb="note.added", reason=f"{ERASED} and {ERASED}")
    assert both.count() == 60
    assert list(AuditRedaction.objects.values_list("n", flat=True)) == list(
        range(1, AuditRedaction.objects.count() + 1)
    )
