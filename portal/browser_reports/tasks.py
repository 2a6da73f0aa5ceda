from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from portal.browser_reports import commands


@shared_task(name="browser_reports.end_notice")
def end_notice(**_: object) -> None:
    commands.end_notice(now=timezone.now())
