"""Backup and restore in one transaction: a savepoint forgets what the sandbox keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction

from customers.models import Recovery, Scan
from customers.observed import scan_requests
from customers.recovery import commands, hold
from portal.access.models import User
from portal.clock import database_now
from portal.commands import Command
from tests.customers.conftest import Desk


@contextmanager
def lost_by_the_restore() -> Iterator[None]:
    """What the block does at the provider stays; its rows are as they were, with every connection on hold."""
    backup_at = database_now()
    backup = transaction.savepoint()
    yield
    transaction.savepoint_rollback(backup)
    hold.hold_everything("restored in a test", backup_at=backup_at)


def scan(desk: Desk) -> Scan:
    commands.request_scans_on_hold(now=database_now())
    begun = Scan.objects.get(state=Scan.State.RUNNING)
    scan_requests.run_scan(begun.pk, connect=desk.connect)
    begun.refresh_from_db()
    assert begun.state == Scan.State.COMPLETE, begun.message
    return begun


def _admin() -> User:
    return User.objects.create_user(email="admin@postkeeper.example", name="Admin", role="admin")


def release(desk: Desk) -> None:
    commands.release_connection(Command(_admin(), database_now()), recovery=Recovery.objects.get(released_at=None))
    desk.connection.refresh_from_db()
