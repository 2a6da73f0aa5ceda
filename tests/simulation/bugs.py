"""Fifteen mistakes one could make in the executor, planted by name, each with the world that must show it.

Every world is also played without its mistake and must then be clean: otherwise it shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

from django.db import DatabaseError, OperationalError

from customers.models import Attempt, Operation, Step
from customers.models.operation import OperationQuerySet
from customers.models.operation_states import OperationState
from customers.observed import account_list, matching
from customers.operations import conclusions, create_search, executor, transitions
from portal.providers import OutcomeUnknown, Provider, ProviderError, http, outcomes
from portal.providers.sendgrid import client as sendgrid_client
from portal.sandbox import faults
from tests.simulation import asking
from tests.simulation.truth import Truth
from tests.simulation.world import Died, Home, World, replaced

Parts = tuple[tuple[Any, str, Any], ...]
Scene = Callable[[World], None]


@dataclass(frozen=True)
class Bug:
    name: str
    plant: Callable[[], Parts]
    scene: Scene


def caught(home: Home, bug: Bug, *, planted: bool = True) -> list[str]:
    """What the world of this bug shows. An error that stops a worker for good is seen as well."""
    world = home.world(1)
    truth = Truth(world)
    with replaced(*(bug.plant() if planted else ())):
        try:
            bug.scene(world)
            waiting = world.drain()
        except Exception as error:  # noqa: BLE001 whatever a mistake leads to
            return [f"{type(error).__name__}: {error}"]
        return truth.verdict(waiting=waiting)


# -- scenes ------------------------------------------------------------------------------------------------------------


def create(world: World, *, provider: str = "sendgrid", **fault: Any) -> Operation:
    if fault:
        faults.arm(world.app.store, fault.pop("name"), operation=fault.pop("on", "writes"), count=1, params=fault)
    return asking.create(world, provider, "birchwood")


def plain_create(world: World) -> None:
    create(world)
    rounds(world, 1)


def lost_create(world: World) -> None:
    """The account is made, its answer is lost."""
    create(world, name="reset-after")
    rounds(world, 6)


def gateway(world: World) -> None:
    create(world, name="after-html-502")
    rounds(world, 4)


def late(world: World) -> None:
    create(world, name="late-create", on="create", seconds=400)
    rounds(world, 6, pause=5)
    world.shift(400)


def broken_list(world: World) -> None:
    """The account is made, and no page of the list comes while it is looked for."""
    faults.arm(world.app.store, "status-500", operation="list")
    create(world, name="reset-after", on="create")
    rounds(world, 6, pause=450)


def look_alike(world: World) -> None:
    """Nothing was made, and somebody makes an account of the same offerings in the console."""
    operation = create(world, name="reset-before")
    world.round()
    world.shift(5)
    world.admin.add_account(email="other@birchwood.example", offerings=operation.payload["offerings"])
    rounds(world, 6, pause=450)


def changed_address(world: World) -> None:
    """The account is made, its answer is lost, and the customer changes the address before the first look."""
    create(world, name="reset-after")
    world.round()
    [made] = world.wire.made("account")
    world.admin.change_account(made, email="hello@changed.example")
    rounds(world, 8, pause=430)


def short_pages(world: World) -> None:
    world.app.store.switches.set("list_page_cap", 2)
    create(world, name="reset-after")
    rounds(world, 8, pause=430)


def lost_create_in_doubt(world: World) -> None:
    create(world, name="reset-after")
    rounds(world, 8, pause=430)


def died(point: str, error: type[BaseException] = Died, *, lag: float = 0.0) -> Scene:
    """The worker of a create comes to its end at a point, once; the provider lists the account `lag` seconds later."""

    def scene(world: World) -> None:
        world.app.store.switches.set("list_lag_seconds", lag)
        create(world)
        _once(world, point, error)
        _alive(world)
        rounds(world, 4, pause=100)

    return scene


def overtaken(world: World) -> None:
    """A worker is stopped while its request is on the way, for longer than its lease; meanwhile others go on."""
    create(world)

    def meanwhile(at: str) -> None:
        if at == "answer_begun":
            world.stop = _nothing
            world.shift(100)
            rounds(world, 2, pause=130)

    world.stop = meanwhile
    world.round()


def redirected(world: World) -> None:
    faults.arm(world.app.store, "redirect", operation="writes", count=1)
    asking.ask_any(world, "sendgrid", "delete", Random(1))
    rounds(world, 3)


def two_of_one_account(world: World) -> None:
    """The first one is stopped with its request on the way; the second one's message comes."""
    asking.ask_any(world, "sendgrid", "suspend", Random(1))
    second = asking.ask_any(world, "sendgrid", "offerings", Random(1))
    assert second is not None

    def meanwhile(at: str) -> None:
        if at == "request_left":
            world.stop = _nothing
            world.perform(second.pk)

    world.stop = meanwhile
    world.round()


