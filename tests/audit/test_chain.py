"""Whatever is done to the record behind the portal's back is found."""

# ruff: noqa: S608  raw SQL with our own numbers in it is the subject here

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.utils import timezone

from portal import audit
from portal.audit import chain, keys
from portal.audit.content import canonical, event_facts
from portal.audit.models import AuditEvent, AuditSeal
from portal.audit.tasks import seal

pytestmark = pytest.mark.django_db


def _events(count: int, start: int = 0) -> list[AuditEvent]:
    return [
        audit.record(actor=None, verb="note.added", obj=None, after={"n": n, "text": "häé"}, reason=f"r{n}")
        for n in range(start, start + count)
    ]


def _behind_the_back(*statements: str) -> None:
    """Raw SQL with the triggers out of the way and the foreign keys unchecked, as someone with the database has it."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET session_replication_role = replica")
        else:
            for table in ("audit_auditevent", "audit_auditseal"):
                for act in ("update", "delete"):
                    cursor.execute(f'DROP TRIGGER IF EXISTS "{table}_no_{act}"')
            cursor.execute("PRAGMA defer_foreign_keys = ON")
        for statement in statements:
            cursor.execute(statement)
        if connection.vendor == "postgresql":
            cursor.execute("SET session_replication_role = DEFAULT")


def _mend() -> None:
    """Django checks the foreign keys at the end of a test; what was cut off must not hang in the air."""
    _behind_the_back(
        "DELETE FROM audit_auditseal WHERE event_id NOT IN (SELECT id FROM audit_auditevent)",
    )


def test_a_whole_record_is_said_to_be_whole() -> None:
    _events(25)
    assert chain.seal_pending(limit=10) == 10
    seal()
    found = chain.verify_chain()
    assert (found.sealed, found.unsealed, found.problems) == (25, 0, [])
    _events(3, 25)
    assert chain.verify_chain(head=found.head).problems == []
    seal()
    assert chain.verify_chain(head=found.head).problems == []
    assert chain.seal_pending() == 0


def test_sealing_during_verification_raises_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count of the seals was another one than that of the walk. Found by `make chaos PART=redis`."""
    _events(3)
    chain.seal_pending()
    _events(2, start=3)
    look = chain.canonical

    def somebody_seals_meanwhile(facts: dict[str, Any]) -> bytes:
        monkeypatch.undo()
        assert chain.seal_pending() == 2
        return look(facts)

    monkeypatch.setattr(chain, "canonical", somebody_seals_meanwhile)
    assert chain.verify_chain().problems == []


def _ids() -> list[int]:
    return list(AuditEvent.objects.order_by("id").values_list("id", flat=True))


def _tamper_change(ids: list[int], chance: random.Random) -> None:
    column, value = chance.choice(
        [
            ("reason", "'else'"), ("verb", "'x.y'"), ("actor_label", "'Eve'"), ("after", "'{\"n\": 99}'"),
            ("ip", "'192.0.2.9'"), ("at", "'2020-01-01 00:00:00+00:00'"), ("object_label", "'z'"),
            ("customer_label", "'z'"), ("request_id", "'z'"),
        ]
    )  # fmt: skip
    _behind_the_back(f"UPDATE audit_auditevent SET {column} = {value} WHERE id = {chance.choice(ids)}")


def _tamper_delete(ids: list[int], chance: random.Random) -> None:
    _behind_the_back(f"DELETE FROM audit_auditevent WHERE id = {chance.choice(ids)}")


def _tamper_delete_with_seal(ids: list[int], chance: random.Random) -> None:
    victim = chance.choice(ids[:-1])
    _behind_the_back(
        f"DELETE FROM audit_auditseal WHERE event_id = {victim}", f"DELETE FROM audit_auditevent WHERE id = {victim}"
    )


def _tamper_swap(ids: list[int], chance: random.Random) -> None:
    one, two = chance.sample(ids, 2)
    _behind_the_back(
        f"UPDATE audit_auditevent SET id = -1 WHERE id = {one}",
        f"UPDATE audit_auditevent SET id = {one} WHERE id = {two}",
        f"UPDATE audit_auditevent SET id = {two} WHERE id = -1",
    )


