from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from portal.notices import delivery


@shared_task(name="notices.deliver")
def deliver(**_: object) -> None:
    delivery.deliver(now=timezone.now())
