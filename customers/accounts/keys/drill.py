"""Choose the keys of a compromise drill: the filters of the list, pasted accounts or customers, or a team member.

Of accounts and customers all living keys are meant, as the provider lists them then. Of a team member those are meant
whose secret they revealed, by the audit log, and of filters those that the list shows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.accounts.keys.hygiene import KeyFilters
from customers.bulk.commands import MOST
from customers.bulk.forms import OLD_KEYS
from customers.bulk.keys import LATER
from customers.forms import TokenForm
from customers.models import Account, AccountKey, ChangeSet
from customers.observed import key_lists
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.query_params import uuid_or_none
from portal.typed_text import TypedText

FILTER, ACCOUNTS, MEMBER = "filter", "accounts", "member"
REVEALED = "key.secret_shown"
NAMED_AT_MOST = 5


@dataclass(frozen=True)
class KeyChoice:
    """Accounts all of whose keys are meant, and single keys."""

    account_ids: list[int] = field(default_factory=list)
    named_keys: list[tuple[int, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.account_ids or self.named_keys)


def keys_of_filters(filters: KeyFilters) -> list[tuple[int, str]]:
    return list(filters.keys.values_list("account_id", "key_id")[: MOST + 1])


def keys_seen_by(person: User) -> list[tuple[int, str]]:
    """Return the keys whose secret the person revealed, by the audit log, without those known to be deleted."""
    events = AuditEvent.objects.filter(actor=person, verb=REVEALED, account_id__isnull=False)
    seen = {(account, after.get("key_id", "")) for account, after in events.values_list("account_id", "after")}
    accounts = dict(Account.objects.filter(public_id__in={each[0] for each in seen}).values_list("public_id", "pk"))
    pairs = {(accounts[account], key_id) for account, key_id in seen if account in accounts and key_id}
    gone = AccountKey.objects.filter(account__in=accounts.values(), gone_at__isnull=False)
    return sorted(pairs - set(gone.values_list("account_id", "key_id")))


def accounts_of_text(text: str) -> tuple[list[int], dict[str, str]]:
    """Return the accounts of pasted lines, and what is wrong with lines, by line. A line is an account ID, or a
    customer's company name, email, or external reference. The number of queries does not depend on the lines."""
    lines = list(dict.fromkeys(filter(None, (each.strip() for each in text.splitlines()))))
    found, customers = _accounts_by_line(lines)
    chosen: set[int] = set()
    wrong: dict[str, str] = {}
    for each in lines:
        if len(customers[each.casefold()]) > 1:
            wrong[each] = _("matches more than one customer")
        elif accounts := found[each.casefold()]:
            chosen |= accounts
        elif customers[each.casefold()]:
            wrong[each] = _("has no account whose API keys the portal manages")
        else:
            wrong[each] = _("matches no account and no customer")
    return sorted(chosen), wrong