def out_of_order(world: World) -> None:
    asking.ask_any(world, "sendgrid", "suspend", Random(1))
    second = asking.ask_any(world, "sendgrid", "offerings", Random(1))
    assert second is not None
    world.perform(second.pk)


def rounds(world: World, count: int, *, pause: float = 30) -> None:
    for _ in range(count):
        _alive(world)
        world.shift(pause)


def _once(world: World, point: str, error: type[BaseException]) -> None:
    def stop(at: str) -> None:
        if at == point:
            world.stop = _nothing
            raise error(point)

    world.stop = stop


def _alive(world: World) -> None:
    try:
        world.round()
    except (Died, OperationalError):
        return


def _nothing(_: str) -> None:
    """Go on."""


# -- mistakes ----------------------------------------------------------------------------------------------------------


def send_before_intent() -> Parts:
    right = executor._send

    def wrong(operation: Operation, go: Any, provider: Provider, clock: Any) -> None:
        go.send()
        right(operation, go, provider, clock)

    return ((executor, "_send", wrong),)


def sweep_to_queued() -> Parts:
    def wrong(*, now: Any) -> int:
        for each in Operation.objects.filter(state=OperationState.SENDING, lease_until__lt=now).select_related(
            "account__customer"
        ):
            each.take_over()
            transitions.move(each, OperationState.QUEUED, now=now, not_before=now)
        return 0

    return ((transitions, "expire_leases", wrong),)


def ignore_token() -> Parts:
    right = transitions.move

    def wrong(operation: Operation, after: OperationState, **more: Any) -> None:
        row = Operation.objects.get(pk=operation.pk)
        operation.fence, operation.state = row.fence, row.state
        right(operation, after, **more)

    return ((transitions, "move", wrong),)


def adopt_without_proof() -> Parts:
    """By its time alone."""
    return (
        (
            matching.OpenCreate,
            "is_proven_by",
            lambda create, remote_account: not create.window.excludes(remote_account),
        ),
    )


def settle_at_once() -> Parts:
    none = timedelta(0)
    return (
        (create_search, "SETTLE", none),
        (create_search, "BETWEEN_WALKS", none),
        (create_search, "ABSENT_AFTER", none),
        (create_search, "EARLY", ()),
    )


def retry_a_502() -> Parts:
    right = executor._outcome_of_error

    def wrong(operation: Operation, error: Exception, *, now: Any) -> Any:
        if isinstance(error, OutcomeUnknown):
            return Attempt.Outcome.NOT_SENT, OperationState.QUEUED, {"summary": str(error), "not_before": now}
        return right(operation, error, now=now)

    return ((executor, "_outcome_of_error", wrong),)


def believe_a_redirect() -> Parts:
    right = outcomes.expected

    def wrong(answer: Any, **more: Any) -> Any:
        return answer if 300 <= answer.status < 400 else right(answer, **more)

    return ((http, "expected", wrong),)


def skip_the_queue() -> Parts:
    return ((OperationQuerySet, "at_front", OperationQuerySet.all),)


def believe_half_a_list() -> Parts:
    right = account_list._walk

    def wrong(scan: Any, rows: Any, *more: Any) -> Any:
        def until_it_breaks() -> Any:
            try:
                yield from rows
            except ProviderError:
                return

        return right(scan, until_it_breaks(), *more)

    return (
        (account_list, "_walk", wrong), (account_list, "_not_believable", lambda *_: ""),
        (account_list, "_lacks_what_exists", lambda *_: False),
    )  # fmt: skip


