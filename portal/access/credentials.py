"""Answers of browsers about passkeys: bounded and checked before the library reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from allauth.mfa.adapter import get_adapter
from django import forms

from portal.input_bounds import read_json_input

LONGEST = 16_384  # characters; an attestation has some thousands
_BASE64 = re.compile(r"[A-Za-z0-9_\-+/=]*", re.ASCII)
# Members of the answer that the library reads, all of them base64.
_RESPONSE = ("clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle")


class CredentialField(forms.CharField):
    """Answer of `navigator.credentials`, as JSON. Whatever is not known is left out: what is stored is what is read."""

    widget = forms.HiddenInput

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            return _known(read_json_input(text, longest=LONGEST))
        except ValueError:
            _refuse()

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data)


@contextmanager
def odd_credentials_refused() -> Iterator[None]:
    """Refuse an answer that the library stumbles over, as one that is not accepted."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        _refuse()


def _known(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict) or not isinstance(answer.get("response"), dict):
        _refuse()
    extensions = answer.get("clientExtensionResults")
    properties = extensions.get("credProps") if isinstance(extensions, dict) else None
    resident = properties.get("rk") if isinstance(properties, dict) else None
    response = {name: _base64(answer["response"][name]) for name in _RESPONSE if answer["response"].get(name)}
    return {
        "type": "public-key",
        "id": _base64(answer.get("id")),
        "rawId": _base64(answer.get("rawId", answer.get("id"))),
        "response": response,
        "clientExtensionResults": {"credProps": {"rk": resident}} if isinstance(resident, bool) else {},
    }


def _base64(value: Any) -> str:
    if not isinstance(value, str) or not _BASE64.fullmatch(value):
        _refuse()
    return str(value)


def _refuse() -> NoReturn:
    raise get_adapter().validation_error("incorrect_code")
