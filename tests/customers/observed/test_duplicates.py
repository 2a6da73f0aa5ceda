"""Two accounts for one account at a provider: the database refuses them, and those from before are kept apart."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.http import QueryDict
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import SyncItem
from billing.reports.filters import UsageFilters
from billing.reports.queries import build_usage_report
from billing.usage import runs
from billing.usage.periods import last_day
from billing.usage.rollups import wrong_sums
from customers.connections import commands as connection_commands
from customers.models import (
    Account,
    AccountImportItem,
    Attempt,
    Connection,
    Customer,
    Operation,
    RemoteAccount,
    triggers,
)
from customers.monitoring import invariants
from customers.observed import accounts as observed_accounts
from customers.observed import duplicates
from customers.operations import commands as operation_commands
from customers.operations import resolve
from customers.reconcile import account_import as account_imports
from customers.reconcile import drift
from customers.reconcile import link as account_link
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.billing.reports.test_views import read
from tests.customers.conftest import Desk
from tests.support import failpoints
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, OperationFactory, UserFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()


@pytest.fixture
def person() -> User:
    return UserFactory(role="customer_success")


@pytest.fixture
def twins() -> tuple[Account, Account]:
    """The account that keeps the ID, and its duplicate, as the migration leaves them."""
    kept: Account = AccountFactory(customer__company_name="Northwind")
    twin: Account = AccountFactory(customer__company_name="Southwind")
    kind = {"duplicate_of": kept, "provider_id": kept.provider_id, **duplicates.WITHOUT_USAGE}
    Account.objects.filter(pk=twin.pk).update(**kind)
    twin.refresh_from_db()
    return kept, twin


def kind_of(account: Account) -> str:
    return Account.objects.values_list("provider_kind", flat=True).get(pk=account.pk)


class TestTheTrigger:
    def test_insert_update_and_the_connections_own_kind(self) -> None:
        account = AccountFactory(connection=ConnectionFactory(kind="sendgrid"))
        assert kind_of(account) == "sendgrid"
        other = ConnectionFactory(kind="ahasend")
        Account.objects.filter(pk=account.pk).update(connection=other)
        assert kind_of(account) == "ahasend"
        Account.objects.filter(pk=account.pk).update(provider_kind="something")
        assert kind_of(account) == "ahasend", "nobody sets it by hand"
        Connection.objects.filter(pk=other.pk).update(kind="sendgrid")
        assert kind_of(account) == "sendgrid"

    def test_many_at_once(self) -> None:
        at, of = ConnectionFactory(), CustomerFactory()
        Account.objects.bulk_create(
            Account(connection=at, customer=of, provider_id=f"sg{n}", email="a@b.example", changed_at=NOW)
            for n in range(3)
        )
        assert set(Account.objects.values_list("provider_kind", flat=True)) == {"sendgrid"}

    def test_what_lists_read_of_the_customer(self) -> None:
        """On either side: the account moves to another customer, or the customer changes."""

        def copied() -> tuple[bool, int | None, str]:
            return Account.objects.values_list("archived", "owner", "company").get(pk=account.pk)

        owner = UserFactory()
        account = AccountFactory(customer=CustomerFactory(company_name="Larkfield Outdoor", owner=owner))
        assert copied() == (False, owner.pk, "larkfield outdoor")
        other = CustomerFactory(company_name="Kestrel", archived_at=NOW)
        Account.objects.filter(pk=account.pk).update(customer=other)
        assert copied() == (True, None, "kestrel")
        Customer.objects.filter(pk=other.pk).update(archived_at=None, owner=owner, company_name="KESTREL Ltd")
        assert copied() == (False, owner.pk, "kestrel ltd")
        Account.objects.filter(pk=account.pk).update(archived=True, owner=None, company="x")
        assert copied() == (False, owner.pk, "kestrel ltd"), "nobody sets it by hand"
        owner.delete()
        assert copied() == (False, None, "kestrel ltd")

    def test_the_database_has_it_after_every_migration(self) -> None:
        """On SQLite a migration that builds the table anew would drop it."""
        catalog = (
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            if connection.vendor == "sqlite"
            else "SELECT tgname FROM pg_trigger"
        )
        with connection.cursor() as cursor:
            cursor.execute(catalog)
            names = {name for (name,) in cursor.fetchall()}
        for copy in triggers.COPIES:
            assert set(copy.names if connection.vendor == "sqlite" else (copy.of_account, copy.of_source)) <= names


class TestTheDatabase:
    def test_one_id_on_two_connections_of_a_kind_is_refused(self) -> None:
        first = AccountFactory()
        with pytest.raises(IntegrityError), transaction.atomic():
            AccountFactory(provider_id=first.provider_id)

    def test_two_providers_may_use_the_same_id(self) -> None:
        AccountFactory(provider_id=AccountFactory().provider_id, connection=ConnectionFactory(kind="ahasend"))

    def test_only_a_duplicate_can_be_merged(self, twins: tuple[Account, Account]) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            Account.objects.filter(pk=twins[0].pk).update(merged_at=NOW)


class TestADuplicateIsReadOnly:
    @pytest.mark.parametrize("kind", ["suspend", "delete"])
    def test_nothing_can_be_requested(self, kind: str, twins: tuple[Account, Account], person: User) -> None:
        ask = getattr(operation_commands, f"request_{kind}")
        with pytest.raises(Refusal, match=r"Northwind has the same account.*read-only"):
            ask(Command(person, NOW, reason="Test.", token="token-of-a-test"), account=twins[1])
        assert not Operation.objects.exists()

    def test_what_was_requested_before_is_not_sent(self, desk: Desk) -> None:
        account = desk.created()
        operation = desk.ask("suspend", account)
        keeps = AccountFactory(customer__company_name="Northwind")
        Account.objects.filter(pk=account.pk).update(duplicate_of=keeps)
        operation = desk.perform(operation)
        assert (operation.state, operation.error_kind) == ("failed", "duplicate")
        assert not operation.attempts.exists()

    def test_it_is_not_read_and_not_compared(self, twins: tuple[Account, Account]) -> None:
        Account.objects.update(state="active", desired_state="stopped_by_us", state_read_at=None)
        assert list(observed_accounts.accounts_to_read(now=NOW)) == [twins[0]]
        assert list(drift.drifting(Account.objects.all())) == [twins[0]]

    def test_its_page_says_so_and_offers_nothing(
        self, client: Client, twins: tuple[Account, Account], person: User
    ) -> None:
        client.force_login(person)
        page = client.get(reverse("customers:account", args=[twins[1].public_id]))
        assert "This account is a duplicate." in page.content.decode()
        assert not any(page.context["found"].may.values())

    def test_an_account_linked_at_another_connection_is_not_unlinked(self, twins: tuple[Account, Account]) -> None:
        other = ConnectionFactory()
        seen = {"last_seen_at": NOW, "first_seen_at": NOW}
        RemoteAccount.objects.create(connection=other, provider_id=twins[0].provider_id, **seen)
        assert not RemoteAccount.objects.orphans().exists()


class TestUsage:
    def test_it_is_left_out_of_a_run(self, twins: tuple[Account, Account]) -> None:
        kept, twin = twins
        Account.objects.filter(pk=twin.pk).update(connection=ConnectionFactory())
        third = AccountFactory(connection=Account.objects.get(pk=twin.pk).connection)
        run, _new = runs.start_run(
            connection=third.connection, kind="asked", slot="one", now=NOW, until=NOW + timedelta(hours=1)
        )
        assert list(SyncItem.objects.filter(run=run).values_list("account_id", flat=True)) == [third.pk]
        assert run.total == 1
        assert kept.pk not in SyncItem.objects.values_list("account_id", flat=True)

    def test_it_is_left_out_of_the_report(self, twins: tuple[Account, Account]) -> None:
        month = NOW.date().replace(day=1)
        for account in twins:
            read(account, 700, at=NOW, start=month, end=last_day(month))
        filters = UsageFilters(QueryDict(), today=NOW.date(), with_cost=True)
        report = build_usage_report(filters, now=NOW)
        assert [row.provider_id for row in report.rows] == [twins[0].provider_id]
        assert (report.coverage.figures, report.coverage.used) == (1, 700)


class TestAViolationEndsInReview:
    """A create, a link and an import meet an ID that another account has."""

    def _take(self, desk: Desk, provider_id: str) -> Account:
        return AccountFactory(provider_id=provider_id, customer__company_name="Southwind")

    def test_the_answer_of_a_create(self, desk: Desk) -> None:
        operation = desk.ask_create()
        before = {each["id"] for each in desk.sandbox.admin.accounts()}

        # Between the provider's answer and its record somebody imports the account on another connection.
        def at(point: str) -> None:
            if point == "after_answer":
                made = {each["id"] for each in desk.sandbox.admin.accounts()} - before
                self._take(desk, made.pop())

        with failpoints.installed(at):
            operation = desk.perform(operation)
        assert (operation.state, operation.error_kind) == ("needs_attention", "account_taken")
        assert "already belongs to Southwind" in operation.summary
        attempt = operation.attempts.get()
        assert attempt.outcome == Attempt.Outcome.APPLIED
        assert attempt.result["account_id"] in operation.summary
        assert operation.account.provider_id is None
        states = list(operation.steps.values_list("before", "after"))
        assert states[-2:] == [("sending", "unknown"), ("unknown", "needs_attention")]
        assert AuditEvent.objects.filter(verb="operation.needs_attention", object_id=operation.public_id).exists()

        resolve.resolve_not_created(Command(desk.person, NOW, reason="Test."), operation=operation, send_again=True)
        assert desk.drain(operation).state == "needs_attention"
        assert len(desk.sandbox.admin.accounts()) == len(before) + 1, "nothing was sent a second time"

    def test_an_unknown_create_that_is_found(self, desk: Desk) -> None:
        desk.sandbox.admin.arm("create-then-504", "create")
        operation = desk.perform(desk.ask_create())
        assert operation.state == "unknown"
        made = desk.sandbox.admin.accounts()[-1]["id"]
        self._take(desk, made)
        operation = desk.drain(operation)
        assert (operation.state, operation.error_kind) == ("needs_attention", "account_taken"), operation.summary
        assert desk.account(operation).provider_id is None
        assert len(desk.sandbox.admin.accounts()) == 1, "nothing was sent a second time"

    def test_an_open_create_prevents_import_on_another_connection(self, desk: Desk) -> None:
        desk.sandbox.admin.arm("create-then-504", "create")
        desk.perform(desk.ask_create("a@northwind.example"))
        made = desk.sandbox.admin.accounts()[-1]["id"]
        key = desk.sandbox.admin.add_key(organisation="reseller-global")
        facts = {"name": "The same reseller", "kind": "sendgrid", "base_url": desk.sandbox.base_url}
        second = connection_commands.add_connection(Command(None), facts=facts, api_key=key)
        remote_account = RemoteAccount.objects.create(connection=second, provider_id=made, email="a@northwind.example")
        with pytest.raises(Refusal, match="may have created this account"):
            account_link.link_account(
                Command(desk.person, NOW),
                remote_account=remote_account,
                customer=desk.customer(),
                provider=desk.connect(second),
            )

    def test_a_link_by_hand(self, desk: Desk) -> None:
        desk.sandbox.admin.arm("create-then-504", "create")
        operation = desk.perform(desk.ask_create())
        made = desk.sandbox.admin.accounts()[-1]["id"]
        self._take(desk, made)
        with pytest.raises(Refusal, match="belongs to Southwind"):
            resolve.resolve_link(
                Command(desk.person, NOW, reason="Test."),
                operation=operation,
                provider_id=made,
                provider=desk.connect(desk.connection),
            )
        operation.refresh_from_db()
        assert operation.state == "unknown"

    def test_an_import_and_a_single_link(self, desk: Desk) -> None:
        made = desk.sandbox.admin.add_account(email="a@northwind.example")["id"]
        remote_account = RemoteAccount.objects.create(
            connection=desk.connection, provider_id=made, email="a@northwind.example", first_seen_at=NOW,
            last_seen_at=NOW,
        )  # fmt: skip
        account_import = account_imports.propose_import(
            Command(desk.person, NOW), connection=desk.connection, listed=[]
        )
        item = account_import.items.get()
        account_imports.choose_items(account_import=account_import, take=True, items=[item.pk])
        account_imports.start_import(Command(desk.person, NOW), account_import=account_import)
        self._take(desk, made)
        account_imports.import_chunk(account_import.pk, connect=desk.connect)
        item.refresh_from_db()
        assert item.state == AccountImportItem.State.FAILED
        assert "already linked to a customer" in item.message
        with pytest.raises(Refusal, match="already linked to a customer"):
            account_link.link_account(
                Command(desk.person, NOW),
                remote_account=remote_account,
                customer=desk.customer(),
                provider=desk.connect(desk.connection),
            )


class TestMerge:
    def merge(self, person: User, twin: Account, customer: Customer, reason: str = "They told us.") -> Account:
        fresh = duplicates.unmerged().get(pk=twin.pk)
        return duplicates.merge(Command(person, NOW, reason=reason), duplicate=fresh, customer=customer)

    @pytest.mark.parametrize("moves", [False, True])
    def test_the_chosen_customer_has_the_account(
        self, moves: bool, twins: tuple[Account, Account], person: User
    ) -> None:
        kept, twin = twins
        chosen, other = (twin.customer, kept.customer) if moves else (kept.customer, twin.customer)
        assert self.merge(person, twin, chosen).pk == kept.pk
        kept.refresh_from_db()
        twin.refresh_from_db()
        assert kept.customer == chosen
        assert twin.merged_at == NOW
        assert twin.duplicate_of == kept, "the row stays and points to the account"
        event = AuditEvent.objects.get(verb="account.merged")
        assert (event.reason, event.actor_id) == ("They told us.", person.pk)
        assert AuditEvent.objects.filter(verb="account.moved").exists() == moves
        other.refresh_from_db()
        assert other.may_be_bare

    def test_the_usage_counts_for_the_chosen_customer(self, twins: tuple[Account, Account], person: User) -> None:
        kept, twin = twins
        read(kept, 700, at=NOW)
        duplicates.merge(Command(person, NOW, reason="By phone."), duplicate=twin, customer=twin.customer)
        assert list(wrong_sums()) == []
        month = kept.usage_periods.get().month
        filters = UsageFilters({"month": f"{month:%Y-%m}", "group": "customer"}, today=month)
        sums = build_usage_report(filters, now=NOW).customers
        assert [(row.customer, row.used) for row in sums] == [(twin.customer, 700)]

    def test_a_merged_duplicate_is_hidden_but_its_customer_is_found(
        self, client: Client, twins: tuple[Account, Account], person: User
    ) -> None:
        kept, twin = twins
        self.merge(person, twin, kept.customer)
        client.force_login(person)
        assert not duplicates.unmerged().exists()
        for sort in ("", "?sort=name", "?sort=-name"):
            page = client.get(reverse("customers:list") + sort)
            rows = [(row.company, row.provider_id) for row in page.context["page"].object_list]
            assert sorted(rows) == [("Northwind", kept.provider_id), ("Southwind", "")], sort
        assert client.get(reverse("customers:account", args=[twin.public_id])).status_code == 200
        rows = [each.rows for each in invariants.check(now=NOW) if each.code == "I1"]
        assert rows == [[]]

    def test_an_open_operation_comes_first(self, twins: tuple[Account, Account], person: User) -> None:
        operation = OperationFactory(account=twins[1], requested_by=person)
        with pytest.raises(Refusal, match=f"{operation.code} is not finished"):
            self.merge(person, twins[1], twins[0].customer)

    def test_only_one_of_the_two_customers_and_with_a_reason(
        self, twins: tuple[Account, Account], person: User
    ) -> None:
        with pytest.raises(Refusal, match="one of the two"):
            self.merge(person, twins[1], CustomerFactory())
        with pytest.raises(Refusal, match="reason"):
            self.merge(person, twins[1], twins[0].customer, reason=" ")
        with pytest.raises(Refusal, match="role"):
            self.merge(UserFactory(role="finance"), twins[1], twins[0].customer)

    def test_an_archived_customer_gets_no_account(self, twins: tuple[Account, Account], person: User) -> None:
        Customer.objects.filter(pk=twins[1].customer_id).update(archived_at=NOW)
        with pytest.raises(Refusal, match="is archived"):
            self.merge(person, twins[1], twins[1].customer)
        twins[1].refresh_from_db()
        assert twins[1].merged_at is None

    def test_merging_is_refused_if_another_merge_moved_the_account(
        self, twins: tuple[Account, Account], person: User
    ) -> None:
        kept, twin = twins
        shown = twin.duplicate_of
        assert shown
        assert shown.customer == kept.customer
        Account.objects.filter(pk=kept.pk).update(customer=CustomerFactory())
        with pytest.raises(Refusal, match="changed in the meantime"):
            duplicates.merge(Command(person, NOW, reason="They told us."), duplicate=twin, customer=kept.customer)

    def test_two_people_at_once_merge_once(self, twins: tuple[Account, Account], person: User) -> None:
        seen = duplicates.unmerged().get(pk=twins[1].pk)
        self.merge(person, twins[1], twins[0].customer)
        with pytest.raises(Refusal, match="changed in the meantime"):
            duplicates.merge(Command(person, NOW, reason="Late."), duplicate=seen, customer=twins[1].customer)
        assert Account.objects.get(pk=twins[0].pk).customer == twins[0].customer

    def test_the_pages(self, client: Client, twins: tuple[Account, Account], person: User) -> None:
        client.force_login(person)
        assert twins[1].provider_id in client.get(reverse("customers:duplicate-accounts")).content.decode()
        url = reverse("customers:duplicate-merge", args=[twins[1].public_id])
        given: dict[str, Any] = {"customer": str(twins[1].customer.public_id), "reason": "They told us."}
        answer = client.post(url, {"reason": "They told us.", "confirmed": "on"})
        assert 'aria-describedby="id_customer_error"' in answer.content.decode(), "said where the customer is chosen"
        answer = client.post(url, given)
        assert answer.status_code == 422, "not without the confirmation"
        assert "confirmed" in answer.context["form"].errors
        answer = client.post(url, given | {"confirmed": "on"})
        assert answer.headers["Location"] == reverse("customers:account", args=[twins[0].public_id])
        assert client.get(url).status_code == 404
        client.force_login(UserFactory())
        late = client.post(url, given | {"confirmed": "on", "reason": "Typed evidence"})
        assert (late.status_code, "Typed evidence" in late.content.decode()) == (422, True)
        assert f"{person} was first: Duplicate account merged" in late.content.decode()


def test_the_integrity_check_reports_one_until_it_is_merged(twins: tuple[Account, Account]) -> None:
    found = {each.code: each.rows for each in invariants.check(now=NOW)}
    assert found["I1"] == [f"{twins[0].provider_id} at sendgrid: 2 accounts"]
