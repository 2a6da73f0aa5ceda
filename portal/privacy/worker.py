"""Worker of the requests about a person's data: search, export and erasure, in short steps that a killed worker's
successor continues.

A step goes through one window of one table, or does one thing, and stores in the same transaction where the next one
begins. Everything can be repeated: what was replaced no longer has the words.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q

from portal.access.models import User
from portal.audit.redaction import redact
from portal.clock import database_now
from portal.commands import Command
from portal.leases import AT_ONCE, work_on
from portal.personal_data import Declaration, personal_tables, reasons_against
from portal.privacy import erased
from portal.privacy.export import write_export
from portal.privacy.members import erase_member
from portal.privacy.models import KEPT_FOR, SubjectRequest
from portal.privacy.rows import AUDIT, Search, erase_rows, found_rows, next_window, own_events, rows_of_user, search_for

log = structlog.get_logger(__name__)
State = SubjectRequest.State
TRIES = 5
SECONDS = 60.0
# Times that an erasure goes through all tables, because rows with the words appeared meanwhile.
ROUNDS = 2


def due_requests(*, now: datetime) -> list[int]:
    """Return requests that a worker has to continue, and that none holds."""
    due = SubjectRequest.objects.due(now=now).filter(state__in=SubjectRequest.RUNNING)
    return list(due.order_by("pk").values_list("pk", flat=True)[:20])


def advance(request_id: int, *, now: datetime, seconds: float = SECONDS) -> bool:
    """Continue a request; return whether it is due again at once. Another worker's is left alone."""
    row = SubjectRequest.objects.filter(state__in=SubjectRequest.RUNNING).claim(request_id, now=now)
    if row is None:
        return False
    try:
        return work_on(row, lambda: _step(row), clock=database_now, seconds=seconds)
    except Exception as error:
        tries = row.tries + 1
        log.exception("personal_data.failed", request=row.pk, error=type(error).__name__)
        state = State.FAILED if tries >= TRIES else row.state
        again = database_now() + timedelta(minutes=1)
        row.release(tries=tries, state=state, error=type(error).__name__[:100], not_before=again)
        return False


def _step(row: SubjectRequest) -> timedelta | None:
    row.renew(now=database_now())
    steps: dict[str, Callable[[SubjectRequest, Search], timedelta | None]] = {
        State.SEARCHING: _search,
        State.EXPORTING: _export,
        State.ERASING: _erase,
    }
    return steps[row.state](row, search_for(row.subject(), row.code))


def _write(row: SubjectRequest, **fields: Any) -> None:
    row.write(**fields)
    for name, value in fields.items():
        setattr(row, name, value)


def _end(row: SubjectRequest, state: str, **fields: Any) -> None:
    _write(row, state=state, position={}, tries=0, error="", **fields)


# --- Search -----------------------------------------------------------------------------------------------------------


def _search(row: SubjectRequest, search: Search) -> timedelta | None:
    if _through_tables(row, search, _count):
        return AT_ONCE
    _end(row, State.FOUND)
    return None


def _count(each: Declaration, search: Search, after: Any, until: Any) -> dict[str, int]:
    """Count the rows of a window with words, and those that keep them; of a table that only describes team members,
    the member's rows."""
    counts = {"rows": 0, "kept": 0}
    if each.removed and search.subject.user is not None:
        return {"rows": rows_of_user(each, search.subject).count() if after is None else 0}
    for found in found_rows(each, search, after=after, until=until):
        counts["rows" if set(found.values) & set(each.erased) else "kept"] += 1
    return counts


def _count_left(each: Declaration, search: Search, after: Any, until: Any) -> dict[str, int]:
    counts = _count(each, search, after, until)
    if each.frozen:
        return {"kept": counts["rows"] + counts["kept"]}
    return {"left": counts["rows"], "kept": counts["kept"]}


def _through_tables(
    row: SubjectRequest, search: Search, look: Callable[[Declaration, Search, Any, Any], dict[str, int]]
) -> bool:
    """Look at the next window, and add its counts to the request; return whether there was one."""
    tables = personal_tables()
    position = {"table": 0, "after": None} | row.position
    if position["table"] >= len(tables):
        return False
    each, after = tables[position["table"]], position["after"]
    with transaction.atomic():
        until, more = next_window(each.table, after)
        counts = look(each, search, after, until) if until is not None else {}
        place = {"after": until} if more else {"table": position["table"] + 1, "after": None}
        _write(row, position=position | place, found=_added(row.found, each.model, counts))
    return True


def _added(found: dict[str, dict[str, int]], model: str, counts: dict[str, int]) -> dict[str, dict[str, int]]:
    known = found.get(model, {})
    new = {name: known.get(name, 0) + n for name, n in counts.items() if n}
    return found | {model: known | new} if new else found


# --- Export -----------------------------------------------------------------------------------------------------------


def _export(row: SubjectRequest, search: Search) -> timedelta | None:
    now = database_now()
    text, size = write_export(row, search, alive=lambda: row.renew(now=database_now()))
    sealed = row.seal("file_sealed", text)
    _end(row, State.EXPORTED, file_sealed=sealed, size=size, finished_at=now, expires_at=now + KEPT_FOR)
    return None


