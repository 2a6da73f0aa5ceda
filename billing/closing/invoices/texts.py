"""Amounts of invoices as they are typed, and accounts as a provider's invoice writes them."""

from __future__ import annotations

from decimal import Decimal

from django.utils.translation import gettext as _

from billing.pricing.amounts import canonical_amount
from billing.pricing.rating.currency import as_amount, minor_unit_places
from customers.models import Account
from portal.refusals import Refusal

MOST_MINOR = 10**15


def minor_of(text: str, currency: str, *, field: str) -> int:
    """Return a typed amount in minor units of the currency. Raises `Refusal`."""
    minor = Decimal(text).scaleb(minor_unit_places(currency))
    if minor != int(minor):
        words = {"n": minor_unit_places(currency), "currency": currency}
        raise Refusal(_("Enter %(n)d decimal places at most: %(currency)s has no more.") % words, field=field)
    return int(minor)


def typed_amount(minor: int, currency: str) -> str:
    """Return an amount as a form shows it, such as "1250.50"."""
    return canonical_amount(str(as_amount(minor, minor_unit_places(currency))))


class AccountNames:
    """The accounts of a connection by what an invoice may call them: provider ID, username, or email.

    A name that several accounts have finds none of them, unless it is the provider ID of one.
    """

    def __init__(self, connection: int, only: str = "") -> None:
        """Read all accounts once, or those named `only`."""
        self._by_id: dict[str, int] = {}
        self._by_name: dict[str, int | None] = {}
        rows = Account.objects.filter(connection=connection, duplicate_of=None).order_by()
        wanted = only.casefold()
        names = rows.values_list("pk", "provider_id", "v2_username", "email")
        for pk, provider_id, username, email in names.iterator(chunk_size=5000):
            if provider_id and wanted in ("", provider_id.casefold()):
                self._by_id[provider_id.casefold()] = pk
            for name in {username.casefold(), email.casefold()} - {""}:
                if wanted in ("", name):
                    self._by_name[name] = pk if name not in self._by_name else None

    def find(self, text: str) -> int | None:
        """Return the key of the account, None where none or more than one has this name."""
        name = text.casefold()
        return self._by_id.get(name) or self._by_name.get(name)
