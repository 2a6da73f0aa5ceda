"""Parsers of AhaSend's answers. An invalid required field makes the whole answer unusable; others become None."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from portal.providers.base import (
    AccountSettings,
    Created,
    Details,
    ListedAccount,
    PooledUsage,
    ReportedState,
    Share,
    StateReading,
)
from portal.providers.calls import Answer, Row
from portal.providers.key_types import ApiKey, DnsRecord, Domain, MessageReading
from portal.providers.parsing import mapping, moment, read_count, read_money, text, token, verbatim, whole

ID_MAX = 100

_STATES = {
    "active": ReportedState.ACTIVE,
    "suspended": ReportedState.STOPPED_BY_US,
    "parent-suspended": ReportedState.STOPPED_BY_PROVIDER,
    "deleted": ReportedState.DELETED,
}


def is_id(value: str) -> bool:
    try:
        return str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def replayed(answer: Answer) -> bool:
    """Return whether this is the stored answer of an earlier request with the same key (documented header)."""
    return answer.headers.get("idempotent-replayed", "").lower() == "true"


def created(answer: Answer) -> Created:
    found = mapping(answer.json())
    account_id = token(found.get("id"), limit=ID_MAX)
    if not is_id(account_id):
        raise answer.unusable("AhaSend confirmed that the account was created but returned no account ID.")
    return Created(account_id, replayed=replayed(answer))


def page(parse: Callable[[Answer, Mapping[str, Any]], Row], answer: Answer) -> tuple[list[Row], str]:
    """Return the parsed rows of a list, and the cursor of the next page ("" = last page)."""
    data = mapping(answer.json())
    rows, pagination = data.get("data"), mapping(data.get("pagination"))
    if not isinstance(rows, list) or not isinstance(pagination.get("has_more"), bool):
        raise answer.unusable("AhaSend's response contains no list.")
    cursor = token(pagination.get("next_cursor"), limit=2_000) if pagination["has_more"] else ""
    if pagination["has_more"] and not cursor:
        raise answer.unusable("AhaSend's list has more pages, but no cursor for the next one.")
    if cursor and not rows:
        raise answer.unusable("AhaSend's list has an empty page before the last one.")
    return [parse(answer, mapping(row)) for row in rows], cursor


def remote_account(answer: Answer, row: Mapping[str, Any]) -> ListedAccount:
    account_id = token(row.get("id"), limit=ID_MAX)
    if not is_id(account_id):
        raise answer.unusable("AhaSend's list contains an account without an ID.")
    return ListedAccount(
        id=account_id,
        created_at=moment(row.get("created_at")),
        settings=_settings(answer, row),
        state=_state(answer, row),
    )


def details(answer: Answer) -> Details:
    found = mapping(answer.json())
    return Details(
        settings=_settings(answer, found),
        state=_state(answer, found),
        domains=read_count(found.get("domain_count")),
        members=read_count(found.get("member_count")),
        last_activity_at=moment(found.get("last_activity_at")),
    )


def _settings(answer: Answer, found: Mapping[str, Any]) -> AccountSettings:
    """Return all three settings or raise: a missing cap must never look like no cap."""
    name, website = verbatim(found.get("name")), verbatim(found.get("website"))
    cap = whole(found.get("monthly_credit"))
    if not name.strip() or cap is None:
        raise answer.unusable("AhaSend's response is missing the account's name or monthly cap.")
    return AccountSettings(name=name, website=website, monthly_cap=cap)


def _state(answer: Answer, found: Mapping[str, Any]) -> StateReading:
    raw = text(found.get("status"), limit=100)
    if not raw:
        raise answer.unusable("AhaSend returned no status.")
    return StateReading(state=_STATES.get(raw.lower(), ReportedState.UNKNOWN), raw=raw)


# --- Keys -----------------------------------------------------------------------------------------------------


def api_key(answer: Answer, row: Any) -> ApiKey:
    found = mapping(row)
    key_id, label = token(found.get("id"), limit=ID_MAX), verbatim(found.get("label"))
    if not is_id(key_id):
        raise answer.unusable("AhaSend's response contains an API key without an ID.")
    scopes, allowed = found.get("scopes"), found.get("ip_allow_list")
    if not isinstance(scopes, list) or not isinstance(allowed, list):
        raise answer.unusable("AhaSend's response contains an API key without scopes or an IP allowlist.")
    named = tuple(token(mapping(each).get("scope"), limit=500) for each in scopes)
    if not all(named):
        raise answer.unusable("AhaSend's response contains an API key with an invalid scope.")
    return ApiKey(
        id=key_id,
        label=label,
        scopes=named,
        ip_allow_list=tuple(text(each) for each in allowed),
        public_key=text(found.get("public_key"), limit=120),
        created_at=moment(found.get("created_at")),
        last_used_at=moment(found.get("last_used_at")),
    )


def secret(answer: Answer) -> str:
    found = mapping(answer.json()).get("secret_key")
    if not isinstance(found, str) or len(found) < 16 or not found.isascii():
        raise answer.unusable("AhaSend confirmed that the key was created but returned no secret.")
    return found


# --- Usage ----------------------------------------------------------------------------------------------------


def pooled(answer: Answer) -> PooledUsage:
    found = mapping(answer.json())
    period = mapping(found.get("billing_period"))
    start_at, end_at = moment(period.get("start")), moment(period.get("end"))
    children = found.get("sub_accounts")
    currency = text(found.get("currency"), limit=3).upper()
    if start_at is None or end_at is None or end_at <= start_at or not isinstance(children, list) or not currency:
        raise answer.unusable("AhaSend's usage report is missing its billing period, currency or accounts.")
    return PooledUsage(
        start_at=start_at,
        end_at=end_at,
        currency=currency,
        method=text(found.get("allocation_method"), limit=100),
        note=text(found.get("allocation_note"), limit=1_000),
        parent=_share(answer, found.get("parent")),
        accounts=tuple(_share(answer, each, named=True) for each in children),
        removed=_share(answer, found.get("removed_sub_accounts")),
        total=_share(answer, found.get("total")),
        raw=_without_accounts(answer, found),
    )


def _share(answer: Answer, bucket: Any, *, named: bool = False) -> Share:
    found = mapping(bucket)
    sent, cost = whole(found.get("reception_count")), read_money(found.get("allocated_cost"))
    account_id = token(found.get("account_id"), limit=ID_MAX)
    if sent is None or cost is None or (named and not account_id):
        raise answer.unusable("AhaSend's usage report contains an entry without a count or an allocated cost.")
    return Share(count=sent, cost=cost, account_id=account_id, name=text(found.get("name")))


def _without_accounts(answer: Answer, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer without the accounts' own buckets, which are stored separately."""
    kept: dict[str, Any] = answer.redactor.plain({k: v for k, v in found.items() if k != "sub_accounts"})
    return kept


