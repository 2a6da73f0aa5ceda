"""One seed is one world: who asks what, what goes wrong, who dies where, and who runs meanwhile. Deterministic.

python -m tests.simulation --seeds 20000 --from 0
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Any

from django.db import OperationalError
from django.db import connection as database

from customers.models import Operation, Step
from customers.models.operation_states import WAITS_FOR_A_PERSON
from customers.operations import commands as operation_commands
from customers.operations import resolve
from portal.commands import Command
from portal.refusals import Refusal
from portal.sandbox import faults
from tests.simulation import asking
from tests.simulation.truth import Truth
from tests.simulation.world import Died, Home, World
from tests.support.failpoints import POINTS

WIRE_POINTS = ("request_left", "answer_begun")
ON_CHANGES = (
    "status-500", "after-status-500", "status-502", "after-status-504", "status-503", "reset-before", "reset-after",
    "truncated", "hang-before", "hang-after", "after-html-502", "redirect", "after-redirect", "429", "wrong-201",
    "no-account-id", "after-empty",
)  # fmt: skip
ON_READS = ("status-500", "reset-before", "truncated", "429", "html-502", "hang-before")
OF_KEYED = ("crash-before", "crash-after")
STEPS_AT_MOST = 14


@dataclass
class Outcome:
    """What a seed showed. `edges`: steps of the state table that were taken; `seen`: faults and acts by name."""

    seed: int
    problems: list[str] = field(default_factory=list)
    edges: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    operations: int = 0


def run(home: Home, seed: int, *, thorough: bool = False) -> Outcome:
    play = Play(home.world(seed), Random(f"world {seed}"), Outcome(seed))
    play.begin()
    for _ in range(play.chance.randint(4, STEPS_AT_MOST)):
        play.step()
    play.end(thorough=thorough)
    return play.outcome


@dataclass
class Play:
    world: World
    chance: Random
    outcome: Outcome
    depth: int = 0

    def begin(self) -> None:
        self.truth = Truth(self.world)
        self.provider = self.chance.choice(("sendgrid", "ahasend"))
        self.kinds = asking.SENDGRID if self.provider == "sendgrid" else asking.AHASEND
        self.dies, self.stops = self.chance.choice((0.0, 0.03, 0.1)), self.chance.choice((0.0, 0.03, 0.1))
        self.refused = self.chance.choice((0.0, 0.0, 0.1))
        self.world.stop = self.at
        self.world.wire.refuse = lambda: self.chance.random() < self.refused
        self._arm()
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            self.ask()

    def _arm(self) -> None:
        store = self.world.app.store
        changes = ON_CHANGES + (OF_KEYED if self.provider == "ahasend" else ())
        for names, group in ((changes, "writes"), (ON_READS, "reads")):
            for name in self.chance.sample(names, k=self.chance.randint(0, 2)):
                often = round(self.chance.uniform(0.05, 0.6 if group == "writes" else 0.3), 2)
                faults.arm(store, name, operation=group, probability=often)
        if self.chance.random() < 0.2:
            late = {"seconds": self.chance.choice((5, 60, 400))}
            creates = "create" if self.provider == "sendgrid" else "aha-create"
            faults.arm(store, "late-create", operation=creates, count=1, params=late)
        if self.chance.random() < 0.3:
            name = "list_lag_seconds" if self.provider == "sendgrid" else "aha_list_lag_seconds"
            store.switches.set(name, float(self.chance.choice((5, 30, 60))))
            self.outcome.seen["list lag"] += 1
        self._arm_clocks_and_lists()

    def _arm_clocks_and_lists(self) -> None:
        """A provider whose clock is wrong, that cuts pages short or writes addresses its own way, and workers whose
        clock is wrong. The database's clock is right."""
        switches, sendgrid = self.world.app.store.switches, self.provider == "sendgrid"
        if self.chance.random() < 0.3:
            switches.set("clock_skew_seconds", self.chance.choice((-900, -240, -20, 20, 240, 900)))
            self.outcome.seen["provider clock skew"] += 1
        if self.chance.random() < 0.3:
            switches.set("list_page_cap" if sendgrid else "aha_list_page_cap", self.chance.choice((1, 2, 3)))
            self.outcome.seen["page cap"] += 1
        if sendgrid and self.chance.random() < 0.3:
            switches.set("email_form", self.chance.choice(("unicode", "upper")))
            self.outcome.seen["address rewriting"] += 1
        if self.chance.random() < 0.3:
            skews = self.chance.choice(((0, 900), (0, 240, -240), (-900, 0, 900)))
            self.world.draw_ahead = lambda: self.chance.choice(skews)
            self.outcome.seen["worker clock skew"] += 1

    # -- what happens next

    def step(self) -> None:
        deeds: list[tuple[int, Callable[[], None]]] = [
            (8, self.round), (3, self.poke), (6, self.pass_time), (2, self.ask), (1, self.cancel), (2, self.decide),
            (1, self.console), (1, self.set_clock),
        ]  # fmt: skip
        weights, names = [weight for weight, _ in deeds], [deed for _, deed in deeds]
        self.chance.choices(names, weights)[0]()

    def ask(self) -> None:
        kinds = ("create", *self.kinds) if self.chance.random() < 0.5 else ("create",)
        if asking.ask_any(self.world, self.provider, self.chance.choice(kinds), self.chance):
            self.outcome.operations += 1

    def round(self) -> None:
        """The dispatcher's round; messages come once, twice or never, in any order."""
        due = self._alive(self.world.dispatch) or []
        messages = [pk for pk in due for _ in range(self.chance.choice((0, 1, 1, 1, 2)))]
        self.outcome.seen["lost message"] += len(set(due) - set(messages))
        self.outcome.seen["doubled message"] += len(messages) - len(set(messages))
        self.chance.shuffle(messages)
        for pk in messages:
            self._alive(lambda pk=pk: self.world.perform(pk))  # type: ignore[misc]

    def poke(self) -> None:
        """A message of a click, which may be older than it looks."""
        if self.world.pokes:
            self._alive(lambda: self.world.perform(self.chance.choice(self.world.pokes)))

    def pass_time(self) -> None:
        self.world.shift(self.chance.choice((1, 5, 30, 95, 130, 430, 950, 950, 3_700, 90_000)))
        self.world.resume()

    def set_clock(self) -> None:
        self.world.step(self.chance.choice((-60, -20, 20, 60)))
        self.outcome.seen["clock step"] += 1

    def cancel(self) -> None:
        if operation := self._any("queued"):
            self._as_a_person(
                lambda: operation_commands.cancel_operation(
                    Command(self.world.person(), self.world.now), operation=operation
                )
            )
            self.outcome.seen["cancel"] += 1

    def decide(self) -> None:
        if operation := self._any(*WAITS_FOR_A_PERSON):
            self._as_a_person(lambda: self._decide(operation))
            self.outcome.seen["decision"] += 1

    def console(self) -> None:
        """Somebody makes a look-alike in the provider's console, or changes what is there."""
        self.outcome.seen["console"] += 1
        creates = Operation.objects.filter(kind="create", connection__kind=self.provider, pk__gt=self.truth.begun)
        like = creates.order_by("-pk").first()
        if like is None:
            return
        if self.provider == "sendgrid" and self.chance.random() < 0.3:
            self._change_an_address()
        elif self.provider == "sendgrid":
            self.world.admin.add_account(email=f"other-{self.chance.randrange(10**6)}@{like.account.customer}.example",
                                         offerings=like.payload["offerings"])  # fmt: skip
        else:
            name = like.payload["settings"]["name"]
            self.world.admin.aha.add_account(name, website=f"other{self.chance.randrange(10**6)}.example")

    def _change_an_address(self) -> None:
        """A customer changes the address of a new account at the first sign-in."""
        made = [id_ for id_, by in self.world.wire.made("account").items() if by is not None]
        if made:
            chosen = self.chance.choice(made)
            self.world.admin.change_account(chosen, email=f"new-{self.chance.randrange(10**6)}@changed.example")
            self.outcome.seen["address changed"] += 1

    # -- workers that die, or are stopped while others go on

    def at(self, point: str) -> None:
        roll = self.chance.random()
        if roll < self.dies:
            self.outcome.seen[f"died {point}"] += 1
            raise self.chance.choice((Died, Died, RuntimeError, OperationalError))(point)
        if roll < self.dies + self.stops and self.depth < 2 and not database.in_atomic_block:
            self.outcome.seen[f"stopped {point}"] += 1
            self.depth += 1
            try:
                self.world.shift(self.chance.choice((1, 40, 100, 100, 200)))
                self.round()
            finally:
                self.depth -= 1

    def _alive(self, work: Callable[[], Any]) -> Any:
        """Run a worker's piece; it may die, and then Celery or the next round goes on."""
        try:
            return work()
        except (Died, RuntimeError, OperationalError):
            return None

    def _any(self, *states: str) -> Operation | None:
        found = Operation.objects.filter(state__in=states).select_related("connection", "account__customer")
        rows = list(found.order_by("pk"))
        return self.chance.choice(rows) if rows else None

    # -- people, who know what the provider has and say nothing that is not so

    def _as_a_person(self, deed: Callable[[], None]) -> None:
        try:
            Context().run(deed)
        except (Refusal, Died, RuntimeError, OperationalError):
            return

    def _decide(self, operation: Operation) -> None:
        command = Command(self.world.person(), self.world.now, reason="Looked.")
        if operation.kind != "create":
            if operation.state == "unknown" and self.chance.random() < 0.8:
                return
            self._one_of(command, operation)
            return
        made = [id_ for id_, by in self.world.wire.made("account").items() if by == operation.pk]
        if made:
            provider = self.world.connect(operation.connection)
            resolve.resolve_link(
                command, operation=operation, provider_id=made[0], provider=provider, although_different=True
            )
        elif operation.error_kind in ("budget", "poison", "permission"):
            resolve.resolve_retry(command, operation=operation)
        elif not self._may_still_come(operation):
            send_again = self.chance.random() < 0.5
            resolve.resolve_not_created(command, operation=operation, send_again=send_again)

    def _one_of(self, command: Command, operation: Operation) -> None:
        if self.chance.random() < 0.7:
            try:
                resolve.resolve_retry(command, operation=operation)
            except Refusal:
                resolve.resolve_failed(command, operation=operation)
        else:
            resolve.resolve_failed(command, operation=operation)

    def _may_still_come(self, operation: Operation) -> bool:
        """A worker of it may be stopped just now, with its request on the way."""
        return self.depth > 0

    # -- the end

    def end(self, *, thorough: bool) -> None:
        for _ in range(6):
            waiting = self.world.drain()
            found = Operation.objects.filter(state="needs_attention")
            left = list(found.select_related("connection", "account__customer"))
            for operation in left:
                self._as_a_person(lambda operation=operation: self._decide(operation))  # type: ignore[misc]
            if not left:
                break
        self.world.app.store.switches.reset()
        self.outcome.problems = self.truth.verdict(waiting=waiting, thorough=thorough)
        steps = Step.objects.filter(operation__pk__gt=self.truth.begun).order_by()
        edges = steps.values_list("before", "after")
        self.outcome.edges.update(f"{before or 'asked'} -> {after}" for before, after in edges)
        self.outcome.seen.update(self.world.wire.seen)


ALL_POINTS = (*POINTS, *WIRE_POINTS)
