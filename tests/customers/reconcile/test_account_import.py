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

from customers.models import Account, AccountImport, AccountImportItem, Connection, Customer, RemoteAccount, Scan
from customers.observed import account_list, scan_requests
from customers.reconcile import account_import as account_imports
from customers.reconcile import drift, import_list
from portal.commands import Command
from portal.encryption import DecryptionError
from portal.providers import Provider
from portal.refusals import Refusal
from tests.customers.conftest import PACKAGE, Desk
from tests.customers.page_helpers import prose_of, text_of
from tests.support.factories import AccountFactory, ConnectionFactory, UserFactory
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


def proposed(desk: Desk, *listed: import_list.ImportRow) -> AccountImport:
    walked(desk)
    return account_imports.propose_import(
        Command(desk.person, timezone.now()), connection=desk.connection, listed=listed
    )


def item_of(account_import: AccountImport, provider_id: str) -> AccountImportItem:
    return account_import.items.get(remote_account__provider_id=provider_id)


def taken(desk: Desk, account_import: AccountImport) -> AccountImport:
    account_imports.start_import(Command(desk.person, timezone.now()), account_import=account_import)
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
            import_list.ImportRow(second, external_reference="C-7"),
            import_list.ImportRow(third, company="umbrella corp"),
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
        assert "2 customers match" in item.note
        assert account_imports.choose_items(account_import=account_import, take=True, items=[item.pk]) == 0

    def test_what_nobody_can_be_told_of_stays_an_orphan(self, desk: Desk) -> None:
        desk.sandbox.admin.switch("list_bare", True)
        there(desk, "hidden@globex.example")
        account_import = proposed(desk)
        assert account_import.items.get().basis == "none"
        with pytest.raises(Refusal, match="Select at least one"):
            account_imports.start_import(Command(desk.person, timezone.now()), account_import=account_import)

    def test_nothing_to_match(self, desk: Desk) -> None:
        desk.created()
        with pytest.raises(Refusal, match="already linked to a customer"):
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

    @pytest.mark.parametrize(("length", "stored"), [(120, 120), (121, 0)])
    def test_a_username_that_is_too_long_is_not_shortened(self, desk: Desk, length: int, stored: int) -> None:
        """A part of it is another account's username."""
        [id_] = there(desk, "new@hooli.example")
        desk.sandbox.admin.change_account(id_, username="u" * length)
        taken(desk, proposed(desk))
        assert Account.objects.get(provider_id=id_).v2_username == "u" * stored

    def test_a_reference_used_meanwhile_fails_its_account_alone(self, desk: Desk) -> None:
        first, second = there(desk, "it@initech.example", "new@hooli.example")
        account_import = proposed(desk, import_list.ImportRow(first, external_reference="C-7"))
        Customer.objects.create(company_name="Initech", email="x@initech.example", external_reference="C-7")
        account_import = taken(desk, account_import)
        assert (account_import.state, account_import.done, account_import.failed) == ("ended", 1, 1)
        assert item_of(account_import, first).message == "Another customer already has this external reference."
        assert Account.objects.get().provider_id == second

    def test_a_dead_worker_is_followed_by_another(self, desk: Desk) -> None:
        there(desk, *(f"ops{n}@globex.example" for n in range(4)))
        account_import = proposed(desk)
        account_imports.start_import(Command(desk.person, timezone.now()), account_import=account_import)

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
        later = timezone.now() + AccountImport.LEASE + timedelta(seconds=1)
        assert account_imports.due_imports(now=later) == [account_import.pk]
        account_imports.import_chunk(account_import.pk, connect=desk.connect, clock=lambda: later)
        account_import.refresh_from_db()
        assert (account_import.state, account_import.done, Account.objects.count()) == ("ended", 4, 4)

    @pytest.mark.long
    def test_a_provider_that_can_not_be_read_is_asked_again_later(self, desk: Desk) -> None:
        there(desk, "ops@globex.example")
        account_import = proposed(desk)
        desk.sandbox.admin.arm("status-500", "state", count=None)
        taken(desk, account_import)
        assert account_import.state == "running"
        assert account_import.not_before > timezone.now()
        assert "can't be loaded from the provider right now" in account_import.message
        for n in range(1, account_imports.TRIES):
            later = timezone.now() + timedelta(minutes=n)
            account_imports.import_chunk(account_import.pk, connect=desk.connect, clock=lambda at=later: at)
        account_import.refresh_from_db()
        assert account_import.failed == 1

    def test_pause_and_go_on(self, desk: Desk) -> None:
        there(desk, "ops@globex.example", "it@globex.example")
        account_import = proposed(desk)
        account_imports.start_import(Command(desk.person, timezone.now()), account_import=account_import)
        account_imports.pause_import(Command(desk.person), account_import=account_import)
        account_imports.import_chunk(account_import.pk, connect=desk.connect)
        assert not Account.objects.exists()
        assert taken(desk, account_import).done == 2

    def test_a_pause_ends_the_run_after_the_account_being_read(self, desk: Desk) -> None:
        there(desk, "ops@globex.example", "it@globex.example")
        account_import = proposed(desk)
        account_imports.start_import(Command(desk.person, timezone.now()), account_import=account_import)
        real = desk.connect(desk.connection)

        class Pausing:
            """A colleague pauses the run while the first account is read."""

            def __getattr__(self, name: str) -> Any:
                AccountImport.objects.update(state="paused")
                return getattr(real, name)

        assert not account_imports.import_chunk(account_import.pk, connect=lambda _: Pausing())  # type: ignore[arg-type, return-value]
        account_import.refresh_from_db()
        assert (account_import.state, account_import.done, account_import.lease_until) == ("paused", 1, None)

    def test_a_key_that_does_not_open_pauses_the_run(self, desk: Desk) -> None:
        there(desk, "ops@globex.example")
        account_import = proposed(desk)
        account_imports.start_import(Command(desk.person, timezone.now()), account_import=account_import)

        def connect(_: Connection) -> Provider:
            raise DecryptionError("The stored key does not open.")

        assert not account_imports.import_chunk(account_import.pk, connect=connect)
        account_import.refresh_from_db()
        assert (account_import.state, account_import.lease_until) == ("paused", None)
        assert account_import.message == "The stored key does not open."

    def test_what_was_given_to_somebody_meanwhile_fails_alone(self, desk: Desk) -> None:
        ids = there(desk, "ops@globex.example", "it@globex.example")
        account_import = proposed(desk)
        Account.objects.create(
            customer=desk.customer(), connection=desk.connection, provider_id=ids[0], email="x@y.example",
            changed_at=timezone.now(),
        )  # fmt: skip
        taken(desk, account_import)
        assert (account_import.done, account_import.failed) == (1, 1)
        assert "already linked to a customer" in item_of(account_import, ids[0]).message


