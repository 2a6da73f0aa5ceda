"""Removal of secrets before anything is stored, logged or shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from .errors import FieldError

MASK = "[hidden]"
BODY_LIMIT = 8_192
V2_KEY_USER = "apikey"  # the username that means "the password is an API key"; no secret

_NOT_PLAIN = re.compile("[^!-~]")
_NAMES = r"api[_-]?key|api[_-]?user|password|confirm_password|secret(?:_key)?|token|authorization|code"
# Each with what replaces it, in this order: JSON, forms and URLs, XML, headers, keys.
_SECRETS = (
    (re.compile(rf'("(?:{_NAMES})"\s*:\s*)"(?:[^"\\]|\\.)*"?', re.IGNORECASE), rf'\1"{MASK}"'),
    (re.compile(rf"((?:^|[?&;\s\"'])(?:{_NAMES})=)[^&\s\"'<>]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(rf"(<({_NAMES})>)[^<]*", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(\b(?:Bearer|Basic)\s+)[\w.~+/=-]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\baha-sk-[\w-]{8,}"), MASK),
)
# Every one of these patterns needs one of these words: most texts have none, and are not searched five times.
_SUSPECT = re.compile(r"api|password|secret|token|authorization|code|bearer|basic|aha-sk", re.IGNORECASE)

# Only headers that explain an outcome are stored; cookies and others are dropped.
_KEPT_HEADERS = frozenset(
    {"content-type", "content-length", "date", "retry-after", "x-request-id", "x-message-id", "x-sandbox"}
    | {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "idempotent-replayed", "allow"}
)


class Redactor:
    """Redactor that masks by field name and by the values of the connection's secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms: set[str] = set()
        for secret in secrets:
            if len(secret) >= 6 and secret != V2_KEY_USER:
                forms |= {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
        self._values = sorted(forms, key=len, reverse=True)

    def text(self, text: str, *, limit: int = BODY_LIMIT) -> str:
        """Return `text` without secrets and without characters that cannot be stored or logged, cut to `limit`."""
        for value in self._values:
            text = text.replace(value, MASK)
        text = text[: 4 * limit]  # safe before the patterns below: they also match unfinished values
        if _SUSPECT.search(text):
            for secret, masked in _SECRETS:
                text = secret.sub(masked, text)
        if text.isascii():
            return text.replace("\x00", "")[:limit]
        return text.replace("\x00", "").encode("utf-8", "replace").decode()[:limit]

    def errors(self, found: Iterable[FieldError]) -> tuple[FieldError, ...]:
        """Return the provider's errors, masked: they may quote the request."""
        return tuple(FieldError(*(self.text(part, limit=500) for part in (e.message, e.field, e.code))) for e in found)

    def line(self, text: str, *, limit: int) -> str:
        """Return masked `text` as one line of plain ASCII, for logs."""
        return _NOT_PLAIN.sub("?", self.text(text, limit=limit))

    def body(self, body: bytes) -> str:
        try:
            return self.text(body.decode())
        except UnicodeDecodeError:
            return self.text(body.decode("latin-1"))  # v2 declares ISO-8859-1, which always decodes

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        kept = {name: self.text(value, limit=200) for name, value in headers.items() if name in _KEPT_HEADERS}
        return kept | ({"location": MASK} if "location" in headers else {})

    def plain(self, value: Any, depth: int = 0) -> Any:
        """Return a parsed answer that can be stored as JSON: masked, bounded, Decimals as text."""
        if depth > 6:
            return "[deeper]"
        if isinstance(value, Mapping):
            return {self.text(str(k), limit=100): self.plain(v, depth + 1) for k, v in list(value.items())[:200]}
        if isinstance(value, list):
            return [self.plain(item, depth + 1) for item in value[:200]]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int) and abs(value) < 2**63:
            return value
        return self.text(str(value), limit=1_000)
