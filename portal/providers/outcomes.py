"""What the status of an answer means. Decided here once; nobody above looks at a status again."""

from __future__ import annotations

from datetime import UTC, datetime

from .calls import Answer
from .complaints import complaints, sentence
from .errors import FieldError, Forbidden, NotFound, ProviderError, RateLimited, Rejected, Unauthorized
from .pacing import retry_at

# Refusals of the edge in front of the provider: certain, whatever stands in the body.
_EDGE_REFUSALS = frozenset({405, 406, 411, 413, 414, 415, 431, 451})


def expected(answer: Answer, *, label: str) -> Answer:
    """`answer` if it has the status that was asked for; raises what it stands for otherwise."""
    status = answer.status
    if status == answer.call.expect:
        return answer
    if not 400 <= status < 500 or status == 408:
        raise answer.unusable(f"{label} answered {status}, which does not say what became of the request.")
    found = answer.redactor.errors(complaints(answer.body))
    if not found and status not in _EDGE_REFUSALS | {401, 403, 429}:
        # A bare 404 or 400 may come from anything on the way; only the provider's own words are a refusal.
        raise answer.unusable(f"{label} answered {status} without a reason that can be read.")
    raise _refusal(answer, found, label)


def _refusal(answer: Answer, found: tuple[FieldError, ...], label: str) -> ProviderError:
    status, evidence = answer.status, answer.evidence
    said = f": {sentence(found)}." if found else "."
    if status == 429:
        when = retry_at(answer.headers, datetime.now(UTC))
        message = f"{label} asks for a pause (429){said}"
        return RateLimited(message, retry_at=when, field_errors=found, evidence=evidence)
    kind, message = {
        401: (Unauthorized, f"{label} refused our key (401){said}"),
        # The edge also answers 403 for a while after too many bad requests, and does not say which of the two
        # it is.
        403: (Forbidden, f"{label} does not allow this, or blocks us for a while (403){said}"),
        404: (NotFound, f"{label} does not know this (404){said}"),
    }.get(status, (Rejected, f"{label} refused the request ({status}){said}"))
    return kind(message, field_errors=found, evidence=evidence)
