"""The secret of a new key: sealed, shown once to the person who asked, gone after fifteen minutes, or kept."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from django.core.management import call_command

from customers import dispatcher
from customers.models import Account, AccountKey, Connection, KeySecret, Operation
from customers.operations import key_secrets
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.customers.sub_accounts import HOUR, SubDesk, sub_desk
from tests.support.sandbox import SandboxProcess


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> SubDesk:
    return sub_desk(sandbox)


def _made(desk: SubDesk, **how: bool) -> tuple[Account, AccountKey]:
    account = desk.created()
    operation = desk.perform(desk.ask_key(account, **how))
    assert operation.state == "succeeded", operation.summary
    return account, AccountKey.objects.get(account=account)


class TestTheSecret:
    def _claim(self, desk: SubDesk, account: Account, key: AccountKey, actor: User | None = None) -> str:
        return key_secrets.reveal_once(Command(actor or desk.person, desk.now), account=account, key_id=key.key_id)

    def test_is_shown_once_and_is_then_gone(self, desk: SubDesk) -> None:
        account, key = _made(desk)
        assert self._claim(desk, account, key).startswith("aha-sk-")
        assert KeySecret.objects.get().sealed == ""
        with pytest.raises(Refusal, match="once"):
            self._claim(desk, account, key)
        assert AuditEvent.objects.filter(verb="key.secret_shown", actor=desk.person).count() == 1

    def test_is_revealed_for_the_reason_of_the_key(self, desk: SubDesk) -> None:
        account, key = _made(desk)
        Operation.objects.update(reason="New web shop.")
        self._claim(desk, account, key)
        event = AuditEvent.objects.get(verb="key.secret_shown")
        assert (event.reason, event.account_id) == ("New web shop.", account.public_id)

    @pytest.mark.parametrize("keep", [False, True])
    def test_of_two_who_come_at_once_one_gets_it(
        self, desk: SubDesk, monkeypatch: pytest.MonkeyPatch, keep: bool
    ) -> None:
        """The second one comes between the first one's look and its claim."""
        account, key = _made(desk, keep=keep)
        opened, shown = KeySecret.open, []

        def meanwhile(row: KeySecret) -> str:
            if not shown:
                shown.append("")  # only the first one is overtaken
                shown.append(self._claim(desk, account, key))
            return opened(row)

        monkeypatch.setattr(KeySecret, "open", meanwhile)
        with pytest.raises(Refusal, match="once"):
            self._claim(desk, account, key)
        assert shown[1].startswith("aha-sk-")

    def test_is_for_the_person_who_asked_alone(self, desk: SubDesk) -> None:
        account, key = _made(desk)
        other = User.objects.create_user("other@postkeeper.example", name="Other", role="admin")
        with pytest.raises(Refusal, match="Customer success"):
            self._claim(desk, account, key, other)

    def test_expires_after_15_minutes_and_the_dispatcher_erases_it(self, desk: SubDesk) -> None:
        account, key = _made(desk)
        desk.pass_time(14 * 60)
        dispatcher.dispatch(now=desk.now)
        assert KeySecret.objects.get().sealed
        desk.pass_time(61)
        with pytest.raises(Refusal, match="15 minutes"):
            self._claim(desk, account, key)
        dispatcher.dispatch(now=desk.now)
        assert KeySecret.objects.get().sealed == ""
        assert AuditEvent.objects.filter(verb="key.secret_forgotten").count() == 1

    def test_a_kept_one_is_shown_once_as_well_and_stays_for_sending(self, desk: SubDesk) -> None:
        account, key = _made(desk, keep=True)
        secret = self._claim(desk, account, key)
        with pytest.raises(Refusal):
            self._claim(desk, account, key)
        desk.pass_time(30 * HOUR)
        dispatcher.dispatch(now=desk.now)
        kept = key_secrets.secret_for_sending(account)
        assert kept is not None
        assert kept.open() == secret
        key_secrets.stop_storing(Command(desk.person, desk.now), account=account, key_id=key.key_id)
        assert key_secrets.secret_for_sending(account) is None
        assert KeySecret.objects.get().sealed == ""

    def test_a_deleted_keys_stored_secret_is_erased_the_next_day(self, desk: SubDesk) -> None:
        account, _key = _made(desk, keep=True)
        AccountKey.objects.update(gone_at=desk.now)
        assert key_secrets.secret_for_sending(account) is None
        dispatcher.dispatch(now=desk.now)
        assert KeySecret.objects.get().sealed, "one list may be wrong"
        desk.pass_time(25 * HOUR)
        dispatcher.dispatch(now=desk.now)
        assert KeySecret.objects.get().sealed == ""

    def test_keeping_needs_the_connection_to_allow_it(self, desk: SubDesk) -> None:
        Connection.objects.update(keep_keys=False)
        account = desk.created()
        account.connection.refresh_from_db()
        with pytest.raises(Refusal) as refusal:
            desk.ask_key(account, keep=True)
        assert refusal.value.field == "keep"

    def test_the_same_answer_twice_brings_no_shown_secret_back(self, desk: SubDesk) -> None:
        account, key = _made(desk)
        operation = Operation.objects.get(kind="key_create")
        self._claim(desk, account, key)
        key_secrets.store(operation=operation, key_id=key.key_id, secret="aha-sk-again", now=desk.now)
        assert KeySecret.objects.get().sealed == ""


def test_a_stored_secret_is_encrypted_with_the_first_field_key(desk: SubDesk, settings: Any) -> None:
    _account, key = _made(desk, keep=True)
    before = KeySecret.objects.get()
    settings.FIELD_KEYS = f"new:{base64.b64encode(bytes(range(32))).decode()},{settings.FIELD_KEYS}"
    call_command("rotate_field_keys", stdout=io.StringIO())
    settings.FIELD_KEYS = settings.FIELD_KEYS.partition(",")[0]
    after = KeySecret.objects.get(key_id=key.key_id)
    assert after.sealed != before.sealed
    assert after.open().endswith(after.last4)
