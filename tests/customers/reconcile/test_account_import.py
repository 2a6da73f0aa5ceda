"""The first day: accounts a provider has already, matched, looked through and taken over."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.models import Account, AccountImport, AccountImportItem, Customer, RemoteAccount, Scan
from customers.observed import account_list, scan_requests
from customers.operations.commands import UnableToAsk
from customers.reconcile import account_import as account_imports
from customers.reconcile import drift
from tests.customers.conftest import PACKAGE, Desk
from tests.customers.page_helpers import text_of
from tests.support.people import sign_in

HELD = [{"name": PACKAGE.name, "type": "package", "quantity": 1}]
# The whole of it is 2,000 accounts (about two minutes); every run does it with a few.
ACCOUNTS = int(os.environ.get("ESTATE_ACCOUNTS", "60"))


def there(desk: Desk, *emails: str) -> list[str]:
    rows = desk.sandbox.admin.add_accounts([{"email": each, "offerings": HELD} for each in emails])
    return [row["id"] for row in rows]


def walked(desk: Desk) -> Scan:
    scan, _ = account_list.begin_scan(
        connection=desk.connection, kind=Scan.Kind.ASKED, slot=timezone.now().isoformat(), now=timezone.now()
    )
    return account_list.read_account_list(scan, desk.connect(desk.connection))


def proposed(desk: Desk, *listed: account_imports.ImportRow) -> AccountImport:
    walked(desk)
    return account_imports.propose_import(
        actor=desk.person, connection=desk.connection, listed=listed, now=timezone.now()
    )


def item_of(account_import: AccountImport, provider_id: str) -> AccountImportItem:
    return account_import.items.get(remote_account__provider_id=provider_id)


def taken(desk: Desk, account_import: AccountImport) -> AccountImport:
    account_imports.start_import(actor=desk.person, account_import=account_import, now=timezone.now())
    account_imports.import_chunk(account_import.pk, connect=desk.connect)
    account_import.refresh_from_db()
    return account_import


class TestMatching:
    def test_by_list_then_e_mail_then_company(self, desk: Desk) -> None:
        by_mail = Customer.objects.create(company_name="Globex", email="OPS@globex.example")
        by_reference = Customer.objects.create(
            company_name="Initech", email="x@initech.example", external_reference="C-7"
        )
        by_company = Customer.objects.create(company_name="Umbrella  Corp", email="other@umbrella.example")
        first, second, third, fourth = there(
            desk, "ops@globex.example", "it@initech.example", "boss@umbrella.example", "new@hooli.example"
        )
        listed = [
            account_imports.ImportRow(second, external_reference="C-7"),
            account_imports.ImportRow(third, company="umbrella corp"),
        ]
        account_import = proposed(desk, *listed)
        assert {each.basis: each.customer for each in account_import.items.all()} == {
            "email": by_mail, "listed": by_reference, "company": by_company, "new": None,
        }  # fmt: skip
        assert item_of(account_import, first).take
        assert item_of(account_import, fourth).group == "new@hooli.example"

    def test_what_fits_two_customers_fits_none(self, desk: Desk) -> None:
        for name in ("Globex A", "Globex B"):
            Customer.objects.create(company_name=name, email="ops@globex.example")
        [id_] = there(desk, "ops@globex.example")
        account_import = proposed(desk)
        item = item_of(account_import, id_)
        assert (item.basis, item.take, item.customer) == ("none", False, None)
        assert "2 customers fit" in item.note
        assert account_imports.choose_items(account_import=account_import, take=True, items=[item.pk]) == 0

    def test_what_nobody_can_be_told_of_stays_an_orphan(self, desk: Desk) -> None:
        desk.sandbox.admin.switch("list_bare", True)
        there(desk, "hidden@globex.example")
        account_import = proposed(desk)
        assert account_import.items.get().basis == "none"
        with pytest.raises(UnableToAsk, match="Select at least one"):
            account_imports.start_import(actor=desk.person, account_import=account_import, now=timezone.now())

    def test_nothing_to_match(self, desk: Desk) -> None:
        desk.created()
        with pytest.raises(UnableToAsk, match="has a customer already"):
            proposed(desk)


class TestTakingOver:
    def test_each_becomes_a_customers_as_it_is_found(self, desk: Desk) -> None:
        customer = Customer.objects.create(company_name="Globex", email="ops@globex.example")
        ids = there(desk, "ops@globex.example", "new@hooli.example", "new@hooli.example")
        desk.sandbox.admin.change_account(ids[0], state="deactivated")
        desk.sandbox.admin.call("DELETE", "requests")
        account_import = taken(desk, proposed(desk))
        assert (account_import.state, account_import.total, account_import.done, account_import.failed) == (
            "ended",
            3,
            3,
            0,
        )
        stopped = Account.objects.get(provider_id=ids[0])
        assert (stopped.customer, stopped.state, stopped.desired_state) == (customer, "stopped_by_us", "stopped_by_us")
        assert stopped.offerings == stopped.desired_offerings == HELD
        hooli = Customer.objects.get(email="new@hooli.example")  # one customer for both
        assert {each.provider_id for each in hooli.accounts.all()} == set(ids[1:])
        assert not drift.drifting(Account.objects.all()).exists()
        assert not RemoteAccount.objects.orphans().exists()
        sent = desk.sandbox.admin.call("GET", "requests")["requests"]
        assert {each["method"] for each in sent} == {"GET"}

    def test_a_dead_worker_is_followed_by_another(self, desk: Desk) -> None:
        there(desk, *(f"ops{n}@globex.example" for n in range(4)))
        account_import = proposed(desk)
        account_imports.start_import(actor=desk.person, account_import=account_import, now=timezone.now())

        class Killed(BaseException):
            pass

        real, looked = desk.connect(desk.connection), []

        class Dying:
            capabilities = real.capabilities

            def __getattr__(self, name: str) -> Any:
                looked.append(name)
                if len(looked) > 7:
                    raise Killed
                return getattr(real, name)

        with pytest.raises(Killed):
            account_imports.import_chunk(account_import.pk, connect=lambda _: Dying())  # type: ignore[arg-type, return-value]
        account_import.refresh_from_db()
        assert 0 < account_import.done < 4
        account_imports.import_chunk(account_import.pk, connect=desk.connect)  # its lease still stands
        assert Account.objects.count() == account_import.done
        later = timezone.now() + account_imports.LEASE + timedelta(seconds=1)
        assert account_imports.due_imports(now=later) == [account_import.pk]
        account_imports.import_chunk(account_import.pk, connect=desk.connect, clock=lambda: later)
        account_import.refresh_from_db()
        assert (account_import.state, account_import.done, Account.objects.count()) == ("ended", 4, 4)

    def test_a_provider_that_can_not_be_read_is_asked_again_later(self, desk: Desk) -> None:
        there(desk, "ops@globex.example")
        account_import = proposed(desk)
        desk.sandbox.admin.arm("status-500", "state", count=None)
        taken(desk, account_import)
        assert account_import.state == "running"
        assert account_import.not_before > timezone.now()
        assert "can't be read at the moment" in account_import.message
        for n in range(1, account_imports.TRIES):
            later = timezone.now() + timedelta(minutes=n)
            account_imports.import_chunk(account_import.pk, connect=desk.connect, clock=lambda at=later: at)
        account_import.refresh_from_db()
        assert account_import.failed == 1

    def test_pause_and_go_on(self, desk: Desk) -> None:
        there(desk, "ops@globex.example", "it@globex.example")
        account_import = proposed(desk)
        account_imports.start_import(actor=desk.person, account_import=account_import, now=timezone.now())
        account_imports.pause_import(actor=desk.person, account_import=account_import)
        account_imports.import_chunk(account_import.pk, connect=desk.connect)
        assert not Account.objects.exists()
        assert taken(desk, account_import).done == 2

    def test_what_was_given_to_somebody_meanwhile_fails_alone(self, desk: Desk) -> None:
        ids = there(desk, "ops@globex.example", "it@globex.example")
        account_import = proposed(desk)
        Account.objects.create(
            customer=desk.customer(), connection=desk.connection, provider_id=ids[0], email="x@y.example",
            changed_at=timezone.now(),
        )  # fmt: skip
        taken(desk, account_import)
        assert (account_import.done, account_import.failed) == (1, 1)
        assert "customer's already" in item_of(account_import, ids[0]).message


class TestTheList:
    def test_is_read_with_either_separator(self) -> None:
        rows = account_imports.read_list("\ufeffProvider_ID;Company\na1;Globex\n".encode())
        assert rows == [account_imports.ImportRow("a1", company="Globex")]
        assert account_imports.read_list(b"provider_id,email\na1,ops@globex.example\n")[0].email == "ops@globex.example"

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"id,company\n1,Globex\n", "name the columns"),
            (b"provider_id\n\n,\n", "missing"),
            (b"provider_id\na\na\n", "Line 3.*twice"),
            (b"provider_id,email\na,nobody\n", "Line 2.*not an e-mail"),
            (b"provider_id,company\na," + b"x" * 201 + b"\n", "company is too long"),
            ("provider_id\n1\n".encode("utf-16"), "UTF-8"),
            (b"provider_id\n\x00\n", "not a CSV"),
            (b"provider_id\n" + b"x" * account_imports.BYTES_MAX, "larger than 5 MB"),
            (b"", "name the columns"),
        ],
    )
    def test_a_wrong_one_says_where(self, content: bytes, why: str) -> None:
        with pytest.raises(UnableToAsk, match=why) as refused:
            account_imports.read_list(content)
        assert refused.value.field == "listed"


def test_from_an_empty_portal_in_five_clicks(desk: Desk, client: Client) -> None:
    """Look, match, untick one, keep the ticks, take over: each a button of the page the one before led to."""
    desk.sandbox.admin.switch("rate_per_minute", 0)
    ids = there(desk, *(f"ops{n}@customer{n}.example" for n in range(ACCOUNTS)))
    staff = sign_in(client, desk.person)
    page = reverse("customers:estate", args=[desk.connection.public_id])
    clicks = 0

    def click(name: str, data: dict[str, Any] | None = None) -> Any:
        nonlocal clicks
        clicks += 1
        answer = staff.post(reverse(f"customers:estate-{name}", args=[desk.connection.public_id]), data or {})
        assert answer.status_code == 303, text_of(answer)
        return staff.get(answer.headers["Location"])

    assert "Not looked yet" in text_of(staff.get(page))
    assert "list is being read" in text_of(click("look"))
    scan_requests.run_scan(Scan.objects.get().pk, connect=desk.connect)
    assert f"lists {ACCOUNTS:,} accounts" in text_of(staff.get(page))
    listed = SimpleUploadedFile("ours.csv", f"provider_id,company\n{ids[0]},Globex\n".encode())
    assert f"Take {ACCOUNTS:,} accounts over" in text_of(click("propose", {"listed": listed}))
    one = AccountImportItem.objects.get(remote_account__provider_id=ids[1])
    ticked = [str(each.pk) for each in AccountImportItem.objects.exclude(pk=one.pk)[:50]]
    shown = [*ticked, str(one.pk)]
    assert f"Take {ACCOUNTS - 1:,} accounts over" in text_of(click("choose", {"shown": shown, "ticked": ticked}))
    assert "Running" in text_of(click("start"))
    account_import = AccountImport.objects.get()
    while account_import.state == "running":
        account_imports.import_chunk(account_import.pk, connect=desk.connect)
        account_import.refresh_from_db()
    assert clicks < 10
    assert (account_import.done, account_import.failed, Account.objects.count()) == (ACCOUNTS - 1, 0, ACCOUNTS - 1)
    assert Account.objects.get(provider_id=ids[0]).customer.company_name == "Globex"
    assert [each.provider_id for each in RemoteAccount.objects.orphans()] == [ids[1]]


def test_a_wrong_list_is_refused_on_the_page(desk: Desk, client: Client) -> None:
    there(desk, "ops@globex.example")
    walked(desk)
    staff = sign_in(client, desk.person)
    answer = staff.post(
        reverse("customers:estate-propose", args=[desk.connection.public_id]),
        {"listed": SimpleUploadedFile("x.csv", b"nothing\n")},
    )
    assert answer.status_code == 422
    assert "name the columns" in text_of(answer)
    assert not AccountImport.objects.exists()
