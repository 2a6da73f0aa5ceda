"""A short round of `make chaos` with the services of production: one deed, in `make proof` one of each. `SEED=n` plays
another one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.chaos.judge import as_text
from tests.chaos.killer import Killer
from tests.chaos.run import play, table
from tests.chaos.stage import stage
from tests.support import postgres, redis
from tests.support.samples import sample
from tests.support.skips import require

pytestmark = [pytest.mark.long, pytest.mark.postgres, pytest.mark.redis, pytest.mark.xdist_group("journeys")]


def short(killer: Killer, rounds: int) -> None:
    for deed in sample([killer.worker, killer.redis_restart, killer.postgres_restart], 1, name="deed"):
        killer.rounds(rounds, deed)


def test_nothing_is_doubled_lost_or_stuck_whatever_is_killed(tmp_path: Path) -> None:
    require(postgres.programs(), postgres.MISSING)
    require(shutil.which("redis-server"), redis.MISSING)
    seed = os.environ.get("SEED", "7")
    with stage(tmp_path / "data", seed, small=True) as one:
        record, verdict = play(one, short, 1, seed)
    sys.stdout.write(table("short", seed, record, verdict))
    assert verdict.is_clean, as_text(verdict)
    assert record.slow == []
    assert verdict.asked["create succeeded"] > 4, "more than the canaries"