# --- With an account's own key --------------------------------------------------------------------------------


def domain(answer: Answer, row: Any) -> Domain:
    found = mapping(row)
    name, records = token(found.get("domain"), limit=255), found.get("dns_records")
    if not name or "/" in name or not isinstance(found.get("dns_valid"), bool):
        raise answer.unusable("AhaSend's response contains a domain without a valid name or a DNS status.")
    return Domain(
        name=name,
        valid=found["dns_valid"],
        records=tuple(_record(each) for each in records) if isinstance(records, list) else (),
        checked_at=moment(found.get("last_dns_check_at")),
        created_at=moment(found.get("created_at")),
    )


def _record(row: Any) -> DnsRecord:
    found = mapping(row)
    in_place = found.get("propagated")
    return DnsRecord(
        type=text(found.get("type"), limit=10),
        host=text(found.get("host"), limit=255),
        content=text(found.get("content"), limit=2_000),
        required=found.get("required") is not False,
        in_place=in_place if isinstance(in_place, bool) else None,
    )


def sent(answer: Answer) -> Created:
    """Return the sent message. A rejected recipient comes with 202 as well (contract)."""
    rows = mapping(answer.json()).get("data")
    row = mapping(rows[0]) if isinstance(rows, list) and rows else {}
    message_id = token(row.get("id"), limit=200)
    if not message_id:
        raise answer.unusable(text(row.get("error")) or "AhaSend accepted the message but returned no message ID.")
    return Created(message_id, replayed=replayed(answer))


def message(answer: Answer) -> MessageReading:
    found = mapping(answer.json())
    status = text(found.get("status"), limit=60)
    if not status:
        raise answer.unusable("AhaSend returned no message status.")
    times = (found.get("delivered_at"), found.get("sent_at"), found.get("created_at"))
    at = next((when for each in times if (when := moment(each))), None)
    return MessageReading(id=token(found.get("id"), limit=200), status=status, at=at)
