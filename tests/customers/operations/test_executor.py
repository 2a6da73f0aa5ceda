"""What each answer of the provider leaves behind: the operation's state here, and the number of accounts there.

The faults are armed in the sandbox and met over real HTTP. Never is there a second account.
"""

from __future__ import annotations

import json

import pytest
import structlog
from django.utils import timezone

from customers.models import Attempt
from customers.operations import resolve
from portal.commands import Command
from portal.providers import ProviderOffering
from portal.refusals import Refusal
from tests.customers.conftest import ADDON, BIGGER, PACKAGE, Desk
from tests.house.test_logs import Written

# fault, parameters, state it ends in, outcome of the attempt, accounts at the provider afterwards
CREATES = [
    ("status-400", {}, "failed", "rejected", 0),
    ("status-401", {}, "queued", "rejected", 0),
    ("status-403", {}, "failed", "rejected", 0),
    ("status-404", {}, "failed", "rejected", 0),
    ("429", {}, "queued", "rejected", 0),
    ("status-500", {}, "unknown", "unknown", 0),
    ("status-502", {}, "unknown", "unknown", 0),
    ("status-503", {}, "unknown", "unknown", 0),
    ("status-504", {}, "unknown", "unknown", 0),
    ("after-status-500", {}, "unknown", "unknown", 1),
    ("after-status-502", {}, "unknown", "unknown", 1),
    ("after-status-503", {}, "unknown", "unknown", 1),
    ("create-then-504", {}, "unknown", "unknown", 1),
    ("html-502", {}, "unknown", "unknown", 0),
    ("after-html-502", {}, "unknown", "unknown", 1),
    ("empty", {"status": 502}, "unknown", "unknown", 0),
    ("after-empty", {"status": 201}, "unknown", "unknown", 1),
    ("no-account-id", {}, "unknown", "unknown", 1),
    ("wrong-201", {}, "unknown", "unknown", 1),
    ("truncated", {}, "unknown", "unknown", 1),
    ("redirect", {}, "unknown", "unknown", 0),
    ("reset-before", {}, "unknown", "unknown", 0),
    ("reset-after", {}, "unknown", "unknown", 1),
    ("hang-before", {}, "unknown", "unknown", 0),
    ("hang-after", {}, "unknown", "unknown", 1),
]


@pytest.mark.parametrize(("fault", "params", "state", "outcome", "accounts"), CREATES, ids=[row[0] for row in CREATES])
@pytest.mark.sample(10)
def test_a_create_met_by(  # noqa: PLR0917 the columns of the table
    desk: Desk, fault: str, params: dict[str, int], state: str, outcome: str, accounts: int
) -> None:
    desk.timeouts = 1.0
    desk.sandbox.admin.arm(fault, "create", **params)
    operation = desk.perform(desk.ask_create())

    assert operation.state == state
    attempt = operation.attempts.get()
    assert attempt.outcome == outcome
    assert attempt.answered_at is not None
    assert operation.summary
    assert len(desk.sandbox.admin.accounts()) == accounts

    # Rounds later it is settled by proof: found in the list and taken over, or proven absent and sent once more.
    if state == "unknown":
        desk.timeouts = 5.0
        desk.drain(operation, hours=2)
        assert operation.state == "succeeded", operation.summary
        [there] = desk.sandbox.admin.accounts()
        assert desk.account(operation).provider_id == there["id"]
        assert Attempt.objects.count() == 2 - accounts


def test_lines_about_an_operation_have_its_own_request(desk: Desk) -> None:
    """The message that made the worker look may be of another request, as at the end of another operation."""
    with structlog.contextvars.bound_contextvars(request_id="the-click"):
        operation = desk.ask_create()
    with (
        Written(json_lines=True, name="portal.providers") as written,
        structlog.contextvars.bound_contextvars(request_id="another"),
    ):
        desk.perform(operation)
    lines = [json.loads(line) for line in written.text.splitlines()]
    assert operation.attempts.get().provider_request_id in {line["provider_request_id"] for line in lines}
    assert {(line["request_id"], line["operation"]) for line in lines} == {("the-click", operation.code)}


