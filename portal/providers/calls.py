"""Request of a provider client, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import Evidence, OutcomeUnknown, ProviderError, Unreadable
from .parsing import NotReadableError, read_json
from .redaction import Redactor


@dataclass(frozen=True)
class Call:
    """One request. With `changes` it is sent once, and an answer that cannot be used leaves its outcome unknown."""

    method: str
    path: str
    endpoint: str  # group of calls that share a rate limit
    expect: int = 200
    changes: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None  # sent as JSON
    text: str | None = field(default=None, repr=False)  # serialized JSON, sent unchanged, byte for byte
    form: Mapping[str, str] | None = field(default=None, repr=False)
    bearer: bool = True
    secret_answer: bool = False  # the answer contains a sign-in URL: its body is not stored

    def unusable(self, why: str, evidence: Evidence) -> ProviderError:
        return OutcomeUnknown(why, evidence=evidence) if self.changes else Unreadable(why, evidence=evidence)


@dataclass(frozen=True)
class Answer:
    """A complete answer, whatever its status. Header names are in lower case."""

    call: Call
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    evidence: Evidence
    redactor: Redactor = field(repr=False)

    def json(self) -> Any:
        try:
            return read_json(self.body)
        except NotReadableError:
            raise self.unusable("The answer is not JSON.") from None

    def unusable(self, why: str) -> ProviderError:
        return self.call.unusable(why, self.evidence)
