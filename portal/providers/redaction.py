"""Secrets are taken out here, once, before anything is kept, logged or shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from .errors import FieldError

MASK = "[hidden]"
BODY_LIMIT = 8_192
V2_KEY_USER = "apikey"  # the user name that means "the password is an API key"; no secret

_NAMES = r"api[_-]?key|api[_-]?user|password|confirm_password|secret(?:_key)?|token|authorization|code"
_JSON = re.compile(rf'("(?:{_NAMES})"\s*:\s*)"(?:[^"\\]|\\.)*"?', re.IGNORECASE)
_FORM = re.compile(rf"((?:^|[?&;\s\"'])(?:{_NAMES})=)[^&\s\"'<>]+", re.IGNORECASE)
_XML = re.compile(rf"(<({_NAMES})>)[^<]*", re.IGNORECASE)
_KEYS = re.compile(r"\baha-sk-[\w-]{8,}")
_BEARER = re.compile(r"(\b(?:Bearer|Basic)\s+)[\w.~+/=-]+", re.IGNORECASE)

# Only headers that explain an outcome are kept; cookies and everything else never get as far as being masked.
_KEPT_HEADERS = frozenset(
    {"content-type", "content-length", "date", "retry-after", "x-request-id", "x-message-id", "x-sandbox"}
    | {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "idempotent-replayed", "allow"}
)


class Redactor:
    """Masks by the name of a field and by the value of this connection's own secrets, wherever they stand."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms: set[str] = set()
        for secret in secrets:
            if len(secret) >= 6 and secret != V2_KEY_USER:
                forms |= {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
        self._values = sorted(forms, key=len, reverse=True)

    def text(self, text: str, *, limit: int = BODY_LIMIT) -> str:
        """`text` without secrets, without characters a database or a log line cannot hold, cut to `limit`."""
        for value in self._values:
            text = text.replace(value, MASK)
        text = text[: 4 * limit]  # a name is never parted from its value by this: values are masked unfinished
        text = _JSON.sub(rf'\1"{MASK}"', text)
        text = _FORM.sub(rf"\1{MASK}", text)
        text = _XML.sub(rf"\1{MASK}", text)
        text = _BEARER.sub(rf"\1{MASK}", text)
        text = _KEYS.sub(MASK, text)
        return text.replace("\x00", "").encode("utf-8", "replace").decode()[:limit]

    def errors(self, found: Iterable[FieldError]) -> tuple[FieldError, ...]:
        """What the provider complains of: it may quote what it was sent."""
        return tuple(FieldError(*(self.text(part, limit=500) for part in (e.message, e.field, e.code))) for e in found)

    def line(self, text: str, *, limit: int) -> str:
        """As `text`, on one line of plain ASCII: fit for a log."""
        return "".join(c if "!" <= c <= "~" else "?" for c in self.text(text, limit=limit))

    def body(self, body: bytes) -> str:
        try:
            return self.text(body.decode())
        except UnicodeDecodeError:
            return self.text(body.decode("latin-1"))  # v2 says ISO-8859-1, and it always decodes

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        kept = {name: self.text(value, limit=200) for name, value in headers.items() if name in _KEPT_HEADERS}
        return kept | ({"location": MASK} if "location" in headers else {})

    def plain(self, value: Any, depth: int = 0) -> Any:
        """A parsed answer made fit for keeping as JSON: masked, bounded, Decimals as text."""
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
