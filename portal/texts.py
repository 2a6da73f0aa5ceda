"""Sentences that rows keep as a code with parameters, and that are worded when they are read.

    summary=say("create.linked", id=provider_id)   is stored as   {"code": "create.linked", "params": {"id": "sg1"}}

So a wording can change or be translated, and the rows of the past follow it. The wordings of an app are one table (such
as `customers.operations.texts`), registered by its `AppConfig`. Any other string is stored and read as it is: what a
provider said, a reason, and the rows of before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.db import models
from django.utils.functional import Promise

# Characters of a parameter, or of a string without a code, that are stored.
LONGEST = 500
_BEGINS = '{"code": "'
# "said": a string that must not be taken for a stored code.
_wordings: dict[str, str | Promise] = {"said": "%(text)s"}


def add_wordings(wordings: Mapping[str, str | Promise]) -> None:
    """Add the wordings of an app, by code, as templates for the operator %."""
    _wordings.update(wordings)


def stored_as(code: str) -> str:
    """Return how the stored texts begin whose code begins so, for the lookup `startswith`."""
    return _BEGINS + code


class Text(str):
    """A sentence that knows its code and parameters. As a string it is worded in the language that is active when it is
    made or read. A code that this version does not know is shown with its parameters."""

    __slots__ = ("code", "params")
    code: str
    params: dict[str, Any]

    def __new__(cls, code: str, params: dict[str, Any]) -> Text:
        try:
            worded = str(_wordings[code]) % params
        except (KeyError, TypeError, ValueError):  # stored by another version of the portal
            worded = " ".join([code, *(f"{name}={value}" for name, value in params.items())])
        text = super().__new__(cls, worded)
        text.code, text.params = code, params
        return text

    def __getnewargs__(self) -> tuple[str, dict[str, Any]]:  # type: ignore[override]  # not those of `str`
        """Return what a copy is made of."""
        return self.code, self.params

    def __str__(self) -> str:
        """Return the text itself, so that `str` of an exception with this text keeps the code."""
        return self


def say(code: str, /, **params: Any) -> Text:
    """Return the text of a code. Parameters other than numbers become strings, and are cut where they are long."""
    return Text(code, {name: each if isinstance(each, int) else str(each)[:LONGEST] for name, each in params.items()})


class StoredTextField(models.TextField):  # type: ignore[type-arg]  # not generic at run time
    """A column for a `Text`, or for any other string."""

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Text):
            return json.dumps({"code": value.code, "params": value.params})
        value = super().get_prep_value(value)
        if isinstance(value, str) and value.startswith("{"):
            return self.get_prep_value(say("said", text=value))
        return value[:LONGEST] if isinstance(value, str) else value

    def from_db_value(self, value: Any, *_: Any) -> Any:
        if not (isinstance(value, str) and value.startswith(_BEGINS)):
            return value
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):  # a string of before that begins like a code
            return value
        match found:
            case {"code": str(code), "params": dict(params), **other} if not other:
                return Text(code, params)
        return value
