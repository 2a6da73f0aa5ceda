"""Which customer, and which of its accounts, each row of a file is about.

A customer is found by its external reference, else by its name, upper or lower case. Two customers with the same name
are left to a person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from billing.models import ParallelRow
from billing.pricing.parallel.spreadsheet import SheetRow
from customers.models import Account, Customer
from portal.typed_text import nfc

Match = ParallelRow.Match
FOUND = (Match.REFERENCE, Match.NAME, Match.HAND)


def matched_rows(rows: Sequence[SheetRow]) -> list[ParallelRow]:
    """Return the rows as they are stored, without their file. Takes two queries, whatever the number of rows."""
    customers = _Customers()
    made = []
    for row in rows:
        match, customer = customers.find(row.customer)
        made.append(
            ParallelRow(
                line=row.line,
                customer_text=row.customer,
                account_text=row.account,
                currency=row.currency,
                amount_minor=row.amount_minor,
                note=row.note,
                match=match,
                customer_id=customer,
            )
        )
    find_accounts(made)
    return made


class _Customers:
    def __init__(self) -> None:
        self._references: dict[str, int] = {}
        self._names: dict[str, list[int]] = defaultdict(list)
        rows = Customer.objects.order_by("pk").values_list("pk", "external_reference", "company_name")
        for pk, reference, name in rows.iterator(chunk_size=5000):
            if reference:
                self._references[reference] = pk
            self._names[key_of(name)].append(pk)

    def find(self, text: str) -> tuple[str, int | None]:
        if pk := self._references.get(text):
            return Match.REFERENCE, pk
        found = self._names.get(key_of(text), [])
        if len(found) == 1:
            return Match.NAME, found[0]
        return (Match.SEVERAL if found else Match.NONE), None


def key_of(name: str) -> str:
    return " ".join(nfc(name).casefold().split())


def find_accounts(rows: Iterable[ParallelRow]) -> None:
    """Set the account of rows that name one, by its ID at the provider or its email. One query."""
    named = [row for row in rows if row.account_text and row.customer_id]
    if not named:
        return
    known = _accounts_of({row.customer_id or 0 for row in named})
    for row in named:
        found = known.get((row.customer_id or 0, row.account_text.casefold()), set())
        if len(found) == 1:
            (row.account_id,) = found
        else:
            row.match, row.customer_id = Match.NO_ACCOUNT, None


def _accounts_of(customers: Collection[int]) -> dict[tuple[int, str], set[int]]:
    accounts = Account.objects.filter(customer__in=customers, duplicate_of=None)
    found: dict[tuple[int, str], set[int]] = defaultdict(set)
    for pk, customer, provider_id, email in accounts.values_list("pk", "customer", "provider_id", "email"):
        for text in filter(None, (provider_id, email)):
            found[customer, text.casefold()].add(pk)
    return found
