"""The seeded killer: rounds of work under which one thing after another is killed, frozen or cut off."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import redis as redis_client

from tests.chaos.stage import WORKERS, Stage
from tests.journeys.test_production_services import Hidden

# After that a worker counts as stuck; it is waited for longer, to tell late from never.
STUCK = 60.0
NEVER = 300.0


@dataclass
class Record:
    """What was done and how soon work went on, in real seconds."""

    deeds: dict[str, int] = field(default_factory=dict)
    recoveries: list[float] = field(default_factory=list)
    asked: set[int] = field(default_factory=set)
    submits: list[float] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    ended_by_themselves: int = 0
    jumped: float = 0.0
    seconds: float = 0.0


class Killer:
    def __init__(self, stage: Stage, seed: str, *, creates: int = 1, changes: int = 3) -> None:
        self.stage, self.seed = stage, seed
        self.chance = Random(seed)
        self.creates, self.changes = creates, changes
        self.record = Record()
        self._n = 0

    def rounds(self, count: int, deed: Callable[[], str]) -> None:
        for n in range(1, count + 1):
            self._round(deed)
            if n % 20 == 0:
                say(f"{deed.__name__}: {n} of {count}, {len(self.record.slow)} later than {STUCK:.0f} s")

    def _round(self, deed: Callable[[], str]) -> None:
        self._n += 1
        token = f"{self.seed}-{self._n}"
        self.stage.await_workers()
        self._strangers()
        self.record.asked |= set(self.stage.ask("load", token, self.creates, self.changes))
        time.sleep(self.chance.uniform(0, 1.2))  # the instant of the deed
        name = deed()
        self.record.deeds[name] = self.record.deeds.get(name, 0) + 1
        self.watch_recovery(f"{token}-canary", name)
        if self.chance.random() < 0.5:
            self._pass_time(self.chance.uniform(15, 200))
        self.stage.ask("resume")

    def _strangers(self) -> None:
        """Somebody makes accounts in the provider's console meanwhile, with offerings like ours."""
        if self.chance.random() < 0.2:
            self.stage.portal.sandbox.admin.add_account(
                email=f"stranger-{self.seed}-{self._n}@elsewhere.example",
                offerings=[{"name": "postkeeper.ei.pro-100k.v1", "type": "package", "quantity": 1}],
            )

    def _pass_time(self, seconds: float) -> None:
        self.record.jumped += seconds
        self.stage.pass_time(seconds)

    def watch_recovery(self, token: str, deed: str) -> None:
        """From the deed until something asked after it is sent."""
        began = time.monotonic()
        pk = self.stage.ask("canary", token)
        if pk is None:
            return  # all of them wait for something else
        self.record.asked.add(pk)
        while not self.stage.ask("begun", pk):
            if time.monotonic() - began > NEVER:
                break
            time.sleep(0.1)
        took = time.monotonic() - began
        self.record.recoveries.append(took)
        if took > STUCK:
            self.record.slow.append(f"{token} after {deed}: {took:.0f} s")

    # -- deeds

    def worker(self) -> str:
        """kill -9 of a whole worker, of both, of one of its children, of the scheduler."""
        what = self.chance.choices(("worker", "both workers", "child", "beat"), (65, 12, 15, 8))[0]
        if what == "beat":
            assert self.stage.beat is not None
            self.stage.kill_group(self.stage.beat)
            self.stage.start_beat()
            return "kill -9 of beat"
        names = list(WORKERS) if what == "both workers" else [self.chance.choice(WORKERS)]
        if what == "child":
            self.stage.kill_child(self.stage.workers[names[0]], self.chance.choice)
            return "kill -9 of a worker's child"
        for name in names:
            self.stage.kill_group(self.stage.workers[name])
        for name in names:
            self.stage.start_worker(name)
        return f"kill -9 of {'both workers' if len(names) > 1 else 'a worker'}"

    def redis_restart(self) -> str:
        self.stage.redis.stop(kill=True)
        time.sleep(self.chance.uniform(0, 1))
        self.stage.redis.start()
        return "Redis killed and started"

    def client_kill(self) -> str:
        with redis_client.Redis.from_url(self.stage.redis.url) as one:
            one.client_kill_filter(_type="normal", skipme=True)
            one.client_kill_filter(_type="pubsub", skipme=True)
        return "CLIENT KILL of all"

    def freeze(self) -> str:
        """Redis stands still with its connections open; meanwhile somebody sends a form."""
        process = self.stage.redis.process
        assert process is not None
        path = self.stage.ask("page")
        visitor = self.stage.visitor()
        form = Hidden(visitor.get(path)).fields | {"reason": "Asked for."} if path else {}
        os.kill(process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            if path:
                visitor.send(path, form)
                self.record.submits.append(time.monotonic() - began)
            time.sleep(self.chance.uniform(1, 12))
        finally:
            os.kill(process.pid, signal.SIGCONT)
        return "Redis frozen"

    def half_open(self) -> str:
        """What the workers have open to Redis goes silent for good; what they open next works."""
        self.stage.line.set("half-open")
        time.sleep(self.chance.uniform(0, 2))
        self.stage.line.clear()
        return "half-open"

    def postgres_restart(self) -> str:
        self.stage.postgres.stop(signal.SIGQUIT)
        time.sleep(self.chance.uniform(0, 1))
        self.stage.postgres.start()
        return "PostgreSQL stopped at once and started"

    # -- the end

    def drain(self, *, moves: int = 60) -> None:
        """No more faults: let time pass until everything has come to its end, or to a person."""
        self.stage.await_workers()
        self.stage.faults(on=False)
        for _ in range(moves):
            self._settle_down()
            counts = self.stage.ask("counts")
            if not any(counts.get(state) for state in ("queued", "claimed", "sending", "unknown")):
                return
            self._pass_time(self.stage.ask("next_due") + 1)
            self.stage.ask("tick")

    def _settle_down(self, seconds: float = 20.0) -> None:
        """Until nothing is due and nobody is at it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.stage.ask("resume")
            counts = self.stage.ask("counts")
            if not counts["due"] and not counts["held"]:
                return
            time.sleep(0.3)


def percentile(values: list[float], share: float) -> float:
    """The nearest rank; 0.0 where there is nothing."""
    ordered = sorted(values)
    return ordered[max(0, round(share * len(ordered)) - 1)] if ordered else 0.0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
