"""Numbers of closed statements as texts: the prefix of the billing terms and at least six digits."""

from __future__ import annotations

from billing.models import BillingTerms

DIGITS = 6


def billing_terms() -> BillingTerms:
    """Return the stored terms, or the defaults without storing them."""
    return BillingTerms.objects.filter(pk=1).first() or BillingTerms(pk=1)


def statement_number(number: int | None, prefix: str) -> str:
    """Return 123 and "INV-" as "INV-000123"; "" for a statement without a number."""
    return "" if number is None else f"{prefix}{number:0{DIGITS}}"


def number_in(text: str, prefix: str) -> int | None:
    """Return the number that a typed text names, with the prefix or without, or None."""
    digits = text.strip().lower().removeprefix(prefix.lower())
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else None
