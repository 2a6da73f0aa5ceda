"""Error messages of providers, from any of the formats they use.

Seen in JSON: `{"errors": [{"message", "field", "error_id"}]}` with field null, "" or missing; `{"message": "error",
"errors": ["text"]}`; `{"error": {"code", "message"}}`; `{"error": "text"}`; `{"message": "text"}`. In XML:
`<result><message>error</message><errors><error>text</error></errors></result>`.
"""

from __future__ import annotations

from typing import Any

from .errors import FieldError
from .parsing import NotReadableError, mapping, read_json, read_xml, text

_MOST = 50


def complaints(body: bytes) -> tuple[FieldError, ...]:
    """Return the errors in an error body; empty if it has none that can be read (HTML, empty, a success)."""
    try:
        return in_json(read_json(body))
    except NotReadableError:
        pass
    try:
        return in_xml(read_xml(body))
    except NotReadableError:
        return ()


def in_json(data: Any) -> tuple[FieldError, ...]:
    found = mapping(data)
    listed = found.get("errors")
    entries = listed if isinstance(listed, list) else [listed]
    entries = [*entries[:_MOST], found.get("error")]
    read = tuple(error for entry in entries if (error := _one(entry)))
    if read:
        return read
    message = text(found.get("message"))
    return () if message in ("", "success") else (FieldError(message=message),)


def _one(entry: Any) -> FieldError | None:
    if isinstance(entry, str):
        return FieldError(message=text(entry)) if text(entry) else None
    found = mapping(entry)
    message = text(found.get("message"))
    if not message:
        return None
    code = found.get("error_id") or found.get("code")
    code = str(code) if isinstance(code, int) and abs(code) < 10**9 else text(code, limit=50)
    return FieldError(message=message, field=text(found.get("field"), limit=100), code=code)


def in_xml(root: Any) -> tuple[FieldError, ...]:
    if root.tag == "html":
        return ()
    texts = [text(element.text) for element in list(root.iter("error"))[:_MOST]]
    read = tuple(FieldError(message=message) for message in texts if message)
    if read:
        return read
    message = text(root.findtext("message"))
    return () if message in ("", "success") else (FieldError(message=message),)


def error_sentence(found: tuple[FieldError, ...]) -> str:
    """Return the errors as one line: "Field must be a valid email (email); too many requests"."""
    said = [(error.message.rstrip("."), error.field) for error in found[:5]]
    return "; ".join(f"{message} ({field})" if field else message for message, field in said)
