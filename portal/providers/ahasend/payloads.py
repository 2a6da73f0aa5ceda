"""Requests and their bodies for AhaSend, validated against the contract before anything is sent.

A request with an idempotency key is matched by method, path and the SHA-256 of the raw body (documented), so a body is
serialized once, here, and stored.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable
from typing import Any

from portal.providers.base import AccountSettings, IdempotentBody, NewAccount
from portal.providers.calls import Call
from portal.providers.errors import FieldError, Rejected
from portal.providers.key_types import NewKey, TestMessage

from .capabilities import AHASEND, KEY_SCOPES

CAP_MAX = 1_000_000_000
PAGE = 100
_PRINTABLE = re.compile(r"[!-~]{1,255}")
_FQDN = re.compile(
    r"(?=.{4,255}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]", re.IGNORECASE
)
# Scopes that may be limited to one domain, whose name in braces then replaces "all".
_NARROWED = {each.removesuffix("all") for each in KEY_SCOPES if each.endswith(":all")}


def account_body(new: NewAccount) -> str:
    """Return the body of an account create. It always includes `monthly_credit`; 0 = no cap."""
    settings = new.settings
    if settings is None:
        raise refused("Enter a name and a website.", "name")
    check_settings(settings)
    return _json(wire_settings(vars(settings)))


def wire_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Return settings under the provider's names."""
    names = {"name": "name", "website": "website", "monthly_cap": "monthly_credit"}
    return {names[name]: value for name, value in values.items()}


def check_settings(settings: AccountSettings) -> None:
    if not 1 <= len(settings.name.strip()) <= 255:
        raise refused("The name must have 1 to 255 characters.", "name")
    if not is_host(settings.website):
        raise refused(
            "Enter the website as a hostname, such as shop.example.com, without https:// or a path.", "website"
        )
    if not 0 <= settings.monthly_cap <= CAP_MAX:
        raise refused("The monthly cap must be between 0 (no cap) and 1,000,000,000.", "monthly_cap")


def is_host(text: str) -> bool:
    return _FQDN.fullmatch(text) is not None


def key_body(new: NewKey) -> str:
    """Return the body of a key create. Raises `Rejected` for an invalid label, scope or allowlist."""
    label = new.label.strip()
    if not 1 <= len(label) <= 255:
        raise refused("The label must have 1 to 255 characters.", "label")
    body: dict[str, Any] = {"label": label, "scopes": list(key_scopes(new.scopes))}
    if new.ip_allow_list:
        body["ip_allow_list"] = list(canonical_allow_list(new.ip_allow_list))
    return _json(body)


def key_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes in order, without those included in ":all" (documented). Raises `Rejected` for a scope that a
    key can't have."""
    wanted = list(dict.fromkeys(scopes))
    if not wanted:
        raise refused("Select at least one scope.", "scopes")
    for scope in wanted:
        if scope not in KEY_SCOPES and not _of_a_domain(scope):
            raise refused(f"An account's key can't have the scope {scope[:80]}.", "scopes")
    return without_included(wanted)


def without_included(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes in order, each once, without those included in ":all" (documented)."""
    wanted = list(dict.fromkeys(scopes))
    return tuple(each for each in wanted if not (_of_a_domain(each) and _stem(each) + "all" in wanted))


def _of_a_domain(scope: str) -> bool:
    return _stem(scope) in _NARROWED and is_host(scope.removeprefix(_stem(scope)).strip("{}"))


def _stem(scope: str) -> str:
    return scope[: scope.rfind(":") + 1]


def canonical_allow_list(entries: Iterable[str]) -> tuple[str, ...]:
    """Return addresses and networks in AhaSend's form (documented): CIDR, host bits masked, no duplicates, at most 100,
    never all addresses. Raises `Rejected`."""
    found: dict[str, None] = {}
    for entry in entries:
        try:
            network = ipaddress.ip_network(entry.strip(), strict=False)
        except ValueError:
            raise refused(f"{entry.strip()[:60]} is not an IP address or network.", "ip_allow_list") from None
        if network.prefixlen == 0:
            raise refused(
                ("A network that covers all addresses is not allowed. Leave the list empty to allow any address."),
                "ip_allow_list",
            )
        found[str(network)] = None
    if len(found) > AHASEND.ip_allow_list_max:
        raise refused(f"Enter at most {AHASEND.ip_allow_list_max} IP addresses and networks.", "ip_allow_list")
    return tuple(found)


def domain_body(name: str) -> str:
    if not is_host(name):
        raise refused("Enter a domain name, such as mail.example.com.", "name")
    return _json({"domain": name.lower()})


def message_body(message: TestMessage) -> str:
    return _json(
        {
            "from": {"email": message.sender},
            "recipients": [{"email": message.recipient}],
            "subject": message.subject,
            "text_content": message.text,
        }
    )


def keyed_call(path: str, endpoint: str, once: IdempotentBody, expect: int = 201) -> Call:
    """Return the request that sends a stored body under its idempotency key."""
    if not _PRINTABLE.fullmatch(once.key):
        raise Rejected("The idempotency key is invalid. Nothing was sent.")
    headers = {"Idempotency-Key": once.key}
    return Call("POST", path, endpoint, expect, changes=True, headers=headers, text=once.body)


def page_call(path: str, endpoint: str, cursor: str = "") -> Call:
    query = {"limit": str(PAGE)} | ({"after": cursor} if cursor else {})
    return Call("GET", path, endpoint, query=query)


def refused(message: str, field: str) -> Rejected:
    """Return the error for invalid input; nothing was sent."""
    return Rejected(message, field_errors=(FieldError(message=message, field=field),))


def _json(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=True, separators=(",", ":"))
