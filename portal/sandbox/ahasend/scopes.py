"""AhaSend's scopes: all of them, those of a sub account's key, and checks of a key's scopes."""

import re
from collections.abc import Iterable, Sequence

from portal.sandbox.admin.request import Refused
from portal.sandbox.messages import Call

# For parents only: a child cannot manage accounts below itself.
PARENT_SCOPES = (
    "sub-accounts:read",
    "sub-accounts:write",
    "sub-accounts:delete",
    "sub-accounts:suspend",
    "sub-accounts:usage",
    "sub-account-api-keys:read",
    "sub-account-api-keys:write",
    "sub-account-api-keys:delete",
)
PLAIN_SCOPES = (
    "domains:read",
    "domains:write",
    "accounts:read",
    "accounts:write",
    "accounts:billing",
    "accounts:members:read",
    "accounts:members:add",
    "accounts:members:update",
    "accounts:members:remove",
    "suppressions:read",
    "suppressions:write",
    "suppressions:delete",
    "suppressions:wipe",
    "api-keys:read",
    "api-keys:write",
    "api-keys:delete",
)
# Each with `:all`, or with one of the account's own domains.
BY_DOMAIN = (
    "messages:send",
    "messages:cancel",
    "messages:read",
    "domains:delete",
    "webhooks:read",
    "webhooks:write",
    "webhooks:delete",
    "routes:read",
    "routes:write",
    "routes:delete",
    "smtp-credentials:read",
    "smtp-credentials:write",
    "smtp-credentials:delete",
    "statistics-transactional:read",
)
CHILD_SCOPES = (*PLAIN_SCOPES, *(f"{verb}:all" for verb in BY_DOMAIN))
EVERY_SCOPE = (*PARENT_SCOPES, *CHILD_SCOPES)


def require(call: Call, *scopes: str) -> None:
    """Require one of `scopes`. Raises `Refused`."""
    if not call.scopes.intersection(scopes):
        raise Refused(403, "insufficient permissions for the required scope")


def require_for(call: Call, verb: str, domain: str) -> None:
    """Require `verb` on one domain: for all domains or for this one, with or without braces. Raises `Refused`."""
    require(call, f"{verb}:all", f"{verb}:{{{domain}}}", f"{verb}:{domain}")


def require_any(call: Call, verb: str) -> None:
    """Require `verb` on any domain. Raises `Refused`."""
    require(call, *(scope for scope in call.scopes if scope.startswith(f"{verb}:")))


def domains_of(call: Call, verb: str) -> set[str] | None:
    """Return the domains `verb` is allowed on; None for all."""
    if f"{verb}:all" in call.scopes:
        return None
    return {scope.removeprefix(f"{verb}:").strip("{}") for scope in call.scopes if scope.startswith(f"{verb}:")}


def child_scopes(given: object, own_domains: Iterable[str]) -> list[str]:
    """Return the scopes of a new sub account key; a scope included in an `:all` is dropped. Raises `Refused`."""
    if not isinstance(given, list) or not given or not all(isinstance(scope, str) for scope in given):
        raise Refused(400, "scopes must contain at least one scope")
    if len(set(given)) != len(given):
        raise Refused(400, "scopes must not repeat")
    owned = set(own_domains)
    for scope in given:
        if scope not in CHILD_SCOPES and not _fits_domain(scope, owned):
            raise Refused(400, "scopes contain one that cannot be granted")
    return _without_swallowed(given)


def _fits_domain(scope: str, owned: set[str]) -> bool:
    match = re.fullmatch(r"(.+):(?:\{([^{}:]+)\}|([^{}:]+))", scope)
    return match is not None and match[1] in BY_DOMAIN and (match[2] or match[3]).lower() in owned


def _without_swallowed(scopes: Sequence[str]) -> list[str]:
    held = {scope.removesuffix(":all") for scope in scopes if scope.endswith(":all")}
    return [scope for scope in scopes if scope.endswith(":all") or scope.rpartition(":")[0] not in held]
