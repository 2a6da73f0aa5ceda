"""Two people edit the same row from forms that were opened at the same time."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import Contract
from billing.pricing.contracts import commands as contract_commands
from customers.models import AccountKey, Connection, Customer, Operation, Schedule
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.billing.closing.invoiced import invoice as provider_invoice
from tests.billing.closing.invoiced import line as invoice_line
from tests.billing.pricing.pages import BASE, by, draft_with, new_list
from tests.customers.keys import account_with_keys, key_of
from tests.support.edits import fields_of
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, CustomRoleFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


class Editor:
    """A person with the page open in a browser."""

    def __init__(self, url: str, role: str = "admin", name: str = "Ada") -> None:
        self.person: User = UserFactory(role=role, name=name)
        self.client, self.url = sign_in(Client(), self.person), url
        self.fields = fields_of(self.client.get(url).content.decode())
        self.page = ""

    def save(self, **typed: str | None) -> int:
        sent = self.fields | typed
        answer = self.client.post(self.url, {name: value for name, value in sent.items() if value is not None})
        self.page = answer.content.decode()
        if answer.status_code == 409:
            self.fields = fields_of(self.page)
        return answer.status_code


def two(url: str, role: str = "admin") -> tuple[Editor, Editor]:
    return Editor(url, role, "Ada"), Editor(url, role, "Bo")


class TestAConnection:
    @pytest.fixture
    def url(self) -> str:
        row = ConnectionFactory(name="SendGrid EU")
        return reverse("customers:connection-edit", args=[row.public_id])

    def test_brakes_outlive_a_name_that_is_saved_from_an_older_page(self, url: str) -> None:
        ada, bo = two(url)
        assert ada.save(creates_per_hour="5", test_accounts_only="on") == 303
        assert bo.save(name="SendGrid Europe") == 303
        row = Connection.objects.get()
        assert (row.name, row.creates_per_hour, row.test_accounts_only) == ("SendGrid Europe", 5, True)
        assert AuditEvent.objects.filter(verb="connection.edited").latest("id").after == {"name": "SendGrid Europe"}

    def test_a_conflict_shows_both_values_and_keeps_the_input(self, url: str) -> None:
        ada, bo = two(url)
        assert ada.save(creates_per_hour="5", test_accounts_only="on") == 303
        assert bo.save(creates_per_hour="20", name="SendGrid Europe") == 409
        assert Connection.objects.get().creates_per_hour == 5
        assert "Ada saved changes at" in bo.page
        assert (bo.fields["name"], bo.fields["creates_per_hour"]) == ("SendGrid Europe", "20")
        assert bo.fields["test_accounts_only"] == "on", "what the other changed is in the form"
        assert bo.save() == 422
        assert "Select which value to save." in bo.page
        assert bo.save(**{"choice-creates_per_hour": "theirs"}) == 303
        row = Connection.objects.get()
        assert (row.name, row.creates_per_hour, row.test_accounts_only) == ("SendGrid Europe", 5, True)

    def test_ones_own_value_can_be_chosen(self, url: str) -> None:
        ada, bo = two(url)
        ada.save(creates_per_hour="5")
        assert bo.save(creates_per_hour="20") == 409
        assert bo.save(**{"choice-creates_per_hour": "mine"}) == 303
        assert Connection.objects.get().creates_per_hour == 20
        told = AuditEvent.objects.filter(verb="connection.edited").latest("id")
        assert (told.before, told.after) == ({"creates_per_hour": 5}, {"creates_per_hour": 20})

    def test_a_value_typed_beside_the_other_choice_is_asked_about(self, url: str) -> None:
        ada, bo = two(url)
        ada.save(creates_per_hour="5")
        assert bo.save(creates_per_hour="20") == 409
        assert bo.save(**{"choice-creates_per_hour": "theirs", "creates_per_hour": "30"}) == 422
        assert "Select which value to save." in bo.page
        assert fields_of(bo.page)["creates_per_hour"] == "30"
        assert Connection.objects.get().creates_per_hour == 5

    def test_a_third_value_meanwhile_is_asked_about_again(self, url: str) -> None:
        ada, bo = two(url)
        ada.save(creates_per_hour="5")
        assert bo.save(creates_per_hour="20") == 409
        Editor(url).save(creates_per_hour="7")
        assert bo.save(**{"choice-creates_per_hour": "mine"}) == 409
        assert Connection.objects.get().creates_per_hour == 7

    def test_the_same_value_twice_is_no_conflict(self, url: str) -> None:
        ada, bo = two(url)
        assert (ada.save(creates_per_hour="5"), bo.save(creates_per_hour="5")) == (303, 303)

    @pytest.mark.parametrize("seen", [None, "[]", "{", '{"public_id": 1, "paused": "auth"}', "\x00"])
    def test_a_page_without_what_it_was_opened_with_undoes_nothing(self, url: str, seen: str | None) -> None:
        ada, bo = two(url)
        ada.save(creates_per_hour="5")
        assert bo.save(seen=seen) == 409
        assert Connection.objects.get().creates_per_hour == 5

    def test_two_new_keys(self, url: str) -> None:
        row = Connection.objects.get()
        ada, bo = two(reverse("customers:connection-key", args=[row.public_id]))
        ada.save(api_key="SG.the-key-of-ada")
        assert bo.save(api_key="SG.the-key-of-bo") == 409
        assert "the-key-of-bo" not in bo.page
        assert Connection.objects.get().open("api_key_sealed") == "SG.the-key-of-ada"
        bo.save(api_key="SG.the-key-of-bo")
        assert Connection.objects.get().open("api_key_sealed") == "SG.the-key-of-bo"


class TestACustomer:
    @pytest.fixture
    def url(self) -> str:
        row = CustomerFactory(company_name="Larkfield", website="larkfield.example", tags=["key"])
        return reverse("customers:edit", args=[row.public_id])

    def test_saving_a_phone_from_an_older_page_keeps_the_new_website(self, url: str) -> None:
        Customer.objects.update(website="")
        ada, bo = two(url, "customer_success")
        assert ada.save(website="www.larkfield.example") == 303
        assert bo.save(phone="+49 30 1234567", owner=str(bo.person.public_id)) == 303
        row = Customer.objects.get()
        assert (row.website, row.phone, row.owner) == ("www.larkfield.example", "+49301234567", bo.person)

    def test_tags_of_two_people(self, url: str) -> None:
        ada, bo = two(url, "customer_success")
        ada.save(tags="key, north")
        assert bo.save(tags="key, south") == 409
        assert Customer.objects.get().tags == ["key", "north"]
        assert "key, north" in bo.page
        assert bo.save(**{"tags": "key, north, south", "choice-tags": "mine"}) == 303
        assert Customer.objects.get().tags == ["key", "north", "south"]

    def test_an_old_way_of_writing_is_left_as_it_is(self, url: str) -> None:
        Customer.objects.update(phone="+49 30 1234567")
        assert Editor(url, "customer_success").save(first_name="Lena") == 303
        assert Customer.objects.get().phone == "+49 30 1234567"


class TestATeamMember:
    def test_a_role_that_another_admin_changed(self) -> None:
        member = UserFactory(role="auditor")
        page = reverse("access:staff-member", args=[member.public_id])
        ada, bo = two(page)
        ada.url = bo.url = reverse("access:staff-role", args=[member.public_id])
        assert ada.save(role="finance") == 303
        assert bo.save(role="admin") == 409
        assert "Ada saved changes at" in bo.page
        assert User.objects.get(pk=member.pk).role == "finance"
        assert bo.save(**{"choice-role": "mine"}) == 303
        assert User.objects.get(pk=member.pk).role == "admin"

    def test_ones_own_profile_in_two_windows(self) -> None:
        one = Editor(reverse("profile"), "finance", "Bo")
        other = Editor(reverse("profile"), "finance", "Cy")
        sign_in(other.client, one.person)
        other.fields = fields_of(other.client.get(other.url).content.decode())
        assert one.save(name="Bo Berg") == 303
        assert other.save(timezone="Europe/Berlin") == 303
        row = User.objects.get(pk=one.person.pk)
        assert (row.name, row.timezone) == ("Bo Berg", "Europe/Berlin")
        assert one.save(name="Bo Bergman", timezone="Europe/Oslo") == 409


# -- every form that edits a row --------------------------------------------------------------------------------


def _connection(kind: str) -> tuple[str, str, str, str]:
    facts = {"kind": kind, "base_url": f"https://api.{kind}.com"}
    row = ConnectionFactory(**facts, account_id="0b4c2dd7-4ea0-4b33-a4b4-0d8b6c1f2a10" if kind == "ahasend" else "")
    return reverse("customers:connection-edit", args=[row.public_id]), "name", "Typed by Ada", "Typed by Bo"


def _key_of_connection() -> tuple[str, str, str, str]:
    """Secrets are shown by their ends, and the own one not at all."""
    url = reverse("customers:connection-key", args=[ConnectionFactory().public_id])
    return url, "api_key", "SG.the-key-of-adas", "SG.the-key-of-bo"


def _customer() -> tuple[str, str, str, str]:
    url = reverse("customers:edit", args=[CustomerFactory().public_id])
    return url, "company_name", "Typed by Ada", "Typed by Bo"


def _username() -> tuple[str, str, str, str]:
    url = reverse("customers:account-username", args=[AccountFactory().public_id])
    return url, "username", "typed.by.ada", "typed.by.bo"


def _schedule() -> tuple[str, str, str, str]:
    now = timezone.now()
    row = Schedule.objects.create(
        account=AccountFactory(), kind="suspend", base_version=1, reason="At first", requested_by=UserFactory(),
        created_at=now, due_at=now + timedelta(days=3), client_token="a" * 32,
    )  # fmt: skip
    return reverse("customers:schedule-edit", args=[row.public_id]), "reason", "Typed by Ada", "Typed by Bo"


def _role() -> tuple[str, str, str, str]:
    return reverse("access:staff-member", args=[UserFactory(role="auditor").public_id]), "role", "finance", "admin"


def _custom_role() -> tuple[str, str, str, str]:
    row = CustomRoleFactory(permissions=["view"])
    return reverse("access:role-edit", args=[row.public_id]), "name", "Typed by Ada", "Typed by Bo"


def _key() -> tuple[str, str, str, str]:
    account = account_with_keys()
    key_of(account, label="Web shop")
    return reverse("customers:key-edit", args=[account.public_id, "key-1"]), "label", "Typed by Ada", "Typed by Bo"


def _profile() -> tuple[str, str, str, str]:
    return reverse("profile"), "name", "Typed by Ada", "Typed by Bo"


def _approval_rule() -> tuple[str, str, str, str]:
    return reverse("approvals:rule", args=["bulk"]), "threshold", "12", "14"


def _retention_period() -> tuple[str, str, str, str]:
    return reverse("retention:rule", args=["notices"]), "days", "120", "150"


def _price_list() -> tuple[str, str, str, str]:
    return reverse("billing:price-list-edit", args=[new_list().public_id]), "name", "Typed by Ada", "Typed by Bo"


def _price() -> tuple[str, str, str, str]:
    draft = draft_with(new_list(), BASE)
    url = reverse("billing:price-edit", args=[draft.public_id]) + f"?item=package&offering={BASE['offering']}"
    return url, "amount", "15.00", "20.00"


def _contract_draft() -> Contract:
    draft = contract_commands.start_contract(by(), customer=CustomerFactory())
    validity = {"valid_from": "2026-01-01", "valid_until": None}
    discount = validity | {"percent": "5.00", "kinds": ["base"]}
    override = validity | {"offering": "x", "component": "base", "amount": "5.00"}
    for part, value in (("discounts", discount), ("overrides", override)):
        contract_commands.replace_term(by(), contract=draft, part=part, index=None, value=value, was=None)
    return draft


def _contract() -> tuple[str, str, str, str]:
    url = reverse("billing:contract-edit", args=[_contract_draft().public_id])
    return url, "purchase_order", "Typed by Ada", "Typed by Bo"


def _discount() -> tuple[str, str, str, str]:
    url = reverse("billing:contract-discount", args=[_contract_draft().public_id])
    return f"{url}?n=0", "percent", "15.00", "20.00"


def _override() -> tuple[str, str, str, str]:
    url = reverse("billing:contract-override", args=[_contract_draft().public_id])
    return f"{url}?n=0", "amount", "15.00", "20.00"


def _connection_billing() -> tuple[str, str, str, str]:
    url = reverse("billing:connection-billing", args=[ConnectionFactory().public_id])
    return url, "zone", "Europe/Berlin", "Europe/Paris"


def _billing_terms() -> tuple[str, str, str, str]:
    return reverse("billing:billing-terms"), "grace_days", "5", "7"


def _provider_invoice() -> tuple[str, str, str, str]:
    found = provider_invoice(ConnectionFactory())
    return reverse("billing:provider-invoice-edit", args=[found.public_id]), "note", "Typed by Ada", "Typed by Bo"


def _invoice_line() -> tuple[str, str, str, str]:
    found = provider_invoice(ConnectionFactory(), invoice_line())
    url = reverse("billing:invoice-line-edit", args=[found.public_id, 1])
    return url, "description", "Typed by Ada", "Typed by Bo"


EDITS: dict[str, list[Callable[[], tuple[str, str, str, str]]]] = {
    "access:role-edit": [_custom_role],
    "access:staff-role": [_role],
    "approvals:rule": [_approval_rule],
    "billing:billing-terms": [_billing_terms],
    "billing:connection-billing": [_connection_billing],
    "billing:contract-discount": [_discount],
    "billing:contract-edit": [_contract],
    "billing:contract-override": [_override],
    "billing:invoice-line-edit": [_invoice_line],
    "billing:price-edit": [_price],
    "billing:price-list-edit": [_price_list],
    "billing:provider-invoice-edit": [_provider_invoice],
    "customers:account-username": [_username],
    "customers:connection-edit": [lambda: _connection("sendgrid"), lambda: _connection("ahasend")],
    "customers:connection-key": [_key_of_connection],
    "customers:edit": [_customer],
    "customers:key-edit": [_key],
    "customers:schedule-edit": [_schedule],
    "profile": [_profile],
    "retention:rule": [_retention_period],
}
# What the provider holds is compared with it too.
AT_THE_PROVIDER = {
    "customers:account-offerings": ("offerings", "class TestConflict"),
    "customers:account-settings": ("settings", "def test_a_change_that_somebody_else_made_first_shows_all_three"),
}
# These add a row, request an operation, or decide: nothing that another person saved is overwritten.
_NO_EDITS = """
account_login account_logout account_reset_password account_reauthenticate accept-invitation change-password
mfa_authenticate mfa_login_webauthn mfa_activate_totp mfa_add_webauthn second-factor-remove recovery-codes
end-other-sessions end-session access:staff-end-session access:staff-reset-second-factor
sso-confirm sso-connect sso-disconnect sso-invitation sso-start
access:role-archive access:role-create
access:staff-disable access:staff-enable access:staff-end-sessions access:staff-invite access:staff-reset-password
approvals:cancel approvals:decide
privacy:erase privacy:export privacy:search
billing:contract-end billing:contract-publish billing:contract-start billing:contract-term-remove
billing:exchange-rate-add billing:price-add billing:price-draft-start billing:price-import billing:price-list-archive
billing:price-list-create billing:price-list-restore billing:price-publish billing:price-remove
billing:invoice-line-account billing:invoice-line-add billing:invoice-line-remove
billing:provider-invoice-add billing:provider-invoice-import billing:provider-invoice-withdraw
billing:month-check billing:blockers-assign billing:blocker-accept billing:blocker-reopen billing:month-close
billing:opening-balances-add billing:opening-balances-remove
billing:parallel-compare billing:parallel-match billing:parallel-upload billing:quote-offerings billing:unpriced-add
billing:decide-anomaly billing:decide-figure billing:run-retry billing:run-start billing:undo-anomaly
billing:undo-figure billing:usage-export billing:worklist-owner
customers:account-create customers:account-delete customers:account-refresh customers:account-sign-in-as
customers:account-suspend customers:account-unsuspend customers:archive customers:bulk-act customers:bulk-cancel
customers:bulk-decide customers:bulk-secrets customers:keys-change
customers:bulk-new customers:connection-catalogue customers:connection-create customers:connection-pause
customers:connection-resume customers:connection-verify customers:create customers:domain-add customers:domain-check
customers:drift-act customers:drift-scan customers:duplicate-merge customers:estate-choose customers:estate-look
customers:estate-pause customers:estate-propose customers:estate-start customers:hold-place customers:hold-release
customers:key-create customers:key-delete customers:key-let-go customers:key-rotate customers:key-secret
customers:note-add customers:offerings-changes customers:operation-cancel customers:operation-decide
customers:operation-retry customers:orphan-adopt customers:orphan-aside customers:orphan-watch customers:restore
customers:recovery-release browser-reports:collect
customers:schedule-cancel customers:schedule-new customers:test-message
"""
NO_EDITS = _NO_EDITS.split()


def test_each_route_that_takes_a_form_edits_a_row_or_does_not() -> None:
    routes = tomllib.loads(Path("portal/access/permissions.toml").read_text(encoding="utf-8"))["routes"]
    assert {name for name, rule in routes.items() if "POST" in rule} == {*EDITS, *AT_THE_PROVIDER, *NO_EDITS}
    for folder, test in AT_THE_PROVIDER.values():
        assert test in Path(f"tests/customers/accounts/{folder}/test_views.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(("route", "number"), [(name, n) for name, found in EDITS.items() for n in range(len(found))])
def test_a_stale_save_shows_both_values_and_writes_nothing(route: str, number: int) -> None:
    url, field, theirs, mine = EDITS[route][number]()
    ada, bo = two(url)
    if route == "profile":  # one person, in two windows
        bo = Editor(url)
        sign_in(bo.client, ada.person)
        bo.fields = dict(ada.fields)
    if route == "access:staff-role":
        ada.url = bo.url = url + "role/"
    assert ada.save(**{field: theirs}) == 303
    if route == "customers:key-edit":  # it is sent to the provider first
        Operation.objects.update(state="succeeded", finished_at=timezone.now())
        AccountKey.objects.update(label=theirs)
    written = AuditEvent.objects.count(), Operation.objects.count()
    assert bo.save(**{field: mine}) == 409
    assert (AuditEvent.objects.count(), Operation.objects.count()) == written
    shown = {"api_key": ("adas", "Enter it again"), "role": ("Finance", "Admin")}.get(field, (theirs, mine))
    table = bo.page[bo.page.index("pk-edit-conflict") : bo.page.index("</table>")]
    assert [text in table for text in shown] == [True, True]
    if field == "api_key":
        assert mine not in bo.page
    else:
        assert bo.save(**{f"choice-{field}": "theirs"}) in {303, 422}  # nothing is left to save
        assert Operation.objects.count() == written[1]
