"""Where a difference comes from: each reason, and what is no reason."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from billing.pricing.parallel import reasons
from billing.pricing.parallel.reasons import OurLine, explain

BASE = OurLine(1, "base", 7, "pro", 8995, quantity=1, rate=Decimal("89.95"), days=30, of_days=30, exists=30)
ADDON = OurLine(2, "addon", 7, "contacts", 1500, quantity=1, rate=Decimal(15), days=30, of_days=30)
IP = OurLine(3, "dedicated_ip", 8, "ip", 3000, quantity=1, rate=Decimal(30), days=30, of_days=30)
OVERAGE = OurLine(4, "overage", 7, "pro", 2593)
LINES = [BASE, ADDON, IP, OVERAGE]


def codes(theirs: int, lines: list[OurLine]) -> list[tuple[str, int]]:
    ours = sum(line.amount for line in lines)
    found = explain(ours - theirs, lines, places=2, theirs=theirs, ours=ours)
    return [(each.code, each.amount) for each in found]


def test_a_kind_that_theirs_lacks() -> None:
    assert codes(8995 + 1500 + 3000, LINES) == [(reasons.KIND, 2593)]


def test_a_single_line_and_its_likes() -> None:
    second = replace(ADDON, n=5, offering="activity", account=9)
    ours = [*LINES, second]
    found = explain(1500, ours, places=2, theirs=0, ours=0)
    assert [(each.code, each.details.get("kind")) for each in found] == [(reasons.OFFERING, "addon")]
    third = replace(second, n=6)
    (found_line,) = explain(1500, [*LINES[:1], second, third, replace(third, n=7)], places=2, theirs=0, ours=0)
    assert (found_line.code, found_line.details["alike"]) == (reasons.LINE, 3)


def test_an_account_that_theirs_lacks() -> None:
    more = [replace(BASE, n=5, account=8), replace(OVERAGE, n=6, account=8, amount=77)]
    assert codes(8995 + 1500 + 2593, [*LINES, *more]) == [(reasons.ACCOUNT, 3000 + 8995 + 77)]


def test_a_discount_that_theirs_lacks() -> None:
    less = replace(BASE, amount=8095, discount=900, percent=Decimal(10))
    assert codes(8995 + 1500, [less, ADDON]) == [(reasons.DISCOUNT, -900)]


def test_full_amounts_where_ours_are_prorated() -> None:
    half = replace(BASE, amount=4498, days=15)
    assert codes(8995, [half]) == [(reasons.FULL, 4498 - 8995)]
    cheaper = replace(BASE, amount=4048, discount=450, percent=Decimal(10), days=15)
    assert codes(8995 - 900, [cheaper]) == [(reasons.FULL, 4048 - 8095)]


def test_a_full_month_of_one_package() -> None:
    first = replace(BASE, amount=5997, days=20)
    second = replace(BASE, n=2, offering="big", rate=Decimal(249), amount=8300, days=10)
    assert codes(24900, [first, second]) == [(reasons.LAST_PACKAGE, 5997 + 8300 - 24900)]
    assert codes(8995, [first, second]) == [(reasons.FIRST_PACKAGE, 5997 + 8300 - 8995)]


def test_prorated_where_ours_is_full() -> None:
    new = replace(BASE, exists=12)
    assert codes(3598, [new]) == [(reasons.PRORATED, 8995 - 3598)]


def test_two_reasons_together() -> None:
    half = replace(BASE, amount=4498, days=15)
    assert codes(8995, [half, OVERAGE]) == [(reasons.KIND, 2593), (reasons.FULL, 4498 - 8995)]
    less = replace(BASE, amount=8095, discount=900, percent=Decimal(10))
    cut = replace(OVERAGE, amount=2334, discount=259)
    assert codes(8995, [less, cut]) == [(reasons.KIND, 2334), (reasons.DISCOUNT, -900)]


def test_a_set_of_lines_of_one_kind() -> None:
    many = [replace(ADDON, n=n, account=n, amount=amount) for n, amount in enumerate((101, 203, 407, 811, 1621), 1)]
    (found,) = explain(203 + 811, [BASE, *many], places=2, theirs=0, ours=0)
    assert (found.code, found.details["lines"]) == (reasons.LINES, [2, 4])


def test_two_sets_with_one_sum_are_no_reason() -> None:
    many = [replace(ADDON, n=n, account=n, amount=amount) for n, amount in enumerate((100, 200, 300, 400, 999), 1)]
    assert explain(500, [BASE, *many], places=2, theirs=0, ours=0) == []


def test_a_tax_is_told() -> None:
    assert codes(10704, [BASE]) == [(reasons.TAX, 8995 - 10704)]
    assert codes(12345, [BASE]) == []


def test_nothing_explains_a_difference() -> None:
    assert codes(1, LINES) == []
    assert explain(7, [], places=2, theirs=0, ours=0) == []
