"""Each invariant holds on honest rows and names a violation that was planted past the application.

Where a constraint or a trigger of the database makes the violation impossible, that is what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from itertools import pairwise

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from customers.models import Account, Attempt, InvariantCheck, Operation, RemoteAccount, Scan, Step
from customers.monitoring import invariants
from customers.monitoring.invariants import Invariant
from portal import audit
from portal.access.models import User
from portal.audit import chain
from portal.audit.models import AuditEvent, AuditSeal
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()
KEY = "SG.abcdefghijklmnopqrstuv.ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopq"


@pytest.fixture(autouse=True)
def person() -> User:
    return UserFactory(role="customer_success")


def broken() -> dict[str, list[str]]:
    return {each.code: each.rows for each in invariants.check(now=NOW) if each.is_broken}


def went(operation: Operation, *states: str) -> Operation:
    """The steps of `operation` and the audit event of asking for it."""
    for n, (before, after) in enumerate(zip(("", *states), states, strict=False), start=1):
        Step.objects.create(operation=operation, n=n, before=before, after=after, at=operation.created_at)
    audit.record(actor=operation.requested_by, verb="account.suspend_asked", obj=operation)
    return operation


def sent(operation: Operation, n: int = 1, **fields: object) -> Attempt:
    Operation.objects.filter(pk=operation.pk).update(attempt_count=n)
    values = {"intended_at": operation.created_at, "fence": 1, "call": "suspend", **fields}
    return Attempt.objects.create(operation=operation, n=n, **values)


def made(person: User, **account: object) -> Operation:
    """An account of ours that a create made."""
    found = AccountFactory(**account)
    create = OperationFactory(
        kind="create", account=found, requested_by=person, state="succeeded", created_at=NOW - timedelta(hours=1),
        result={"account_id": found.provider_id},
    )  # fmt: skip
    went(create, "queued", "claimed", "sending", "succeeded")
    sent(create, outcome="applied", answered_at=NOW, result={"account_id": found.provider_id})
    return create


def asked(person: User, state: str, *states: str, **fields: object) -> Operation:
    """A suspend of an account that is honest otherwise."""
    values = {"account": made(person).account, "requested_by": person, "state": state, "created_at": NOW, **fields}
    return went(OperationFactory(**values), *states)


def test_honest_rows_break_nothing(person: User) -> None:
    made(person)
    asked(person, "queued", "queued")
    asked(person, "sending", "queued", "claimed", "sending", lease_until=NOW + timedelta(seconds=60))
    asked(person, "failed", "queued", "claimed", "failed")
    unknown = asked(person, "unknown", "queued", "claimed", "sending", "unknown")
    sent(unknown)
    assert broken() == {}
    assert len(invariants.registered()) == 21


def test_one_id_for_two_accounts_is_refused_by_the_database(person: User) -> None:
    """I1."""
    first, other = made(person).account, made(person).account
    Account.objects.filter(pk=other.pk).update(connection=first.connection)
    with pytest.raises(IntegrityError), transaction.atomic():
        Account.objects.filter(pk=other.pk).update(provider_id=first.provider_id)


def test_an_id_that_nobody_made_or_took_over(person: User) -> None:
    """I2."""
    from_nowhere = AccountFactory()
    lost = made(person)
    Account.objects.filter(pk=lost.account_id).update(provider_id=None)
    wrong = made(person)
    Account.objects.filter(pk=wrong.account_id).update(provider_id="sg-of-somebody-else")
    rows = broken()["I2"]
    assert f"account {from_nowhere.provider_id} was neither created by an operation nor linked" in rows
    assert f"{lost.code} succeeded, but its account has no ID" in rows
    assert any(row.startswith(f"{wrong.code} created ") for row in rows)

    audit.record(actor=person, verb="account.adopted", obj=from_nowhere, account=from_nowhere)
    assert not any(str(from_nowhere.provider_id) in row for row in broken()["I2"])


def test_two_at_work_on_one_account(person: User) -> None:
    """I3. The same lane twice is refused by the database; one account in two lanes is not."""
    first = asked(person, "sending", "queued", "claimed", "sending", lease_until=NOW + timedelta(seconds=60))
    second = asked(
        person, "claimed", "queued", "claimed", account=first.account, concurrency_key="elsewhere",
        lease_until=NOW + timedelta(seconds=60),
    )  # fmt: skip
    assert broken()["I3"] == [f"account {first.account_id}"]
    with pytest.raises(IntegrityError), transaction.atomic():
        Operation.objects.filter(pk=second.pk).update(concurrency_key=first.concurrency_key)


@pytest.mark.parametrize(
    ("state", "lease", "named"),
    [("claimed", -61, True), ("sending", -61, True), ("sending", None, True), ("sending", -59, False),
     ("unknown", -61, True), ("unknown", None, False)],
)  # fmt: skip
@pytest.mark.long
def test_a_lease_left_lying(person: User, state: str, lease: int | None, named: bool) -> None:
    """I4."""
    until = None if lease is None else NOW + timedelta(seconds=lease)
    states = {"claimed": ("claimed",), "sending": ("claimed", "sending"), "unknown": ("claimed", "sending", "unknown")}
    earlier = {"created_at": NOW - timedelta(minutes=5), "not_before": NOW - timedelta(minutes=5)}
    operation = asked(person, state, "queued", *states[state], lease_until=until, **earlier)
    assert ("I4" in broken()) is named
    if state == "unknown":  # nobody may look there now
        type(operation.connection).objects.update(paused="person")
        assert "I4" not in broken()


@pytest.mark.parametrize("outcome", ["", "unknown"])
@pytest.mark.parametrize("end", ["queued", "failed", "cancelled"])
def test_an_unknown_outcome_that_is_hidden(person: User, end: str, outcome: str) -> None:
    """I5."""
    hidden = asked(person, end, "queued", "claimed", "sending", end)
    sent(hidden, outcome=outcome)
    open_ = asked(person, "failed", "queued", "claimed", "sending", "unknown", "failed")
    sent(open_, outcome=outcome)
    assert broken()["I5"] == [f"{hidden.code} is {end}, but the outcome of attempt 1 is unknown"]


@pytest.mark.long
def test_a_create_that_was_done_twice(person: User) -> None:
    """I6. Under a key the provider may say the same account twice, and only the same."""
    twice = made(person)
    sent(twice, 2, outcome="applied", answered_at=NOW, result={"account_id": "sg-another"})
    keyed = made(person, connection=ConnectionFactory(kind="ahasend"))
    sent(keyed, 2, outcome="applied", answered_at=NOW, result={"account_id": keyed.account.provider_id})
    assert [row.split(" ")[0] for row in broken()["I6"]] == [twice.code]
    sent(keyed, 3, outcome="applied", answered_at=NOW, result={"account_id": "another"})
    assert {row.split(" ")[0] for row in broken()["I6"]} == {twice.code, keyed.code}


def test_steps_off_the_table(person: User) -> None:
    """I7. What stands there can't be changed (triggers), so wrong steps are put in."""
    jumped = asked(person, "succeeded", "queued", "succeeded")
    torn = asked(person, "failed", "queued")
    Step.objects.create(operation=torn, n=2, before="claimed", after="failed", at=NOW)
    gap = asked(person, "claimed", "queued", lease_until=NOW + timedelta(minutes=1))
    Step.objects.create(operation=gap, n=3, before="queued", after="claimed", at=NOW)
    silent = asked(person, "queued", "queued")
    Operation.objects.filter(pk=silent.pk).update(state="cancelled", finished_at=NOW + timedelta(seconds=1))
    rows = " | ".join(broken()["I7"])
    assert f"{jumped.code} went from queued to succeeded" in rows
    assert f"{torn.code} step 2 begins in state claimed instead of queued" in rows
    assert f"operation {gap.pk} is missing a step before step 3" in rows
    assert f"{silent.code} is cancelled, but its last step is queued" in rows
    with pytest.raises(DatabaseError), transaction.atomic():
        Step.objects.filter(operation=torn).update(before="queued")


