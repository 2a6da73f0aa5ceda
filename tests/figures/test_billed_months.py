"""Months that are closed one after the other: three in the suite, 24 in `make proof`.

Each month's statement with all of its adjustments is, line by line and to the cent, what the independent rater makes of
the simulator's truth.
"""

from __future__ import annotations

from datetime import date
from time import process_time

import pytest
from django.core.cache import cache
from django.db import connection

from billing.models import StatementLine
from tests.figures.billed import BilledScenario
from tests.figures.scenario import Size
from tests.figures.world import World, midnight
from tests.support.samples import SEED, is_proof
from tests.support.sandbox import SandboxProcess

SUITE = Size(date(2028, 1, 1), months=3, accounts=4, anchors=4, children=1, nightly=0.1, outages=1)
PROOF = Size(date(2028, 1, 1), months=24, accounts=7, anchors=6, children=3, nightly=0.1, outages=4)


@pytest.mark.slow
def test_every_month_is_billed_to_the_cent(db: None, sandbox: SandboxProcess) -> None:
    size = PROOF if is_proof() else SUITE
    cache.clear()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
    scenario = BilledScenario(World(sandbox, midnight(size.begin)), seed=int(SEED), size=size)
    start = process_time()
    scenario.play()
    scenario.finish()
    wrong = list(scenario.wrong())
    lines = StatementLine.objects.filter(statement__side="sell")
    adjusted = lines.filter(kind="adjustment").count()
    print(f"\n{len(scenario.closed)} months, {lines.count()} lines, {adjusted} adjustments, {scenario.done}")
    print(f"{dict(scenario.finance.counts)}, {process_time() - start:.0f} s of processor time")
    print(*wrong[:40], sep="\n")
    assert wrong == []
    assert adjusted