def test_a_create_that_works_keeps_the_id_and_reads_the_account(desk: Desk) -> None:
    operation = desk.perform(desk.ask_create())
    account = desk.account(operation)
    there = desk.sandbox.admin.accounts()
    assert operation.state == "succeeded"
    assert [each["id"] for each in there] == [account.provider_id]
    assert account.state == "active"
    assert account.offerings == [
        {"name": PACKAGE.name, "type": "package", "quantity": 1},
        {"name": ADDON.name, "type": "addon", "quantity": 1},
    ]
    assert account.v2_username
    attempt = operation.attempts.get()
    assert (attempt.outcome, attempt.status) == ("applied", 201)
    assert account.provider_id in attempt.response


def test_the_providers_field_errors_are_kept_for_the_form(desk: Desk) -> None:
    operation = desk.perform(desk.ask_create(phone="12345", company_website="not a url"))
    assert operation.state == "failed"
    assert {error["field"] for error in operation.field_errors} == {"phone", "company_website"}
    assert all(error["message"] for error in operation.field_errors)


def test_a_refused_connection_is_not_sent_and_waits(desk: Desk) -> None:
    desk.connection.base_url = "http://127.0.0.1:9"
    desk.connection.save(update_fields=["base_url"])
    operation = desk.perform(desk.ask_create())
    assert operation.state == "queued"
    assert operation.attempts.get().outcome == "not_sent"
    assert operation.not_before > timezone.now()


def test_a_refused_key_pauses_the_connection_and_fails_nothing(desk: Desk) -> None:
    desk.sandbox.admin.arm("status-401", "create")
    first = desk.perform(desk.ask_create())
    desk.connection.refresh_from_db()
    assert (first.state, desk.connection.paused) == ("queued", "auth")
    with pytest.raises(Refusal):
        desk.ask_create("other@globex.example")


def test_after_a_429_the_same_create_is_sent_when_due(desk: Desk) -> None:
    desk.sandbox.admin.arm("429", "create", seconds=2)
    operation = desk.perform(desk.ask_create())
    assert operation.state == "queued"
    assert desk.perform(operation).state == "queued"  # not before its time
    operation = desk.drain(operation)
    assert operation.state == "succeeded"
    assert len(desk.sandbox.admin.accounts()) == 1


WRITES = [
    ("status-500", "before"),
    ("after-status-500", "after"),
    ("status-503", "before"),
    ("after-status-504", "after"),
    ("reset-before", "before"),
    ("reset-after", "after"),
    ("hang-after", "after"),
    ("html-502", "before"),
]


@pytest.mark.parametrize("fault", [row[0] for row in WRITES])
@pytest.mark.parametrize("kind", ["offerings", "suspend", "delete"])
@pytest.mark.sample(8)
def test_an_unknown_idempotent_write_is_verified_by_reading(desk: Desk, kind: str, fault: str) -> None:
    desk.timeouts = 1.0
    account = desk.created()
    name = {"offerings": "put-offerings", "suspend": "put-state", "delete": "delete"}[kind]
    desk.sandbox.admin.arm(fault, name)
    operation = desk.ask_offerings(account, [BIGGER]) if kind == "offerings" else desk.ask(kind, account)
    operation = desk.perform(operation)
    assert operation.state == "unknown"

    operation = desk.drain(operation)
    assert operation.state == "succeeded", operation.summary
    assert operation.attempts.count() <= 2
    account.refresh_from_db()
    there = {each["id"]: each for each in desk.sandbox.admin.accounts() if not each.get("deleted_at")}
    if kind == "delete":
        assert account.provider_id not in there
        assert account.state == "deleted"
    elif kind == "suspend":
        assert there[account.provider_id]["state"] == "deactivated"
        assert account.state == "stopped_by_us"
    else:
        assert account.package == BIGGER.name


def test_offerings_changed_elsewhere_are_a_conflict_and_not_sent(desk: Desk) -> None:
    account = desk.created()
    desk.connect(desk.connection).replace_offerings(account.ref, [BIGGER])
    desk.sandbox.admin.clear_requests()
    operation = desk.perform(desk.ask_offerings(account, [PACKAGE]))
    assert (operation.state, operation.error_kind) == ("failed", "conflict")
    assert operation.result["found"] == [{"name": BIGGER.name, "type": "package", "quantity": 1}]
    assert all(request["method"] == "GET" for request in desk.sandbox.admin.requests())
    account.refresh_from_db()
    assert account.desired_offerings == account.operations.get(kind="create").payload["offerings"]


