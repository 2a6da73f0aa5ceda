"""Storing of drafts: many statements, lines and findings at once, in a transaction that holds their lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import QuerySet

from billing.models import Side, Statement, StatementFinding, StatementLine
from billing.pricing.statements.results import Draft
from portal.row_inserts import insert_rows
from portal.row_updates import update_rows

_WRITTEN = (
    "total_minor", "total_high_minor", "open_ended", "is_exact", "lines_count", "findings_count", "versions", "inputs",
    "batch", "rated_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose statement it is: of a customer on the sell side, of a connection on the cost side."""

    side: Side
    pk: int

    @property
    def column(self) -> str:
        return "customer_id" if self.side == Side.SELL else "connection_id"


@dataclass(slots=True)
class Rated:
    """The drafts of one owner and the digest of what they were rated from."""

    owner: Owner
    inputs: str
    drafts: Sequence[Draft]


def stored_drafts(side: Side, month: date, owners: Iterable[int]) -> QuerySet[Statement]:
    column = Owner(side, 0).column
    return Statement.objects.filter(side=side, month=month, **{f"{column}__in": list(owners)})


def closed_owners(side: Side, month: date, owners: Iterable[int]) -> set[int | None]:
    """Return those customers (sell) or connections (cost) whose month is closed. Nothing is rated for them again."""
    closed = stored_drafts(side, month, owners).filter(state=Statement.State.CLOSED)
    return set(closed.order_by().values_list(Owner(side, 0).column, flat=True))


def store_drafts(rated: Sequence[Rated], *, month: date, batch: int, now: datetime) -> None:
    """Replace the drafts of these owners, which are all of one side. Needs their lock. `batch`: the last ledger batch
    before their figures were read."""
    if not rated:
        return
    side, column = rated[0].owner.side, rated[0].owner.column
    found = {
        (getattr(row, column), row.currency): row
        for row in stored_drafts(side, month, [each.owner.pk for each in rated])
    }
    wanted = {(each.owner.pk, draft.currency): (each, draft) for each in rated for draft in each.drafts}
    remove_drafts([row.pk for key, row in found.items() if key not in wanted])
    missing = [
        Statement(side=side, month=month, currency=currency, rated_at=now, **{column: pk})
        for pk, currency in wanted.keys() - found.keys()
    ]
    for row in Statement.objects.bulk_create(sorted(missing, key=lambda each: getattr(each, column))):
        found[getattr(row, column), row.currency] = row
    clear([found[key].pk for key in wanted])
    for key, (each, draft) in wanted.items():
        fill(found[key], draft, inputs=each.inputs, batch=batch, now=now)
    update_rows([found[key] for key in wanted], _WRITTEN)
    pks = {key: found[key].pk for key in wanted}
    add_lines((pks[key], line) for key, (_each, draft) in wanted.items() for line in draft.lines)
    add_findings((pks[key], finding) for key, (_each, draft) in wanted.items() for finding in draft.findings)


def fill(statement: Statement, draft: Draft, *, inputs: str, batch: int, now: datetime) -> None:
    """Write the draft's sums to the statement's object."""
    statement.total_minor, statement.total_high_minor = draft.total_minor, draft.total_high_minor
    statement.open_ended, statement.is_exact = draft.open_ended, draft.is_exact
    statement.lines_count, statement.findings_count = len(draft.lines), len(draft.findings)
    statement.versions, statement.inputs = draft.versions, inputs
    statement.batch, statement.rated_at = batch, now


def remove_drafts(statements: Sequence[int]) -> None:
    """Delete drafts that have no currency anymore, with what belongs to them."""
    if statements:
        clear(statements)
        Statement.objects.filter(pk__in=statements, state=Statement.State.DRAFT).delete()


def clear(statements: Sequence[int]) -> None:
    for model in (StatementLine, StatementFinding):
        rows = model._base_manager.filter(statement__in=statements)
        rows._raw_delete(rows.db)  # no row refers to them, and Django would read all of them first


def add_lines(lines: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
    insert_rows(StatementLine, ({"statement_id": pk, **values} for pk, values in lines))


def add_findings(findings: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
    insert_rows(StatementFinding, ({"statement_id": pk, **values} for pk, values in findings))
