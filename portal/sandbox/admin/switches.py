"""Switches of the sandbox, which can be set while it runs, with their defaults and allowed values.

Some may also have a value for one organization or account, which wins over the sandbox's (`OWN`, `AHA_OWN`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from portal.sandbox.clock import is_zone


class UnableToSwitch(ValueError):
    """Unknown switch, or a value it does not allow."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Kinds of values that are not a type: a test, and how a refusal names them.
KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "signed": (_is_number, "a number"),
    "share": (lambda value: _is_number(value) and 0 <= value <= 1, "a share from 0 to 1"),
    "zone": (is_zone, "an IANA time zone"),
}
# name -> (default, allowed values; a type means "anything of that type" from 0 on, a text one of the kinds above)
SWITCHES: dict[str, tuple[Any, tuple[Any, ...] | type | str]] = {
    "latency_ms": (0, int),
    "rate_per_minute": (600, int),
    "clock_skew_seconds": (0, "signed"),
    "require_accept": (False, bool),
    "partner_401": ("declared", ("declared", "edge")),
    "put_on_held": ("403", ("403", "allowed")),
    "deactivated": ("new", ("new", "old")),
    "sso_inactive": ("403", ("403", "allowed")),
    "list_bare": (False, bool),
    "list_lag_seconds": (0, float),
    "list_order": ("created", ("created", "reversed", "shuffled")),
    "list_cursor": ("normal", ("normal", "missing", "stuck", "loop", "repeat")),
    "list_page_cap": (0, int),
    "email_form": ("given", ("given", "unicode", "ascii", "upper")),
    "create_lag_seconds": (0, float),
    "create_lag_as": ("404", ("404", "indeterminate")),
    "default_sending": (None, dict),
    "account_timezone": ("UTC", "zone"),
    "reset_zone": ("UTC", "zone"),
    "credits_lag_seconds": (0, float),
    "stats_lag_seconds": (0, float),
    "stats_first_share": (1.0, "share"),
    "stats_revised_hours": (0, float),
    "stats_subusers": (True, bool),
    "ended_period_hours": (0, float),
    "upgrade_restarts_period": (False, bool),
    "credits": ("ok", ("ok", "403")),
    "unknown_behalf": (404, (401, 403, 404)),
    "v2_password_login": (False, bool),
    "v2_bearer": (False, bool),
    "v2_typing": ("strings", ("strings", "numbers")),
    "v2_billing_dates": (True, bool),
    "v2_missing_field": ("", str),
    "v2_retired": (0, (0, 404, 410)),
    "aha_early_access": (True, bool),
    "aha_missing_bearer": (401, (400, 401)),
    "aha_scope_check": ("after-lookup", ("after-lookup", "before-lookup")),
    "aha_rate": (100, float),
    "aha_burst": (200, int),
    "aha_statistics_rate": (1, float),
    "aha_rate_check": ("before-lookup", ("before-lookup", "after-lookup")),
    "aha_rate_retry_after": (0, int),
    "aha_random_texts": (False, bool),
    "aha_client_ip": ("", str),
    "aha_unknown_fields": ("ignored", ("ignored", "refused")),
    "aha_repeated_state": (200, (200, 400, 409)),
    "aha_unsuspend_parent_suspended": (409, (200, 409)),
    "aha_list_order": ("created", ("created", "reversed")),
    "aha_list_lag_seconds": (0, float),
    "aha_list_cursor": ("normal", ("normal", "missing", "stuck", "loop")),
    "aha_list_page_cap": (0, int),
    "aha_currency": ("usd", str),
    "aha_price_per_thousand": (0.1, float),
    "aha_usage_lag_seconds": (0, float),
    "aha_ended_period_hours": (0, float),
    "aha_default_sending": (None, dict),
    "aha_dns_cache_seconds": (60, int),
    "aha_dns_publish_seconds": (0, int),
    "aha_delivery_seconds": (5, int),
}
# Switches that an organization or an account of SendGrid, and those that a parent of AhaSend, may have of its own.
OWN = (
    "reset_zone",
    "credits_lag_seconds",
    "stats_lag_seconds",
    "stats_first_share",
    "stats_revised_hours",
    "stats_subusers",
    "ended_period_hours",
    "upgrade_restarts_period",
)
AHA_OWN = ("aha_usage_lag_seconds", "aha_ended_period_hours", "aha_currency", "aha_price_per_thousand")


class Switches:
    def __init__(self, changed: Mapping[str, Any]) -> None:
        self.changed = {name: value for name, value in changed.items() if name in SWITCHES}

    def __getitem__(self, name: str) -> Any:
        return self.changed.get(name, SWITCHES[name][0])

    def set(self, name: str, value: Any) -> None:
        check(name, value)
        self.changed[name] = value

    def reset(self) -> None:
        self.changed.clear()

    def as_json(self) -> dict[str, Any]:
        return {name: self[name] for name in SWITCHES}


def check(name: str, value: Any) -> None:
    """Raise `UnableToSwitch` for an unknown switch, or a value it does not allow."""
    if name not in SWITCHES:
        raise UnableToSwitch(f"unknown switch {name!r}")
    default, allowed = SWITCHES[name]
    if isinstance(allowed, tuple):
        fits, takes = value in allowed and type(value) is type(allowed[0]), ", ".join(map(repr, allowed))
    elif isinstance(allowed, str):
        fits, takes = KINDS[allowed][0](value), KINDS[allowed][1]
    elif allowed is float:
        fits, takes = _is_number(value) and value >= 0, "a number, 0 or more"
    elif allowed is int:
        fits, takes = type(value) is int and value >= 0, "a whole number, 0 or more"
    else:
        fits, takes = type(value) is allowed or value == default, allowed.__name__
    if not fits:
        raise UnableToSwitch(f"{name} must be {takes}, not {value!r}")
