"""`manage.py repair`: what earlier faults left behind is listed, and fixed once, beside workers."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from customers.connections import catalogue
from customers.models import Account, Attempt, Connection, Offering, Operation, Step
from customers.monitoring import invariants, repair
from customers.operations import transitions
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.leases import LostLease
from portal.texts import say
from tests.customers.conftest import PACKAGE, Desk
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("repair", *arguments, stdout=out)
    return out.getvalue()


def step(operation: Operation, *pairs: tuple[str, str]) -> None:
    for before, after in pairs:
        n = operation.steps.count() + 1
        Step.objects.create(operation=operation, n=n, before=before, after=after, at=operation.created_at)


def overwritten(operation: Operation, state: str) -> Operation:
    """The row after a second claim took it from a worker that had sent it and then ended."""
    step(operation, ("queued", "claimed"), ("claimed", "sending"), ("queued", "claimed"))
    Attempt.objects.create(operation=operation, n=1, fence=1, call=operation.kind, intended_at=NOW)
    finished = NOW if state in ("failed", "cancelled") else None
    lease = NOW + timedelta(seconds=90) if state == "claimed" else None
    concurrency_key = f"account:{operation.account_id}" if state in ("claimed", "needs_attention") else ""
    Operation.objects.filter(pk=operation.pk).update(
        state=state,
        finished_at=finished,
        lease_until=lease,
        concurrency_key=concurrency_key,
        fence=2,
        not_before=NOW,
        attempt_count=1,
    )
    ways = {"cancelled": [("claimed", "queued"), ("queued", "cancelled")], "claimed": []}
    step(operation, *ways.get(state, [("claimed", state)]))
    operation.refresh_from_db()
    return operation


def test_nothing_harmed_nothing_found(desk: Desk) -> None:
    desk.created()
    desk.ask_create("b@northwind.example")
    assert run().startswith("0 found")


class TestFalseReviews:
    @pytest.fixture(params=repair.LOST_OFTEN, ids=["code", "sentence"])
    def poisoned(self, desk: Desk, request: pytest.FixtureRequest) -> Operation:
        operation = desk.ask_create()
        step(operation, *[("queued", "claimed")] * 3, ("claimed", "needs_attention"))
        Operation.objects.filter(pk=operation.pk).update(
            state="needs_attention", error_kind="poison", summary=request.param, lost_claims=3,
            concurrency_key=f"account:{operation.account_id}",
        )  # fmt: skip
        operation.refresh_from_db()
        return operation

    def test_without_apply_nothing_changes(self, poisoned: Operation) -> None:
        before, events = Operation.objects.values().get(), AuditEvent.objects.count()
        assert f"WOULD FIX {poisoned.code} needs review and was never sent" in run()
        assert Operation.objects.values().get() == before
        assert AuditEvent.objects.count() == events

    def test_it_is_queued_again_and_done_once(self, desk: Desk, poisoned: Operation) -> None:
        assert "1 found, 1 fixed" in run("--apply")
        assert run("--apply").startswith("0 found")
        poisoned.refresh_from_db()
        assert (poisoned.state, poisoned.lost_claims, poisoned.concurrency_key) == ("queued", 0, "")
        assert AuditEvent.objects.get(verb="operation.repaired").object_id == poisoned.public_id
        assert desk.drain(poisoned).state == "succeeded"
        assert len(desk.sandbox.admin.accounts()) == 1
        assert not [row for each in invariants.check(now=NOW) if each.code in ("I7", "I8") for row in each.rows]

    def test_a_key_that_does_not_decrypt_is_a_true_review(self, poisoned: Operation) -> None:
        Operation.objects.update(summary="A stored secret does not open.")
        assert run().startswith("0 found")

    def test_one_that_was_sent_is_not_queued(self, poisoned: Operation) -> None:
        Attempt.objects.create(operation=poisoned, n=1, fence=1, call="create account", intended_at=NOW)
        assert not repair.false_reviews().exists()

    def test_what_moved_meanwhile_is_left(self, poisoned: Operation) -> None:
        (finding,) = list(repair.find())
        Operation.objects.update(fence=9)
        assert finding.fix is not None
        assert finding.fix(NOW) is False
        assert Operation.objects.get().state == "needs_attention"


class TestSendsThatWerePassedOver:
    @pytest.mark.parametrize("state", ["queued", "claimed", "needs_attention", "failed", "cancelled"])
    def test_it_is_looked_for(self, state: str, desk: Desk) -> None:
        operation = overwritten(desk.ask_create(), state)
        assert f"WOULD FIX {operation.code} is {state} but was sent without a response" in run()
        assert "1 fixed" in run("--apply")
        operation.refresh_from_db()
        assert (operation.state, operation.fence, operation.finished_at) == ("unknown", 3, None)
        assert run("--apply").startswith("0 found")
        assert AuditEvent.objects.get(verb="operation.repaired").before == {"state": state}
        codes = ("I5", "I7", "I8")
        assert not [row for each in invariants.check(now=NOW) if each.code in codes for row in each.rows]

    @pytest.mark.parametrize(
        "note", [say("repaired.looked_for"), "Repaired: its outcome is looked for.", "To be retried."]
    )
    def test_its_step_is_known_by_code_and_by_older_sentences(self, note: str, desk: Desk) -> None:
        operation = overwritten(desk.ask_create(), "failed")
        Step.objects.create(operation=operation, n=99, before="failed", after="unknown", at=NOW, note=note)
        rows = [row for each in invariants.check(now=NOW) if each.code in ("I7", "I8") for row in each.rows]
        is_known = note != "To be retried."
        assert any("went from failed to unknown" in row for row in rows) is not is_known
        assert any("after it finished" in row for row in rows) is not is_known
        assert repair.passed_over().exists() is not is_known

    def test_the_worker_that_holds_it_sends_nothing_any_more(self, desk: Desk) -> None:
        operation = overwritten(desk.ask_create(), "claimed")
        held = Operation.objects.select_related("account__customer", "connection").get(pk=operation.pk)
        run("--apply")
        with pytest.raises(LostLease):
            transitions.intend(held, call="create account", request="", now=NOW)

    def test_one_that_had_ended_is_not_sent_again(self, desk: Desk) -> None:
        account = desk.created()
        operation = desk.ask("suspend", account)
        operation = overwritten(operation, "cancelled")
        run("--apply")
        assert desk.drain(operation).state == "failed"
        assert desk.sandbox.admin.accounts()[0]["state"] == "activated"
        assert run("--apply").startswith("0 found"), "what was looked for is not looked for again"

    def test_what_was_looked_for_and_is_queued_is_left(self, desk: Desk) -> None:
        operation = overwritten(desk.ask_create(), "queued")
        run("--apply")
        operation.refresh_from_db()
        transitions.move(operation, "queued", now=NOW, summary="It was not created.")
        assert run("--apply").startswith("0 found")

    def test_a_legitimate_second_send_is_not_found(self, desk: Desk) -> None:
        """Its first send was unknown, looked for and proven absent."""
        operation = desk.ask_create()
        step(
            operation, ("queued", "claimed"), ("claimed", "sending"), ("sending", "unknown"), ("unknown", "queued"),
            ("queued", "claimed"),
        )  # fmt: skip
        Attempt.objects.create(operation=operation, n=1, fence=1, call="create account", intended_at=NOW)
        Operation.objects.filter(pk=operation.pk).update(
            state="claimed", lease_until=NOW, concurrency_key=f"account:{operation.account_id}", attempt_count=1
        )
        assert run().startswith("0 found")

    def test_while_its_lane_is_busy_it_is_left(self, desk: Desk) -> None:
        account = desk.created()
        operation = overwritten(desk.ask("suspend", account), "failed")
        OperationFactory(account=account, connection=desk.connection, requested_by=desk.person, state="unknown")
        with pytest.raises(CommandError, match="Run the command again"):
            run("--apply")
        operation.refresh_from_db()
        assert operation.state == "failed"


class TestNames:
    ODD = " postkeeper.ei.odd-1m.v1 "

    def test_a_name_comes_and_goes_byte_for_byte(self, desk: Desk) -> None:
        desk.sandbox.admin.put_offering(self.ODD, type="package", entitlements={"email_sends_max_monthly": 5})
        catalogue.refresh_catalogue(Command(None, NOW), connection=desk.connection)
        assert Offering.objects.filter(name=self.ODD).exists()
        account = desk.created()
        operation = desk.ask_offerings(account, [type(PACKAGE)(self.ODD, "package", 1)])
        assert desk.perform(operation).state == "succeeded"
        account.refresh_from_db()
        assert account.offerings == [{"name": self.ODD, "type": "package", "quantity": 1}]

    def test_a_trimmed_one_is_restored_from_the_catalogue(self) -> None:
        account = AccountFactory(desired_offerings=[{"name": self.ODD.strip(), "type": "package", "quantity": 1}])
        Offering.objects.create(
            connection=account.connection, name=self.ODD, type="package", first_seen_at=NOW, last_seen_at=NOW
        )
        run("--apply")
        account.refresh_from_db()
        assert account.desired_offerings[0]["name"] == self.ODD
        assert account.version == 2
        assert AuditEvent.objects.filter(verb="account.names_restored").count() == 1
        assert "0 found" in run("--apply")

    def test_one_that_fits_two_is_listed(self) -> None:
        account = AccountFactory(desired_offerings=[{"name": "x", "type": "package", "quantity": 1}])
        for name in ("x ", " x"):
            Offering.objects.create(
                connection=account.connection, name=name, type="package", first_seen_at=NOW, last_seen_at=NOW
            )
        assert "REVIEW" in run("--apply")
        account.refresh_from_db()
        assert account.desired_offerings[0]["name"] == "x"


class TestTwins:
    def test_a_second_account_that_lost_its_mark(self) -> None:
        """Only a database without the constraint can hold it."""
        with connection.cursor() as cursor:  # undone with the test's transaction
            cursor.execute("DROP INDEX account_unique_at_provider")
        kept, twin = AccountFactory(), AccountFactory()
        Account.objects.filter(pk=twin.pk).update(provider_id=kept.provider_id)
        assert f"mark it as a duplicate of the account of {kept}" in run("--apply")
        twin.refresh_from_db()
        assert (twin.duplicate_of, twin.usage_used) == (kept, None)

    def test_a_credential_connected_twice(self) -> None:
        first, second, third = ConnectionFactory(), ConnectionFactory(), ConnectionFactory(base_url="https://a.example")
        said = run()
        assert f"{second.name} uses the same key as {first.name}" in said
        assert not Connection.objects.filter(credential_hash__isnull=False).exists(), "a dry run changes nothing"
        assert "2 fixed" in run("--apply")
        assert Connection.objects.get(credential_hash=None) == second
        assert third.pk in Connection.objects.filter(credential_hash__isnull=False).values_list("pk", flat=True)
