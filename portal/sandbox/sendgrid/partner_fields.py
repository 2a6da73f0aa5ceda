"""Validation of partner API bodies. All errors are collected, so one answer names every invalid field.

Error IDs 10-40002, -40008 and -40010 are the provider's. It has published none for offerings, states, time zones and
paging; those from 10-40020 on are the sandbox's.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from portal.sandbox.clock import is_zone

FieldError = dict[str, str]
PROFILE_FIELDS = ("first_name", "last_name", "company_name", "company_website", "email", "phone", "timezone")
EMAIL = re.compile(r"[^@\s\"(),:;<>\[\]\\]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.[A-Za-z0-9-]{2,}")
PHONE = re.compile(r"\+[1-9][0-9]{1,14}")
# Lenient: the provider's own sample omits the scheme.
WEBSITE = re.compile(r"(?:https?://)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.[A-Za-z]{2,}(?::\d+)?(?:[/?#]\S*)?")
PHONE_RULE = (
    "Field must be formatted using the E.164 standard consisting of [+] [country code] [subscriber number"
    " including area code] and can have a maximum of fifteen digits."
)


def field_error(number: int, message: str, field: str) -> FieldError:
    return {"message": message, "field": field, "error_id": f"10-{number}"}


def parse_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def profile_errors(profile: object) -> list[FieldError]:
    if not isinstance(profile, dict):
        return [field_error(40020, "Field must be an object", "profile")]
    errors = [
        field_error(40021, "Field must be a string", name)
        for name in PROFILE_FIELDS
        if name in profile and not isinstance(profile[name], str)
    ]
    texts = {name: profile[name] for name in PROFILE_FIELDS if isinstance(profile.get(name), str)}
    if texts.get("email") is not None and not EMAIL.fullmatch(texts["email"]):
        errors.append(field_error(40002, "Field must be a valid email", "email"))
    if texts.get("phone") is not None and not PHONE.fullmatch(texts["phone"]):
        errors.append(field_error(40010, PHONE_RULE, "phone"))
    if texts.get("company_website") is not None and not WEBSITE.fullmatch(texts["company_website"]):
        errors.append(field_error(40008, "Field must be a valid URL", "company_website"))
    if texts.get("timezone") is not None and not is_zone(texts["timezone"]):
        errors.append(field_error(40022, "Field must be an IANA time zone", "timezone"))
    return errors


def profile_of(body: Mapping[str, Any]) -> dict[str, str]:
    return {name: body["profile"][name] for name in PROFILE_FIELDS if name in body.get("profile", {})}


def offering_errors(offerings: object, known: Mapping[str, str]) -> list[FieldError]:
    """Return the errors of `offerings`. `known` maps the allowed names to their type."""
    if not isinstance(offerings, list) or not offerings:
        return [field_error(40023, "Field is required and must list at least one offering", "offerings")]
    errors = [error for item in offerings for error in _one_offering(item, known)]
    entries = [item for item in offerings if isinstance(item, dict)]
    if sum(item.get("type") == "package" for item in entries) != 1:
        errors.append(field_error(40024, "Field must have exactly one package", "offerings"))
    names = [item["name"] for item in entries if isinstance(item.get("name"), str)]
    if len(names) != len(set(names)):
        errors.append(field_error(40025, "Field must name each offering once", "offerings"))
    return errors


def offerings_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": item["name"], "type": item["type"], "quantity": item.get("quantity", 1)} for item in body["offerings"]
    ]


def _one_offering(item: object, known: Mapping[str, str]) -> list[FieldError]:
    if not isinstance(item, dict):
        return [field_error(40026, "Offering must be an object", "offerings")]
    name, kind, quantity = item.get("name"), item.get("type"), item.get("quantity", 1)
    if not isinstance(name, str) or name not in known:
        return [field_error(40027, "Offering name must be in the catalog", "offerings")]
    if kind != known[name]:
        return [field_error(40028, "Offering type must match the catalog", "offerings")]
    if type(quantity) is not int or quantity < 1:
        return [field_error(40029, "Offering quantity must be a positive integer", "offerings")]
    if kind == "package" and quantity != 1:
        return [field_error(40030, "Package quantity must be 1", "offerings")]
    return []