def write_in_place() -> Parts:
    def wrong(operation: Operation, after: str, **_: Any) -> None:
        Step.objects.filter(operation=operation).update(after=after)

    return ((transitions, "_add_step", wrong),)


def swallow_a_commit() -> Parts:
    right = conclusions.conclude

    def wrong(operation: Operation, attempt: Any, outcome: str, after: OperationState, **more: Any) -> bool:
        try:
            return right(operation, attempt, outcome, after, **more)
        except DatabaseError:
            operation.refresh_from_db()
            transitions.move(operation, OperationState.FAILED, now=more["now"])
            return True

    return ((conclusions, "conclude", wrong),)


def no_lane() -> Parts:
    return ((transitions, "_concurrency_key", lambda operation: f"operation:{operation.pk}"), *skip_the_queue())


def another_address_excludes() -> Parts:
    right = matching.assign

    def wrong(*args: Any) -> Any:
        found = right(*args)
        return found and replace(
            found, ambiguous=[each for each in found.ambiguous if found.create.email_of(each) != "different"]
        )

    return ((matching, "assign", wrong),)


def short_page_ends() -> Parts:
    right = sendgrid_client.parsing.account_page

    def wrong(answer: Any) -> Any:
        rows, last = right(answer)
        return rows, last if len(rows) == sendgrid_client.PAGE else ""

    return ((sendgrid_client.parsing, "account_page", wrong),)


def trust_the_workers_clock() -> Parts:
    """A worker's clock is taken for the database's, and nothing is measured."""

    def wrong(attempt: Attempt) -> matching.Window:
        return matching.Window(attempt.intended_at, is_measured=True, mark=attempt.remote_account_mark,
                               intended_at=attempt.intended_at)  # fmt: skip

    def fast(clock: Any, skew: float | None) -> int | None:
        return None

    right = transitions.intend

    def intend(operation: Operation, *, now: Any, **more: Any) -> Attempt:
        return right(operation, now=now + timedelta(minutes=15), **more)

    return (
        (matching.Window, "of", wrong), (executor, "_skew_by", fast), (transitions, "intend", intend),
        (matching.Window, "widest", property(lambda window: window.earliest)),
    )  # fmt: skip


BUGS = (
    Bug("send before intent", send_before_intent, plain_create),
    Bug("sweep sending to queued", sweep_to_queued, died("answer_begun", lag=300.0)),
    Bug("ignore token", ignore_token, overtaken),
    Bug("adopt without probe", adopt_without_proof, look_alike),
    Bug("settle 0", settle_at_once, late),
    Bug("retry 502", retry_a_502, gateway),
    Bug("treat 3xx as applied", believe_a_redirect, redirected),
    Bug("skip FIFO", skip_the_queue, out_of_order),
    Bug("count absent on incomplete scan", believe_half_a_list, broken_list),
    Bug("update snapshot in place", write_in_place, lost_create),
    Bug("swallow commit error as failure", swallow_a_commit, died("in_result", OperationalError)),
    Bug("no lane", no_lane, two_of_one_account),
    Bug("another address excludes", another_address_excludes, changed_address),
    Bug("a short page is the end", short_page_ends, short_pages),
    Bug("trust the worker's clock", trust_the_workers_clock, lost_create_in_doubt),
)


def table(home: Home, say: Callable[..., None]) -> int:
    """Play them all and print what showed. 0 when all were caught, and nothing without them."""
    failed = 0
    for bug in BUGS:
        clean, shown = caught(home, bug, planted=False), caught(home, bug)
        failed += bool(clean) or not shown
        say(f"{bug.name:34}{'caught' if shown else 'MISSED'}: {(shown or ['-'])[0][:110]}")
        if clean:
            say(f"  and without it: {clean[0]}")
    say(f"{len(BUGS) - failed} of {len(BUGS)}")
    return 1 if failed else 0
