"""Each failpoint is passed at the moment it is named for: in this order, in these states, in a transaction or not."""

from __future__ import annotations

from django.db import connection as database

from customers.models import Attempt, Operation, RemoteAccount
from customers.models.remote_account import Scan
from portal.sandbox import faults
from tests.simulation import asking
from tests.simulation.seeds import ALL_POINTS, WIRE_POINTS
from tests.simulation.world import Died, Home, World


def watched(world: World) -> list[tuple[str, str, bool]]:
    """Every point that is passed, with the state of the newest operation and whether a transaction is open. Reads pass
    the two of the wire as well, and are left out."""
    passed: list[tuple[str, str, bool]] = []

    def stop(point: str) -> None:
        operation = Operation.objects.latest("pk")
        if point not in WIRE_POINTS or operation.state == "sending":
            passed.append((point, str(operation.state), database.in_atomic_block))

    world.stop = stop
    return passed


def test_an_answered_create_passes_them_in_order(home: Home) -> None:
    world = home.world(1)
    passed = watched(world)
    asking.create(world, "sendgrid", "birchwood")
    world.round()
    assert passed == [
        ("after_claim", "claimed", False),
        ("before_intent", "claimed", False),
        ("after_intent", "sending", False),
        ("request_left", "sending", False),
        ("answer_begun", "sending", False),
        ("after_answer", "sending", False),
        ("in_result", "succeeded", True),
        ("after_result", "succeeded", False),
        ("in_read_back", "succeeded", False),
    ]


def test_a_lost_create_passes_the_others(home: Home) -> None:
    world = home.world(1)
    faults.arm(world.app.store, "reset-after", operation="writes", count=1)
    asking.create(world, "sendgrid", "birchwood")
    world.round()
    passed = watched(world)
    world.shift(20)
    world.round()
    assert passed == [
        ("after_claim", "unknown", False),
        ("in_walk", "unknown", False),
        ("in_settled", "succeeded", True),
        ("in_read_back", "succeeded", False),
    ]


def test_in_walk_the_list_is_stored_and_nothing_concluded(home: Home) -> None:
    world = home.world(1)
    faults.arm(world.app.store, "reset-after", operation="writes", count=1)
    asking.create(world, "sendgrid", "birchwood")
    world.round()
    known = RemoteAccount.objects.count()
    seen: list[tuple[bool, str]] = []

    def stop(point: str) -> None:
        if point == "in_walk":
            seen.append((RemoteAccount.objects.count() > known, Scan.objects.latest("pk").state))

    world.stop = stop
    world.shift(20)
    world.round()
    assert seen == [(True, "running")]


def test_a_lost_lease_passes_the_dispatcher(home: Home) -> None:
    world = home.world(1)
    asking.create(world, "sendgrid", "birchwood")

    def die(point: str) -> None:
        if point == "after_intent":
            raise Died(point)

    world.stop = die
    try:
        world.round()
    except Died:
        assert Attempt.objects.latest("pk").outcome == ""
    passed = watched(world)
    world.shift(100)
    world.dispatch()
    assert passed == [("in_dispatch", "sending", False)]


def test_no_point_is_left_out() -> None:
    asserted = (
        "after_claim before_intent after_intent request_left answer_begun after_answer in_result after_result "
        "in_read_back in_settled in_walk in_dispatch"
    )
    assert set(asserted.split()) == set(ALL_POINTS)
