"""What is done with a key of the account itself: a domain added, a test message sent, once; and a refused key of the
account never pauses our connection."""

from __future__ import annotations

import pytest

from customers.models import Account, AccountKey, Operation, SendingDomain
from customers.observed import accounts as observed_accounts
from customers.operations import commands as operation_commands
from customers.operations import key_secrets
from portal.commands import Command
from portal.refusals import Refusal
from tests.customers.sub_accounts import HOUR, SubDesk, sub_desk
from tests.support.sandbox import SandboxProcess

DOMAIN = "mail.northwind.example"


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> SubDesk:
    return sub_desk(sandbox)


@pytest.fixture
def account(desk: SubDesk) -> Account:
    account = desk.created()
    operation = desk.perform(desk.ask_key(account, keep=True))
    assert operation.state == "succeeded", operation.summary
    return desk.account(operation)


def _verified(desk: SubDesk, account: Account) -> None:
    assert desk.perform(desk.ask("domain", account, name=DOMAIN)).state == "succeeded"
    desk.sandbox.admin.aha.publish(str(account.provider_id), DOMAIN)
    secret = key_secrets.secret_for_sending(account)
    assert secret is not None
    domain = desk.connect(desk.connection).sending(account.ref, secret.open()).check_dns(DOMAIN)
    observed_accounts.record_domain(account_id=account.pk, domain=domain, now=desk.now)
    assert domain.valid


def _message(desk: SubDesk, account: Account) -> Operation:
    return desk.ask("test_message", account, sender=f"hello@{DOMAIN}", recipient="me@postkeeper.example")


def _taken(desk: SubDesk, account: Account) -> list[object]:
    return list(desk.sandbox.admin.aha.messages(str(account.provider_id)))


def test_a_domain_is_added_with_its_records(desk: SubDesk, account: Account) -> None:
    operation = desk.perform(desk.ask("domain", account, name=DOMAIN.upper()))
    assert operation.state == "succeeded", operation.summary
    domain = SendingDomain.objects.get(account=account)
    assert (domain.name, domain.valid) == (DOMAIN, False)
    assert domain.records
    with pytest.raises(Refusal, match="already"):
        desk.ask("domain", account, name=DOMAIN)


FAULTS = [
    "status-500",
    "after-status-500",
    "reset-before",
    "reset-after",
    "crash-after",
    "crash-before",
    "after-html-502",
]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.sample(3)
def test_an_unknown_add_is_read_back_or_sent_again_under_its_key(desk: SubDesk, account: Account, fault: str) -> None:
    desk.sandbox.admin.arm(fault, "aha-domain-create")
    operation = desk.drain(desk.ask("domain", account, name=DOMAIN))
    assert operation.state == "succeeded", operation.summary
    assert SendingDomain.objects.get(account=account).name == DOMAIN


def test_a_domain_that_is_there_already_is_done_without_a_send(desk: SubDesk, account: Account) -> None:
    assert desk.perform(desk.ask("domain", account, name=DOMAIN)).state == "succeeded"
    SendingDomain.objects.all().delete()
    again = desk.perform(desk.ask("domain", account, name=DOMAIN))
    assert (again.state, again.attempt_count) == ("succeeded", 0)


def test_a_test_message_is_sent_and_its_id_kept(desk: SubDesk, account: Account) -> None:
    _verified(desk, account)
    operation = desk.perform(_message(desk, account))
    assert operation.state == "succeeded", operation.summary
    assert operation.result["message_id"]
    assert len(_taken(desk, account)) == 1


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.sample(3)
def test_an_unknown_test_message_is_resent_under_its_key(desk: SubDesk, account: Account, fault: str) -> None:
    _verified(desk, account)
    desk.sandbox.admin.arm(fault, "aha-message")
    operation = desk.drain(_message(desk, account))
    assert operation.state == "succeeded", operation.summary
    # Where the provider's own handler died behind the message, or answered 500, its key was released: it is documented
    # that the next try executes once more.
    twice = fault in ("after-status-500", "crash-after")
    assert len(_taken(desk, account)) == (2 if twice else 1)


def test_an_unknown_test_message_needs_review_after_23_hours(desk: SubDesk, account: Account) -> None:
    _verified(desk, account)
    desk.sandbox.admin.arm("reset-after", "aha-message")
    operation = desk.perform(_message(desk, account))
    desk.pass_time(23.5 * HOUR)
    desk.drain(operation)
    assert (operation.state, operation.error_kind, operation.attempt_count) == ("needs_attention", "too_late", 1)


def test_only_from_a_verified_domain_of_the_account(desk: SubDesk, account: Account) -> None:
    with pytest.raises(Refusal) as refusal:
        _message(desk, account)
    assert refusal.value.field == "sender"
    desk.perform(desk.ask("domain", account, name=DOMAIN))
    with pytest.raises(Refusal, match="not verified"):
        _message(desk, account)


@pytest.mark.parametrize(
    ("status", "why"), [(401, "deleted, or the account is suspended"), (403, "lacks the required scopes")]
)
def test_a_refused_account_key_never_pauses_the_connection(
    desk: SubDesk, account: Account, status: int, why: str
) -> None:
    desk.sandbox.admin.arm(f"status-{status}", "aha-domain-create")
    operation = desk.perform(desk.ask("domain", account, name=DOMAIN))
    desk.connection.refresh_from_db()
    assert (operation.state, operation.error_kind) == ("failed", "rejected")
    assert "account's API key" in operation.summary
    assert why in operation.summary
    assert desk.connection.paused == ""


def test_a_suspended_account_is_refused_in_words_early_and_late(desk: SubDesk, account: Account) -> None:
    asked = desk.ask("domain", account, name=DOMAIN)
    desk.connect(desk.connection).set_sending(account.ref, on=False, reason="In the console.")
    operation = desk.perform(asked)
    assert (operation.state, operation.error_kind, operation.attempt_count) == ("failed", "held", 0)
    account.refresh_from_db()
    with pytest.raises(Refusal, match="suspended"):
        desk.ask("domain", account, name="other.northwind.example")


def test_without_a_stored_key_it_is_refused_early_and_late(desk: SubDesk, account: Account) -> None:
    asked = desk.ask("domain", account, name=DOMAIN)
    key = AccountKey.objects.get()
    key_secrets.stop_storing(Command(desk.person, desk.now + key_secrets.WAITS), account=account, key_id=key.key_id)
    operation = desk.perform(asked)
    assert (operation.state, operation.error_kind, operation.attempt_count) == ("failed", "no_key", 0)
    with pytest.raises(Refusal, match="stored in the portal"):
        desk.ask("domain", account, name=DOMAIN)


def test_an_unknown_message_needs_review_if_the_key_is_deleted(desk: SubDesk, account: Account) -> None:
    _verified(desk, account)
    desk.sandbox.admin.arm("reset-after", "aha-message")
    operation = desk.perform(_message(desk, account))
    key = AccountKey.objects.get()
    key_secrets.stop_storing(Command(desk.person, desk.now + key_secrets.WAITS), account=account, key_id=key.key_id)
    desk.drain(operation)
    assert (operation.state, operation.error_kind) == ("needs_attention", "no_key")
    with pytest.raises(Refusal):
        operation_commands.cancel_operation(Command(desk.person, desk.now), operation=operation)