def test_an_account_the_provider_holds_is_not_touched(desk: Desk) -> None:
    account = desk.created()
    desk.sandbox.admin.set_state(account.provider_id, "suspended")
    operation = desk.perform(desk.ask("suspend", account))
    assert (operation.state, operation.error_kind) == ("failed", "held")
    account.refresh_from_db()
    assert (account.state, account.state_raw) == ("stopped_by_provider", "suspended")
    assert account.desired_state == "active"


def test_a_delete_keeps_the_last_usage_first(desk: Desk) -> None:
    account = desk.created()
    desk.sandbox.admin.add_usage(account.provider_id, 1234)
    operation = desk.perform(desk.ask("delete", account))
    assert operation.state == "succeeded"
    assert operation.usage_readings.get().usage["used"] == 1234


def test_a_403_is_about_the_key_and_nothing_to_correct(desk: Desk) -> None:
    desk.sandbox.admin.arm("status-403", "create")
    operation = desk.perform(desk.ask_create())
    assert (operation.state, operation.error_kind, operation.field_errors) == ("failed", "forbidden", [])
    assert operation.summary.startswith("SendGrid denied access (403)")
    desk.sandbox.admin.arm("status-400", "create")
    operation = desk.perform(desk.ask_create("other@northwind.example"))
    assert (operation.state, operation.error_kind) == ("failed", "rejected")


def test_a_delete_without_a_reading_waits_for_a_person(desk: Desk) -> None:
    account = desk.created()
    desk.sandbox.admin.switch("credits", "403")
    operation = desk.drain(desk.ask("delete", account))
    assert (operation.state, operation.error_kind) == ("failed", "no_reading")
    assert len([each for each in desk.sandbox.admin.accounts() if not each.get("deleted_at")]) == 1
    again = desk.drain(desk.ask("delete", account, without_reading=True))
    assert again.state == "succeeded"


def test_a_person_links_an_unknown_create_after_a_live_look(desk: Desk) -> None:
    desk.sandbox.admin.arm("create-then-504", "create")
    operation = desk.perform(desk.ask_create())
    (there,) = desk.sandbox.admin.accounts()
    for wrong in ("sg" + "0" * 32, desk.created("someone@else.example").provider_id):
        with pytest.raises(Refusal) as refusal:
            resolve.resolve_link(
                Command(desk.person, timezone.now(), reason="It looks right."), operation=operation, provider_id=wrong
            )
        assert refusal.value.field == "provider_id"
    resolve.resolve_link(
        Command(desk.person, timezone.now(), reason="Same email."), operation=operation, provider_id=there["id"]
    )
    operation.refresh_from_db()
    assert operation.state == "succeeded"
    assert operation.result["linked"] == {"state": "activated", "email": "same", "offerings": "same"}
    account = desk.account(operation)
    assert (account.provider_id, account.state) == (there["id"], "active")


def test_confirmed_not_created_ends_it_or_sends_it_again(desk: Desk) -> None:
    desk.sandbox.admin.arm("reset-before", "create", count=2)
    given_up = desk.perform(desk.ask_create("one@northwind.example"))
    resolve.resolve_not_created(
        Command(desk.person, timezone.now(), reason="Looked in the console."), operation=given_up, send_again=False
    )
    assert given_up.state == "failed"
    again = desk.perform(desk.ask_create("two@northwind.example"))
    resolve.resolve_not_created(
        Command(desk.person, timezone.now(), reason="Looked in the console."), operation=again, send_again=True
    )
    assert desk.perform(again).state == "succeeded"
    assert [each["email"] for each in desk.sandbox.admin.accounts()] == ["two@northwind.example"]


def test_a_key_refused_at_a_reading_pauses_the_connection(desk: Desk) -> None:
    account = desk.created()
    desk.sandbox.admin.arm("status-401", "state", count=None)
    operation = desk.perform(desk.ask("suspend", account))
    desk.connection.refresh_from_db()
    assert (operation.state, operation.attempt_count, desk.connection.paused) == ("queued", 0, "auth")


def test_a_failed_change_gives_the_account_its_last_desire_back(desk: Desk) -> None:
    account = desk.created()
    desk.sandbox.admin.arm("status-400", "put-offerings")
    operation = desk.perform(desk.ask_offerings(account, [ProviderOffering(BIGGER.name, "package", 1)]))
    account.refresh_from_db()
    assert operation.state == "failed"
    assert [row["name"] for row in account.desired_offerings] == [PACKAGE.name, ADDON.name]
