"""Lines of a statement for display, each with what it was made from: figure, spans, price, discount, arithmetic.

What was left out of a stored explanation (`compact`) is added again from the price version, which never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from billing.models import LineKind, PriceVersion, StatementLine, Status
from billing.pricing.statements.adjustment_facts import adjustment_facts
from billing.pricing.statements.amounts import Amount, minor_text, places_of
from billing.pricing.statements.numbers import billing_terms
from customers.connections.catalogue import offering_label
from portal import formats

TIMES = " \u00d7 "
SHOWN_PLACES = 9
SHARES = {
    "parent": gettext_lazy("The reseller's own account"),
    "account": gettext_lazy("Account"),
    "unknown": gettext_lazy("Account that isn't linked"),
    "removed_account": gettext_lazy("Deleted account, by its last usage"),
    "removed": gettext_lazy("Other deleted accounts"),
    "unallocated": gettext_lazy("Not allocated"),
}
MODES = {
    "graduated": gettext_lazy("Graduated: each tier's units at its own rate"),
    "volume": gettext_lazy("Volume: all units at the rate of the tier that the total falls in"),
    "block": gettext_lazy("Block: each started block"),
}
WHEN_CHANGED = {
    "last": gettext_lazy("the package on the last day"),
    "highest": gettext_lazy("the largest package of any day"),
    "prorated": gettext_lazy("packages by days"),
    "incurred": gettext_lazy("each package until its change"),
}


@dataclass(slots=True)
class ShownLine:
    """A line as a page shows it. `facts` explain it: pairs of a label and a text, with an address or without."""

    line: StatementLine
    amount: Amount
    title: str
    quantity: str
    rate: str
    service: tuple[date, date]
    facts: list[tuple[str, str, str]] = field(default_factory=list)


def shown_lines(lines: Sequence[StatementLine], currency: str) -> list[ShownLine]:
    """Return the lines with their explanations. Takes one query, for the price versions, and one for adjustments."""
    wanted = {line.price_version_id for line in lines if line.price_version_id}
    versions = PriceVersion.objects.select_related("price_list").in_bulk(list(wanted))
    prefix = billing_terms().number_prefix if any(line.kind == LineKind.ADJUSTMENT for line in lines) else ""
    return [_shown(line, currency, versions.get(line.price_version_id or 0), prefix) for line in lines]


def _shown(line: StatementLine, currency: str, version: PriceVersion | None, prefix: str) -> ShownLine:
    shown = ShownLine(
        line=line,
        amount=Amount(line.amount_minor, currency, line.amount_high_minor, line.open_ended),
        title=_title(line),
        quantity=_quantity(line),
        rate=_rate(line, currency),
        service=(line.start_on, line.end_on),
    )
    because = line.because
    if line.kind == LineKind.ADJUSTMENT:
        shown.facts = [*adjustment_facts(line, currency, prefix=prefix), *_price_facts(line, {}, version)]
        return shown
    price = _price_of(version, line)
    shown.facts = [
        *_figure_facts(line, because),
        *_span_facts(because),
        *_usage_facts(because, price),
        *_price_facts(line, because, version),
        *_share_facts(because, currency),
        *_commit_facts(because, currency),
        *_arithmetic(line, currency),
    ]
    return shown


def _title(line: StatementLine) -> str:
    if line.kind == LineKind.INVOICE_SHARE:
        return str(SHARES.get(line.because.get("share", ""), line.get_kind_display()))
    if line.kind == LineKind.OPENING:
        return str(line.because["description"])
    if line.kind == LineKind.ADJUSTMENT:
        of = LineKind(line.because["kind"]).label
        parts = [str(of), offering_label(line.offering)] if line.offering else [str(of)]
        return _("Adjustment: %(line)s") % {"line": ", ".join(dict.fromkeys(parts))}
    if not line.offering:
        return str(line.get_kind_display())
    kind, offering = str(line.get_kind_display()), offering_label(line.offering)
    return kind if kind == offering else f"{kind}, {offering}"


def _quantity(line: StatementLine) -> str:
    if LineKind.COMMIT in (line.kind, line.because.get("kind")) or line.kind == LineKind.OPENING:
        return ""
    text = formats.number_text(line.quantity)
    if line.quantity_high is not None:
        return f"{text} \u2013 {formats.number_text(line.quantity_high)}"
    return _("%(n)s or more") % {"n": text} if line.open_ended else text


def _rate(line: StatementLine, currency: str) -> str:
    if line.rate is None:
        return ""
    rate = line.rate.normalize()
    text = formats.money_text(Decimal(f"{rate:f}"), currency)
    return _("%(rate)s per %(n)s") % {"rate": text, "n": formats.number_text(line.per)} if line.per > 1 else text


def _price_of(version: PriceVersion | None, line: StatementLine) -> Mapping[str, Any]:
    rows = version.prices if version else ()
    found = (each for each in rows if each.get("offering", "") == line.offering and each["component"] == line.kind)
    return next(found, {})


def _figure_facts(line: StatementLine, because: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    figure, period = because.get("figure"), because.get("period")
    if not period or not line.account:
        return
    address = reverse("billing:figure", args=[line.account.public_id, period[0]])
    dates = _dates(period[0], period[1])
    if not figure:
        yield _("Billing period"), dates, ""
        return
    used = formats.number_text(figure["used"])
    if figure.get("high") not in (None, figure["used"]):
        used = f"{used} \u2013 {formats.number_text(figure['high'])}"
    yield _("Usage"), _("%(n)s emails in %(dates)s, %(status)s") % {
        "n": used, "dates": dates, "status": str(Status(figure["status"]).label).lower()
    }, address  # fmt: skip


def _span_facts(because: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    exists = because.get("exists")
    if exists and [exists["from"], exists["until"]] != because.get("period"):
        yield _("Account exists"), _dates(exists["from"], exists["until"]), ""
    for each in because.get("highest_of", ()):
        dates = _dates(each["from"], each["until"])
        words = {"n": formats.number_text(each["above"]), "dates": dates}
        yield _("Quantity"), _("%(n)s above the included quantity, %(dates)s") % words, ""
    for each in because.get("rises", ()):
        words = {"n": formats.number_text(each["units"]), "day": formats.day_text(date.fromisoformat(each["on"]))}
        yield _("Added"), _("%(n)s on %(day)s") % words, ""


def _usage_facts(because: Mapping[str, Any], price: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    if because.get("included") or "units" in because:
        how = because.get("included_by", {})
        words = formats.number_text(because["included"])
        if spans := how.get("spans"):
            if len(spans) > 1:
                words = _("%(n)s, by %(how)s") % {"n": words, "how": WHEN_CHANGED[how["when_changed"]]}
        elif how:
            words = _("%(n)s, from %(dates)s") % {"n": words, "dates": _dates(how["from"], how["until"])}
        yield _("Included"), words, ""
        for each in how.get("spans", ()) if len(how.get("spans", ())) > 1 else ():
            days = ngettext("%(n)d day", "%(n)d days", each["days"]) % {"n": each["days"]}
            dates = _dates(each["from"], each["until"])
            yield "", f"{dates}: {formats.number_text(each['included'])} ({days})", ""
    if before := because.get("used_before"):
        yield _("Used before"), _interval(before), ""
    if units := because.get("units"):
        yield _("Above the included volume"), _interval(units), ""
        mode = because.get("mode") or price.get("mode", "graduated")
        tiers = because.get("tiers") or price.get("tiers", ())
        if len(tiers) > 1 or mode != "graduated":
            yield _("Tiers"), str(MODES[mode]), ""


def _price_facts(
    line: StatementLine, because: Mapping[str, Any], version: PriceVersion | None
) -> Iterable[tuple[str, str, str]]:
    if version and version.valid_from:
        words = {"list": version.price_list.name, "day": formats.day_text(version.valid_from)}
        yield _("Price"), _("%(list)s, version from %(day)s") % words, ""
    for override in because.get("overrides", ()):
        fields = [name for name in override if name not in ("valid_from", "valid_until", "offering", "component")]
        yield _("Override by the contract"), ", ".join(f"{name}: {_value(override[name])}" for name in fields), ""
    if code := " / ".join(filter(None, (line.account_code, line.tax_code))):
        yield _("Account and tax code"), code, ""


def _share_facts(because: Mapping[str, Any], currency: str) -> Iterable[tuple[str, str, str]]:
    if "share" not in because:
        return
    if because.get("id"):
        yield _("Account ID"), because["id"], ""
    whole = formats.money_text(Decimal(because["total"]), currency)
    count = formats.number_text(because["total_count"])
    yield _("Invoice"), _("%(amount)s for %(n)s emails") % {"amount": whole, "n": count}, ""
    is_volume = because["method"] == "volume"
    yield _("Shared"), _("by volume") if is_volume else _("by the provider's shares"), ""


def _commit_facts(because: Mapping[str, Any], currency: str) -> Iterable[tuple[str, str, str]]:
    if "commit" in because:
        yield _("Minimum commit"), formats.money_text(Decimal(because["commit"]), currency), ""
        yield _("Base fees, add-ons, overage"), formats.money_text(Decimal(because["eligible"]), currency), ""


def _arithmetic(line: StatementLine, currency: str) -> Iterable[tuple[str, str, str]]:
    """Return the steps from quantity to amount, with the exact amount where it was rounded."""
    steps = {each["step"]: each for each in line.because.get("steps", ())}
    if gross := steps.get("gross"):
        parts = [formats.number_text(line.quantity), _rate(line, currency)]
        if line.days != line.of_days:
            parts.append(_("%(n)s of %(all)s days") % {"n": line.days, "all": line.of_days})
        yield _("Amount"), f"{TIMES.join(parts)} = {_exactly(gross['exact'], line.gross_minor, currency)}", ""
    if discount := steps.get("discount"):
        percent = f"{Decimal(discount['percent']).normalize():f}"
        words = {"n": percent, "amount": _exactly(discount["exact"], line.discount_minor, currency)}
        yield _("Discount"), _("%(n)s%%: %(amount)s") % words, ""
        yield _("After discount"), minor_text(line.amount_minor, currency), ""
    if line.amount_high_minor is not None:
        yield _("At the other end"), _other_end(line, currency), ""


def _other_end(line: StatementLine, currency: str) -> str:
    """Return the amount at the interval's other end, with its arithmetic where a discount or rounding adds nothing."""
    amount = minor_text(line.amount_high_minor or 0, currency)
    if line.quantity_high is None or line.rate is None:
        return amount
    if line.quantity_high * line.rate * 10 ** places_of(currency) != (line.amount_high_minor or 0) * line.per:
        return amount
    return f"{formats.number_text(line.quantity_high)}{TIMES}{_rate(line, currency)} = {amount}"


def _exactly(fraction: str, minor: int, currency: str) -> str:
    """Return a rounded amount, after the exact one (to nine places) where rounding changed it."""
    numerator, _slash, denominator = fraction.partition("/")
    up, down = int(numerator), int(denominator or 1)
    rounded = minor_text(minor, currency)
    if up * 10 ** places_of(currency) == minor * down:
        return rounded
    exact = Decimal(abs(up) * 10**SHOWN_PLACES // down).scaleb(-SHOWN_PLACES).normalize()
    return f"{formats.MINUS if up < 0 else ''}{exact:f} \u2192 {rounded}"


def _interval(usage: Mapping[str, Any]) -> str:
    low, high = formats.number_text(usage["low"]), usage["high"]
    if high == "open_ended":
        return _("%(n)s or more") % {"n": low}
    return low if high == usage["low"] else f"{low} \u2013 {formats.number_text(high)}"


def _dates(first: str, last: str) -> str:
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return f"{formats.day_text(start)} \u2013 {formats.day_text(end)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        open_end = _("no bound")
        return "; ".join(f"{each['up_to'] or open_end}: {each['rate']}" for each in value)
    return str(value)
