"""Error messages of providers, from any of the formats they use.

Seen in JSON: `{"errors": [{"message", "field", "error_id"}]}` with field null, "" or missing; `{"message": "error",
"errors": ["text"]}`; `{"error": {"code", "message"}}`; `{"error": "text"}`; `{"message": "text"}`. In XML:
`<result><message>error</message><errors><error>text</error></errors></result>`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from .errors import FieldError
from .parsing import NotReadableError, mapping, read_json, read_xml, text

_MOST = 50


def complaints(body: bytes, *, charset: str = "") -> tuple[FieldError, ...]:
    """Return the errors in an error body; empty if it has none that can be read (HTML, empty, a success)."""
    for read, errors_in in ((read_json, in_json), (read_xml, in_xml)):
        with suppress(NotReadableError):
            return errors_in(read(body, charset=charset))
    return ()


def in_json(data: Any) -> tuple[FieldError, ...]:
    found = mapping(data)
    listed = found.get("errors")
    entries = listed if isinstance(listed, list) else [listed]
    return _read([*entries[:_MOST], found.get("error")], found.get("message"))


def in_xml(root: Any) -> tuple[FieldError, ...]:
    if root.tag == "html":
        return ()
    return _read([element.text for element in list(root.iter("error"))[:_MOST]], root.findtext("message"))


def _read(entries: Iterable[Any], message: Any) -> tuple[FieldError, ...]:
    """Return the errors that can be read, or where there is none, the message of the whole answer."""
    read = tuple(error for entry in entries if (error := _one(entry)))
    said = text(message)
    return read or (() if said in ("", "success") else (FieldError(message=said),))


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


def error_sentence(found: tuple[FieldError, ...]) -> str:
    """Return the errors as one line: "Field must be a valid email (email); too many requests"."""
    said = [(error.message.rstrip("."), error.field) for error in found[:5]]
    return "; ".join(f"{message} ({field})" if field else message for message, field in said)