def _accounts_by_line(lines: Iterable[str]) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Return the accounts, and the customers, that lines mean, by the line in lower case."""
    wanted = {each.casefold() for each in lines}
    rows = Account.objects.annotate(
        by_id=Lower("provider_id"),
        by_name=Lower("customer__company_name"),
        by_email=Lower("customer__email"),
        by_reference=Lower("customer__external_reference"),
    )
    any_of = Q(by_id__in=wanted) | Q(by_name__in=wanted) | Q(by_email__in=wanted) | Q(by_reference__in=wanted)
    with_keys = key_lists.accounts_with_keys().filter(pk__in=rows.filter(any_of).values("pk"))
    managed = set(with_keys.values_list("pk", flat=True))
    accounts: dict[str, set[int]] = defaultdict(set)
    customers: dict[str, set[int]] = defaultdict(set)
    columns = ("pk", "customer_id", "by_id", "by_name", "by_email", "by_reference")
    for pk, customer, *texts in rows.filter(any_of).order_by().values_list(*columns):
        for position, text in enumerate(texts):
            if text not in wanted:
                continue
            if pk in managed:
                accounts[text].add(pk)
            if position or pk not in managed:  # an account's ID names that account alone
                customers[text].add(customer)
    return accounts, customers


class KeyDrillForm(TokenForm):
    """The keys, and what is done with them. `choice` is for a valid form."""

    source = forms.ChoiceField(
        label=gettext_lazy("Keys"),
        widget=forms.RadioSelect,
        error_messages={"required": gettext_lazy("Select which keys.")},
    )
    accounts = TypedText(
        label=gettext_lazy("Accounts or customers"),
        required=False,
        max_length=400_000,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "autocomplete": "off"}),
    )
    member = forms.ChoiceField(label=gettext_lazy("Team member"), required=False)
    kind = forms.ChoiceField(
        label=gettext_lazy("Action"),
        widget=forms.RadioSelect,
        error_messages={"required": gettext_lazy("Select an action.")},
    )
    old = forms.ChoiceField(
        label=gettext_lazy("Delete the old keys"),
        widget=forms.RadioSelect,
        choices=OLD_KEYS,
        initial=LATER,
        required=False,
    )
    reason = TypedText(
        label=gettext_lazy("Reason"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": gettext_lazy("Enter a reason. It's recorded in the audit log.")},
    )

    def __init__(self, *args: Any, filters: KeyFilters, kinds: list[ChangeSet.Kind], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.filters, self.choice = filters, KeyChoice()
        sources = [
            (ACCOUNTS, _("All keys of accounts or customers")),
            (MEMBER, _("Keys whose secret a team member revealed")),
        ]
        if filters.is_narrowed:
            sources.insert(0, (FILTER, _("The keys of the filtered list")))
        self._choices("source", sources)
        self.initial["source"] = sources[0][0]
        people = User.objects.order_by("name").values_list("public_id", "name", "is_active")
        members = [(str(key), name if is_active else _("%s (disabled)") % name) for key, name, is_active in people]
        self._choices("member", [("", _("Select")), *members])
        self._choices("kind", [(each.value, str(each.label)) for each in kinds])

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        self.fields[name].choices = choices  # type: ignore[attr-defined]  # of a ChoiceField

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if said.get("kind") == ChangeSet.Kind.KEY_ROTATE and not said.get("old"):
            self.add_error("old", _("Select when the old keys are deleted."))
        match said.get("source"):
            case "filter":
                self.choice = KeyChoice(named_keys=keys_of_filters(self.filters))
            case "accounts":
                self._take_accounts(said.get("accounts") or "")
            case "member":
                self._take_member(said.get("member") or "")
        if said.get("source") and not self.choice and not self.errors:
            self.add_error("source", _("There are no such keys."))
        return said

    def _take_accounts(self, text: str) -> None:
        chosen, wrong = accounts_of_text(text)
        if wrong:
            told = [f"“{line[:80]}” {why}." for line, why in list(wrong.items())[:NAMED_AT_MOST]]
            if len(wrong) > NAMED_AT_MOST:
                told.append(_("%(n)d more lines can't be used.") % {"n": len(wrong) - NAMED_AT_MOST})
            for each in told:
                self.add_error("accounts", each)
        elif not chosen:
            self.add_error("accounts", _("Enter at least one account or customer."))
        self.choice = KeyChoice(account_ids=chosen)

    def _take_member(self, public_id: str) -> None:
        key = uuid_or_none(public_id)
        person = User.objects.filter(public_id=key).first() if key else None
        if person is None:
            self.add_error("member", _("Select a team member."))
        else:
            self.choice = KeyChoice(named_keys=keys_seen_by(person))
            if not self.choice:
                self.add_error("member", _("%(name)s revealed the secret of no key that exists.") % {"name": person})

    def wanted(self) -> dict[str, Any]:
        return {"old": self.cleaned_data["old"]} if self.cleaned_data["kind"] == ChangeSet.Kind.KEY_ROTATE else {}
