"""The rating case that a closed statement keeps, as text: rated again, it gives the same lines.

Price versions are named by public ID and first day, without their prices: published ones never change. A statement of
one account takes about 700 characters so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

from billing.models import PriceVersion
from billing.pricing.rating.case import Case
from billing.pricing.rating.case_json import case_from_json, case_to_json


def frozen_case(case: Case) -> str:
    """Return the case as JSON, identical whenever the case is equal."""
    written = case_to_json(case)
    for prices in written["price_lists"]:
        for version in prices["versions"]:
            del version["prices"]
    return json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class FrozenCases:
    """Reads frozen cases, each price version from the database once."""

    def __init__(self) -> None:
        self._prices: dict[str, list[dict[str, Any]]] = {}

    def complete(self, texts: Iterable[str]) -> list[dict[str, Any]]:
        """Return the cases as JSON with all prices: what `manage.py rate` takes. One query at most."""
        found = [json.loads(text, parse_float=Decimal) for text in texts]
        named = [version for each in found for prices in each["price_lists"] for version in prices["versions"]]
        missing = {UUID(version["id"]) for version in named if version["id"] not in self._prices}
        if missing:
            rows = PriceVersion.objects.filter(public_id__in=missing).values_list("public_id", "prices")
            self._prices |= {str(public_id): prices for public_id, prices in rows}
        for version in named:
            version["prices"] = self._prices[version["id"]]
        return found

    def read(self, texts: Iterable[str]) -> list[Case]:
        return [case_from_json(each) for each in self.complete(texts)]
