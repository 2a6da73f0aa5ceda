"""A whole installation in one process: the portal on SQLite in memory, the sandbox beside it, and one clock for both.

    with at_home() as home:
        world = home.world(seed)      # as new, in a millisecond: both databases are copied back from a template
        world.ask("create", "sendgrid"); world.round(); world.drain()

A worker is a call of `perform` in a context of its own. Another worker runs *inside* a stop of the first one, which is
how one thread interleaves them: at every crash point and at both points of the wire.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import time_machine
from django.core.management import call_command
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.utils import timezone

from customers import dispatcher
from customers.connections import circuit_breaker
from customers.connections import client as connection_client
from customers.connections import commands as connection_commands
from customers.models import Connection, Operation
from customers.models.operation_states import FINAL
from customers.operations import executor, transitions
from portal import providers
from portal import queue as portal_queue
from portal.access.models import User
from portal.commands import Command
from portal.providers import http
from portal.providers import sockets as wire_of_ours
from portal.providers.rate_limit import Memory, Pacing
from portal.sandbox.app import Application
from portal.sandbox.messages import Request
from portal.sandbox.seed import Start
from portal.sandbox.store import Store
from tests.simulation.wire import PERFORMING, Adapter, Wire, nothing
from tests.support import failpoints
from tests.support.ahasend import AHASEND_ACCOUNT, AHASEND_KEY
from tests.support.sandbox import ADMIN_KEY, KEY, SandboxAdmin

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
START = Start(
    sendgrid_key=KEY, admin_key=ADMIN_KEY, ahasend_key=AHASEND_KEY, ahasend_account=AHASEND_ACCOUNT, rate=0
)  # fmt: skip


class Died(BaseException):
    """The worker's process ended here: nothing after this line ran, and nothing was tidied up."""


class InProcess(SandboxAdmin):
    """The sandbox's admin plane without a socket."""

    def __init__(self, app: Application) -> None:
        super().__init__("http://127.0.0.1", ADMIN_KEY)
        self._app = app

    def call(self, method: str, path: str, body: object = None) -> Any:
        path, _, query = path.partition("?")
        headers = {"x-sandbox-admin": self.key}
        told = self._app.handle(
            Request(method, f"/_admin/{path}", dict(parse_qsl(query)), headers, json.dumps(body or {}).encode())
        )
        assert told.status == 200, (method, path, told.body)
        return json.loads(told.body)


