"""The oldest events are removed, and the chain that remains is verified from a checkpoint on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from portal.audit import chain, expiry
from portal.audit.expiry import LEAST_DAYS, ChainBroken, expire, expired_until
from portal.audit.models import AuditCheckpoint, AuditEvent, AuditRedaction, AuditSeal
from portal.audit.redaction import redact
from portal.commands import Command
from tests.support.audit import behind_the_back, write_events, write_old_events

pytestmark = pytest.mark.django_db
NOBODY = Command(actor=None)


def _expire(days: int = LEAST_DAYS, limit: int = 100) -> int:
    return expire(NOBODY, before=timezone.now() - timedelta(days=days), limit=limit)


def _problems(**options: Any) -> list[str]:
    chain.seal_pending()
    return chain.verify_chain(**options).problems


def test_the_oldest_go_and_the_rest_is_whole(time_machine: Any) -> None:
    old = write_old_events(time_machine, 5, days=400)
    write_old_events(time_machine, 4, days=300)
    assert _expire() == 5
    assert AuditEvent.objects.earliest("id").at > timezone.now() - timedelta(days=301)
    assert AuditSeal.objects.earliest("seq").seq == 6
    checkpoint = AuditCheckpoint.objects.get()
    assert (checkpoint.first_seq, checkpoint.removed, checkpoint.until_at) == (6, 5, old[-1].at)
    order = AuditEvent.objects.get(verb="audit.expired")
    assert (order.pk, order.after["removed"]) == (checkpoint.ordered_by_id, 5)
    assert _problems() == []
    found = chain.verify_chain()
    assert (found.first, found.sealed, found.unsealed) == (6, 10, 0)
    assert expired_until() == old[-1].at
    assert _expire() == 0


def test_no_more_than_the_limit_and_one_checkpoint_each(time_machine: Any) -> None:
    write_old_events(time_machine, 7, days=400)
    write_events(1)
    chain.seal_pending()
    assert [_expire(limit=3) for _ in range(4)] == [3, 3, 1, 0]
    assert list(AuditCheckpoint.objects.values_list("n", "first_seq")) == [(1, 4), (2, 7), (3, 8)]
    assert _problems() == []


def test_the_boundary_is_exact(time_machine: Any) -> None:
    first, second, *_rest = write_old_events(time_machine, 3, days=500)
    assert expire(NOBODY, before=second.at, limit=9) == 1
    assert list(AuditEvent.objects.filter(pk__in=[first.pk, second.pk])) == [second]


def test_the_newest_sealed_event_always_stays(time_machine: Any) -> None:
    write_old_events(time_machine, 3, days=400)
    assert _expire() == 2
    assert _problems() == []
    assert AuditSeal.objects.earliest("seq").seq == 3


def test_younger_events_are_refused(time_machine: Any) -> None:
    write_old_events(time_machine, 3, days=364)
    with pytest.raises(ValueError, match="365 days"):
        _expire(days=LEAST_DAYS - 1)
    assert _expire() == 0
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        AuditSeal.objects.all()._raw_delete("default")  # type: ignore[attr-defined]  # Django's own, past its checks
    assert AuditSeal.objects.count() == 3


def test_what_is_needed_of_them_is_stored_before(time_machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "_BEFORE", [])
    seen: list[list[str]] = []
    expiry.before_removal(
        lambda ids: seen.append(
            list(AuditEvent.objects.filter(pk__in=ids).order_by("pk").values_list("reason", flat=True))
        )
    )
    write_old_events(time_machine, 5, days=400)
    assert _expire(limit=2) == 2
    assert seen == [["r0", "r1"]]


def test_redactions_go_with_the_event_that_ordered_them(time_machine: Any) -> None:
    write_old_events(time_machine, 3, days=500, reason="Bo")
    now = timezone.now()
    time_machine.move_to(now - timedelta(days=450))
    redact(NOBODY, words=["Bo"])
    chain.seal_pending()
    time_machine.move_to(now)
    write_events(2, reason="Ann")
    redact(NOBODY, words=["Ann"])
    chain.seal_pending()
    assert _expire(days=460) == 3
    assert (AuditRedaction.objects.count(), _problems()) == (5, [])
    assert _expire() == 1
    assert list(AuditRedaction.objects.values_list("n", flat=True)) == [4, 5]
    assert _problems() == []


def test_an_altered_event_is_not_removed(time_machine: Any) -> None:
    write_old_events(time_machine, 4, days=400)
    behind_the_back("UPDATE audit_auditevent SET reason = 'x' WHERE reason = 'r1'")
    with pytest.raises(ChainBroken, match="seal 2"):
        _expire()
    assert (AuditSeal.objects.count(), AuditCheckpoint.objects.count()) == (4, 0)


def test_a_missing_beginning_without_a_checkpoint_is_found(time_machine: Any) -> None:
    write_old_events(time_machine, 4, days=400)
    last = AuditSeal.objects.get(seq=2)
    behind_the_back(
        "DELETE FROM audit_auditseal WHERE seq <= 2",
        f"DELETE FROM audit_auditevent WHERE id <= {last.event_id}",  # noqa: S608  a number
    )
    assert "Seal 1 or its event is missing" in _problems()[0]
    with pytest.raises(ChainBroken):
        _expire()


def test_earlier_checkpoints_outlive_their_events(time_machine: Any) -> None:
    write_old_events(time_machine, 3, days=900)
    now = timezone.now()
    time_machine.move_to(now - timedelta(days=450))
    assert _expire() == 2
    chain.seal_pending()
    time_machine.move_to(now)
    write_events(2)
    chain.seal_pending()
    assert _expire() == 2  # the third, and the event of the first checkpoint
    assert AuditCheckpoint.objects.count() == 2
    assert _problems() == []


def test_heads_from_before_and_after_the_checkpoint(time_machine: Any) -> None:
    write_old_events(time_machine, 5, days=400)
    heads = {seal.seq: f"{seal.seq}:{seal.row_hash}" for seal in AuditSeal.objects.all()}
    _expire(limit=3)
    assert _problems(head=heads[4]) == _problems(head=heads[3]) == _problems(head=heads[2]) == []
    assert chain.verify_chain(head=heads[2]).notes == [
        "Seal 2 was removed by retention, so the given head can't be compared."
    ]
    assert _problems(head=f"3:{'0' * 64}") == ["Seal 3 does not match the given head."]


def test_verification_during_a_removal_raises_no_alarm(time_machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_old_events(time_machine, 5, days=400)
    walk = chain._walk

    def remove_meanwhile(*given: Any) -> Any:
        monkeypatch.undo()
        assert _expire(limit=2) == 2
        return walk(*given)

    monkeypatch.setattr(chain, "_walk", remove_meanwhile)
    assert chain.verify_chain().problems == []
