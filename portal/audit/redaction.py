"""Erasure of personal data in the audit log, signed so that the chain stays valid.

What an event said before can't be told from its seal, which is an HMAC. Verification takes the new content, as the
newest redaction of the event has it (redactions.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from operator import or_
from typing import Any

import structlog
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, Max, Min, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from portal.access.models import User
from portal.audit import keys, redactions
from portal.audit.chain import seal_pending
from portal.audit.checkpoints import EXPIRED
from portal.audit.content import canonical, event_facts
from portal.audit.models import AuditEvent, AuditRedaction, AuditSeal
from portal.audit.permits import permit_erasure
from portal.audit.redactions import REDACTED
from portal.commands import Command
from portal.whole_words import whole_words

log = structlog.get_logger(__name__)

ERASED = "[erased]"
_LABELS = {"actor_label": 120, "object_label": 200, "customer_label": 200}
_TEXTS = (*_LABELS, "reason")
_VALUES = ("before", "after")
# Of a device, in events about whose it was.
_OF_DEVICE = ("browser", "address")
# Their values are about the log itself, and verification compares them.
_OWN_VERBS = (REDACTED, EXPIRED)
_WINDOW = 20_000  # event IDs that one query looks at
_BATCH = 200  # events that one transaction changes
_TRIES = 20


class Busy(Exception):
    """Others kept changing the audit log. The redaction can be repeated."""


def redact(
    command: Command,
    *,
    words: Iterable[str],
    user: User | None = None,
    within: Q | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Replace personal values in all audit events by "[erased]", and return how many events changed.

    `words` are names and email addresses: each is replaced as a whole word, in any case, in every text of an event, the
    values of `before` and `after` included. Of the events that `user` caused, the IP address is removed and the
    actor's name replaced, too; of those about them that nobody signed in caused, the IP address; of all about them, the
    browser and address of an ended session. Works in batches, each a transaction of its own, so that it can be repeated
    after it was stopped. `within`: only events that fulfill this
    are changed, for words that others have as well. `progress` is called with the number of
    events changed so far. Needs AUDIT_KEY. Raises `Busy`.
    """
    keys.keyring()
    values = _Values(words, user, within)
    command = command.because(values.erased(command.reason))
    changed = 0
    for ids in _batches(values):
        changed += _redact_batch(command, values, ids)
        if progress:
            progress(changed)
    return changed


class _Values:
    """The personal values, as a pattern for texts and as a condition for the database."""

    def __init__(self, words: Iterable[str], user: User | None, within: Q | None = None) -> None:
        self.user, self.within = user, within or Q()
        self.words = sorted({word.strip() for word in words} - {""}, key=len, reverse=True)
        self._pattern = whole_words(self.words)

    def erased(self, value: Any) -> Any:
        """Return a value of JSON without the words, names included."""
        if isinstance(value, str):
            return self._pattern.sub(ERASED, value)
        if isinstance(value, list):
            return [self.erased(each) for each in value]
        if isinstance(value, dict):
            return {self.erased(name): self.erased(each) for name, each in value.items()}
        return value

    def changes(self, event: AuditEvent) -> dict[str, Any]:
        """Return the columns that have to change, with their new values."""
        names = _TEXTS if event.verb in _OWN_VERBS else (*_TEXTS, *_VALUES)
        new = {name: self.erased(getattr(event, name)) for name in names}
        for name, longest in _LABELS.items():  # a name may be shorter than what replaces it
            new[name] = new[name][:longest]
        if self.user and event.actor_id == self.user.pk:
            new |= {"actor_label": ERASED, "ip": None}
        elif self.user and event.actor_id is None and event.object_id == self.user.public_id:
            new["ip"] = None
        if self.user and event.object_id == self.user.public_id and event.verb not in _OWN_VERBS:
            new |= {name: new[name] | {key: ERASED for key in _OF_DEVICE if new[name].get(key)} for name in _VALUES}
        return {name: value for name, value in new.items() if value != getattr(event, name)}

    def likely(self) -> QuerySet[AuditEvent]:
        """Return events that may contain a value."""
        events = AuditEvent.objects.annotate(**{f"{name}_text": Cast(name, TextField()) for name in _VALUES})
        found = Q(pk__in=[])
        for needle in _needles(self.words):
            for name in (*_TEXTS, *(f"{name}_text" for name in _VALUES)):
                found |= Q(**{f"{name}__icontains": needle})
        if self.user:
            found |= Q(actor=self.user) & (~Q(actor_label=ERASED) | Q(ip__isnull=False))
            found |= Q(actor=None, object_id=self.user.public_id, ip__isnull=False)
            device = (Q(**{f"{name}__has_any_keys": _OF_DEVICE}) for name in _VALUES)
            found |= Q(object_id=self.user.public_id) & reduce(or_, device)
        return events.filter(self.within).filter(found)


