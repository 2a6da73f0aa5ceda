"""The explanation of a line in few bytes: a month has hundreds of thousands of them.

What a line has in its columns, and what its price version and its contract tell for ever, is left out. The page adds
it again (`billing.pricing.statements.explanations`).
"""

from __future__ import annotations

from typing import Any

from billing.pricing.rating.lines import RatedLine

# Columns of the line itself, and what its price version tells.
_ELSEWHERE = frozenset({"tier", "offering", "mode", "block_size", "contract"})


def compacted(line: RatedLine) -> dict[str, Any]:
    """Return what explains the line beyond its columns. Prices are repeated only where the contract overrides them."""
    because = line.because
    found = {name: value for name, value in because.items() if name not in _ELSEWHERE}
    overrides = (found.pop("price", None) or {}).get("overrides")
    tiers = found.pop("tiers", None)
    if overrides:
        found |= {"overrides": overrides, **({"tiers": tiers, "mode": because["mode"]} if tiers else {})}
    if found.get("offering_quantity") == 1:
        del found["offering_quantity"]
    found["period"] = [line.period_start.isoformat(), line.period_end.isoformat()]
    for name in ("steps", "steps_high"):
        if name in found:
            found[name] = [_step(each) for each in found[name]]
    return found


def _step(step: dict[str, Any]) -> dict[str, Any]:
    """Return the exact amount before rounding, and the percent of a discount."""
    return {name: step[name] for name in ("step", "percent", "exact") if name in step}
