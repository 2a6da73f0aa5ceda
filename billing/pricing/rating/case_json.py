"""The JSON form of a rating case."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any

from billing.pricing.rating import case as inputs
from billing.pricing.rating.checks import check_case
from billing.pricing.rating.json_form import (
    BOOLEAN,
    DATE,
    MONTH,
    NAME,
    NEAR_DATE,
    TEXT,
    CaseError,
    Codec,
    JsonKey,
    choice,
    decimal,
    integer,
    list_of,
    nullable,
    object_of,
    shown,
)

ZERO, HUNDRED = Decimal(0), Decimal(100)
KINDS = (inputs.BASE, inputs.ADDON, inputs.DEDICATED_IP, inputs.OVERAGE, inputs.ONE_TIME)
AMOUNT, RATE = decimal(), decimal(least=ZERO)
EDGE = choice((inputs.FULL, inputs.PRORATED))
CODES = {"account_code": JsonKey(TEXT, ""), "tax_code": JsonKey(TEXT, "")}
EDGES = {
    "on_start": JsonKey(EDGE, inputs.FULL),
    "on_close": JsonKey(EDGE, inputs.FULL),
    "bill_when_suspended": JsonKey(BOOLEAN, default=True),
}
TIER = object_of(inputs.Tier, up_to=JsonKey(nullable(integer(1)), None), rate=JsonKey(RATE))
PER = integer(1, inputs.MOST_HELD)
# The members of each component's price beside `offering` and `component`: an override may replace any of them.
MEMBERS: dict[str, dict[str, JsonKey]] = {
    inputs.BASE: {"amount": JsonKey(AMOUNT), **EDGES, **CODES},
    inputs.OVERAGE: {
        "included": JsonKey(integer()),
        "mode": JsonKey(choice((inputs.GRADUATED, inputs.VOLUME, inputs.BLOCK)), inputs.GRADUATED),
        "per": JsonKey(PER, 1),
        "block_size": JsonKey(nullable(PER), None),
        "tiers": JsonKey(list_of(TIER)),
        "when_changed": JsonKey(
            nullable(choice((inputs.LAST, inputs.HIGHEST, inputs.PRORATED, inputs.INCURRED))), None
        ),
        **CODES,
    },
    inputs.ADDON: {
        "amount": JsonKey(AMOUNT),
        "included": JsonKey(integer(0, inputs.MOST_HELD), 0),
        "prorated": JsonKey(BOOLEAN, default=False),
        **EDGES,
        **CODES,
    },
    inputs.ONE_TIME: {"amount": JsonKey(AMOUNT), "included": JsonKey(integer(0, inputs.MOST_HELD), 0), **CODES},
}
MEMBERS[inputs.DEDICATED_IP] = MEMBERS[inputs.ADDON]
CLASSES = {
    inputs.BASE: inputs.BasePrice,
    inputs.OVERAGE: inputs.OveragePrice,
    inputs.ADDON: inputs.AddonPrice,
    inputs.DEDICATED_IP: inputs.AddonPrice,
    inputs.ONE_TIME: inputs.OneTimePrice,
}
COMPONENT = choice(KINDS)


def _price_codec(component: str) -> Codec:
    kind = CLASSES[component]

    def build(component: str, **values: Any) -> inputs.ComponentPrice:
        return inputs.AddonPrice(component=component, **values) if kind is inputs.AddonPrice else kind(**values)

    return object_of(build, offering=JsonKey(TEXT, ""), component=JsonKey(COMPONENT), **MEMBERS[component])


PRICES = {component: _price_codec(component) for component in KINDS}


def _read_component(value: Any, path: str) -> str:
    if not isinstance(value, dict):
        raise CaseError(path, f"{shown(value)} is not an object.")
    return str(COMPONENT.read(value.get("component"), f"{path}.component"))


PRICE = Codec(
    lambda value, path: PRICES[_read_component(value, path)].read(value, path),
    lambda price: PRICES[price.component].write(price),
)


def _override_codec(component: str) -> Codec:
    """Return the codec of an override, which has only the members of the price that it replaces."""
    replaceable = MEMBERS[component]
    unset = object()

    def build(valid_from: Any, valid_until: Any, offering: str, component: str, **values: Any) -> inputs.PriceOverride:
        fields = tuple((name, value) for name, value in values.items() if value is not unset)
        return inputs.PriceOverride(valid_from, valid_until, offering, component, fields)

    codec = object_of(
        build,
        valid_from=JsonKey(DATE),
        valid_until=JsonKey(nullable(DATE), None),
        offering=JsonKey(TEXT, ""),
        component=JsonKey(COMPONENT),
        **{name: JsonKey(member.codec, unset) for name, member in replaceable.items()},
    )

    def write(override: inputs.PriceOverride) -> dict[str, Any]:
        return {
            "valid_from": DATE.write(override.valid_from),
            "valid_until": nullable(DATE).write(override.valid_until),
            "offering": override.offering,
            "component": override.component,
            **{name: replaceable[name].codec.write(value) for name, value in override.fields},
        }

    return Codec(codec.read, write)


OVERRIDES = {component: _override_codec(component) for component in KINDS}
OVERRIDE = Codec(
    lambda value, path: OVERRIDES[_read_component(value, path)].read(value, path),
    lambda override: OVERRIDES[override.component].write(override),
)
VALIDITY = {"valid_from": JsonKey(DATE), "valid_until": JsonKey(nullable(DATE), None)}
DISCOUNT = object_of(
    inputs.ContractDiscount,
    **VALIDITY,
    percent=JsonKey(decimal(least=ZERO, most=HUNDRED)),
    kinds=JsonKey(list_of(COMPONENT)),
)
COMMIT = object_of(inputs.MinimumCommit, amount=JsonKey(RATE), prorated=JsonKey(BOOLEAN, default=False))
VERSION = object_of(inputs.ListVersion, id=JsonKey(NAME), valid_from=JsonKey(DATE), prices=JsonKey(list_of(PRICE)))
PRICE_LIST = object_of(
    inputs.ListPrices,
    id=JsonKey(NAME),
    name=JsonKey(TEXT, ""),
    provider=JsonKey(NAME),
    versions=JsonKey(list_of(VERSION)),
)
CONTRACT = object_of(
    inputs.ContractTerms,
    id=JsonKey(NAME),
    **VALIDITY,
    price_lists=JsonKey(list_of(NAME)),
    discounts=JsonKey(list_of(DISCOUNT), ()),
    commit=JsonKey(nullable(COMMIT), None),
    overrides=JsonKey(list_of(OVERRIDE), ()),
)
FROM = JsonKey(DATE, attribute="from_on")
ITEM = object_of(inputs.HeldItem, name=JsonKey(NAME), quantity=JsonKey(integer(0, inputs.MOST_HELD), 1))
OFFERINGS = object_of(
    inputs.OfferingSpan, from_=FROM, items=JsonKey(list_of(ITEM)), uncertain_since=JsonKey(nullable(DATE), None)
)
STATE = object_of(inputs.StateSpan, from_=FROM, state=JsonKey(choice(inputs.STATES)))
OWNER = object_of(inputs.OwnerSpan, from_=FROM, customer=JsonKey(NAME))
AT_CHANGE = object_of(
    inputs.UsageAtChange, on=JsonKey(DATE), used=JsonKey(integer()), high=JsonKey(nullable(integer()), None)
)
PERIOD = object_of(
    inputs.RatedPeriod,
    start=JsonKey(NEAR_DATE),
    end=JsonKey(NEAR_DATE),
    used=JsonKey(nullable(integer()), None),
    high=JsonKey(nullable(integer()), None),
    status=JsonKey(choice(inputs.STATUSES), "final"),
    at_changes=JsonKey(list_of(AT_CHANGE), ()),
    allowed=JsonKey(nullable(integer()), None),
)
ACCOUNT = object_of(
    inputs.RatedAccount,
    id=JsonKey(NAME),
    name=JsonKey(TEXT, ""),
    provider=JsonKey(NAME),
    test=JsonKey(BOOLEAN, default=False),
    billing_starts_on=JsonKey(nullable(DATE), None),
    created_on=JsonKey(nullable(DATE), None),
    deleted_on=JsonKey(nullable(DATE), None),
    owners=JsonKey(list_of(OWNER), ()),
    offerings=JsonKey(list_of(OFFERINGS), ()),
    states=JsonKey(list_of(STATE), ()),
    periods=JsonKey(list_of(PERIOD), ()),
)
LATE_FIGURE = object_of(
    inputs.LateFigure,
    account=JsonKey(NAME),
    period=JsonKey(PERIOD),
    replaces=JsonKey(nullable(NEAR_DATE), None),
)
COUNT, COSTS = JsonKey(integer(), 0), JsonKey(decimal(), ZERO)
NOTHING = inputs.InvoicePart("", 0)
WITHOUT_ID = object_of(lambda **values: inputs.InvoicePart("", **values), count=COUNT, cost=COSTS)
PARTS = JsonKey(list_of(object_of(inputs.InvoicePart, id=JsonKey(NAME), count=COUNT, cost=COSTS)), ())
SPAN = object_of(lambda start, end: (start, end), start=JsonKey(DATE), end=JsonKey(DATE))


def _build_invoice(period: tuple[Any, Any], **values: Any) -> inputs.SharedInvoice:
    return inputs.SharedInvoice(*period, **values)


_INVOICE = object_of(
    _build_invoice,
    period=JsonKey(SPAN),
    total=JsonKey(AMOUNT),
    method=JsonKey(choice((inputs.VOLUME, inputs.PROVIDER_SHARE))),
    parent=JsonKey(WITHOUT_ID, NOTHING),
    accounts=PARTS,
    unknown=PARTS,
    removed_accounts=PARTS,
    removed=JsonKey(WITHOUT_ID, NOTHING),
)


def _write_invoice(invoice: inputs.SharedInvoice) -> dict[str, Any]:
    def part(value: inputs.InvoicePart) -> dict[str, Any]:
        return {"count": value.count, "cost": AMOUNT.write(value.cost)}

    return {
        "period": {"start": invoice.start.isoformat(), "end": invoice.end.isoformat()},
        "total": AMOUNT.write(invoice.total),
        "method": invoice.method,
        "parent": part(invoice.parent),
        "accounts": PARTS.codec.write(invoice.accounts),
        "unknown": PARTS.codec.write(invoice.unknown),
        "removed_accounts": PARTS.codec.write(invoice.removed_accounts),
        "removed": part(invoice.removed),
    }


INVOICE = Codec(_INVOICE.read, _write_invoice)
EXCHANGE_RATE = object_of(
    inputs.ConversionRate,
    rate=JsonKey(RATE),
    units_of=JsonKey(NAME),
    per_one=JsonKey(NAME),
    source=JsonKey(TEXT, ""),
    on=JsonKey(DATE),
)
CASE = object_of(
    inputs.Case,
    side=JsonKey(choice((inputs.SELL, inputs.COST))),
    currency=JsonKey(NAME),
    month=JsonKey(MONTH),
    customer=JsonKey(TEXT, ""),
    price_lists=JsonKey(list_of(PRICE_LIST), ()),
    contracts=JsonKey(list_of(CONTRACT), ()),
    accounts=JsonKey(list_of(ACCOUNT), ()),
    invoice=JsonKey(nullable(INVOICE), None),
    exchange_rate=JsonKey(nullable(EXCHANGE_RATE), None),
    late_figures=JsonKey(list_of(LATE_FIGURE), ()),
)


def case_from_json(value: object) -> inputs.Case:
    """Read a rating case. Raise CaseError, whose message begins with the path of what is wrong."""
    case: inputs.Case = CASE.read(value, "")
    check_case(case)
    return case


def case_to_json(case: inputs.Case) -> dict[str, Any]:
    """Write a case in full, so that reading it gives an equal case."""
    written: dict[str, Any] = CASE.write(case)
    return written


def load_json(text: str) -> object:
    """Parse JSON without floats: a number with a point stays what was written, and is refused where it is read.

    Raise CaseError for text that is not JSON, for NaN and for a key that an object has twice.
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except CaseError:
        raise
    except ValueError as error:  # also a number of thousands of digits
        raise CaseError("", f"is not JSON: {error}.") from None
    except ArithmeticError:  # Decimal's, for an exponent of many digits
        raise CaseError("", "a number is too large.") from None
    except RecursionError:
        raise CaseError("", "is nested too deeply.") from None


def _refuse_constant(name: str) -> object:
    raise CaseError("", f"{name} is not a number of JSON.")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _value in pairs).items() if times > 1)
        raise CaseError("", f"an object has the key {shown(twice)} twice.")
    return found
