"""Reads an accounting file back and adds it up, with csv and decimal alone: nothing of the portal."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal

PLACES = {"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))


def totals_of(rows: list[dict[str, str]]) -> dict[tuple[str, str], Decimal]:
    """Return the sum of each statement and currency; refuses a row whose parts don't give its amount."""
    found: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        amount = Decimal(row["net amount"])
        unit = Decimal(1).scaleb(-PLACES[row["currency"]])
        product = (Decimal(row["quantity"]) * Decimal(row["unit price"])).quantize(unit, ROUND_HALF_UP)
        if product != amount or amount != amount.quantize(unit):
            raise ValueError(f"{row['line id']}: {row['quantity']} x {row['unit price']} is not {amount}")
        if len(row["unit price"].partition(".")[2]) != 4:
            raise ValueError(f"{row['line id']}: the unit price {row['unit price']} has not four decimals")
        found[row["statement number"], row["currency"]] += amount
    return dict(found)
