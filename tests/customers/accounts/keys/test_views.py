"""The keys of an account over HTTP: the list with its age, asking, and the secret that is shown once."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection as database
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from customers.models import Account, AccountKey, Connection, KeySecret, Operation
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.customers.keys import SECRET, account_with_keys, connection_with_keys, key_of, secret_of
from tests.customers.page_helpers import HTMX, fields, prose_of, text_of
from tests.support.factories import AccountFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
AT_ONCE = 20


@pytest.fixture
def person(db: None) -> User:
    user: User = UserFactory(name="Nadia Berg")
    return user


@pytest.fixture
def staff(client: Client, person: User) -> Client:
    return sign_in(client, person)


@pytest.fixture
def account(db: None) -> Account:
    return account_with_keys()


def url(name: str, account: Account, *key_id: str) -> str:
    return reverse(f"customers:{name}", args=[account.public_id, *key_id])


class TestList:
    def test_says_everything_about_a_key(self, staff: Client, person: User, account: Account) -> None:
        addresses = ["203.0.113.9/32", "198.51.100.0/24", "2001:db8::/32"]
        used = timezone.now() - timedelta(minutes=6)
        secret_of(key_of(account, ip_allow_list=addresses, last_used_at=used), person, kept=True, shown_at=used)
        key_of(account, "key-2", label="by hand", scopes=["domains:read", "accounts:read"], public_key="aha-pk-17")
        words = prose_of(staff.get(url("account-keys", account)))
        for said in (
            "Web shop",
            "op_7C31AB",
            "Send only",
            "203.0.113.9/32",
            "1 more",
            "6 min ago",
            "Stored (encrypted)",
        ):
            assert said in words
        for said in (
            "by hand",
            "aha-pk-17",
            "2 scopes",
            "accounts:read",
            "Any IP address",
            "No known use",
            "Created outside the portal",
        ):
            assert said in words
        assert "every 5 to 10 minutes" in words
        assert "from AhaSend" in words

    def test_a_stored_list_asks_for_a_fresh_one(self, staff: Client, account: Account) -> None:
        assert 'hx-trigger="operation-ended' in text_of(staff.get(url("account-keys", account)))
        Account.objects.filter(pk=account.pk).update(keys_read_at=timezone.now() - timedelta(minutes=5))
        words = text_of(staff.get(url("account-keys", account)))
        assert 'hx-trigger="load, operation-ended' in words
        assert "Updated 5 min ago, refreshing from AhaSend" in prose_of(staff.get(url("account-keys", account)))

    def test_a_fresh_list_brings_its_count_to_the_tab(self, staff: Client, account: Account) -> None:
        key_of(account)
        assert '<span class="pk-count" id="keys-count">1</span>' in text_of(staff.get(url("account-keys", account)))
        fresh = text_of(staff.get(url("account-keys", account), {"live": "1"}, **HTMX))
        assert '<span class="pk-count" id="keys-count" hx-swap-oob="true">1</span>' in fresh

    def test_what_ended_since_the_reading_asks_for_a_fresh_one(self, staff: Client, account: Account) -> None:
        OperationFactory(account=account, kind="key_create", state="succeeded")  # ends in three seconds
        assert 'hx-trigger="load, operation' in text_of(staff.get(url("account-keys", account)))

    def test_when_the_provider_is_down_the_stored_list_stays(self, staff: Client) -> None:
        connection = connection_with_keys(base_url="http://127.0.0.1:9")
        account = account_with_keys(connection, keys_read_at=timezone.now() - timedelta(minutes=5))
        key_of(account)
        answer = staff.get(url("account-keys", account) + "?live=1", **HTMX)
        assert answer.status_code == 200
        words = prose_of(answer)
        assert "Couldn't load data from AhaSend" in words
        assert "Showing data from 5 min ago." in words
        assert "Web shop" in words
        assert "load, operation" not in text_of(answer)

    def test_never_read_is_not_none(self, staff: Client) -> None:
        account = account_with_keys(connection_with_keys(base_url="http://127.0.0.1:9"), keys_read_at=None)
        assert "API keys haven't been loaded" in text_of(staff.get(url("account-keys", account) + "?live=1"))

    def test_none(self, staff: Client, account: Account) -> None:
        assert "No API keys" in text_of(staff.get(url("account-keys", account)))

    def test_a_paused_connection_is_not_asked(self, staff: Client, account: Account) -> None:
        Connection.objects.update(paused="person")
        Account.objects.update(keys_read_at=timezone.now() - timedelta(hours=2))
        words = text_of(staff.get(url("account-keys", account)))
        assert "AhaSend test is paused." in words
        assert "load, operation" not in words

    @pytest.mark.parametrize("state", ["pending", "deleted"])
    def test_accounts_without_keys(self, staff: Client, state: str) -> None:
        account = account_with_keys(state=state, provider_id=None if state == "pending" else "gone")
        words = text_of(staff.get(url("account-keys", account)))
        assert "Create key" not in words
        assert "load, operation" not in words

    def test_a_provider_without_keys(self, staff: Client) -> None:
        account = AccountFactory()
        assert "API keys of SendGrid accounts can't be managed here" in text_of(staff.get(url("account-keys", account)))
        assert staff.get(url("key-create", account)).status_code == 404

    @pytest.mark.parametrize(
        ("scope", "name"),
        [("sub-account-api-keys:write", "key-create"), ("sub-account-api-keys:delete", "key-delete")],
    )
    def test_a_missing_scope_disables_and_is_named(
        self, staff: Client, account: Account, scope: str, name: str
    ) -> None:
        key_of(account)
        Connection.objects.update(checks=[{"name": scope, "ok": False, "detail": "403"}])
        words = text_of(staff.get(url("account-keys", account)))
        assert f"lacks the scope {scope}" in words
        assert url(name, account, *(["key-1"] if name == "key-delete" else [])) not in words
        args = ["key-1"] if name == "key-delete" else []
        assert f"lacks the scope {scope}" in text_of(staff.get(url(name, account, *args)))

    def test_without_the_right_to_read_the_provider_is_not_asked(self, staff: Client, account: Account) -> None:
        Account.objects.update(keys_read_at=None)
        Connection.objects.update(checks=[{"name": "sub-account-api-keys:read", "ok": False, "detail": "403"}])
        words = text_of(staff.get(url("account-keys", account)))
        assert "lacks the scope sub-account-api-keys:read" in words
        assert "load, operation" not in words

    def test_the_number_of_queries_does_not_depend_on_the_keys(
        self, staff: Client, person: User, account: Account, django_assert_max_num_queries: object
    ) -> None:
        def queries() -> int:
            with django_assert_max_num_queries(60) as counted:  # type: ignore[operator]
                staff.get(url("account-keys", account))
            return len(counted)

        secret_of(key_of(account), person)
        queries()
        few = queries()
        for n in range(2, 12):
            secret_of(key_of(account, f"key-{n}"), person)
        assert queries() == few

    def test_what_failed_last_is_said(self, staff: Client, account: Account) -> None:
        failed = OperationFactory(account=account, kind="key_create", state="failed", summary="No such scope")
        Account.objects.update(keys_read_at=timezone.now() + timedelta(minutes=1))
        words = text_of(staff.get(url("account-keys", account)))
        assert "Create API key failed" in words
        assert failed.code in words


class TestAsking:
    def test_create(self, staff: Client, person: User, account: Account) -> None:
        typed = fields(staff.get(url("key-create", account))) | {
            "label": "Web shop", "rights": "setup", "ip_allow_list": "198.51.100.77/24", "keep": "on",
        }  # fmt: skip
        answer = staff.post(url("key-create", account), typed, follow=True)
        assert answer.redirect_chain == [(url("account-keys", account), 303)]
        assert "198.51.100.77/24 was saved as 198.51.100.0/24." in text_of(answer)
        operation = Operation.objects.get(kind="key_create")
        assert operation.payload["key"]["ip_allow_list"] == ["198.51.100.0/24"]
        assert operation.payload["keep"] is True
        assert operation.requested_by == person
        assert AuditEvent.objects.filter(verb="key.create_asked").count() == 1

    def test_a_double_click_is_one_key(self, staff: Client, account: Account) -> None:
        typed = fields(staff.get(url("key-create", account))) | {"label": "Web shop", "rights": "send"}
        assert [staff.post(url("key-create", account), typed).status_code for _ in range(3)] == [303] * 3
        assert Operation.objects.count() == 1

    def test_what_was_typed_is_kept(self, staff: Client, account: Account) -> None:
        typed = fields(staff.get(url("key-create", account))) | {
            "label": "Web “shop”", "rights": "single", "scopes": ["domains:read"], "ip_allow_list": "nonsense",
            "keep": "on",
        }  # fmt: skip
        answer = staff.post(url("key-create", account), typed)
        assert answer.status_code == 422
        words = answer.content.decode()
        assert 'value="single" checked' in words
        assert 'value="domains:read" checked' in words
        assert escape("Web “shop”") in words
        assert ">\nnonsense</textarea>" in words
        assert not Operation.objects.exists()

    def test_storing_is_not_offered_if_the_connection_does_not_store(self, staff: Client, account: Account) -> None:
        Connection.objects.update(keep_keys=False)
        assert "Store this key" not in text_of(staff.get(url("key-create", account)))

    def test_edit_sends_only_what_changed(self, staff: Client, account: Account) -> None:
        key_of(account, ip_allow_list=["203.0.113.9/32"])
        typed = fields(staff.get(url("key-edit", account, "key-1"))) | {
            "label": "Shop", "rights": "send", "ip_allow_list": "203.0.113.9",
        }  # fmt: skip
        assert staff.post(url("key-edit", account, "key-1"), typed).status_code == 303
        assert Operation.objects.get().payload["changes"] == {"label": "Shop · op_7C31AB"}

    def test_what_the_key_has_is_allowed_and_not_sent(self, staff: Client, account: Account) -> None:
        label, scopes = " Web  shop " + "x" * 240, ["new thing:read ", "messages:send:all"]
        key_of(account, label=label, scopes=scopes)
        typed = fields(staff.get(url("key-edit", account, "key-1"))) | {
            "label": label, "rights": "single", "scopes": [*scopes, "domains:read"], "ip_allow_list": "",
        }  # fmt: skip
        assert staff.post(url("key-edit", account, "key-1"), typed).status_code == 303
        changes = Operation.objects.get().payload["changes"]
        assert list(changes) == ["scopes"]
        assert set(changes["scopes"]) == {*scopes, "domains:read"}

    def test_edit_without_a_change_says_so_and_asks_nothing(self, staff: Client, account: Account) -> None:
        key_of(account)
        typed = fields(staff.get(url("key-edit", account, "key-1"))) | {"label": "Web shop", "rights": "send"}
        answer = staff.post(url("key-edit", account, "key-1"), typed)
        assert answer.status_code == 422
        assert "No changes to save" in text_of(answer)
        assert not Operation.objects.exists()

    def test_a_key_with_work_under_way_waits(self, staff: Client, account: Account) -> None:
        key_of(account)
        busy = OperationFactory(account=account, kind="key_update", payload={"key_id": "key-1"})
        for name in ("key-edit", "key-delete"):
            words = text_of(staff.get(url(name, account, "key-1")))
            assert f"Already in progress: Change API key ({busy.code})." in words

    @pytest.mark.parametrize(("name", "kind"), [("key-edit", "key_update"), ("key-delete", "key_delete")])
    def test_what_is_typed_while_another_starts_is_kept(
        self, staff: Client, account: Account, name: str, kind: str
    ) -> None:
        key_of(account)
        typed = fields(staff.get(url(name, account, "key-1"))) | {
            "label": "Typed", "rights": "send", "why": "leaked", "reason": "Typed",
        }  # fmt: skip
        OperationFactory(account=account, kind=kind, payload={"key_id": "key-1"})
        refused = staff.post(url(name, account, "key-1"), typed)
        assert refused.status_code == 422
        assert "Typed" in text_of(refused)
        assert Operation.objects.count() == 1

    def test_what_another_changed_meanwhile_is_left(self, staff: Client, account: Account) -> None:
        key = key_of(account, scopes=["messages:send:all"])
        typed = fields(staff.get(url("key-edit", account, "key-1"))) | {
            "label": "Typed", "rights": "send", "scopes": ["messages:send:all"],
        }  # fmt: skip
        AccountKey.objects.filter(pk=key.pk).update(scopes=["domains:read"], ip_allow_list=["203.0.113.9/32"])
        assert staff.post(url("key-edit", account, "key-1"), typed).status_code == 303
        assert Operation.objects.get().payload["changes"] == {"label": "Typed · op_7C31AB"}

    def test_a_conflict_keeps_the_scopes_that_another_selected(self, staff: Client, account: Account) -> None:
        key = key_of(account, scopes=["domains:read"])
        typed = fields(staff.get(url("key-edit", account, "key-1"))) | {
            "label": "Typed", "rights": "single", "scopes": ["domains:read"],
        }  # fmt: skip
        AccountKey.objects.filter(pk=key.pk).update(label="Theirs", scopes=["domains:read", "messages:send:all"])
        conflict = staff.post(url("key-edit", account, "key-1"), typed)
        assert conflict.status_code == 409
        ticked = re.findall(r'name="scopes" value="([^"]*)" checked', text_of(conflict))
        assert set(ticked) == {"domains:read", "messages:send:all"}
        mine = fields(conflict) | {"choice-label": "mine", "label": "Typed", "rights": "single", "scopes": ticked}
        assert staff.post(url("key-edit", account, "key-1"), mine).status_code == 303
        assert Operation.objects.get().payload["changes"] == {"label": "Typed"}

    @pytest.mark.parametrize("old", ["later", "then"])
    def test_rotate(self, staff: Client, account: Account, old: str) -> None:
        key_of(account, scopes=["domains:read"], ip_allow_list=["203.0.113.9/32"])
        page = staff.get(url("key-rotate", account, "key-1"), **HTMX)
        assert "<html" not in text_of(page)
        typed = fields(page) | {"old": old}
        answer = staff.post(url("key-rotate", account, "key-1"), typed, **HTMX)
        assert answer.headers["HX-Redirect"] == url("account-keys", account)
        new = Operation.objects.get(kind="key_create")
        assert new.payload["key"] == {
            "label": "Web shop", "scopes": ["domains:read"], "ip_allow_list": ["203.0.113.9/32"],
        }  # fmt: skip
        after = Operation.objects.filter(kind="key_delete")
        assert [(each.follows_id, each.payload["key_id"]) for each in after] == ([(new.pk, "key-1")] * (old == "then"))

    def test_rotating_a_stored_key_stores_the_new_one_by_default(
        self, staff: Client, person: User, account: Account
    ) -> None:
        secret_of(key_of(account), person, kept=True)
        page = staff.get(url("key-rotate", account, "key-1"))
        assert 'name="keep"' in text_of(page)
        assert "checked" in text_of(page).split('name="keep"')[1].split(">")[0]

    def test_delete_says_what_follows_and_needs_a_reason(self, staff: Client, person: User, account: Account) -> None:
        used = timezone.now() - timedelta(minutes=6)
        secret_of(key_of(account, last_used_at=used), person, kept=True, shown_at=used)
        page = staff.get(url("key-delete", account, "key-1"), **HTMX)
        for said in (
            "stops working immediately",
            "Last known use: 6 min ago",
            "can't be restored",
            "stored secret is deleted too",
        ):
            assert said in prose_of(page)
        answer = staff.post(url("key-delete", account, "key-1"), fields(page) | {"why": "other"}, **HTMX)
        assert answer.status_code == 422
        assert "Enter a reason or select a category." in text_of(answer)
        typed = fields(page) | {"why": "leaked", "reason": "In a public ticket"}
        assert staff.post(url("key-delete", account, "key-1"), typed).status_code == 303
        operation = Operation.objects.get(kind="key_delete")
        assert (operation.payload["key_id"], operation.reason) == ("key-1", "Leaked: In a public ticket")

    @pytest.mark.parametrize("name", ["key-edit", "key-rotate", "key-delete", "key-let-go", "key-secret"])
    def test_unknown_keys_are_not_found(self, staff: Client, account: Account, name: str) -> None:
        assert staff.get(url(name, account, "nobody")).status_code == 404
        other = account_with_keys(connection_with_keys(name="Another"))
        key_of(other)
        assert staff.get(url(name, account, "key-1")).status_code == 404


class TestSecret:
    def show(self, client: Client, account: Account, **more: str) -> object:
        return client.post(url("key-secret", account, "key-1"), **more)

    def test_once(self, staff: Client, person: User, account: Account) -> None:
        secret_of(key_of(account), person)
        page = staff.get(url("key-secret", account, "key-1"))
        assert "Reveal secret" in text_of(page)
        assert SECRET not in text_of(page)
        answer = staff.post(url("key-secret", account, "key-1"), **HTMX)
        assert text_of(answer).count(SECRET) == 2  # to read and to copy
        assert "<html" not in text_of(answer)
        assert answer.headers["Cache-Control"] == "no-store"
        again = staff.post(url("key-secret", account, "key-1"))
        assert again.status_code == 422
        for after in (staff.get(url("key-secret", account, "key-1")), again):
            assert SECRET not in text_of(after)
            assert "Nadia Berg revealed it on" in text_of(after)
            assert "Rotate key" in text_of(after)
        row = KeySecret.objects.get()
        assert (row.sealed, row.shown_at is not None) == ("", True)
        event = AuditEvent.objects.get(verb="key.secret_shown")
        assert event.actor == person
        assert SECRET not in str(AuditEvent.objects.values())

    def test_without_a_script_it_is_a_page(self, staff: Client, person: User, account: Account) -> None:
        secret_of(key_of(account), person)
        answer = staff.post(url("key-secret", account, "key-1"))
        assert SECRET in text_of(answer)
        assert "<html" in text_of(answer)
        assert answer.headers["Cache-Control"] == "no-store"

    def test_it_is_shown_before_its_key_is_listed(self, staff: Client, person: User, account: Account) -> None:
        key = key_of(account)
        secret_of(key, person)
        key.delete()
        assert "API key “Web shop” created" in text_of(staff.get(url("account-keys", account)))
        assert SECRET in text_of(staff.post(url("key-secret", account, "key-1")))

    def test_others_see_for_whom_it_waits(self, staff: Client, person: User, account: Account, client: Client) -> None:
        secret_of(key_of(account), person)
        other = sign_in(Client(), UserFactory())
        words = text_of(other.get(url("account-keys", account)))
        assert "Available to Nadia Berg" in words
        assert "Reveal secret" not in words
        words = text_of(other.get(url("key-secret", account, "key-1")))
        assert "Only Nadia Berg can reveal this secret" in words
        assert "Nadia Berg requested this key" in words
        answer = other.post(url("key-secret", account, "key-1"))
        assert answer.status_code == 422
        assert SECRET not in text_of(answer)
        assert SECRET in text_of(staff.post(url("key-secret", account, "key-1")))

    def test_after_fifteen_minutes_it_is_gone(self, staff: Client, person: User, account: Account) -> None:
        secret_of(key_of(account), person, minutes=-0.1)
        assert "Expired</span> <small>never revealed</small>" in text_of(staff.get(url("account-keys", account)))
        answer = staff.post(url("key-secret", account, "key-1"))
        assert answer.status_code == 422
        assert SECRET not in text_of(answer)
        assert "The secret expired because it wasn't revealed within 15 minutes." in text_of(answer)

    def test_a_revealed_secret_is_told_from_an_expired_one(self, staff: Client, person: User, account: Account) -> None:
        secret_of(key_of(account), person, shown_at=timezone.now())
        listed = prose_of(staff.get(url("account-keys", account)))
        assert "Already revealed by Nadia Berg just now" in listed
        assert "Expired" not in listed

    def test_a_key_made_elsewhere(self, staff: Client, account: Account) -> None:
        key_of(account)
        assert "This key was created outside the portal" in text_of(staff.get(url("key-secret", account, "key-1")))
        assert staff.post(url("key-secret", account, "key-1")).status_code == 422

    def test_needs_a_password_typed_lately(self, person: User, account: Account) -> None:
        secret_of(key_of(account), person)
        client = sign_in(Client(), person, minutes_ago=11)
        assert "reauthenticate" in client.get(url("key-secret", account, "key-1")).headers["Location"]
        assert "Confirm it's you" in text_of(client.post(url("key-secret", account, "key-1")))
        on_its_page = client.post(url("key-secret", account, "key-1"), **HTMX, HTTP_HX_TARGET="secret")
        assert "reauthenticate" in on_its_page.headers["HX-Redirect"]
        assert KeySecret.objects.get().shown_at is None

    def test_a_kept_one_is_shown_once_as_well(self, staff: Client, person: User, account: Account) -> None:
        secret_of(key_of(account), person, kept=True)
        assert SECRET in text_of(staff.post(url("key-secret", account, "key-1")))
        answer = staff.post(url("key-secret", account, "key-1"))
        assert SECRET not in text_of(answer)
        assert "stores it, encrypted" in text_of(answer)
        assert KeySecret.objects.get().open() == SECRET

    def test_letting_go(self, staff: Client, person: User, account: Account) -> None:
        secret_of(key_of(account), person, kept=True, shown_at=timezone.now())
        assert "Delete stored secret" in text_of(staff.get(url("account-keys", account)))
        assert "Delete stored secret" in text_of(staff.get(url("key-let-go", account, "key-1"), **HTMX))
        assert staff.post(url("key-let-go", account, "key-1")).status_code == 303
        row = KeySecret.objects.get()
        assert (row.kept, row.sealed) == (False, "")
        assert AuditEvent.objects.filter(verb="key.secret_forgotten").count() == 1
        assert "The stored secret was already deleted." in text_of(staff.get(url("key-let-go", account, "key-1")))

    def test_an_error_page_would_not_have_it(self) -> None:
        from customers.accounts.keys.secret_views import Shown  # noqa: PLC0415

        assert SECRET not in repr(Shown(SECRET))
        assert str(Shown(SECRET)) == SECRET


@pytest.mark.django_db(transaction=True)
@pytest.mark.long
def test_claims_at_once_show_it_once() -> None:
    """A hundred browsers of the same person, as many at a time as the database has connections for."""
    person, account = UserFactory(), account_with_keys()
    secret_of(key_of(account), person)
    clients = [sign_in(Client(raise_request_exception=False), person) for _ in range(100)]
    gate = threading.Barrier(AT_ONCE)

    def claim(number: int) -> tuple[int, bool]:
        if number < AT_ONCE:
            gate.wait()
        try:
            answer = clients[number].post(url("key-secret", account, "key-1"))
            return answer.status_code, SECRET in text_of(answer)
        finally:
            database.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(claim, range(100)))
    assert sum(shown for _status, shown in answers) == 1
    assert sorted(status for status, _shown in answers) == [200] + [422] * 99
    assert AuditEvent.objects.filter(verb="key.secret_shown").count() == 1


NAMES = ["key-create", "key-edit", "key-rotate", "key-delete", "key-secret", "key-let-go"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("finance", 403), ("auditor", 403)])
def test_who_may(client: Client, account: Account, name: str, role: str, status: int) -> None:
    user = UserFactory(role=role)
    secret_of(key_of(account), user, kept=True)
    sign_in(client, user)
    address = url(name, account, *([] if name == "key-create" else ["key-1"]))
    assert client.get(address).status_code == status
    if status == 403:
        assert client.post(address, {"client_token": "a" * 32}).status_code == 403
        assert not Operation.objects.exclude(state="succeeded").exists()
        assert KeySecret.objects.get().shown_at is None


@pytest.mark.parametrize("role", ["finance", "auditor"])
def test_everybody_may_look(client: Client, account: Account, role: str) -> None:
    key_of(account)
    words = text_of(sign_in(client, UserFactory(role=role)).get(url("account-keys", account)))
    assert "Web shop" in words
    assert "Actions for" not in words


def test_names_are_escaped(staff: Client, account: Account) -> None:
    key_of(account, label="<img src=x onerror=alert(1)> · op_7C31AB", scopes=["<b>:x"], ip_allow_list=["<i>"])
    for name, args in (("account-keys", []), ("key-edit", ["key-1"]), ("key-delete", ["key-1"])):
        for more in ({}, HTMX):
            words = staff.get(url(name, account, *args), **more).content
            assert b"<img src=x" not in words
            assert b"<b>:x" not in words