def _needles(words: Iterable[str]) -> set[str]:
    """Return the fewest needles of words: one that contains another finds nothing more. SQLite takes no more than a
    thousand conditions."""
    found = {_needle(word).lower() for word in words}
    return {each for each in found if not any(other in each for other in found - {each})}


def _needle(word: str) -> str:
    """Return a part of the word that the database finds whatever the case and the form of JSON. "" finds everything.

    JSON has another form for quotes and backslashes, and on SQLite, which also compares the case of Latin letters only,
    for all that isn't ASCII.
    """
    outside = r'[\s"\\\x00-\x1f]+' if connection.vendor == "postgresql" else r'[\s"\\]+|[^\x20-\x7e]+'
    return max(re.split(outside, word), key=len)


def _batches(values: _Values) -> Iterator[list[int]]:
    """Yield IDs of sealed events to change. Events that aren't sealed yet are sealed first, and looked at again."""
    ends = AuditEvent.objects.aggregate(first=Min("id"), last=Max("id"))
    start, end = ends["first"] or 0, ends["last"] or 0
    for _try in range(_TRIES):
        while seal_pending():
            pass
        late: list[int] = []
        for low in range(start, end + 1, _WINDOW):
            window = values.likely().filter(id__gte=low, id__lt=min(low + _WINDOW, end + 1))
            sealed = Exists(AuditSeal.objects.filter(event_id=OuterRef("pk")))
            events = window.annotate(is_sealed=sealed).order_by("id")
            found = [event for event in events.iterator(chunk_size=_BATCH) if values.changes(event)]
            late += [event.pk for event in found if not event.is_sealed]
            ids = [event.pk for event in found if event.is_sealed]
            for first in range(0, len(ids), _BATCH):
                yield ids[first : first + _BATCH]
        if not late:
            return
        start = min(late)
    raise Busy("Others kept sealing events. Erase the values again.")


def _redact_batch(command: Command, values: _Values, ids: list[int]) -> int:
    for _try in range(_TRIES):
        # Before the event is recorded: numbers and events then have the same order.
        last = AuditRedaction.objects.order_by("-n").values_list("n", flat=True).first() or 0
        try:
            with transaction.atomic():
                return _redact(command, values, ids, last)
        except IntegrityError:
            if not AuditRedaction.objects.filter(n__gt=last).exists():  # no other redaction took the number
                raise
    raise Busy("Others kept changing the audit log. Erase the values again.")


def _redact(command: Command, values: _Values, ids: list[int], last: int) -> int:
    events = AuditEvent.objects.select_for_update(no_key=True, of=("self",)).select_related("seal")
    batch = redactions.Batch()
    made: list[AuditRedaction] = []
    with permit_erasure(AuditEvent, ids):
        for event in events.filter(pk__in=ids).order_by("id"):
            if changes := values.changes(event):
                for name, value in changes.items():
                    setattr(event, name, value)
                event.save(update_fields=list(changes))
                made.append(_redaction(event, last + len(made) + 1))
                batch.add(made[-1])
    if not made:
        return 0
    order = command.record(verb=REDACTED, obj=None, after={"events": len(made), **batch.facts()})
    for each in made:
        each.at, each.ordered_by_id = order.at, order.pk
        each.signature = redactions.redaction_signature(each)
    AuditRedaction.objects.bulk_create(made)
    log.info("audit redacted", events=len(made), last=batch.last)
    return len(made)


def _redaction(event: AuditEvent, number: int) -> AuditRedaction:
    seal, key_id = event.seal, keys.signing_key_id()
    # As the database returns it: verification reads it from there.
    event.refresh_from_db(fields=["before", "after"])
    hashed = redactions.content_hash(seal, canonical(event_facts(event)), key_id=key_id)
    return AuditRedaction(
        n=number, event=event, seq=seal.seq, row_hash=seal.row_hash, content_hash=hashed, key_id=key_id
    )