def test_something_happened_after_the_end(person: User) -> None:
    """I8."""
    ended = asked(person, "failed", "queued", "claimed", "failed")
    later = NOW + timedelta(minutes=3)
    Step.objects.create(operation=ended, n=4, before="failed", after="queued", at=later)
    again = asked(person, "cancelled", "queued", "cancelled")
    sent(again, intended_at=later, outcome="rejected", answered_at=later)
    found = broken()
    assert found["I8"] == [
        f"{ended.code} changed to queued after it finished",
        f"{again.code} was sent after it finished (attempt 1)",
    ]
    assert "I7" in found


def test_sent_more_often_than_it_may_be(person: User) -> None:
    """I9. A person's own word allows one more."""
    uncounted = asked(person, "failed", "queued", "claimed", "failed")
    Operation.objects.filter(pk=uncounted.pk).update(attempt_count=1)
    often = asked(person, "unknown", "queued", "claimed", "sending", "unknown")
    for n in range(1, 5):
        sent(often, n, outcome="unknown", answered_at=NOW)
    decided = asked(person, "unknown", "queued", "claimed", "sending", "unknown")
    for n in range(1, 5):
        sent(decided, n, outcome="unknown", answered_at=NOW)
    again = ("unknown", "queued", "claimed", "sending", "unknown")
    for n, (before, after) in enumerate(pairwise(again), start=5):
        by = person if after == "queued" else None
        Step.objects.create(operation=decided, n=n, before=before, after=after, at=NOW, by=by)
    assert broken()["I9"] == [
        f"{uncounted.code} has 0 attempts, but its counter is 1",
        f"{often.code} was sent 4 times without a response, but at most 3 are allowed",
    ]


