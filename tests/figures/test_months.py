"""Months of billing by seed against the sandbox's truth: three in the suite, 24 and more seeds in `make proof`.

A figure that is final or derived is exact to the unit; in every other one the truth lies between its least and its
most. Nothing is lost or doubled, and totals are the sums of the figures.
"""

from __future__ import annotations

import os
from datetime import date

import pytest
from django.db import connection

from tests.figures.judge import judge
from tests.figures.scenario import Scenario, Size
from tests.figures.world import World, midnight
from tests.support.samples import SEED, is_proof
from tests.support.sandbox import SandboxProcess

# January to March of a leap year; the proof goes on to December of the next one.
SUITE = Size(date(2028, 1, 1), months=3, accounts=12, anchors=3, children=3, nightly=0.15, outages=1)
PROOF = Size(date(2028, 1, 1), months=24, accounts=32, anchors=16, children=6, nightly=0.15, outages=3)
SEEDS = int(os.environ.get("MONTHS_SEEDS", "2" if is_proof() else "1"))


@pytest.mark.long
@pytest.mark.parametrize("n", range(SEEDS))
def test_every_figure_is_exact_or_an_interval_with_the_truth(n: int, db: None, sandbox: SandboxProcess) -> None:
    size = PROOF if is_proof() else SUITE
    if connection.vendor == "postgresql":  # at the end, all references of one long transaction are checked at once
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
    scenario = Scenario(World(sandbox, midnight(size.begin)), seed=int(SEED) + n, size=size)
    scenario.play()
    verdict = judge(scenario)
    print(f"\nseed {int(SEED) + n}, {size.months} months, {len(scenario.members)} accounts")
    print(verdict.report())
    assert verdict.wrong == []
