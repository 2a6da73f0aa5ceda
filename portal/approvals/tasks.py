from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from portal.approvals import commands


@shared_task(name="approvals.expire")
def expire(**_: object) -> None:
    commands.expire_due(now=timezone.now())