class TestTheList:
    def test_is_read_with_either_separator(self) -> None:
        rows = import_list.read_list("\ufeffProvider_ID;Company\na1;Globex\n".encode())
        assert rows == [import_list.ImportRow("a1", company="Globex")]
        assert import_list.read_list(b"provider_id,email\na1,ops@globex.example\n")[0].email == "ops@globex.example"

    @pytest.mark.parametrize(
        "content",
        [
            "provider_id;company;;;\r\na1;M\u00fcller;;;\r\n;;;;\r\n;;;;\r\n".encode("cp1252"),
            "provider_id\tcompany\na1\tM\u00fcller\n".encode("utf-16"),
            "sep=;\r\nprovider_id;company\r\na1;M\u00fcller\r\n".encode(),
            "\ufeffsep=\t\nprovider_id\tcompany\na1\tM\u00fcller\n".encode(),
            '"sep=,"\nprovider_id,company\na1,M\u00fcller\n'.encode(),
            "provider_id,company\ra1,Mu\u0308ller\r".encode(),
            '"provider_id";"company"\n"a1";"M\u00fcller"\n\n \n'.encode(),
        ],
    )
    def test_is_read_as_excel_writes_it(self, content: bytes) -> None:
        (row,) = import_list.read_list(content)
        assert (row.provider_id, row.company) == ("a1", "M\u00fcller")
        assert row.line == (3 if b"sep=" in content else 2)

    def test_one_column_may_end_with_a_comma(self) -> None:
        assert import_list.read_list(b"provider_id\r\nabc1,\r\n") == [import_list.ImportRow("abc1")]

    def test_only_a_guess_of_the_characters_is_one(self) -> None:
        known = ("\u00fc".encode(), "\u00fc".encode("utf-16"), "\u00fc".encode("utf-8-sig"), b"")
        assert all(map(import_list.is_unicode, known))
        assert not import_list.is_unicode("\u00fc".encode("cp1252"))

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"id,company\n1,Globex\n", "column names"),
            (b"provider_id,Email,email \na,a@b.example,\n", "The column email appears twice"),
            (b"provider_id,email\n\n,\n,a@b.example\n", "Line 4.*missing"),
            (b"provider_id\na\na\n", "Line 3.*twice"),
            (b"provider_id,email\na,nobody\n", "Line 2.*email address is not valid"),
            (b"provider_id,company\na," + b"x" * 201 + b"\n", "company is too long"),
            (b"provider_id\n\x81\n", "characters can't be read"),
            (b"\xef\xbb\xbfprovider_id\n\xfc\n", "characters can't be read"),
            (b"sep=;\nprovider_id;company\na;b;;c\n", "Line 3.*more values than there are columns"),
            (
                "provider_id,company\na,b\u202ec\n".encode(),
                "Line 2: company: Remove the invisible character U.202E after .b",
            ),
            (b"provider_id\n\x00\n", "not a valid CSV"),
            (b"provider_id\n" + b"x" * import_list.BYTES_MAX, "larger than 5 MB"),
            (b"", "column names"),
        ],
    )
    def test_a_wrong_one_says_where(self, content: bytes, why: str) -> None:
        with pytest.raises(Refusal, match=why) as refused:
            import_list.read_list(content)
        assert refused.value.field == "listed"


