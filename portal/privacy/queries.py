"""Contents of the pages about personal data."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from portal.access.models import User
from portal.encryption import DecryptionError
from portal.personal_data import Declaration, personal_tables
from portal.privacy.models import SubjectRequest
from portal.privacy.rows import AUDIT

SHOWN = 50


@dataclass(frozen=True, slots=True)
class Place:
    """A table in which the person appears, with its counts and what an erasure does with it."""

    name: str
    rows: int
    kept: int
    changed: int
    left: int
    treatment: str
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class SubjectPage:
    title: str
    words: list[str]
    names_alone: list[str]
    places: list[Place]
    kept: list[tuple[str, str]]
    rows: int
    left: int
    percent: int
    is_erasure: bool


def recent_requests() -> QuerySet[SubjectRequest]:
    found = SubjectRequest.objects.select_related("requested_by", "user")
    return found.defer("file_sealed", "subject_sealed")[:SHOWN]


def subject_page(request: SubjectRequest) -> SubjectPage:
    try:
        subject = request.subject()
    except DecryptionError:
        subject = None
    tables = {each.model: each for each in personal_tables()}
    places = [_place(tables[model], counts, request) for model, counts in request.found.items() if model in tables]
    places.sort(key=lambda each: -(each.rows + each.changed + each.kept))
    kept = [(each.name, reason) for each in places for reason in each.reasons]
    # A failed request keeps its position: only an erasure has phases.
    is_erasure = request.state in ("erasing", "erased") or "phase" in request.position
    words, names_alone = (list(subject.words), list(subject.names_alone)) if subject else ([], [])
    return SubjectPage(
        subject.title if subject else "",
        words,
        names_alone,
        places,
        kept,
        sum(each.rows for each in places),
        sum(each.left for each in places),
        _percent(request, len(tables)),
        is_erasure,
    )


def _place(each: Declaration, counts: dict[str, int], request: SubjectRequest) -> Place:
    kept = counts.get("kept", 0)
    reasons = [str(reason) for reason in each.kept.values()] if kept or not each.erased else []
    if each.frozen:
        reasons.append(str(each.frozen))
    changed = counts.get("changed", 0) + counts.get("removed", 0)
    return Place(
        str(each.name), counts.get("rows", 0), kept, changed, counts.get("left", 0), treatment_of(each), reasons
    )


def treatment_of(each: Declaration) -> str:
    """Return in a few words what an erasure does with the rows of a table."""
    if each.model == AUDIT:
        return _("Replaced, with a signed note that keeps the hash chain valid")
    if each.removed:
        return _("Deleted")
    if each.frozen:
        return _("Replaced, except in closed months")
    return _("Replaced by a pseudonym") if each.erased else _("Kept")


def _percent(request: SubjectRequest, tables: int) -> int:
    """Return how far a worker is, by tables."""
    done = int(request.position.get("table", 0)) * 100 // max(tables, 1)
    phase = request.position.get("phase", "")
    if phase == "tables":
        return done // 2
    return {"member": 50, "audit": 50, "check": 60 + done * 2 // 5}.get(phase, done)


def may_download(person: User, request: SubjectRequest) -> bool:
    return request.state == SubjectRequest.State.EXPORTED and request.requested_by_id == person.pk
