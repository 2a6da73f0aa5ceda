"""The page "Recovery", and what other pages say of a hold and of backups."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from customers import tasks
from customers.models import Connection, Recovery, RemoteAccount, Scan
from customers.monitoring import backups
from customers.recovery import hold
from portal.installation import epochs
from portal.installation.models import Backup
from portal.notices.models import Notice
from tests.customers.page_helpers import prose_of
from tests.support.factories import ConnectionFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

NOW = timezone.now()


@pytest.fixture
def admin(db: None, client: Client) -> Client:
    sign_in(client, UserFactory(role="admin"))
    return client


@pytest.fixture
def held(db: None, client: Client) -> Recovery:
    """A connection on hold whose list was scanned, with two accounts made since the backup."""
    connection = ConnectionFactory(name="SendGrid EU")
    OperationFactory(kind="create", state="queued", account__connection=connection)
    OperationFactory(kind="offerings", state="queued", account__connection=connection)
    hold.hold_everything("in a test", backup_at=timezone.now() - timedelta(hours=5))
    epochs.forget_epoch()
    recovery = Recovery.objects.get(connection=connection)
    Recovery.objects.exclude(pk=recovery.pk).delete()
    for n in range(2):
        seen = {"first_seen_at": timezone.now(), "last_seen_at": timezone.now()}
        email = f"ops-{n}@northwind.example"
        RemoteAccount.objects.create(connection=connection, provider_id=f"new-{n}", email=email, **seen)
    return recovery


def _scanned(recovery: Recovery, *, state: str = "complete", at: datetime | None = None) -> None:
    now = at or timezone.now()
    ended = None if state == "running" else now
    Scan.objects.create(
        connection=recovery.connection, kind="asked", slot=f"{now}", state=state, started_at=now, finished_at=ended,
        lease_until=now, seen=2, message="A page failed.",
    )  # fmt: skip


def test_a_hold_is_told_where_an_admin_looks_first(held: Recovery, admin: Client) -> None:
    sign_in(admin, UserFactory(role="admin"))
    said = prose_of(admin.get("/engine/"))
    assert "The database was restored from a backup. On hold: SendGrid EU" in said
    assert "On hold after a restore" in said
    page = prose_of(admin.get(f"/connections/{held.connection.public_id}/"))
    assert "See what happened since, and release it" in page
    assert "Resume connection" not in page


def test_the_page_shows_what_happened_and_offers_the_release(held: Recovery, admin: Client) -> None:
    sign_in(admin, UserFactory(role="admin"))
    before = prose_of(admin.get("/recovery/"))
    assert "Scan not started yet" in before
    assert "Available after a complete scan." in before
    _scanned(held, state="incomplete")
    assert "A page failed. It is tried again every two minutes." in prose_of(admin.get("/recovery/"))
    _scanned(held)
    said = prose_of(admin.get("/recovery/"))
    assert "2 unlinked accounts" in said
    assert "ops-1@northwind.example" in said
    assert "1 may have been sent after the backup." in said
    assert "1 queued" in said
    answer = admin.post(f"/recovery/{held.connection.public_id}/release/", follow=True)
    assert "SendGrid EU is released." in prose_of(answer)
    assert "No connection is on hold." in prose_of(answer)
    assert "Released by" in prose_of(answer)
    again = admin.post(f"/recovery/{held.connection.public_id}/release/")
    assert again.status_code == 404


def test_a_release_before_the_scan_is_refused_with_a_sentence(held: Recovery, admin: Client) -> None:
    sign_in(admin, UserFactory(role="admin"))
    answer = admin.post(f"/recovery/{held.connection.public_id}/release/", follow=True)
    assert "wasn't scanned to its end since the restore" in prose_of(answer)
    held.refresh_from_db()
    assert held.released_at is None


def test_a_list_that_cannot_be_scanned_is_released_with_a_reason(held: Recovery, admin: Client) -> None:
    sign_in(admin, UserFactory(role="admin"))
    address = f"/recovery/{held.connection.public_id}/release/"
    _scanned(held, state="refused")
    assert "Release without a complete scan" in prose_of(admin.get("/recovery/"))
    assert "so none is made twice" in prose_of(admin.get(address))
    assert admin.get(address, headers={"HX-Request": "true"}).status_code == 200  # a whole page, as it has no dialog
    refused = admin.post(address, {"reason": ""})
    assert refused.status_code == 422
    assert "Enter a reason." in prose_of(refused)
    assert "is released." in prose_of(admin.post(address, {"reason": "The contract ended."}, follow=True))
    held.refresh_from_db()
    assert held.scan is None
    assert held.released_at


def test_a_rejected_key_is_what_the_page_asks_for(held: Recovery, admin: Client) -> None:
    sign_in(admin, UserFactory(role="admin"))
    Connection.objects.update(paused="auth")
    said = prose_of(admin.get("/recovery/"))
    assert "Replace the key on the connection's page. Then the list is scanned." in said
    assert "Scan not started yet" not in said
    _scanned(held)
    answer = admin.post(f"/recovery/{held.connection.public_id}/release/", follow=True)
    assert "SendGrid rejected the key. Replace it first." in prose_of(answer)
    held.refresh_from_db()
    assert held.released_at is None


def test_an_auditor_reads_and_releases_nothing(held: Recovery, client: Client) -> None:
    sign_in(client, UserFactory(role="auditor"))
    _scanned(held)
    assert "Release SendGrid EU" not in prose_of(client.get("/recovery/"))
    assert client.post(f"/recovery/{held.connection.public_id}/release/").status_code == 403


@pytest.mark.parametrize(
    ("hours", "error", "told"),
    [
        (None, "", "There is no backup yet"),
        (None, "pg_dump failed: no space", "The latest attempt failed: pg_dump failed: no space"),
        (25, "", ""),
        (27, "", "The last backup was made"),
    ],
)
def test_a_late_backup_is_told(admin: Client, settings: Settings, hours: int | None, error: str, told: str) -> None:
    settings.BACKUP_RECIPIENTS = ["age1example"]
    if hours:
        at = timezone.now() - timedelta(hours=hours)
        Backup.objects.create(name="good", started_at=at, finished_at=at, bytes=1)
    if error:
        Backup.objects.create(name="bad", started_at=NOW, finished_at=NOW, error=error)
    found = backups.examine_backups(now=timezone.now())
    assert bool(found) is bool(told)
    if told:
        assert told in prose_of(admin.get("/engine/"))


def test_admins_are_told_of_a_late_backup_until_there_is_one(admin: Client, settings: Settings) -> None:
    settings.BACKUP_RECIPIENTS = ["age1example"]
    tasks.check_workers()
    assert Notice.objects.get(kind=backups.BACKUP_LATE).ended_at is None
    now = timezone.now()
    Backup.objects.create(name="good", started_at=now, finished_at=now, bytes=1)
    tasks.check_workers()
    assert Notice.objects.get(kind=backups.BACKUP_LATE).ended_at is not None
    assert len(mail.outbox) == 0  # delivered by a task of its own


def test_no_backups_are_an_alarm_in_production_alone(db: None, settings: Settings) -> None:
    assert backups.examine_backups(now=NOW) is None
    settings.PRODUCTION = True
    found = backups.examine_backups(now=NOW)
    assert found
    assert (found.code, found.severity) == ("backups.none", "error")
