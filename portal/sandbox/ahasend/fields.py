"""Parsing of AhaSend requests: bodies, IDs in paths, cursors. Invalid input raises `Refused` with 400.

Lengths are in characters, after trimming if the contract trims. Error texts have no meaning to clients.
"""

import base64
import binascii
import ipaddress
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from portal.sandbox.admin.request import Refused
from portal.sandbox.ahasend.store import Page
from portal.sandbox.clock import moment_of
from portal.sandbox.messages import Call

LONGEST = 255
LONGEST_REASON = 500
MOST_CREDIT = 1_000_000_000
MOST_NETWORKS = 100
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)")
FQDN = re.compile(rf"(?:{LABEL}\.)+(?!\d+$){LABEL}")


def identifier(call: Call, name: str) -> str:
    """Return an ID from the path, which must be a UUID."""
    given = call.ids[name].lower()
    if not UUID.fullmatch(given):
        raise Refused(400, f"invalid {name} id")
    return given


def body_of(call: Call, known: set[str]) -> dict[str, Any]:
    try:
        body = json.loads(call.request.body, parse_constant=_no_constant)
    except ValueError as error:
        raise Refused(400, "invalid request body") from error
    if not isinstance(body, dict) or (set(body) - known and call.switch("aha_unknown_fields") == "refused"):
        raise Refused(400, "invalid request body")
    return body


def text(value: object, name: str, longest: int = LONGEST) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refused(400, f"{name} is required")
    if len(value.strip()) > longest:
        raise Refused(400, f"{name} must be at most {longest} characters")
    return value.strip()


def host_name(value: object, name: str) -> str:
    """Return a fully qualified domain name: no scheme, no path, no address."""
    if not isinstance(value, str) or len(value) > LONGEST or not FQDN.fullmatch(value.lower()):
        raise Refused(400, f"{name} must be a fully qualified domain name")
    return value


def credit(value: object) -> int:
    """Return a whole number; rejects JSON's true and 5.0."""
    if type(value) is not int or not 0 <= value <= MOST_CREDIT:
        raise Refused(400, f"monthly_credit must be between 0 and {MOST_CREDIT}")
    return value


def networks(value: object) -> list[str]:
    """Return canonical networks: an address becomes its /32 or /128, host bits are masked, duplicates removed."""
    if not isinstance(value, list):
        raise Refused(400, "ip_allow_list must be a list")
    found: dict[str, None] = {}
    for entry in value:
        try:
            if not isinstance(entry, str) or "%" in entry:
                raise Refused(400, "ip_allow_list holds what is no address")
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError as error:
            raise Refused(400, "ip_allow_list holds what is no address") from error
        if network.prefixlen == 0:
            raise Refused(400, "ip_allow_list must not allow every address")
        found[str(network)] = None
    if len(found) > MOST_NETWORKS:
        raise Refused(400, f"ip_allow_list holds more than {MOST_NETWORKS} entries")
    return list(found)


def allowed(address: str, entries: list[str]) -> bool:
    if not entries:
        return True
    source = ipaddress.ip_address(address)
    if isinstance(source, ipaddress.IPv6Address) and source.ipv4_mapped is not None:
        source = source.ipv4_mapped
    return any(source in ipaddress.ip_network(entry) for entry in entries)


def changes(given: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `given` that differ; an empty or unchanged update is refused."""
    new = {name: value for name, value in given.items() if value != current[name]}
    if not new:
        raise Refused(400, "nothing to update")
    return new


def page_of(call: Call, noun: str) -> Page:
    query = call.request.query
    limit = query.get("limit", "100")
    if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= 100:
        raise Refused(400, "limit must be between 1 and 100")
    if query.get("after") and query.get("before"):
        raise Refused(400, "after and before exclude each other")
    after, before = (_place(query[name], noun) if query.get(name) else None for name in ("after", "before"))
    cap = call.switch("aha_list_page_cap")
    return Page(
        min(int(limit), cap) if cap else int(limit), None if call.switch("aha_list_cursor") == "loop" else after, before
    )


def window(call: Call) -> tuple[float, float]:
    """Return `from_time` and `to_time` of the query, infinite if missing."""
    try:
        return _moment(call, "from_time", -math.inf), _moment(call, "to_time", math.inf)
    except ValueError as error:
        raise Refused(400, "from_time and to_time must be RFC 3339 times") from error


def cursor(noun: str, place: int) -> str:
    """Return an opaque cursor, so that clients do not compute with it."""
    return base64.urlsafe_b64encode(json.dumps({"list": noun, "at": place}).encode()).decode()


def _place(text: str, noun: str) -> int:
    try:
        read = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
        if read["list"] == noun and type(read["at"]) is int:
            return int(read["at"])
    except (binascii.Error, ValueError, TypeError, KeyError):
        pass
    raise Refused(400, "invalid cursor")


def _moment(call: Call, name: str, otherwise: float) -> float:
    given = call.request.query.get(name)
    if given is None:
        return otherwise
    if not RFC3339.fullmatch(given):
        raise ValueError(given)
    return moment_of(given.upper())


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