@dataclass
class World:
    """One installation. `stop` is called at every point at which a worker may die or be stopped."""

    app: Application
    clock: time_machine.Traveller
    stop: Callable[[str], None] = nothing
    look: Callable[[int], None] = nothing
    pokes: list[int] = field(default_factory=list)
    # By how many seconds the clock of the next worker is fast, and that of the one at work.
    draw_ahead: Callable[[], float] = lambda: 0.0
    ahead: float = 0.0
    wire: Wire = field(init=False)
    admin: InProcess = field(init=False)

    def __post_init__(self) -> None:
        self.wire = Wire(self.app, self.shift, self._stop, self._look)
        self.admin = InProcess(self.app)
        self._clients: dict[tuple[int, int], providers.Provider] = {}
        self._passed = 0.0
        self._ledger = Memory(clock=lambda: self._passed)

    def _stop(self, point: str) -> None:
        self.stop(point)

    def _look(self, operation: int) -> None:
        self.look(operation)

    # -- time

    @property
    def now(self) -> datetime:
        """The database's time: a worker's clock may be wrong."""
        return timezone.now() - timedelta(seconds=self.ahead)

    def shift(self, seconds: float) -> None:
        self.clock.shift(timedelta(seconds=seconds))
        self._passed += seconds

    def step(self, seconds: float) -> None:
        """Our clock is set, the provider's is not."""
        self.clock.shift(timedelta(seconds=seconds))
        offset, frozen = self.app.store.clock.setting
        self.app.store.clock.setting = (offset - seconds, frozen)

    @contextmanager
    def on_a_machine(self, ahead: float) -> Iterator[None]:
        """What runs inside runs on a machine whose clock is `ahead` seconds fast, or slow. The database's is right."""
        before = self.ahead
        self._set_ahead(ahead)
        try:
            yield
        finally:
            self._set_ahead(before)

    def _set_ahead(self, ahead: float) -> None:
        self.step(ahead - self.ahead)
        self.ahead = ahead

    # -- what happens in one process

    def connect(self, connection: Connection) -> providers.Provider:
        key = (connection.pk, connection.revision)
        if key not in self._clients:
            pacer = Pacing(self._ledger, name=str(connection.pk), sleep=self.shift, clock=lambda: self._passed)
            config = replace(connection_client.config_of(connection), connect_timeout=2)
            self._clients[key] = providers.client(config, on_exchange=connection_client._note, pacer=pacer)
            self._clients[key]._http.sleep = self.shift  # type: ignore[attr-defined]
        return self._clients[key]

    def perform(self, operation: int) -> None:
        """One worker, from its message to its end or its death. Raises `Died` and what the worker raised."""
        Context().run(self._perform, operation)

    def _perform(self, operation: int) -> None:
        PERFORMING.set(operation)
        with self.on_a_machine(self.draw_ahead()):
            executor.perform(operation, clock=lambda: self.now, connect=self.connect)

    def dispatch(self) -> list[int]:
        """The dispatcher's round: what it would poke."""
        return Context().run(self._dispatch)

    def _dispatch(self) -> list[int]:
        transitions.expire_leases(now=self.now)
        for connection in circuit_breaker.due_connections(now=self.now):
            circuit_breaker.try_again(connection, clock=lambda: self.now, connect=self.connect)
        return dispatcher.due_operations(now=self.now)

    def round(self) -> bool:
        due = self.dispatch()
        for operation in due:
            self.perform(operation)
        return bool(due)

    def resume(self) -> None:
        for connection in Connection.objects.exclude(paused=""):
            connection_commands.resume_connection(Command(self.person("admin")), connection=connection)

    def person(self, role: str = "customer_success") -> User:
        return User.objects.get(role=role)

    # -- to the end

    def at_rest(self, operation: Operation) -> bool:
        leader = operation.follows
        return operation.state in (*FINAL, "needs_attention") or bool(leader and leader.state == "needs_attention")

    def drain(self, *, hours: float = 30, rounds: int = 150) -> list[Operation]:
        """No more faults: let time go by until everything is at rest. Returns what is not."""
        self.stop = nothing
        self.draw_ahead = lambda: 0.0
        self.wire.refuse = lambda: False
        self.app.store.db.execute("DELETE FROM fault")
        end = self.now + timedelta(hours=hours)
        waiting: list[Operation] = []
        before: list[tuple[object, ...]] = []
        for _ in range(rounds):
            self.resume()
            behind = _behind()
            for operation in self.dispatch():
                if operation not in behind:  # it would look and go again
                    self.perform(operation)
            rows = list(Operation.objects.exclude(state__in=FINAL).select_related("follows").order_by("pk"))
            waiting = [each for each in rows if not self.at_rest(each)]
            if not waiting or self.now > end:
                break
            now_so: list[tuple[object, ...]] = [(each.pk, each.state, each.fence, each.not_before) for each in rows]
            later = [due for each in waiting if (due := each.lease_until or each.not_before) > self.now]
            pause = (min(later) - self.now).total_seconds() + 1 if later else 20
            self.shift(1 if now_so != before and not later else pause)
            before = now_so
        return waiting


@dataclass
class Home:
    """The two databases and the template they start from."""

    clock: time_machine.Traveller
    app: Application
    portal: sqlite3.Connection
    template: tuple[sqlite3.Connection, sqlite3.Connection]
    begin: datetime = BEGIN

    def world(self, seed: int = 0) -> World:
        """Everything as it was in the template; what is left to chance comes from `seed`."""
        self.template[0].backup(self.portal)
        store = self.app.store
        self.template[1].backup(store.db)
        store.switches.reset()
        store.clock.setting = (0.0, None)
        store.set_meta("seed", seed)
        self.app.limiter.forget()
        self.clock.move_to(self.begin)
        random.seed(seed)
        world = World(self.app, self.clock)
        install(world)
        return world


