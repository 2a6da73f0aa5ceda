"""Terms of a contract in the form of a rating case, and their flat fields that forms edit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from django.utils.translation import gettext as _

from billing.models import Contract, PriceList, PriceVersion, Side
from billing.pricing.amounts import MOST_TIERS
from billing.pricing.lists.fitting import blocks_rule
from billing.pricing.lists.kinds import COMPONENTS
from billing.pricing.lists.prices import price_key, tiers_of
from billing.pricing.lists.versions import effective_versions
from billing.pricing.lists.wording import name_of
from billing.pricing.rating.case_json import COMMIT, DISCOUNT, MEMBERS, OVERRIDE, case_from_json
from billing.pricing.rating.json_form import CaseError
from portal.refusals import Refusal

Terms = dict[str, Any]
EMPTY: Terms = {"price_lists": [], "discounts": [], "commit": None, "overrides": []}
LIST_FIELD = "list_"
# Columns of a contract that its form edits beside the terms.
COLUMNS = ("valid_from", "valid_until", "purchase_order", "accounting_reference", "note")
_OVERRIDE_AT, _OF_TIERS = re.compile(r"overrides\[(\d+)\]"), (".tiers", ".block_size")
_CODECS = {"discounts": DISCOUNT, "overrides": OVERRIDE}


def terms_of(contract: Contract) -> Terms:
    return {**EMPTY, **contract.terms}


def lists_of(terms: Mapping[str, Any]) -> list[PriceList]:
    """Return the price lists of the terms, in the order of their providers."""
    return list(PriceList.objects.filter(public_id__in=terms["price_lists"]).order_by("provider_kind"))


def hold_lists(terms: Mapping[str, Any]) -> list[PriceList]:
    """Return the price lists of the terms as `lists_of`, and hold their rows until the end of the transaction."""
    rows = PriceList.objects.select_for_update(no_key=True).filter(public_id__in=terms["price_lists"])
    return sorted(rows.order_by("pk"), key=lambda each: each.provider_kind)


def contract_fields(contract: Contract) -> dict[str, Any]:
    """Return the fields of the form of a draft's main terms: columns, a list for each provider, and the commit."""
    terms = terms_of(contract)
    commit = terms["commit"] or {}
    lists = {f"{LIST_FIELD}{each.provider_kind}": str(each.public_id) for each in lists_of(terms)}
    columns = {name: getattr(contract, name) for name in COLUMNS}
    return columns | lists | {"commit": commit.get("amount"), "commit_prorated": commit.get("prorated", False)}


def with_contract_fields(terms: Terms, fields: Mapping[str, Any]) -> tuple[Terms, str]:
    """Return the terms with the lists and the commit of these fields, and their currency. Raises `Refusal`."""
    chosen = {name: value for name, value in fields.items() if name.startswith(LIST_FIELD) and value}
    found = {str(each.public_id): each for each in PriceList.objects.filter(public_id__in=chosen.values())}
    lists = []
    for name, key in sorted(chosen.items()):
        each = found.get(key)
        if each is None or each.side != Side.SELL or name != f"{LIST_FIELD}{each.provider_kind}":
            raise Refusal(_("This price list doesn't exist. Select another one."), field=name)
        lists.append(each)
    currency = lists[0].currency if lists else ""
    for each in lists:
        if each.currency != currency:
            words = {"first": lists[0].name, "one": currency, "second": each.name, "other": each.currency}
            text = _("“%(first)s” is in %(one)s and “%(second)s” in %(other)s. A contract has lists of one currency.")
            raise Refusal(text % words, field=f"{LIST_FIELD}{each.provider_kind}")
    commit = {"amount": fields["commit"], "prorated": fields["commit_prorated"]} if fields.get("commit") else None
    return terms | {"price_lists": [str(each.public_id) for each in lists], "commit": commit}, currency


