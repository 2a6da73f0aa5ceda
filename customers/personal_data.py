"""Personal data in the tables of customers and accounts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.models import Account, AccountImport, Customer, Operation, RemoteAccount
from customers.models.account import AccountState
from customers.models.bulk import ChangeSet
from customers.models.operation import never_made
from customers.models.schedule import Schedule
from portal.personal_data import KnownContact, blocks_erasure, declare, describes_contacts, holds_addresses

_COMPANY = gettext_lazy(
    "The company is the party to contracts and statements, which tax law requires to be kept. Rename the customer if "
    "its name is that of the person."
)
_FOREVER = gettext_lazy("As long as the installation exists, unless erased.")
_SETTINGS = gettext_lazy("As long as the retention settings say.")
_BODIES = gettext_lazy(
    "The bodies: as long as the retention settings say. The rest: as long as the installation exists."
)
_PROOF = gettext_lazy("Proof of what was requested and sent to the provider.")
_OBSERVED = gettext_lazy("Finding differences from the provider.")
_OF_ACCOUNT = "account__customer"

declare(
    "customers.Customer",
    name=gettext_lazy("Customers"),
    why=gettext_lazy("Contacting the customer and creating accounts."),
    until=_FOREVER,
    erased="first_name last_name email phone website external_reference tags",
    kept={"company_name": _COMPANY},
    plain="timezone",
    of_customer="pk",
)
declare(
    "customers.Note",
    name=gettext_lazy("Notes"),
    why=gettext_lazy("What team members need to know about a customer."),
    until=_FOREVER,
    erased="text",
    of_customer="customer",
)
declare(
    "customers.Account",
    name=gettext_lazy("Accounts"),
    why=gettext_lazy("Managing the account at the provider."),
    until=_FOREVER,
    erased="email v2_username desired_settings settings changed_what",
    kept={"company": _COMPANY},
    plain="provider_id provider_kind desired_offerings offerings package state_raw",
    of_customer="customer",
)
declare(
    "customers.Operation",
    name=gettext_lazy("Operations"),
    why=_PROOF,
    until=_FOREVER,
    erased="payload before reason body identity summary field_errors result",
    plain="client_token request_id concurrency_key error_kind",
    of_customer=_OF_ACCOUNT,
)
declare(
    "customers.Step",
    name=gettext_lazy("Operation steps"),
    why=_PROOF,
    until=_FOREVER,
    erased="note",
    plain="before after",
    of_customer="operation__account__customer",
    append_only=True,
)
declare(
    "customers.Attempt",
    name=gettext_lazy("Requests to providers"),
    why=_PROOF,
    until=_BODIES,
    erased="call request response message result",
    plain="provider_request_id",
    of_customer="operation__account__customer",
    append_only=True,
)
declare(
    "customers.UsageReading",
    name=gettext_lazy("Usage readings around changes"),
    why=gettext_lazy("Billing the usage up to a change."),
    until=_FOREVER,
    erased="failure",
    plain="source usage",
    of_customer=_OF_ACCOUNT,
    append_only=True,
)
declare(
    "customers.AccountSpan",
    plain="value package",
)
declare(
    "customers.Schedule",
    name=gettext_lazy("Scheduled changes"),
    why=_PROOF,
    until=_SETTINGS,
    erased="payload base reason outcome",
    plain="zone client_token",
    of_customer=_OF_ACCOUNT,
)
declare(
    "customers.Hold",
    name=gettext_lazy("“Do not suspend” periods"),
    why=gettext_lazy("Proof of why an account is not suspended."),
    until=_SETTINGS,
    erased="reason",
    of_customer=_OF_ACCOUNT,
)
declare(
    "customers.ChangeSet",
    name=gettext_lazy("Bulk changes"),
    why=_PROOF,
    until=_SETTINGS,
    erased="wanted reason message",
    plain="client_token plan_hash approved_hash",
)
declare(
    "customers.ChangeSetItem",
    name=gettext_lazy("Accounts of bulk changes"),
    why=_PROOF,
    until=_SETTINGS,
    erased="before after was becomes warnings note",
    plain="key_id",
    of_customer=_OF_ACCOUNT,
)
declare(
    "customers.DriftIgnore",
    name=gettext_lazy("Snoozed drift"),
    why=_OBSERVED,
    until=_FOREVER,
    erased="found reason",
    plain="field",
    of_customer=_OF_ACCOUNT,
)
declare(
    "customers.AccountKey",
    name=gettext_lazy("API keys"),
    why=_OBSERVED,
    until=_FOREVER,
    erased="label ip_allow_list",
    plain="key_id public_key scopes",
    of_customer=_OF_ACCOUNT,
)
declare("customers.KeySecret", plain="key_id last4 sealed", secret="sealed")  # noqa: S106  the name of a column
declare(
    "customers.SendingDomain",
    name=gettext_lazy("Sending domains"),
    why=_OBSERVED,
    until=_FOREVER,
    erased="name records",
    of_customer=_OF_ACCOUNT,
)
declare(
    "customers.RemoteAccount",
    name=gettext_lazy("Accounts in the provider's list"),
    why=_OBSERVED,
    until=_SETTINGS,
    erased="email first_email name website ignored_why",
    plain="provider_id first_offerings",
)
declare(
    "customers.Scan",
    name=gettext_lazy("Account list scans"),
    why=_OBSERVED,
    until=_SETTINGS,
    erased="message",
    plain="slot",
)
declare(
    "customers.AccountImport",
    name=gettext_lazy("Imports of existing accounts"),
    why=gettext_lazy("Assigning existing accounts to customers."),
    until=_SETTINGS,
    erased="message unmatched",
)
declare(
    "customers.AccountImportItem",
    name=gettext_lazy("Accounts of imports"),
    why=gettext_lazy("Assigning existing accounts to customers."),
    until=_SETTINGS,
    erased="group company email reference note message",
    of_customer="customer",
)
declare(
    "customers.Connection",
    name=gettext_lazy("Connections"),
    why=gettext_lazy("Names and reasons are free text; a login can be the email address of a team member."),
    until=_FOREVER,
    erased="name paused_reason checks",
    kept={"v2_username": gettext_lazy("The login at the provider. Replace it on the connection's page.")},
    plain="kind region base_url api_key_sealed api_key_last4 credential_hash v2_password_sealed "
    "usage_source_when_suspended account_id",
    secret="api_key_sealed credential_hash v2_password_sealed",  # noqa: S106  the names of columns
)
declare("customers.Offering", plain="name type entitlements")
declare(
    "customers.Breaker",
    name=gettext_lazy("Circuit breakers"),
    why=_OBSERVED,
    until=gettext_lazy("Until requests succeed again."),
    erased="reason",
)
declare(
    "customers.Recovery",
    name=gettext_lazy("Holds after a restore"),
    why=_PROOF,
    until=_FOREVER,
    erased="reason_before",
    plain="paused_before",
)
declare("customers.Submission", plain="client_token digest code path")
declare("customers.Heartbeat", plain="name instance queues")
declare(
    "customers.InvariantCheck",
    name=gettext_lazy("Integrity checks"),
    why=gettext_lazy("Finding rows that contradict each other."),
    until=_SETTINGS,
    erased="found",
    plain="slot",
)


def _customers_at(addresses: Iterable[str]) -> Any:
    return Customer.objects.alias(folded=Lower("email")).filter(folded__in=[each.lower() for each in addresses])


def _contact(addresses: Iterable[str]) -> KnownContact:
    rows = list(_customers_at(addresses).values_list("pk", "first_name", "last_name", "phone"))
    customers = {pk for pk, *_rest in rows}
    accounts = Account.objects.alias(folded=Lower("email")).filter(folded__in=[each.lower() for each in addresses])
    customers |= set(accounts.values_list("customer", flat=True))
    names = {" ".join((first, last)) for _pk, first, last, _phone in rows if first and last}
    names |= {" ".join((last, first)) for _pk, first, last, _phone in rows if first and last}
    names |= {f"{last}, {first}" for _pk, first, last, _phone in rows if first and last}
    names |= {phone for *_rest, phone in rows if phone}
    alone = {each for _pk, first, last, _phone in rows for each in (first, last) if each}
    return KnownContact(frozenset(names), frozenset(alone), frozenset(customers))


def _addresses() -> Iterable[str]:
    for model, column in ((Customer, "email"), (Account, "email"), (RemoteAccount, "email")):
        yield from model._default_manager.exclude(**{column: ""}).values_list(column, flat=True).iterator()


def _reasons(subject: Any) -> Iterable[str]:
    """Yield why the data of a contact is still needed: accounts that live at a provider, and what is in progress."""
    if subject.user is not None:
        yield from _unfinished_of_member(subject.user)
        return
    spelled = [each.lower() for each in subject.addresses]
    own = Q(customer__in=subject.customers) | Q(folded__in=spelled)
    accounts = Account.objects.alias(folded=Lower("email"), contact=Lower("customer__email")).filter(own)
    living = accounts.filter(duplicate_of=None).exclude(state__in=(AccountState.DELETED, AccountState.BANNED))
    living = living.exclude(never_made()).filter(Q(folded__in=spelled) | Q(contact__in=spelled))
    for each in living.select_related("customer", "connection")[:20]:
        yield _(
            "An account of %(customer)s at %(provider)s isn't deleted, and the provider has the data. Delete the "
            "account, or change the contact of the customer and the account's email."
        ) % {"customer": each.customer, "provider": each.provider_label}
    pks = accounts.values("pk")
    for operation in Operation.objects.open().filter(account__in=pks)[:20]:
        yield _("Operation %(code)s isn't finished. Wait until it is, or resolve it on its page.") % {
            "code": operation.code
        }
    if Schedule.objects.filter(account__in=pks, state=Schedule.State.WAITING).exists():
        yield _("A change of an account is scheduled. Cancel it first.")
    remote = RemoteAccount.objects.alias(folded=Lower("email")).filter(folded__in=spelled, gone_at=None)
    if remote.exclude(provider_id__in=accounts.exclude(provider_id=None).values("provider_id")).exists():
        yield _("The account list of a provider has an unlinked account with this email. Delete it there first.")


def _unfinished_of_member(user: Any) -> Iterable[str]:
    for operation in Operation.objects.open().filter(requested_by=user)[:20]:
        yield _("Operation %(code)s isn't finished. Wait until it is, or resolve it on its page.") % {
            "code": operation.code
        }
    if AccountImport.objects.filter(asked_by=user, finished_at=None).exists():
        yield _("An import of existing accounts isn't finished. Finish it or cancel it first.")
    if ChangeSet.objects.filter(requested_by=user, finished_at=None).exclude(state=ChangeSet.State.PLANNED).exists():
        yield _("A bulk change isn't finished. Wait until it is, or cancel it first.")


describes_contacts(_contact)
holds_addresses(_addresses)
blocks_erasure(_reasons)
