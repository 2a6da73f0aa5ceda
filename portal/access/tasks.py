from __future__ import annotations

from celery import shared_task
from django.core.management import call_command


@shared_task(name="access.remove_expired_sessions")
def remove_expired_sessions(**_: object) -> None:
    """Django never deletes the session of somebody who does not come back."""
    call_command("clearsessions")
