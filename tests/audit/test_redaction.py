"""Personal data is erased from the audit log, and the chain stays valid."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import RequestFactory

from portal import audit
from portal.access.models import User
from portal.audit import chain, redaction
from portal.audit.models import AuditEvent, AuditRedaction
from portal.audit.redaction import ERASED, redact
from portal.commands import Command
from tests.support.audit import behind_the_back, write_events
from tests.support.factories import CustomerFactory

pytestmark = pytest.mark.django_db
NOBODY = Command(actor=None)


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada@portal.example", name="Ada Berg", role="admin")


def _event(**facts: Any) -> AuditEvent:
    return audit.record(**{"actor": None, "verb": "note.added", "obj": None} | facts)


def _dump() -> str:
    return "\n".join(str(row) for row in AuditEvent.objects.exclude(verb="audit.redacted").order_by("id").values())


def test_a_person_is_gone_and_the_chain_is_whole(ada: User) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7")
    _event(actor=ada, request=request, reason="asked by ADA BERG, see mail", after={"name": ["Ada Berg", 3]})
    _event(obj=ada, before={"ada@portal.example": {"x": "Ada  Berg"}})
    _event(obj=CustomerFactory(company_name="Ada Berg"))
    write_events(3)
    assert redact(NOBODY, words=["Ada Berg", "ada@portal.example"], user=ada) == 3
    found = chain.verify_chain()
    assert (found.problems, found.redacted) == ([], 3)
    assert not {"ada", "berg", "192.0.2.7"} & set(_dump().lower().replace("'", " ").replace("@", " ").split())
    first, second, third = AuditEvent.objects.order_by("id")[:3]
    assert (first.actor_label, first.ip, first.reason) == (ERASED, None, f"asked by {ERASED}, see mail")
    assert (first.actor, first.after) == (ada, {"name": [ERASED, 3]})
    assert (second.object_label, second.object_id, second.before) == (ERASED, ada.public_id, {ERASED: {"x": ERASED}})
    assert third.customer_label == ERASED
    assert redact(NOBODY, words=["Ada Berg", "ada@portal.example"], user=ada) == 0


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Ann", ERASED), ("ann, ANN; x", f"{ERASED}, {ERASED}; x"), ("Anna Annex Joann", "Anna Annex Joann"),
        ("ann's", f"{ERASED}'s"), ("ann@x.example", f"{ERASED}@x.example"),
        ("mail bo@x.example.", f"mail {ERASED}."), ("jo.bo@x.example", "jo.bo@x.example"),
        ("bo@x.example.org bo@x.example-y", "bo@x.example.org bo@x.example-y"), ("<BO@X.example>", f"<{ERASED}>"),
        ("Zoë \"O'Neil\"", ERASED), ("ZOË \"O'NEIL\"", ERASED), ("Жанна", ERASED), ("жанна", ERASED), ("a\\b", ERASED),
        ("q=%3Cbo@x.example%3E", f"q=%3C{ERASED}%3E"), ("_Ann_", f"_{ERASED}_"),
    ],
)  # fmt: skip
def test_whole_words_in_any_case_are_replaced(text: str, left: str) -> None:
    for facts in ({"reason": text}, {"after": {"a": {"b": [text]}}}):
        event = _event(**facts)
        redact(NOBODY, words=["Ann", "bo@x.example", 'Zoë "O\'Neil"', "Жанна", "a\\b", " ", ""])
        event.refresh_from_db()
        assert (event.reason, event.after) == ((left, {}) if "reason" in facts else ("", {"a": {"b": [left]}}))
    assert chain.verify_chain().problems == []


def test_the_address_of_failed_sign_ins_goes_with_the_user(ada: User) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7")
    failed, other = _event(obj=ada, request=request), _event(request=request)
    assert redact(NOBODY, words=[], user=ada) == 1
    failed.refresh_from_db()
    other.refresh_from_db()
    assert (failed.ip, other.ip) == (None, "192.0.2.7")


def test_the_order_is_in_the_audit_log_without_the_words(ada: User) -> None:
    write_events(5, reason="Bo")
    redact(Command(actor=ada, reason="Bo asked"), words=["Bo"])
    order = AuditEvent.objects.get(verb="audit.redacted")
    assert (order.actor, order.reason, order.after["events"]) == (ada, f"{ERASED} asked", 5)
    assert order.after["redactions"] == "1-5"
    assert set(AuditRedaction.objects.values_list("ordered_by", flat=True)) == {order.pk}


def test_batches_report_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_BATCH", 4)
    monkeypatch.setattr(redaction, "_WINDOW", 7)
    write_events(10, reason="Bo")
    heard: list[int] = []
    assert redact(NOBODY, words=["Bo"], progress=heard.append) == 10
    assert heard[-1] == 10
    assert heard == sorted(set(heard))
    assert chain.verify_chain().problems == []


def test_a_stopped_redaction_is_continued_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_BATCH", 4)
    write_events(10, reason="Bo")

    def stop(_changed: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        redact(NOBODY, words=["Bo"], progress=stop)
    assert chain.verify_chain().problems == []
    assert AuditEvent.objects.filter(reason="Bo").count() == 6
    assert redact(NOBODY, words=["Bo"]) == 6
    assert chain.verify_chain().problems == []


def test_an_event_is_redacted_for_two_people() -> None:
    event = _event(reason="Ann and Bo")
    redact(NOBODY, words=["Ann"])
    redact(NOBODY, words=["Bo"])
    event.refresh_from_db()
    assert event.reason == f"{ERASED} and {ERASED}"
    assert chain.verify_chain().problems == []
    assert AuditRedaction.objects.count() == 2


def test_an_order_is_redacted_too() -> None:
    write_events(1, reason="Bo")
    redact(Command(actor=None, reason="Ann asked"), words=["Bo"])
    assert redact(NOBODY, words=["Ann", "1-1"]) == 1
    assert AuditEvent.objects.filter(verb="audit.redacted").earliest("id").after["redactions"] == "1-1"
    assert chain.verify_chain().problems == []


def test_a_long_label_is_cut_where_it_grows() -> None:
    event = _event(obj=CustomerFactory(company_name=" ".join(["Bo"] * 66)))
    redact(NOBODY, words=["Bo"])
    event.refresh_from_db()
    assert len(event.object_label) <= 200
    assert "Bo" not in event.object_label
    assert chain.verify_chain().problems == []


def test_events_that_another_process_is_sealing_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    write_events(3, reason="Bo")

    def another_was_first() -> int:
        monkeypatch.undo()
        return 0

    monkeypatch.setattr(redaction, "seal_pending", another_was_first)
    assert redact(NOBODY, words=["Bo"]) == 3
    assert chain.verify_chain().problems == []


def test_events_that_stay_unsealed_are_left_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    write_events(3, reason="Bo")
    monkeypatch.setattr(redaction, "seal_pending", lambda: 0)
    with pytest.raises(redaction.Busy):
        redact(NOBODY, words=["Bo"])
    assert AuditEvent.objects.filter(reason="Bo").count() == 3


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_auditevent SET reason = ''",
        "UPDATE audit_auditredaction SET content_hash = ''",
        "DELETE FROM audit_auditredaction",
    ],
)
def test_the_database_refuses_it_otherwise(sql: str) -> None:
    write_events(1, reason="Bo")
    redact(NOBODY, words=["Bo"])
    with pytest.raises(DatabaseError, match="is append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)


def test_old_content_put_back_is_found() -> None:
    write_events(1, reason="Bo")
    redact(NOBODY, words=["Bo"])
    behind_the_back("UPDATE audit_auditevent SET reason = 'Bo' WHERE verb = 'note.added'")
    assert "changed after it was redacted" in chain.verify_chain().problems[0]


def test_old_content_without_its_redaction_is_found() -> None:
    write_events(1, reason="Bo")
    redact(NOBODY, words=["Bo"])
    behind_the_back(
        "UPDATE audit_auditevent SET reason = 'Bo' WHERE verb = 'note.added'", "DELETE FROM audit_auditredaction"
    )
    assert chain.verify_chain().problems == ["Redactions 1-1, which are in the audit log, were removed."]


def test_a_redaction_needs_the_key(settings: Any) -> None:
    write_events(1, reason="Bo")
    chain.seal_pending()
    key, settings.AUDIT_KEY = settings.AUDIT_KEY, f"{uuid4()}{uuid4()}"
    settings.AUDIT_KEY_FALLBACKS = [key]
    redact(NOBODY, words=["Bo"])
    assert chain.verify_chain().problems == []
    settings.AUDIT_KEY, settings.AUDIT_KEY_FALLBACKS = key, []
    problems = chain.verify_chain().problems
    assert "Redaction 1 is forged or changed after it was signed." in problems