def read_term(part: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return one discount or override in full. Raises `Refusal`."""
    try:
        written: dict[str, Any] = _CODECS[part].write(_CODECS[part].read(dict(value), part))
    except CaseError as error:
        raise Refusal(str(error)) from None
    return written


def check_terms(contract: Contract) -> None:
    """Raise `Refusal` unless the contract as a whole can be rated: complete, and nothing in it contradicts itself."""
    terms = terms_of(contract)
    lists = lists_of(terms)
    if not lists:
        raise Refusal(_("Select at least one price list."))
    if contract.valid_from is None:
        raise Refusal(_("Enter the first day of the contract."))
    if contract.valid_until and contract.valid_until < contract.valid_from:
        raise Refusal(_("The last day is before the first day."), field="valid_until")
    for each in lists:
        if each.archived_at:
            raise Refusal(_("“%(name)s” is archived. Select another price list.") % {"name": each.name})
    versions = PriceVersion.objects.filter(price_list__in=lists, published_at__isnull=False)
    by_list: dict[int, list[PriceVersion]] = {each.pk: [] for each in lists}
    for version in versions:
        by_list[version.price_list_id].append(version)
    for each in lists:
        if not by_list[each.pk]:
            raise Refusal(
                _("“%(name)s” has no published version. Publish one, or select another price list.")
                % {"name": each.name}
            )
    _refuse_overrides_of_nothing(terms, versions)
    try:
        COMMIT.read(terms["commit"], "commit") if terms["commit"] else None
        case_from_json(_as_case(contract, contract.valid_from, lists, by_list))
    except CaseError as error:
        raise Refusal(_contradiction(error, terms)) from None


def _contradiction(error: CaseError, terms: Terms) -> str:
    """Return what contradicts itself in the terms, and what to do, without the paths of a rating case."""
    if ".discounts[" in error.path:
        return _("Two discounts of the same kind are valid at the same time. Change the days of one, or remove it.")
    if found := _OVERRIDE_AT.search(error.path):
        words = _price_words(terms["overrides"][int(found[1])])
        if error.path.endswith(_OF_TIERS):
            text = _("An override doesn't fit the price list: %(offering)s, %(component)s.")
            return f"{text % words} {blocks_rule()}"
        text = _(
            "Two overrides of the same value are valid at the same time: %(offering)s, %(component)s. Change the days "
            "of one, or remove it."
        )
        return text % words
    return _("The contract can't be rated. %(why)s") % {"why": error}


def _price_words(override: Mapping[str, Any]) -> dict[str, Any]:
    return {"offering": name_of(override["offering"]), "component": COMPONENTS[override["component"]]}


def _refuse_overrides_of_nothing(terms: Terms, versions: Iterable[PriceVersion]) -> None:
    priced = {price_key(price) for version in versions for price in version.prices}
    for each in terms["overrides"]:
        if price_key(each) not in priced:
            text = _("An override replaces a price that no price list has: %(offering)s, %(component)s.")
            advice = _("Remove the override, or select another price list.")
            raise Refusal(f"{text % _price_words(each)} {advice}")


def _as_case(
    contract: Contract,
    first: date,
    lists: Sequence[PriceList],
    versions: Mapping[int, Sequence[PriceVersion]],
) -> dict[str, Any]:
    return {
        "side": Side.SELL.value,
        "currency": contract.currency,
        "month": f"{first:%Y-%m}",
        "price_lists": [
            {
                "id": str(each.public_id),
                "name": each.name,
                "provider": each.provider_kind,
                "versions": [
                    {"id": str(one.public_id), "valid_from": f"{one.valid_from}", "prices": one.prices}
                    for one in effective_versions(versions[each.pk])
                ],
            }
            for each in lists
        ],
        "contracts": [
            {
                "id": str(contract.public_id),
                "valid_from": first.isoformat(),
                "valid_until": contract.valid_until.isoformat() if contract.valid_until else None,
                **terms_of(contract),
            }
        ],
    }


# -- one override as the fields of a form ---------------------------------------------------------------------


def override_fields(component: str, override: Mapping[str, Any] | None, *, start: date | None) -> dict[str, Any]:
    """Return the fields of an override's form; None for what it leaves as the price list has it."""
    given = override or {}
    fields: dict[str, Any] = {
        "valid_from": date.fromisoformat(given["valid_from"]) if given else start,
        "valid_until": date.fromisoformat(given["valid_until"]) if given.get("valid_until") else None,
    }
    for member in MEMBERS[component]:
        if member == "tiers":
            tiers = given.get("tiers") or []
            for n in range(MOST_TIERS):
                tier = tiers[n] if n < len(tiers) else {}
                fields |= {f"up_to_{n + 1}": tier.get("up_to"), f"rate_{n + 1}": tier.get("rate")}
        else:
            fields[member] = given.get(member)
    return fields


def override_of(component: str, offering: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the override that these fields have. Raises `Refusal`."""
    replaced = {}
    for member in MEMBERS[component]:
        if member == "tiers":
            if tiers := tiers_of(dict(fields)):
                replaced["tiers"] = tiers
        elif fields.get(member) not in (None, ""):
            replaced[member] = fields[member]
    if not replaced:
        raise Refusal(_("Enter at least one value that replaces that of the price list."))
    return read_term("overrides", _validity(fields) | {"offering": offering, "component": component} | replaced)


def discount_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the discount that these fields have. Raises `Refusal`."""
    return read_term("discounts", _validity(fields) | {"percent": fields["percent"], "kinds": list(fields["kinds"])})


def discount_fields(discount: Mapping[str, Any] | None, *, start: date | None) -> dict[str, Any]:
    given = discount or {}
    return {
        "percent": given.get("percent"),
        "kinds": list(given.get("kinds", [])),
        "valid_from": date.fromisoformat(given["valid_from"]) if given else start,
        "valid_until": date.fromisoformat(given["valid_until"]) if given.get("valid_until") else None,
    }


def _validity(fields: Mapping[str, Any]) -> dict[str, Any]:
    first, last = fields["valid_from"], fields.get("valid_until")
    if last and last < first:
        raise Refusal(_("The last day is before the first day."), field="valid_until")
    return {"valid_from": first.isoformat(), "valid_until": last.isoformat() if last else None}
