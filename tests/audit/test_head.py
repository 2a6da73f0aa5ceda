"""The head of the audit log is printed, logged, and compared with earlier ones."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from structlog.testing import capture_logs

from portal.audit import chain, keys
from portal.audit.expiry import expire
from portal.audit.head import compare_head, current_head
from portal.audit.models import AuditSeal
from portal.audit.tasks import log_head
from portal.commands import Command
from portal.queue_settings import schedule
from tests.support.audit import behind_the_back, write_events, write_old_events

pytestmark = pytest.mark.django_db


def _printed(**options: Any) -> str:
    out = StringIO()
    call_command("audit_head", stdout=out, **options)
    return out.getvalue()


def test_an_empty_log_has_a_head() -> None:
    assert _printed().splitlines()[:3] == [
        f"Head: 0:{'0' * 64}",
        "Sealed at: never",
        "Events: 0 sealed, 0 not sealed yet",
    ]
    assert compare_head(str(current_head())) == ""


def test_the_command_prints_head_time_count_and_key() -> None:
    write_events(3)
    chain.seal_pending()
    write_events(1)
    seal = AuditSeal.objects.get(seq=3)
    assert _printed().splitlines() == [
        f"Head: 3:{seal.row_hash}",
        f"Sealed at: {seal.sealed_at:%Y-%m-%d %H:%M:%S} UTC",
        "Events: 3 sealed, 1 not sealed yet",
        f"Key ID: {keys.signing_key_id()}",
    ]


def test_an_earlier_head_tells_that_the_end_was_cut() -> None:
    write_events(5)
    chain.seal_pending()
    head = str(current_head())
    write_events(2)
    chain.seal_pending()
    assert "The log continues 5." in _printed(verify=head)
    last = AuditSeal.objects.get(seq=3).event_id
    behind_the_back(
        f"DELETE FROM audit_auditseal WHERE event_id > {last}",  # noqa: S608  a number
        f"DELETE FROM audit_auditevent WHERE id > {last}",  # noqa: S608  a number
    )
    with pytest.raises(CommandError, match="ends at seal 3"):
        _printed(verify=head)
    write_events(4)  # the log grows over the cut
    chain.seal_pending()
    assert chain.verify_chain().problems == []
    with pytest.raises(CommandError, match="Seal 5 does not match"):
        _printed(verify=head)


@pytest.mark.parametrize("typed", ["5", "x:y", "5:", ":", "-1:ab", "²:ab"])
def test_what_is_no_head_is_refused(typed: str) -> None:
    assert "is not a head" in compare_head(typed)


def test_heads_around_a_checkpoint(time_machine: Any) -> None:
    write_old_events(time_machine, 6, days=400)
    heads = [f"{seal.seq}:{seal.row_hash}" for seal in AuditSeal.objects.order_by("seq")]
    expire(Command(actor=None), before=timezone.now() - timedelta(days=365), limit=3)
    assert [compare_head(head) for head in heads[2:]] == [""] * 4
    assert "Compare a head from seal 3 on" in compare_head(heads[1])
    assert "does not match" in compare_head(f"3:{'0' * 64}")
    printed = _printed()
    assert "Begins at seal 4. Events until" in printed
    assert "Events: 3 sealed" in printed


def test_verification_says_what_it_read(time_machine: Any) -> None:
    write_old_events(time_machine, 4, days=400)
    first = AuditSeal.objects.get(seq=1)
    expire(Command(actor=None), before=timezone.now() - timedelta(days=365), limit=2)
    out = StringIO()
    call_command("verify_audit", head=f"1:{first.row_hash}", stdout=out)
    assert "Seal 1 was removed by retention" in out.getvalue()
    assert "2 events sealed, from seal 3 on, 0 of them redacted, and 1 not sealed yet." in out.getvalue()


def test_the_head_is_logged_every_hour() -> None:
    write_events(2)
    chain.seal_pending()
    with capture_logs() as logs:
        log_head()
    (line,) = [each for each in logs if each["event"] == "audit head"]
    assert (line["head"], line["events"], line["key_id"]) == (str(current_head()), 2, keys.signing_key_id())
    entry = schedule()["log the head of the audit log"]
    assert (entry["task"], entry["schedule"]) == ("audit.log_head", 3600)


@pytest.mark.parametrize("events", [0, 50])
def test_a_few_queries_whatever_there_is(events: int, django_assert_num_queries: Any) -> None:
    write_events(events)
    chain.seal_pending()
    with django_assert_num_queries(4):
        current_head()
