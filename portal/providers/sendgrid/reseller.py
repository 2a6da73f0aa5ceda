"""SendGrid's Web API v2 for resellers: the account overview, as JSON or as XML.

Deprecated, without a published end and without a successor, so it is one usage source among others, and its errors do
not affect them. It returns errors with 200 too: only an answer with the expected figures is a success. Credentials are
sent in a POST form, never in the URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from portal.providers.base import ConnectionConfig, Usage, UsageSource
from portal.providers.calls import Answer, Call
from portal.providers.error_messages import error_sentence, in_json, in_xml
from portal.providers.errors import (
    Evidence,
    FieldError,
    Forbidden,
    NotFound,
    RateLimited,
    Rejected,
    Unauthorized,
    Unreadable,
    Unsupported,
)
from portal.providers.http import Http
from portal.providers.parsing import NotReadableError, charset_of, mapping, percent, read_day, read_xml, text, whole
from portal.providers.redaction import V2_KEY_USER

from .parsing import period

# Matched by text, as v2 has no error codes and reports a wrong key with a plain 400.
_BAD_LOGIN = re.compile(r"permission denied|wrong credentials|bad username|authentication|authorization", re.IGNORECASE)


def overview(http: Http, config: ConnectionConfig, username: str, source: UsageSource) -> Usage:
    """Return the current billing period of the customer `username`. `Unauthorized` here concerns v2 only."""
    if not username.strip():
        raise Unsupported("The v2 overview requires the account's SendGrid username, which is unknown.")
    as_json = source is UsageSource.OVERVIEW_JSON
    answer = _ask(http, config, username, "json" if as_json else "xml")
    found = _in_json(answer) if as_json else _in_xml(answer)
    if "credits_used" not in found:
        raise answer.unusable("SendGrid's v2 overview contains no credits.")
    return _usage(found, source, answer.redactor.plain(found))


def _ask(http: Http, config: ConnectionConfig, username: str, kind: str) -> Answer:
    form = _credentials(config) | {"task": "overview", "user": username}
    path, bearer = f"/apiv2/reseller.account.{kind}", config.v2_auth == "header"
    try:
        return http.call(Call("POST", path, "reseller.account", form=form, bearer=bearer))
    except RateLimited:
        raise
    except (Rejected, Unreadable) as error:
        if isinstance(error, Rejected) and error.field_errors:
            raise _refusal(error.field_errors, error.evidence) from None
        if error.evidence.status in (404, 410):
            raise Unsupported("SendGrid no longer offers the v2 overview.", evidence=error.evidence) from None
        raise


def _credentials(config: ConnectionConfig) -> dict[str, str]:
    if config.v2_auth == "header":
        return {}
    if config.v2_auth == "password":
        return {"api_user": config.v2_username, "api_key": config.v2_password}
    return {"api_user": config.v2_username or V2_KEY_USER, "api_key": config.api_key}


def _refusal(found: tuple[FieldError, ...], evidence: Evidence) -> Rejected:
    """Return the error of a rejection. With valid credentials it means that the user is not a customer."""
    said = error_sentence(found)
    codes = {evidence.status, *(int(error.code) for error in found if error.code.isdecimal())}
    kind: type[Rejected] = NotFound
    message = f"SendGrid's v2 API has no overview for this username: {said}."
    if 403 in codes:
        kind, message = Forbidden, f"SendGrid's v2 API denied access: {said}."
    if 401 in codes or any(_BAD_LOGIN.search(error.message) for error in found):
        kind, message = Unauthorized, f"SendGrid's v2 API rejected the credentials: {said}."
    return kind(message, field_errors=found, evidence=evidence)


def _in_json(answer: Answer) -> Mapping[str, Any]:
    found = mapping(answer.json())
    refused = answer.redactor.errors(in_json(found))
    if refused and "credits_used" not in found:
        raise _refusal(refused, answer.evidence)
    return found


def _in_xml(answer: Answer) -> Mapping[str, Any]:
    try:
        root = read_xml(answer.body, charset=charset_of(answer.headers))
    except NotReadableError:
        raise answer.unusable("SendGrid's v2 overview is not valid XML.") from None
    section = root.find("overview") if root.tag == "result" else None
    if section is not None:
        return {text(child.tag, limit=100): child.text or "" for child in section}
    refused = answer.redactor.errors(in_xml(root))
    raise _refusal(refused, answer.evidence) if refused else answer.unusable("The XML contains no overview.")


def _usage(found: Mapping[str, Any], source: UsageSource, raw: dict[str, Any]) -> Usage:
    start_on, end_on = period(read_day(found.get("billing_start_date")), read_day(found.get("billing_end_date")))
    return Usage(
        source=source,
        used=whole(found.get("credits_used")),
        allowed=whole(found.get("credits_allowed")),
        remaining=whole(found.get("credits_remain")),
        overage=whole(found.get("credits_overage")),
        requests=whole(found.get("requests")),
        reputation=percent(found.get("reputation")),
        package=text(found.get("package")),
        period_start_on=start_on,
        period_end_on=end_on,
        period_process_on=read_day(found.get("billing_process_date")),
        period_inferred=start_on is None,
        raw=raw,
    )