def _walk(account: Account, at: object, state: str = "complete") -> None:
    Scan.objects.create(
        connection=account.connection, kind="asked", slot=str(at), state=state, started_at=at, lease_until=at,
        finished_at=at,
    )  # fmt: skip


def test_a_sighting_on_no_list(person: User) -> None:
    """I11. The last walk met it, and still it counts as missing."""
    account = made(person).account
    _walk(account, NOW - timedelta(hours=30))
    met = {"connection": account.connection, "last_seen_at": NOW, "first_seen_at": NOW}
    RemoteAccount.objects.create(provider_id=account.provider_id, **met)
    RemoteAccount.objects.create(provider_id="orphan", **met)
    RemoteAccount.objects.create(provider_id="aside", ignored_at=NOW, **met)
    RemoteAccount.objects.create(provider_id="nowhere", missing_since=NOW, **met)
    assert broken() == {"I11": [f"nowhere at {account.connection} is neither linked, unlinked nor ignored"]}


@pytest.mark.long
def test_two_walks_that_lacked_an_account(person: User) -> None:
    """I12."""
    account = made(person).account
    Operation.objects.update(finished_at=NOW - timedelta(days=3))
    Account.objects.update(created_at=NOW - timedelta(days=3))
    first, second = NOW - timedelta(hours=30), NOW - timedelta(hours=6)
    _walk(account, first)
    assert broken()["I12"] == [f"{account.provider_id} was neither found nor marked as missing by the last scan"]
    remote_account = RemoteAccount.objects.create(
        connection=account.connection, provider_id=account.provider_id, missing_since=first
    )
    assert "I12" not in broken()
    _walk(account, second, state="incomplete")
    assert "I12" not in broken()
    _walk(account, second + timedelta(seconds=1))
    assert broken()["I12"][0].startswith(f"{account.provider_id} has been missing since")
    RemoteAccount.objects.filter(pk=remote_account.pk).update(gone_at=second)
    assert "I12" not in broken()


def test_an_audit_log_that_was_added_to(person: User) -> None:
    """I16. A sealed event can't be changed past the triggers; one can be put in with a seal of its own making."""
    audit.record(actor=person, verb="note.added", obj=None)
    chain.seal_pending()
    event = audit.record(actor=person, verb="note.added", obj=None)
    last = AuditSeal.objects.order_by("-seq").first()
    assert last is not None
    AuditSeal.objects.create(seq=last.seq + 1, event=event, prev_hash=last.row_hash, row_hash="f" * 64)
    assert broken()["I16"] == [f"Event {event.pk} (seal {last.seq + 1}) changed after it was sealed."]
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditEvent.objects.filter(pk=event.pk).update(reason="changed")