@pytest.mark.parametrize("name", ["choose", "start"])
def test_a_late_selection_changes_no_started_or_new_import(desk: Desk, client: Client, name: str) -> None:
    [one, _two] = there(desk, "ops@globex.example", "new@hooli.example")
    account_import = proposed(desk)
    kept = item_of(account_import, one)
    sent = {"shown": [str(each.pk) for each in account_import.items.all()], "ticked": [str(kept.pk)]}
    other, staff = sign_in(Client(), UserFactory(name="Vera Lind")), sign_in(client, desk.person)
    urls = {each: import_url(f"estate-{each}", desk.connection) for each in ("choose", "start", "propose")}
    page = import_url("estate", desk.connection)

    assert other.post(urls["propose"]).status_code == 303
    assert staff.post(urls[name], sent).status_code == 303
    assert "Vera Lind was first: Account import prepared. Your selection wasn't saved." in prose_of(staff.get(page))
    again = AccountImport.objects.get()
    assert (again.state, again.items.filter(take=True).count()) == ("proposed", 2)

    sent = {"shown": [str(each.pk) for each in again.items.all()], "ticked": [str(item_of(again, one).pk)]}
    assert other.post(urls["start"], sent | {"ticked": sent["shown"]}).status_code == 303
    assert staff.post(urls[name], sent).status_code == 303
    assert "Vera Lind was first: Account import started. Your selection wasn't saved." in prose_of(staff.get(page))
    again.refresh_from_db()
    assert (again.state, again.total) == ("running", 2)


@pytest.mark.long
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

    assert "Not scanned yet" in text_of(staff.get(page))
    assert "Scanning the SendGrid account list" in text_of(click("look"))
    scan_requests.run_scan(Scan.objects.get().pk, connect=desk.connect)
    assert f"Accounts at SendGrid: {ACCOUNTS:,}, scanned" in text_of(staff.get(page))
    listed = SimpleUploadedFile("ours.csv", f"provider_id,company\n{ids[0]},Globex\n".encode())
    assert f"Import {ACCOUNTS:,} accounts" in text_of(click("propose", {"listed": listed}))
    one = AccountImportItem.objects.get(remote_account__provider_id=ids[1])
    ticked = [str(each.pk) for each in AccountImportItem.objects.exclude(pk=one.pk)[:50]]
    shown = [*ticked, str(one.pk)]
    assert f"Import {ACCOUNTS - 1:,} accounts" in text_of(click("choose", {"shown": shown, "ticked": ticked}))
    assert "In progress" in text_of(click("start"))
    account_import = AccountImport.objects.get()
    while account_import.state == "running":
        account_imports.import_chunk(account_import.pk, connect=desk.connect)
        account_import.refresh_from_db()
    assert clicks < 10
    assert (account_import.done, account_import.failed, Account.objects.count()) == (ACCOUNTS - 1, 0, ACCOUNTS - 1)
    assert Account.objects.get(provider_id=ids[0]).customer.company_name == "Globex"
    assert [each.provider_id for each in RemoteAccount.objects.orphans()] == [ids[1]]


