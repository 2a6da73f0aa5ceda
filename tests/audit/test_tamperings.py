"""1,000 random tamperings of the audit log, without its triggers and foreign keys: each is found.

The log has events of three years, of which two checkpoints removed the first ones, and two keys, each with seals and
redactions, one event twice. Whoever tampers has the database and an earlier copy of it, but not AUDIT_KEY.
"""

# ruff: noqa: S608  raw SQL with our own names and numbers in it is the subject here

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import DataError, IntegrityError, models, transaction
from django.test import RequestFactory, override_settings
from django.utils import timezone

from portal.access.models import User
from portal.audit import chain, checkpoints, keys, redactions
from portal.audit.content import canonical, event_facts
from portal.audit.expiry import expire
from portal.audit.models import AuditCheckpoint, AuditEvent, AuditRedaction, AuditSeal
from portal.audit.redaction import redact
from portal.commands import Command
from tests.support.audit import without_triggers, write_events, write_old_events
from tests.support.samples import sample

pytestmark = pytest.mark.django_db

CASES, IN_SUITE = 1000, 60
MODELS = (AuditEvent, AuditSeal, AuditRedaction, AuditCheckpoint)
OLD, NEW, FOREIGN = "a former audit key of this test, long enough", "the audit key of this test, long enough", "x" * 40
Rows = list[dict[str, Any]]


@dataclass
class Log:
    """The log as it is, with the rows of all tables, of now and of before anything was redacted or removed."""

    now: dict[str, Rows]
    before: dict[str, Rows]
    between: Rows  # the events before the last redaction
    heads: list[str]  # earlier ones


