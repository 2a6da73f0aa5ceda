"""What operations store of what they say: codes of our own sentences, a provider's words as they are."""

from __future__ import annotations

from portal.audit.models import AuditEvent
from portal.texts import Text
from tests.customers.conftest import Desk


def test_our_own_sentences_are_stored_as_codes(desk: Desk) -> None:
    operation = desk.perform(desk.ask_create())
    operation.refresh_from_db()
    provider_id = desk.account(operation).provider_id
    for text in (operation.summary, operation.steps.last().note, operation.attempts.get().message):
        assert isinstance(text, Text)
        assert (text.code, text.params) == ("create.done", {"id": provider_id})


def test_the_audit_log_keeps_the_words(desk: Desk) -> None:
    operation = desk.perform(desk.ask_create())
    event = AuditEvent.objects.get(verb="operation.succeeded")
    assert event.reason == f"Created as {desk.account(operation).provider_id}."


def test_what_the_provider_said_stays_as_it_is(desk: Desk) -> None:
    desk.sandbox.admin.arm("status-400", "create")
    operation = desk.perform(desk.ask_create())
    operation.refresh_from_db()
    assert operation.state == "failed"
    assert operation.summary
    assert {type(operation.summary), type(operation.attempts.get().message)} == {str}


def test_a_sentence_that_was_raised_keeps_its_code(desk: Desk) -> None:
    type(desk.connection).objects.update(creates_per_hour=0)
    operation = desk.perform(desk.ask_create())
    operation.refresh_from_db()
    assert operation.state == "needs_attention"
    assert operation.summary.code == "create.budget"
