"""Queries of the sending setup pages: domains, their DNS records, and the test messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db.models import Max
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _

from customers.accounts.keys.queries import kept_key
from customers.models import Account, Operation, SendingDomain
from customers.models.account import AccountState
from customers.models.operation_states import OPEN, OperationKind

MESSAGES_SHOWN = 5


@dataclass(frozen=True)
class RecordLine:
    """One DNS record the customer publishes. `in_place` is the provider's last check of it; None = not known."""

    type: str
    host: str
    content: str
    required: bool = True
    in_place: bool | None = None


@dataclass(frozen=True)
class DomainLine:
    domain: SendingDomain

    @cached_property
    def records(self) -> list[RecordLine]:
        return [RecordLine(**row) for row in self.domain.records]

    @property
    def required(self) -> list[RecordLine]:
        return [each for each in self.records if each.required]

    @property
    def found(self) -> int:
        return sum(1 for each in self.required if each.in_place)

    @property
    def missing(self) -> list[RecordLine]:
        """The required records that the last check did not find."""
        return [each for each in self.required if each.in_place is False]


def sending_page(account: Account) -> dict[str, Any]:
    """Return the page's data: the domains, and those that are requested and not added yet. The number of queries does
    not depend on the number of domains."""
    domains = SendingDomain.objects.filter(account=account, gone_at=None)
    adding = Operation.objects.filter(account=account, kind=OperationKind.DOMAIN_ADD, state__in=OPEN)
    return {"lines": [DomainLine(each) for each in domains], "adding": list(adding.order_by("pk"))}


def missing_for_sending(account: Account) -> str:
    """Return a code for what the setup of sending lacks; "" = nothing. The templates have the words."""
    if not account.connection.capabilities.sending_setup:
        return "unsupported"
    if account.state == AccountState.DELETED:
        return "deleted"
    if not account.provider_id:
        return "pending"
    if account.state == AccountState.STOPPED_BY_US:
        return "stopped_by_us"
    if account.state in (AccountState.STOPPED_BY_PROVIDER, AccountState.BANNED):
        return "stopped"
    return "" if kept_key(account) else "key"


def read_at(account: Account) -> datetime | None:
    """Return when the domains were last read; None where there are none, read or not."""
    found: datetime | None = SendingDomain.objects.filter(account=account).aggregate(at=Max("read_at"))["at"]
    return found


def domain_or_404(account: Account, name: str) -> DomainLine:
    return DomainLine(get_object_or_404(SendingDomain, account=account, name=name, gone_at=None))


def test_messages(account: Account, domain: str) -> list[Operation]:
    """Return the latest test messages from an address at the domain, newest first."""
    tries = Operation.objects.filter(
        account=account, kind=OperationKind.TEST_MESSAGE, payload__sender__iendswith=f"@{domain}"
    )
    return list(tries.select_related("requested_by").order_by("-pk")[:MESSAGES_SHOWN])


def letter(line: DomainLine) -> tuple[str, str]:
    """Return subject and text of the email that tells the customer which records to publish, in plain text."""
    name = line.domain.name
    parts = [
        _("Hello,"),
        _("Before email can be sent from %(domain)s, please add these records at your DNS provider:")
        % {"domain": name},
        *[_record_text(number, record) for number, record in enumerate(line.records, start=1)],
        _(
            "Copy each value in full, as a single line. Some DNS providers add the domain to the host "
            "automatically. If yours does, leave the domain out of the host. New records can take up to two "
            "days to be visible everywhere."
        ),
        _("Let us know when you're done, and we'll check the records."),
    ]
    return _("DNS records for sending from %(domain)s") % {"domain": name}, "\n\n".join(parts) + "\n"


def _record_text(number: int, record: RecordLine) -> str:
    shown = {"n": number, "type": record.type, "host": record.host, "value": record.content}
    if record.required:
        return _("%(n)d. Type: %(type)s\n   Host: %(host)s\n   Value: %(value)s") % shown
    return _("%(n)d. Type: %(type)s (recommended)\n   Host: %(host)s\n   Value: %(value)s") % shown
