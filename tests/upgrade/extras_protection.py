"""Rows of data protection: retention, requests about personal data, a redacted audit event, and browser reports."""

from __future__ import annotations

from datetime import datetime

from portal.access.models import User
from portal.audit import chain
from portal.audit.redaction import redact
from portal.browser_reports import commands as browser_reports
from portal.browser_reports.parsing import Violation
from portal.commands import Command
from portal.privacy import commands as privacy
from portal.privacy.models import ErasedSubject
from portal.retention.models import RetentionPeriod, RetentionRun

WORDS = "Zora Quill"


def add(*, now: datetime) -> None:
    admin = User.objects.filter(role="admin", is_active=True).order_by("pk")[0]
    command = Command(admin, now)
    RetentionPeriod.objects.create(code="notices", days=60, changed_by=admin, changed_at=now)
    RetentionRun.objects.create(
        slot="2026-01-01",
        state=RetentionRun.State.ENDED,
        not_before=now,
        started_at=now,
        finished_at=now,
        removed={"notices": 3},
    )
    privacy.search_person(command, kind="contact", email="zora@stored.example", others=[WORDS])
    ErasedSubject.objects.create(code="0A1B2C3D", hashes=["made up"], erased_at=now)
    command.record(verb="note.added", obj=None, after={"text": f"Called {WORDS}."})
    chain.seal_pending(limit=100_000)
    assert redact(command, words=[WORDS]) == 1
    violation = Violation(
        directive="script-src-elem", blocked="inline", page="home", browser="Chrome", is_extension=False
    )
    browser_reports.count_violations([violation], now=now)