@pytest.mark.long
def test_asked_by_somebody_who_may_not(person: User) -> None:
    """I18. The role is that of the time of asking: what the person may today says nothing."""
    asked(person, "queued", "queued")
    User.objects.filter(pk=person.pk).update(role="finance")
    assert "I18" not in broken()
    person.refresh_from_db()
    refused = asked(person, "queued", "queued")
    unheard = OperationFactory(account=made(person).account, requested_by=person, created_at=NOW)
    Step.objects.create(operation=unheard, n=1, before="", after="queued", at=NOW)
    rows = broken()["I18"]
    assert f"{refused.code} suspend was requested by finance" in rows
    assert f"{unheard.code} suspend was requested by a role missing from the audit log" in rows
    old = {"created_at": NOW - timedelta(days=3)}
    Operation.objects.filter(finished_at=None).update(**old)
    assert not any("suspend" in row for row in broken().get("I18", []))


@pytest.mark.parametrize("key", [KEY, "aha-sk-0123456789abcdefABCDEF"])
def test_a_key_in_the_open(person: User, key: str) -> None:
    """I19. In a text, and deep inside JSON."""
    operation = asked(person, "queued", "queued", reason="The customer wrote SG.something")
    assert "I19" not in broken()
    Operation.objects.filter(pk=operation.pk).update(summary=f"refused {key}!")
    Account.objects.filter(pk=operation.account_id).update(settings={"name": [{"deep": key}]})
    rows = broken()["I19"]
    assert sorted(rows) == [
        f"customers.Account {operation.account_id}, settings",
        f"customers.Operation {operation.pk}, summary",
    ]
    assert key not in "".join(rows)


@pytest.mark.long
def test_a_reading_that_grew_old_without_a_word(person: User) -> None:
    """I20."""
    old = NOW - timedelta(hours=37)
    account = made(person).account
    fields = {"created_at": old, "state_read_at": old, "read_tried_at": old, "usage_read_at": NOW}
    Account.objects.update(**fields)
    assert len(broken()["I20"]) == 1
    Account.objects.update(read_tried_at=NOW)  # it was tried: the page says how old the reading is
    assert broken() == {}
    Account.objects.update(usage_read_at=old)
    assert broken()["I20"][0].startswith(f"{account.provider_id}: usage last updated")
    Account.objects.update(usage_missing_since=NOW)
    assert broken() == {}
    Account.objects.update(read_tried_at=None, state_read_at=None)
    assert "I20" in broken()
    type(account.connection).objects.update(paused="auth")
    assert broken() == {}


# --- The check itself -----------------------------------------------------------------------------------------------


def test_a_question_that_gets_no_answer_is_no_good_news(person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(now: object) -> Iterator[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM no_such_table")
        yield "never"

    monkeypatch.setitem(invariants._REGISTERED, "I3", Invariant("I3", "x", fails))
    with transaction.atomic():
        savepoint = transaction.savepoint()
        found = {each.code: each for each in invariants.check(now=NOW) if each.code in ("I1", "I3")}
        transaction.savepoint_rollback(savepoint)
    assert found["I3"].is_broken
    assert found["I3"].error.endswith("Error")
    assert not found["I1"].is_broken


def test_more_rows_than_are_kept_are_said_to_be_more(monkeypatch: pytest.MonkeyPatch) -> None:
    many = Invariant("I3", "x", lambda _now: (str(n) for n in range(1000)))
    monkeypatch.setitem(invariants._REGISTERED, "I3", many)
    [found] = [each for each in invariants.check(now=NOW) if each.code == "I3"]
    assert (len(found.rows), found.more) == (invariants.ROWS_KEPT, True)


def test_a_number_is_given_once() -> None:
    with pytest.raises(ValueError, match="checks have the code I3"):
        invariants.register(Invariant("I3", "x", lambda _now: []))


def test_the_command_lists_the_checks_and_reports_violations(person: User) -> None:
    made(person)
    said = StringIO()
    call_command("check_invariants", stdout=said)
    assert "All 21 integrity checks passed." in said.getvalue()
    AccountFactory(provider_id="sg-nobody")
    said = StringIO()
    with pytest.raises(CommandError, match="1 of 21 integrity checks failed"):
        call_command("check_invariants", stdout=said)
    assert "I2   FAILED" in said.getvalue()
    assert "account sg-nobody was neither created" in said.getvalue()
    assert [each.broken for each in InvariantCheck.objects.order_by("pk")] == [0, 1]
