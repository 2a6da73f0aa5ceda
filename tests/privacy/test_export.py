"""The export of a person's data: its content, who gets it, how long, and what it leaves out."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from customers.connections import credentials
from customers.models import Customer, Note
from portal.audit import record
from portal.audit.models import AuditEvent
from portal.clock import database_now
from portal.privacy import commands
from portal.privacy.models import SubjectRequest
from portal.refusals import Refusal
from tests.privacy.planted import EMAIL, FIRST, LAST, NAME, PHONE, admin, command, planted_customer, searched, settled
from tests.support.factories import CustomerFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
NEW_KEY = "t2:" + base64.b64encode(b"another-test-only-key-of-32-byte").decode()


def exported(request: SubjectRequest) -> SubjectRequest:
    commands.start_export(command(), request=request)
    return settled(request)


def content_of(request: SubjectRequest, client: Client | None = None) -> dict[str, Any]:
    answer = (client or sign_in(Client(), admin())).get(reverse("privacy:file", args=[request.public_id]))
    assert answer.status_code == 200
    content = b"".join(answer.streaming_content)  # type: ignore[arg-type]  # it is no async iterator
    assert int(answer["Content-Length"]) == len(content) == request.size
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def rows_of(files: dict[str, Any], table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(files[f"data/{table}.json"])
    return found


def test_a_contact_gets_their_rows_and_a_table_of_contents() -> None:
    customer = planted_customer()
    Note.objects.create(customer=customer, author=admin(), text=f"Call {PHONE}")
    Note.objects.create(customer=CustomerFactory(), author=admin(), text="About another")
    files = content_of(exported(searched()))
    (row,) = rows_of(files, "customers_customer")
    assert (row["first_name"], row["last_name"], row["email"], row["company_name"]) == (FIRST, LAST, EMAIL, "Northwind")
    (note,) = rows_of(files, "customers_note")
    assert note["text"] == f"Call {PHONE}"
    contents = files["contents.txt"]
    assert "data/customers_note.json\n  Notes: 1 rows" in contents
    assert "Why it is held: Contacting the customer" in contents


def test_a_member_gets_events_and_sessions_and_no_secret() -> None:
    member = UserFactory(name=NAME, email=EMAIL)
    sign_in(Client(), member)
    record(actor=member, verb="note.added", obj=None, after={"text": "Something"})
    files = content_of(exported(searched(EMAIL, kind="member")))
    (row,) = rows_of(files, "access_user")
    assert (row["name"], row["email"]) == (NAME, EMAIL)
    assert "password" not in row
    assert [each["after"] for each in rows_of(files, "audit_auditevent")] == [{"text": "Something"}]
    assert not any("argon2" in text or "session_key" in text for text in files.values())


def test_only_the_requester_gets_the_file_and_each_is_audited() -> None:
    planted_customer()
    request = exported(searched())
    other = sign_in(Client(), UserFactory(role="admin"))
    assert other.get(reverse("privacy:file", args=[request.public_id])).status_code == 404
    with pytest.raises(Refusal):
        commands.file_of_export(command(UserFactory(role="admin")), request=request)
    content_of(request)
    event = AuditEvent.objects.get(verb="personal_data.export_downloaded")
    assert (event.object_label, event.actor) == (request.code, admin())


def test_after_seven_days_the_file_and_the_words_are_removed() -> None:
    planted_customer()
    request = exported(searched())
    now = database_now()
    assert commands.expire_requests(now=now + timedelta(days=6, hours=23)) == 0
    assert commands.expire_requests(now=now + timedelta(days=7, minutes=1)) == 1
    request.refresh_from_db()
    assert (request.state, request.subject_sealed, request.file_sealed) == ("expired", "", "")
    assert sign_in(Client(), admin()).get(reverse("privacy:file", args=[request.public_id])).status_code == 404
    assert AuditEvent.objects.filter(verb="personal_data.request_expired").count() == 1


def test_the_stored_words_and_file_are_encrypted() -> None:
    planted_customer()
    request = exported(searched())
    Customer.objects.all().delete()
    assert not any(EMAIL in str(value) or LAST in str(value) for value in SubjectRequest.objects.values_list().get())
    assert request.subject().addresses == (EMAIL,)


def test_words_and_file_move_to_a_new_key(settings: Settings) -> None:
    planted_customer()
    request = exported(searched())
    content = request.file_text()
    settings.FIELD_KEYS = f"{NEW_KEY},{settings.FIELD_KEYS}"
    call_command("rotate_field_keys", stdout=io.StringIO())
    settings.FIELD_KEYS = NEW_KEY
    request.refresh_from_db()
    assert (request.subject().addresses, request.file_text()) == ((EMAIL,), content)
    assert credentials.secrets_by_key() == {"t2": 2}
