"""`make chaos [PART=workers|redis|halfopen|postgres|machines|all] [ROUNDS=200] [SEED=n]`: kill what can be killed,
under load and with faults at the providers, then count what was doubled, lost, mistaken or stuck. Exit code 0: nothing.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from tests.chaos.judge import Verdict, as_text, judge
from tests.chaos.killer import Killer, Record, percentile, say
from tests.chaos.machines import cut_off, unavailable
from tests.chaos.machines import machines as on_machines
from tests.chaos.stage import Stage, stage

Part = Callable[[Killer, int], None]


def workers(killer: Killer, rounds: int) -> None:
    killer.rounds(rounds, killer.worker)


def redis(killer: Killer, rounds: int) -> None:
    killer.rounds(max(1, rounds // 2), killer.redis_restart)
    killer.rounds(rounds, killer.client_kill)
    killer.rounds(max(1, rounds // 10), killer.freeze)


def halfopen(killer: Killer, rounds: int) -> None:
    stage = killer.stage
    stage.through_line = True
    for name, process in list(stage.workers.items()):
        stage.kill_group(process)
        stage.start_worker(name)
    killer.rounds(max(1, rounds // 10), killer.half_open)


def postgres(killer: Killer, rounds: int) -> None:
    killer.rounds(max(1, rounds // 4), killer.postgres_restart)


def machines(killer: Killer, rounds: int) -> None:
    """Needs root, for network namespaces."""
    killer.creates, killer.changes = 5, 10
    killer.rounds(max(1, rounds // 10), lambda: cut_off(killer))


PARTS: dict[str, Part] = {each.__name__: each for each in (workers, redis, halfopen, postgres, machines)}
STAGES: dict[str, Callable[[Path, str], AbstractContextManager[Stage]]] = {"machines": on_machines}


def play(one: Stage, part: Part, rounds: int, seed: str) -> tuple[Record, Verdict]:
    killer = Killer(one, f"{part.__name__}-{seed}")
    began = time.monotonic()
    one.faults(on=True)
    part(killer, rounds)
    killer.drain()
    verdict = judge(one, killer.record.asked)
    killer.record.ended_by_themselves = one.ended_by_themselves
    killer.record.seconds = time.monotonic() - began
    return killer.record, verdict


def table(part: str, seed: str, record: Record, verdict: Verdict) -> str:
    figures = {
        **record.deeds,
        "operations asked": len(record.asked),
        **verdict.ways,
        "accounts or keys doubled": len(verdict.doubled),
        "operations lost": len(verdict.lost),
        "wrong adoptions": len(verdict.wrong),
        "stuck after the drain": len(verdict.stuck),
        "given up as three workers ended": len(verdict.stalled),
        "accounts not as wanted": len(verdict.differs),
        "sends without an intent": len(verdict.without_intent),
        "invariants broken": len(verdict.invariants),
        "workers that ended by themselves": record.ended_by_themselves,
        "left to a person": len(verdict.for_a_person),
        "recovery p50": f"{percentile(record.recoveries, 0.5):.1f} s",
        "recovery p99": f"{percentile(record.recoveries, 0.99):.1f} s",
        "recovery longest": f"{max(record.recoveries, default=0):.1f} s of {len(record.recoveries)}",
        "later than 60 s": len(record.slow),
        "time passed by jumps": f"{record.jumped / 3600:.1f} h",
        "took": f"{record.seconds / 60:.1f} min",
    }
    if record.submits:
        p95, longest = percentile(record.submits, 0.95), max(record.submits)
        figures["form while Redis stands still"] = f"p95 {p95:.2f} s, longest {longest:.2f} s of {len(record.submits)}"
    lines = [f"--- {part}, seed {seed}", *(f"{name:<40} {value}" for name, value in figures.items())]
    return "\n".join([*lines, *(f"{name:<40} {n}" for name, n in sorted(verdict.asked.items()))])


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended
    part, rounds = os.environ.get("PART", "all"), int(os.environ.get("ROUNDS", "200"))
    seed = os.environ.get("SEED") or str(secrets.randbelow(10**6))
    failed = 0
    for name in PARTS if part == "all" else (part,):
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        if name == "machines" and (why := unavailable()):
            say(f"machines: skipped, {why}")
            continue
        with STAGES.get(name, stage)(folder, seed) as one:
            record, verdict = play(one, PARTS[name], rounds, seed)
            say(table(name, seed, record, verdict))
            say(as_text(verdict) if not verdict.is_clean or verdict.for_a_person else "clean")
            say("\n".join(record.slow))
        if verdict.is_clean:
            shutil.rmtree(folder)
        else:
            failed += 1
            say(f"What is left of it: {folder}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
