"""Keys of the audit log succeed each other."""

from __future__ import annotations

from typing import Any

import pytest

from portal.audit import chain, keys
from portal.audit.content import canonical, event_facts
from portal.audit.models import AuditSeal
from tests.support.audit import behind_the_back, write_events

pytestmark = pytest.mark.django_db
OLD, NEW = "an audit key of the test that was replaced", "an audit key of the test that replaced it"


def _use(settings: Any, key: str, *fallbacks: str) -> None:
    settings.AUDIT_KEY, settings.AUDIT_KEY_FALLBACKS = key, list(fallbacks)


def _seal(count: int = 2) -> None:
    write_events(count)
    assert chain.seal_pending() == count


def _reseal(number: int, key: str, settings: Any) -> None:
    """Make the hash of a seal anew under another key, as whoever knows it can."""
    seal = AuditSeal.objects.select_related("event").get(seq=number)
    kept = (settings.AUDIT_KEY, *settings.AUDIT_KEY_FALLBACKS)
    _use(settings, key)
    seal.key_id = keys.signing_key_id()
    made = chain.row_hash(seal, canonical(event_facts(seal.event)))
    _use(settings, *kept)
    behind_the_back(
        f"UPDATE audit_auditseal SET key_id = '{seal.key_id}', row_hash = '{made}' WHERE seq = {number}"  # noqa: S608  own values
    )


def test_a_former_key_still_verifies(settings: Any) -> None:
    _use(settings, OLD)
    _seal()
    _use(settings, NEW, OLD)
    _seal()
    assert chain.verify_chain().problems == []
    assert len(set(AuditSeal.objects.values_list("key_id", flat=True))) == 2


def test_without_the_former_key_its_seals_are_named(settings: Any) -> None:
    _use(settings, OLD)
    _seal(1)
    _use(settings, NEW)
    assert "is not in AUDIT_KEY_FALLBACKS" in chain.verify_chain().problems[0]


def test_a_former_key_seals_nothing_after_a_newer_one(settings: Any) -> None:
    _use(settings, NEW, OLD)
    _seal()
    _reseal(2, OLD, settings)
    assert chain.verify_chain().problems == ["Seal 2 was made with a former key, after a newer one was in use."]


def test_what_a_former_key_sealed_cannot_be_made_anew(settings: Any) -> None:
    _use(settings, OLD)
    _seal()
    _use(settings, NEW, OLD)
    _seal()
    behind_the_back("UPDATE audit_auditevent SET reason = 'x' WHERE reason = 'r1' AND id < 1000000")
    _reseal(2, OLD, settings)
    assert chain.verify_chain().problems != []


def test_a_process_with_the_former_key_seals_nothing(settings: Any) -> None:
    _use(settings, NEW, OLD)
    _seal()
    _use(settings, OLD)
    write_events(1)
    with pytest.raises(chain.OutdatedKey):
        chain.seal_pending()


class TestSealsOfTheReleaseBefore:
    """They have no key ID, and their hash doesn't cover when they were made."""

    def _seal_as_before(self, settings: Any, key: str) -> None:
        kept = (settings.AUDIT_KEY, *settings.AUDIT_KEY_FALLBACKS)
        _use(settings, key)
        last = AuditSeal.objects.order_by("-seq").first()
        event = write_events(1)[0]
        seal = AuditSeal(seq=last.seq + 1 if last else 1, event=event, prev_hash=last.row_hash if last else "0" * 64)
        event.refresh_from_db()
        seal.row_hash = chain.row_hash(seal, canonical(event_facts(event)))
        seal.save()
        _use(settings, *kept)

    def test_they_are_verified(self, settings: Any) -> None:
        _use(settings, NEW, OLD)
        for key in (OLD, OLD, NEW):
            self._seal_as_before(settings, key)
        _seal()
        self._seal_as_before(settings, NEW)  # a worker of that release still runs
        assert chain.verify_chain().problems == []

    def test_a_former_key_after_a_newer_one_is_found(self, settings: Any) -> None:
        _use(settings, NEW, OLD)
        for key in (OLD, NEW, OLD):
            self._seal_as_before(settings, key)
        assert len(chain.verify_chain().problems) == 1

    def test_a_seal_cannot_be_made_to_look_like_one(self, settings: Any) -> None:
        _use(settings, NEW, OLD)
        _seal(1)
        behind_the_back("UPDATE audit_auditseal SET key_id = ''")
        assert "changed after it was sealed" in chain.verify_chain().problems[0]
