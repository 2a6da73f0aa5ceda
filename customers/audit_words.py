"""Words of our audit events: labels as the forms show them, and the objects with their pages."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from customers.connections.catalogue import offering_label
from customers.connections.queries import CHECK_WORDS
from customers.labels import cap_text
from customers.models import Account, ChangeSet, Connection, Customer, Schedule
from customers.models.account import AccountState
from customers.models.operation_states import OperationKind
from customers.reconcile.drift import Field
from portal.audit import words
from portal.audit.words import FoundCustomer, ObjectKind
from portal.providers import CAPABILITIES
from portal.query_params import uuid_or_none

_KINDS = dict([*OperationKind.choices, *ChangeSet.Kind.choices, *Schedule.Kind.choices])
_NAMES: dict[str, words.Text] = {
    **CHECK_WORDS,
    "accounts": _("Accounts"),
    "connection.verified:accounts": _("Account list"),
    "account_id": _("Provider account ID"),
    "connection.created:account_id": _("Parent account ID"),
    "connection.edited:account_id": _("Parent account ID"),
    "addon": _("Add-on"),
    "anomaly": _("Finding"),
    "api_key_last4": _("API key ends in"),
    "base_url": _("API URL"),
    "billing_period": _("Billing period start"),
    "bulk.planned:left": _("Accounts left out"),
    "cap": _("Monthly cap"),
    "company_name": _("Company"),
    "company_website": _("Website"),
    "creates_per_hour": _("Maximum account creations per hour"),
    "cycle_end": _("End of the billing period"),
    "despite_hold": _("Overrides “Do not suspend”"),
    "due": _("When"),
    "duplicate_of": _("Duplicate of"),
    "ends_in": _("API key ends in"),
    "epoch": _("Restore number"),
    "external_reference": _("External reference"),
    "field": _("Drift"),
    "ip_allow_list": _("IP allowlist"),
    "is_test": _("Test account"),
    "keep": _("Store this key (encrypted) for sending setup"),
    "keep_keys": _("Allow storing account API keys"),
    "key_id": _("API key ID"),
    "kind": _("Provider"),
    "merged_into": _("Merged into"),
    "monthly_cap": _("Monthly cap"),
    "no_longer_sold": _("No longer sold"),
    "note.added:text": _("Note"),
    "operation": _("Operation"),
    "provider_id": _("Provider account ID"),
    "recipient": _("To"),
    "replaced": _("Replaced"),
    "replaces": _("Replaces API key"),
    "requests_per_minute": _("Requests per minute"),
    "same_key_as": _("Same key as"),
    "sender": _("From"),
    "test_accounts_only": _("Create test accounts only"),
    "timezone": _("Time zone"),
    "until": _("Until"),
    "usage_source": _("Usage source"),
    "v2_auth": _("v2 API authentication"),
    "v2_username": _("v2 username"),
    "valid": _("DNS records are correct"),
    "what": _("Action"),
    "without_reading": _("Delete without final usage data"),
}


def _cap(value: Any, _facts: Mapping[str, Any]) -> str:
    return cap_text(value) if isinstance(value, int) else str(value)


def _offering(value: Any, _facts: Mapping[str, Any]) -> str:
    return words.offering_words(str(value))


def _account(value: Any, _facts: Mapping[str, Any]) -> str:
    """Earlier events hold the ID of the account, later ones its label."""
    return gettext("another account") if uuid_or_none(str(value)) else str(value)


def _hold(_value: Any, _facts: Mapping[str, Any]) -> str:
    return gettext("yes")


def _operation(label: str) -> str:
    """Return "Suspend op_7C31AB" for "op_7C31AB suspend"."""
    code, _space, kind = label.partition(" ")
    return f"{_KINDS[kind]} {code}" if kind in _KINDS else label


def _kind_first(label: str) -> str:
    """Return "Suspend, 18 Nov 2026" for what begins with a kind and has a time in it."""
    kind, _space, rest = label.partition(" ")
    found = next((day for each in rest.split() if (day := _day(each))), "")
    return ", ".join(part for part in (str(_KINDS.get(kind, kind)), found) if part)


def _day(text: str) -> str:
    try:
        return words.full_day(datetime.strptime(text, "%Y-%m-%d").date())  # noqa: DTZ007  a day has no zone
    except ValueError:
        return ""


def _scan(label: str) -> str:
    return gettext("Account list")


def _find_customer(key: uuid.UUID) -> FoundCustomer | None:
    found = Customer.objects.filter(public_id=key).first()
    return FoundCustomer(key, str(found)) if found else None


def _find_account(key: uuid.UUID) -> FoundCustomer | None:
    found = Account.objects.filter(public_id=key).select_related("customer", "connection").first()
    return FoundCustomer(found.customer.public_id, str(found)) if found else None


OBJECTS = {
    "customers.customer": ObjectKind(_("Customer"), "customers:detail", find=_find_customer),
    "customers.account": ObjectKind(_("Account"), "customers:account", find=_find_account),
    "customers.operation": ObjectKind(_("Operation"), "customers:operation", _operation),
    "customers.connection": ObjectKind(_("Connection"), "customers:connection"),
    "customers.changeset": ObjectKind(_("Bulk change"), "customers:bulk", _kind_first),
    "customers.takeover": ObjectKind(_("Account import"), "customers:estate"),
    "customers.note": ObjectKind(_("Note")),
    "customers.schedule": ObjectKind(_("Scheduled change"), text=_kind_first),
    "customers.hold": ObjectKind(_("“Do not suspend”"), text=lambda _label: ""),
    "customers.sighting": ObjectKind(_("Unlinked account")),
    "customers.scan": ObjectKind(_("Account list scan"), text=_scan),
}


def register_customer_words() -> None:
    """Register our words; called once, when the models are loaded."""
    words.set_offering_label(offering_label)
    words.add_names(_NAMES)
    words.add_formats({"monthly_cap": _cap, "cap": _cap, "package": _offering, "addon": _offering})
    words.add_formats({"duplicate_of": _account, "merged_into": _account, "despite_hold": _hold})
    scopes = {scope.name for each in CAPABILITIES.values() for scope in each.own_scopes}
    words.add_name_reader(lambda name: name if name in scopes else None)
    words.add_labels(
        {
            "what": _KINDS,
            "kind": {kind: each.label for kind, each in CAPABILITIES.items()},
            "region": {"global": _("Global"), "eu": _("EU")},
            "usage_source": dict(Connection.UsageSource.choices),
            "source": dict(Connection.UsageSource.choices),
            "v2_auth": dict(Connection.V2Auth.choices),
            "field": dict(Field.choices),
        }
    )
    words.add_implied(
        {
            "account.suspend_asked": {"state": AccountState.STOPPED_BY_US.value},
            "account.unsuspend_asked": {"state": AccountState.ACTIVE.value},
            "account.delete_asked": {"state": AccountState.DELETED.value},
        }
    )
    words.add_objects(OBJECTS)
