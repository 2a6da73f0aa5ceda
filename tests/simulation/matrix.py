"""Every kind of operation, ended at every crash point in four ways; each cell has to end clean.

    exit       the worker's process is gone: a forked child ends by `os._exit`, both databases being files
    exception  something raises there, and the worker lives
    database   the next statement fails
    stopped    the worker stands still for longer than its lease, others go on, then it wakes

A point that a kind never passes is no cell: it is found by watching and shown as such, not counted. Nor is a worker
stopped inside a transaction: it holds the database, and nobody goes on meanwhile. What happens only
after a lost answer (settled, in the walk, in the dispatcher) is brought about by losing one first.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from django.db import OperationalError, connections
from django.db import connection as database
from django.db.models import Max

from customers.models import Operation, Step
from customers.operations import resolve
from portal.commands import Command
from portal.refusals import Refusal
from portal.sandbox import faults
from portal.sandbox.store import Store
from tests.simulation import asking
from tests.simulation.truth import Truth
from tests.simulation.wire import Change
from tests.simulation.world import Home, World, memory
from tests.support.failpoints import POINTS

ALL_POINTS = (*POINTS[:3], "request_left", "answer_begun", *POINTS[3:])
DIED = 42
WAYS = ("exit", "exception", "database", "stopped")
# Only after a lost answer does a worker come here.
AFTER_A_LOSS = ("in_settled", "in_walk", "in_dispatch")


@dataclass(frozen=True)
class Cell:
    provider: str
    kind: str
    point: str
    way: str

    def __str__(self) -> str:
        return f"{self.provider} {self.kind}, {self.way} at {self.point}"


def cells() -> list[Cell]:
    return [Cell(provider, kind, point, way) for provider, kind in asking.KINDS for point in ALL_POINTS for way in WAYS]


def play(home: Home, cell: Cell) -> list[str] | None:
    """What is wrong in the end; None where the operation never comes to the point."""
    world = home.world(1)
    truth = Truth(world)
    operation = asking.ask_any(world, cell.provider, cell.kind, Random(1))
    assert operation is not None, cell
    if cell.point in AFTER_A_LOSS:
        faults.arm(world.app.store, "after-status-504", operation="writes", count=1)
    if cell.point == "in_dispatch":
        _lost_lease(world)
    passed = _until(home, world, cell)
    waiting = world.drain()
    _people(world)
    return truth.verdict(waiting=waiting + world.drain()) if passed else None


def _lost_lease(world: World) -> None:
    """A worker dies with its request on the way, so that the dispatcher has something to take up."""

    def stop(point: str) -> None:
        if point == "after_intent":
            raise OperationalError(point)

    world.stop = stop
    with _survived():
        world.round()
    world.shift(100)


def _until(home: Home, world: World, cell: Cell) -> bool:
    """Rounds until the worker came to the point and ended there its way. False when it never comes."""
    if cell.way == "exit":
        return _exit(home, world, cell)
    passed: list[str] = []

    def stop(point: str) -> None:
        if point == cell.point and not passed and not (cell.way == "stopped" and database.in_atomic_block):
            passed.append(point)
            _end(world, cell.way)

    _rounds(world, stop, lambda: bool(passed))
    return bool(passed)


def _rounds(world: World, stop: Callable[[str], None], over: Callable[[], bool]) -> None:
    for _ in range(14):
        world.stop = stop
        with _survived():
            world.round()
        if over() or not Operation.objects.exclude(state__in=("succeeded", "failed", "cancelled")).exists():
            return
        world.shift(150)


@contextmanager
def _survived() -> Iterator[None]:
    """Celery's worker writes a line and takes the next message."""
    try:
        yield
    except (RuntimeError, OperationalError):
        return


def _end(world: World, way: str) -> None:
    if way == "exception":
        raise RuntimeError("broken here")
    if way == "database":
        fail_next_statement()
    else:
        world.shift(100)
        world.round()
        world.shift(30)
        world.round()


def fail_next_statement() -> None:
    def fail(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        database.execute_wrappers.remove(fail)
        raise OperationalError("the database is gone")

    database.execute_wrappers.append(fail)


def _exit(home: Home, world: World, cell: Cell) -> bool:
    """The same in a forked child that is gone at the point; what it had committed is all there is of it."""
    newest = world.wire.newest()
    operation = Operation.objects.filter(follows=None).order_by("pk").last()  # not the first key behind a create
    with TemporaryDirectory(prefix="crash-matrix-") as folder:
        files = (f"{folder}/portal.sqlite3", f"{folder}/sandbox.sqlite3")
        _copied(home.portal, files[0])
        _copied(world.app.store.db, files[1])
        child = os.fork()
        if child == 0:
            _live_and_die(world, cell, files)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        _copied(files[0], home.portal)
        _copied(files[1], world.app.store.db)
    assert status in (0, DIED), f"{cell}: the child ended with {status}"
    world.wire.changes.append(Change(operation.pk if operation else None, "fork", "", world.wire.since(newest)))
    last = Step.objects.aggregate(at=Max("at"))["at"]
    world.shift(max(0.0, (last - world.now).total_seconds()))
    return status == DIED


def _live_and_die(world: World, cell: Cell, files: tuple[str, str]) -> NoReturn:
    code = 1
    try:
        connections["default"] = memory(files[0])
        world.app.store = Store(files[1])
        _rounds(world, lambda point: os._exit(DIED) if point == cell.point else None, lambda: False)
        code = 0
    finally:
        os._exit(code)


def _copied(here: sqlite3.Connection | str, there: sqlite3.Connection | str) -> None:
    ends = [sqlite3.connect(each) if isinstance(each, str) else each for each in (here, there)]
    ends[0].backup(ends[1])
    for each, end in zip((here, there), ends, strict=True):
        if isinstance(each, str):
            end.close()


def _people(world: World) -> None:
    """Whoever has to decide looks at the provider first; here they only put back what can be tried again."""
    for each in Operation.objects.filter(state="needs_attention").select_related("connection", "account__customer"):
        try:
            resolve.resolve_retry(Command(world.person(), world.now, reason="Looked."), operation=each)
        except Refusal:
            continue


def table(home: Home, say: Callable[..., None]) -> int:
    """Play every cell and print a line per kind: `.` clean, `-` never comes there, `X` not clean."""
    say("points: " + ", ".join(f"{n} {point}" for n, point in enumerate(ALL_POINTS, 1)), "ways: " + ", ".join(WAYS))
    counted: Counter[str] = Counter()
    for provider, kind in asking.KINDS:
        row = ""
        for point in ALL_POINTS:
            for way in WAYS:
                found = play(home, cell := Cell(provider, kind, point, way))
                mark = "-" if found is None else "X" if found else "."
                counted[mark] += 1
                row += mark
                if found:
                    say(f"  {cell}: {found[0]}")
            row += " "
        say(f"{provider:9}{kind:14}{row}")
    say(f"{counted['.']} of {counted['.'] + counted['X']} cells clean; {counted['-']} cannot occur")
    return 1 if counted["X"] else 0
