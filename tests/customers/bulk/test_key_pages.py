"""Pages of a bulk change of keys: progress, consequences, results, and the secrets of new keys."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from customers.bulk import key_results, secret_views
from customers.models import Account, AccountKey, ChangeSet, KeySecret, Operation
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.customers.bulk.key_drills import account_of, drilled, key_at_provider, listed, living, plan, submit, work
from tests.customers.page_helpers import HTMX, prose_of, text_of
from tests.customers.sub_accounts import SubDesk, sub_desk
from tests.support.approvals import switch_on
from tests.support.people import sign_in
from tests.support.sandbox import SandboxProcess


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> SubDesk:
    return sub_desk(sandbox)


@pytest.fixture
def account(desk: SubDesk) -> Account:
    return account_of(desk)


@pytest.fixture
def staff(client: Client, desk: SubDesk) -> Client:
    return sign_in(client, desk.person)


def page(staff: Client, made: ChangeSet, query: str = "") -> str:
    return prose_of(staff.get(made.get_absolute_url() + query))


def act(staff: Client, made: ChangeSet, do: str) -> Any:
    address = reverse("customers:bulk-act", args=[made.public_id])
    return staff.post(address, {"do": do, "client_token": uuid4().hex})


class TestDraft:
    def test_listing_shows_its_progress(self, desk: SubDesk, staff: Client, account: Account) -> None:
        made = plan(desk, account, account_of(desk, 2))
        words = page(staff, made)
        assert "State Listing keys" in words
        assert "Listing the keys at the provider: 0 of 2 accounts." in words
        assert "Discard draft" in words
        assert "Rotate 0 keys" not in words

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            ({"old": "then"}, ["Each old key is deleted as soon as its new one exists.", "Rotate 1 key"]),
            ({"old": "later"}, ["The old keys work until you delete them.", "Rotate 1 key"]),
            ({"kind": "key_delete"}, ["Anything using these keys stops working immediately.", "Delete 1 key"]),
        ],
    )
    def test_a_draft_says_its_consequences(
        self, desk: SubDesk, staff: Client, account: Account, more: dict[str, str], says: list[str]
    ) -> None:
        key_at_provider(desk, account)
        words = page(staff, listed(desk, account, **more))
        assert [text for text in ["Web shop", *says] if text not in words] == []

    def test_applying_asks_to_confirm(self, desk: SubDesk, client: Client, account: Account) -> None:
        key_at_provider(desk, account)
        made = listed(desk, account)
        late = sign_in(client, desk.person, minutes_ago=11)
        assert act(late, made, "submit").status_code != 303
        made.refresh_from_db()
        assert made.state == "planned"

    def test_many_accounts_need_approval(self, desk: SubDesk, staff: Client, account: Account) -> None:
        other = account_of(desk, 2)
        for each in (account, other):
            key_at_provider(desk, each)
        switch_on("bulk", threshold=1)
        User.objects.create_user("vera@postkeeper.example", "a long enough one", name="Vera Lind", role="admin")
        made = listed(desk, account, other)
        assert "Request approval for 2 keys" in page(staff, made)
        act(staff, made, "submit")
        made.refresh_from_db()
        assert made.state == "waiting"
        assert Operation.objects.filter(kind="key_create").count() == 0


class TestResult:
    def test_it_tells_of_each_key_and_counts_the_living(self, desk: SubDesk, staff: Client, account: Account) -> None:
        key_at_provider(desk, account)
        made = listed(desk, account)
        assert act(staff, made, "submit").status_code == 303
        words = page(staff, work(desk, made))
        assert "0 of 1 old keys still work" in words
        assert "Checked at the provider" in words
        assert "Rotated" in words
        assert "1 secret to reveal" in words

    def test_old_keys_are_deleted_by_a_button(self, desk: SubDesk, staff: Client, account: Account) -> None:
        old = key_at_provider(desk, account)
        made = drilled(desk, account, old="later")
        words = page(staff, made)
        assert "1 of 1 old keys still work" in words
        assert "Delete 1 old key" in words
        assert "You preview the deletion first." in words
        assert act(staff, made, "old").status_code == 303
        delete = ChangeSet.objects.get(kind="key_delete")
        assert list(delete.items.values_list("account_id", "key_id")) == [(account.pk, old)]
        assert delete.reason == made.reason

    def test_counting_again_lists_again(self, desk: SubDesk, staff: Client, account: Account) -> None:
        key_at_provider(desk, account)
        made = drilled(desk, account)
        desk.pass_time(5)
        act(staff, made, "check")
        made.refresh_from_db()
        assert made.state == "running"

    def test_a_key_that_failed_says_what_to_do(self, desk: SubDesk, staff: Client, account: Account) -> None:
        key = key_at_provider(desk, account)
        made = drilled(desk, account, kind="key_delete")
        Operation.objects.filter(kind="key_delete").update(state="failed")
        AccountKey.objects.filter(key_id=key).update(gone_at=None)
        words = page(staff, made)
        assert "Failed, still works" in words
        assert "Open the operation to see why, then create another bulk change for this key." in words

    def test_it_names_keys_without_a_secret_and_all_others(
        self, desk: SubDesk, staff: Client, account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(key_results, "STRANGERS_SHOWN", 1)
        key_at_provider(desk, account)
        made = submit(desk, listed(desk, account))
        for n in range(3):
            key_at_provider(desk, account, f"Not ours {n}")
        made = work(desk, made)
        KeySecret.objects.all().delete()
        words = page(staff, made)
        code = made.items.get().operation.code
        assert "New keys without a secret The provider created these keys, but its answers were lost" in words
        assert f"Web shop · {code}" in words
        assert "and 2 more" in words

    def test_others_see_no_secret(self, desk: SubDesk, client: Client, account: Account) -> None:
        key_at_provider(desk, account)
        made = drilled(desk, account)
        other = User.objects.create_user("vera@postkeeper.example", name="Vera Lind", role="admin")
        words = page(sign_in(client, other), made)
        assert "secret to reveal" not in words
        assert "Reveal secret" not in words


class TestSecrets:
    def address(self, made: ChangeSet) -> str:
        return reverse("customers:bulk-secrets", args=[made.public_id])

    def test_each_is_shown_once_some_at_a_time(
        self, desk: SubDesk, staff: Client, account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(secret_views, "AT_ONCE", 2)
        for n in range(3):
            key_at_provider(desk, account, f"Shop {n}")
        made = drilled(desk, account)
        address, shown = self.address(made), []
        assert "You can reveal 3 secrets." in prose_of(staff.get(address))
        for left in (1, 0):
            answer = staff.post(address, **HTMX)
            assert answer.headers["Cache-Control"] == "no-store"
            shown += [part.split('"')[0] for part in text_of(answer).split('data-copy="')[1:]]
            assert KeySecret.objects.exclude(sealed="").count() == left
        assert len(set(shown)) == 3
        for secret in shown:
            assert desk.connect(desk.connection).sending(account.ref, secret).domains() == []
        assert AuditEvent.objects.filter(verb="key.secret_shown").count() == 3
        words = text_of(staff.get(address))
        assert "There is no secret of this bulk change that you can reveal." in words
        assert "aha-sk-" not in words

    def test_they_are_the_requesters_alone(self, desk: SubDesk, client: Client, account: Account) -> None:
        key_at_provider(desk, account)
        made = drilled(desk, account)
        other = User.objects.create_user("vera@postkeeper.example", name="Vera Lind", role="admin")
        answer = sign_in(client, other).post(self.address(made), **HTMX)
        assert "aha-sk-" not in text_of(answer)
        assert KeySecret.objects.exclude(sealed="").count() == 1

    def test_revealing_asks_to_confirm(self, desk: SubDesk, client: Client, account: Account) -> None:
        key_at_provider(desk, account)
        made = drilled(desk, account)
        answer = sign_in(client, desk.person, minutes_ago=11).post(self.address(made))
        assert "aha-sk-" not in text_of(answer)
        assert len(living(desk, account)) == 1