def _behind() -> set[int]:
    """Operations that wait for another one of their account."""
    first: dict[int, int] = {}
    rows = Operation.objects.exclude(state__in=FINAL).order_by("pk").values_list("pk", "account_id")
    return {pk for pk, account in rows if first.setdefault(account, pk) != pk}


class NoWatchdog:
    """The watchdog of exchanges looks at the clock on the wall; here nothing waits there."""

    def watch(self, exchange: object) -> None:
        """Time is passed by hand."""

    leave = watch


_world: list[World] = []


def install(world: World) -> None:
    """The world whose wire, clock, points and messages the portal meets from now on."""
    _world[:] = [world]


def _at(point: str) -> None:
    _world[0].stop(point)


def _sent(task: str, ids: tuple[int, ...], queue: str | None) -> None:
    if task == "customers.perform":
        _world[0].pokes += ids


@contextmanager
def replaced(*parts: tuple[Any, str, Any]) -> Iterator[None]:
    """Names of modules, for a while."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in parts]
    try:
        for owner, name, value in parts:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


@contextmanager
def at_home(
    furnish: Callable[[World], None] = nothing, *, migrated: sqlite3.Connection | None = None
) -> Iterator[Home]:
    """The databases, with the two connections and whatever `furnish` asks for. `migrated` is a database with the
    tables and nothing else; without one they are made, which takes seconds."""
    outside = connections["default"]
    database = memory()
    wire = (http, "_new_adapter", lambda: Adapter(_world[0].wire))
    watchdog = (wire_of_ours, "_watchdog", NoWatchdog())
    with (
        time_machine.travel(BEGIN, tick=False) as clock,
        replaced(wire, watchdog, (portal_queue, "_send", _sent), *failpoints.parts(_at)),
    ):
        connections["default"] = database
        try:
            if migrated is None:
                call_command("migrate", verbosity=0)
            else:
                migrated.backup(database.connection)
            app = Application(Store(":memory:", seed=0), START)
            app.base_url = "http://127.0.0.1:9"
            home = Home(clock, app, database.connection, (sqlite3.connect(":memory:"), sqlite3.connect(":memory:")))
            install(World(app, clock))
            people_and_connections()
            furnish(_world[0])
            home.portal.backup(home.template[0])
            app.store.db.backup(home.template[1])
            home.begin = timezone.now() + timedelta(hours=1)
            yield home
        finally:
            connections["default"] = outside
            database.connection.close()


def memory(name: str = ":memory:") -> DatabaseWrapper:
    """A database of the portal's, with the transactions of production and without its care for power cuts."""
    usual = {**connections.settings["default"], "ENGINE": "django.db.backends.sqlite3", "NAME": name}
    usual["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA foreign_keys=ON;PRAGMA synchronous=OFF;",
    }  # fmt: skip
    database = DatabaseWrapper(usual, alias="default")
    database.ensure_connection()
    return database


def people_and_connections() -> None:
    for role in ("admin", "customer_success", "finance"):
        User.objects.create(email=f"{role}@postkeeper.example", name=role, role=role)
    facts = {"name": "SendGrid", "kind": "sendgrid", "base_url": "http://127.0.0.1:9"}
    sendgrid = connection_commands.add_connection(Command(None), api_key=KEY, facts=facts)
    facts = {"name": "AhaSend", "kind": "ahasend", "base_url": "http://127.0.0.1:9", "account_id": AHASEND_ACCOUNT}
    connection_commands.add_connection(Command(None), api_key=AHASEND_KEY, facts=facts | {"keep_keys": True})
    Connection.objects.filter(pk=sendgrid.pk).update(probe_available=True)