def import_url(name: str, connection: Connection) -> str:
    return reverse(f"customers:{name}", args=[connection.public_id])


def test_rows_of_the_list_that_match_nothing_are_named(client: Client, db: None) -> None:
    connection = ConnectionFactory()
    facts: dict[str, Any] = {"connection": connection, "last_seen_at": timezone.now()}
    RemoteAccount.objects.create(provider_id="free", email="ops@globex.example", **facts)
    RemoteAccount.objects.create(provider_id="away", missing_since=timezone.now(), **facts)
    RemoteAccount.objects.create(provider_id="left", ignored_at=timezone.now(), **facts)
    AccountFactory(connection=connection, provider_id="ours", customer__company_name="Larkfield <b>")
    staff = sign_in(client, UserFactory(role="admin"))
    upload = "provider_id;company\nfree;M\u00fcller\nours;\naway;\nleft;\n<i>none;\n" + "".join(
        f"x{n};\n" for n in range(60)
    )
    listed = SimpleUploadedFile("ours.csv", upload.encode("cp1252"))
    answer = staff.post(import_url("estate-propose", connection), {"listed": listed})
    page = staff.get(answer.headers["Location"])
    shown = prose_of(page)
    assert "64 rows of your list weren't used" in shown
    assert "The first 50 are shown." in shown
    assert "Line 3: ours. Already linked to Larkfield <b>" in shown
    assert "Line 4: away. No longer in the provider's account list" in shown
    assert "Line 5: left. Ignored under Unlinked accounts" in shown
    assert "Line 6: <i>none. Not in the provider's account list" in shown
    assert "x60" not in shown
    assert "<i>none" not in page.content.decode()
    assert "read as Windows-1252" in shown
    assert AccountImportItem.objects.get().company == "M\u00fcller"


def test_a_list_of_which_every_row_matches_says_nothing(client: Client, db: None) -> None:
    connection = ConnectionFactory()
    RemoteAccount.objects.create(
        connection=connection, provider_id="free", email="a@b.example", last_seen_at=timezone.now()
    )
    staff = sign_in(client, UserFactory(role="admin"))
    listed = SimpleUploadedFile("ours.csv", b"provider_id\nfree\n")
    answer = staff.post(import_url("estate-propose", connection), {"listed": listed})
    shown = prose_of(staff.get(answer.headers["Location"]))
    assert "of your list" not in shown
    assert "Windows-1252" not in shown


def test_a_wrong_list_is_refused_on_the_page(desk: Desk, client: Client) -> None:
    there(desk, "ops@globex.example")
    walked(desk)
    staff = sign_in(client, desk.person)
    answer = staff.post(
        reverse("customers:estate-propose", args=[desk.connection.public_id]),
        {"listed": SimpleUploadedFile("x.csv", b"nothing\n")},
    )
    assert answer.status_code == 422
    assert "column names" in text_of(answer)
    assert not AccountImport.objects.exists()


def test_a_file_of_another_type_is_refused_unread(desk: Desk, client: Client) -> None:
    staff = sign_in(client, desk.person)
    address = reverse("customers:estate-propose", args=[desk.connection.public_id])
    for name in ("accounts.xlsx", "accounts.csv.exe", "accounts"):
        answer = staff.post(address, {"listed": SimpleUploadedFile(name, b"provider_id\nfree\n")})
        assert answer.status_code == 422
        assert "whose name ends with .csv, .tsv, or .txt" in text_of(answer)
    assert not AccountImport.objects.exists()
