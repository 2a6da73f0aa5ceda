"""A hold, a release and what follows at the same moment in several processes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from customers.models import Attempt, Connection, Operation, Recovery, Scan
from customers.models.operation_states import OperationKind
from customers.operations import transitions
from customers.recovery import commands, hold, invariants
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.clock import database_now
from portal.commands import Command
from portal.installation import epochs
from portal.installation.models import Epoch
from portal.leases import LostLease
from portal.refusals import Refusal
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


@pytest.fixture
def link() -> Connection:
    epochs.forget_epoch()
    made: Connection = ConnectionFactory(probe_available=True)
    return made


def creates(link: Connection, n: int) -> list[Operation]:
    now = database_now()
    return [
        OperationFactory(
            kind=OperationKind.CREATE, account=AccountFactory(connection=link, provider_id=None), connection=link,
            state="queued", identity=f"{link.pk}-{number}-{now}", not_before=now,
        )
        for number in range(n)
    ]  # fmt: skip


def send(operation: Operation) -> str:
    """Claim and intend, as a worker does, without the provider."""
    claimed = transitions.claim(operation.pk, now=database_now())
    if claimed is None:
        return "not claimed"
    try:
        transitions.intend(claimed, call="create", request="", now=database_now())
    except (LostLease, transitions.ConnectionStopped) as stopped:
        return type(stopped).__name__
    return "sent"


def test_nothing_is_sent_once_everything_is_on_hold(link: Connection) -> None:
    """Seven workers send while the hold is placed: whatever they sent came before it, and no one waits for another."""
    told: set[str] = set()
    for _ in rounds():
        operations = creates(link, 7)
        said = together(
            lambda n, o=operations: send(o[n]) if n < 7 else hold.hold_everything("in a test"), 8
        )  # fmt: skip
        assert not [each for each in said if each and "Error" in each], said
        told |= {each for each in said if each}
        assert list(invariants.sent_in_another_epoch(timezone.now())) == []
        for each in Operation.objects.filter(pk__in=[each.pk for each in operations]):
            assert (each.state == "sending") == Attempt.objects.filter(operation=each).exists()
        Connection.objects.update(paused="")
        Recovery.objects.update(released_at=database_now())
    assert told <= {"sent", "not claimed", "ConnectionStopped", "LostLease"}


def test_a_copy_is_noticed_once_by_eight_workers(link: Connection, settings: Settings) -> None:
    settings.IS_WORKER = True
    for _ in rounds():
        Epoch.objects.all().delete()
        Epoch.objects.create(number=1, began_at=database_now(), database="7000000000000000001:16384")
        Connection.objects.update(paused="")
        Recovery.objects.all().delete()
        before = AuditEvent.objects.filter(verb=hold.RESTORED).count()
        # The connection of each process is checked as it is made.
        seen = together(lambda _n: Connection.objects.get().paused, 8)
        assert seen == ["restore"] * 8, "no worker goes on before the hold is there"
        assert Epoch.objects.count() == 2
        assert AuditEvent.objects.filter(verb=hold.RESTORED).count() == before + 1


def release(recovery: Recovery, person: User) -> str:
    try:
        commands.release_connection(Command(person, database_now()), recovery=recovery)
    except Refusal as refusal:
        return str(refusal)
    return "released"


def test_one_of_several_releases(link: Connection) -> None:
    people = [UserFactory(role="admin") for _ in range(4)]
    for _ in rounds():
        hold.hold_everything("in a test")
        recovery, now = Recovery.objects.get(released_at=None), database_now()
        Scan.objects.create(
            connection=link, kind="asked", slot=f"{now}", state="complete", started_at=now, finished_at=now,
            lease_until=now,
        )  # fmt: skip
        said = together(lambda n, r=recovery: release(r, people[n]), 4)
        assert sorted(each == "released" for each in said) == [False, False, False, True], said
        assert all("already" in each for each in said if each != "released")


def test_each_create_is_assumed_sent_once(link: Connection) -> None:
    for _ in rounds():
        operations = creates(link, 6)
        hold.hold_everything("in a test", backup_at=database_now() - timedelta(hours=1))
        Recovery.objects.filter(released_at=None).update(released_at=database_now())
        Connection.objects.update(paused="")

        def work(n: int, operations: list[Operation] = operations) -> str:
            claimed = transitions.claim(operations[n].pk, now=database_now())
            if claimed is None:
                return "not claimed"
            try:
                transitions.assume_all_sent(claimed, now=database_now())
            except LostLease:
                return "lost"
            return "assumed"

        said = together(work, 6)
        assert not [each for each in said if "Error" in each], said
        found = Operation.objects.filter(pk__in=[each.pk for each in operations])
        assert {each.state for each in found} == {"unknown"}
        assert Attempt.objects.filter(operation__in=found).count() == 6