def _tamper_insert_sealed(ids: list[int], chance: random.Random) -> None:
    """An event with a made-up seal at the end, as good as it gets without the key."""
    last = AuditSeal.objects.order_by("-seq")[0]
    event = _events(1, 1000)[0]
    AuditSeal.objects.create(seq=last.seq + 1, event=event, prev_hash=last.row_hash, row_hash=f"{chance.random()}")


TAMPERINGS: list[Callable[[list[int], random.Random], None]] = [
    _tamper_change, _tamper_delete, _tamper_delete_with_seal, _tamper_swap, _tamper_insert_sealed,
]  # fmt: skip


@pytest.mark.parametrize("tamper", TAMPERINGS)
@pytest.mark.parametrize("seed", range(8))
def test_tampering_is_found(tamper: Callable[[list[int], random.Random], None], seed: int) -> None:
    _events(12)
    seal()
    tamper(_ids(), random.Random(seed))
    assert chain.verify_chain().problems
    with pytest.raises(CommandError, match="has been altered"):
        call_command("verify_audit", stdout=StringIO(), stderr=StringIO())
    _mend()


def test_every_column_of_an_event_is_sealed() -> None:
    at, ids = timezone.now(), (uuid4() for _ in count())
    facts: dict[str, Any] = dict.fromkeys((field.attname for field in AuditEvent._meta.concrete_fields), "x")
    facts |= {"at": at, "id": 1, "actor_id": 1, "before": {"n": 1}, "after": {"n": 1}, "ip": "192.0.2.1"}
    facts |= {name: next(ids) for name in ("public_id", "object_id", "customer_id", "account_id")}
    others = facts | dict.fromkeys(facts, "y") | {"at": at + timedelta(microseconds=1), "id": 2, "actor_id": 2}
    sealed = _hash_of(facts)
    changed = {name: _hash_of(facts | {name: others[name]}) for name in facts}
    assert [name for name, found in changed.items() if found == sealed] == []


def _hash_of(facts: dict[str, Any]) -> str:
    seal = AuditSeal(seq=1, prev_hash=chain.GENESIS, key_id=keys.signing_key_id())
    return chain.row_hash(seal, canonical(event_facts(AuditEvent(**facts))))


def test_a_cut_off_end_is_found_by_a_head_noted_before() -> None:
    _events(12)
    seal()
    head = chain.verify_chain().head
    keep = _ids()[8]
    _behind_the_back(
        f"DELETE FROM audit_auditseal WHERE event_id > {keep}", f"DELETE FROM audit_auditevent WHERE id > {keep}"
    )
    assert chain.verify_chain().problems == []  # the rest is whole: only the noted head knows better
    assert "were removed" in chain.verify_chain(head=head).problems[0]


def test_a_chain_made_anew_with_another_key_is_found(settings: object) -> None:
    _events(3)
    seal()
    settings.AUDIT_KEY = "somebody else's key of a good length"  # type: ignore[attr-defined]
    assert len(chain.verify_chain().problems) == 3


def test_an_old_event_put_in_without_a_seal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_LATE", 5)
    first = _events(1)[0]
    _behind_the_back(f"UPDATE audit_auditevent SET id = {first.id + 1000} WHERE id = {first.id}")
    seal()
    AuditEvent.objects.bulk_create([AuditEvent(id=first.id, verb="forged.event")])
    assert "inserted later" in chain.verify_chain().problems[0]


def test_the_command_prints_the_head() -> None:
    _events(2)
    seal()
    out = StringIO()
    call_command("verify_audit", stdout=out)
    assert chain.verify_chain().head in out.getvalue()
    assert "intact" in out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_sealers_and_writers_at_the_same_time_make_one_chain() -> None:
    def write(base: int) -> None:
        try:
            _events(25, base)
        finally:
            connections.close_all()

    def keep_sealing() -> None:
        try:
            for _ in range(15):
                chain.seal_pending(limit=7)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write, args=(n * 100,)) for n in range(3)]
    threads += [threading.Thread(target=keep_sealing) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    seal()
    found = chain.verify_chain()
    assert (found.sealed, found.unsealed, found.problems) == (75, 0, [])


@pytest.mark.parametrize("number", ["2", "0002", " 2", "²", ""])
def test_a_head_is_compared_however_it_is_written(number: str) -> None:
    _events(3)
    seal()
    assert len(chain.verify_chain(head=f"{number}:{'0' * 64}").problems) == 1
