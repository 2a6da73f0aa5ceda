"""Mapping of response statuses to outcomes. No other module interprets a status."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from .calls import Answer
from .error_messages import complaints, error_sentence
from .errors import (
    FieldError,
    Forbidden,
    InProgress,
    KeyReused,
    NotFound,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
)
from .parsing import charset_of
from .rate_limit import retry_at

# Rejections by the provider's edge servers: certain, whatever the body contains.
_EDGE_REFUSALS = frozenset({405, 406, 411, 413, 414, 415, 431, 451})


def expected(answer: Answer, *, label: str, again: datetime | None = None) -> Answer:
    """Return `answer` if it has the expected status; raise the matching error otherwise. `again` is the rate limiter's
    retry time after a 429."""
    status = answer.status
    if status == answer.call.expect:
        return answer
    if not 400 <= status < 500 or status == 408:
        raise answer.unusable(f"Unexpected response from {label} ({status}).")
    found = answer.redactor.errors(complaints(answer.body, charset=charset_of(answer.headers)))
    if again := _in_progress(answer):
        raise InProgress(
            f"{label} is still processing an earlier attempt of this request (409).",
            retry_at=again,
            evidence=answer.evidence,
        )
    if not found and status not in _EDGE_REFUSALS | {401, 403, 429}:
        # A bare 404 or 400 may come from any intermediary; only the provider's own error body is a rejection.
        raise answer.unusable(f"{label} responded with {status} and no readable reason.")
    raise _refusal(answer, found, label, again)


def _in_progress(answer: Answer) -> datetime | None:
    """Return when the same bytes may be sent again; None for every other answer. This 409 is told from a final one by
    two headers, never the text (documented): `Idempotent-Replayed: false` and a positive `Retry-After`."""
    if answer.status != 409 or answer.headers.get("idempotent-replayed", "").lower() != "false":
        return None
    seconds = answer.headers.get("retry-after", "").strip()
    if not re.fullmatch(r"[0-9]{1,9}", seconds) or int(seconds) == 0:
        return None
    return retry_at(answer.headers, datetime.now(UTC))


def _refusal(answer: Answer, found: tuple[FieldError, ...], label: str, again: datetime | None) -> ProviderError:
    status, evidence = answer.status, answer.evidence
    said = f": {error_sentence(found)}." if found else "."
    if status == 429:
        when = again or retry_at(answer.headers, datetime.now(UTC))
        message = f"{label} rate limit reached (429){said}"
        return RateLimited(message, retry_at=when, field_errors=found, evidence=evidence)
    if status == 422 and "Idempotency-Key" in answer.call.headers:
        message = f"{label} reports that this idempotency key was used with a different request (422){said}"
        return KeyReused(message, field_errors=found, evidence=evidence)
    kind, message = {
        401: (Unauthorized, f"{label} rejected the key (401){said}"),
        # SendGrid's edge also answers 403 for a while after too many bad requests; the two cannot be told apart.
        403: (Forbidden, f"{label} denied access (403){said}"),
        404: (NotFound, f"Not found at {label} (404){said}"),
    }.get(status, (Rejected, f"{label} rejected the request ({status}){said}"))
    return kind(message, field_errors=found, evidence=evidence)
