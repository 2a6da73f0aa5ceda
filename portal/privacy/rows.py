"""Rows of a table with the words of a subject: found in windows of keys, and changed.

The database filters by plain letters of the words, which every way of writing them contains; Python decides. A window
is small enough for one short transaction, and the last key of it is where a worker continues.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import IntegrityError, models, transaction
from django.db.models import F, Q, TextField
from django.db.models.functions import Cast

from portal.audit.permits import permit_erasure
from portal.personal_data import Declaration, customer_ids
from portal.privacy.matching import Words
from portal.privacy.subjects import Subject

WINDOW = 5000
# A column's text, to filter it in SQL.
_AS_TEXT = "_text_of_{}"
AUDIT = "audit.AuditEvent"
ERASED_NAME, ERASED_WORD = "Erased person {}", "[erased]"


@dataclass(frozen=True)
class Search:
    """A subject as words: those that count in every row, and those that count in rows of their own only."""

    subject: Subject
    everywhere: Words
    own: Words

    def words_in(self, is_own: bool) -> Words:
        return self.own if is_own else self.everywhere


def search_for(subject: Subject, code: str) -> Search:
    """Return the search, with the pseudonyms of `code` as replacements. An address stays a valid one."""
    everywhere = {each: f"erased-{code.lower()}@erased.invalid" for each in subject.addresses}
    everywhere |= {each: ERASED_NAME.format(code) for each in subject.names}
    alone = dict.fromkeys(subject.names_alone, ERASED_WORD)
    return Search(subject, Words(everywhere), Words(everywhere | alone))


@dataclass
class Found:
    """A row with words: its key, and the values of the columns that have them."""

    pk: Any
    values: dict[str, Any]
    words: Words


def next_window(table: type[models.Model], after: Any) -> tuple[Any, bool]:
    """Return the last key of the window behind `after` (None: the first), and whether there is another behind it. The
    key is None if no row is left."""
    rows = _behind(table, after).order_by("pk").values_list("pk", flat=True)
    full = list(rows[WINDOW - 1 : WINDOW + 1])
    if full:
        return full[0], len(full) > 1
    return rows.last(), False


def _behind(table: type[models.Model], after: Any) -> models.QuerySet[Any]:
    found = table._base_manager.all()
    return found if after is None else found.filter(pk__gt=after)


def found_rows(each: Declaration, search: Search, *, after: Any, until: Any) -> Iterator[Found]:
    """Yield the rows of a window that have words, each once."""
    if not each.searched or not search.everywhere:
        return
    rows, seen = _behind(each.table, after).filter(pk__lte=until), set()
    if (own := _own(each, search.subject)) is not None:
        for row in _with_words(rows.filter(own), each, search.own):
            seen.add(row.pk)
            yield row
    for row in _with_words(rows, each, search.everywhere):
        if row.pk not in seen:
            yield row


def _with_words(rows: models.QuerySet[Any], each: Declaration, words: Words) -> Iterator[Found]:
    for row in _filtered(rows, each, words):
        pk, values = row.pop("pk"), _decoded(each, row)
        if hits := {name: value for name, value in values.items() if words.found_in(value)}:
            yield Found(pk, hits, words)


def own_events(subject: Subject) -> Q:
    """Match the audit events of the person's customers, and those about or by the team member."""
    own = Q(customer_id__in=customer_ids(subject.customers))
    if subject.user is not None:
        own |= Q(actor=subject.user.pk) | Q(object_id=subject.user.public_id)
    return own


def _own(each: Declaration, subject: Subject) -> Q | None:
    if each.model == AUDIT:
        return own_events(subject)
    if each.of_customer and subject.customers and subject.names_alone:
        return Q(**{f"{each.of_customer}__in": subject.customers})
    if each.of_user and subject.user is not None:
        return Q(**{each.of_user: subject.user.pk})
    return None


def _filtered(rows: models.QuerySet[Any], each: Declaration, words: Words) -> Iterable[dict[str, Any]]:
    if words.anchors is not None and each.model != "sessions.Session":
        texts = {_AS_TEXT.format(name): Cast(F(name), TextField()) for name in each.searched}
        has_any = Q()
        for name in texts:
            for anchor in words.anchors:
                has_any |= Q(**{f"{name}__icontains": anchor})
        rows = rows.alias(**texts).filter(has_any)
    return rows.order_by("pk").values("pk", *each.searched)


def _decoded(each: Declaration, row: dict[str, Any]) -> dict[str, Any]:
    if each.model == "sessions.Session" and row:
        return {"session_data": Session(session_data=row["session_data"]).get_decoded()}
    return row


def erase_rows(each: Declaration, rows: Iterable[Found]) -> tuple[int, int]:
    """Replace the words in rows of a table. Returns how many were changed, and how many the database refused."""
    changed = refused = 0
    for row in rows:
        try:
            with transaction.atomic():
                changed += _erase(each, row)
        except IntegrityError:
            if not each.frozen:
                raise
            refused += 1
    return changed, refused


def _erase(each: Declaration, found: Found) -> int:
    """Change one row as it is now, locked; return how many were changed."""
    rows = each.table._base_manager.filter(pk=found.pk)
    row = rows.select_for_update(no_key=True).values(*each.erased).first()
    values = {
        name: _fitting(each, name, found.words.replaced(value))
        for name, value in _decoded(each, row or {}).items()
        if found.words.found_in(value)
    }
    if not values:
        return 0
    if each.append_only:
        with permit_erasure(each.table, [found.pk]):
            return rows.update(**values)
    return rows.update(**values)


def _fitting(each: Declaration, name: str, value: Any) -> Any:
    """Return the value as its column takes it."""
    if each.model == "sessions.Session":
        return SessionStore().encode(value)
    longest = getattr(each.table._meta.get_field(name), "max_length", None)
    return value[:longest] if isinstance(value, str) and longest else value


def rows_of_user(each: Declaration, subject: Subject) -> models.QuerySet[Any]:
    """Return the rows that describe the team member; none of a contact."""
    if not each.of_user or subject.user is None:
        return each.table._base_manager.none()
    return each.table._base_manager.filter(**{each.of_user: subject.user.pk})
