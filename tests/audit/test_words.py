"""The words of the audit log: every verb has one, and values are shown as the forms show them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from customers.operations.texts import TEXTS
from portal import audit
from portal.audit.differences import changes
from portal.audit.models import AuditEvent
from portal.audit.queries import entry_of
from portal.audit.verbs import VERBS
from tests.audit.raw_codes import raw_codes
from tests.support.factories import AccountFactory, OperationFactory, UserFactory

PRO = {"name": "postkeeper.ei.pro-100k.v1", "type": "package", "quantity": 1}
ADDRESSES = {"name": "postkeeper.x.ip.v2", "type": "addon", "quantity": 2}
# What commands record, one of each kind of value: verb, before, after, and what is shown.
CASES: list[tuple[str, Any, Any, dict[str, tuple[str, str]]]] = [
    (
        "account.offerings_asked", {"desired_offerings": [PRO]}, {"offerings": [PRO, ADDRESSES]},
        {"Offerings": ("Pro 100K", "Pro 100K, Dedicated IP \u00d7 2")},
    ),
    ("account.suspend_asked", {"desired_state": "active"}, {}, {"State": ("Active", "Suspended")}),
    ("account.delete_asked", {"desired_state": "active"}, {"without_reading": False},
     {"State": ("Active", "Deleted"), "Delete without final usage data": ("", "no")}),
    ("operation.cancelled", {"desired_state": "active"}, {}, {"State": ("", "Active")}),
    (
        "account.settings_asked", {"desired_settings": {"name": "A", "monthly_cap": 100_000}},
        {"settings": {"name": "A", "monthly_cap": 0}, "changes": {"monthly_cap": 0}},
        {"Monthly cap": ("100,000 emails/month", "No cap")},
    ),
    (
        "key.create_asked", {}, {"key": {"label": "Shop", "scopes": ["a:b"], "ip_allow_list": []}, "keep": True},
        {"Label": ("", "Shop"), "Scopes": ("", "a:b"), "IP allowlist": ("", "none"),
         "Store this key (encrypted) for sending setup": ("", "yes")},
    ),
    ("schedule.moved", {"cycle_end": "2026-11-18"}, {"cycle_end": "2026-11-20"},
     {"End of the billing period": ("18 Nov 2026", "20 Nov 2026")}),
    ("schedule.asked", {}, {"what": "suspend", "due": "2026-11-18T23:30:00+00:00"},
     {"Action": ("", "Suspend"), "When": ("", "19 Nov 2026 00:30 CET")}),
    ("account.marked_duplicate", {}, {"duplicate_of": "7d9f0d1c-2f0e-4a63-9d5c-0d5c8b0a0d11"},
     {"Duplicate of": ("", "another account")}),
    ("bulk.planned", {}, {"what": "cap", "cap": 0, "accounts": 1200, "left": 3},
     {"Action": ("", "Set monthly cap"), "Monthly cap": ("", "No cap"), "Accounts": ("", "1,200"),
      "Accounts left out": ("", "3")}),
    ("staff.recovery_code_used", {}, {"left": 3}, {"Recovery codes left": ("", "3")}),
    ("approval.rule_changed", {"window_hours": 1}, {"window_hours": 24}, {"Time window": ("1 hour", "24 hours")}),
    ("approval.requested", {}, {"approval_kind": "close_month"}, {"Needs approval for": ("", "Close month")}),
    ("billing.terms_edited", {"grace_days": 3}, {"grace_days": 1}, {"Days until a month is in review": ("3", "1")}),
    ("month.closed", {}, {"month": "2026-10", "first_number": 1204}, {"Month": ("", "October 2026"),
     "First statement number": ("", "1204")}),
    ("invoice.entered", {}, {"total": "3823.03", "currency": "USD"}, {"Total": ("", "$3,823.03"),
     "Currency": ("", "USD")}),
    ("invoice.line_added", {}, {"kind": "addon", "amount": "-3", "currency": "EUR"},
     {"Kind": ("", "Add-on"), "Amount": ("", "\u2212\u20ac3.00"), "Currency": ("", "EUR")}),
    ("blocker.accepted", {}, {"kind": "no_contract", "amount_minor": 1250, "currency": "EUR"},
     {"Blocker": ("", "No contract"), "Amount": ("", "\u20ac12.50"), "Currency": ("", "EUR")}),
    (
        "price_list.price_edited", {"postkeeper.ei.pro-100k.v1, Base fee: amount": "39.00", "currency": "USD"},
        {"postkeeper.ei.pro-100k.v1, Base fee: amount": "36.00", "currency": "USD"},
        {"Pro 100K, Base fee: amount": ("$39.00", "$36.00")},
    ),
    ("price_list.price_edited", {"Every account, Base fee: on_close": "x"}, {},
     {"Every account, Base fee: last period": ("x", "")}),
    ("contract.edited", {"commit": "100", "currency": "USD", "list_sendgrid": "A"},
     {"commit": "1200", "currency": "USD", "list_sendgrid": "B"},
     {"Minimum commit per month": ("$100.00", "$1,200.00"), "Price list for SendGrid": ("A", "B")}),
    ("contract.edited", {"discount": None},
     {"discount": {"percent": "10", "kinds": ["base", "overage"], "valid_from": "2026-08-01"}},
     {"Discount": ("", "10% of Base fee and Overage, from 1 Aug")}),
    ("contract.published", {}, {"price_lists": ["AhaSend, euros", "SendGrid, euros"]},
     {"Price lists": ("", "AhaSend, euros; SendGrid, euros")}),
    ("connection.billing_edited", {"cost_source": "volume"}, {"cost_source": "price_list"},
     {"Cost": ("Shared invoice, by volume", "Cost price list")}),
    ("connection.verified", {}, {"sub-accounts:read": True, "accounts": False},
     {"sub-accounts:read": ("", "yes"), "Account list": ("", "no")}),
    ("customer.edited", {"note": ""}, {"note": None}, {}),
    ("customer.edited", {"monthly_cap": {"odd": 1}}, {}, {"Monthly cap": ("{'odd': 1}", "")}),
]  # fmt: skip
IDS = [f"{n}-{case[0]}" for n, case in enumerate(CASES)]


@pytest.mark.parametrize(("verb", "before", "after", "shown"), CASES, ids=IDS)
def test_values_are_shown_as_forms_show_them(
    verb: str, before: Any, after: Any, shown: dict[str, tuple[str, str]], time_machine: Any
) -> None:
    time_machine.move_to("2026-11-20T12:00:00+00:00", tick=False)
    with timezone.override("Europe/Oslo"):
        found = changes(before, after, verb)
    assert {each.label: (each.before, each.after) for each in found} == shown


@pytest.mark.django_db
def test_objects_are_named_and_lead_to_their_pages() -> None:
    account, person = AccountFactory(), UserFactory(name="Ada")
    operation = OperationFactory(account=account, kind="suspend")
    entries = {
        about._meta.model_name: entry_of(audit.record(actor=None, verb=verb, obj=about))
        for about, verb in (
            (account, "account.refreshed"), (operation, "operation.succeeded"), (person, "staff.disabled"),
        )
    }  # fmt: skip
    assert {name: (each.about_kind, each.about, each.page) for name, each in entries.items()} == {
        "account": ("Account", str(account), "customers:account"),
        "operation": ("Operation", f"Suspend {operation.code}", "customers:operation"),
        "user": ("Team member", "Ada", "access:staff-member"),
    }
    asked = entry_of(audit.record(actor=None, verb="account.suspend_asked", obj=operation))
    assert asked.about == operation.code, "the title says what was requested"
    assert asked.whose == str(account.customer)


@pytest.mark.parametrize(
    ("object_type", "label", "shown"),
    [
        ("customers.schedule", "suspend of 12 at 2026-11-18 09:00 UTC", "Suspend, 18 Nov 2026"),
        ("customers.changeset", "cap 2026-11-18 09:00", "Set monthly cap, 18 Nov 2026"),
        ("customers.hold", "12 protected by 3", ""),
        ("billing.contract", "73 contract 2", "Contract 2"),
        ("billing.monthclosing", "2026-10 closing 2", "October 2026, run 2"),
        ("billing.statement", "sell 2026-11 USD", "November 2026, USD"),
        ("billing.syncrun", "SendGrid EU nightly 2026-11-18", "SendGrid EU"),
        ("billing.unlisted_thing", "Some label", "Some label"),
    ],
)
def test_labels_of_objects_hold_no_numbers_of_rows(object_type: str, label: str, shown: str) -> None:
    event = AuditEvent(verb="note.added", object_type=object_type, object_label=label)
    assert entry_of(event).about == shown


def test_a_refusal_of_single_sign_on_has_its_reason_in_words() -> None:
    event = AuditEvent(verb="staff.sso_refused", reason="no_group")
    assert entry_of(event).reason == "None of your groups has access"
    assert entry_of(event).who == "Not signed in"


def test_a_code_is_found() -> None:
    values = {"x": "stopped_by_us", "y": "2026-11-18T99:00", "z": "customer_success", "n": {"a": 1}}
    event = AuditEvent(verb="account.moved", after=values, object_label="2026-11-18", object_type="x")
    assert [each.rpartition(": ")[2] for each in raw_codes(event)] == [
        "stopped_by_us", "2026-11-18T99:00", "customer_success", "2026-11-18",
    ]  # fmt: skip


@pytest.mark.parametrize("case", CASES[:-1], ids=IDS[:-1])
def test_no_difference_shows_a_code(case: tuple[str, Any, Any, Any]) -> None:
    verb, before, after, _shown = case
    assert list(raw_codes(AuditEvent(verb=verb, before=before, after=after))) == []


# --- Verbs ------------------------------------------------------------------------------------------------------------


def _recorded() -> Iterator[str]:
    """Yield the verbs that the code passes on: as `verb`, by a name that holds one, or to a function that takes one."""
    trees = [
        ast.parse(file.read_text())
        for room in ("portal", "customers", "billing")
        for file in sorted((settings.BASE_DIR / room).rglob("*.py"))
        if "sandbox" not in file.parts
    ]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    named: dict[str, str] = {}
    takers: dict[str, int] = {}
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                named[name] = text
            case ast.FunctionDef(name=name, args=ast.arguments(args=args)):
                takers.update((name, n) for n, each in enumerate(args) if each.arg == "verb")
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        given = [each.value for each in node.keywords if each.arg == "verb"]
        if name in takers and len(node.args) > takers[name]:
            given.append(node.args[takers[name]])
        for part in (part for value in given for part in ast.walk(value)):
            match part:
                case ast.Constant(value=str(text)) if _is_verb(text):
                    yield text
                case ast.Name(id=known) if _is_verb(named.get(known, "")):
                    yield named[known]


def _is_verb(text: str) -> bool:
    before, dot, after = text.partition(".")
    return bool(dot) and all(part.replace("_", "").isalpha() and part.islower() for part in (before, after))


def test_every_verb_of_the_code_has_a_sentence() -> None:
    used = set(_recorded()) - set(TEXTS)
    assert used - set(VERBS) == set()
    assert {"key.secret_shown", "account.signed_in_as", "customers.exported", "staff.sso_refused"} <= used
    assert len(used) > 100


def test_sentences_are_in_the_past_and_say_one_thing() -> None:
    labels = [str(each.label) for each in VERBS.values()]
    assert [label for label in labels if label.endswith(".") or label[:1] != label[:1].upper()] == [
        "v2 username changed"
    ]
    assert [label for label in labels if "_" in label] == []