# --- Erasure ----------------------------------------------------------------------------------------------------------


def _erase(row: SubjectRequest, search: Search) -> timedelta | None:
    """Do the next part: check what blocks, replace the words in all tables, remove what belongs to a team member,
    redact the audit log, and look for the words once more."""
    phases = {
        "begin": _check_blockers,
        "tables": _erase_tables,
        "member": _erase_member,
        "audit": _erase_audit_events,
        "check": _check_again,
    }
    return phases[row.position.get("phase", "begin")](row, search)


def _go_to(row: SubjectRequest, phase: str, **fields: Any) -> timedelta:
    _write(row, position={"phase": phase, "round": row.position.get("round", 1)}, **fields)
    return AT_ONCE


def _check_blockers(row: SubjectRequest, search: Search) -> timedelta | None:
    if reasons := reasons_against(search.subject):
        _end(row, State.FOUND, blocked=reasons)
        return None
    return _go_to(row, "tables", found={}, blocked=[])


def _erase_tables(row: SubjectRequest, search: Search) -> timedelta | None:
    return AT_ONCE if _through_tables(row, search, _replace) else _go_to(row, "member")


def _replace(each: Declaration, search: Search, after: Any, until: Any) -> dict[str, int]:
    if each.by:
        return {}
    changed, refused = erase_rows(each, found_rows(each, search, after=after, until=until))
    return {"changed": changed, "kept": refused}


def _erase_member(row: SubjectRequest, search: Search) -> timedelta | None:
    with transaction.atomic():
        row.renew(now=database_now())
        found = row.found
        for model, n in erase_member(search.subject, row.code).items():
            found = _added(found, model, {"removed": n})
        return _go_to(row, "audit", found=found)


def _erase_audit_events(row: SubjectRequest, search: Search) -> timedelta | None:
    cut, changed = _cut_words(row, search), 0
    if search.subject.names_alone:
        changed = _redact(row, [*search.own.forms, *cut], within=own_events(search.subject))
    changed += _redact(row, [*search.everywhere.forms, *cut], user=search.subject.user)
    found = _added(row.found, AUDIT, {"changed": changed})
    return _go_to(row, "check", found={model: _without_kept(counts) for model, counts in found.items()})


def _cut_words(row: SubjectRequest, search: Search) -> list[str]:
    """Return the beginnings of words with which labels of audit events end that were too long."""
    events = next(each for each in personal_tables() if each.model == AUDIT)
    found: set[str] = set()
    after, more = None, True
    while more:
        until, more = next_window(events.table, after)
        for event in found_rows(events, search, after=after, until=until) if until is not None else ():
            found |= event.words.cut_words(list(event.values.values()))
        row.renew(now=database_now())
        after = until
    return sorted(found)


def _redact(row: SubjectRequest, words: list[str], *, user: User | None = None, within: Q | None = None) -> int:
    return redact(
        Command(row.requested_by),
        words=words,
        user=user,
        within=within,
        progress=lambda _n: row.renew(now=database_now()),
    )


def _without_kept(counts: dict[str, int]) -> dict[str, int]:
    """Return the counts without those that the next look at all tables counts again."""
    return {name: n for name, n in counts.items() if name not in ("kept", "left")}


def _check_again(row: SubjectRequest, search: Search) -> timedelta | None:
    if _through_tables(row, search, _count_left):
        return AT_ONCE
    left = sum(counts.get("left", 0) for counts in row.found.values())
    if left and row.position.get("round", 1) < ROUNDS:
        _write(row, position={"phase": "tables", "round": row.position.get("round", 1) + 1})
        return AT_ONCE
    _finish(row, search)
    return None


def _finish(row: SubjectRequest, search: Search) -> None:
    now = database_now()
    with transaction.atomic():
        _end(row, State.ERASED, subject_sealed="", file_sealed="", size=None, finished_at=now)
        erased.add_to_list(row, search.subject, now=now)
        _forget_others(search, now=now)
        told = {
            "of": row.kind,
            "changed": sum(counts.get("changed", 0) + counts.get("removed", 0) for counts in row.found.values()),
            "kept": sum(counts.get("kept", 0) for counts in row.found.values()),
            "left": sum(counts.get("left", 0) for counts in row.found.values()),
        }
        Command(row.requested_by, now).record(verb="personal_data.erased", obj=row, after=told)
        transaction.on_commit(erased.write_list, robust=True)


def _forget_others(search: Search, *, now: datetime) -> None:
    """Remove the words and files of earlier requests about the same person."""
    for other in SubjectRequest.objects.exclude(subject_sealed=""):
        if set(other.subject().addresses) & set(search.subject.addresses):
            SubjectRequest.objects.filter(pk=other.pk).exclude(state=State.ERASED).update(
                state=State.EXPIRED, subject_sealed="", file_sealed="", lease_until=None, finished_at=now
            )