class Tamperer:
    """One tampering: `chance` decides, `cursor` carries it out."""

    def __init__(self, log: Log, chance: random.Random, cursor: Any) -> None:
        self.log, self.chance, self.cursor, self.head = log, chance, cursor, ""
        self.done: list[tuple[Any, ...]] = []

    def run(self, sql: str, *values: Any) -> None:
        self.done.append((sql, *values))
        self.cursor.execute(sql, values)

    def rows(self, model: type[models.Model]) -> Rows:
        return self.log.now[model._meta.db_table]

    def sealed(self) -> Rows:
        """Return the seals, from the second to the last but one: beyond the ends a head is needed."""
        return self.rows(AuditSeal)[1:-1]

    def insert(self, model: type[models.Model], row: dict[str, Any]) -> None:
        names = ", ".join(f'"{name}"' for name in row)
        self.run(f"INSERT INTO {model._meta.db_table} ({names}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())

    def update(self, model: type[models.Model], row: dict[str, Any], **values: Any) -> None:
        columns = ", ".join(f'"{name}" = %s' for name in values)
        key = model._meta.pk.column
        self.run(f'UPDATE {model._meta.db_table} SET {columns} WHERE "{key}" = %s', *values.values(), row[key])

    def delete(self, model: type[models.Model], rows: Rows) -> None:
        key = model._meta.pk.column
        for row in rows:
            self.run(f'DELETE FROM {model._meta.db_table} WHERE "{key}" = %s', row[key])

    def order(self, model: type[models.Model]) -> int | None:
        """Return an event that ordered other rows of the model, or None."""
        return self.chance.choice([None, *sorted({row["ordered_by_id"] for row in self.rows(model)})])

    def event(self, event_id: int) -> dict[str, Any]:
        return next(row for row in self.rows(AuditEvent) if row["id"] == event_id)

    def events(self, seals: Rows) -> Rows:
        return [self.event(seal["event_id"]) for seal in seals]


def _other(field: models.Field[Any, Any], value: Any, chance: random.Random) -> Any:
    """Return another value of a column, as the database takes it."""
    if isinstance(field, models.JSONField):
        told = json.loads(value) if isinstance(value, str) else value
        return json.dumps(told | {chance.choice(["n", "x"]): chance.random()})
    if isinstance(field, models.DateTimeField):
        return value + timedelta(microseconds=chance.choice([1, -1, 10**6, -(10**10)]))
    if isinstance(field, models.GenericIPAddressField):
        return "192.0.2.99" if value is None or chance.random() < 0.5 else None
    if isinstance(field, models.UUIDField):
        return _other_id(chance)
    if isinstance(field, models.ForeignKey | models.OneToOneField | models.IntegerField):
        return (value or 0) + chance.choice([1, 7, 100_000])
    letters = chance.choice(["", "x", f" {str(value)[1:]}", str(value)[:-1], str(value).swapcase(), "é"])
    return letters if letters != value else f"{value}x"


def _other_id(chance: random.Random) -> str:
    """Return a UUID as either database takes it."""
    return UUID(int=chance.getrandbits(128)).hex


# --- Kinds ------------------------------------------------------------------------------------------------------------


def change_a_column(by: Tamperer) -> None:
    model = by.chance.choice(MODELS)
    # An event that isn't sealed yet is not protected, and the number of a seal's row says nothing: `seq` does.
    rows = by.events(by.rows(AuditSeal)) if model is AuditEvent else by.rows(model)
    fields = [each for each in model._meta.concrete_fields if (model, each.name) != (AuditSeal, "id")]
    field, row = by.chance.choice(fields), by.chance.choice(rows)
    by.update(model, row, **{field.column: _other(field, row[field.column], by.chance)})


def delete_events(by: Tamperer) -> None:
    some = by.chance.sample(by.sealed(), by.chance.choice([1, 1, 2, 5]))
    if by.chance.random() < 0.7:
        by.delete(AuditSeal, some)
    by.delete(AuditEvent, by.events(some))


def delete_seals(by: Tamperer) -> None:
    by.delete(AuditSeal, by.chance.sample(by.sealed(), by.chance.choice([1, 1, 2, 5])))


def delete_the_beginning(by: Tamperer) -> None:
    some = by.rows(AuditSeal)[: by.chance.randint(1, 20)]
    by.delete(AuditSeal, some)
    by.delete(AuditEvent, by.events(some))


def delete_and_renumber(by: Tamperer) -> None:
    """Close the gap: the seals behind it move up and are linked again."""
    seals = by.rows(AuditSeal)
    at = by.chance.randint(1, len(seals) - 2)
    by.delete(AuditSeal, [seals[at]])
    by.delete(AuditEvent, by.events([seals[at]]))
    for seal in seals[at + 1 :]:
        by.update(AuditSeal, seal, seq=seal["seq"] - 1)
    by.update(AuditSeal, seals[at + 1], prev_hash=seals[at]["prev_hash"])


def cut_the_end(by: Tamperer) -> None:
    """Only an earlier head tells it. What the removed events ordered goes with them."""
    cut = by.rows(AuditSeal)[-by.chance.randint(1, 10) :]
    ids = [seal["event_id"] for seal in cut]
    for model in (AuditRedaction, AuditCheckpoint):
        by.delete(model, [row for row in by.rows(model) if row["ordered_by_id"] in ids])
    by.delete(AuditSeal, cut)
    by.delete(AuditEvent, [row for row in by.rows(AuditEvent) if row["id"] >= min(ids)])
    by.head = by.chance.choice([head for head in by.log.heads if int(head.partition(":")[0]) >= cut[0]["seq"]])


def swap_events(by: Tamperer) -> None:
    one, two = by.chance.sample(by.sealed(), 2)
    by.update(AuditSeal, one, event_id=-1)
    by.update(AuditSeal, two, event_id=one["event_id"])
    by.update(AuditSeal, one, event_id=two["event_id"])


def swap_contents(by: Tamperer) -> None:
    one, two = (by.event(seal["event_id"]) for seal in by.chance.sample(by.sealed(), 2))
    names = by.chance.choice([["at"], ["reason", "after"], ["id"], ["public_id"]])
    between = {"id": -1, "public_id": _other_id(by.chance)}
    by.update(AuditEvent, one, **{name: between.get(name, one[name]) for name in names})
    by.update(AuditEvent, two, **{name: one[name] for name in names})
    by.update(AuditEvent, {"id": -1} if "id" in names else one, **{name: two[name] for name in names})


def swap_seals(by: Tamperer) -> None:
    one, two = by.chance.sample(by.sealed(), 2)
    name = by.chance.choice(["seq", "prev_hash", "row_hash", "sealed_at"])
    between = {"seq": 10**9, "sealed_at": one["sealed_at"]}.get(name, "-")
    if one["sealed_at"] == two["sealed_at"] == between:
        return swap_seals(by)  # sealed together
    by.update(AuditSeal, one, **{name: between})
    by.update(AuditSeal, two, **{name: one[name]})
    return by.update(AuditSeal, one, **{name: two[name]})


def insert_an_event(by: Tamperer) -> None:
    """With a seal between others, those behind it moved down, or at the end."""
    seals = by.rows(AuditSeal)
    at = by.chance.randint(1, len(seals))
    row = by.chance.choice(by.events(seals)) | {"id": 10**9, "public_id": _other_id(by.chance)}
    by.insert(AuditEvent, row)
    for seal in reversed(seals[at:]):
        by.update(AuditSeal, seal, seq=seal["seq"] + 1)
    made = f"{by.chance.getrandbits(256):064x}"
    if at < len(seals):
        by.update(AuditSeal, seals[at], prev_hash=made)
    last = seals[at - 1]
    seal = last | {"id": 10**9, "seq": last["seq"] + 1, "event_id": row["id"]}
    by.insert(AuditSeal, seal | {"prev_hash": last["row_hash"], "row_hash": made})


def insert_an_old_event(by: Tamperer) -> None:
    """Without a seal, long before the newest."""
    row = by.event(by.sealed()[0]["event_id"])
    early = -by.chance.randint(10_000, 20_000)
    by.insert(AuditEvent, row | {"id": early, "public_id": _other_id(by.chance)})


def replay_a_row(by: Tamperer) -> None:
    """Put the content back that a redacted event had, maybe without the redaction, or without all of its batch."""
    redaction = by.chance.choice(by.rows(AuditRedaction))
    was = next(row for row in by.log.before["audit_auditevent"] if row["id"] == redaction["event_id"])
    by.update(AuditEvent, was, **{name: value for name, value in was.items() if name != "id"})
    of_event = [row for row in by.rows(AuditRedaction) if row["event_id"] == redaction["event_id"]]
    of_batch = [row for row in by.rows(AuditRedaction) if row["ordered_by_id"] == redaction["ordered_by_id"]]
    by.delete(AuditRedaction, by.chance.choice([[], of_event, [redaction], of_batch, of_event + of_batch]))


def undo_the_last_redaction(by: Tamperer) -> None:
    """Put the content back that all events of the last batch had, without a trace of the batch in its own table."""
    batch = by.rows(AuditRedaction)[-1]["ordered_by_id"]
    rows = [row for row in by.rows(AuditRedaction) if row["ordered_by_id"] == batch]
    by.delete(AuditRedaction, rows)
    for was in by.log.between:
        if was["id"] in {row["event_id"] for row in rows}:
            by.update(AuditEvent, was, **{name: value for name, value in was.items() if name != "id"})


def replay_a_redaction(by: Tamperer) -> None:
    """Repeat an old redaction as the newest one, or put it in the place of another."""
    one, two = by.chance.sample(by.rows(AuditRedaction), 2)
    last = by.rows(AuditRedaction)[-1]["n"]
    if by.chance.random() < 0.5:
        by.insert(AuditRedaction, one | {"n": last + 1})
    else:
        by.update(AuditRedaction, two, **{name: value for name, value in one.items() if name != "n"})


def delete_redactions(by: Tamperer) -> None:
    rows = by.rows(AuditRedaction)
    count = by.chance.randint(1, len(rows))
    by.delete(AuditRedaction, by.chance.choice([rows[:count], rows[-count:], by.chance.sample(rows, count)]))


def replay_a_checkpoint(by: Tamperer) -> None:
    """Undo the last removal of events with the rows of an earlier copy, or repeat an old checkpoint."""
    first, last = by.rows(AuditCheckpoint)
    if by.chance.random() < 0.5:
        by.insert(AuditCheckpoint, first | {"n": 3})
        return
    for model in (AuditEvent, AuditSeal):
        there = {row["id"] for row in by.rows(model)}
        for row in by.log.before[model._meta.db_table]:
            seqs = [seal["event_id"] for seal in by.log.before["audit_auditseal"] if seal["seq"] >= first["first_seq"]]
            if row["id"] not in there and row.get("event_id", row["id"]) in seqs:
                by.insert(model, row)
    by.delete(AuditCheckpoint, [last])


def delete_checkpoints(by: Tamperer) -> None:
    rows = by.rows(AuditCheckpoint)
    by.delete(AuditCheckpoint, by.chance.choice([rows, rows[:1], rows[1:]]))


def _forged_order(verb: str, **after: Any) -> int:
    return write_events(1, verb=verb, after=after, reason="forged")[0].pk


def _key(by: Tamperer) -> Any:
    """A key that whoever tampers has: one of their own, or a former one that leaked."""
    return by.chance.choice([FOREIGN, OLD])


def forge_a_redaction(by: Tamperer, key_id: str = "") -> None:
    """Change an event, and make a redaction and the event that ordered it, complete but for the key."""
    key = _key(by)
    seal = AuditSeal.objects.get(seq=by.chance.choice(by.sealed())["seq"])
    by.update(AuditEvent, {"id": seal.event_id}, reason=f"forged {by.chance.random()}")
    event = AuditEvent.objects.get(pk=seal.event_id)
    at, row = timezone.now(), AuditRedaction(event=event, n=by.rows(AuditRedaction)[-1]["n"] + 1)
    row.seq, row.row_hash, row.at = seal.seq, seal.row_hash, at
    with _with_key(key):
        row.key_id = key_id or keys.signing_key_id()
        row.content_hash = redactions.content_hash(seal, canonical(event_facts(event)), key_id=row.key_id)
        batch = redactions.Batch()
        batch.add(row)
        other = None if key_id else by.order(AuditRedaction)
        row.ordered_by_id = other or _forged_order(redactions.REDACTED, events=1, **batch.facts())
        row.signature = redactions.redaction_signature(row)
    if not key_id and key != OLD and by.chance.random() < 0.5:
        row.key_id = keys.signing_key_id()
    row.save(force_insert=True)


def forge_a_checkpoint(by: Tamperer, key_id: str = "") -> None:
    """Remove the first events, and make a checkpoint and the event that ordered it, complete but for the key."""
    key, cut = _key(by), by.rows(AuditSeal)[: by.chance.randint(1, 10)]
    last = AuditCheckpoint.objects.get(n=2)
    by.delete(AuditSeal, cut)
    by.delete(AuditEvent, by.events(cut))
    row = AuditCheckpoint(n=3, first_seq=last.first_seq + len(cut), prev_hash=cut[-1]["row_hash"], removed=len(cut))
    row.from_at, row.until_at, row.first_redaction = last.until_at, timezone.now(), last.first_redaction
    with _with_key(key):
        row.key_id, row.at = key_id or keys.signing_key_id(), timezone.now()
        other = None if key_id else by.order(AuditCheckpoint)
        digest = checkpoints.checkpoint_digest(row)
        row.ordered_by_id = other or _forged_order(checkpoints.EXPIRED, checkpoint=3, digest=digest)
        row.signature = checkpoints.checkpoint_signature(row)
    if not key_id and key != OLD and by.chance.random() < 0.5:
        row.key_id = keys.signing_key_id()
    row.save(force_insert=True)


def sign_with_no_key(by: Tamperer) -> None:
    """Name a key that nobody has, under which every signature is empty."""
    by.chance.choice([forge_a_redaction, forge_a_checkpoint])(by, "unknown")


def _with_key(key: str) -> Any:
    return override_settings(AUDIT_KEY=key, AUDIT_KEY_FALLBACKS=[])


def seal_anew(by: Tamperer) -> None:
    """Change an event, and make the hashes from there on anew, under another key or a former one."""
    key, seals = _key(by), by.rows(AuditSeal)
    at = by.chance.randint(0, len(seals) - 1)
    by.update(AuditEvent, {"id": seals[at]["event_id"]}, reason="forged")
    with _with_key(key):
        prev, key_id = seals[at]["prev_hash"], keys.signing_key_id()
        for seal in AuditSeal.objects.filter(seq__gte=seals[at]["seq"]).order_by("seq").select_related("event"):
            seal.prev_hash, seal.key_id = prev, key_id
            prev = chain.row_hash(seal, canonical(event_facts(seal.event)))
            by.update(AuditSeal, {"id": seal.pk}, prev_hash=seal.prev_hash, key_id=key_id, row_hash=prev)


KINDS: list[Callable[[Tamperer], None]] = [
    change_a_column, change_a_column, change_a_column, change_a_column, delete_events, delete_seals,
    delete_the_beginning, delete_and_renumber, cut_the_end, swap_events, swap_contents, swap_seals, insert_an_event,
    insert_an_old_event, replay_a_row, undo_the_last_redaction, replay_a_redaction, delete_redactions,
    replay_a_checkpoint, delete_checkpoints, forge_a_redaction, forge_a_checkpoint, seal_anew, sign_with_no_key,
]  # fmt: skip


# --- The log ----------------------------------------------------------------------------------------------------------


def _rows() -> dict[str, Rows]:
    """Return all rows as the database has them."""
    found = {}
    with without_triggers() as cursor:
        for model in MODELS:
            order = "seq" if model is AuditSeal else model._meta.pk.column
            cursor.execute(f'SELECT * FROM {model._meta.db_table} ORDER BY "{order}"')
            names = [column[0] for column in cursor.description]
            found[model._meta.db_table] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return found


def _add(before: dict[str, Rows], now: dict[str, Rows]) -> None:
    """Add the rows that are new, and keep the others as they were."""
    for model in MODELS:
        name, key = model._meta.db_table, model._meta.pk.column
        there = {row[key] for row in before[name]}
        before[name] += [row for row in now[name] if row[key] not in there]


@pytest.fixture
def log(time_machine: Any, settings: Any) -> Log:
    settings.AUDIT_KEY, settings.AUDIT_KEY_FALLBACKS = OLD, []
    ada = User.objects.create_user("ada@portal.example", name="Ada Berg", role="admin")
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7")
    nobody, now = Command(actor=None), timezone.now()
    write_old_events(time_machine, 8, days=1000)
    write_old_events(time_machine, 6, days=500, reason="Cy")
    write_events(2, 50, reason="Cy")
    chain.seal_pending()
    before = _rows()
    redact(nobody, words=["Cy"])
    assert expire(nobody, before=now - timedelta(days=700), limit=100) == 8
    chain.seal_pending()
    settings.AUDIT_KEY, settings.AUDIT_KEY_FALLBACKS = NEW, [OLD]
    write_old_events(time_machine, 10, days=90, start=100, actor=ada, request=request, reason="Ada and Bo")
    write_old_events(time_machine, 10, days=60, start=200, before={"email": "ada@portal.example"})
    _add(before, _rows())
    redact(nobody, words=["ada@portal.example", "Ada"], user=ada)
    between = _rows()["audit_auditevent"]
    redact(nobody, words=["Bo"])
    write_events(4, start=300)
    chain.seal_pending()
    assert expire(nobody, before=now - timedelta(days=400), limit=100) == 6
    write_events(5, start=400)
    chain.seal_pending()
    write_events(2, start=500)  # not sealed yet
    _add(before, _rows())
    heads = [f"{row['seq']}:{row['row_hash']}" for row in before["audit_auditseal"]]
    return Log(_rows(), before, between, heads)


def _missed(log: Log, seed: int) -> str:
    """Tamper and verify. Return what was done if it wasn't found. What a constraint refuses is tried otherwise."""
    chance, kind = random.Random(f"tampering {seed}"), KINDS[seed % len(KINDS)]
    while True:
        try:
            with transaction.atomic():
                with without_triggers() as cursor:
                    by = Tamperer(log, chance, cursor)
                    kind(by)
                problems = chain.verify_chain(head=by.head).problems
                transaction.set_rollback(True)
            return "" if problems else f"{seed} {kind.__name__}: {by.done[-5:]}"
        except (IntegrityError, DataError):
            continue


def test_every_tampering_is_found(log: Log) -> None:
    assert chain.verify_chain(head=log.heads[-1]).problems == []
    missed = [_missed(log, seed) for seed in sample(range(CASES), IN_SUITE, name="tamperings")]
    assert [*filter(None, missed)] == []
    assert chain.verify_chain(head=log.heads[-1]).problems == []


@pytest.mark.parametrize("kind", dict.fromkeys(KINDS))
def test_every_kind_is_found(log: Log, kind: Callable[[Tamperer], None]) -> None:
    missed = [_missed(log, seed) for seed in range(KINDS.index(kind), 5 * len(KINDS), len(KINDS))]
    assert [*filter(None, missed)] == []
