from __future__ import annotations

from celery import shared_task
from django.core.management import call_command


@shared_task(name="access.remove_expired_sessions")
def remove_expired_sessions(**_: object) -> None:
    """Delete expired sessions, which Django itself never does."""
    call_command("clearsessions")
